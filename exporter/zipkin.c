/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zipkin's JSON v2 by HTTP, as the specification's "OpenTelemetry to Zipkin Transformation"
 * has it.  That page is deprecated; all there is of it here is this file, its row in sink.c
 * and its word in config.def.
 *
 * What Zipkin has no place for is left out: trace state, flags, and links, which are counted.
 * Spans go there as they go to a collector (delivery.c); only what they look like is different.
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exporter/collector.h"
#include "exporter/line.h"
#include "exporter/otlp-json.h"
#include "exporter/otlp.pb-c.h"
#include "exporter/resource.h"
#include "exporter/url.h"
#include "preload/host.h"

#define DEPTH_MAX 32 /* of lists within lists */
#define DEFAULT_URL "http://localhost:9411/api/v2/spans"

typedef Atr__Otlp__Span otlp_span; /* protobuf-c's names are long */
typedef Atr__Otlp__AnyValue otlp_value;
typedef Atr__Otlp__KeyValue otlp_attr;

struct zipkin {
	struct atr_delivery delivery; /* first: form.h */
	const struct atr_resource *resource;
	struct atr_buf *out, text; /* of one value */
	size_t counted;		   /* bytes of the batch: what they lose is counted */
};

/* ---- values ---- */

static void put(struct atr_buf *out, const char *s)
{
	atr_buf_str(out, s);
}

static void put_quoted(struct atr_buf *out, const char *s)
{
	atr_json_str(out, s, strlen(s));
}

static void put_number(struct atr_buf *out, uint64_t v)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
	put(out, text);
}

static void put_json(struct atr_buf *out, const otlp_value *v, unsigned depth);

static void put_object(struct atr_buf *out, otlp_attr *const *attrs, size_t n, unsigned depth)
{
	put(out, "{");
	for (size_t i = 0; i < n; i++) {
		put(out, i ? "," : "");
		put_quoted(out, attrs[i]->key);
		put(out, ":");
		put_json(out, attrs[i]->value, depth + 1);
	}
	put(out, "}");
}

static void put_list(struct atr_buf *out, const Atr__Otlp__ArrayValue *list, unsigned depth)
{
	put(out, "[");
	for (size_t i = 0; i < list->n_values; i++) {
		put(out, i ? "," : "");
		put_json(out, list->values[i], depth + 1);
	}
	put(out, "]");
}

/* A value as it stands in a list. */
static void put_json(struct atr_buf *out, const otlp_value *v, unsigned depth)
{
	char number[24];

	if (!v || depth > DEPTH_MAX) {
		put(out, "null");
		return;
	}
	switch (v->value_case) {
	case ATR__OTLP__ANY_VALUE__VALUE_STRING_VALUE:
		put_quoted(out, v->string_value);
		break;
	case ATR__OTLP__ANY_VALUE__VALUE_BOOL_VALUE:
		put(out, v->bool_value ? "true" : "false");
		break;
	case ATR__OTLP__ANY_VALUE__VALUE_INT_VALUE:
		(void)snprintf(number, sizeof(number), "%lld", (long long)v->int_value);
		put(out, number);
		break;
	case ATR__OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE:
		atr_json_double(out, v->double_value);
		break;
	case ATR__OTLP__ANY_VALUE__VALUE_ARRAY_VALUE:
		put_list(out, v->array_value, depth);
		break;
	case ATR__OTLP__ANY_VALUE__VALUE_KVLIST_VALUE:
		put_object(out, v->kvlist_value->values, v->kvlist_value->n_values, depth);
		break;
	case ATR__OTLP__ANY_VALUE__VALUE_BYTES_VALUE:
		put(out, "\"");
		atr_line_hex(out, v->bytes_value.data, v->bytes_value.len);
		put(out, "\"");
		break;
	default:
		put(out, "null");
		break;
	}
}

