/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_CONTEXT_H
#define ATR_PRELOAD_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "preload/compiler.h"
#include "preload/slice.h"

struct atr_carrier;

/*
 * An open span that others may be children of.  In memory that is never unmapped, so
 * that it can be asked after the span's end.
 */
struct atr_cell {
	uint32_t gen;	  /* moves on when the span ends */
	uint32_t waiting; /* requests sent for it that are not answered yet */
	uint32_t crowded; /* another request came behind it on the same connection */
	/* For other processes (preload/life.h); NULL: none has it as its parent. */
	uint32_t *life;
	uint32_t life_gen;
	uint32_t life_claim;
};

/*
 * A span context: who the parent of the next span is.  Copied by value.
 *
 * A parent must still be open when a child starts.  `open` points to its cell, whose
 * generation moves on when the parent ends.  A remote parent has none: it is always good.
 */
struct atr_context {
	uint8_t trace_id[16];
	uint8_t span_id[8];
	uint8_t local_root[8]; /* the first span of this trace in this process */
	uint8_t flags;	       /* W3C trace flags: 1 sampled, 2 random trace id */
	bool valid;
	bool remote;
	bool deferred;	/* the remote side left the sampling decision to us (B3) */
	bool debug;	/* B3's and Jaeger's debug flag: handed on with them */
	bool candidate; /* not sampled, but recorded: it may be kept (preload/sampler.h) */
	uint32_t gen;
	struct atr_cell *open;
	/* tracestate and baggage that came with the trace; NULL for none */
	struct atr_carrier *carrier;
	uint32_t carrier_gen;
	bool inherited;	  /* handed to the thread when it was born */
	const void *loop; /* the event loop that entered it: good only under the conditions of its
			     round; NULL: none */
};

#define ATR_FLAG_SAMPLED 1
#define ATR_FLAG_RANDOM 2

/*
 * The context of the process: TRACEPARENT, TRACESTATE, BAGGAGE of its environment, read once;
 * over when the request is that it was started for, if we started it.
 */
extern struct atr_context atr_context_process;

/*
 * What the thread was in when this process was forked.  Before it becomes another program
 * a child closes what it does not need: the connection too, and the context ends in this
 * process, but not in the one that serves it.  Good until the child comes to anything else.
 */
extern struct atr_context atr_context_at_fork;

/* fork(): before it; and in the child. */
void atr_context_forking(void);
void atr_context_forked(void);

/* The child has come to something else. */
static inline void atr_context_forget_fork(void)
{
	/* Other threads may be looking: the cell ends, the context stays as it is. */
	if (atr_unlikely(atr_context_at_fork.valid))
		(void)__atomic_fetch_add(&atr_context_at_fork.open->gen, 1, __ATOMIC_RELEASE);
}

/* The process's context, for a span that starts now; NULL: it has none. */
const struct atr_context *atr_context_of_process(void);

/*
 * The thread is about to read from a pipe or a pair: what this process does then may be
 * another's work.  Of interest in a forked child with its parent's context, and in a program
 * that was started for a request.  Of the latter's standard input the first read may bring what
 * it was started for (the body of a request), so it counts after it has done something.
 */
extern bool atr_context_watched;
void atr_context_may_be_handed(int fd);

/* May a child start under it now? */
static inline bool atr_context_usable(const struct atr_context *c)
{
	const uint32_t *life;

	if (!c->valid || !c->open)
		return c->valid;
	if (__atomic_load_n(&c->open->gen, __ATOMIC_ACQUIRE) != c->gen)
		return false;
	life = __atomic_load_n(&c->open->life, __ATOMIC_ACQUIRE);
	return atr_likely(!life) || atr_load_acquire(life) == c->open->life_gen;
}

/* Are they the same span's? */
bool atr_context_same(const struct atr_context *a, const struct atr_context *b);

/*
 * The thread's own context, where it is certain that what happens now belongs to it;
 * else NULL.  Asking is not yet doing something: see atr_context_touch().
 */
