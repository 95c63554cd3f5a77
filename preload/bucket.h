/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_BUCKET_H
#define ATR_PRELOAD_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A token bucket in one word, taken from by any thread without a lock: `next` is when
 * the token after the last one that was taken has dripped in (the virtual scheduling
 * algorithm, ITU-T I.371).  It holds the tokens of one second, at least one, and is
 * full in the beginning.
 */
struct atr_bucket {
	uint64_t next;	   /* monotonic ns */
	uint64_t interval; /* ns per token; 0: there are none */
	uint64_t depth;	   /* ns: all tokens but one */
};

/* per_second: 0: never a token.  A bucket in use keeps what it has. */
static inline void atr_bucket_set(struct atr_bucket *b, double per_second)
{
	double interval = per_second > 0 ? 1e9 / per_second : 0;
	uint64_t ns = interval > 1e18 ? 0 : interval < 1 ? per_second > 0 : (uint64_t)interval;

	__atomic_store_n(&b->interval, ns, __ATOMIC_RELAXED);
	__atomic_store_n(&b->depth, ns && ns < 1000000000u ? 1000000000u / ns * ns - ns : 0,
			 __ATOMIC_RELAXED);
}

/* One token, if there is one at `now`. */
static inline bool atr_bucket_take(struct atr_bucket *b, uint64_t now)
{
	uint64_t interval = __atomic_load_n(&b->interval, __ATOMIC_RELAXED);
	uint64_t depth = __atomic_load_n(&b->depth, __ATOMIC_RELAXED);
	uint64_t next = __atomic_load_n(&b->next, __ATOMIC_RELAXED);
	uint64_t full = now > depth ? now - depth : 0;
	uint64_t from;

	do {
		from = next > full ? next : full;
		if (!interval || from > now)
			return false;
	} while (!__atomic_compare_exchange_n(&b->next, &next, from + interval, 0, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	return true;
}

#endif
