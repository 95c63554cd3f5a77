/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_HANDOVER_H
#define ATR_HOOKS_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>

#include "preload/context.h"
#include "preload/life.h"
#include "preload/slice.h"

/*
 * The environment a new program is given: the program's own array with our TRACEPARENT,
 * TRACESTATE and BAGGAGE, and AUTOTRACE_PARENT, which tells one of us in that program when the
 * request is over (preload/life.h).  Async-signal-safe; in a vfork child too.
 *
 * In this order: has_context, begin, the two buffers, end.
 */
#define ATR_HANDOVER_LIFE_MAX (16 + 1 + ATR_LIFE_TEXT_MAX)

struct atr_handover {
	size_t room;	 /* entries of the array to be made, with its NULL */
	size_t text_len; /* bytes of our strings */

	/* of handover.c: */
	struct atr_context context;
	struct atr_carrier *carrier; /* a reference, or NULL */
	struct atr_slice tracestate;
	struct atr_slice baggage;
	size_t n;	  /* entries of the program's */
	bool own_baggage; /* one of them is a BAGGAGE that we leave alone */
	size_t life_len;
	char life[ATR_HANDOVER_LIFE_MAX];
};

/* Is there a context to be handed on? */
bool atr_handover_has_context(struct atr_handover *h);

/*
 * False when the array is to stay as it is: it cannot be read, is too long, or has a
 * TRACEPARENT of the program's own.  True: one of the last two must follow.
 */
bool atr_handover_begin(struct atr_handover *h, char *const envp[]);

/* Bytes of all strings of an array, with their ends, and of the array; SIZE_MAX: unreadable. */
size_t atr_handover_size(char *const array[]);

/* Fills array[room] and text[text_len].  False when envp was taken away meanwhile. */
bool atr_handover_end(struct atr_handover *h, char *const envp[], char *array[], char *text);

/* Instead of it. */
void atr_handover_cancel(struct atr_handover *h);

#endif
