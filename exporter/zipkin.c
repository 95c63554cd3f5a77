/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zipkin's JSON v2 by HTTP, as the specification's "OpenTelemetry to Zipkin Transformation"
 * has it.  That page is deprecated; all there is of it here is this file, its row in sink.c
 * and its word in config.def.
 *
 * What Zipkin has no place for is left out: trace state, flags, and links, which are counted.
 */
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exporter/endpoint.h"
#include "exporter/form.h"
#include "exporter/http.h"
#include "exporter/line.h"
#include "exporter/otlp-json.h"
#include "exporter/otlp.pb-c.h"
#include "exporter/resource.h"
#include "exporter/retry.h"
#include "exporter/trouble.h"
#include "exporter/url.h"
#include "preload/host.h"
#include "preload/sys.h"

#define NS_PER_S 1000000000ull
#define LOOK_UP_EVERY_NS (2 * NS_PER_S)
#define RETRY_AFTER_MAX_S 300
#define DEPTH_MAX 32 /* of lists within lists */
#define DEFAULT_URL "http://localhost:9411/api/v2/spans"

typedef Atr__Otlp__Span otlp_span; /* protobuf-c's names are long */
typedef Atr__Otlp__AnyValue otlp_value;
typedef Atr__Otlp__KeyValue otlp_attr;

struct zipkin {
	const struct atr_host *host;
	struct atr_endpoint endpoint;
	struct atr_http http;
	struct atr_buf body, text; /* of one value */

	struct atr_form_batch batch;
	unsigned attempts;
	uint64_t next, deadline;
	uint64_t patience; /* not before this, it said (Retry-After) */
	char error[256];
	bool lost;	 /* the last attempt found nobody */
	uint64_t looked; /* when its name was last looked up again */
	struct atr_trouble trouble;
	bool refused;	 /* a dead process's batch was, and FAILED */
	int said_status; /* of the last refusal that was said */
	uint64_t said_at;
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
		put_quoted(&z->body, v->string_value);
		return;
	}
	atr_buf_reset(&z->text);
	put_json(&z->text, v, 0);
	text = (const char *)z->text.bytes;
	len = z->text.len;
	if (z->text.failed) {
		z->body.failed = true;
		return;
	}
	if (len >= 2 && text[0] == '"') { /* NaN, bytes */
		text++;
		len -= 2;
	}
	atr_json_str(&z->body, text, len);
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
		put(&z->body, ",\"remoteEndpoint\":{\"");
		put(&z->body, field);
		put(&z->body, "\":");
		put_quoted(&z->body, text);
		put_port(&z->body, span, ranks[i].port);
		put(&z->body, "}");
		return;
	}
}

/* "name": {attributes} */
static void put_annotation(struct zipkin *z, const Atr__Otlp__Span__Event *e)
{
	put(&z->body, "{\"timestamp\":");
	put_number(&z->body, e->time_unix_nano / 1000);
	put(&z->body, ",\"value\":");
	atr_buf_reset(&z->text);
	if (e->n_attributes) {
		put_quoted(&z->text, e->name);
		put(&z->text, ": ");
		put_object(&z->text, e->attributes, e->n_attributes, 0);
	} else {
		put(&z->text, e->name);
	}
	if (z->text.failed)
		z->body.failed = true;
	else
		atr_json_str(&z->body, (const char *)z->text.bytes, z->text.len);
	put(&z->body, "}");
}

static void put_annotations(struct zipkin *z, const otlp_span *span)
{
	for (size_t i = 0; i < span->n_events; i++) {
		put(&z->body, i ? "," : ",\"annotations\":[");
		put_annotation(z, span->events[i]);
	}
	if (span->n_events)
		put(&z->body, "]");
}

static void begin_tag(struct zipkin *z, const char *key, bool *any)
{
	put(&z->body, *any ? "," : ",\"tags\":{");
	*any = true;
	put_quoted(&z->body, key);
	put(&z->body, ":");
}

static void put_tag(struct zipkin *z, const char *key, const char *value, bool *any)
{
	if (!value || !value[0])
		return;
	begin_tag(z, key, any);
	put_quoted(&z->body, value);
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
	put_quoted(&z->body, s->message);
}

