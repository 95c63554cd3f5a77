/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte ring of records, one writer and one reader, no lock and no wait.
 *
 * Positions only grow; position modulo size is the place.  A record never wraps:
 * where the rest of the ring is too short for the longest record, the writer
 * fills it with a padding record (span_len 0) and begins again in front.  So
 * the reader can hand out records in place.
 *
 * In a file, positions say what is left after the process has died, so they are always
 * true: a record is whole before the head moves behind it, and the tail moves when it
 * need not be sent any more.
 *
 * The reader trusts nothing: a record whose lengths do not fit makes it skip
 * everything up to the head.
 */
#include "preload/ring.h"

#include <stdbool.h>

#include "preload/compiler.h"
#include "preload/spool.h"

static uint8_t *data(const struct atr_ring *ring)
{
	return (uint8_t *)ring + ATR_RING_DATA;
}

void atr_ring_init(struct atr_ring *ring, uint32_t size)
{
	ring->version = 1;
	ring->size = size;
	if (!ring->ready)
		ring->ready = size;
	atr_store_release(&ring->magic, ATR_RING_MAGIC);
	_Static_assert(sizeof(struct atr_ring) <= ATR_RING_DATA, "the header fits its page");
}

/*
 * May a record be written at `at`, and the padding that may have to follow it?  A ring in a file
 * gets more blocks here, once in every ATR_RING_CHUNK of its first round; where the disk has none
 * the ring is as long as what it has.
 */
static bool may_write(struct atr_ring *ring, uint64_t at)
{
	uint64_t end = at + ATR_RECORD_MAX + sizeof(struct atr_record), to;

	if (atr_likely(end <= ring->ready) || ring->ready == ring->size)
		return true;
	to = (end + ATR_RING_CHUNK) & ~(uint64_t)(ATR_RING_CHUNK - 1);
	if (to > ring->size)
		to = ring->size;
	if (!atr_spool_populate(data(ring) + ring->ready, to - ring->ready))
		return false;
	ring->ready = (uint32_t)to;
	return true;
}

struct atr_record *atr_ring_reserve(struct atr_ring *ring)
{
	uint64_t head = ring->head;
	/* Pairs with the release in atr_ring_release(): the reader is done with
	 * what we are about to overwrite. */
	uint64_t room = ring->size - (head - atr_load_acquire(&ring->tail));
	uint64_t at = head & (ring->size - 1);
	uint64_t to_end = ring->size - at;

	if (to_end < ATR_RECORD_MAX || atr_unlikely(!may_write(ring, at))) {
		struct atr_record *pad = (struct atr_record *)(data(ring) + at);

		if (room < to_end + ATR_RECORD_MAX || !may_write(ring, 0))
			goto full;
		/* The rest may be shorter than a header: then the reader knows by itself. */
		if (to_end >= sizeof(*pad)) {
			pad->size = (uint32_t)to_end;
			pad->span_len = 0;
		}
		atr_store_release(&ring->head, head + to_end);
		at = 0;
	} else if (room < ATR_RECORD_MAX) {
		goto full;
	}
	return (struct atr_record *)(data(ring) + at);
full:
	atr_store(&ring->dropped, ring->dropped + 1);
	return NULL;
}

void atr_ring_commit(struct atr_ring *ring, struct atr_record *record)
{
	atr_store(&ring->written, ring->written + 1);
	/* Pairs with the acquire in atr_ring_next(): the record is written
	 * before it is visible. */
	atr_store_release(&ring->head, ring->head + record->size);
}

size_t atr_ring_used(const struct atr_ring *ring)
{
	return (size_t)(atr_load(&ring->head) - atr_load(&ring->tail));
}

size_t atr_ring_unread(const struct atr_ring *ring)
{
	return (size_t)(atr_load(&ring->head) - atr_load(&ring->read));
}

void atr_ring_rewind(struct atr_ring *ring)
{
	ring->ready = 0;
	ring->shipped = 0;
	atr_store(&ring->read, 0);
	atr_store(&ring->head, 0);
	atr_store_release(&ring->tail, 0);
}

uint64_t atr_ring_tail(const struct atr_ring *ring)
{
	return atr_load(&ring->tail);
}

const struct atr_record *atr_ring_next(struct atr_ring *ring, uint64_t *pos)
{
	/* Pairs with the release in atr_ring_commit(). */
	uint64_t head = atr_load_acquire(&ring->head);

	while (*pos != head) {
		uint64_t at = *pos & (ring->size - 1);
		uint64_t avail = head - *pos;
		const struct atr_record *r = (const struct atr_record *)(data(ring) + at);

		if (avail > ring->size - at)
			avail = ring->size - at;
		if (avail < sizeof(*r) && avail == ring->size - at) {
			*pos += avail; /* a padding too short for a header */
			continue;
		}
		if (!atr_record_sound(r, avail)) {
			*pos = head;
			break;
		}
		*pos += r->size;
		if (r->span_len)
			return r;
	}
	return NULL;
}

void atr_ring_release(struct atr_ring *ring, uint64_t pos)
{
	if (pos - ring->tail > ring->size)
		return; /* behind it: what came later was released already */
	/* Pairs with the acquire in atr_ring_reserve(). */
	atr_store_release(&ring->tail, pos);
}
