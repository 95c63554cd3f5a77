/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON is read once, from front to back, along the descriptors of otlp.proto, and each
 * member is written as it is met; a message's length is put in front of it when it is known.
 */
#include "exporter/otlp-read.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "exporter/json.h"
#include "preload/utf8.h"

#define DEPTH_MAX 100 /* as in otlp-json.c */
#define KEY_MAX 64    /* the longest of otlp.proto has 22 */
#define VARINT_MAX 10
#define HEAD_MAX (2 * VARINT_MAX)

struct reading {
	struct atr_json j;
	struct atr_buf *out;
	uint64_t lost, wrong;
	bool deep;
};

/* ---- wire ---- */

static size_t varint(uint8_t to[static VARINT_MAX], uint64_t v)
{
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		to[n++] = (uint8_t)(v | 0x80);
	to[n++] = (uint8_t)v;
	return n;
}

static void put_tag(struct reading *r, const ProtobufCFieldDescriptor *field, unsigned wire)
{
	uint8_t bytes[VARINT_MAX];

	atr_buf_add(r->out, bytes, varint(bytes, (uint64_t)field->id << 3 | wire));
}

static void put_varint(struct reading *r, const ProtobufCFieldDescriptor *field, uint64_t v)
{
	uint8_t bytes[VARINT_MAX];

	put_tag(r, field, 0);
	atr_buf_add(r->out, bytes, varint(bytes, v));
}

static void put_fixed(struct reading *r, const ProtobufCFieldDescriptor *field, uint64_t v,
		      unsigned size)
{
	uint8_t bytes[8];

	for (unsigned i = 0; i < size; i++)
		bytes[i] = (uint8_t)(v >> 8 * i);
	put_tag(r, field, size == 8 ? 1 : 5);
	atr_buf_add(r->out, bytes, size);
}

/* What was written from `from` on is the content of a field: its length goes in front. */
static void close_field(struct reading *r, size_t from)
{
	uint8_t head[VARINT_MAX];
	size_t len = r->out->len - from;
	size_t n = varint(head, len);

	if (!atr_buf_reserve(r->out, n))
		return;
	memmove(r->out->bytes + from + n, r->out->bytes + from, len);
	memcpy(r->out->bytes + from, head, n);
	r->out->len += n;
}

/* ---- strings ---- */

static char next_sign(struct reading *r)
{
	while (r->j.p < r->j.end && strchr(" \t\r\n", *r->j.p) && *r->j.p)
		r->j.p++;
	return r->j.p < r->j.end ? *r->j.p : '\0';
}

/* The string at hand behind what is in out, not yet counted; NULL: it is none. */
static char *string(struct reading *r, size_t *ret_len)
{
	size_t room = (size_t)(r->j.end - r->j.p) + HEAD_MAX;
	char *to = (char *)atr_buf_reserve(r->out, room);

	if (!to) {
		atr_json_skip(&r->j);
		return NULL;
	}
	if (!atr_json_string(&r->j, to, room, ret_len)) /* which skips what is none */
		return NULL;
	return to;
}

static void make_valid(char *s, size_t len)
{
	for (size_t at = 0; (at += atr_utf8_valid(s + at, len - at)) < len; at++)
		s[at] = '?';
}

