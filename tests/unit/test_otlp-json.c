/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/otlp.o exporter/resource.o exporter/detect.o exporter/container.o */
/* LINK: exporter/list.o exporter/buf.o exporter/line.o exporter/otlp.pb-c.o */
/* LINK: preload/sys.o preload/utf8.o -lprotobuf-c -lm */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* printf as it is where the locale has a decimal comma. */
static bool comma;

__attribute__((format(printf, 3, 4))) static int localised(char *to, size_t size, const char *fmt,
							   ...)
{
	va_list args;
	char *point;
	int n;

	va_start(args, fmt);
	n = vsnprintf(to, size, fmt, args);
	va_end(args);
	point = comma ? strchr(to, '.') : NULL;
	if (point)
		*point = ',';
	return n;
}

#define snprintf localised
#include "exporter/otlp-json.c"
#undef snprintf

#include "exporter/resource.h"
#include "preload/version.h"
#include "tests/unit/test.h"

/* That the official mapping says the same of every field: tests/abi/test_otlp_json.py. */

static char text[1 << 20];
static uint64_t lost;

static const char *json(const ProtobufCMessageDescriptor *type, const void *bytes, size_t len)
{
	struct atr_buf out = { 0 };
	void *edge = test_edge(bytes, len);

	lost = 0;
	text[0] = '\0';
	if (!atr_otlp_json_message(&out, type, edge, len, &lost))
		(void)snprintf(text, sizeof(text), "refused%s", out.len ? ", not undone" : "");
	else
		(void)snprintf(text, sizeof(text), "%.*s", (int)out.len, (const char *)out.bytes);
	test_edge_free(edge, len);
	atr_buf_free(&out);
	return text;
}

#define SPAN(s) json(&atr__otlp__span__descriptor, s, sizeof(s) - 1)
#define VALUE(s) json(&atr__otlp__any_value__descriptor, s, sizeof(s) - 1)

TEST(names_are_in_lower_camel_case_ids_in_hex_long_numbers_in_strings)
{
	CHECK_STR(SPAN("\x0a\x02\xab\x01\x12\x01\x7f\x22\x00"
		       "\x2a\x03GET\x30\x03"
		       "\x39\x01\0\0\0\0\0\0\x80\x50\x07\x7a\x02\x18\x02\x85\x01\x01\x03\0\0"),
		  "{\"traceId\":\"ab01\",\"spanId\":\"7f\",\"parentSpanId\":\"\",\"name\":\"GET\","
		  "\"kind\":3,\"startTimeUnixNano\":\"9223372036854775809\","
		  "\"droppedAttributesCount\":7,\"status\":{\"code\":2},\"flags\":769}");
	CHECK_INT(lost, 0);
}