/* A value as a tag has it, always a string; those of one line as they are, others as JSON. */
static void put_tag_value(struct zipkin *z, const otlp_value *v)
{
	const char *text;
	size_t len;

	if (v && v->value_case == ATR__OTLP__ANY_VALUE__VALUE_STRING_VALUE) {
		put_quoted(z->out, v->string_value);
		return;
	}
	atr_buf_reset(&z->text);
	put_json(&z->text, v, 0);
	text = (const char *)z->text.bytes;
	len = z->text.len;
	if (z->text.failed) {
		z->out->failed = true;
		return;
	}
	if (len >= 2 && text[0] == '"') { /* NaN, bytes */
		text++;
		len -= 2;
	}
	atr_json_str(z->out, text, len);
}

/* ---- spans ---- */

static const otlp_attr *attr(const otlp_span *span, const char *key)
{
	for (size_t i = 0; i < span->n_attributes; i++)
		if (strcmp(span->attributes[i]->key, key) == 0 && span->attributes[i]->value)
			return span->attributes[i];
	return NULL;
}

static void put_port(struct atr_buf *out, const otlp_span *span, const char *key)
{
	const otlp_attr *port = key ? attr(span, key) : NULL;

	if (!port || port->value->value_case != ATR__OTLP__ANY_VALUE__VALUE_INT_VALUE ||
	    port->value->int_value <= 0 || port->value->int_value > 65535)
		return;
	put(out, ",\"port\":");
	put_number(out, (uint64_t)port->value->int_value);
}

/* The other end of who calls, by the first of these that is there. */
static void put_remote(struct zipkin *z, const otlp_span *span)
{
	static const struct {
		const char *key, *port;
		bool address;
	} ranks[] = {
		{ "peer.service", NULL, false },
		{ "server.address", NULL, false },
		{ "net.peer.name", NULL, false },
		{ "network.peer.address", "network.peer.port", true },
		{ "server.socket.domain", NULL, false },
		{ "server.socket.address", "server.socket.port", true },
		{ "net.sock.peer.name", NULL, false },
		{ "net.sock.peer.addr", "net.sock.peer.port", true },
		{ "peer.hostname", NULL, false },
		{ "peer.address", NULL, false },
		{ "db.name", NULL, false },
	};

	if (span->kind != ATR__OTLP__SPAN__SPAN_KIND__SPAN_KIND_CLIENT &&
	    span->kind != ATR__OTLP__SPAN__SPAN_KIND__SPAN_KIND_PRODUCER)
		return;
	for (size_t i = 0; i < ATR_ARRAY_LEN(ranks); i++) {
		const otlp_attr *a = attr(span, ranks[i].key);
		const char *text, *field = "serviceName";

		if (!a || a->value->value_case != ATR__OTLP__ANY_VALUE__VALUE_STRING_VALUE ||
		    !a->value->string_value[0])
			continue;
		text = a->value->string_value;
		if (ranks[i].address && text[strspn(text, "0123456789.")] == '\0')
			field = "ipv4";
		else if (ranks[i].address && strchr(text, ':') && text[0] != '/')
			field = "ipv6";
		put(z->out, ",\"remoteEndpoint\":{\"");
		put(z->out, field);
		put(z->out, "\":");
		put_quoted(z->out, text);
		put_port(z->out, span, ranks[i].port);
		put(z->out, "}");
		return;
	}
}

/* "name": {attributes} */
static void put_annotation(struct zipkin *z, const Atr__Otlp__Span__Event *e)
{
	put(z->out, "{\"timestamp\":");
	put_number(z->out, e->time_unix_nano / 1000);
	put(z->out, ",\"value\":");
	atr_buf_reset(&z->text);
	if (e->n_attributes) {
		put_quoted(&z->text, e->name);
		put(&z->text, ": ");
		put_object(&z->text, e->attributes, e->n_attributes, 0);
	} else {
		put(&z->text, e->name);
	}
	if (z->text.failed)
		z->out->failed = true;
	else
		atr_json_str(z->out, (const char *)z->text.bytes, z->text.len);
	put(z->out, "}");
}

static void put_annotations(struct zipkin *z, const otlp_span *span)
{
	for (size_t i = 0; i < span->n_events; i++) {
		put(z->out, i ? "," : ",\"annotations\":[");
		put_annotation(z, span->events[i]);
	}
	if (span->n_events)
		put(z->out, "]");
}

