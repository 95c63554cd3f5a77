/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/rate.o preload/carrier.o preload/pool.o preload/sys.o preload/text.o */
#include <pthread.h>

#include "preload/carrier.h"
#include "preload/stats.h"
#include "preload/strategy.c"
#include "tests/unit/test.h"

struct atr_stats atr_stats;

#define SECOND 1000000000ull
#define TOP (ATR_RATE_NEVER - 1)

static struct atr_told told;

static bool decide(uint64_t r, const char *name, uint64_t now)
{
	return atr_strategy_decide(r, (struct atr_slice){ name, name ? strlen(name) : 0 }, now,
				   &told);
}

TEST(a_ratio_decides_by_its_threshold)
{
	const struct atr_strategy s = { .ratio = 0.25, .per_second = -1 };

	atr_strategy_use(&s);
	CHECK(!atr_strategy_wants_name());
	CHECK(decide(TOP, NULL, 1) && told.known && told.threshold == 0xc0000000000000);
	CHECK(!decide(0, NULL, 1) && !told.known);
}

TEST(a_limit_lets_so_many_through_with_no_threshold)
{
	const struct atr_strategy s = { .ratio = 1, .per_second = 3 };
	unsigned n = 0;

	atr_strategy_use(&s);
	for (int i = 0; i < 10; i++) {
		n += decide(0, NULL, 50 * SECOND);
		CHECK(!told.known);
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
	CHECK(decide(0, "GET /a", 1) && told.known && !told.threshold);
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
		CHECK(!told.known);
		b += decide(0, "b", 70 * SECOND);
		CHECK(told.known && !told.threshold);
		other += decide(0, i % 2 ? "c" : NULL, 70 * SECOND);
	}
	CHECK_INT(a, 2);
	CHECK_INT(b, 10);
	CHECK_INT(other, 2);
	/* The same again: what was taken stays taken. */
	atr_strategy_use(&s);
	CHECK(!decide(0, "a", 70 * SECOND));
}

TEST(a_new_strategy_counts_however_many_there_were)
{
	static struct atr_strategy s = { .per_second = -1,
					 .n_operations = ATR_STRATEGY_OPERATIONS };
	static char names[ATR_STRATEGY_OPERATIONS][8];

	for (unsigned i = 0; i < ATR_STRATEGY_OPERATIONS; i++)
		s.operations[i].name =
			(struct atr_slice){ names[i], (size_t)sprintf(names[i], "op%u", i) };
	for (unsigned i = 1; i <= 40; i++) {
		for (unsigned k = 0; k < ATR_STRATEGY_OPERATIONS; k++)
			s.operations[k].ratio = (i * ATR_STRATEGY_OPERATIONS + k) / 20000.0;
		s.ratio = i / 40.0;
		atr_strategy_use(&s);
		CHECK(decide(TOP, "other", 1) && told.known);
		CHECK_INT(told.threshold, atr_rate_threshold(s.ratio));
		CHECK(decide(TOP, "op255", 1) && told.known && told.carrier);
		CHECK_INT(told.threshold, atr_rate_threshold(s.operations[255].ratio));
	}
	s.n_operations = 0;
	s.ratio = 0;
	atr_strategy_use(&s);
	CHECK(!decide(TOP, NULL, 1));
	s.ratio = 1;
	atr_strategy_use(&s);
	CHECK(decide(0, NULL, 1) && told.known && !told.threshold);
}

static struct atr_strategy changing = {
	.per_second = -1,
	.n_operations = 2,
	.operations = { { { "a", 1 }, 0.5 }, { { "b", 1 }, 0.25 } },
};
static bool enough;

/* The text is the threshold's, as long as it is there. */
static bool same(const struct atr_told *by)
{
	struct atr_slice text;
	uint64_t t = 0;
	bool good;

	if (!by->carrier || !atr_carrier_hold(by->carrier, by->carrier_gen))
		return true;
	text = atr_carrier_tracestate(by->carrier);
	good = atr_rate_read((struct atr_slice){ text.p + 6, text.len - 6 }, &t) &&
	       t == by->threshold;
	atr_carrier_release(by->carrier);
	return good;
}

static void *decider(void *arg)
{
	static const char *const names[] = { "a", "b", "c" };
	uint64_t wrong = 0;

	for (unsigned i = 0; !__atomic_load_n(&enough, __ATOMIC_RELAXED); i++) {
		struct atr_told by;
		uint64_t r = (i * 0x9e3779b97f4a7c15u) >> 8;
		bool sampled = atr_strategy_decide(r, (struct atr_slice){ names[i % 3], 1 },
						   SECOND + i, &by);

		/* Whatever it was decided by, that is what is told. */
		wrong += by.known && (!sampled || r < by.threshold || !same(&by));
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
		changing.operations[0].ratio = 0.25 + i / 8000.0;
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
