/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/attr.h"

#include "preload/utf8.h"

/* KeyValue.key of each attribute as it goes on the wire: tag, length, bytes. */
static const struct key {
	uint8_t len; /* of bytes[] */
	char bytes[2 + 40];
} keys[] = {
#define ATTR(name, key, ...)          \
	{ 2 + sizeof(key) - 1, "\x0a" \
			       "?" key },
#include "preload/attr.def"
};

#define SPAN_ATTRIBUTES (9 << 3 | ATR_PB_LEN)
#define KEYVALUE_VALUE (2 << 3 | ATR_PB_LEN)
#define ANYVALUE_STRING (1 << 3 | ATR_PB_LEN)
#define KEYVALUE_KEY (1 << 3 | ATR_PB_LEN)
#define ANYVALUE_ARRAY (5 << 3 | ATR_PB_LEN)
#define ARRAY_VALUES (1 << 3 | ATR_PB_LEN)
#define ANYVALUE_INT (3 << 3 | ATR_PB_VARINT)

/* Everything up to the AnyValue's content, which is any_len bytes long. */
static void put_head(struct atr_pb *pb, enum atr_attr attr, size_t any_len)
{
	const struct key *key = &keys[attr];

	*pb->p++ = SPAN_ATTRIBUTES;
	atr_pb_put_varint(pb, key->len + 1 + atr_pb_size(any_len) + any_len);
	memcpy(pb->p, key->bytes, key->len);
	pb->p[1] = (uint8_t)(key->len - 2);
	pb->p += key->len;
	*pb->p++ = KEYVALUE_VALUE;
	atr_pb_put_varint(pb, any_len);
}

size_t atr_attr_cut(const char *s, size_t len, size_t max)
{
	if (len <= max)
		return len;
	for (int i = 0; i < 3 && max && ((unsigned char)s[max] & 0xc0) == 0x80; i++)
		max--;
	return max;
}

/* Everything up to the string's bytes; false when there is no room for them. */
static bool put_str_head(struct atr_pb *pb, enum atr_attr attr, size_t len)
{
	if (!atr_pb_room(pb, len + sizeof(keys[0].bytes) + 24))
		return false;
	put_head(pb, attr, 1 + atr_pb_size(len) + len);
	*pb->p++ = ANYVALUE_STRING;
	atr_pb_put_varint(pb, len);
	return true;
}

void atr_attr_str(struct atr_pb *pb, enum atr_attr attr, const char *value, size_t len)
{
	len = atr_attr_cut(value, len, ATR_VALUE_MAX);
	if (!put_str_head(pb, attr, len))
		return;
	/* One byte in, one byte out: the length stands. */
	(void)atr_utf8_copy((char *)pb->p, len, value, len);
	pb->p += len;
}

void atr_attr_utf8(struct atr_pb *pb, enum atr_attr attr, const char *value, size_t len)
{
	len = atr_attr_cut(value, len, ATR_VALUE_MAX);
	if (put_str_head(pb, attr, len))
		atr_pb_put(pb, value, len);
}

void atr_attr_int(struct atr_pb *pb, enum atr_attr attr, int64_t value)
{
	if (!atr_pb_room(pb, sizeof(keys[0].bytes) + 32))
		return;
	put_head(pb, attr, 1 + atr_pb_size((uint64_t)value));
	*pb->p++ = ANYVALUE_INT;
	atr_pb_put_varint(pb, (uint64_t)value);
}

/* A length-delimited field of n bytes: its tag, which is below 16, its length and the bytes. */
static size_t field_size(size_t n)
{
	return 1 + atr_pb_size(n) + n;
}

static void put_field(struct atr_pb *pb, unsigned tag, size_t n)
{
	*pb->p++ = (uint8_t)tag;
	atr_pb_put_varint(pb, n);
}

void atr_attr_strs(struct atr_pb *pb, struct atr_slice key, const struct atr_slice *values,
		   size_t n)
{
	size_t array = 0, pair;

	for (size_t i = 0; i < n; i++)
		array += field_size(
			field_size(atr_attr_cut(values[i].p, values[i].len, ATR_VALUE_MAX)));
	pair = field_size(key.len) + field_size(field_size(array));
	if (!atr_pb_room(pb, field_size(pair)))
		return;
	put_field(pb, SPAN_ATTRIBUTES, pair);
	put_field(pb, KEYVALUE_KEY, key.len);
	atr_pb_put(pb, key.p, key.len);
	put_field(pb, KEYVALUE_VALUE, field_size(array));
	put_field(pb, ANYVALUE_ARRAY, array);
	for (size_t i = 0; i < n; i++) {
		size_t len = atr_attr_cut(values[i].p, values[i].len, ATR_VALUE_MAX);

		put_field(pb, ARRAY_VALUES, field_size(len));
		put_field(pb, ANYVALUE_STRING, len);
		(void)atr_utf8_copy((char *)pb->p, len, values[i].p, len);
		pb->p += len;
	}
}
