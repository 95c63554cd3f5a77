/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_OP_H
#define ATR_PRELOAD_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/attr.h"
#include "preload/context.h"
#include "preload/pb.h"
#include "preload/slice.h"

struct atr_record;
struct atr_sampling;
struct atr_thread;

/*
 * An op is work in progress that becomes one span.  It lives on the stack of the
 * hook, or in a connection when it spans several calls, and may end on another
 * thread than it began on.
 *
 *	struct atr_op op;
 *	struct atr_span span;
 *
 *	atr_op_begin(&op, ATR_KIND_CLIENT);
 *	... the real call ...
 *	if (atr_op_end(&op, &span, "name", 4)) {
 *		atr_attr_str(&span.pb, ATR_ERROR_TYPE, ...);
 *		atr_span_commit(&span);
 *	}
 *
 * Nothing here fails: an op that could not be begun, or is not sampled, ignores
 * the rest.  Between atr_op_end() and atr_span_commit() the calling thread is
 * inside our own code: no call of the program's, no hook.
 */
enum atr_kind { /* opentelemetry-proto, Span.SpanKind */
		ATR_KIND_INTERNAL = 1,
		ATR_KIND_SERVER = 2,
		ATR_KIND_CLIENT = 3,
};

struct atr_op {
	struct atr_context context; /* of the span itself */
	struct atr_context outer;   /* what atr_op_enter() put aside */
	uint8_t parent_id[8];
	bool has_parent;
	bool parent_remote;
	bool recording; /* begun and sampled: will be a span */
	bool undecided; /* the sampler is asked at its end: atr_op_begin_call() */
	bool live;	/* counted among those of otel.sdk.span.live */
	bool entered;
	uint8_t kind;
	uint32_t epoch; /* of the process that began it: a child must not end it too */
	uint64_t start; /* monotonic ns */
	uint64_t end;	/* monotonic ns; 0: when atr_op_end() is called */
	uint32_t thread_id;
	uint64_t site; /* where the program began it (preload/stack.h); 0: not known */
};

struct atr_span {
	struct atr_pb pb; /* attributes go here */
	struct atr_record *record;
	struct atr_thread *thread;
	uint32_t inside;	  /* the thread's mask before */
	const char *error;	  /* error.type; NULL: status Unset */
	struct atr_slice message; /* the status's; p NULL: none */
	uint64_t site;		  /* as in the op */
	bool slow;		  /* it took longer than AUTOTRACE_STACK_SLOW_MS */
	bool candidate;		  /* as in the op's context */
	uint64_t ns;		  /* how long it took */
};

/* One that is not begun: what the calls here read of it. */
static inline void atr_op_none(struct atr_op *op)
{
	op->recording = op->undecided = op->live = op->entered = op->context.valid = false;
	op->start = op->end = op->site = 0;
}

/* Begins now, as a child of the thread's context. */
void atr_op_begin(struct atr_op *op, enum atr_kind kind);

/*
 * The same for a single call that may turn out to be no span (it moves nothing, or belongs to a
 * protocol).  Where a sampler's decision is paid for by the traces behind it, or is counted,
 * it is made at the end, when there is a span.  Not to be entered.
 */
void atr_op_begin_call(struct atr_op *op, enum atr_kind kind);

/* Where a span comes from that does not simply continue what its thread does. */
struct atr_op_origin {
	const struct atr_context *parent;    /* NULL: a root */
	const uint8_t *trace_id;	     /* of a root, if it is given one; else NULL */
	const struct atr_sampling *sampling; /* NULL: the parent's, or the sampler decides */
	struct atr_slice name;		     /* of the operation, where atr_sampler_wants_name() */
	uint64_t start;			     /* monotonic ns */
};

/*
 * Begins one that is told to others: it has ids (op->context.valid) even when it is
 * not sampled; without them only when memory is refused.
 */
void atr_op_begin_under(struct atr_op *op, enum atr_kind kind, const struct atr_op_origin *from);

/* Before its end: it belongs under this parent, and did not begin before it did. */
void atr_op_move_under(struct atr_op *op, const struct atr_context *parent, uint64_t not_before);

/*
 * Makes the op the thread's context until atr_op_leave(), so that what starts
 * meanwhile becomes its child.  Only for ops whose hook is certain to come back
 * (cleanup), on the thread that leaves again.
 */
void atr_op_enter(struct atr_op *op);
void atr_op_leave(struct atr_op *op);

/*
 * For otel.sdk.span.live: one that is certain to be a span, and will be ended or dropped.
 * A copy of it that goes on for it takes that over.
 */
void atr_op_count_live(struct atr_op *op);
void atr_op_not_live(struct atr_op *op);

static inline void atr_op_copy(struct atr_op *to, struct atr_op *from)
{
	*to = *from;
	from->live = false;
}

/* The op is given up: no span. */
static inline void atr_op_drop(struct atr_op *op)
{
	op->recording = false;
	if (__builtin_expect(op->live, 0))
		atr_op_not_live(op);
}

/*
 * Ends the op (at op->end or now): true when there is a span to be filled with
 * attributes and committed.  An empty name becomes "unknown".
 */
bool atr_op_end(struct atr_op *op, struct atr_span *span, const char *name, size_t name_len);

/* Sets status Error and error.type (a string that lives until the commit). */
void atr_span_error(struct atr_span *span, const char *error_type, size_t len);

/* What it took was waiting until somebody comes, or says something: that is not slow. */
static inline void atr_span_waited(struct atr_span *span)
{
	span->ns = 0;
	span->slow = false;
}

/*
 * What else there is to say about the error; lives until the commit.  Nothing that may
 * hold data of the program's or the server's.
 */
static inline void atr_span_explain(struct atr_span *span, const char *message, size_t len)
{
	span->message = (struct atr_slice){ message, len };
}

void atr_span_commit(struct atr_span *span);

/* Instead of the commit: there is no span after all. */
void atr_span_drop(struct atr_span *span);

#endif
