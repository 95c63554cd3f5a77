/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/carrier.o preload/pool.o preload/sys.o preload/text.o */
#include "preload/rate.c"
#include "preload/stats.h"
#include "tests/unit/test.h"

struct atr_stats atr_stats;

static const char *text_of(uint64_t threshold)
{
	static char text[ATR_RATE_DIGITS + 1];

	text[atr_rate_text(threshold, text)] = '\0';
	return text;
}

/* Specification, "TraceState: Probability Sampling" and the examples beside it. */
TEST(thresholds_are_the_specifications)
{
	static const struct {
		double ratio;
		const char *th;
	} rows[] = {
		{ 1, "0" },
		{ 0.5, "8" },
		{ 0.25, "c" },
		{ 0.1, "e666" },
		{ 0.05, "f3333" },
		{ 0.01, "fd70a" },
		{ 0.001, "ffbe77" },
		{ 1e-6, "ffffef39" },
		{ 2. / 3, "5555" },
		{ 0.9, "199a" },
		{ 0.75, "4" },
		{ 0.125, "e" },
		{ 1. / 65536, "ffff" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t back;

		CHECK_STR(text_of(atr_rate_threshold(rows[i].ratio)), rows[i].th);
		CHECK(atr_rate_read((struct atr_slice){ rows[i].th, strlen(rows[i].th) }, &back));
		CHECK_INT(back, atr_rate_threshold(rows[i].ratio));
	}
}

TEST(the_ends_are_exact)
{
	double least = 1. / (double)(1ull << 56), nan = 0;

	nan /= nan;
	CHECK_INT(atr_rate_threshold(0), ATR_RATE_NEVER);
	CHECK_INT(atr_rate_threshold(-1), ATR_RATE_NEVER);
	CHECK_INT(atr_rate_threshold(nan), ATR_RATE_NEVER);
	CHECK_INT(atr_rate_threshold(1.5), 0);
	CHECK_INT(atr_rate_threshold(least), ATR_RATE_NEVER - 1);
	CHECK_STR(text_of(ATR_RATE_NEVER - 1), "ffffffffffffff");
	CHECK_INT(atr_rate_threshold(least / 4), ATR_RATE_NEVER);
}

TEST(a_threshold_is_what_its_text_says_and_near_the_ratio)
{
	for (double p = 1; p > 1e-13; p *= 0.83) {
		uint64_t t = atr_rate_threshold(p), back;
		const char *th = text_of(t);
		double said = (double)(ATR_RATE_NEVER - t) / (double)ATR_RATE_NEVER;

		CHECK(atr_rate_read((struct atr_slice){ th, strlen(th) }, &back));
		CHECK_INT(back, t);
		CHECK(said > p * 0.999 && said < p * 1.001);
	}
}

TEST(what_is_no_threshold_is_refused)
{
	static const char *const bad[] = {
		"", "g", "E666", "0x1", "123456789012345", "e66 ", "-1"
	};
	uint64_t back;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(!atr_rate_read((struct atr_slice){ bad[i], strlen(bad[i]) }, &back));
	CHECK(!atr_rate_read((struct atr_slice){ "\0", 1 }, &back));
}

static bool tells(const struct atr_told *told, const char *text)
{
	bool held = told->carrier && atr_carrier_hold(told->carrier, told->carrier_gen);
	bool same = held && atr_slice_is(atr_carrier_tracestate(told->carrier), text);

	if (held)
		atr_carrier_release(told->carrier);
	return same;
}

TEST(a_rate_is_one_as_long_as_it_is_used)
{
	struct atr_rate *half = atr_rate_take(atr_rate_threshold(0.5)), *none = NULL;
	struct atr_told told;

	if (!CHECK(half != NULL))
		return;
	told = atr_rate_told(&half);
	CHECK(told.known && told.threshold == ATR_RATE_NEVER / 2 && tells(&told, "ot=th:8"));
	CHECK(atr_rate_take(told.threshold) == half);
	CHECK(!atr_rate_told(&none).known);
	none = atr_rate_take(ATR_RATE_NEVER);
	CHECK(atr_rate_told(&none).carrier == NULL);
	for (uint64_t i = 1; i < 5000; i++) {
		struct atr_rate *r = atr_rate_take(i);

		CHECK(r && r != half && r != none);
		atr_rate_give(r);
	}
	atr_rate_give(half);
	CHECK(tells(&told, "ot=th:8"));
	/* The ones that were given back last are still there, and what was told of them. */
	CHECK(atr_rate_take(4999 - ATR_RATES_MAX / 2) != NULL);
	atr_rate_give(half);
	atr_rate_give(NULL);
	for (uint64_t i = 1; i < ATR_RATES_MAX; i++)
		CHECK(atr_rate_take(10000 + i) || i > ATR_RATES_MAX - 3);
	CHECK(!tells(&told, "ot=th:8"));
	CHECK(atr_rate_take(20000) == NULL);
}

TEST(the_randomness_is_the_last_seven_bytes)
{
	const uint8_t id[16] = { [8] = 0xff, 0x01, 2, 3, 4, 5, 6, 7 };

	CHECK_INT(atr_rate_randomness(id), 0x01020304050607);
}
