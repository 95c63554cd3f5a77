/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_CONTEXT_H
#define ATR_PRELOAD_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A span context: who the parent of the next span is.  Copied by value.
 *
 * A parent must still be open when a child starts.  `open` points to its cell, a
 * generation count in memory that is never unmapped; the count moves on when
 * the parent ends.  A remote parent has none: it is always good.
 */
struct atr_context {
	uint8_t trace_id[16];
	uint8_t span_id[8];
	uint8_t local_root[8]; /* the first span of this trace in this process */
	uint8_t flags;	       /* W3C trace flags: 1 sampled, 2 random trace id */
	bool valid;
	bool remote;
	uint32_t gen;
	const uint32_t *open;
	const char *tracestate; /* NULL or a string that is never freed */
};

#define ATR_FLAG_SAMPLED 1
#define ATR_FLAG_RANDOM 2

/* The context of the process: TRACEPARENT and TRACESTATE of its environment, read once. */
extern struct atr_context atr_context_process;

/*
 * Reads a traceparent (W3C Trace Context Level 2, section 3.2) and a tracestate,
 * which may be NULL, into a remote context; false when the traceparent is none.
 * The tracestate is kept by pointer.
 */
bool atr_context_parse(struct atr_context *context, const char *traceparent,
		       const char *tracestate);

/* May a child start under it now? */
static inline bool atr_context_usable(const struct atr_context *c)
{
	return c->valid && (!c->open || __atomic_load_n(c->open, __ATOMIC_ACQUIRE) == c->gen);
}

/*
 * The parent of a span that starts now on this thread: the thread's context, the
 * process's, or NULL for a root.
 */
const struct atr_context *atr_context_parent(void);

#endif