static void begin_tag(struct zipkin *z, const char *key, bool *any)
{
	put(z->out, *any ? "," : ",\"tags\":{");
	*any = true;
	put_quoted(z->out, key);
	put(z->out, ":");
}

static void put_tag(struct zipkin *z, const char *key, const char *value, bool *any)
{
	if (!value || !value[0])
		return;
	begin_tag(z, key, any);
	put_quoted(z->out, value);
}

static void put_count(struct zipkin *z, const char *key, uint32_t n, bool *any)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%u", n);
	put_tag(z, key, n ? text : NULL, any);
}

/* A tag of that name makes a failed span of it for Zipkin. */
static bool is_error(const otlp_attr *a)
{
	return strcmp(a->key, "error") == 0;
}

static void put_status(struct zipkin *z, const otlp_span *span, bool *any)
{
	const Atr__Otlp__Status *s = span->status;

	if (!s || s->code == ATR__OTLP__STATUS__STATUS_CODE__STATUS_CODE_UNSET)
		return;
	if (s->code != ATR__OTLP__STATUS__STATUS_CODE__STATUS_CODE_ERROR) {
		put_tag(z, "otel.status_code", "OK", any);
		return;
	}
	put_tag(z, "otel.status_code", "ERROR", any);
	begin_tag(z, "error", any);
	put_quoted(z->out, s->message);
}

static void put_tags(struct zipkin *z, const otlp_span *span,
		     const Atr__Otlp__InstrumentationScope *scope)
{
	const struct atr_attr *space = atr_resource_get(z->resource, "service.namespace");
	bool any = false;

	for (size_t i = 0; i < span->n_attributes; i++) {
		if (is_error(span->attributes[i]))
			continue;
		begin_tag(z, span->attributes[i]->key, &any);
		put_tag_value(z, span->attributes[i]->value);
	}
	put_status(z, span, &any);
	put_tag(z, "service.namespace", space ? space->text : NULL, &any);
	put_tag(z, "otel.scope.name", scope ? scope->name : NULL, &any);
	put_tag(z, "otel.scope.version", scope ? scope->version : NULL, &any);
	put_tag(z, "otel.library.name", scope ? scope->name : NULL, &any);
	put_tag(z, "otel.library.version", scope ? scope->version : NULL, &any);
	put_count(z, "otel.dropped_attributes_count", span->dropped_attributes_count, &any);
	put_count(z, "otel.dropped_events_count", span->dropped_events_count, &any);
	put_count(z, "otel.dropped_links_count", span->dropped_links_count, &any);
	if (any)
		put(z->out, "}");
}

static void put_id(struct zipkin *z, const char *name, const ProtobufCBinaryData *id)
{
	put(z->out, name);
	atr_line_hex(z->out, id->data, id->len);
	put(z->out, "\"");
}

static void put_span(struct zipkin *z, const otlp_span *span,
		     const Atr__Otlp__InstrumentationScope *scope)
{
	static const char *const kinds[] = {
		NULL, NULL, "SERVER", "CLIENT", "PRODUCER", "CONSUMER"
	};
	const struct atr_attr *service = atr_resource_get(z->resource, "service.name");
	uint64_t start = span->start_time_unix_nano, end = span->end_time_unix_nano;
	uint64_t us = end > start ? (end - start) / 1000 : 0;
	unsigned kind = (unsigned)span->kind;

	put_id(z, "{\"traceId\":\"", &span->trace_id);
	put_id(z, ",\"id\":\"", &span->span_id);
	if (span->parent_span_id.len)
		put_id(z, ",\"parentId\":\"", &span->parent_span_id);
	put(z->out, ",\"name\":");
	put_quoted(z->out, span->name);
	if (kind < ATR_ARRAY_LEN(kinds) && kinds[kind]) {
		put(z->out, ",\"kind\":");
		put_quoted(z->out, kinds[kind]);
	}
	put(z->out, ",\"timestamp\":");
	put_number(z->out, start / 1000);
	put(z->out, ",\"duration\":");
	put_number(z->out, us ? us : 1); /* to Zipkin 0 is "not known" */
	put(z->out, ",\"localEndpoint\":{\"serviceName\":");
	put_quoted(z->out, service && service->text ? service->text : "unknown_service");
	put(z->out, "}");
	put_remote(z, span);
	put_annotations(z, span);
	put_tags(z, span, scope);
	put(z->out, "}");
}

