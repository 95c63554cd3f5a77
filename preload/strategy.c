/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The strategy of the jaeger_remote samplers, replaced while threads decide by it.
 *
 * Every field is read and written by itself: a decision made in the middle of a change
 * may be by a mixture of both strategies, but always by whole rates.
 * Names are compared by a hash of 64 bits.
 */
#include "preload/strategy.h"

#include "preload/bucket.h"
#include "preload/compiler.h"
#include "preload/rate.h"

struct operation {
	uint64_t hash;
	struct atr_rate *rate;
	struct atr_bucket lower;
};

static struct {
	struct atr_rate *rate;
	uint32_t limited;
	uint32_t bounded; /* there are lower bounds */
	struct atr_bucket limit;
	struct atr_bucket lower; /* of all operations that are not listed */
	uint32_t n;
	struct operation operations[ATR_STRATEGY_OPERATIONS];
} now_used;

/* FNV-1a */
static uint64_t hash_of(struct atr_slice name)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < name.len; i++)
		h = (h ^ (uint8_t)name.p[i]) * 0x100000001b3u;
	return h;
}

/* There are always enough: a strategy has fewer than half of them. */
_Static_assert(2 * (ATR_STRATEGY_OPERATIONS + 1) < ATR_RATES_MAX, "a strategy's rates fit twice");

static void set_rate(struct atr_rate **to, double ratio)
{
	struct atr_rate *was = *to, *rate = atr_rate_take(atr_rate_threshold(ratio));

	/* Pairs with the acquire in atr_rate_told(). */
	atr_store_release(to, rate);
	atr_rate_give(was);
}

void atr_strategy_use(const struct atr_strategy *s)
{
	size_t n = s->n_operations < ATR_STRATEGY_OPERATIONS ? s->n_operations
							     : ATR_STRATEGY_OPERATIONS;

	atr_store(&now_used.n, 0);
	set_rate(&now_used.rate, s->ratio);
	atr_bucket_set(&now_used.limit, s->per_second);
	atr_store(&now_used.limited, s->per_second >= 0);
	atr_bucket_set(&now_used.lower, s->lower);
	atr_store(&now_used.bounded, s->lower > 0);
	for (size_t i = 0; i < n; i++) {
		struct operation *o = &now_used.operations[i];
		uint64_t hash = hash_of(s->operations[i].name);

		if (hash != atr_load(&o->hash))
			atr_store(&o->lower.next, 0);
		atr_store(&o->hash, hash);
		set_rate(&o->rate, s->operations[i].ratio);
		atr_bucket_set(&o->lower, s->lower);
	}
	/* Pairs with the acquire in operation_of(). */
	atr_store_release(&now_used.n, (uint32_t)n);
}

bool atr_strategy_wants_name(void)
{
	return atr_load(&now_used.n);
}

static struct operation *operation_of(struct atr_slice name)
{
	uint32_t n = name.len ? atr_load_acquire(&now_used.n) : 0;
	uint64_t hash = n ? hash_of(name) : 0;

	for (uint32_t i = 0; i < n; i++)
		if (atr_load(&now_used.operations[i].hash) == hash)
			return &now_used.operations[i];
	return NULL;
}

bool atr_strategy_decide(uint64_t randomness, struct atr_slice name, uint64_t now,
			 struct atr_told *ret_told)
{
	struct operation *o = operation_of(name);
	struct atr_told by = atr_rate_told(o ? &o->rate : &now_used.rate);
	bool sampled = by.known && randomness >= by.threshold;
	bool lower;

	*ret_told = by;
	ret_told->known = sampled;
	if (sampled && atr_load(&now_used.limited)) {
		ret_told->known = false;
		return atr_bucket_take(&now_used.limit, now);
	}
	if (!atr_load(&now_used.bounded))
		return sampled;
	/* Sampled ones count as well, so that the bound adds nothing where the ratio suffices. */
	lower = atr_bucket_take(o ? &o->lower : &now_used.lower, now);
	return sampled || lower;
}
