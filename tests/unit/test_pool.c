/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/sys.o -lpthread */
#include "preload/pool.c"
#include "tests/unit/test.h"

#include <pthread.h>

struct thing {
	struct atr_pooled pooled;
	uint32_t owner; /* 0: free */
	char pad[52];
};

static struct atr_pool pool = { .size = sizeof(struct thing), .per_chunk = 8, .max = 20 };

TEST(a_pool_gives_max_objects_then_none_then_again)
{
	struct thing *all[20];

	for (int i = 0; i < 20; i++) {
		all[i] = atr_pool_take(&pool);
		CHECK(all[i] != NULL);
		for (int k = 0; k < i; k++)
			CHECK(all[k] != all[i]);
	}
	CHECK(atr_pool_take(&pool) == NULL);
	for (int i = 0; i < 20; i++)
		atr_pool_give(&pool, all[i]);
	for (int i = 0; i < 20; i++)
		all[i] = atr_pool_take(&pool);
	CHECK(all[19] != NULL);
	CHECK(atr_pool_take(&pool) == NULL);
}

static struct atr_pool shared = { .size = sizeof(struct thing), .per_chunk = 64, .max = 256 };
static uint32_t clashes, rounds;

static void *taker(void *arg)
{
	uint32_t me = (uint32_t)(uintptr_t)arg, none;

	for (int i = 0; i < 100000; i++) {
		struct thing *mine[4];

		for (int k = 0; k < 4; k++) {
			mine[k] = atr_pool_take(&shared);
			none = 0;
			if (mine[k] &&
			    !__atomic_compare_exchange_n(&mine[k]->owner, &none, me, 0,
							 __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
				atr_add(&clashes, 1);
		}
		for (int k = 0; k < 4; k++) {
			if (!mine[k])
				continue;
			atr_store_release(&mine[k]->owner, 0);
			atr_pool_give(&shared, mine[k]);
			atr_add(&rounds, 1);
		}
	}
	return NULL;
}

TEST(no_object_has_two_owners_at_a_time)
{
	pthread_t threads[4];

	for (uintptr_t i = 0; i < 4; i++)
		CHECK_INT(pthread_create(&threads[i], NULL, taker, (void *)(i + 1)), 0);
	for (int i = 0; i < 4; i++)
		(void)pthread_join(threads[i], NULL);
	CHECK_INT(clashes, 0);
	CHECK(rounds > 100000);
	CHECK(shared.n_made <= 16);
}
