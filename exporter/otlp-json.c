/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protobuf's JSON mapping with the exceptions of OTLP ("JSON Protobuf Encoding"): ids in
 * hex, enums as numbers.
 *
 * A message is read twice: first where each of its fields lies, for the fields of one
 * name may stand apart on the wire and must stand together in JSON, then field by field
 * in the order of the descriptor.  Nothing is allocated but the text.
 */
#include "exporter/otlp-json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exporter/line.h"
#include "exporter/otlp.h"
#include "exporter/otlp.pb-c.h"
#include "preload/utf8.h"

#define FIELDS_MAX 16 /* of a message; Span has as many */
#define DEPTH_MAX 100 /* messages within each other, which is where libprotobuf stops, too */

enum wire { VARINT = 0, I64 = 1, LEN = 2, I32 = 5 };

/* ---- wire ---- */

struct reading {
	const uint8_t *at, *end;
};

struct part {
	const uint8_t *start; /* its tag */
	uint32_t number;
	enum wire wire;
	uint64_t value;
	const uint8_t *bytes;
	size_t len;
};

static bool read_varint(struct reading *r, uint64_t *ret)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 70 && r->at < r->end; shift += 7) {
		uint8_t byte = *r->at++;

		v |= (uint64_t)(byte & 0x7f) << (shift < 64 ? shift : 63);
		if (byte < 0x80) {
			*ret = v;
			return shift < 63 || byte < 2;
		}
	}
	return false;
}

static bool read_fixed(struct reading *r, unsigned size, uint64_t *ret)
{
	*ret = 0;
	if ((size_t)(r->end - r->at) < size)
		return false;
	for (unsigned i = 0; i < size; i++)
		*ret |= (uint64_t)*r->at++ << 8 * i;
	return true;
}

static bool read_value(struct reading *r, struct part *p)
{
	switch (p->wire) {
	case VARINT:
		return read_varint(r, &p->value);
	case I64:
		return read_fixed(r, 8, &p->value);
	case I32:
		return read_fixed(r, 4, &p->value);
	case LEN:
		if (!read_varint(r, &p->value) || p->value > (size_t)(r->end - r->at))
			return false;
		p->bytes = r->at;
		p->len = (size_t)p->value;
		r->at += p->len;
		return true;
	default: /* groups */
		return false;
	}
}

/* The next field; false: that is none. */
static bool read_part(struct reading *r, struct part *p)
{
	uint64_t tag;

	*p = (struct part){ .start = r->at };
	if (!read_varint(r, &tag) || tag > UINT32_MAX || tag >> 3 == 0)
		return false;
	p->number = (uint32_t)(tag >> 3);
	p->wire = (enum wire)(tag & 7);
	return read_value(r, p);
}

/* ---- JSON ---- */

static void put(struct atr_buf *out, const char *s)
{
	atr_buf_str(out, s);
}

/* Writes a character that may not stand in a string as it is; returns how long it got. */
static size_t escape(char to[static 6], unsigned char c)
{
	static const char hex[] = "0123456789abcdef";
	static const char from[] = "\"\\\n\r\t\b\f", short_form[] = "\"\\nrtbf";
	const char *at = c ? strchr(from, c) : NULL;

	to[0] = '\\';
	if (at) {
		to[1] = short_form[at - from];
		return 2;
	}
	memcpy(to + 1, "u00", 3);
	to[4] = hex[c >> 4];
	to[5] = hex[c & 15];
	return 6;
}

static size_t escaped(char *to, const char *s, size_t len)
{
	size_t n = 0, plain = 0, i = 0;

	for (; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		memcpy(to + n, s + plain, i - plain);
		n += i - plain;
		n += escape(to + n, c);
		plain = i + 1;
	}
	memcpy(to + n, s + plain, i - plain);
	return n + i - plain;
}

void atr_json_str(struct atr_buf *out, const char *s, size_t len)
{
	char *to;

	if (len > SIZE_MAX / 8) {
		out->failed = true;
		return;
	}
	put(out, "\"");
	to = (char *)atr_buf_reserve(out, 6 * len + 1);
	while (to && len) {
		size_t n = atr_utf8_valid(s, len);
		size_t made = escaped(to, s, n);

		to += made;
		out->len += made;
		s += n;
		len -= n;
		if (!len)
			break;
		*to++ = '?';
		out->len++;
		s++;
		len--;
	}
	put(out, "\"");
}

static void put_base64(struct atr_buf *out, const uint8_t *bytes, size_t len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				     "0123456789+/";

	put(out, "\"");
	for (size_t i = 0; i < len; i += 3) {
		size_t n = len - i < 3 ? len - i : 3;
		unsigned v = (unsigned)bytes[i] << 16 | (n > 1 ? (unsigned)bytes[i + 1] << 8 : 0) |
			     (n > 2 ? bytes[i + 2] : 0);
		char four[4] = { digits[v >> 18], digits[v >> 12 & 63],
				 n > 1 ? digits[v >> 6 & 63] : '=', n > 2 ? digits[v & 63] : '=' };

		atr_buf_add(out, four, sizeof(four));
	}
	put(out, "\"");
}

