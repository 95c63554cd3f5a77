/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_POOL_H
#define ATR_PRELOAD_POOL_H

#include <stddef.h>
#include <stdint.h>

/*
 * Objects of one size, from memory of our own (never the program's heap), taken
 * and given back without a lock from any thread and any signal handler.  Memory
 * is type-stable: once an object, always an object of this pool, so a stale
 * pointer may be read and its generation compared.  Never unmapped.
 *
 * The object's first member is `struct atr_pooled`; it is the pool's.  Objects
 * come zeroed the first time only; taking one again gives it as it was left.
 */
struct atr_pooled {
	uint32_t self; /* index + 1 */
	uint32_t next; /* of the free list: index + 1 */
};

#define ATR_POOL_CHUNKS 1024

struct atr_pool {
	size_t size;	    /* of an object */
	uint32_t per_chunk; /* objects mapped at once */
	uint32_t max;	    /* objects at most, <= per_chunk * ATR_POOL_CHUNKS */
	uint32_t n_made;    /* indices given out for the first time */
	uint64_t free;	    /* tag << 32 | index + 1 of the first free one */
	void *chunks[ATR_POOL_CHUNKS];
};

/* NULL when there are `max` already or memory is refused. */
void *atr_pool_take(struct atr_pool *pool);
void atr_pool_give(struct atr_pool *pool, void *object);

/* Like take, but only what was given back before; NULL when there is nothing. */
void *atr_pool_take_again(struct atr_pool *pool);

/* The object of that index, below pool->n_made; whoever has it may be using it. */
void *atr_pool_at(struct atr_pool *pool, uint32_t index);

#endif
