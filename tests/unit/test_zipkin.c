/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/collector.o exporter/delivery.o exporter/endpoint.o exporter/retry.o */
/* LINK: exporter/verdict.o exporter/json.o exporter/grpc.o exporter/gzip.o exporter/health.o */
/* LINK: exporter/otlp-read.o exporter/trouble.o preload/authority.o preload/target.o */
/* LINK: exporter/otlp.o exporter/resource.o exporter/detect.o exporter/container.o */
/* LINK: exporter/list.o exporter/buf.o exporter/line.o exporter/otlp.pb-c.o exporter/url.o */
/* LINK: exporter/otlp-json.o preload/sys.o preload/utf8.o -lcurl -lprotobuf-c -lz -lm */
#include "exporter/zipkin.c"

#include "tests/unit/batch_of.h"
#include "tests/unit/test.h"

/* The way there, in the test's hands. */
static struct {
	unsigned started, cancelled;
	bool answers;
	struct atr_http_reply reply;
	uint64_t shift; /* of the clock */
} way;

int atr_http_init(struct atr_http *http, const struct atr_host *host,
		  const struct atr_endpoint *endpoint)
{
	*http = (struct atr_http){ .host = host, .endpoint = endpoint };
	return 0;
}

int atr_http_start(struct atr_http *http, const uint8_t *body, size_t len, uint64_t deadline,
		   uint64_t hurry)
{
	(void)deadline;
	(void)hurry;
	(void)body;
	(void)len;
	http->in_flight = true;
	way.started++;
	return 0;
}

bool atr_http_step(struct atr_http *http, uint64_t until, struct atr_http_reply *reply)
{
	(void)until;
	if (!way.answers)
		return false;
	http->in_flight = false;
	*reply = way.reply;
	return true;
}

void atr_http_cancel(struct atr_http *http)
{
	way.cancelled += http->in_flight;
	http->in_flight = false;
}

void atr_http_finish(struct atr_http *http)
{
	(void)http;
}

static uint64_t shifted_now(void)
{
	return fake_now() + way.shift;
}

static struct zipkin *z;
static struct atr_buf fields;
static struct atr_form_batch *batch;

static void begin(void)
{
	memset(&way, 0, sizeof(way));
	fake_init();
	fake.host.now = shifted_now;
	z = zipkin_new(&fake.host);
	batch = batch_of(1, 2, 0);
}

static void end(void)
{
	zipkin_free(z);
	batch_of_free();
	atr_buf_free(&fields);
}

/* The JSON of one span, without the brackets around it. */
static const char *json_of(const Atr__Otlp__Span *span)
{
	static char text[8192];
	uint8_t bytes[4096];
	struct atr_form_batch b = *batch;

	atr_buf_reset(&fields);
	atr_otlp_add_span(&fields, bytes, atr__otlp__span__pack(span, bytes));
	b.spans = fields.bytes;
	b.len = fields.len;
	b.n_spans = 1;
	CHECK_INT(zipkin_start(z, &b), ATR_DELIVERY_BUSY);
	(void)snprintf(text, sizeof(text), "%.*s", (int)z->delivery.body_len - 2,
		       (const char *)z->delivery.body + 1);
	return text;
}

#define TAGS_END                                                                   \
	"\"service.namespace\":\"eu\",\"otel.scope.name\":\"libautotrace\","       \
	"\"otel.scope.version\":\"0.1.0\",\"otel.library.name\":\"libautotrace\"," \
	"\"otel.library.version\":\"0.1.0\""

static Atr__Otlp__AnyValue any[16];
static Atr__Otlp__KeyValue kvs[16], *list[16];
static size_t n_kvs;

static Atr__Otlp__AnyValue *attribute(const char *key, int kind)
{
	Atr__Otlp__AnyValue *v = &any[n_kvs];

	atr__otlp__any_value__init(v);
	atr__otlp__key_value__init(&kvs[n_kvs]);
	kvs[n_kvs].key = (char *)(uintptr_t)key;
	kvs[n_kvs].value = v;
	list[n_kvs] = &kvs[n_kvs];
	v->value_case = (Atr__Otlp__AnyValue__ValueCase)kind;
	n_kvs++;
	return v;
}