/* As few digits as tell it from every other; printf's point is the locale's, whatever that is. */
void atr_json_double(struct atr_buf *out, double v)
{
	char text[48]; /* the longest is -2.2250738585072014e-308 */
	bool point = false;

	if (isnan(v) || isinf(v)) {
		put(out, isnan(v) ? "\"NaN\"" : v > 0 ? "\"Infinity\"" : "\"-Infinity\"");
		return;
	}
	for (int digits = 15; digits <= 17; digits++) {
		(void)snprintf(text, sizeof(text), "%.*g", digits, v);
		if (strtod(text, NULL) == v)
			break;
	}
	for (const char *p = text; *p; p++) {
		if (strchr("0123456789+-e", *p))
			atr_buf_add(out, p, 1);
		else if (!point)
			put(out, ".");
		point = !strchr("0123456789+-e", *p);
	}
	if (v == 0 && signbit(v)) /* -0 may be read as a whole number, which has one zero */
		put(out, ".0");
}

static void put_number(struct atr_buf *out, const char *quote, const char *sign, uint64_t v)
{
	char text[20]; /* 2^64 has as many digits */
	size_t at = sizeof(text);

	do
		text[--at] = (char)('0' + v % 10);
	while (v /= 10);
	put(out, quote);
	put(out, sign);
	atr_buf_add(out, text + at, sizeof(text) - at);
	put(out, quote);
}

static void put_signed(struct atr_buf *out, const char *quote, int64_t v)
{
	put_number(out, quote, v < 0 ? "-" : "", v < 0 ? -(uint64_t)v : (uint64_t)v);
}

/* trace_id -> "traceId": */
static void put_name(struct atr_buf *out, const char *name)
{
	char *to = (char *)atr_buf_reserve(out, strlen(name) + 3);
	size_t n = 0;

	if (!to)
		return;
	to[n++] = '"';
	for (; *name; name++) {
		bool upper = name[0] == '_' && name[1] >= 'a' && name[1] <= 'z';

		to[n++] = upper ? (char)(*++name - 'a' + 'A') : *name;
	}
	to[n++] = '"';
	to[n++] = ':';
	out->len += n;
}

/* ---- messages ---- */

struct walk {
	struct atr_buf *out;
	uint64_t lost;
};

static bool put_members(struct walk *w, const ProtobufCMessageDescriptor *type,
			const uint8_t *bytes, size_t len, unsigned depth, bool *any);

static bool put_message(struct walk *w, const ProtobufCMessageDescriptor *type,
			const uint8_t *bytes, size_t len, unsigned depth)
{
	bool any = false, good = true;

	put(w->out, "{");
	if (depth < DEPTH_MAX)
		good = put_members(w, type, bytes, len, depth + 1, &any);
	else
		w->lost++;
	put(w->out, "}");
	return good;
}

static void put_bytes(struct atr_buf *out, const ProtobufCFieldDescriptor *field,
		      const struct part *p)
{
	size_t n = strlen(field->name);

	if (n >= 3 && strcmp(field->name + n - 3, "_id") == 0) {
		put(out, "\"");
		atr_line_hex(out, p->bytes, p->len);
		put(out, "\"");
	} else {
		put_base64(out, p->bytes, p->len);
	}
}

static bool put_value(struct walk *w, const ProtobufCFieldDescriptor *field, const struct part *p,
		      unsigned depth)
{
	double v;

	switch (field->type) {
	case PROTOBUF_C_TYPE_MESSAGE:
		return put_message(w, field->descriptor, p->bytes, p->len, depth);
	case PROTOBUF_C_TYPE_STRING:
		atr_json_str(w->out, (const char *)p->bytes, p->len);
		break;
	case PROTOBUF_C_TYPE_BYTES:
		put_bytes(w->out, field, p);
		break;
	case PROTOBUF_C_TYPE_BOOL:
		put(w->out, p->value ? "true" : "false");
		break;
	case PROTOBUF_C_TYPE_DOUBLE:
		memcpy(&v, &p->value, sizeof(v));
		atr_json_double(w->out, v);
		break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		put_signed(w->out, "\"", (int64_t)p->value);
		break;
	case PROTOBUF_C_TYPE_FIXED64:
		put_number(w->out, "\"", "", p->value);
		break;
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		put_number(w->out, "", "", (uint32_t)p->value);
		break;
	default: /* an enum or int32; there are no others in otlp.proto, which the tests know */
		put_signed(w->out, "", (int32_t)p->value);
		break;
	}
	return true;
}

static enum wire wire_of(const ProtobufCFieldDescriptor *field)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_MESSAGE:
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
		return LEN;
	case PROTOBUF_C_TYPE_DOUBLE:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return I64;
	case PROTOBUF_C_TYPE_FIXED32:
		return I32;
	default:
		return VARINT;
	}
}

/* Numbers, several in one part. */
static bool is_packed(const ProtobufCFieldDescriptor *field, const struct part *p)
{
	return field->label == PROTOBUF_C_LABEL_REPEATED && p->wire == LEN && wire_of(field) != LEN;
}

