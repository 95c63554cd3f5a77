/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/otlp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "exporter/otlp.pb-c.h"
#include "exporter/resource.h"
#include "preload/version.h"

/* Tags of length-delimited fields: number << 3 | 2. */
#define TAG_REQUEST_RESOURCE_SPANS 0x0a
#define TAG_RESOURCE_SPANS_SCOPE_SPANS 0x12
#define TAG_SCOPE_SPANS_SPANS 0x12

#define VARINT_MAX 10

static size_t put_varint(uint8_t out[static VARINT_MAX], uint64_t v)
{
	size_t n = 0;

	while (v >= 0x80) {
		out[n++] = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	out[n++] = (uint8_t)v;
	return n;
}

/* Appends what stands before a length-delimited field's content. */
static void put_head(struct atr_buf *buf, uint8_t tag, uint64_t len)
{
	uint8_t head[1 + VARINT_MAX] = { tag };

	atr_buf_add(buf, head, 1 + put_varint(head + 1, len));
}

static size_t head_len(uint64_t len)
{
	uint8_t scratch[VARINT_MAX];

	return 1 + put_varint(scratch, len);
}

static void pack(struct atr_buf *buf, const ProtobufCMessage *msg)
{
	size_t len = protobuf_c_message_get_packed_size(msg);
	uint8_t *to = atr_buf_reserve(buf, len);

	if (to)
		buf->len += protobuf_c_message_pack(msg, to);
}

static void pack_scope(struct atr_buf *buf)
{
	Atr__Otlp__InstrumentationScope scope = ATR__OTLP__INSTRUMENTATION_SCOPE__INIT;
	Atr__Otlp__ScopeSpans spans = ATR__OTLP__SCOPE_SPANS__INIT;

	scope.name = (char *)"libautotrace";
	scope.version = (char *)ATR_VERSION;
	spans.scope = &scope;
	spans.schema_url = (char *)ATR_SCHEMA_URL;
	pack(buf, &spans.base);
}

/* One attribute in the form protobuf-c wants. */
struct packable {
	Atr__Otlp__KeyValue kv;
	Atr__Otlp__AnyValue value;
};

static void fill(struct packable *p, const struct atr_attr *attr)
{
	atr__otlp__key_value__init(&p->kv);
	atr__otlp__any_value__init(&p->value);
	p->kv.key = attr->key;
	p->kv.value = &p->value;
	if (attr->text) {
		p->value.value_case = ATR__OTLP__ANY_VALUE__VALUE_STRING_VALUE;
		p->value.string_value = attr->text;
	} else {
		p->value.value_case = ATR__OTLP__ANY_VALUE__VALUE_INT_VALUE;
		p->value.int_value = attr->number;
	}
}

static void pack_resource(struct atr_buf *buf, const struct atr_resource *r)
{
	Atr__Otlp__Resource resource = ATR__OTLP__RESOURCE__INIT;
	Atr__Otlp__ResourceSpans spans = ATR__OTLP__RESOURCE_SPANS__INIT;
	struct packable *attrs = calloc(r->n_attrs + 1, sizeof(*attrs));
	Atr__Otlp__KeyValue **list = calloc(r->n_attrs + 1, sizeof(*list));

	if (attrs && list) {
		for (size_t i = 0; i < r->n_attrs; i++) {
			fill(&attrs[i], &r->attrs[i]);
			list[i] = &attrs[i].kv;
		}
		resource.attributes = list;
		resource.n_attributes = r->n_attrs;
		spans.resource = &resource;
		spans.schema_url = (char *)ATR_SCHEMA_URL;
		pack(buf, &spans.base);
	} else {
		buf->failed = true;
	}
	free(attrs);
	free(list);
}

int atr_otlp_head_init(struct atr_otlp_head *head, const struct atr_resource *r)
{
	*head = (struct atr_otlp_head){ 0 };
	pack_resource(&head->resource, r);
	pack_scope(&head->scope);
	return head->resource.failed || head->scope.failed ? -ENOMEM : 0;
}

void atr_otlp_head_finish(struct atr_otlp_head *head)
{
	atr_buf_free(&head->resource);
	atr_buf_free(&head->scope);
}

bool atr_otlp_read_resource(struct atr_resource *r, const uint8_t *bytes, size_t len)
{
	Atr__Otlp__ResourceSpans *spans = atr__otlp__resource_spans__unpack(NULL, len, bytes);
	bool good = spans && spans->resource && spans->resource->n_attributes;

	for (size_t i = 0; good && i < spans->resource->n_attributes; i++) {
		const Atr__Otlp__KeyValue *kv = spans->resource->attributes[i];

		if (!kv->value)
			continue;
		if (kv->value->value_case == ATR__OTLP__ANY_VALUE__VALUE_STRING_VALUE)
			atr_resource_set_str(r, kv->key, kv->value->string_value);
		else if (kv->value->value_case == ATR__OTLP__ANY_VALUE__VALUE_INT_VALUE)
			atr_resource_set_int(r, kv->key, kv->value->int_value);
	}
	atr__otlp__resource_spans__free_unpacked(spans, NULL);
	return good && !r->failed;
}

void atr_otlp_add_span(struct atr_buf *spans, const uint8_t *span, size_t len)
{
	put_head(spans, TAG_SCOPE_SPANS_SPANS, len);
	atr_buf_add(spans, span, len);
}

size_t atr_otlp_span_field(const uint8_t *spans, size_t len)
{
	uint64_t span = 0;
	size_t n = 1;

	for (unsigned shift = 0; n < len && shift < 64; shift += 7) {
		uint8_t byte = spans[n++];

		span |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			break;
	}
	return n + (size_t)span;
}

void atr_otlp_request(struct atr_buf *request, const struct atr_otlp_head *head,
		      const uint8_t *spans, size_t len)
{
	uint64_t scope = head->scope.len + len;
	uint64_t resource = head->resource.len + head_len(scope) + scope;

	put_head(request, TAG_REQUEST_RESOURCE_SPANS, resource);
	atr_buf_add(request, head->resource.bytes, head->resource.len);
	put_head(request, TAG_RESOURCE_SPANS_SCOPE_SPANS, scope);
	atr_buf_add(request, head->scope.bytes, head->scope.len);
	atr_buf_add(request, spans, len);
}

static void say(struct atr_otlp_reply *reply, const char *message)
{
	(void)atr_escape(reply->message, sizeof(reply->message), message, strlen(message));
}

void atr_otlp_read_success(struct atr_otlp_reply *reply, const uint8_t *body, size_t len)
{
	Atr__Otlp__ExportTraceServiceResponse *response =
		atr__otlp__export_trace_service_response__unpack(NULL, len, body);

	*reply = (struct atr_otlp_reply){ 0 };
	if (response && response->partial_success) {
		int64_t rejected = response->partial_success->rejected_spans;

		reply->rejected = rejected > 0 ? (uint64_t)rejected : 0;
		say(reply, response->partial_success->error_message);
	}
	atr__otlp__export_trace_service_response__free_unpacked(response, NULL);
}

void atr_otlp_read_failure(struct atr_otlp_reply *reply, const uint8_t *body, size_t len)
{
	Atr__Otlp__RpcStatus *status = atr__otlp__rpc_status__unpack(NULL, len, body);

	*reply = (struct atr_otlp_reply){ 0 };
	if (status)
		say(reply, status->message);
	atr__otlp__rpc_status__free_unpacked(status, NULL);
}