static int digit_of(const char *digits, char c)
{
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* In place; the length, or SIZE_MAX: it is no such text. */
static size_t from_hex(char *s, size_t len)
{
	static const char digits[] = "0123456789abcdef", upper[] = "0123456789ABCDEF";

	if (len % 2)
		return SIZE_MAX;
	for (size_t i = 0; i < len; i++) {
		int v = digit_of(digits, s[i]);

		if (v < 0)
			v = digit_of(upper, s[i]);
		if (v < 0)
			return SIZE_MAX;
		s[i / 2] = (char)(i % 2 ? s[i / 2] | v : v << 4);
	}
	return len / 2;
}

/* Both alphabets, with or without padding, as protobuf takes them. */
static size_t from_base64(char *s, size_t len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				     "0123456789+/";
	uint32_t bits = 0;
	size_t n = 0;

	while (len && s[len - 1] == '=')
		len--;
	if (len % 4 == 1)
		return SIZE_MAX;
	for (size_t i = 0; i < len; i++) {
		int v = digit_of(digits, s[i] == '-' ? '+' : s[i] == '_' ? '/' : s[i]);

		if (v < 0)
			return SIZE_MAX;
		bits = bits << 6 | (uint32_t)v;
		if (i % 4)
			s[n++] = (char)(bits >> (6 - 2 * (i % 4)));
	}
	return n;
}

static bool is_id(const ProtobufCFieldDescriptor *field)
{
	size_t n = strlen(field->name);

	return n >= 3 && strcmp(field->name + n - 3, "_id") == 0;
}

static void read_text(struct reading *r, const ProtobufCFieldDescriptor *field)
{
	size_t before = r->out->len, from, len;
	char *s;

	put_tag(r, field, 2);
	from = r->out->len;
	s = string(r, &len);
	if (s && field->type == PROTOBUF_C_TYPE_STRING)
		make_valid(s, len);
	else if (s)
		len = is_id(field) ? from_hex(s, len) : from_base64(s, len);
	if (!s || len == SIZE_MAX) {
		r->lost++;
		r->wrong++;
		r->out->len = before;
		return;
	}
	r->out->len += len;
	close_field(r, from);
}

/* ---- numbers ---- */

/* A number as it stands there, in quotes or not, with its NUL; false: it is none, or too long. */
static bool number_text(struct reading *r, char text[static 64])
{
	const char *from;
	size_t len;
	double v;

	if (next_sign(r) == '"')
		return atr_json_string(&r->j, text, 64, &len) && len;
	from = r->j.p;
	if (!atr_json_number(&r->j, &v) || r->j.p - from >= 64)
		return false;
	memcpy(text, from, (size_t)(r->j.p - from));
	text[r->j.p - from] = '\0';
	return true;
}

/* A whole number, sign and magnitude; 1e3 and 5.0 are whole numbers, too. */
static bool whole(const char *text, bool *negative, uint64_t *ret)
{
	const char *s = text + (*text == '-');
	char *end;
	double v;

	*negative = *text == '-';
	*ret = 0;
	if (*s && !s[strspn(s, "0123456789")]) {
		for (; *s; s++) {
			uint64_t digit = (uint64_t)(*s - '0');

			if (*ret > (UINT64_MAX - digit) / 10)
				return false;
			*ret = *ret * 10 + digit;
		}
		return true;
	}
	v = strtod(s, &end);
	if (end == s || *end || !(v >= 0 && v < 9.2e18) || v != (double)(uint64_t)v)
		return false;
	*ret = (uint64_t)v;
	return true;
}

static bool floating(const char *text, double *ret)
{
	static const struct {
		const char *word;
		double v;
	} words[] = { { "NaN", NAN }, { "Infinity", INFINITY }, { "-Infinity", -INFINITY } };
	char *end;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(text, words[i].word) == 0) {
			*ret = words[i].v;
			return true;
		}
	/* Only `autotrace drain` reads, in the C locale. */
	*ret = strtod(text, &end);
	return end != text && !*end;
}

static bool put_whole(struct reading *r, const ProtobufCFieldDescriptor *field, bool negative,
		      uint64_t v)
{
	uint64_t most =
		field->type == PROTOBUF_C_TYPE_FIXED64 ? UINT64_MAX
		: field->type == PROTOBUF_C_TYPE_INT64 ? (uint64_t)INT64_MAX + negative
		: field->type == PROTOBUF_C_TYPE_UINT32 || field->type == PROTOBUF_C_TYPE_FIXED32
			? UINT32_MAX
			: (uint64_t)INT32_MAX + negative;
	bool is_signed = field->type != PROTOBUF_C_TYPE_FIXED64 &&
			 field->type != PROTOBUF_C_TYPE_FIXED32 &&
			 field->type != PROTOBUF_C_TYPE_UINT32;

	if (v > most || (negative && v && !is_signed))
		return false;
	if (field->type == PROTOBUF_C_TYPE_FIXED64)
		put_fixed(r, field, v, 8);
	else if (field->type == PROTOBUF_C_TYPE_FIXED32)
		put_fixed(r, field, v, 4);
	else
		put_varint(r, field, negative ? -v : v);
	return true;
}

