/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/batch.h"

#include <string.h>

#include "exporter/code.h"
#include "exporter/otlp.h"
#include "preload/record.h"

/* A span's field is at most this long: tag, length, what a record can hold, what is added. */
#define HEAD_MAX 16 /* tag and length */
#define FIELD_MAX (HEAD_MAX + ATR_RECORD_MAX + ATR_CODE_MAX)

void atr_batch_init(struct atr_batch *b, size_t max_spans, size_t max_batch)
{
	*b = (struct atr_batch){
		.max_spans = max_spans,
		.max_batch = max_batch < max_spans ? max_batch : max_spans,
	};
}

void atr_batch_finish(struct atr_batch *b)
{
	atr_buf_free(&b->bytes);
	atr_buf_free(&b->where);
}

size_t atr_batch_room(const struct atr_batch *b)
{
	size_t spans = b->max_spans - atr_batch_len(b);
	size_t used = b->bytes.len - b->head;
	size_t by_bytes = used < ATR_BATCH_BYTES ? (ATR_BATCH_BYTES - used) / FIELD_MAX : 0;

	return spans < by_bytes ? spans : by_bytes;
}

/* The same for the places. */
static void compact_places(struct atr_batch *b)
{
	const size_t size = sizeof(struct atr_place);
	size_t left = b->where.len / size - b->places_popped;

	if (b->where.room - b->where.len >= size || b->places_popped < left)
		return;
	memmove(b->where.bytes, b->where.bytes + b->places_popped * size, left * size);
	b->where.len = left * size;
	b->places_popped = 0;
}

/* Moves the queue to the front of its memory when that makes room and costs little. */
static void compact(struct atr_batch *b, size_t more)
{
	struct atr_buf *bytes = &b->bytes;

	if (bytes->room - bytes->len >= more || b->head < bytes->len - b->head)
		return;
	bytes->len -= b->head;
	memmove(bytes->bytes, bytes->bytes + b->head, bytes->len);
	b->head = 0;
}

bool atr_batch_push(struct atr_batch *b, const uint8_t *span, size_t len,
		    const struct atr_place *place)
{
	size_t before;

	if (b->head)
		compact(b, len + HEAD_MAX);
	if (b->places_popped)
		compact_places(b);
	before = b->bytes.len;
	atr_buf_add(&b->where, place, sizeof(*place));
	if (b->where.failed) {
		b->where.failed = false;
		return false;
	}
	atr_otlp_add_span(&b->bytes, span, len);
	if (b->bytes.failed) {
		b->bytes.len = before;
		b->bytes.failed = false;
		b->where.len -= sizeof(*place);
		return false;
	}
	b->pushed++;
	return true;
}

size_t atr_batch_front(const struct atr_batch *b, const uint8_t **bytes, size_t *len)
{
	size_t left = b->bytes.len - b->head;
	size_t n = 0;

	*bytes = b->bytes.bytes + b->head;
	*len = 0;
	while (n < b->max_batch && n < atr_batch_len(b)) {
		size_t field = atr_otlp_span_field(*bytes + *len, left - *len);

		if (n && *len + field > ATR_BATCH_BYTES)
			break;
		*len += field;
		n++;
	}
	return n;
}

void atr_batch_pop(struct atr_batch *b, size_t n_spans, size_t len)
{
	b->popped += n_spans;
	b->places_popped += n_spans;
	b->head += len;
	if (b->head == b->bytes.len)
		b->head = b->bytes.len = 0;
}

void atr_batch_clear(struct atr_batch *b)
{
	b->popped = b->pushed;
	b->head = b->bytes.len = 0;
	b->places_popped = b->where.len = 0;
}