TEST(each_kind_of_value_has_its_form)
{
	CHECK_STR(VALUE("\x0a\x01x"), "{\"stringValue\":\"x\"}");
	CHECK_STR(VALUE("\x0a\x00"), "{\"stringValue\":\"\"}");
	CHECK_STR(VALUE("\x10\x00"), "{\"boolValue\":false}");
	CHECK_STR(VALUE("\x10\x01"), "{\"boolValue\":true}");
	CHECK_STR(VALUE("\x18\x05"), "{\"intValue\":\"5\"}");
	CHECK_STR(VALUE("\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "{\"intValue\":\"-1\"}");
	CHECK_STR(VALUE("\x18\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"),
		  "{\"intValue\":\"-9223372036854775808\"}");
	CHECK_STR(VALUE("\x21\0\0\0\0\0\0\xf8\x3f"), "{\"doubleValue\":1.5}");
	CHECK_STR(VALUE("\x2a\x05\x0a\x03\x0a\x01y"),
		  "{\"arrayValue\":{\"values\":[{\"stringValue\":\"y\"}]}}");
	CHECK_STR(VALUE("\x32\x05\x0a\x03\x0a\x01k"),
		  "{\"kvlistValue\":{\"values\":[{\"key\":\"k\"}]}}");
	CHECK_STR(VALUE("\x3a\x04\x00\xff\x10\x20"), "{\"bytesValue\":\"AP8QIA==\"}");
	CHECK_STR(VALUE("\x3a\x03\xfb\xff\xbf"), "{\"bytesValue\":\"+/+/\"}");
	CHECK_STR(VALUE("\x3a\x05\x00\xff\x10\x20\x30"), "{\"bytesValue\":\"AP8QIDA=\"}");
	CHECK_STR(VALUE(""), "{}");
	CHECK_INT(lost, 0);
}

static const char *number(double v)
{
	struct atr_buf out = { 0 };

	atr_json_double(&out, v);
	(void)snprintf(text, sizeof(text), "%.*s", (int)out.len, (const char *)out.bytes);
	atr_buf_free(&out);
	return text;
}

TEST(a_double_has_the_digits_it_takes_to_read_it_back)
{
	static const double all[] = { 0.1,  1.0 / 3,	   5e-324, 1.7976931348623157e308, -0.0,
				      1e21, 123456789.125, 2e-7,   9007199254740993.0 };

	CHECK_STR(number(0.1), "0.1");
	CHECK_STR(number(-2), "-2");
	CHECK_STR(number(-0.0), "-0.0");
	CHECK_STR(number(NAN), "\"NaN\"");
	CHECK_STR(number(INFINITY), "\"Infinity\"");
	CHECK_STR(number(-INFINITY), "\"-Infinity\"");
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		double back = strtod(number(all[i]), NULL);

		CHECK_MEM(&back, &all[i], sizeof(back));
	}
}

TEST(the_programs_locale_does_not_write_a_comma)
{
	comma = true;
	CHECK_STR(number(1.25), "1.25");
	CHECK_STR(number(-0.75), "-0.75");
	comma = false;
}

static const char *quoted(const char *s, size_t len)
{
	struct atr_buf out = { 0 };
	void *edge = test_edge(s, len);

	atr_json_str(&out, edge, len);
	(void)snprintf(text, sizeof(text), "%.*s", (int)out.len, (const char *)out.bytes);
	test_edge_free(edge, len);
	atr_buf_free(&out);
	return text;
}

TEST(strings_stay_one_line_of_valid_utf8)
{
	CHECK_STR(quoted("a\"b\\c\n\r\t\b\f\x1b\x7f/", 13),
		  "\"a\\\"b\\\\c\\n\\r\\t\\b\\f\\u001b\x7f/\"");
	CHECK_STR(quoted("x\0y", 3), "\"x\\u0000y\"");
	CHECK_STR(quoted("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9),
		  "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"");
	CHECK_STR(quoted("a\xff"
			 "b\xc3",
			 4),
		  "\"a?b?\"");
	CHECK_STR(quoted("\xed\xa0\x80", 3), "\"???\"");
	CHECK_STR(quoted("", 0), "\"\"");
	for (unsigned c = 1; c < 0x20; c++) {
		char one = (char)c;

		quoted(&one, 1);
		CHECK(text[1] == '\\' && strspn(text, "\\u0123456789abcdefbnrt\"") == strlen(text));
	}
}

TEST(fields_that_stand_apart_become_one_array_and_the_last_of_a_scalar_counts)
{
	CHECK_STR(SPAN("\x4a\x03\x0a\x01"
		       "a\x2a\x01x\x4a\x03\x0a\x01"
		       "b\x2a\x01y"),
		  "{\"name\":\"y\",\"attributes\":[{\"key\":\"a\"},{\"key\":\"b\"}]}");
	CHECK_INT(lost, 0);
	/* Of a choice, too. */
	CHECK_STR(VALUE("\x0a\x01x\x18\x05"), "{\"intValue\":\"5\"}");
	CHECK_STR(VALUE("\x18\x05\x0a\x01x"), "{\"stringValue\":\"x\"}");
	CHECK_INT(lost, 0);
}

TEST(what_is_not_shown_is_counted)
{
	CHECK_STR(SPAN("\x9a\x06\x01z\x2a\x01x"), "{\"name\":\"x\"}"); /* field 99 */
	CHECK_INT(lost, 1);
	CHECK_STR(SPAN("\x28\x01\x2a\x01x"), "{\"name\":\"x\"}"); /* a number for a name */
	CHECK_INT(lost, 1);
	CHECK_STR(SPAN("\x7a\x02\x18\x02\x7a\x03\x12\x01m"), "{\"status\":{\"message\":\"m\"}}");
	CHECK_INT(lost, 1);
}

TEST(what_is_no_protobuf_is_refused_and_leaves_no_trace)
{
	CHECK_STR(SPAN("\x2a"), "refused");
	CHECK_STR(SPAN("\x2a\x05GET"), "refused");
	CHECK_STR(SPAN("\x2a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"), "refused");
	CHECK_STR(SPAN("\x2a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), "refused");
	CHECK_STR(SPAN("\x39\x01\x02"), "refused");
	CHECK_STR(SPAN("\x0b\x0c"), "refused");			 /* a group */
	CHECK_STR(SPAN("\x02\x00"), "refused");			 /* field 0 */
	CHECK_STR(SPAN("\x2a\x01x\x4a\x02\x0a\x05"), "refused"); /* in a message within */
}

TEST(every_truncation_is_whole_fields_or_refused)
{
	static const char span[] = "\x0a\x02\xab\x01\x2a\x03GET\x39\x01\0\0\0\0\0\0\x80"
				   "\x4a\x08\x0a\x01k\x12\x03\x0a\x01v\x7a\x02\x18\x02";
	unsigned whole = 0;

	for (size_t n = 0; n < sizeof(span); n++)
		whole += strcmp(json(&atr__otlp__span__descriptor, span, n), "refused") != 0;
	CHECK_INT(whole, 6);
}

/* An array in an array in an array... */
TEST(deep_nesting_ends_somewhere)
{
	uint8_t bytes[2048];
	size_t len = 0, depth = 0;

	for (unsigned i = 0; i < 300; i++) {
		uint8_t head[8];
		size_t n = 0;

		head[n++] = i % 2 ? 0x2a : 0x0a; /* values of an array, the array of a value */
		head[n++] = (uint8_t)(len | 0x80);
		head[n++] = (uint8_t)(len >> 7 | 0x80);
		head[n++] = 0;
		memmove(bytes + n, bytes, len);
		memcpy(bytes, head, n);
		len += n;
	}
	json(&atr__otlp__any_value__descriptor, bytes, len);
	for (const char *p = text; *p; p++)
		depth += *p == '{';
	CHECK_INT(lost, 1);
	CHECK_INT(depth, DEPTH_MAX + 1);
}

TEST(a_request_is_one_line_under_its_head)
{
	struct atr_attr attrs[] = { { .key = (char *)"service.name", .text = (char *)"sh\"op" },
				    { .key = (char *)"process.pid", .number = 4711 } };
	const struct atr_resource resource = { .attrs = attrs, .n_attrs = 2 };
	struct atr_buf spans = { 0 }, out = { 0 };
	struct atr_otlp_head head;

	CHECK_INT(atr_otlp_head_init(&head, &resource), 0);
	atr_otlp_add_span(&spans,
			  (const uint8_t *)"\x2a\x01"
					   "a",
			  3);
	atr_otlp_add_span(&spans,
			  (const uint8_t *)"\x2a\x01"
					   "b",
			  3);
	CHECK(atr_otlp_json(&out, &head, spans.bytes, spans.len));
	(void)snprintf(text, sizeof(text), "%.*s", (int)out.len, (const char *)out.bytes);
	CHECK_STR(text, "{\"resourceSpans\":[{\"resource\":{\"attributes\":["
			"{\"key\":\"service.name\",\"value\":{\"stringValue\":\"sh\\\"op\"}},"
			"{\"key\":\"process.pid\",\"value\":{\"intValue\":\"4711\"}}]},"
			"\"schemaUrl\":\"" ATR_SCHEMA_URL "\",\"scopeSpans\":[{\"scope\":{\"name\":"
			"\"libautotrace\",\"version\":\"" ATR_VERSION "\"},"
			"\"schemaUrl\":\"" ATR_SCHEMA_URL "\","
			"\"spans\":[{\"name\":\"a\"},{\"name\":\"b\"}]}]}]}");
	CHECK(!atr_otlp_json(&out, &head, (const uint8_t *)"\x12\x05", 2));
	CHECK_INT(out.len, strlen(text));
	atr_buf_free(&spans);
	atr_buf_free(&out);
	atr_otlp_head_finish(&head);
}

TEST(a_request_with_nothing_in_its_head_is_json_too)
{
	struct atr_otlp_head head = { 0 };
	struct atr_buf out = { 0 };

	CHECK(atr_otlp_json(&out, &head, NULL, 0));
	CHECK_MEM(out.bytes, "{\"resourceSpans\":[{\"scopeSpans\":[{}]}]}", out.len);
	atr_buf_free(&out);
}

#define POINT(s) json(&atr__otlp__histogram_data_point__descriptor, s, sizeof(s) - 1)

TEST(numbers_may_be_packed_or_not)
{
	CHECK_STR(POINT("\x32\x10\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\x80"
			"\x31\x03\0\0\0\0\0\0\0"
			"\x32\x08\x04\0\0\0\0\0\0\0"
			"\x3a\x08\0\0\0\0\0\0\xe0\x3f"),
		  "{\"bucketCounts\":[\"1\",\"9223372036854775810\",\"3\",\"4\"],"
		  "\"explicitBounds\":[0.5]}");
	CHECK_INT(lost, 0);
	CHECK_STR(POINT("\x32\x00"), "{\"bucketCounts\":[]}");
	CHECK_STR(POINT("\x32\x09\x01\0\0\0\0\0\0\0\x02"), "refused");
	/* One that is not repeated cannot be. */
	CHECK_STR(POINT("\x22\x08\x01\0\0\0\0\0\0\0"), "{}");
	CHECK_INT(lost, 1);
	CHECK_STR(json(&atr__otlp__number_data_point__descriptor,
		       "\x31\xff\xff\xff\xff\xff\xff\xff\xff", 9),
		  "{\"asInt\":\"-1\"}");
}

/* put_value() knows the types that occur, and there is a place for every field. */
TEST(no_message_of_ours_has_a_field_the_walk_does_not_know)
{
	static const ProtobufCMessageDescriptor *const all[] = {
		&atr__otlp__any_value__descriptor,
		&atr__otlp__array_value__descriptor,
		&atr__otlp__key_value_list__descriptor,
		&atr__otlp__key_value__descriptor,
		&atr__otlp__instrumentation_scope__descriptor,
		&atr__otlp__resource__descriptor,
		&atr__otlp__span__descriptor,
		&atr__otlp__span__event__descriptor,
		&atr__otlp__span__link__descriptor,
		&atr__otlp__status__descriptor,
		&atr__otlp__scope_spans__descriptor,
		&atr__otlp__resource_spans__descriptor,
		&atr__otlp__number_data_point__descriptor,
		&atr__otlp__histogram_data_point__descriptor,
		&atr__otlp__sum__descriptor,
		&atr__otlp__histogram__descriptor,
		&atr__otlp__metric__descriptor,
		&atr__otlp__scope_metrics__descriptor,
		&atr__otlp__resource_metrics__descriptor,
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		CHECK(all[i]->n_fields <= FIELDS_MAX);
		for (unsigned k = 0; k < all[i]->n_fields; k++) {
			const ProtobufCFieldDescriptor *f = &all[i]->fields[k];

			CHECK(f->type != PROTOBUF_C_TYPE_SINT32 &&
			      f->type != PROTOBUF_C_TYPE_SFIXED32 &&
			      f->type != PROTOBUF_C_TYPE_SINT64 &&
			      f->type != PROTOBUF_C_TYPE_UINT64 &&
			      f->type != PROTOBUF_C_TYPE_FLOAT);
		}
	}
}
