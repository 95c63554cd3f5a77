/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/line.h"

#include <stdio.h>
#include <string.h>

#include "preload/compiler.h"

/* Longest text shown of a name or a value. */
#define VALUE_MAX 200

typedef Atr__Otlp__Span otlp_span; /* protobuf-c's names are long */
typedef Atr__Otlp__KeyValue otlp_attr;

static const otlp_attr *attr(const otlp_span *span, const char *key)
{
	for (size_t i = 0; i < span->n_attributes; i++)
		if (strcmp(span->attributes[i]->key, key) == 0)
			return span->attributes[i];
	return NULL;
}

static void put_number(struct atr_buf *out, int64_t v)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%lld", (long long)v);
	atr_buf_str(out, text);
}

static void put_text(struct atr_buf *out, const char *s)
{
	size_t len = strnlen(s, VALUE_MAX + 1);

	atr_buf_escaped(out, s, len < VALUE_MAX ? len : VALUE_MAX);
	if (len > VALUE_MAX)
		atr_buf_str(out, "...");
}

/* Values as we write them: strings and whole numbers; others are not among the keys shown. */
static void put_value(struct atr_buf *out, const otlp_attr *a, const char *quote)
{
	const Atr__Otlp__AnyValue *v = a->value;

	if (v && v->value_case == ATR__OTLP__ANY_VALUE__VALUE_STRING_VALUE) {
		atr_buf_str(out, quote);
		put_text(out, v->string_value);
		atr_buf_str(out, quote);
	} else if (v && v->value_case == ATR__OTLP__ANY_VALUE__VALUE_INT_VALUE) {
		put_number(out, v->int_value);
	} else {
		atr_buf_str(out, "?");
	}
}

/* Three significant digits and a unit; no printf of a fraction, whose point the locale decides. */
static void put_duration(struct atr_buf *out, uint64_t ns)
{
	static const struct {
		uint64_t ns;
		const char *name;
	} units[] = { { 1000000000, " s" }, { 1000000, " ms" }, { 1000, " us" } };
	size_t i = 0;
	uint64_t whole, hundredths;

	if (ns < 1000) {
		put_number(out, (int64_t)ns);
		atr_buf_str(out, " ns");
		return;
	}
	while (i < ATR_ARRAY_LEN(units) - 1 && ns < units[i].ns)
		i++;
	whole = ns / units[i].ns;
	hundredths = ns % units[i].ns / (units[i].ns / 100);
	put_number(out, (int64_t)whole);
	if (whole < 100) {
		atr_buf_str(out, ".");
		put_number(out, (int64_t)(hundredths / 10));
	}
	if (whole < 10)
		put_number(out, (int64_t)(hundredths % 10));
	atr_buf_str(out, units[i].name);
}

/* The other end: by the name the program used, else by its address. */
static void put_peer(struct atr_buf *out, const otlp_span *span)
{
	const otlp_attr *host = attr(span, "server.address");
	const otlp_attr *port = attr(span, "server.port");

	if (!host || span->kind == ATR__OTLP__SPAN__SPAN_KIND__SPAN_KIND_SERVER) {
		const otlp_attr *peer = attr(span, "network.peer.address");

		port = peer ? attr(span, "network.peer.port") : port;
		host = peer ? peer : host;
	}
	if (!host)
		return;
	atr_buf_str(out, "  ");
	put_value(out, host, "");
	if (port) {
		atr_buf_str(out, ":");
		put_value(out, port, "");
	}
}

static void put_attrs(struct atr_buf *out, const otlp_span *span)
{
	static const struct {
		const char *key, *shown;
	} keys[] = {
		{ "url.full", NULL },
		{ "url.path", NULL },
		{ "http.response.status_code", "status" },
		{ "db.namespace", NULL },
		{ "db.query.text", NULL },
		{ "db.response.status_code", NULL },
		{ "autotrace.bytes_sent", "sent" },
		{ "autotrace.bytes_received", "received" },
		{ "error.type", NULL },
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(keys); i++) {
		const otlp_attr *a = attr(span, keys[i].key);

		if (!a)
			continue;
		atr_buf_str(out, "  ");
		atr_buf_str(out, keys[i].shown ? keys[i].shown : keys[i].key);
		atr_buf_str(out, "=");
		put_value(out, a, "\"");
	}
}

void atr_line_hex(struct atr_buf *out, const uint8_t *bytes, size_t len)
{
	static const char hex[] = "0123456789abcdef";
	uint8_t *to = atr_buf_reserve(out, 2 * len);

	if (!to)
		return;
	for (size_t i = 0; i < len; i++) {
		to[2 * i] = (uint8_t)hex[bytes[i] >> 4];
		to[2 * i + 1] = (uint8_t)hex[bytes[i] & 15];
	}
	out->len += 2 * len;
}

void atr_line_span(struct atr_buf *out, const otlp_span *span, bool root)
{
	static const char *const kinds[] = { "?",      "INTERNAL", "SERVER",
					     "CLIENT", "PRODUCER", "CONSUMER" };
	uint64_t start = span->start_time_unix_nano, end = span->end_time_unix_nano;
	unsigned kind = (unsigned)span->kind;

	atr_buf_str(out, kinds[kind < ATR_ARRAY_LEN(kinds) ? kind : 0]);
	atr_buf_str(out, " ");
	put_text(out, span->name);
	atr_buf_str(out, "  ");
	put_duration(out, end > start ? end - start : 0);
	put_peer(out, span);
	put_attrs(out, span);
	if (span->status &&
	    span->status->code == ATR__OTLP__STATUS__STATUS_CODE__STATUS_CODE_ERROR) {
		atr_buf_str(out, "  ERROR");
		if (span->status->message[0]) {
			atr_buf_str(out, " ");
			put_text(out, span->status->message);
		}
	}
	if (root && span->parent_span_id.len) {
		atr_buf_str(out, "  parent=");
		atr_line_hex(out, span->parent_span_id.data, span->parent_span_id.len);
	}
	atr_buf_str(out, "\n");
}
