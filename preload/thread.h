/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_THREAD_H
#define ATR_PRELOAD_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "preload/compiler.h"
#include "preload/context.h"
#include "preload/host.h"
#include "preload/pool.h"
#include "preload/record.h"

struct atr_ring;
struct atr_link;

/* Where a thread is.  The low bits are libraries it is inside (hooks/hook.h). */
#define ATR_IN_SELF 0x80000000u	      /* our own code: a call from here passes through */
#define ATR_IN_BACKGROUND 0xffffffffu /* the background thread: every call passes through */

/* Spans that may be open inside each other on one thread and have children. */
#define ATR_DEPTH_MAX 16

#define ATR_SCRATCH_SIZE 65536

/* A thread's rings: what is to be exported, and candidates, about whose trace nobody knows yet. */
enum atr_which_ring { ATR_RING_SAMPLED, ATR_RING_CANDIDATES, ATR_N_RINGS };

struct atr_own_ring {
	struct atr_ring *ring; /* NULL until the first record */
	struct atr_link *link; /* its place in the list */
};

/*
 * What a thread needs once it records: born at its first span, given back at its
 * end.  From a pool, so that contexts of a dead thread's spans can still be
 * asked whether they are open.
 */
struct atr_thread {
	struct atr_pooled pooled;
	uint32_t tid;
	uint32_t epoch;
	struct atr_own_ring rings[ATR_N_RINGS];
	uint64_t rng[4];
	uint32_t depth;
	struct atr_cell cells[ATR_DEPTH_MAX];	    /* of the spans open at each depth */
	struct atr_put_off put_off;		    /* by the event loop that the thread runs */
	uint64_t started[ATR_ORIGINS][ATR_RESULTS]; /* spans; counted where metrics are wanted */
	uint64_t live[2];    /* those begun here less those ended here; candidates are the second.
				Only the sum over all threads means something (modulo 2^64). */
	char *scratch;	     /* ATR_SCRATCH_SIZE bytes, for hooks/exec.c; NULL: not needed yet */
	uint32_t scratch_of; /* process id of who has it: a vfork child never gives it back */
};

/*
 * The thread's own words; initial-exec, so reading them never allocates.  Plain
 * data that survives a fork: the context does too.
 */
struct atr_tls {
	uint32_t inside; /* ATR_IN_* */
	struct atr_thread *thread;
	struct atr_context context;
	struct atr_round round;	    /* of the event loop the thread runs, if it does */
	const void *context_conn;   /* the accepted connection whose request the context is */
	const void *self_frame;	    /* where our own code was entered (ATR_IN_SELF) */
	const void *library_object; /* what the outermost library call is about */
	const void *library_frame;  /* its hook's frame address */
	const char *connect_error;  /* error.type of the last connect that failed here */
	bool connect_reached;	    /* one has succeeded here */
	uintptr_t stack_low; /* of the thread's stack, what was seen to be memory (stack.c) */
	uintptr_t stack_top;
};

extern __thread struct atr_tls atr_tls;

/* Once, from the constructor: a key whose destructor gives threads back. */
void atr_thread_init(void);

/* The calling thread's struct, made when it has none; NULL when memory is refused. */
struct atr_thread *atr_thread_self(void);

/*
 * Our own code on this thread: begins and ends what a signal handler's calls must
 * not come in between of.  `was` is what atr_self_enter() returned.
 */
static inline uint32_t atr_self_enter(void)
{
	uint32_t was = atr_tls.inside;

	atr_tls.self_frame = __builtin_frame_address(0);
	atr_tls.inside = was | ATR_IN_SELF;
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* a signal handler sees the mask first */
	return was;
}

static inline void atr_self_leave(uint32_t was)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	atr_tls.inside = was;
}

/*
 * A hook was entered, at `frame`, while the thread seems to be in our own code or
 * inside a library.  What was left by siglongjmp(), longjmp() or an exception (its
 * frame lies below) is forgotten.  True: still in our own code, pass through.
 */
bool atr_thread_inside(const void *frame) atr_noinline;

/*
 * The library calls this thread was inside were left by longjmp() or an
 * exception: it is inside none, and its context is nobody's.
 */
void atr_thread_abandon(void);

/* 64 random bits, not zero (xoshiro256++, seeded by the kernel once per thread). */
uint64_t atr_thread_random(struct atr_thread *t);

/*
 * Room for a record in that ring of the thread's, or NULL (counted).  commit() takes the ring by
 * its flags: ATR_RECORD_CANDIDATE.
 */
struct atr_record *atr_thread_reserve(struct atr_thread *t, enum atr_which_ring which);
void atr_thread_commit(struct atr_thread *t, struct atr_record *record);

/*
 * For the background thread: takes up to `max` records that were not taken yet out of all
 * rings of this process; pages of idle rings go back to the kernel.  The records stay in their
 * rings (host.h says what settling is).
 */
size_t atr_thread_drain(size_t max, atr_take_fn *take, void *arg);
void atr_thread_settle(const struct atr_place *place, enum atr_settled what);
void atr_thread_rewind(void);

/* The same thread's: candidates, and those that are kept (host.h). */
size_t atr_thread_candidates(size_t max, atr_take_fn *take, void *arg);
void atr_thread_keep(const struct atr_record *record, const uint8_t *attr, size_t len);

/*
 * When nobody drains any more: what was not taken is counted, as left or unsent.  torn: nor does
 * anybody settle any more, so that what was taken and is not settled counts as well.
 */
void atr_thread_count_rest(bool torn);

/* The same thread's: there is to be a file, though there is no span yet. */
void atr_thread_make_file(void);

/* Is there a ring in a file?  Is there no record that is not settled? */
bool atr_thread_spooled(void);
bool atr_thread_empty(void);

/* Spans that wait to be exported, in the rings and behind them; and a change of that. */
uint64_t atr_thread_waiting(void);
void atr_thread_queued(int64_t change);

/* For the background thread: what all threads counted. */
void atr_thread_counts(struct atr_counts *ret);

/* In a forked child: the rings were the parent's. */
void atr_thread_forked(void);

#endif
