/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/otlp.o exporter/resource.o exporter/detect.o exporter/container.o */
/* LINK: exporter/list.o exporter/buf.o exporter/line.o exporter/otlp.pb-c.o */
/* LINK: exporter/json.o exporter/otlp-json.o */
/* LINK: preload/sys.o preload/utf8.o -lprotobuf-c -lm */
#include "exporter/otlp-read.c"

#include "exporter/otlp-json.h"
#include "exporter/otlp.pb-c.h"
#include "tests/unit/test.h"

static char text[1 << 16];
static uint64_t lost, wrong;

/* What is read, written again; "refused" if it is not read. */
static const char *again(const ProtobufCMessageDescriptor *type, const char *json)
{
	struct atr_buf wire = { 0 }, out = { 0 };
	size_t len = strlen(json);
	char *edge = test_edge(json, len);
	uint64_t not_shown = 0;

	lost = wrong = 0;
	if (!atr_otlp_read(&wire, type, edge, len, &lost, &wrong)) {
		(void)snprintf(text, sizeof(text), "refused%s", wire.len ? ", not undone" : "");
	} else {
		CHECK(atr_otlp_json_message(&out, type, wire.bytes, wire.len, &not_shown));
		CHECK_INT(not_shown, 0);
		(void)snprintf(text, sizeof(text), "%.*s", (int)out.len, (const char *)out.bytes);
	}
	test_edge_free(edge, len);
	atr_buf_free(&wire);
	atr_buf_free(&out);
	return text;
}

#define SPAN(s) again(&atr__otlp__span__descriptor, s)
#define VALUE(s) again(&atr__otlp__any_value__descriptor, s)

static const char all_of_it[] =
	"{\"traceId\":\"0af7651916cd43dd8448eb211c80319c\",\"spanId\":\"b7ad6b7169203331\","
	"\"traceState\":\"ot=th:8\",\"parentSpanId\":\"00f067aa0ba902b7\",\"name\":\"GET \\u0001\","
	"\"kind\":3,\"startTimeUnixNano\":\"18446744073709551615\",\"endTimeUnixNano\":\"1\","
	"\"attributes\":[{\"key\":\"a\",\"value\":{\"stringValue\":\"\"}},{\"key\":\"b\",\"value\":"
	"{\"arrayValue\":{\"values\":[{\"intValue\":\"-9223372036854775808\"},{\"boolValue\":true},"
	"{\"doubleValue\":0.1},{\"bytesValue\":\"+/"
	"8=\"}]}}}],\"droppedAttributesCount\":4294967295,"
	"\"events\":[{\"timeUnixNano\":\"7\",\"name\":\"e\"}],\"links\":[{\"traceId\":\"ab\"}],"
	"\"status\":{\"message\":\"m\",\"code\":2},\"flags\":257}";

TEST(what_was_written_is_read_as_the_same)
{
	CHECK_STR(SPAN(all_of_it), all_of_it);
	CHECK_INT(lost, 0);
}

TEST(what_others_write_is_read_too)
{
	CHECK_STR(SPAN(" { \"traceId\" : \"AB01\" , \"kind\":\"SPAN_KIND_CLIENT\" } "),
		  "{\"traceId\":\"ab01\"}");
	CHECK_INT(lost, 1); /* OTLP has enums as numbers */
	CHECK_STR(VALUE("{\"intValue\":5}"), "{\"intValue\":\"5\"}");
	CHECK_STR(VALUE("{\"intValue\":-5.0}"), "{\"intValue\":\"-5\"}");
	CHECK_STR(VALUE("{\"intValue\":\"1e3\"}"), "{\"intValue\":\"1000\"}");
	CHECK_STR(VALUE("{\"doubleValue\":\"NaN\"}"), "{\"doubleValue\":\"NaN\"}");
	CHECK_STR(VALUE("{\"doubleValue\":\"-Infinity\"}"), "{\"doubleValue\":\"-Infinity\"}");
	CHECK_STR(VALUE("{\"doubleValue\":\"1.5\"}"), "{\"doubleValue\":1.5}");
	CHECK_STR(VALUE("{\"bytesValue\":\"-_8\"}"), "{\"bytesValue\":\"+/8=\"}");
	CHECK_STR(VALUE("{\"stringValue\":\"\\u00e4\\ud83d\\ude00\"}"),
		  "{\"stringValue\":\"\xc3\xa4\xf0\x9f\x98\x80\"}");
	CHECK_STR(VALUE("{\"stringValue\":\"a\xff\"}"), "{\"stringValue\":\"a?\"}");
	CHECK_STR(VALUE("{}"), "{}");
	CHECK_INT(lost, 0);
	CHECK_STR(SPAN("{\"name\":null,\"events\":null,\"status\":{},\"attributes\":[]}"),
		  "{\"status\":{}}");
	CHECK_INT(lost, 0);
}

