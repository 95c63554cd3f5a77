/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A span that is too short to pass any limit is left alone, and that is nearly every
 * one.  Of others the fields are walked to see whether they do, and only then
 * written anew.  The first attributes stay, in the order they were
 * written; a value is cut behind a whole character.
 */
#include "exporter/limits.h"

#include <stdbool.h>
#include <string.h>

#include "preload/config.h"
#include "preload/pb.h"

enum {
	SPAN_ATTRIBUTES = 9,
	SPAN_DROPPED_ATTRIBUTES = 10,
	KEYVALUE_VALUE = 2,
	ANYVALUE_STRING = 1,
	ANYVALUE_ARRAY = 5,
	ANYVALUE_BYTES = 7,
	ARRAY_VALUES = 1,
};

/* Bytes of the shortest attribute: a key of one letter, and no value. */
#define ATTRIBUTE_MIN 5

/* A string in an array.  What lies deeper is not ours, and stays. */
#define DEPTH_MAX 2

struct field {
	unsigned number, type;
	const uint8_t *start; /* its tag */
	const uint8_t *p;     /* what is in it; of a varint nothing */
	size_t len;
	uint64_t value; /* of a varint */
};

static inline bool varint(const uint8_t **p, const uint8_t *end, uint64_t *v)
{
	if (*p < end && **p < 0x80) {
		*v = *(*p)++;
		return true;
	}
	*v = 0;
	for (unsigned shift = 0; *p < end && shift < 64; shift += 7) {
		uint8_t byte = *(*p)++;

		*v |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return true;
	}
	return false;
}

/* The field at *p, which is moved behind it; false: the message ends, or is none. */
static bool next(struct field *f, const uint8_t **p, const uint8_t *end)
{
	uint64_t tag, len = 0;

	f->start = *p;
	f->value = 0;
	if (!varint(p, end, &tag))
		return false;
	f->number = (unsigned)(tag >> 3);
	f->type = tag & 7;
	switch (f->type) {
	case ATR_PB_VARINT:
		if (!varint(p, end, &f->value))
			return false;
		break;
	case ATR_PB_FIXED64:
		len = 8;
		break;
	case ATR_PB_FIXED32:
		len = 4;
		break;
	case ATR_PB_LEN:
		if (!varint(p, end, &len))
			return false;
		break;
	default:
		return false;
	}
	f->p = *p;
	f->len = (size_t)len;
	if (len > (uint64_t)(end - *p))
		return false;
	*p += len;
	return true;
}

/* Bytes of the first `max` characters. */
static size_t cut(const uint8_t *s, size_t len, size_t max)
{
	if (len <= max)
		return len;
	for (size_t i = 0; i < len; i++)
		if ((s[i] & 0xc0) != 0x80 && max-- == 0)
			return i;
	return len;
}

/* How long the content of a field becomes when it is cut, and that into `out` if there is one. */
static size_t any_value(uint8_t *out, const struct field *any, size_t max, unsigned depth);

static size_t put_nested(uint8_t *out, unsigned number, const struct field *f, size_t max,
			 unsigned depth,
			 size_t content(uint8_t *, const struct field *, size_t, unsigned))
{
	size_t len = content(NULL, f, max, depth);
	size_t head = atr_pb_size(number << 3 | ATR_PB_LEN) + atr_pb_size(len);

	if (out) {
		struct atr_pb pb = { .p = out, .end = out + head };

		atr_pb_put_tag(&pb, number, ATR_PB_LEN);
		atr_pb_put_varint(&pb, len);
		(void)content(out + head, f, max, depth);
	}
	return head + len;
}

static size_t put_bytes(uint8_t *out, const uint8_t *bytes, size_t len)
{
	if (out)
		memcpy(out, bytes, len);
	return len;
}

static size_t string(uint8_t *out, const struct field *f, size_t max, unsigned depth)
{
	(void)depth;
	return put_bytes(out, f->p, cut(f->p, f->len, max));
}

static size_t bytes(uint8_t *out, const struct field *f, size_t max, unsigned depth)
{
	(void)depth;
	return put_bytes(out, f->p, f->len < max ? f->len : max);
}

/* A field that ends at `end`: an AnyValue if its number is that, else it stays. */
static size_t put_part(uint8_t *out, const struct field *f, unsigned number, const uint8_t *end,
		       size_t max, unsigned depth)
{
	if (f->number == number && f->type == ATR_PB_LEN)
		return put_nested(out, number, f, max, depth, any_value);
	return put_bytes(out, f->start, (size_t)(end - f->start));
}

