/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_RATE_H
#define ATR_PRELOAD_RATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/slice.h"

struct atr_carrier;

/*
 * Sampling rates (OpenTelemetry specification, "TraceState: Probability Sampling"): a
 * trace with 56 random bits R is sampled when R >= threshold.
 */
#define ATR_RATE_NEVER (1ull << 56) /* a threshold that nothing reaches */
#define ATR_RATE_DIGITS 14	    /* longest th */

/*
 * What is said of a rate: the threshold, and the tracestate that a trace begun with it
 * has, "ot=th:...", as a carrier that stays for good.
 */
struct atr_rate {
	uint64_t threshold;
	struct atr_carrier *carrier; /* NULL: no memory */
	uint32_t carrier_gen;
	const struct atr_rate *next;
};

/*
 * The threshold of a ratio in [0, 1], rounded to what its th says: four hex digits, and one
 * more for each leading f.
 */
uint64_t atr_rate_threshold(double ratio);

/* A threshold below ATR_RATE_NEVER as th; returns its length.  And back, false: it is none. */
size_t atr_rate_text(uint64_t threshold, char text[static ATR_RATE_DIGITS]);
bool atr_rate_read(struct atr_slice text, uint64_t *ret_threshold);

/*
 * The rate of this threshold, the same one each time, good for ever; NULL when there are
 * too many of them.  From any thread.
 */
const struct atr_rate *atr_rate_of(uint64_t threshold);

/* The random bits of a trace id. */
static inline uint64_t atr_rate_randomness(const uint8_t trace_id[static 16])
{
	uint64_t r = 0;

	for (int i = 9; i < 16; i++)
		r = r << 8 | trace_id[i];
	return r;
}

#endif
