/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_CARRIER_H
#define ATR_PRELOAD_CARRIER_H

#include <stdbool.h>
#include <stdint.h>

#include "preload/pool.h"
#include "preload/slice.h"

/*
 * The tracestate and the baggage that came with a trace, kept for as long as
 * somebody sends them on.  Counted references; the memory is type-stable, so a
 * context may keep a pointer and a generation without a reference of its own.
 *
 * Both are kept as the header lines they will be again, "tracestate: a=b\r\n", so
 * that a request is extended without formatting.
 */
struct atr_carrier {
	struct atr_pooled pooled;
	uint32_t gen; /* changes when the last reference is given back */
	uint32_t refs;
	uint16_t tracestate_len; /* of the value; 0: none */
	uint16_t baggage_len;
	bool large;
	char text[]; /* both lines, tracestate first */
};

/* One reference; NULL when both are empty or no memory is to be had (then they are lost). */
struct atr_carrier *atr_carrier_new(struct atr_slice tracestate, struct atr_slice baggage);

/* One more reference, if it is still the one of this generation. */
bool atr_carrier_hold(struct atr_carrier *carrier, uint32_t gen);

/* NULL is allowed. */
void atr_carrier_release(struct atr_carrier *carrier);

/* The values, and the lines that are wanted of the two: one run of bytes. */
struct atr_slice atr_carrier_tracestate(const struct atr_carrier *carrier);
struct atr_slice atr_carrier_baggage(const struct atr_carrier *carrier);
struct atr_slice atr_carrier_lines(const struct atr_carrier *carrier, bool tracestate,
				   bool baggage);

#endif