const struct atr_context *atr_context_current(void);

/*
 * The parent of a span that starts now on this thread: the thread's context, the
 * process's, or NULL for a root.
 */
const struct atr_context *atr_context_parent(void);

/*
 * Requests that this process is serving, and the context a new thread is born with.  A
 * thread that one request's work began may take up another's (a pool that starts its
 * threads on demand), so what it inherits counts only while no other is served.
 */
extern uint32_t atr_context_served;

/*
 * A thread has answered one request in the middle of another that it had read: the threads of
 * this program take over each other's work, so reading a request does not mean working
 * on it.  Threads without a loop then have no context of what they read.
 */
extern uint32_t atr_context_crossed;

/* ---- what an event loop does to the context of its thread ---- */

/*
 * One round of an event loop, from one dispatch point to the next.
 *
 * What a loop does after it has read a message is taken for work on it.  That is
 * certain only while nothing else can have had its turn.  Something else can when
 *  - a timer of the loop is due: the timeout of its wait said when the first one is;
 *  - several requests came in one read, or one came behind another that is still open
 *    on its connection: the loop may begin the second before it has answered the first;
 *  - something that is no socket was read (an eventfd, a pipe): another thread, or a
 *    timer, has handed something over;
 *  - the loop has put off the work on another request, which is still open: it had
 *    the whole of a message, waited for no answer on its behalf, and did nothing about it
 *    before it went on.  It may read all first and work on them afterwards, or that work
 *    may wait for a timer, or for something that somebody else sets free (a connection
 *    of a limited pool), and come at any time.
 */
struct atr_round {
	bool loops;	/* the thread has come to a dispatch point: it runs a loop */
	bool untouched; /* a complete message was read, and nothing was done about it since */
	uint64_t
		deadline; /* monotonic ns: when the loop's first timer may be due; 0: it has none */
};

/* Requests whose work a loop has put off; of a thread. */
#define ATR_PUT_OFF_MAX 32
#define ATR_SEVERAL_MAX 8

struct atr_open_span {
	const struct atr_cell *cell;
	uint32_t gen;
};

struct atr_put_off {
	uint32_t n;
	bool more;		  /* than there is room for */
	uint32_t n_several, done; /* read at once; things done since */
	struct atr_open_span of[ATR_PUT_OFF_MAX];
	struct atr_open_span several[ATR_SEVERAL_MAX];
};

/*
 * The thread has read for this context and goes on in it; NULL: in none that we know.
 * loop: who waits for the connection, NULL when nobody does.  complete: the whole of it is
 * there, so the program may act on it.
 */
void atr_context_enter(const struct atr_context *context, const void *loop, bool complete);

/* Something was done in the thread's context, or in none that is known. */
void atr_context_touch(void);

/*
 * A loop has written for this context: something was done, and if it was not about what
 * the thread is in, that is over.  (Only reading enters a context: a loop that puts
 * work off writes for one request after the other.)
 */
void atr_context_leave(const struct atr_context *context, const void *loop);

/*
 * The thread waits, or waited, for whatever comes: timeout in ms, -1 without limit; began:
 * monotonic ns, where there is one.
 */
void atr_context_dispatch(int64_t timeout_ms, uint64_t began);

/*
 * One of several requests that were read at once, where a loop waits for the connection:
 * it may work on any of them.
 */
void atr_context_several(const struct atr_context *one);

/*
 * A request that was read in the same breath as the one before it on its connection, whose
 * context the thread is in: its turn may come at any time.
 */
void atr_context_behind(const struct atr_context *context);

/* Is this connection, for this thread, one of a loop's?  Returns the loop or NULL. */
const void *atr_context_loop(const void *loop);

/* Another thread has handed something to this loop: what follows may be about that. */
void atr_context_handed(void);

/* The thread waits for new connections, or is otherwise done with what it did. */
void atr_context_finish(void);

#endif
