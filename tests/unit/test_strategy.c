/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/rate.o preload/carrier.o preload/pool.o preload/sys.o preload/text.o */
#include <pthread.h>

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

static struct atr_strategy changing = {
	.per_second = -1,
	.n_operations = 2,
	.operations = { { { "a", 1 }, 0.5 }, { { "b", 1 }, 0.25 } },
};
static bool enough;

static void *decider(void *arg)
{
	static const char *const names[] = { "a", "b", "c" };
	uint64_t wrong = 0;

	for (unsigned i = 0; !__atomic_load_n(&enough, __ATOMIC_RELAXED); i++) {
		const struct atr_rate *by;
		uint64_t r = (i * 0x9e3779b97f4a7c15u) >> 8;
		bool sampled = atr_strategy_decide(r, (struct atr_slice){ names[i % 3], 1 },
						   SECOND + i, &by);

		/* Whatever it was decided by, that is what is told. */
		wrong += by && (!sampled || r < by->threshold);
	}
	*(uint64_t *)arg = wrong;
	return NULL;
}

TEST(it_may_change_under_those_who_decide)
{
	uint64_t wrong[3];
	pthread_t threads[3];

	atr_strategy_use(&changing);
	for (int i = 0; i < 3; i++)
		CHECK_INT(pthread_create(&threads[i], NULL, decider, &wrong[i]), 0);
	for (int i = 0; i < 2000; i++) {
		changing.ratio = (i % 5) / 4.0;
		changing.lower = i % 3;
		changing.per_second = i % 7 ? -1 : 1000;
		changing.n_operations = (size_t)i % 3;
		atr_strategy_use(&changing);
	}
	__atomic_store_n(&enough, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 3; i++) {
		(void)pthread_join(threads[i], NULL);
		CHECK_INT(wrong[i], 0);
	}
}
