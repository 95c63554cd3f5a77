/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue of statements of any length in a ring of bytes.  Each lies in one piece;
 * where the rest of the ring is too short for the next one, a size of 0 says so.
 * Without room a statement is only counted: those behind it are too, until the
 * results of all of them have come, so that results and statements stay in step.
 */
#include "hooks/pgqueue.h"

#include <string.h>

#include "preload/compiler.h"
#include "preload/pool.h"

struct atr_pglarge {
	struct atr_pooled pooled;
	_Alignas(8) uint8_t bytes[ATR_PGQUEUE_LARGE - sizeof(struct atr_pooled)];
};

static struct atr_pool larges = {
	.size = sizeof(struct atr_pglarge),
	.per_chunk = 1,
	.max = ATR_POOL_CHUNKS,
};

static uint8_t *bytes_of(struct atr_pgqueue *q)
{
	return q->large ? q->large->bytes : q->own;
}

static uint32_t size_of(const struct atr_pgqueue *q)
{
	return q->large ? sizeof(q->large->bytes) & ~7u : sizeof(q->own);
}

void atr_pgqueue_init(struct atr_pgqueue *q)
{
	q->large = NULL;
	q->n = q->head = q->tail = 0;
	q->gap = q->gap_syncs = 0;
	q->gap_answered = false;
}

void atr_pgqueue_shrink(struct atr_pgqueue *q)
{
	struct atr_pglarge *large = q->large;

	atr_pgqueue_init(q);
	if (large)
		atr_pool_give(&larges, large);
}

struct atr_pgstmt *atr_pgqueue_first(struct atr_pgqueue *q)
{
	struct atr_pgstmt *s;

	if (!q->n)
		return NULL;
	if (q->head < size_of(q)) {
		s = (void *)(bytes_of(q) + q->head);
		if (s->size)
			return s;
	}
	q->head = 0;
	return (void *)bytes_of(q);
}

/* Where `need` bytes in one piece are free; NULL: nowhere. */
static void *room(struct atr_pgqueue *q, uint32_t need)
{
	uint32_t end = size_of(q);

	if (!q->n)
		q->head = q->tail = 0;
	if (q->n && q->tail <= q->head) {
		end = q->head;
	} else if (end - q->tail < need && q->head >= need) {
		if (end - q->tail)
			*(uint32_t *)(void *)(bytes_of(q) + q->tail) = 0;
		q->tail = 0;
		end = q->head;
	}
	return end - q->tail >= need ? bytes_of(q) + q->tail : NULL;
}

/* All there are move to the large memory; false when none can be had. */
static bool grow(struct atr_pgqueue *q)
{
	struct atr_pglarge *large = q->large ? NULL : atr_pool_take(&larges);
	uint32_t n = q->n, at = 0;

	if (!large)
		return false;
	for (struct atr_pgstmt *s; (s = atr_pgqueue_first(q)); atr_pgqueue_pop(q)) {
		memcpy(large->bytes + at, s, s->size);
		at += s->size;
	}
	q->large = large;
	q->n = n;
	q->head = 0;
	q->tail = at;
	return true;
}

struct atr_pgstmt *atr_pgqueue_push(struct atr_pgqueue *q, size_t texts_len, bool sync)
{
	uint32_t need = (uint32_t)((sizeof(struct atr_pgstmt) + texts_len + 7) & ~(size_t)7);
	struct atr_pgstmt *s = NULL;

	if (!q->gap && !q->gap_syncs) {
		s = room(q, need);
		if (!s && grow(q))
			s = room(q, need);
	}
	if (!s) {
		q->gap += !sync;
		q->gap_syncs += sync;
		return NULL;
	}
	s->size = need;
	s->sync = sync;
	q->tail += need;
	q->n++;
	return s;
}

void atr_pgqueue_pop(struct atr_pgqueue *q)
{
	struct atr_pgstmt *s = atr_pgqueue_first(q);

	if (!s)
		return;
	q->head += s->size;
	q->n--;
}