#define STRING(k, s)                                                           \
	attribute(k, ATR__OTLP__ANY_VALUE__VALUE_STRING_VALUE)->string_value = \
		(char *)(uintptr_t)(s)
#define INT(k, n) attribute(k, ATR__OTLP__ANY_VALUE__VALUE_INT_VALUE)->int_value = (n)

TEST(a_span_is_what_the_specification_makes_of_it)
{
	Atr__Otlp__Span span = ATR__OTLP__SPAN__INIT;
	Atr__Otlp__Status status = ATR__OTLP__STATUS__INIT;
	uint8_t trace[16] = { 0x0a, 0xf7 }, id[8] = { 0xb7 }, parent[8] = { 0x01 };

	begin();
	n_kvs = 0;
	STRING("server.address", "db.example");
	INT("server.port", 5432);
	STRING("q", "a\"b\n");
	attribute("yes", ATR__OTLP__ANY_VALUE__VALUE_BOOL_VALUE)->bool_value = true;
	attribute("d", ATR__OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE)->double_value = 0.5;
	attribute("nan", ATR__OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE)->double_value = 0.0 / 0.0;
	STRING("error", "false"); /* must go */
	span.trace_id = (ProtobufCBinaryData){ 16, trace };
	span.span_id = (ProtobufCBinaryData){ 8, id };
	span.parent_span_id = (ProtobufCBinaryData){ 8, parent };
	span.name = (char *)(uintptr_t) "SELECT x";
	span.kind = ATR__OTLP__SPAN__SPAN_KIND__SPAN_KIND_CLIENT;
	span.start_time_unix_nano = 1700000000000001999;
	span.end_time_unix_nano = span.start_time_unix_nano + 1234;
	span.attributes = list;
	span.n_attributes = n_kvs;
	span.dropped_attributes_count = 3;
	status.code = ATR__OTLP__STATUS__STATUS_CODE__STATUS_CODE_ERROR;
	status.message = (char *)(uintptr_t) "42P01";
	span.status = &status;
	CHECK_STR(json_of(&span),
		  "{\"traceId\":\"0af70000000000000000000000000000\",\"id\":\"b700000000000000\","
		  "\"parentId\":\"0100000000000000\",\"name\":\"SELECT x\",\"kind\":\"CLIENT\","
		  "\"timestamp\":1700000000000001,\"duration\":1,"
		  "\"localEndpoint\":{\"serviceName\":\"shop\"},"
		  "\"remoteEndpoint\":{\"serviceName\":\"db.example\"},"
		  "\"tags\":{\"server.address\":\"db.example\",\"server.port\":\"5432\","
		  "\"q\":\"a\\\"b\\n\",\"yes\":\"true\",\"d\":\"0.5\",\"nan\":\"NaN\","
		  "\"otel.status_code\":\"ERROR\",\"error\":\"42P01\"," TAGS_END
		  ",\"otel.dropped_attributes_count\":\"3\"}}");
	end();
}

TEST(what_is_empty_is_left_out_and_a_duration_is_at_least_one)
{
	Atr__Otlp__Span span = ATR__OTLP__SPAN__INIT;

	begin();
	span.kind = ATR__OTLP__SPAN__SPAN_KIND__SPAN_KIND_INTERNAL;
	CHECK_STR(json_of(&span),
		  "{\"traceId\":\"\",\"id\":\"\",\"name\":\"\",\"timestamp\":0,\"duration\":1,"
		  "\"localEndpoint\":{\"serviceName\":\"shop\"},\"tags\":{" TAGS_END "}}");
	end();
}

