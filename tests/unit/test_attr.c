/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/utf8.o preload/sys.o exporter/otlp.pb-c.o -lprotobuf-c */
/* The oracle is protobuf-c: what we write in place it must read back. */
#include "exporter/otlp.pb-c.h"
#include "preload/attr.c"
#include "tests/unit/test.h"

static uint8_t buf[16384];

/* Reads the attributes back as those of a Span; NULL when they are no protobuf. */
static Atr__Otlp__Span *decode(const struct atr_pb *pb)
{
	return atr__otlp__span__unpack(NULL, (size_t)(pb->p - buf), buf);
}

static void check_str(const char *value, size_t len, const char *want, size_t want_len)
{
	struct atr_pb pb = { .p = buf, .end = buf + sizeof(buf) };
	Atr__Otlp__Span *span;

	atr_attr_str(&pb, ATR_DB_QUERY_TEXT, value, len);
	CHECK(!pb.overflow);
	span = decode(&pb);
	if (!CHECK(span && span->n_attributes == 1))
		return;
	CHECK_STR(span->attributes[0]->key, "db.query.text");
	CHECK_INT(span->attributes[0]->value->value_case, ATR__OTLP__ANY_VALUE__VALUE_STRING_VALUE);
	CHECK_INT(strlen(span->attributes[0]->value->string_value), want_len);
	CHECK_MEM(span->attributes[0]->value->string_value, want, want_len);
	atr__otlp__span__free_unpacked(span, NULL);
}

TEST(strings_of_every_length_come_back)
{
	static char value[ATR_VALUE_MAX + 100];

	memset(value, 'x', sizeof(value));
	for (size_t n = 1; n < 400; n++)
		check_str(value, n, value, n);
	for (size_t n = 16300; n < 16400 && n < sizeof(value); n++)
		check_str(value, n, value, n);
	check_str(value, ATR_VALUE_MAX, value, ATR_VALUE_MAX);
	check_str(value, ATR_VALUE_MAX + 1, value, ATR_VALUE_MAX);
}

TEST(invalid_utf8_becomes_question_marks)
{
	check_str("a\xff"
		  "b",
		  3, "a?b", 3);
	check_str("caf\xc3\xa9", 5, "caf\xc3\xa9", 5);
	check_str("caf\xc3", 4, "caf?", 4);
}

TEST(a_cut_never_splits_a_character)
{
	static char value[ATR_VALUE_MAX + 8];

	for (size_t before = 0; before < 4; before++) {
		memset(value, 'x', sizeof(value));
		memcpy(value + ATR_VALUE_MAX - before, "\xf0\x9f\x90\x98", 4);
		check_str(value, ATR_VALUE_MAX + 4, value,
			  ATR_VALUE_MAX - (before < 4 ? before : 0));
	}
}

TEST(integers_come_back)
{
	static const int64_t values[] = {
		0, 1, 127, 128, 5432, INT32_MAX, INT64_MAX, -1, INT64_MIN
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(values); i++) {
		struct atr_pb pb = { .p = buf, .end = buf + sizeof(buf) };
		Atr__Otlp__Span *span;

		atr_attr_int(&pb, ATR_THREAD_ID, values[i]);
		span = decode(&pb);
		if (!CHECK(span && span->n_attributes == 1))
			continue;
		CHECK_STR(span->attributes[0]->key, "thread.id");
		CHECK_INT(span->attributes[0]->value->int_value, values[i]);
		atr__otlp__span__free_unpacked(span, NULL);
	}
}

TEST(every_key_of_the_table_comes_back)
{
	static const char *const want[] = {
#define ATTR(name, key, ...) key,
#include "preload/attr.def"
	};
	struct atr_pb pb = { .p = buf, .end = buf + sizeof(buf) };
	Atr__Otlp__Span *span;

	for (int i = 0; i < ATR_N_ATTRS; i++)
		atr_attr_int(&pb, (enum atr_attr)i, i);
	span = decode(&pb);
	if (!CHECK(span && span->n_attributes == ATR_N_ATTRS))
		return;
	for (int i = 0; i < ATR_N_ATTRS; i++)
		CHECK_STR(span->attributes[i]->key, want[i]);
	atr__otlp__span__free_unpacked(span, NULL);
}