static const ProtobufCFieldDescriptor *field_of(const ProtobufCMessageDescriptor *type,
						const struct part *p)
{
	const ProtobufCFieldDescriptor *field =
		protobuf_c_message_descriptor_get_field(type, p->number);

	if (!field || field - type->fields >= FIELDS_MAX)
		return NULL;
	return wire_of(field) == p->wire || is_packed(field, p) ? field : NULL;
}

/* Where the fields of one number lie. */
struct place {
	const uint8_t *first, *last;
};

/* Finds all; *choice is the oneof's member that counts, the last one. */
static bool find(struct walk *w, const ProtobufCMessageDescriptor *type, struct reading r,
		 struct place *places, const ProtobufCFieldDescriptor **choice)
{
	struct part p;

	while (r.at < r.end) {
		const ProtobufCFieldDescriptor *field;
		struct place *place;

		if (!read_part(&r, &p))
			return false;
		field = field_of(type, &p);
		if (!field) {
			w->lost++;
			continue;
		}
		place = &places[field - type->fields];
		if (!place->first)
			place->first = p.start;
		else if (field->type == PROTOBUF_C_TYPE_MESSAGE &&
			 field->label != PROTOBUF_C_LABEL_REPEATED)
			w->lost++;
		place->last = p.start;
		if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
			*choice = field;
	}
	return true;
}

static bool put_packed(struct walk *w, const ProtobufCFieldDescriptor *field, struct reading r,
		       bool *any)
{
	while (r.at < r.end) {
		struct part p = { .wire = wire_of(field) };

		if (!read_value(&r, &p))
			return false;
		if (*any)
			put(w->out, ",");
		*any = true;
		(void)put_value(w, field, &p, 0);
	}
	return true;
}

static bool put_array(struct walk *w, const ProtobufCFieldDescriptor *field, struct reading r,
		      const uint8_t *last, unsigned depth)
{
	struct part p;
	bool any = false, good = true;

	put(w->out, "[");
	while (good && r.at <= last && read_part(&r, &p)) {
		if (p.number != field->id)
			continue;
		if (is_packed(field, &p)) {
			good = put_packed(w, field, (struct reading){ p.bytes, p.bytes + p.len },
					  &any);
			continue;
		}
		if (p.wire != wire_of(field))
			continue;
		if (any)
			put(w->out, ",");
		any = true;
		good = put_value(w, field, &p, depth);
	}
	put(w->out, "]");
	return good;
}

/* *any: is there a member in front of them? */
static bool put_members(struct walk *w, const ProtobufCMessageDescriptor *type,
			const uint8_t *bytes, size_t len, unsigned depth, bool *any)
{
	const ProtobufCFieldDescriptor *choice = NULL;
	const struct reading all = { bytes, len ? bytes + len : bytes };
	struct place places[FIELDS_MAX] = { 0 };
	bool good = find(w, type, all, places, &choice);

	for (unsigned i = 0; good && i < type->n_fields && i < FIELDS_MAX; i++) {
		const ProtobufCFieldDescriptor *field = &type->fields[i];
		struct reading r = { places[i].first, all.end };
		struct part p;

		if (!r.at || (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF && field != choice))
			continue;
		if (*any)
			put(w->out, ",");
		*any = true;
		put_name(w->out, field->name);
		if (field->label == PROTOBUF_C_LABEL_REPEATED) {
			good = put_array(w, field, r, places[i].last, depth);
			continue;
		}
		r.at = places[i].last;
		good = read_part(&r, &p) && put_value(w, field, &p, depth);
	}
	return good && !w->out->failed;
}

bool atr_otlp_json_message(struct atr_buf *out, const ProtobufCMessageDescriptor *type,
			   const uint8_t *bytes, size_t len, uint64_t *lost)
{
	struct walk w = { .out = out };
	size_t before = out->len;
	bool good = put_message(&w, type, bytes, len, 0);

	good = good && !out->failed;
	if (!good)
		out->len = before;
	*lost += w.lost;
	return good;
}

bool atr_otlp_json_counted(struct atr_buf *out, const struct atr_otlp_head *head,
			   const uint8_t *spans, size_t len, uint64_t *lost)
{
	const ProtobufCMessageDescriptor *resource = &atr__otlp__resource_spans__descriptor,
					 *scope = &atr__otlp__scope_spans__descriptor;
	struct walk w = { .out = out };
	size_t before = out->len;
	bool any = false, good;

	put(out, "{\"resourceSpans\":[{");
	good = put_members(&w, resource, head->resource.bytes, head->resource.len, 2, &any);
	put(out, any ? ",\"scopeSpans\":[{" : "\"scopeSpans\":[{");
	any = false;
	good = good && put_members(&w, scope, head->scope.bytes, head->scope.len, 3, &any) &&
	       put_members(&w, scope, spans, len, 3, &any);
	put(out, "}]}]}");
	good = good && !out->failed;
	if (!good)
		out->len = before;
	*lost += w.lost;
	return good;
}

bool atr_otlp_json(struct atr_buf *out, const struct atr_otlp_head *head, const uint8_t *spans,
		   size_t len)
{
	uint64_t lost = 0;

	return atr_otlp_json_counted(out, head, spans, len, &lost);
}