TEST(what_has_no_place_is_counted_and_the_rest_read)
{
	static const char *const bad[] = {
		"{\"future\":{\"x\":[1,{\"y\":null}]},\"name\":\"n\"}",
		"{\"trace_id\":\"ab\",\"name\":\"n\"}",
		"{\"traceId\":\"abc\",\"name\":\"n\"}",
		"{\"traceId\":\"zz\",\"name\":\"n\"}",
		"{\"traceId\":5,\"name\":\"n\"}",
		"{\"kind\":2147483648,\"name\":\"n\"}",
		"{\"kind\":1.5,\"name\":\"n\"}",
		"{\"flags\":-1,\"name\":\"n\"}",
		"{\"flags\":\"x\",\"name\":\"n\"}",
		"{\"flags\":4294967296,\"name\":\"n\"}",
		"{\"startTimeUnixNano\":\"18446744073709551616\",\"name\":\"n\"}",
		"{\"startTimeUnixNano\":\"\",\"name\":\"n\"}",
		"{\"startTimeUnixNano\":[],\"name\":\"n\"}",
		"{\"status\":7,\"name\":\"n\"}",
		"{\"events\":{},\"name\":\"n\"}",
		"{\"events\":[3],\"name\":\"n\"}",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK_STR(SPAN(bad[i]), "{\"name\":\"n\"}");
		if (!CHECK_INT(lost, 1))
			printf("  %s\n", bad[i]);
	}
}

TEST(what_is_no_json_object_is_refused_and_leaves_no_trace)
{
	static const char *const bad[] = { "",
					   "[]",
					   "5",
					   "{",
					   "{\"name\"",
					   "{\"name\":",
					   "{\"name\":\"x\"",
					   "{\"name\":\"x\"}x",
					   "{\"name\":\"x\",}",
					   "{name:1}",
					   "{\"attributes\":[{\"key\":\"k\"}" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (!CHECK_STR(SPAN(bad[i]), "refused"))
			printf("  %s\n", bad[i]);
}

TEST(every_truncation_is_refused)
{
	char part[sizeof(all_of_it)];

	for (size_t n = 0; n < sizeof(all_of_it) - 1; n++) {
		memcpy(part, all_of_it, n);
		part[n] = '\0';
		if (!CHECK_STR(SPAN(part), "refused"))
			break;
	}
}

TEST(deep_nesting_is_refused)
{
	static char deep[40000];
	size_t n = 0;

	for (unsigned i = 0; i < 1000; i++)
		n += (size_t)snprintf(deep + n, sizeof(deep) - n, "{\"arrayValue\":{\"values\":[");
	CHECK_STR(VALUE(deep), "refused");
}

/* Lengths of which the prefix takes one byte more. */
TEST(long_messages_have_the_lengths_they_have)
{
	static char json[70000];

	for (unsigned n = 100; n < 40000; n += n < 300 ? 1 : 3301) {
		memset(json, 'x', sizeof(json));
		memcpy(json, "{\"stringValue\":\"", 16);
		(void)snprintf(json + 16 + n, 8, "\"}");
		if (!CHECK_STR(VALUE(json), json))
			break;
	}
}