static void read_number(struct reading *r, const ProtobufCFieldDescriptor *field)
{
	bool negative, good;
	char text[64];
	double d;
	uint64_t v;

	good = number_text(r, text);
	if (good && field->type == PROTOBUF_C_TYPE_DOUBLE) {
		good = floating(text, &d);
		memcpy(&v, &d, sizeof(v));
		if (good)
			put_fixed(r, field, v, 8);
	} else if (good) {
		good = whole(text, &negative, &v) && put_whole(r, field, negative, v);
	}
	r->lost += !good;
}

static void read_bool(struct reading *r, const ProtobufCFieldDescriptor *field)
{
	char sign = next_sign(r);

	if (sign == 't' || sign == 'f')
		put_varint(r, field, sign == 't');
	else
		r->lost++;
	atr_json_skip(&r->j);
}

/* ---- messages ---- */

/* Is that the name trace_id has in JSON? */
static bool is_name(const char *field, const char *key)
{
	for (; *field; field++, key++) {
		bool upper = field[0] == '_' && field[1] >= 'a' && field[1] <= 'z';

		if (*key != (upper ? (char)(*++field - 'a' + 'A') : *field))
			return false;
	}
	return !*key;
}

static const ProtobufCFieldDescriptor *field_of(const ProtobufCMessageDescriptor *type,
						const char *key)
{
	for (unsigned i = 0; i < type->n_fields; i++)
		if (is_name(type->fields[i].name, key))
			return &type->fields[i];
	return NULL;
}

static void read_message(struct reading *r, const ProtobufCMessageDescriptor *type, unsigned depth);

static void read_value(struct reading *r, const ProtobufCFieldDescriptor *field, unsigned depth)
{
	size_t before = r->out->len, from;

	switch (field->type) {
	case PROTOBUF_C_TYPE_MESSAGE:
		if (next_sign(r) != '{') {
			r->lost++;
			atr_json_skip(&r->j);
			r->out->len = before;
			break;
		}
		put_tag(r, field, 2);
		from = r->out->len;
		read_message(r, field->descriptor, depth + 1);
		close_field(r, from);
		break;
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
		read_text(r, field);
		break;
	case PROTOBUF_C_TYPE_BOOL:
		read_bool(r, field);
		break;
	default:
		read_number(r, field);
		break;
	}
}

static void read_field(struct reading *r, const ProtobufCFieldDescriptor *field, unsigned depth)
{
	if (next_sign(r) == 'n') { /* null is as if it were not there */
		atr_json_skip(&r->j);
	} else if (field->label != PROTOBUF_C_LABEL_REPEATED) {
		read_value(r, field, depth);
	} else if (atr_json_array(&r->j)) {
		while (!r->deep && atr_json_element(&r->j))
			read_value(r, field, depth);
	} else {
		r->lost++;
	}
}

static void read_message(struct reading *r, const ProtobufCMessageDescriptor *type, unsigned depth)
{
	char key[KEY_MAX];

	if (depth > DEPTH_MAX) {
		r->deep = true;
		return;
	}
	if (!atr_json_object(&r->j)) {
		r->j.bad = true;
		return;
	}
	while (!r->deep && atr_json_key(&r->j, key, sizeof(key))) {
		const ProtobufCFieldDescriptor *field = field_of(type, key);

		if (field) {
			read_field(r, field, depth);
		} else {
			r->lost++;
			atr_json_skip(&r->j);
		}
	}
}

bool atr_otlp_read(struct atr_buf *out, const ProtobufCMessageDescriptor *type, const char *text,
		   size_t len, uint64_t *lost, uint64_t *wrong)
{
	struct reading r = { .out = out };
	size_t before = out->len;
	bool good;

	atr_json_init(&r.j, text, len);
	read_message(&r, type, 1);
	good = !r.deep && atr_json_end(&r.j) && !out->failed;
	if (!good)
		out->len = before;
	*lost += r.lost;
	if (wrong)
		*wrong += r.wrong;
	return good;
}