static void put_tags(struct zipkin *z, const otlp_span *span,
		     const Atr__Otlp__InstrumentationScope *scope)
{
	const struct atr_attr *space = atr_resource_get(z->batch.resource, "service.namespace");
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
		put(&z->body, "}");
}

static void put_id(struct zipkin *z, const char *name, const ProtobufCBinaryData *id)
{
	put(&z->body, name);
	atr_line_hex(&z->body, id->data, id->len);
	put(&z->body, "\"");
}

static void put_span(struct zipkin *z, const otlp_span *span,
		     const Atr__Otlp__InstrumentationScope *scope)
{
	static const char *const kinds[] = {
		NULL, NULL, "SERVER", "CLIENT", "PRODUCER", "CONSUMER"
	};
	const struct atr_attr *service = atr_resource_get(z->batch.resource, "service.name");
	uint64_t start = span->start_time_unix_nano, end = span->end_time_unix_nano;
	uint64_t us = end > start ? (end - start) / 1000 : 0;
	unsigned kind = (unsigned)span->kind;

	put_id(z, "{\"traceId\":\"", &span->trace_id);
	put_id(z, ",\"id\":\"", &span->span_id);
	if (span->parent_span_id.len)
		put_id(z, ",\"parentId\":\"", &span->parent_span_id);
	put(&z->body, ",\"name\":");
	put_quoted(&z->body, span->name);
	if (kind < ATR_ARRAY_LEN(kinds) && kinds[kind]) {
		put(&z->body, ",\"kind\":");
		put_quoted(&z->body, kinds[kind]);
	}
	put(&z->body, ",\"timestamp\":");
	put_number(&z->body, start / 1000);
	put(&z->body, ",\"duration\":");
	put_number(&z->body, us ? us : 1); /* to Zipkin 0 is "not known" */
	put(&z->body, ",\"localEndpoint\":{\"serviceName\":");
	put_quoted(&z->body, service && service->text ? service->text : "unknown_service");
	put(&z->body, "}");
	put_remote(z, span);
	put_annotations(z, span);
	put_tags(z, span, scope);
	put(&z->body, "}");
	atr_add(&z->host->stats->fields_lost, span->n_links);
}

/* Writes the batch to z->body; false: it is no protobuf, or there is no memory. */
static bool put_batch(struct zipkin *z, const struct atr_form_batch *b)
{
	const struct atr_buf *head = &b->head->scope;
	Atr__Otlp__ScopeSpans *scope = atr__otlp__scope_spans__unpack(NULL, head->len, head->bytes);
	Atr__Otlp__ScopeSpans *spans = atr__otlp__scope_spans__unpack(NULL, b->len, b->spans);

	atr_buf_reset(&z->body);
	put(&z->body, "[");
	for (size_t i = 0; spans && i < spans->n_spans; i++) {
		put(&z->body, i ? "," : "");
		put_span(z, spans->spans[i], scope ? scope->scope : NULL);
	}
	put(&z->body, "]");
	if (!spans)
		z->body.failed = true;
	atr__otlp__scope_spans__free_unpacked(spans, NULL);
	atr__otlp__scope_spans__free_unpacked(scope, NULL);
	return !z->body.failed;
}

/* ---- the way there ---- */

static void zipkin_free(void *self)
{
	struct zipkin *z = self;

	atr_http_finish(&z->http);
	curl_slist_free_all(z->endpoint.headers);
	atr_url_finish(&z->endpoint.url);
	atr_buf_free(&z->body);
	atr_buf_free(&z->text);
	free(z);
}

static bool add_header(struct atr_endpoint *ep, const char *line)
{
	struct curl_slist *list = curl_slist_append(ep->headers, line);

	if (list)
		ep->headers = list;
	return list != NULL;
}

static uint64_t ns(uint32_t ms)
{
	return ms ? (uint64_t)ms * 1000000u : UINT64_MAX;
}

