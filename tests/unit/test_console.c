/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/otlp.o exporter/buf.o exporter/resource.o exporter/list.o */
/* LINK: exporter/detect.o exporter/container.o exporter/otlp.pb-c.o preload/sys.o */
/* LINK: preload/utf8.o -lprotobuf-c */
#include "exporter/line.c"

#include "exporter/console.c"

#include "exporter/otlp.h"
#include "tests/unit/test.h"

#define MS 1000000ull

struct wanted {
	uint8_t trace, id, parent;
	int kind;
	const char *name;
	uint64_t start, end;
	const char *attrs[16]; /* key, value pairs; a value that is all digits is a number */
	int status;
	const char *message;
};

static struct atr_buf fields;

static void add(const struct wanted *w)
{
	Atr__Otlp__Span span = ATR__OTLP__SPAN__INIT;
	Atr__Otlp__Status status = ATR__OTLP__STATUS__INIT;
	Atr__Otlp__KeyValue kv[8], *list[8];
	Atr__Otlp__AnyValue value[8];
	uint8_t trace[16] = { w->trace }, id[8] = { w->id }, parent[8] = { w->parent }, bytes[4096];

	span.trace_id = (ProtobufCBinaryData){ 16, trace };
	span.span_id = (ProtobufCBinaryData){ 8, id };
	if (w->parent)
		span.parent_span_id = (ProtobufCBinaryData){ 8, parent };
	span.kind = (Atr__Otlp__Span__SpanKind)w->kind;
	span.name = (char *)w->name;
	span.start_time_unix_nano = 1700000000000000000ull + w->start;
	span.end_time_unix_nano = 1700000000000000000ull + w->end;
	for (size_t i = 0; i < 8 && w->attrs[2 * i]; i++) {
		const char *text = w->attrs[2 * i + 1];

		atr__otlp__key_value__init(&kv[i]);
		atr__otlp__any_value__init(&value[i]);
		kv[i].key = (char *)w->attrs[2 * i];
		kv[i].value = &value[i];
		if (text[strspn(text, "0123456789")]) {
			value[i].value_case = ATR__OTLP__ANY_VALUE__VALUE_STRING_VALUE;
			value[i].string_value = (char *)text;
		} else {
			value[i].value_case = ATR__OTLP__ANY_VALUE__VALUE_INT_VALUE;
			value[i].int_value = atoll(text);
		}
		list[i] = &kv[i];
		span.n_attributes = i + 1;
	}
	span.attributes = list;
	if (w->status) {
		status.code = (Atr__Otlp__Status__StatusCode)w->status;
		status.message = (char *)(w->message ? w->message : "");
		span.status = &status;
	}
	atr_otlp_add_span(&fields, bytes, atr__otlp__span__pack(&span, bytes));
}

/* The text of what was added. */
static const char *rendered(void)
{
	static char out[65536];
	struct atr_resource r = { 0 };
	struct atr_console c = { 0 };
	const struct atr_buf *text;

	atr_resource_set_str(&r, "service.name", "shop");
	atr_resource_set_int(&r, "process.pid", 4711);
	atr_console_init(&c, &r);
	text = atr_console_batch(&c, fields.bytes, fields.len);
	(void)snprintf(out, sizeof(out), "%.*s", text ? (int)text->len : 4,
		       text ? (const char *)text->bytes : "NULL");
	atr_console_finish(&c);
	atr_resource_finish(&r);
	atr_buf_free(&fields);
	return out;
}

