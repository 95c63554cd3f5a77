/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The samplers a span is asked for when it starts.
 *
 * traceidratio is the consistent probability test (specification, "TraceState:
 * Probability Sampling"): the low 56 bits of the trace id are its randomness R,
 * T = (1 - ratio) * 2^56 is the threshold, and a span is sampled if R >= T.  So
 * a higher ratio samples a superset, in every process of the trace.
 */
#include "preload/sampler.h"

static enum {
	ALWAYS_ON,
	ALWAYS_OFF,
	RATIO,
} root;

static bool parent_based;
static uint64_t threshold;
bool atr_sampler_recorded = true;
bool atr_sampler_passive;

void atr_sampler_init(enum atr_SAMPLER sampler, double ratio, bool recorded)
{
	static const struct {
		bool parent_based;
		uint8_t root;
	} rows[] = {
		[ATR_SAMPLER_ALWAYS_ON] = { false, ALWAYS_ON },
		[ATR_SAMPLER_ALWAYS_OFF] = { false, ALWAYS_OFF },
		[ATR_SAMPLER_TRACEIDRATIO] = { false, RATIO },
		[ATR_SAMPLER_PARENTBASED_ALWAYS_ON] = { true, ALWAYS_ON },
		[ATR_SAMPLER_PARENTBASED_ALWAYS_OFF] = { true, ALWAYS_OFF },
		[ATR_SAMPLER_PARENTBASED_TRACEIDRATIO] = { true, RATIO },
	};

	atr_sampler_recorded = recorded;
	parent_based = rows[sampler].parent_based;
	root = rows[sampler].root;
	threshold = (uint64_t)((1.0 - ratio) * (double)(1ull << 56));
	if (root == RATIO && threshold >= 1ull << 56)
		root = ALWAYS_OFF;
}

static bool root_decides(const uint8_t *trace_id)
{
	uint64_t r = 0;

	if (root != RATIO)
		return root == ALWAYS_ON;
	for (int i = 9; i < 16; i++)
		r = r << 8 | trace_id[i];
	return r >= threshold;
}

bool atr_sampler_decide(const struct atr_context *parent, const uint8_t trace_id[static 16])
{
	if (parent_based && parent && !parent->deferred)
		return parent->flags & ATR_FLAG_SAMPLED;
	return root_decides(trace_id);
}

bool atr_sampler_roots_off(void)
{
	return root == ALWAYS_OFF || !atr_sampler_recorded;
}
