/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/buf.o preload/sys.o preload/utf8.o exporter/otlp.pb-c.o -lprotobuf-c */
/* The oracle is protobuf-c: it reads what was left, and that is compared with what it wrote. */
#include "exporter/limits.c"

#include "exporter/otlp.pb-c.h"
#include "tests/unit/test.h"

#define NONE 0x7fffffff
#define N_MAX 9

static struct atr_config config;
static struct atr_limits limits;
static uint8_t packed[65536];
static size_t packed_len;

/* A span whose attributes are strings, an array of strings, an int and bytes, in turn. */
static char texts[N_MAX][64];
static Atr__Otlp__AnyValue values[N_MAX], element[3];
static Atr__Otlp__AnyValue *elements[3] = { &element[0], &element[1], &element[2] };
static Atr__Otlp__ArrayValue array_value;
static Atr__Otlp__KeyValue pairs[N_MAX], *attributes[N_MAX];

static void set_string(Atr__Otlp__AnyValue *v, char *text)
{
	atr__otlp__any_value__init(v);
	v->value_case = ATR__OTLP__ANY_VALUE__VALUE_STRING_VALUE;
	v->string_value = text;
}

static void set_value(size_t i, const char *text)
{
	Atr__Otlp__AnyValue *v = &values[i];

	(void)snprintf(texts[i], sizeof(texts[i]), "%s", text);
	set_string(v, texts[i]);
	if (i % 4 == 1) {
		atr__otlp__array_value__init(&array_value);
		for (size_t j = 0; j < 3; j++)
			set_string(elements[j], texts[i]);
		element[1].value_case = ATR__OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE;
		element[1].double_value = 1.5;
		array_value.n_values = 3;
		array_value.values = elements;
		v->value_case = ATR__OTLP__ANY_VALUE__VALUE_ARRAY_VALUE;
		v->array_value = &array_value;
	} else if (i % 4 == 2) {
		v->value_case = ATR__OTLP__ANY_VALUE__VALUE_INT_VALUE;
		v->int_value = -1;
	} else if (i % 4 == 3) {
		v->value_case = ATR__OTLP__ANY_VALUE__VALUE_BYTES_VALUE;
		v->bytes_value.data = (uint8_t *)texts[i];
		v->bytes_value.len = strlen(texts[i]);
	}
}

/* Packs one of n attributes; what stands behind them comes last on the wire, too. */
static void pack(size_t n, const char *text, uint32_t dropped)
{
	Atr__Otlp__Span span = ATR__OTLP__SPAN__INIT;

	for (size_t i = 0; i < n; i++) {
		atr__otlp__key_value__init(&pairs[i]);
		pairs[i].key = (char *)(i % 2 ? "a.key" : "another.longer.key");
		set_value(i, text);
		pairs[i].value = &values[i];
		attributes[i] = &pairs[i];
	}
	span.name = (char *)"a name that is longer than any limit here";
	span.attributes = attributes;
	span.n_attributes = n;
	span.dropped_attributes_count = dropped;
	span.flags = 0x101;
	packed_len = atr__otlp__span__pack(&span, packed);
}

static const uint8_t *apply(size_t *len, size_t count, size_t characters)
{
	config.span_attribute_count = (uint32_t)count;
	config.span_attribute_length = (uint32_t)characters;
	atr_limits_finish(&limits);
	atr_limits_init(&limits, &config);
	*len = packed_len;
	return atr_limits_apply(&limits, packed, len);
}

static Atr__Otlp__Span *applied(size_t count, size_t characters)
{
	size_t len;
	const uint8_t *bytes = apply(&len, count, characters);

	return atr__otlp__span__unpack(NULL, len, bytes);
}

TEST(within_the_limits_a_span_is_not_touched)
{
	size_t len;

	for (size_t n = 0; n <= N_MAX; n++) {
		pack(n, "some text", 0);
		CHECK(apply(&len, n, NONE) == packed);
		CHECK_INT(len, packed_len);
	}
	CHECK_INT(limits.span.room, 0);
}

