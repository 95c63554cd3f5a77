/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_RING_H
#define ATR_PRELOAD_RING_H

#include <stddef.h>
#include <stdint.h>

#include "preload/record.h"

/*
 * A ring of records: one writer (the thread it belongs to), one reader (the
 * background thread).  The struct is the first page of a mapping, the data
 * follows; positions are byte counts that only grow.  Nothing in it is a
 * pointer, so the mapping may be a shared file that outlives the process.
 */
#define ATR_RING_MAGIC 0x474e495252544155ull
#define ATR_RING_DATA 4096
#define ATR_RING_LEAST 65536 /* bytes of data */
#define ATR_RING_CHUNK 32768 /* a ring in a file gets its blocks by so much */

struct atr_ring {
	/* Set once, before the ring is published. */
	uint64_t magic;
	uint32_t version;
	uint32_t size; /* bytes of data, a power of two */
	uint32_t pid;
	uint32_t tid;
	uint64_t start_time; /* of the process, clock ticks after boot: pid + start_time is its
				identity */

	/* The writer's line. */
	uint64_t head __attribute__((aligned(64))); /* end of the last committed record */
	uint64_t written;			    /* records committed, ever */
	uint64_t dropped;			    /* records that found no room */
	uint32_t retired; /* its thread is gone, and no other has taken it over */
	uint32_t ready;	  /* bytes of data that may be written to; in memory: all */

	/* The reader's line. */
	uint64_t tail __attribute__((aligned(64))); /* everything before it may be overwritten */
	uint64_t read;	  /* everything before it was seen by the reader, of this process */
	uint64_t shipped; /* what lies before it is with a collector whose answer is awaited;
			     less than tail: nothing is */
};

/*
 * Lays a ring of `size` data bytes (a power of two) into ATR_RING_DATA + size zeroed bytes.  With
 * `ready` set it is in a file, and grows by atr_spool_populate(); without it is in memory.
 */
void atr_ring_init(struct atr_ring *ring, uint32_t size);

/*
 * Writer: room for one record of at most ATR_RECORD_MAX bytes, or NULL when the
 * reader is behind (then counted in dropped).  Nothing is visible before
 * atr_ring_commit(), which takes record->size as filled in.
 */
struct atr_record *atr_ring_reserve(struct atr_ring *ring);
void atr_ring_commit(struct atr_ring *ring, struct atr_record *record);

/* Bytes committed and not yet released; not yet seen by the reader.  Either side. */
size_t atr_ring_used(const struct atr_ring *ring);
size_t atr_ring_unread(const struct atr_ring *ring);

/* Reader, with no writer at work and nothing in it: it begins anew, with no block of its own. */
void atr_ring_rewind(struct atr_ring *ring);

/*
 * Reader: the record at *pos, or NULL when there is none (or the ring is
 * corrupt: then it is skipped to its head).  Begin with *pos = atr_ring_tail();
 * *pos moves behind the record.  The bytes stay until atr_ring_release(pos), which
 * releases all in front of them as well; never backwards, for the writer may be there already.
 */
uint64_t atr_ring_tail(const struct atr_ring *ring);
const struct atr_record *atr_ring_next(struct atr_ring *ring, uint64_t *pos);
void atr_ring_release(struct atr_ring *ring, uint64_t pos);

#endif