static const char *remote_of(int kind)
{
	static char text[256];
	Atr__Otlp__Span span = ATR__OTLP__SPAN__INIT;
	const char *at;

	span.kind = (Atr__Otlp__Span__SpanKind)kind;
	span.attributes = list;
	span.n_attributes = n_kvs;
	at = strstr(json_of(&span), "\"remoteEndpoint\":");
	if (!at)
		return NULL;
	(void)snprintf(text, sizeof(text), "%.*s", (int)strcspn(at + 17, "}") + 1, at + 17);
	return text;
}

TEST(the_remote_endpoint_is_the_first_by_rank_of_who_calls)
{
	begin();
	n_kvs = 0;
	INT("network.peer.port", 80);
	STRING("network.peer.address", "10.0.0.7");
	CHECK_STR(remote_of(3), "{\"ipv4\":\"10.0.0.7\",\"port\":80}");
	CHECK_STR(remote_of(4), "{\"ipv4\":\"10.0.0.7\",\"port\":80}");
	CHECK(!remote_of(1) && !remote_of(2) && !remote_of(5));
	any[1].string_value = (char *)(uintptr_t) "fe80::1";
	CHECK_STR(remote_of(3), "{\"ipv6\":\"fe80::1\",\"port\":80}");
	any[0].int_value = 70000;
	CHECK_STR(remote_of(3), "{\"ipv6\":\"fe80::1\"}");
	any[1].string_value = (char *)(uintptr_t) "/run/x.sock";
	CHECK_STR(remote_of(3), "{\"serviceName\":\"/run/x.sock\"}");
	STRING("server.address", "");
	CHECK_STR(remote_of(3), "{\"serviceName\":\"/run/x.sock\"}");
	any[2].string_value = (char *)(uintptr_t) "db.example";
	CHECK_STR(remote_of(3), "{\"serviceName\":\"db.example\"}");
	STRING("peer.service", "orders");
	CHECK_STR(remote_of(3), "{\"serviceName\":\"orders\"}");
	end();
}

TEST(events_are_annotations_with_their_attributes)
{
	Atr__Otlp__Span span = ATR__OTLP__SPAN__INIT;
	Atr__Otlp__Span__Event event = ATR__OTLP__SPAN__EVENT__INIT,
			       *events[2] = { &event, &event };
	Atr__Otlp__ArrayValue values = ATR__OTLP__ARRAY_VALUE__INIT;
	Atr__Otlp__AnyValue *items[2];

	begin();
	n_kvs = 0;
	STRING("s", "x\"");
	INT("n", -1);
	attribute("l", ATR__OTLP__ANY_VALUE__VALUE_ARRAY_VALUE)->array_value = &values;
	items[0] = &any[0];
	items[1] = &any[1];
	values.values = items;
	values.n_values = 2;
	event.name = (char *)(uintptr_t) "retry";
	event.time_unix_nano = 5999;
	event.attributes = list;
	event.n_attributes = 3;
	span.events = events;
	span.n_events = 2;
	CHECK(strstr(json_of(&span),
		     ",\"annotations\":[{\"timestamp\":5,\"value\":\"\\\"retry\\\": "
		     "{\\\"s\\\":\\\"x\\\\\\\"\\\",\\\"n\\\":-1,"
		     "\\\"l\\\":[\\\"x\\\\\\\"\\\",-1]}\"},{") != NULL);
	event.n_attributes = 0;
	span.n_events = 1;
	CHECK(strstr(json_of(&span), ",\"annotations\":[{\"timestamp\":5,\"value\":\"retry\"}],") !=
	      NULL);
	end();
}

TEST(links_are_counted_as_lost_and_what_is_no_protobuf_as_memory)
{
	Atr__Otlp__Span span = ATR__OTLP__SPAN__INIT;
	Atr__Otlp__Span__Link link = ATR__OTLP__SPAN__LINK__INIT, *links[2] = { &link, &link };

	begin();
	span.links = links;
	span.n_links = 2;
	(void)json_of(&span);
	CHECK_INT(fake.stats.fields_lost, 2);
	batch->len--;
	CHECK_INT(zipkin_start(z, batch), ATR_DELIVERY_DONE);
	CHECK_INT(batch_of_one.no_memory, 2);
	end();
}