static size_t array(uint8_t *out, const struct field *f, size_t max, unsigned depth)
{
	const uint8_t *p = f->p, *end = f->p + f->len;
	struct field value;
	size_t n = 0;

	while (next(&value, &p, end))
		n += put_part(out ? out + n : NULL, &value, ARRAY_VALUES, p, max, depth);
	return n;
}

/* The value's only field; whatever else it may be stays. */
static size_t any_value(uint8_t *out, const struct field *any, size_t max, unsigned depth)
{
	const uint8_t *p = any->p, *end = any->p + any->len;
	struct field f;

	if (depth < DEPTH_MAX && next(&f, &p, end) && f.type == ATR_PB_LEN) {
		if (f.number == ANYVALUE_STRING)
			return put_nested(out, f.number, &f, max, depth, string);
		if (f.number == ANYVALUE_BYTES)
			return put_nested(out, f.number, &f, max, depth, bytes);
		if (f.number == ANYVALUE_ARRAY)
			return put_nested(out, f.number, &f, max, depth + 1, array);
	}
	return put_bytes(out, any->p, any->len);
}

/* KeyValue: the key stays. */
static size_t key_value(uint8_t *out, const struct field *kv, size_t max, unsigned depth)
{
	const uint8_t *p = kv->p, *end = kv->p + kv->len;
	struct field f;
	size_t n = 0;

	while (next(&f, &p, end))
		n += put_part(out ? out + n : NULL, &f, KEYVALUE_VALUE, p, max, depth);
	return n;
}

/* Is anything of it too much?  False, too, of what is no message. */
static bool passed(const struct atr_limits *l, const uint8_t *span, size_t len)
{
	const uint8_t *p = span, *end = span + len;
	bool too_long = false;
	size_t n = 0;
	struct field f;

	if (atr_likely(len / ATTRIBUTE_MIN <= l->attributes && len <= l->characters))
		return false;
	while (p < end) {
		if (!next(&f, &p, end))
			return false;
		if (f.number != SPAN_ATTRIBUTES || f.type != ATR_PB_LEN)
			continue;
		n++;
		too_long |= f.len > l->characters;
	}
	return n > l->attributes || too_long;
}

void atr_limits_init(struct atr_limits *l, const struct atr_config *config)
{
	*l = (struct atr_limits){
		.attributes = config->span_attribute_count,
		.characters = config->span_attribute_length,
	};
}

void atr_limits_finish(struct atr_limits *l)
{
	atr_buf_free(&l->span);
}

/* Everything that stays; the number of attributes that do not and did not before. */
static uint64_t write_span(struct atr_limits *l, const uint8_t *span, size_t len, uint8_t *to)
{
	const uint8_t *p = span, *end = span + len;
	uint64_t dropped = 0;
	size_t n = 0;
	struct field f;

	while (next(&f, &p, end)) {
		if (f.number == SPAN_DROPPED_ATTRIBUTES && f.type == ATR_PB_VARINT)
			dropped += f.value;
		else if (f.number != SPAN_ATTRIBUTES || f.type != ATR_PB_LEN)
			to += put_bytes(to, f.start, (size_t)(p - f.start));
		else if (n++ < l->attributes)
			to += put_nested(to, f.number, &f, l->characters, 0, key_value);
		else
			dropped++;
	}
	l->span.len = (size_t)(to - l->span.bytes);
	return dropped;
}

const uint8_t *atr_limits_apply(struct atr_limits *l, const uint8_t *span, size_t *len)
{
	struct atr_pb pb;
	uint64_t dropped;
	uint8_t *to;

	if (atr_likely(!passed(l, span, *len)))
		return span;
	atr_buf_reset(&l->span);
	to = atr_buf_reserve(&l->span, *len + 16); /* nothing becomes longer, and the count */
	if (!to)
		return NULL;
	dropped = write_span(l, span, *len, to);
	if (dropped) {
		pb = (struct atr_pb){ .p = l->span.bytes + l->span.len,
				      .end = l->span.bytes + l->span.room };
		atr_pb_uint(&pb, SPAN_DROPPED_ATTRIBUTES, dropped);
		l->span.len = (size_t)(pb.p - l->span.bytes);
	}
	*len = l->span.len;
	return l->span.bytes;
}
