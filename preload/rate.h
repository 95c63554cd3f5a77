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
 * What is told of how a trace was sampled: the threshold, and the tracestate that a trace begun
 * with it has, "ot=th:...", as a carrier that stays for as long as the rate is used, and longer.
 */
struct atr_told {
	bool known; /* false: nobody knows the probability */
	uint64_t threshold;
	struct atr_carrier *carrier; /* NULL: no memory */
	uint32_t carrier_gen;
};

/* A rate that decides. */
struct atr_rate {
	struct atr_told told;
	uint32_t change; /* odd: it becomes another one's */
	uint32_t users;
	uint64_t given; /* when the last user gave it back: 1, 2... */
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
 * The rate of this threshold, the same one each time, with one more user; NULL when ATR_RATES_MAX
 * have users.  It is good until it is given back, by as many users as took it; one without users
 * becomes another when there are no new ones, the one that was given back first.  NULL may be
 * given.  One thread at a time.
 */
#define ATR_RATES_MAX 1024
struct atr_rate *atr_rate_take(uint64_t threshold);
void atr_rate_give(struct atr_rate *rate);

/*
 * What is told of the rate that *at points to, as a whole, while another thread may replace it.
 * From any thread.
 */
struct atr_told atr_rate_told(struct atr_rate *const *at);

/* The random bits of a trace id. */
static inline uint64_t atr_rate_randomness(const uint8_t trace_id[static 16])
{
	uint64_t r = 0;

	for (int i = 9; i < 16; i++)
		r = r << 8 | trace_id[i];
	return r;
}

#endif
