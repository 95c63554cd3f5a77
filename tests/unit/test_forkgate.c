/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/sys.o preload/clock.o -lpthread */
#include "preload/forkgate.c"
#include "tests/unit/test.h"

#include <pthread.h>

TEST(a_taken_gate_is_not_had_and_the_wait_is_bounded)
{
	uint64_t before;

	CHECK(atr_forkgate_take(0));
	before = atr_now();
	CHECK(!atr_forkgate_take(20000000));
	CHECK(atr_now() - before >= 20000000);
	atr_forkgate_leave();
	CHECK(atr_forkgate_take(0));
	atr_forkgate_forked();
	CHECK(atr_forkgate_take(0));
	atr_forkgate_leave();
}

static unsigned inside, rounds, broken;

static void *passer(void *arg)
{
	(void)arg;
	for (int i = 0; i < 20000; i++) {
		while (!atr_forkgate_take(1000000000))
			;
		if (inside++)
			broken++;
		rounds++;
		inside--;
		atr_forkgate_leave();
	}
	return NULL;
}

TEST(one_at_a_time_passes_and_nobody_is_left_waiting)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		CHECK_INT(pthread_create(&threads[i], NULL, passer, NULL), 0);
	for (int i = 0; i < 4; i++)
		(void)pthread_join(threads[i], NULL);
	CHECK_INT(broken, 0);
	CHECK_INT(rounds, 80000);
}
