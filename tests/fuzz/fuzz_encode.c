/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spans with any contents through the encoder and the limits, read by protobuf-c: every
 * attribute comes back as it went in, valid UTF-8, or was dropped and counted.
 *
 * Bytes 0 and 1: the limits.  Byte 2: kind, flags, whether there is a parent.  Then the
 * name and the attributes: a byte says what comes, a byte which attribute, two bytes how
 * long it is, and then its bytes (0 counts as 1: protobuf-c ends a string there).
 */
/* LINK: preload/traceparent.o preload/sys.o preload/clock.o preload/carrier.o */
/* LINK: preload/pool.o preload/life.o preload/context.o preload/sampler.o */
/* LINK: preload/text.o preload/rate.o preload/tracestate.o preload/strategy.o */
/* LINK: preload/adaptive.o exporter/otlp.pb-c.o exporter/buf.o -lprotobuf-c */
#include "exporter/limits.c"
#include "preload/attr.c"
#include "preload/op.c"
#include "preload/utf8.c"

#include <stdlib.h>

#include "exporter/otlp.pb-c.h"
#include "tests/unit/fake_op.h"

#define N_MAX 200
#define LEN_MAX (ATR_VALUE_MAX + 64)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *p, *end;
};

/* What an attribute has to be. */
struct wanted {
	enum { TEXT, UTF8, INT, STRINGS } what;
	const char *key;
	char *text; /* of strings: of each of them */
	size_t len, n;
	int64_t number;
};

static struct wanted wanted[N_MAX];
static size_t n_wanted;

static const char *const names[] = {
#define ATTR(name, key, ...) key,
#include "preload/attr.def"
};

static void must(bool is_so)
{
	if (!is_so)
		abort();
}

static unsigned byte(struct input *in)
{
	return in->p < in->end ? *in->p++ : 0;
}

/* The text is repeated to its length when there is less of it. */
static char *text(struct input *in, size_t *ret_len)
{
	size_t len = byte(in) | byte(in) << 8, left = (size_t)(in->end - in->p);
	char *to;

	if (len > LEN_MAX)
		len %= 64;
	to = malloc(len + 1);
	must(to != NULL);
	for (size_t i = 0; i < len; i++)
		to[i] = (char)(left ? in->p[i % left] : 'x');
	for (size_t i = 0; i < len; i++)
		if (!to[i])
			to[i] = 1;
	in->p += left < len ? left : len;
	*ret_len = len;
	return to;
}

static void put_one(struct atr_pb *pb, struct input *in, struct wanted *w)
{
	static const char header[] = "http.request.header.x";
	unsigned what = byte(in), which = byte(in);
	struct atr_slice values[8];

	*w = (struct wanted){ .what = what & 3, .n = what >> 2 & 7 };
	which %= ATR_N_ATTRS;
	w->key = w->what == STRINGS ? header : names[which];
	w->text = text(in, &w->len);
	if (w->what == UTF8 && atr_utf8_valid(w->text, w->len) != w->len)
		w->what = TEXT;
	if (w->what == INT)
		memcpy(&w->number, w->text, w->len < 8 ? w->len : 8);
	for (size_t i = 0; i < w->n; i++)
		values[i] = (struct atr_slice){ w->text, w->len };
	if (w->what == INT)
		atr_attr_int(pb, (enum atr_attr)which, w->number);
	else if (w->what == UTF8)
		atr_attr_utf8(pb, (enum atr_attr)which, w->text, w->len);
	else if (w->what == TEXT)
		atr_attr_str(pb, (enum atr_attr)which, w->text, w->len);
	else
		atr_attr_strs(pb, ATR_SLICE(header), values, w->n);
}

/* Written from RFC 3629's table, another way than utf8.c. */
static size_t good(const unsigned char *s, size_t len)
{
	static const struct {
		uint32_t least;
		unsigned lead, mask;
	} rows[] = {
		{ 0, 0, 0x80 }, { 0x80, 0xc0, 0xe0 }, { 0x800, 0xe0, 0xf0 }, { 0x10000, 0xf0, 0xf8 }
	};

	for (size_t n = 0; n < 4 && n < len; n++) {
		uint32_t c = s[0] & ~rows[n].mask;

		if ((s[0] & rows[n].mask) != rows[n].lead)
			continue;
		for (size_t i = 1; i <= n; i++) {
			if ((s[i] & 0xc0) != 0x80)
				return 0;
			c = c << 6 | (s[i] & 0x3f);
		}
		return c < rows[n].least || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n + 1;
	}
	return 0;
}