static enum atr_delivery_state step(void)
{
	return atr_collector_step(z, UINT64_MAX, ATR_HASTE_NONE);
}

TEST(an_answer_decides_and_one_that_may_change_is_asked_for_again)
{
	begin();
	CHECK_INT(zipkin_start(z, batch), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK_INT(way.started, 1);
	CHECK_INT(atr_collector_due(z), 0);
	way.answers = true;
	way.reply.status = 503;
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK(atr_collector_due(z) > shifted_now());
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK_INT(way.started, 1); /* not yet */
	way.shift += 2000000000u;
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	way.reply.status = 202;
	CHECK_INT(step(), ATR_DELIVERY_DONE);
	CHECK_INT(batch_of_one.delivered, 2);
	CHECK_INT(fake.stats.requests, 2);
	CHECK_INT(fake.stats.retries, 1);
	CHECK_STR(fake.log, "");
	way.reply.status = 400;
	for (int i = 0; i < 2; i++) {
		CHECK_INT(zipkin_start(z, batch), ATR_DELIVERY_BUSY);
		CHECK_INT(step(), ATR_DELIVERY_BUSY);
		CHECK_INT(step(), ATR_DELIVERY_DONE);
	}
	CHECK_INT(batch_of_one.refused, 4);
	CHECK(strstr(fake.log, "refused 2 spans: HTTP 400") != NULL);
	CHECK(strchr(fake.log, '\n') == fake.log + strlen(fake.log) - 1); /* once */
	end();
}

TEST(it_is_not_asked_before_the_time_it_named)
{
	begin();
	way.answers = true;
	way.reply.status = 429;
	way.reply.retry_after = 60;
	CHECK_INT(zipkin_start(z, batch), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	atr_collector_hurry(z);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK_INT(way.started, 1);
	CHECK(z->delivery.patience > shifted_now() + 59000000000u);
	way.shift += 10000000001u; /* what the batch has */
	CHECK_INT(step(), ATR_DELIVERY_FAILED);
	CHECK_INT(way.started, 1);
	end();
}

TEST(what_is_refused_of_another_process_is_kept)
{
	begin();
	batch->foreign = true;
	way.answers = true;
	way.reply.status = 404;
	CHECK_INT(zipkin_start(z, batch), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_FAILED);
	CHECK(atr_collector_refused(z));
	CHECK_INT(batch_of_one.refused, 0);
	CHECK(strstr(fake.log, "HTTP 404; they are left where they are") != NULL);
	way.reply.status = 400; /* whoever sends it */
	CHECK_INT(zipkin_start(z, batch), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_DONE);
	CHECK(!atr_collector_refused(z));
	CHECK_INT(batch_of_one.refused, 2);
	end();
}

TEST(nobody_there_is_given_up_at_once_in_a_hurry_and_after_its_time_otherwise)
{
	begin();
	way.answers = true;
	way.reply = (struct atr_http_reply){ .error = "refused", .nobody = true };
	CHECK_INT(zipkin_start(z, batch), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	fake.deadline = UINT64_MAX;
	CHECK_INT(atr_collector_step(z, UINT64_MAX, ATR_HASTE_FLUSH), ATR_DELIVERY_FAILED);
	CHECK_STR(fake.log, ""); /* what became of them is said at the end */
	CHECK_INT(zipkin_start(z, batch), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	way.shift += 10000000001u;
	CHECK_INT(step(), ATR_DELIVERY_FAILED);
	way.answers = false;
	CHECK_INT(zipkin_start(z, batch), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	way.shift += 10000000001u;
	CHECK_INT(step(), ATR_DELIVERY_FAILED);
	CHECK_INT(way.cancelled, 1);
	CHECK_INT(batch_of_one.delivered + batch_of_one.refused, 0);
	way.answers = true;
	way.reply.status = 202;
	CHECK_INT(zipkin_start(z, batch), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_DONE);
	CHECK(strstr(fake.log, "works again") != NULL);
	end();
}

TEST(what_it_says_and_how_it_goes_is_told)
{
	begin();
	way.answers = true;
	way.reply = (struct atr_http_reply){ .error = "Connection refused", .nobody = true };
	CHECK_INT(zipkin_start(z, batch), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK_STR(fake.health.error, "Connection refused");
	CHECK(!fake.health.ok_at);
	way.reply = (struct atr_http_reply){
		.status = 401,
		.type = ATR_BODY_PROTOBUF, /* as http.c has what says no type */
		.body = (const uint8_t *)"who are you\nthen",
		.len = 16,
	};
	way.shift += 2000000000u;
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_DONE);
	CHECK_STR(fake.health.error, "refused: HTTP 401, who are you");
	CHECK(!fake.health.ok_at);
	CHECK(strstr(fake.log, "refused 2 spans: HTTP 401, who are you; they are dropped\n") !=
	      NULL);
	CHECK_INT(batch_of_one.refused, 2);
	way.reply = (struct atr_http_reply){ .status = 202 };
	CHECK_INT(zipkin_start(z, batch), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_DONE);
	CHECK(fake.health.ok_at >= fake.health.error_at);
	end();
}

TEST(beside_another_its_trouble_is_told_and_its_success_is_not)
{
	begin();
	z->delivery.beside = true;
	fake.health.ok_at = 7;
	way.answers = true;
	way.reply.status = 503;
	CHECK_INT(zipkin_start(z, batch), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK_STR(fake.health.error, "http://localhost:9411/api/v2/spans: HTTP 503");
	CHECK_INT(fake.health.error_at, 7);
	way.reply.status = 202;
	way.shift += 2000000000u;
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_DONE);
	CHECK_INT(fake.health.ok_at, 7);
	fake.health.error_at = 8; /* the first one's is worse */
	way.reply.status = 401;
	CHECK_INT(zipkin_start(z, batch), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_DONE);
	CHECK_INT(fake.health.error_at, 8);
	CHECK_STR(fake.health.error, "http://localhost:9411/api/v2/spans: HTTP 503");
	end();
}

static unsigned spans_in_body(void)
{
	unsigned n = 0;

	for (size_t i = 0; i + 10 < z->delivery.body_len; i++)
		n += memcmp(z->delivery.body + i, "{\"traceId\"", 10) == 0;
	return n;
}

TEST(a_batch_that_is_too_large_goes_in_halves_and_the_size_is_remembered)
{
	unsigned taken = 0, refused = 0;
	size_t done = 0;

	begin();
	batch = batch_of(1, 7, 0);
	way.answers = true;
	CHECK_INT(zipkin_start(z, batch), ATR_DELIVERY_BUSY);
	for (unsigned i = 0; i < 40 && z->delivery.n_parts; i++) {
		unsigned n = spans_in_body();

		CHECK_INT(step(), ATR_DELIVERY_BUSY);
		way.reply.status = n > 2 ? 413 : 202;
		taken += n > 2 ? 0 : n;
		refused += n > 2;
		(void)step();
		done += atr_collector_done(z);
		CHECK_INT(done, taken);
	}
	CHECK_INT(taken, 7);
	CHECK_INT(refused, 2); /* 7 and 3: that 4 are too many is known by then */
	CHECK_INT(batch_of_one.delivered, 7);
	CHECK_INT(batch_of_one.refused, 0);
	CHECK_INT(fake.stats.split, refused);
	CHECK_STR(fake.log, "");
	end();
}

TEST(a_single_span_that_is_too_large_is_dropped_alone)
{
	begin();
	way.answers = true;
	CHECK_INT(zipkin_start(z, batch), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	way.reply.status = 413;
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK_INT(atr_collector_done(z), 1);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	way.reply.status = 202;
	CHECK_INT(step(), ATR_DELIVERY_DONE);
	CHECK_INT(batch_of_one.refused, 1);
	CHECK_INT(batch_of_one.delivered, 1);
	CHECK(strstr(fake.log, "too large for http://localhost:9411/api/v2/spans: HTTP 413") !=
	      NULL);
	end();
}

TEST(what_is_left_out_of_a_batch_that_goes_in_halves_is_counted_once)
{
	Atr__Otlp__Span span = ATR__OTLP__SPAN__INIT;
	Atr__Otlp__Span__Link link = ATR__OTLP__SPAN__LINK__INIT, *links[1] = { &link };
	struct atr_form_batch b;
	uint8_t bytes[256];
	size_t len;

	begin();
	span.links = links;
	span.n_links = 1;
	len = atr__otlp__span__pack(&span, bytes);
	for (int i = 0; i < 5; i++)
		atr_otlp_add_span(&fields, bytes, len);
	b = *batch;
	b.spans = fields.bytes;
	b.len = fields.len;
	b.n_spans = 5;
	way.answers = true;
	for (int i = 0; i < 2; i++) { /* the second time it is known */
		way.reply.status = 413;
		CHECK_INT(zipkin_start(z, &b), ATR_DELIVERY_BUSY);
		for (int k = 0; k < 20 && z->delivery.n_parts; k++) {
			CHECK_INT(step(), ATR_DELIVERY_BUSY);
			way.reply.status = spans_in_body() > 2 ? 413 : 202;
			(void)step();
		}
		CHECK_INT(fake.stats.fields_lost, 5 * (i + 1));
	}
	CHECK_INT(batch_of_one.delivered, 10);
	end();
}

static unsigned n_looked_up;

static void look_up(const char *endpoint, struct atr_addresses *ret)
{
	(void)endpoint;
	*ret = (struct atr_addresses){ .resolved = "z:9411:127.0.0.1" };
	n_looked_up++;
}

TEST(the_name_of_one_who_does_not_answer_is_looked_up_again)
{
	begin();
	fake.host.look_up = look_up;
	n_looked_up = 0;
	look_up("", &z->delivery.endpoint.addresses);
	CHECK_INT(zipkin_start(z, batch), ATR_DELIVERY_BUSY);
	CHECK_INT(atr_collector_step(z, UINT64_MAX, ATR_HASTE_NONE), ATR_DELIVERY_BUSY);
	way.shift += atr_endpoint_timeout(fake.config.zipkin_timeout, 0);
	CHECK_INT(atr_collector_step(z, UINT64_MAX, ATR_HASTE_NONE), ATR_DELIVERY_FAILED);
	CHECK_INT(n_looked_up, 1);
	CHECK_INT(zipkin_start(z, batch), ATR_DELIVERY_BUSY);
	CHECK_INT(atr_collector_step(z, UINT64_MAX, ATR_HASTE_NONE), ATR_DELIVERY_BUSY);
	CHECK_INT(n_looked_up, 2);
	CHECK_INT(way.started, 2);
	end();
}

TEST(a_bad_endpoint_is_said_and_the_default_used)
{
	memset(&way, 0, sizeof(way));
	fake_init();
	fake.config.zipkin_endpoint = "zipkin:9411";
	z = zipkin_new(&fake.host);
	CHECK(strstr(fake.log, "OTEL_EXPORTER_ZIPKIN_ENDPOINT=zipkin:9411") != NULL);
	CHECK_STR(atr_collector_shown(z), DEFAULT_URL);
	zipkin_free(z);
	fake_init();
	fake.config.zipkin_endpoint = "http://me:secret@zipkin/api?x=y";
	z = zipkin_new(&fake.host);
	CHECK_STR(z->delivery.endpoint.url.url, fake.config.zipkin_endpoint);
	CHECK(strstr(atr_collector_shown(z), "secret") == NULL);
	CHECK_STR(fake.log, "");
	zipkin_free(z);
}
