/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_TEST_SPOOL_FILE_H
#define ATR_TEST_SPOOL_FILE_H

/* A spool file as a process leaves it, made in memory: a header and rings of the least size. */
#include <string.h>

#include "preload/record.h"
#include "preload/ring.h"
#include "preload/spool.h"
#include "preload/sum.h"

#define SPOOL_STRIDE (ATR_RING_DATA + ATR_RING_LEAST)
#define SPOOL_FILE(n_rings) (ATR_SPOOL_HEADER + (n_rings) * (size_t)SPOOL_STRIDE)

static inline struct atr_ring *spool_ring(uint8_t *file, uint32_t i)
{
	return (struct atr_ring *)(void *)(file + ATR_SPOOL_HEADER + i * (size_t)SPOOL_STRIDE);
}

static inline struct atr_spool_file *spool_head(uint8_t *file)
{
	return (struct atr_spool_file *)(void *)file;
}

static inline void spool_file(uint8_t *file, uint32_t n_rings, uint32_t pid)
{
	struct atr_spool_file *f = spool_head(file);
	static const char texts[] = "/bin/dead\0shop\0a=b";

	memset(file, 0, SPOOL_FILE(n_rings));
	f->magic = ATR_SPOOL_MAGIC;
	f->version = ATR_SPOOL_VERSION;
	f->pid = pid;
	f->stride = SPOOL_STRIDE;
	f->n_rings = n_rings;
	memcpy(f->text, texts, sizeof(texts));
	f->text_len = sizeof(texts);
	for (uint32_t i = 0; i < n_rings; i++) {
		spool_ring(file, i)->magic = ATR_RING_MAGIC;
		spool_ring(file, i)->version = 1;
		spool_ring(file, i)->size = ATR_RING_LEAST;
	}
}

/* Writes a record of span_len bytes behind the last one, padding where the ring ends. */
static inline struct atr_record *spool_record(struct atr_ring *ring, uint32_t span_len,
					      uint8_t value)
{
	uint64_t at = ring->head & (ring->size - 1);
	struct atr_record *r = (struct atr_record *)(void *)((uint8_t *)ring + ATR_RING_DATA + at);

	if (ring->size - at < ATR_RECORD_MAX) {
		if (ring->size - at >= sizeof(*r))
			*r = (struct atr_record){ .size = (uint32_t)(ring->size - at) };
		ring->head += ring->size - at;
		r = (struct atr_record *)(void *)((uint8_t *)ring + ATR_RING_DATA);
	}
	memset(r, 0, sizeof(*r));
	r->span_len = span_len;
	r->size = (uint32_t)((sizeof(*r) + span_len + 7) & ~(size_t)7);
	memset(r->span, value, r->size - sizeof(*r));
	r->checksum = atr_record_sum(r);
	ring->head += r->size;
	return r;
}

#endif