/* `got` is how the sanitised text begins, and no shorter than it has to be. */
static void check_text(const char *got, const char *in, size_t len, size_t max, size_t characters)
{
	size_t n = strlen(got), i = 0, n_chars = 0;
	const unsigned char *s = (const unsigned char *)in;

	must(n <= len && n <= max);
	while (i < n) {
		size_t one = good(s + i, len - i);

		must(one ? i + one <= n && memcmp(got + i, in + i, one) == 0 : got[i] == '?');
		i += one ? one : 1;
		n_chars++;
	}
	must(n_chars <= characters);
	must(n_chars == characters || n == len || (len > max && n + 3 >= max));
}

static void check_value(const Atr__Otlp__AnyValue *v, const struct wanted *w, size_t characters)
{
	if (w->what == INT) {
		must(v->value_case == ATR__OTLP__ANY_VALUE__VALUE_INT_VALUE);
		must(v->int_value == w->number);
	} else if (w->what == STRINGS) {
		must(v->value_case == ATR__OTLP__ANY_VALUE__VALUE_ARRAY_VALUE);
		must(v->array_value->n_values == w->n);
		for (size_t i = 0; i < w->n; i++)
			check_text(v->array_value->values[i]->string_value, w->text, w->len,
				   ATR_VALUE_MAX, characters);
	} else {
		must(v->value_case == ATR__OTLP__ANY_VALUE__VALUE_STRING_VALUE);
		check_text(v->string_value, w->text, w->len, ATR_VALUE_MAX, characters);
	}
}

/* thread.id comes first, then ours. */
static void check(const struct atr_limits *l, const Atr__Otlp__Span *s, const struct atr_op *op)
{
	size_t all = n_wanted + 1, left = all < l->attributes ? all : l->attributes;

	must(s != NULL);
	must(s->trace_id.len == 16 && memcmp(s->trace_id.data, op->context.trace_id, 16) == 0);
	must(s->parent_span_id.len == (op->has_parent ? 8u : 0u));
	must((int)s->kind == op->kind && (s->flags & 0xff) == op->context.flags);
	must(s->n_attributes == left && s->dropped_attributes_count == all - left);
	for (size_t i = 1; i < left; i++) {
		must(strcmp(s->attributes[i]->key, wanted[i - 1].key) == 0);
		check_value(s->attributes[i]->value, &wanted[i - 1], l->characters);
	}
}

static void begin_span(struct atr_op *op, unsigned how)
{
	memset(op, 0, sizeof(*op));
	op->kind = 1 + how % 3;
	op->context.flags = how >> 2 & 3;
	op->has_parent = how >> 4 & 1;
	op->parent_remote = how >> 5 & 1;
	op->context.valid = op->recording = true;
	op->start = 5;
	op->end = 4 + (how >> 6);
	memset(op->context.trace_id, 0xab, 16);
	memset(op->context.span_id, 0xcd, 8);
}

/* What was committed, limited, is what was wanted. */
static void check_committed(struct atr_limits *l, const struct atr_op *op, const char *name,
			    size_t name_len)
{
	size_t len = committed->span_len;
	const uint8_t *it = atr_limits_apply(l, committed->span, &len);
	Atr__Otlp__Span *s;

	must(it != NULL);
	s = atr__otlp__span__unpack(NULL, len, it);
	check(l, s, op);
	if (name_len)
		check_text(s->name, name, name_len, NAME_MAX_BYTES, SIZE_MAX);
	else
		must(strcmp(s->name, "unknown") == 0);
	atr__otlp__span__free_unpacked(s, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	unsigned attributes = byte(&in), characters = byte(&in);
	struct atr_config config = {
		.span_attribute_count = attributes & 1 ? 128 : attributes >> 1,
		.span_attribute_length = characters & 1 ? INT32_MAX : characters >> 1,
	};
	struct atr_limits limits;
	struct atr_span span;
	struct atr_op op;
	size_t name_len;
	char *name;

	atr_limits_init(&limits, &config);
	begin_span(&op, byte(&in));
	name = text(&in, &name_len);
	committed = NULL;
	n_wanted = 0;
	must(atr_op_end(&op, &span, name, name_len));
	while (in.p < in.end && n_wanted < N_MAX)
		put_one(&span.pb, &in, &wanted[n_wanted++]);
	atr_span_commit(&span);
	must(!committed == span.pb.overflow);
	if (committed)
		check_committed(&limits, &op, name, name_len);
	for (size_t i = 0; i < n_wanted; i++)
		free(wanted[i].text);
	free(name);
	atr_limits_finish(&limits);
	return 0;
}