static void *zipkin_new(const struct atr_host *host)
{
	const struct atr_config *c = host->config;
	struct zipkin *z = calloc(1, sizeof(*z));
	const char *url = c->zipkin_endpoint;
	bool good = atr_url_valid(url, false);
	char shown[256];

	if (!z)
		return NULL;
	if (!good) {
		atr_url_shown(shown, sizeof(shown), url);
		host->log(ATR_LOG_WARN,
			  "OTEL_EXPORTER_ZIPKIN_ENDPOINT=%s is not a usable http or https URL; "
			  "using " DEFAULT_URL,
			  shown);
		url = DEFAULT_URL;
	}
	z->host = host;
	z->endpoint.timeout = ns(c->zipkin_timeout);
	if (z->endpoint.timeout > ns(c->bsp_export_timeout))
		z->endpoint.timeout = ns(c->bsp_export_timeout);
	atr_url_shown(z->endpoint.shown, sizeof(z->endpoint.shown), url);
	z->endpoint.proxy = atr_target_proxy(c, url);
	z->endpoint.text = url;
	host->look_up(url, &z->endpoint.addresses);
	if (atr_url_make(&z->endpoint.url, url, ATR_URL_WHOLE, "", false) &&
	    add_header(&z->endpoint, "Content-Type: application/json") &&
	    add_header(&z->endpoint, "Expect:") && atr_http_init(&z->http, host, &z->endpoint) == 0)
		return z;
	zipkin_free(z);
	return NULL;
}

static enum atr_delivery_state give_up(struct zipkin *z, enum atr_delivery_haste haste)
{
	char more[48] = "";
	unsigned others;

	if (haste == ATR_HASTE_STOP || !atr_trouble_fails(&z->trouble, z->host->now(), &others))
		return ATR_DELIVERY_FAILED;
	if (others)
		(void)snprintf(more, sizeof(more), " (and %u times before)", others);
	z->host->log(ATR_LOG_WARN, "export to %s failed: %s%s", z->endpoint.shown, z->error, more);
	return ATR_DELIVERY_FAILED;
}

/* After an attempt that may be repeated. */
static enum atr_delivery_state again(struct zipkin *z, bool nobody, enum atr_delivery_haste haste)
{
	uint64_t now = z->host->now();
	uint32_t random = 0;

	z->lost = nobody;
	(void)atr_sys_getrandom(&random, sizeof(random), 0);
	z->next = now + atr_retry_backoff(z->attempts, random);
	if (z->next < z->patience)
		z->next = z->patience;
	if (z->attempts >= ATR_RETRY_ATTEMPTS || z->next >= z->deadline ||
	    (haste != ATR_HASTE_NONE && (nobody || z->next >= z->host->deadline())))
		return give_up(z, haste);
	return ATR_DELIVERY_BUSY;
}

/* Perhaps the name means another address by now. */
static void look_again(struct zipkin *z)
{
	struct atr_addresses *a = &z->endpoint.addresses, found;
	uint64_t now = z->host->now();

	if ((!a->resolved[0] && !a->error) || now < z->looked + LOOK_UP_EVERY_NS)
		return;
	z->looked = now;
	z->host->look_up(z->endpoint.text, &found);
	if (!found.error || !a->resolved[0])
		*a = found;
}

/* As in delivery.c: another's spans are kept, unless it is they that are wrong. */
static enum atr_delivery_state not_taken(struct zipkin *z, int status)
{
	z->refused = z->batch.foreign && status != 400;
	if (z->said_status != status) {
		z->said_at = z->host->now();
		z->host->log(ATR_LOG_WARN, "%s refused %zu spans: HTTP %d; they are %s",
			     z->endpoint.shown, z->batch.n_spans, status,
			     z->refused	      ? "left where they are"
			     : z->host->files ? "put aside"
					      : "dropped");
	}
	z->said_status = status;
	if (z->refused)
		return ATR_DELIVERY_FAILED;
	atr_add(z->batch.refused, z->batch.n_spans);
	return ATR_DELIVERY_DONE;
}

