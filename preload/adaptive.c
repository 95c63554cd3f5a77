/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts the traces that begin, and once a second makes of their number the ratio
 * that would have sampled the target.  The number is smoothed over a few seconds.
 * Where a second's worth has been sampled long before the second is over, the ratio
 * goes down at once.
 *
 * The ratio is one of a ladder of steps of 4.4 % (16 to an octave), so that there is a
 * bounded number of thresholds, each with its tracestate (preload/rate.h); none is given back.
 */
#include "preload/adaptive.h"

#include <stdbool.h>

#include "preload/compiler.h"
#include "preload/rate.h"

#define SECOND 1000000000u
#define EARLY 1000000u	     /* ns: no look is taken sooner */
#define EARLY_OVER 50000000u /* ns: an early look spreads what it saw over that much */
#define LADDER_STEP 0.957603280698573647
#define LEAST 1e-9

static struct {
	double target;	/* traces per second */
	double most;	/* ratio */
	double offered; /* traces per second that begin, smoothed; < 0: not known.  Under busy. */
	const struct atr_rate *rate;
	uint32_t busy;	  /* somebody is steering */
	uint64_t since;	  /* monotonic ns: when counting began; 0: not yet */
	uint64_t begun;	  /* traces since then */
	uint64_t sampled; /* of them */
} steer;

static const struct atr_rate *rate_for(double ratio)
{
	const struct atr_rate *rate;
	double step = 1;

	if (ratio >= steer.most)
		ratio = steer.most;
	else
		while (step > ratio && step > LEAST)
			step *= LADDER_STEP;
	rate = atr_rate_take(
		atr_rate_threshold(ratio >= steer.most || step > steer.most ? steer.most : step));
	return rate ? rate : atr_load(&steer.rate);
}

void atr_adaptive_init(double per_second, double most_ratio)
{
	steer.target = per_second;
	steer.most = most_ratio;
	steer.offered = -1;
	steer.since = steer.begun = steer.sampled = 0;
	steer.busy = 0;
	steer.rate = NULL;
	steer.rate = rate_for(most_ratio);
}

static void look(uint64_t now, uint64_t passed, bool early)
{
	double seen, over = passed > EARLY_OVER ? (double)passed : (double)EARLY_OVER;
	const struct atr_rate *rate;

	seen = (double)__atomic_exchange_n(&steer.begun, 0, __ATOMIC_RELAXED) / over * SECOND;
	atr_store(&steer.sampled, 0);
	atr_store(&steer.since, now);
	if (early)
		steer.offered = seen > steer.offered ? seen : steer.offered;
	else if (steer.offered < 0 || passed > 2ull * SECOND)
		steer.offered = seen;
	else
		steer.offered = (steer.offered + seen) / 2;
	rate = steer.offered > 0 ? rate_for(steer.target / steer.offered) : rate_for(1);
	/* Pairs with the acquire in atr_adaptive_rate(). */
	atr_store_release(&steer.rate, rate);
}

const struct atr_rate *atr_adaptive_rate(uint64_t now)
{
	uint64_t since = atr_load(&steer.since), none = 0;
	uint64_t passed = now > since ? now - since : 0;
	bool early = passed < SECOND;

	if (!since && __atomic_compare_exchange_n(&steer.since, &none, now, 0, __ATOMIC_RELAXED,
						  __ATOMIC_RELAXED))
		passed = 0;
	if ((!early || (passed >= EARLY && (double)atr_load(&steer.sampled) > steer.target)) &&
	    !__atomic_exchange_n(&steer.busy, 1, __ATOMIC_ACQUIRE)) {
		if (atr_load(&steer.since) == since && since)
			look(now, passed, early);
		atr_store_release(&steer.busy, 0);
	}
	(void)atr_add(&steer.begun, 1u);
	return atr_load_acquire(&steer.rate);
}

void atr_adaptive_sampled(void)
{
	(void)atr_add(&steer.sampled, 1u);
}

void atr_adaptive_forked(void)
{
	atr_store(&steer.busy, 0);
}
