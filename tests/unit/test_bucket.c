/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>

#include "preload/bucket.h"
#include "tests/unit/test.h"

#define SECOND 1000000000ull

static unsigned take(struct atr_bucket *b, uint64_t from, uint64_t to, uint64_t step)
{
	unsigned n = 0;

	for (uint64_t t = from; t < to; t += step)
		n += atr_bucket_take(b, t);
	return n;
}

TEST(a_second_s_worth_at_once_and_then_one_by_one)
{
	struct atr_bucket b = { .next = 0 };

	atr_bucket_set(&b, 5);
	for (int i = 0; i < 5; i++)
		CHECK(atr_bucket_take(&b, 100 * SECOND));
	CHECK(!atr_bucket_take(&b, 100 * SECOND));
	CHECK(!atr_bucket_take(&b, 100 * SECOND + SECOND / 5 - 1));
	CHECK(atr_bucket_take(&b, 100 * SECOND + SECOND / 5));
	CHECK(!atr_bucket_take(&b, 100 * SECOND + SECOND / 5));
	/* A long time later it is full again, and no more than that. */
	CHECK_INT(take(&b, 500 * SECOND, 500 * SECOND + 1000, 1), 5);
}

TEST(over_a_minute_it_is_the_rate_and_the_first_second_s)
{
	static const double rates[] = { 0.5, 1, 3, 7, 100, 2500 };

	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		struct atr_bucket b = { .next = 0 };
		double most = rates[i] * 60 + (rates[i] > 1 ? rates[i] : 1);
		unsigned n;

		atr_bucket_set(&b, rates[i]);
		n = take(&b, 1000 * SECOND, 1060 * SECOND, 50000);
		CHECK(n <= most + 0.5);
		CHECK(n >= most - 2);
	}
}

TEST(none_is_none)
{
	struct atr_bucket b = { .next = 0 };

	atr_bucket_set(&b, 0);
	CHECK_INT(take(&b, 1, 10 * SECOND, SECOND / 10), 0);
	atr_bucket_set(&b, -3);
	CHECK_INT(take(&b, 1, 10 * SECOND, SECOND / 10), 0);
}

static struct atr_bucket shared;
static unsigned taken;

static void *taker(void *arg)
{
	unsigned n = 0;

	for (int i = 0; i < 20000; i++)
		n += atr_bucket_take(&shared, 7 * SECOND);
	__atomic_fetch_add(&taken, n, __ATOMIC_RELAXED);
	return arg;
}

TEST(threads_together_get_what_there_is)
{
	pthread_t threads[4];

	atr_bucket_set(&shared, 1000);
	for (int i = 0; i < 4; i++)
		CHECK_INT(pthread_create(&threads[i], NULL, taker, NULL), 0);
	for (int i = 0; i < 4; i++)
		(void)pthread_join(threads[i], NULL);
	CHECK_INT(taken, 1000);
}
