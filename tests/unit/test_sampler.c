/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/sampler.c"
#include "tests/unit/test.h"

static const struct atr_context on = { .valid = true, .flags = ATR_FLAG_SAMPLED };
static const struct atr_context off = { .valid = true };

static const uint8_t low_id[16] = { 1 };		  /* randomness 0 */
static const uint8_t high_id[16] = { [9 ... 15] = 0xff }; /* randomness 2^56 - 1 */

TEST(constant_samplers_are_constant)
{
	atr_sampler_init(ATR_SAMPLER_ALWAYS_ON, 0, true);
	CHECK(atr_sampler_decide(NULL, low_id));
	CHECK(atr_sampler_decide(&off, low_id));
	CHECK(!atr_sampler_roots_off());
	atr_sampler_init(ATR_SAMPLER_ALWAYS_OFF, 1, true);
	CHECK(!atr_sampler_decide(NULL, high_id));
	CHECK(!atr_sampler_decide(&on, high_id));
	CHECK(atr_sampler_roots_off());
}

TEST(parent_based_ones_follow_the_parent_and_decide_roots)
{
	atr_sampler_init(ATR_SAMPLER_PARENTBASED_ALWAYS_ON, 1, true);
	CHECK(atr_sampler_decide(&on, low_id));
	CHECK(!atr_sampler_decide(&off, high_id));
	CHECK(atr_sampler_decide(NULL, low_id));
	atr_sampler_init(ATR_SAMPLER_PARENTBASED_ALWAYS_OFF, 1, true);
	CHECK(atr_sampler_decide(&on, low_id));
	CHECK(!atr_sampler_decide(NULL, high_id));
	CHECK(atr_sampler_roots_off());
	atr_sampler_init(ATR_SAMPLER_PARENTBASED_TRACEIDRATIO, 0.5, true);
	CHECK(atr_sampler_decide(&on, low_id));
	CHECK(!atr_sampler_decide(NULL, low_id));
	CHECK(atr_sampler_decide(NULL, high_id));
}

TEST(the_ratio_ignores_the_parent_and_has_exact_ends)
{
	atr_sampler_init(ATR_SAMPLER_TRACEIDRATIO, 0, true);
	CHECK(!atr_sampler_decide(&on, high_id));
	CHECK(atr_sampler_roots_off());
	atr_sampler_init(ATR_SAMPLER_TRACEIDRATIO, 1, true);
	CHECK(atr_sampler_decide(&off, low_id));
}

/* Specification: th of 0.5 is "8", of 0.25 "c", of 0.1 "e666" at 4 digits. */
TEST(thresholds_are_those_of_the_specification)
{
	atr_sampler_init(ATR_SAMPLER_TRACEIDRATIO, 0.5, true);
	CHECK_INT(threshold, 0x80000000000000);
	atr_sampler_init(ATR_SAMPLER_TRACEIDRATIO, 0.25, true);
	CHECK_INT(threshold, 0xc0000000000000);
	atr_sampler_init(ATR_SAMPLER_TRACEIDRATIO, 0.1, true);
	CHECK_INT(threshold >> 40, 0xe666);
}

TEST(a_higher_ratio_samples_a_superset_and_about_its_share)
{
	static const double ratios[] = { 0.01, 0.1, 0.3, 0.5, 0.9, 0.99 };
	unsigned counts[6] = { 0 }, lost = 0;

	srand(3);
	for (int i = 0; i < 20000; i++) {
		uint8_t id[16];
		bool before = false;

		for (int k = 0; k < 16; k++)
			id[k] = (uint8_t)(rand() >> 7);
		for (int r = 0; r < 6; r++) {
			bool now;

			atr_sampler_init(ATR_SAMPLER_TRACEIDRATIO, ratios[r], true);
			now = atr_sampler_decide(NULL, id);
			counts[r] += now;
			lost += before && !now;
			before = now;
		}
	}
	CHECK_INT(lost, 0);
	for (int r = 0; r < 6; r++)
		CHECK(counts[r] > 20000 * ratios[r] * 0.8 &&
		      counts[r] < 20000 * ratios[r] * 1.2 + 10);
}