/* Every size up to the one that fits: either whole, or overflow and no byte too far. */
TEST(every_short_buffer_overflows_and_sticks)
{
	bool fitted = false;

	for (size_t size = 0; size < 200; size++) {
		uint8_t *edge = test_edge(NULL, size);
		struct atr_pb pb = { .p = edge, .end = edge + size };

		atr_attr_str(&pb, ATR_SERVER_ADDRESS, "db.example.com", 14);
		atr_attr_int(&pb, ATR_SERVER_PORT, 5433);
		if (fitted)
			CHECK(!pb.overflow);
		fitted = !pb.overflow;
		atr_attr_int(&pb, ATR_THREAD_ID, 1);
		CHECK(fitted || pb.overflow);
		CHECK(pb.p <= pb.end);
		test_edge_free(edge, size);
	}
	CHECK(fitted);
}

/* The i-th string of the span's first attribute, an array; NULL when it is none. */
static const Atr__Otlp__AnyValue *item(const Atr__Otlp__Span *span, size_t i)
{
	const Atr__Otlp__AnyValue *v = span->attributes[0]->value;

	if (v->value_case != ATR__OTLP__ANY_VALUE__VALUE_ARRAY_VALUE ||
	    i >= v->array_value->n_values ||
	    v->array_value->values[i]->value_case != ATR__OTLP__ANY_VALUE__VALUE_STRING_VALUE)
		return NULL;
	return v->array_value->values[i];
}

TEST(arrays_of_strings_come_back_under_a_key_of_any_length)
{
	static char big[ATR_VALUE_MAX + 100], key[300];

	memset(big, 'x', sizeof(big));
	memset(key, 'k', sizeof(key));
	for (size_t n = 0; n < 20; n++)
		for (size_t len = 100; len < 140; len++) {
			struct atr_pb pb = { .p = buf, .end = buf + sizeof(buf) };
			struct atr_slice values[20];
			Atr__Otlp__Span *span;

			for (size_t i = 0; i < n; i++)
				values[i] = (struct atr_slice){ big, i ? i * len / 4 : 0 };
			atr_attr_strs(&pb, (struct atr_slice){ key, len }, values, n);
			CHECK(!pb.overflow);
			span = decode(&pb);
			if (!CHECK(span && span->n_attributes == 1))
				continue;
			CHECK_INT(strlen(span->attributes[0]->key), len);
			CHECK_MEM(span->attributes[0]->key, key, len);
			for (size_t i = 0; i < n; i++)
				if (CHECK(item(span, i)))
					CHECK_INT(strlen(item(span, i)->string_value),
						  values[i].len);
			CHECK(!item(span, n));
			atr__otlp__span__free_unpacked(span, NULL);
		}
}

TEST(items_of_an_array_become_valid_utf8_and_are_cut)
{
	static char big[ATR_VALUE_MAX + 8];
	struct atr_pb pb = { .p = buf, .end = buf + sizeof(buf) };
	const struct atr_slice values[] = {
		ATR_SLICE("caf\xe9"), ATR_SLICE("\xc3\xa9"), { NULL, 0 }, { big, ATR_VALUE_MAX + 3 }
	};
	Atr__Otlp__Span *span;

	memset(big, 'x', sizeof(big));
	memcpy(big + ATR_VALUE_MAX - 1, "\xf0\x9f\x90\x98", 4);
	atr_attr_strs(&pb, ATR_SLICE("a"), values, 4);
	span = decode(&pb);
	if (!CHECK(span && span->n_attributes == 1 && item(span, 3)))
		return;
	CHECK_STR(item(span, 0)->string_value, "caf?");
	CHECK_STR(item(span, 1)->string_value, "\xc3\xa9");
	CHECK_STR(item(span, 2)->string_value, "");
	CHECK_INT(strlen(item(span, 3)->string_value), ATR_VALUE_MAX - 1);
	atr__otlp__span__free_unpacked(span, NULL);
}

TEST(an_array_is_written_whole_into_exactly_its_room_or_not_at_all)
{
	const struct atr_slice values[] = { ATR_SLICE("one"), ATR_SLICE("two") };
	size_t need = 0;

	for (size_t size = 0; size < 100; size++) {
		uint8_t *edge = test_edge(NULL, size);
		struct atr_pb pb = { .p = edge, .end = edge + size };

		atr_attr_strs(&pb, ATR_SLICE("http.request.header.x"), values, 2);
		if (!pb.overflow && !need) {
			need = (size_t)(pb.p - edge);
			CHECK_INT(need, size);
		}
		CHECK(pb.overflow == !need);
		CHECK_INT(pb.p - edge, need);
		test_edge_free(edge, size);
	}
	CHECK(need > 0);
}