TEST(the_first_attributes_stay_and_the_others_are_counted)
{
	for (size_t n = 0; n <= N_MAX; n++)
		for (size_t max = 0; max <= N_MAX; max++) {
			size_t left = n < max ? n : max;
			Atr__Otlp__Span *s;

			pack(n, "some text", 3);
			s = applied(max, NONE);
			if (!CHECK(s != NULL))
				return;
			CHECK_INT(s->n_attributes, left);
			CHECK_INT(s->dropped_attributes_count, 3 + n - left);
			CHECK_INT(s->flags, 0x101);
			CHECK_STR(s->name, "a name that is longer than any limit here");
			for (size_t i = 0; i < left; i++) {
				CHECK_STR(s->attributes[i]->key, pairs[i].key);
				CHECK_INT(s->attributes[i]->value->value_case,
					  values[i].value_case);
			}
			atr__otlp__span__free_unpacked(s, NULL);
		}
}

/* Each value of the span, cut to what the text should be. */
static void check_values(const Atr__Otlp__Span *s, const char *text, const char *bytes)
{
	for (size_t i = 0; i < s->n_attributes; i++) {
		const Atr__Otlp__AnyValue *v = s->attributes[i]->value;

		if (i % 4 == 0) {
			CHECK_STR(v->string_value, text);
		} else if (i % 4 == 1) {
			CHECK_INT(v->array_value->n_values, 3);
			CHECK_STR(v->array_value->values[0]->string_value, text);
			CHECK(v->array_value->values[1]->double_value == 1.5);
			CHECK_STR(v->array_value->values[2]->string_value, text);
		} else if (i % 4 == 2) {
			CHECK_INT(v->int_value, -1);
		} else {
			CHECK_INT(v->bytes_value.len, strlen(bytes));
			if (*bytes)
				CHECK_MEM(v->bytes_value.data, bytes, strlen(bytes));
		}
	}
}

TEST(strings_are_cut_to_so_many_characters_and_bytes_to_so_many_bytes)
{
	static const struct {
		size_t max;
		const char *text, *bytes;
	} rows[] = {
		{ 0, "", "" },
		{ 1, "a", "a" },
		{ 2, "a\xc3\xa4", "a\xc3" },
		{ 3, "a\xc3\xa4\xe2\x82\xac", "a\xc3\xa4" },
		{ 4, "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "a\xc3\xa4\xe2" },
		{ 5, "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z", "a\xc3\xa4\xe2\x82" },
		{ 6, "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z", "a\xc3\xa4\xe2\x82\xac" },
		{ NONE, "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z",
		  "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		Atr__Otlp__Span *s;

		pack(N_MAX, rows[7].text, 0);
		s = applied(N_MAX, rows[i].max);
		if (!CHECK(s && s->n_attributes == N_MAX))
			return;
		check_values(s, rows[i].text, rows[i].bytes);
		CHECK_INT(s->dropped_attributes_count, 0);
		atr__otlp__span__free_unpacked(s, NULL);
	}
}

/* Whatever the bytes are: read to their end, written within memory (ASan), never longer. */
static void check_hostile(const uint8_t *bytes, size_t len)
{
	uint8_t *edge = test_edge(bytes, len);
	size_t n = len;
	const uint8_t *out = atr_limits_apply(&limits, edge, &n);

	CHECK(out && (out == edge ? n == len : n <= len + 12));
	CHECK(out == edge || n <= limits.span.room);
	test_edge_free(edge, len);
}

TEST(what_is_no_span_harms_nothing)
{
	uint64_t random = 1;
	size_t len;

	pack(N_MAX, "text", 7);
	(void)apply(&len, 2, 1);
	for (size_t n = 0; n < packed_len; n++)
		check_hostile(packed, n);
	for (int round = 0; round < 20000; round++) {
		uint8_t bytes[512];
		size_t n = packed_len < sizeof(bytes) ? packed_len : sizeof(bytes);

		memcpy(bytes, packed, n);
		for (int i = 0; i < 3; i++) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			bytes[(random >> 33) % n] = (uint8_t)(random >> 56);
		}
		check_hostile(bytes, n);
	}
}