static enum atr_delivery_state judge(struct zipkin *z, const struct atr_http_reply *reply,
				     enum atr_delivery_haste haste)
{
	if (!reply->status) {
		(void)atr_escape(z->error, sizeof(z->error), reply->error, strlen(reply->error));
		return again(z, reply->nobody, haste);
	}
	if (atr_retry_status(reply->status)) {
		uint64_t s = reply->retry_after;

		(void)snprintf(z->error, sizeof(z->error), "HTTP %d", reply->status);
		z->patience =
			z->host->now() + (s < RETRY_AFTER_MAX_S ? s : RETRY_AFTER_MAX_S) * NS_PER_S;
		return again(z, false, haste);
	}
	if (reply->status / 100 != 2)
		return not_taken(z, reply->status);
	if (atr_trouble_ends(&z->trouble))
		z->host->log(ATR_LOG_INFO, "export to %s works again", z->endpoint.shown);
	z->lost = false;
	if (atr_trouble_old(z->said_at, z->host->now()))
		z->said_status = 0;
	atr_add(z->batch.delivered, z->batch.n_spans);
	return ATR_DELIVERY_DONE;
}

static enum atr_delivery_state zipkin_step(void *self, uint64_t until,
					   enum atr_delivery_haste haste)
{
	struct zipkin *z = self;
	uint64_t now = z->host->now();
	struct atr_http_reply reply;

	if (now >= z->deadline) {
		if (z->http.in_flight) {
			(void)snprintf(z->error, sizeof(z->error), "no answer in time");
			z->lost = true; /* whoever had the address may have it no more */
		}
		atr_http_cancel(&z->http);
		return give_up(z, haste);
	}
	if (z->http.in_flight)
		return atr_http_step(&z->http, until < z->deadline ? until : z->deadline, &reply)
			       ? judge(z, &reply, haste)
			       : ATR_DELIVERY_BUSY;
	if (now < z->next)
		return ATR_DELIVERY_BUSY;
	z->attempts++;
	if (z->lost && haste == ATR_HASTE_NONE)
		look_again(z);
	if (z->endpoint.addresses.error) {
		atr_endpoint_say(&z->endpoint, z->error, sizeof(z->error),
				 z->endpoint.addresses.error);
		return again(z, true, haste);
	}
	if (atr_http_start(&z->http, z->body.bytes, z->body.len, z->deadline,
			   haste == ATR_HASTE_NONE ? UINT64_MAX : z->host->deadline()) != 0) {
		(void)snprintf(z->error, sizeof(z->error), "out of memory");
		return again(z, false, haste);
	}
	atr_add(&z->host->stats->requests, 1);
	if (z->attempts > 1)
		atr_add(&z->host->stats->retries, 1);
	return ATR_DELIVERY_BUSY;
}

static enum atr_delivery_state zipkin_start(void *self, const struct atr_form_batch *b)
{
	struct zipkin *z = self;
	uint64_t now = z->host->now();

	z->batch = *b;
	z->refused = false;
	if (!put_batch(z, b)) {
		if (b->foreign)
			return ATR_DELIVERY_FAILED;
		atr_add(b->no_memory, b->n_spans);
		return ATR_DELIVERY_DONE;
	}
	z->attempts = 0;
	z->next = now < z->patience ? z->patience : now;
	z->deadline =
		z->endpoint.timeout < UINT64_MAX - now ? now + z->endpoint.timeout : UINT64_MAX;
	z->error[0] = '\0';
	return ATR_DELIVERY_BUSY;
}

static uint64_t zipkin_due(const void *self)
{
	const struct zipkin *z = self;

	return z->http.in_flight ? 0 : z->next;
}

static void zipkin_hurry(void *self)
{
	struct zipkin *z = self;

	if (!z->http.in_flight)
		z->next = z->patience;
}

static bool zipkin_refused(const void *self)
{
	return ((const struct zipkin *)self)->refused;
}

static const char *zipkin_shown(const void *self)
{
	return ((const struct zipkin *)self)->endpoint.shown;
}

static void zipkin_cancel(void *self)
{
	atr_http_cancel(&((struct zipkin *)self)->http);
}

const struct atr_form atr_form_zipkin = {
	.component = "zipkin_http_span_exporter",
	.bit = ATR_EXPORTER_ZIPKIN,
	.collects = true,
	.remote = true,
	.make = zipkin_new,
	.start = zipkin_start,
	.step = zipkin_step,
	.due = zipkin_due,
	.hurry = zipkin_hurry,
	.cancel = zipkin_cancel,
	.free = zipkin_free,
	.refused = zipkin_refused,
	.shown = zipkin_shown,
};
