/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/resource.o exporter/detect.o exporter/container.o exporter/list.o */
/* LINK: exporter/buf.o exporter/otlp.pb-c.o preload/sys.o preload/utf8.o -lprotobuf-c */
#include "exporter/otlp.c"

#include "tests/unit/test.h"

static struct atr_attr attrs[] = {
	{ .key = (char *)"service.name", .text = (char *)"shop" },
	{ .key = (char *)"process.pid", .number = 4711 },
	{ .key = (char *)"empty", .text = (char *)"" },
	{ .key = (char *)"zero", .number = 0 },
};
static const struct atr_resource resource = { .attrs = attrs, .n_attrs = 4 };

/* Encodes a span of about `pad` bytes. */
static size_t encode_span(uint8_t *out, const char *name, size_t pad)
{
	Atr__Otlp__Span span = ATR__OTLP__SPAN__INIT;
	char *state = malloc(pad + 1);
	size_t len;

	memset(state, 'x', pad);
	state[pad] = '\0';
	span.name = (char *)name;
	span.trace_state = state;
	len = atr__otlp__span__pack(&span, out);
	free(state);
	return len;
}

/* Spans of all sizes around where a length needs one byte more. */
TEST(a_request_decodes_to_what_went_in_at_every_length)
{
	struct atr_buf spans = { 0 }, request = { 0 };
	struct atr_otlp_head head;
	uint8_t *span = malloc(70000);

	CHECK_INT(atr_otlp_head_init(&head, &resource), 0);
	for (size_t pad = 0; pad < 17000; pad += pad < 300 ? 1 : 397) {
		Atr__Otlp__ExportTraceServiceRequest *r;
		Atr__Otlp__ResourceSpans *rs;

		atr_buf_reset(&spans);
		for (int i = 0; i < 3; i++)
			atr_otlp_add_span(&spans, span, encode_span(span, "one", pad));
		atr_buf_reset(&request);
		atr_otlp_request(&request, &head, spans.bytes, spans.len);
		r = atr__otlp__export_trace_service_request__unpack(NULL, request.len,
								    request.bytes);
		if (!CHECK(r && r->n_resource_spans == 1))
			break;
		rs = r->resource_spans[0];
		CHECK(rs->n_scope_spans == 1 && rs->scope_spans[0]->n_spans == 3);
		CHECK_INT(strlen(rs->scope_spans[0]->spans[2]->trace_state), pad);
		CHECK_STR(rs->schema_url, ATR_SCHEMA_URL);
		CHECK_STR(rs->scope_spans[0]->schema_url, ATR_SCHEMA_URL);
		CHECK_STR(rs->scope_spans[0]->scope->name, "libautotrace");
		CHECK_STR(rs->scope_spans[0]->scope->version, ATR_VERSION);
		/* protobuf-c would have written the same fields in as many bytes. */
		CHECK_INT(atr__otlp__export_trace_service_request__get_packed_size(r), request.len);
		atr__otlp__export_trace_service_request__free_unpacked(r, NULL);
	}
	free(span);
	atr_buf_free(&spans);
	atr_buf_free(&request);
	atr_otlp_head_finish(&head);
}

TEST(resource_attributes_keep_type_and_value_also_when_empty)
{
	struct atr_otlp_head head;
	Atr__Otlp__ResourceSpans *rs;
	Atr__Otlp__KeyValue **kv;

	CHECK_INT(atr_otlp_head_init(&head, &resource), 0);
	rs = atr__otlp__resource_spans__unpack(NULL, head.resource.len, head.resource.bytes);
	CHECK_INT(rs->resource->n_attributes, 4);
	kv = rs->resource->attributes;
	CHECK_STR(kv[0]->key, "service.name");
	CHECK_STR(kv[0]->value->string_value, "shop");
	CHECK_INT(kv[1]->value->value_case, ATR__OTLP__ANY_VALUE__VALUE_INT_VALUE);
	CHECK_INT(kv[1]->value->int_value, 4711);
	CHECK_INT(kv[2]->value->value_case, ATR__OTLP__ANY_VALUE__VALUE_STRING_VALUE);
	CHECK_STR(kv[2]->value->string_value, "");
	CHECK_INT(kv[3]->value->value_case, ATR__OTLP__ANY_VALUE__VALUE_INT_VALUE);
	atr__otlp__resource_spans__free_unpacked(rs, NULL);
	atr_otlp_head_finish(&head);
}

TEST(a_success_may_be_partial)
{
	Atr__Otlp__ExportTraceServiceResponse r = ATR__OTLP__EXPORT_TRACE_SERVICE_RESPONSE__INIT;
	Atr__Otlp__ExportTracePartialSuccess p = ATR__OTLP__EXPORT_TRACE_PARTIAL_SUCCESS__INIT;
	struct atr_otlp_reply reply;
	uint8_t bytes[1024];

	p.rejected_spans = 17;
	p.error_message = (char *)"too\nold";
	r.partial_success = &p;
	atr_otlp_read_success(&reply, bytes,
			      atr__otlp__export_trace_service_response__pack(&r, bytes));
	CHECK_INT(reply.rejected, 17);
	CHECK_STR(reply.message, "too\\nold");
	p.rejected_spans = -1;
	atr_otlp_read_success(&reply, bytes,
			      atr__otlp__export_trace_service_response__pack(&r, bytes));
	CHECK_INT(reply.rejected, 0);
	atr_otlp_read_success(&reply, bytes, 0);
	CHECK_INT(reply.rejected, 0);
	CHECK_STR(reply.message, "");
}

TEST(a_failure_is_a_status_message)
{
	Atr__Otlp__RpcStatus s = ATR__OTLP__RPC_STATUS__INIT;
	struct atr_otlp_reply reply;
	char message[1000];
	uint8_t bytes[2048];

	memset(message, 'm', sizeof(message) - 1);
	message[sizeof(message) - 1] = '\0';
	s.code = 3;
	s.message = message;
	atr_otlp_read_failure(&reply, bytes, atr__otlp__rpc_status__pack(&s, bytes));
	CHECK_INT(strlen(reply.message), sizeof(reply.message) - 1);
}

TEST(damaged_responses_say_nothing_and_harm_nothing)
{
	static const uint8_t good[] = "\x0a\x0b\x08\x03\x12\x07too old";
	struct atr_otlp_reply reply;

	for (size_t len = 0; len < sizeof(good) - 1; len++) {
		uint8_t *edge = test_edge(good, len);

		atr_otlp_read_success(&reply, edge, len);
		CHECK_INT(reply.rejected, 0);
		atr_otlp_read_failure(&reply, edge, len);
		test_edge_free(edge, len);
	}
	for (unsigned i = 0; i < 256 * (sizeof(good) - 1); i++) {
		uint8_t bytes[sizeof(good) - 1];

		memcpy(bytes, good, sizeof(bytes));
		bytes[i / 256] = (uint8_t)i;
		atr_otlp_read_success(&reply, bytes, sizeof(bytes));
		atr_otlp_read_failure(&reply, bytes, sizeof(bytes));
	}
}

TEST(a_span_field_knows_its_length)
{
	uint8_t bytes[20];

	for (unsigned bits = 0; bits < 40; bits++) {
		uint64_t len = (uint64_t)1 << bits;
		size_t n = 1 + put_varint(bytes + 1, len);

		bytes[0] = TAG_SCOPE_SPANS_SPANS;
		CHECK_INT(atr_otlp_span_field(bytes, n), n + len);
	}
}