/*
 * Spans as the body of a request.  One that turns out to be too large is written again in parts:
 * what is left out of it is counted once.
 */
static bool put_spans(struct atr_delivery *d, struct atr_buf *out, const uint8_t *bytes, size_t len)
{
	struct zipkin *z = (struct zipkin *)d;
	const struct atr_buf *head = &d->head->scope;
	Atr__Otlp__ScopeSpans *scope = atr__otlp__scope_spans__unpack(NULL, head->len, head->bytes);
	Atr__Otlp__ScopeSpans *spans = atr__otlp__scope_spans__unpack(NULL, len, bytes);

	z->out = out;
	put(out, "[");
	for (size_t i = 0; spans && i < spans->n_spans; i++) {
		put(out, i ? "," : "");
		put_span(z, spans->spans[i], scope ? scope->scope : NULL);
		if (d->at >= z->counted)
			atr_add(&d->host->stats->fields_lost, spans->spans[i]->n_links);
	}
	put(out, "]");
	if (d->at >= z->counted)
		z->counted = d->at + len;
	atr__otlp__scope_spans__free_unpacked(scope, NULL);
	if (!spans)
		return false;
	atr__otlp__scope_spans__free_unpacked(spans, NULL);
	return !out->failed;
}

/* ---- the way there ---- */

static void zipkin_free(void *self)
{
	struct zipkin *z = self;

	atr_delivery_finish(&z->delivery);
	atr_buf_free(&z->text);
	free(z);
}

/* False without memory. */
static bool find_endpoint(struct atr_endpoint *ep, const struct atr_host *host)
{
	const struct atr_config *c = host->config;
	const char *url = c->zipkin_endpoint;
	char shown[256];

	if (!atr_url_valid(url, false)) {
		atr_url_shown(shown, sizeof(shown), url);
		host->log(ATR_LOG_WARN,
			  "OTEL_EXPORTER_ZIPKIN_ENDPOINT=%s is not a usable http or https URL; "
			  "using " DEFAULT_URL,
			  shown);
		url = DEFAULT_URL;
	}
	ep->protocol = ATR_PROTOCOL_HTTP_JSON; /* so much of OTLP it has */
	ep->timeout = atr_endpoint_timeout(c->zipkin_timeout, c->bsp_export_timeout);
	atr_url_shown(ep->shown, sizeof(ep->shown), url);
	if (!atr_url_make(&ep->url, url, ATR_URL_WHOLE, "", false))
		return false;
	if (!ep->url.socket) {
		ep->proxy = atr_target_proxy(c, url);
		ep->text = url;
		host->look_up(url, &ep->addresses);
	}
	return atr_endpoint_add_header(ep, "Content-Type: application/json") &&
	       atr_endpoint_add_header(ep, "Expect:");
}

static void *zipkin_new(const struct atr_host *host)
{
	struct zipkin *z = calloc(1, sizeof(*z));

	if (!z)
		return NULL;
	z->delivery.write = put_spans;
	if (find_endpoint(&z->delivery.endpoint, host) &&
	    atr_delivery_init_to(&z->delivery, host) == 0)
		return z;
	zipkin_free(z);
	return NULL;
}

static enum atr_delivery_state zipkin_start(void *self, const struct atr_form_batch *b)
{
	struct zipkin *z = self;

	z->resource = b->resource;
	z->counted = 0;
	return atr_collector_start(self, b);
}

const struct atr_form atr_form_zipkin = {
	.component = "zipkin_http_span_exporter",
	.bit = ATR_EXPORTER_ZIPKIN,
	.collects = true,
	.remote = true,
	.make = zipkin_new,
	.start = zipkin_start,
	.step = atr_collector_step,
	.due = atr_collector_due,
	.hurry = atr_collector_hurry,
	.cancel = atr_collector_cancel,
	.done = atr_collector_done,
	.free = zipkin_free,
	.refused = atr_collector_refused,
	.shown = atr_collector_shown,
	.error = atr_collector_error,
};
