/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/rate.o preload/carrier.o preload/pool.o preload/sys.o preload/text.o */
#include "preload/stats.h"
#include "preload/strategy.c"
#include "tests/unit/test.h"

struct atr_stats atr_stats;

#define SECOND 1000000000ull
#define TOP (ATR_RATE_NEVER - 1)

static const struct atr_rate *rate;

static bool decide(uint64_t r, const char *name, uint64_t now)
{
	return atr_strategy_decide(r, (struct atr_slice){ name, name ? strlen(name) : 0 }, now,
				   &rate);
}

TEST(a_ratio_decides_by_its_threshold)
{
	const struct atr_strategy s = { .ratio = 0.25, .per_second = -1 };

	atr_strategy_use(&s);
	CHECK(!atr_strategy_wants_name());
	CHECK(decide(TOP, NULL, 1) && rate && rate->threshold == 0xc0000000000000);
	CHECK(!decide(0, NULL, 1) && !rate);
}

TEST(a_limit_lets_so_many_through_with_no_threshold)
{
	const struct atr_strategy s = { .ratio = 1, .per_second = 3 };
	unsigned n = 0;

	atr_strategy_use(&s);
	for (int i = 0; i < 10; i++) {
		n += decide(0, NULL, 50 * SECOND);
		CHECK(!rate);
	}
	CHECK_INT(n, 3);
}

TEST(operations_have_their_own_ratios_and_others_the_default)
{
	static struct atr_strategy s = {
		.ratio = 0.5,
		.per_second = -1,
		.n_operations = 2,
		.operations = { { { "GET /a", 6 }, 1 }, { { "GET /b", 6 }, 0 } },
	};

	atr_strategy_use(&s);
	CHECK(atr_strategy_wants_name());
	CHECK(decide(0, "GET /a", 1) && rate && !rate->threshold);
	CHECK(!decide(TOP, "GET /b", 1));
	CHECK(!decide(0, "GET /c", 1) && decide(TOP, "GET /c", 1));
	CHECK(!decide(0, NULL, 1) && decide(TOP, NULL, 1));
	s.n_operations = 0;
	atr_strategy_use(&s);
	CHECK(!decide(0, "GET /a", 1));
}

TEST(the_lower_bound_is_each_operation_s_and_tells_no_threshold)
{
	static struct atr_strategy s = {
		.ratio = 0,
		.per_second = -1,
		.lower = 2,
		.n_operations = 2,
		.operations = { { { "a", 1 }, 0 }, { { "b", 1 }, 1 } },
	};
	unsigned a = 0, b = 0, other = 0;

	atr_strategy_use(&s);
	for (int i = 0; i < 10; i++) {
		a += decide(0, "a", 70 * SECOND);
		CHECK(!rate);
		b += decide(0, "b", 70 * SECOND);
		CHECK(rate && !rate->threshold);
		other += decide(0, i % 2 ? "c" : NULL, 70 * SECOND);
	}
	CHECK_INT(a, 2);
	CHECK_INT(b, 10);
	CHECK_INT(other, 2);
	/* The same again: what was taken stays taken. */
	atr_strategy_use(&s);
	CHECK(!decide(0, "a", 70 * SECOND));
}
