/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/rate.o preload/carrier.o preload/pool.o preload/sys.o preload/text.o */
#include <pthread.h>

#include "preload/adaptive.c"
#include "preload/stats.h"
#include "tests/unit/test.h"

struct atr_stats atr_stats;

static uint64_t clock_now = 100ull * SECOND;

/* `seconds` of so many traces per second; returns how many were sampled. */
static unsigned load(double per_second, double seconds)
{
	unsigned sampled = 0, n = (unsigned)(per_second * seconds);

	for (unsigned i = 0; i < n; i++) {
		uint64_t r = ((uint64_t)rand() << 31 ^ (uint64_t)rand()) & (ATR_RATE_NEVER - 1);
		const struct atr_rate *rate;

		r = (r << 8 ^ (uint64_t)rand()) & (ATR_RATE_NEVER - 1);
		clock_now += (uint64_t)(SECOND / per_second);
		rate = atr_adaptive_rate(clock_now);
		if (r >= rate->told.threshold) {
			sampled++;
			atr_adaptive_sampled();
		}
	}
	return sampled;
}

TEST(it_comes_to_its_target_from_whatever_load)
{
	static const double loads[] = { 50, 1000, 20000 };

	srand(5);
	for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
		unsigned n;

		atr_adaptive_init(20, 1);
		n = load(loads[i], 5);
		CHECK(n >= 60 && n < 220); /* to begin with: not a storm */
		n = load(loads[i], 30);
		if (!CHECK(n > 600 * 0.8 && n < 600 * 1.2))
			printf("  load %g: %u of 600\n", loads[i], n);
	}
}

TEST(it_follows_a_load_that_changes)
{
	unsigned n;

	srand(6);
	atr_adaptive_init(20, 1);
	(void)load(100, 10);
	n = load(10000, 2); /* a hundred times as much: seen long before the second is over */
	CHECK(n < 150);
	n = load(10000, 20);
	CHECK(n > 400 * 0.8 && n < 400 * 1.2);
	(void)load(100, 12);
	n = load(100, 20);
	CHECK(n > 400 * 0.8 && n < 400 * 1.2);
}

TEST(below_the_target_all_are_taken_up_to_the_ratio_that_was_set)
{
	unsigned n;

	srand(7);
	atr_adaptive_init(100, 1);
	(void)load(10, 3);
	CHECK_INT(load(10, 10), 100);
	atr_adaptive_init(100, 0.25);
	n = load(100, 20);
	CHECK(n > 500 * 0.8 && n < 500 * 1.2);
	CHECK_INT(atr_adaptive_rate(clock_now)->told.threshold, 0xc0000000000000);
}

TEST(the_steps_are_few)
{
	const struct atr_rate *before = NULL;
	unsigned n = 0;

	atr_adaptive_init(1, 1);
	for (double p = 1; p > 1e-12; p *= 0.999) {
		const struct atr_rate *rate = rate_for(p);

		n += rate != before;
		before = rate;
	}
	CHECK(n > 400 && n < 520);
}

static void *beginner(void *arg)
{
	for (unsigned i = 0; i < 200000; i++) {
		uint64_t now = __atomic_add_fetch(&clock_now, 1000, __ATOMIC_RELAXED);

		if ((i * 0x9e3779b97f4a7c15u) >> 8 >= atr_adaptive_rate(now)->told.threshold) {
			atr_adaptive_sampled();
			(void)__atomic_add_fetch((unsigned *)arg, 1, __ATOMIC_RELAXED);
		}
	}
	return NULL;
}

TEST(threads_steer_together)
{
	pthread_t threads[4];
	unsigned sampled = 0;

	atr_adaptive_init(1000, 1); /* of a million per second */
	for (int i = 0; i < 4; i++)
		CHECK_INT(pthread_create(&threads[i], NULL, beginner, &sampled), 0);
	for (int i = 0; i < 4; i++)
		(void)pthread_join(threads[i], NULL);
	CHECK(sampled > 400 && sampled < 30000);
	CHECK_INT(steer.busy, 0);
}