/* What a test leaves out is zero. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#define ADD(...) add(&(struct wanted){ __VA_ARGS__ })

TEST(a_batch_is_shown_as_one_tree_per_trace)
{
	ADD(1, 4, 2, 3, "GET", 3 * MS, 12 * MS,
	    { "server.address", "stock", "server.port", "80", "url.full", "http://stock/7",
	      "http.response.status_code", "503", "error.type", "unavailable" },
	    2);
	ADD(1, 3, 2, 3, "SELECT orders", 1 * MS, 2 * MS + 200000,
	    { "db.query.text", "SELECT * FROM orders WHERE id = ?", "server.address", "db",
	      "server.port", "5432", "thread.id", "12" });
	ADD(2, 9, 8, 1, "DNS lookup stock", 0, 999, { NULL });
	ADD(1, 5, 4, 1, "socket connect 10.0.0.3:80", 4 * MS, 4 * MS + 31500,
	    { "error.type", "connection_refused" }, 2, "no luck");
	ADD(1, 2, 0, 2, "GET", 0, 12 * MS + 345678,
	    { "server.address", "shop.example", "server.port", "80", "network.peer.address",
	      "10.0.0.7", "network.peer.port", "51044", "url.path", "/orders/7" });
	ADD(1, 6, 0, 3, "send", 20 * MS, 20 * MS + 65 * 1000 * MS,
	    { "network.peer.address", "/run/x.sock", "autotrace.bytes_sent", "17",
	      "autotrace.bytes_received", "4" });
	CHECK_STR(rendered(),
		  "trace 01000000000000000000000000000000  shop[4711]\n"
		  "├─ SERVER GET  12.3 ms  10.0.0.7:51044  url.path=\"/orders/7\"\n"
		  "│  ├─ CLIENT SELECT orders  1.20 ms  db:5432  "
		  "db.query.text=\"SELECT * FROM orders WHERE id = ?\"\n"
		  "│  └─ CLIENT GET  9.00 ms  stock:80  url.full=\"http://stock/7\"  status=503  "
		  "error.type=\"unavailable\"  ERROR\n"
		  "│     └─ INTERNAL socket connect 10.0.0.3:80  31.5 us  "
		  "error.type=\"connection_refused\"  ERROR no luck\n"
		  "└─ CLIENT send  65.0 s  /run/x.sock  sent=17  received=4\n"
		  "trace 02000000000000000000000000000000  shop[4711]\n"
		  "└─ INTERNAL DNS lookup stock  999 ns  parent=0800000000000000\n");
}

TEST(traces_stand_in_the_order_they_began)
{
	ADD(1, 1, 0, 1, "last", 30, 31, { NULL });
	ADD(3, 1, 0, 1, "first", 10, 11, { NULL });
	ADD(2, 1, 0, 1, "second", 20, 21, { NULL });
	CHECK_STR(rendered(), "trace 03000000000000000000000000000000  shop[4711]\n"
			      "└─ INTERNAL first  1 ns\n"
			      "trace 02000000000000000000000000000000  shop[4711]\n"
			      "└─ INTERNAL second  1 ns\n"
			      "trace 01000000000000000000000000000000  shop[4711]\n"
			      "└─ INTERNAL last  1 ns\n");
}

TEST(names_and_values_cannot_write_lines_or_colours)
{
	ADD(1, 1, 0, 3, "a\nb\x1b[31m", 0, 1500,
	    { "server.address", "h\r", "db.query.text",
	      "\x9b"
	      "31m\x7f" });
	CHECK_STR(rendered(),
		  "trace 01000000000000000000000000000000  shop[4711]\n"
		  "└─ CLIENT a\\nb\\x1b[31m  1.50 us  h\\r  db.query.text=\"\\x9b31m\\x7f\"\n");
}

TEST(long_values_are_cut)
{
	char text[1001];
	const char *out;

	memset(text, 'q', 1000);
	text[1000] = '\0';
	ADD(1, 1, 0, 3, "q", 0, 0, { "db.query.text", text });
	out = rendered();
	CHECK(strlen(out) < 400);
	CHECK(strstr(out, "qqq...\"\n") != NULL);
}

TEST(durations_have_three_digits_and_a_unit)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} cases[] = {
		{ 0, "0 ns" },
		{ 999, "999 ns" },
		{ 1000, "1.00 us" },
		{ 1059, "1.05 us" },
		{ 9999, "9.99 us" },
		{ 10000, "10.0 us" },
		{ 99990, "99.9 us" },
		{ 100000, "100 us" },
		{ 999999, "999 us" },
		{ 1000000, "1.00 ms" },
		{ 999999999, "999 ms" },
		{ 1000000000, "1.00 s" },
		{ 3600000000000, "3600 s" },
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(cases); i++) {
		struct atr_buf out = { 0 };

		put_duration(&out, cases[i].ns);
		atr_buf_add(&out, "", 1);
		CHECK_STR((char *)out.bytes, cases[i].text);
		atr_buf_free(&out);
	}
}

TEST(ids_that_go_in_circles_end)
{
	ADD(1, 1, 2, 1, "a", 5, 6, { NULL });
	ADD(1, 2, 1, 1, "b", 5, 6, { NULL });
	ADD(1, 3, 3, 1, "self", 7, 8, { NULL });
	CHECK_STR(rendered(), "trace 01000000000000000000000000000000  shop[4711]\n"
			      "├─ INTERNAL a  1 ns  parent=0200000000000000\n"
			      "│  └─ INTERNAL b  1 ns\n"
			      "└─ INTERNAL self  1 ns  parent=0300000000000000\n");
}

TEST(deep_trees_are_shown_whole)
{
	const char *out;
	unsigned lines = 0;

	for (unsigned i = 1; i < 255; i++)
		ADD(1, (uint8_t)i, (uint8_t)(i - 1), 1, "deep", i, 1000 - i, { NULL });
	out = rendered();
	for (const char *c = out; *c; c++)
		lines += *c == '\n';
	CHECK_INT(lines, 255);
	CHECK(strstr(out, "parent=") == NULL);
}

TEST(bytes_that_are_no_spans_are_refused)
{
	atr_buf_str(&fields, "\x12\x7f no");
	CHECK_STR(rendered(), "NULL");
}

TEST(a_span_without_anything_is_a_line)
{
	atr_otlp_add_span(&fields, (const uint8_t *)"", 0);
	CHECK_STR(rendered(), "trace   shop[4711]\n└─ ?   0 ns\n");
}
