/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte ring of records, one writer and one reader, no lock and no wait.
 *
 * Positions only grow; position modulo size is the place.  A record never wraps:
 * where the rest of the ring is too short for the longest record, the writer
 * fills it with a padding record (span_len 0) and begins again in front.  So
 * the reader can hand out records in place.
 *
 * The reader trusts nothing: a record whose lengths do not fit makes it skip
 * everything up to the head.
 */
#include "preload/ring.h"

#include <stdbool.h>

#include "preload/compiler.h"

static uint8_t *data(const struct atr_ring *ring)
{
	return (uint8_t *)ring + ATR_RING_DATA;
}

void atr_ring_init(struct atr_ring *ring, uint32_t size)
{
	ring->magic = ATR_RING_MAGIC;
	ring->version = 1;
	ring->size = size;
	_Static_assert(sizeof(struct atr_ring) <= ATR_RING_DATA, "the header fits its page");
}

struct atr_record *atr_ring_reserve(struct atr_ring *ring)
{
	uint64_t head = ring->head;
	/* Pairs with the release in atr_ring_release(): the reader is done with
	 * what we are about to overwrite. */
	uint64_t room = ring->size - (head - atr_load_acquire(&ring->tail));
	uint64_t at = head & (ring->size - 1);
	uint64_t to_end = ring->size - at;

	if (to_end < ATR_RECORD_MAX) {
		struct atr_record *pad = (struct atr_record *)(data(ring) + at);

		if (room < to_end + ATR_RECORD_MAX)
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

uint64_t atr_ring_tail(const struct atr_ring *ring)
{
	return atr_load(&ring->tail);
}

static bool sound(const struct atr_record *r, uint64_t avail)
{
	return avail >= sizeof(*r) && r->size >= sizeof(*r) && r->size <= avail &&
	       r->size % ATR_RECORD_ALIGN == 0 && r->span_len <= r->size - sizeof(*r) &&
	       (!r->span_len || r->n_addrs * sizeof(uint64_t) <=
					r->size - sizeof(*r) - atr_record_addrs_at(r->span_len));
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
		if (!sound(r, avail)) {
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
	/* Pairs with the acquire in atr_ring_reserve(). */
	atr_store_release(&ring->tail, pos);
}
