/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_BATCH_H
#define ATR_EXPORTER_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exporter/buf.h"
#include "preload/host.h"

/*
 * The queue between the rings and the transport: spans in the order they came,
 * cut into batches at the front.  Pure.
 *
 * They are kept as one run of bytes, each span already as the field it will be
 * in the request, so the front of the queue is a request's body as it is.
 * Bounded in spans and in bytes; its memory is kept and used again.
 */

/* The longest run of spans that is put into one request (OTLP: 64 MiB, head included). */
#define ATR_BATCH_BYTES (63u << 20)

struct atr_batch {
	struct atr_buf bytes;
	size_t head;	      /* bytes in front that are popped already */
	struct atr_buf where; /* struct atr_place of each span; those in front may be popped */
	size_t max_spans;     /* in the queue */
	size_t max_batch;     /* in one request */
	uint64_t pushed;      /* spans, ever */
	uint64_t popped;
	size_t places_popped; /* in front of `where` */
};

void atr_batch_init(struct atr_batch *b, size_t max_spans, size_t max_batch);
void atr_batch_finish(struct atr_batch *b);

static inline size_t atr_batch_len(const struct atr_batch *b)
{
	return (size_t)(b->pushed - b->popped);
}

/* How many more spans fit for certain, however long they are. */
size_t atr_batch_room(const struct atr_batch *b);

/* False when there is no memory: the span is not in the queue. */
bool atr_batch_push(struct atr_batch *b, const uint8_t *span, size_t len,
		    const struct atr_place *place);

/* The next request's spans as ScopeSpans fields; returns how many, *bytes and *len what they are.
 */
size_t atr_batch_front(const struct atr_batch *b, const uint8_t **bytes, size_t *len);

/* The places of its spans. */
static inline const struct atr_place *atr_batch_places(const struct atr_batch *b)
{
	return (const struct atr_place *)(const void *)b->where.bytes + b->places_popped;
}

/* Removes what atr_batch_front() told. */
void atr_batch_pop(struct atr_batch *b, size_t n_spans, size_t len);

/* Forgets all. */
void atr_batch_clear(struct atr_batch *b);

#endif
