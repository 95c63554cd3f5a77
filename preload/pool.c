/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Free objects hang in a stack whose head carries a tag that changes with every
 * push and pop, so that a pop that was overtaken fails instead of taking a stale
 * `next` (the ABA problem).  New ones are cut from chunks that are mapped when
 * their first object is wanted.
 */
#include "preload/pool.h"

#include "preload/compiler.h"
#include "preload/sys.h"

static struct atr_pooled *object(struct atr_pool *pool, uint32_t index)
{
	/* Pairs with the compare-exchange in chunk(). */
	char *chunk = atr_load_acquire(&pool->chunks[index / pool->per_chunk]);

	return (struct atr_pooled *)(chunk + pool->size * (index % pool->per_chunk));
}

/* Makes sure that the chunk of `index` is mapped; 0 or -1. */
static int chunk(struct atr_pool *pool, uint32_t index)
{
	void **slot = &pool->chunks[index / pool->per_chunk];
	size_t len = pool->size * pool->per_chunk;
	void *none = NULL, *map;

	if (atr_load_acquire(slot))
		return 0;
	map = atr_sys_map(len);
	if (!map)
		return -1;
	if (!__atomic_compare_exchange_n(slot, &none, map, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		atr_sys_unmap(map, len); /* another thread was first */
	return 0;
}

static void *make(struct atr_pool *pool)
{
	uint32_t index = atr_load(&pool->n_made);
	struct atr_pooled *o;

	do {
		if (index >= pool->max || chunk(pool, index) < 0)
			return NULL;
	} while (!__atomic_compare_exchange_n(&pool->n_made, &index, index + 1, 0, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	o = object(pool, index);
	o->self = index + 1;
	return o;
}

void *atr_pool_take_again(struct atr_pool *pool)
{
	uint64_t head = atr_load_acquire(&pool->free);

	while ((uint32_t)head) {
		struct atr_pooled *o = object(pool, (uint32_t)head - 1);
		uint64_t next = ((head >> 32) + 1) << 32 | atr_load(&o->next);

		if (__atomic_compare_exchange_n(&pool->free, &head, next, 0, __ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE))
			return o;
	}
	return NULL;
}

void *atr_pool_take(struct atr_pool *pool)
{
	void *o = atr_pool_take_again(pool);

	return o ? o : make(pool);
}

void atr_pool_give(struct atr_pool *pool, void *p)
{
	struct atr_pooled *o = p;
	uint64_t head = atr_load(&pool->free), next;

	do {
		atr_store(&o->next, (uint32_t)head);
		next = ((head >> 32) + 1) << 32 | o->self;
	} while (!__atomic_compare_exchange_n(&pool->free, &head, next, 0, __ATOMIC_RELEASE,
					      __ATOMIC_RELAXED));
}

void *atr_pool_at(struct atr_pool *pool, uint32_t index)
{
	return object(pool, index);
}
