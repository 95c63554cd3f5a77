/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/verdict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exporter/http.h"
#include "exporter/json.h"
#include "exporter/otlp.h"
#include "exporter/retry.h"
#include "exporter/url.h"
#include "preload/compiler.h"

#define LINE_MAX_SHOWN 200 /* bytes of a response that is neither protobuf nor JSON */
#define NS_PER_S 1000000000ull
#define PAUSE_MAX_S 86400u /* a delay beyond a day is one */

static void say(struct atr_verdict *v, const char *text, size_t len)
{
	(void)atr_escape(v->message, sizeof(v->message), text, len);
}

static bool one_of(const char *key, const char *a, const char *b)
{
	return strcmp(key, a) == 0 || strcmp(key, b) == 0;
}

/* A whole number, plain or in quotes, as 64-bit ones are; 0 for anything else. */
static uint64_t json_count(struct atr_json *j)
{
	struct atr_json before = *j;
	char text[24];
	double v = 0;
	size_t len;

	if (atr_json_string(j, text, sizeof(text), &len))
		return len < 19 && strspn(text, "0123456789") == len ? strtoull(text, NULL, 10) : 0;
	return atr_json_number(&before, &v) && v > 0 && v < 1e18 ? (uint64_t)v : 0;
}

enum part { SUCCESS, PARTIAL_SUCCESS, REFUSAL };

static bool is_message(enum part part, const char *key)
{
	return part == PARTIAL_SUCCESS ? one_of(key, "errorMessage", "error_message")
				       : part == REFUSAL && strcmp(key, "message") == 0;
}

/*
 * What an answer in JSON says of itself.  Names are those of JSON, or of the .proto file, as some
 * write them.  Of one that ends too early what came counts.
 */
static void read_json(struct atr_verdict *v, struct atr_json *j, enum part part)
{
	char key[32], text[sizeof(v->message)];
	size_t len;

	if (!atr_json_object(j))
		return;
	while (atr_json_key(j, key, sizeof(key))) {
		if (part == SUCCESS && one_of(key, "partialSuccess", "partial_success")) {
			read_json(v, j, PARTIAL_SUCCESS);
		} else if (part == PARTIAL_SUCCESS &&
			   (one_of(key, "rejectedSpans", "rejected_spans") ||
			    one_of(key, "rejectedDataPoints", "rejected_data_points"))) {
			v->rejected = json_count(j);
		} else if (is_message(part, key)) {
			text[0] = '\0';
			(void)atr_json_string(j, text, sizeof(text), &len);
			say(v, text, strlen(text));
		} else {
			atr_json_skip(j);
		}
	}
}

static void json_body(struct atr_verdict *v, const struct atr_http_reply *reply, enum part part)
{
	struct atr_json j;

	atr_json_init(&j, (const char *)reply->body, reply->len);
	read_json(v, &j, part);
}

static void proto_success(struct atr_verdict *v, const uint8_t *body, size_t len)
{
	struct atr_otlp_reply said = { 0 };

	atr_otlp_read_success(&said, body, len);
	v->rejected = said.rejected;
	memcpy(v->message, said.message, sizeof(v->message));
}

static void taken(struct atr_verdict *v, const struct atr_http_reply *reply)
{
	v->kind = ATR_VERDICT_TAKEN;
	if (reply->len && reply->type == ATR_BODY_PROTOBUF)
		proto_success(v, reply->body, reply->len);
	else if (reply->len && reply->type == ATR_BODY_JSON)
		json_body(v, reply, SUCCESS);
}

/* Why not, in the collector's own words if it has some. */
static void refusal_text(struct atr_verdict *v, const struct atr_http_reply *reply)
{
	struct atr_otlp_reply said = { 0 };
	const char *text = (const char *)reply->body, *end;
	size_t len = reply->len;

	if (reply->location) {
		char shown[160];

		atr_url_shown(shown, sizeof(shown), reply->location);
		(void)snprintf(v->message, sizeof(v->message),
			       "a redirect to %s, which is not followed", shown);
	} else if (reply->len && reply->type == ATR_BODY_PROTOBUF) {
		atr_otlp_read_failure(&said, reply->body, reply->len);
		memcpy(v->message, said.message, sizeof(v->message));
	} else if (reply->len && reply->type == ATR_BODY_JSON) {
		json_body(v, reply, REFUSAL);
	} else if (reply->len && reply->type == ATR_BODY_OTHER) {
		end = memchr(text, '\n', len);
		if (end)
			len = (size_t)(end - text);
		while (len && text[len - 1] == '\r')
			len--;
		say(v, text, len < LINE_MAX_SHOWN ? len : LINE_MAX_SHOWN);
	}
}

/* It wants a password of its own; of that no collector knows. */
static bool is_proxys(const struct atr_http_reply *reply)
{
	return reply->proxy && reply->status == 407;
}

/* It may be the proxy that says so, and nobody can tell which of the two. */
static void say_proxy(struct atr_verdict *v, const char *proxy)
{
	char shown[100], said[sizeof(v->message)];

	atr_url_shown(shown, sizeof(shown), proxy);
	memcpy(said, v->message, sizeof(said));
	(void)snprintf(v->message, sizeof(v->message), "through the proxy %s%s%.*s", shown,
		       said[0] ? ": " : "", (int)(sizeof(said) - sizeof(shown) - 24), said);
}

/*
 * Is a 400 the 413 that it should be?  So the Collector answers, in Go's words ("http: request
 * body too large"); the others are what 413 was and is called.
 */
static bool says_too_large(const struct atr_verdict *v)
{
	static const char *const words[] = { "body too large", "entity too large",
					     "payload too large" };

	for (size_t i = 0; v->code == 400 && i < ATR_ARRAY_LEN(words); i++)
		if (strcasestr(v->message, words[i]))
			return true;
	return false;
}

static void judge_http(struct atr_verdict *v, const struct atr_http_reply *reply)
{
	v->code = reply->status;
	(void)snprintf(v->what, sizeof(v->what), "HTTP %d", reply->status);
	if (reply->status / 100 == 2) {
		taken(v, reply);
		return;
	}
	v->kind = atr_retry_status(reply->status) || is_proxys(reply) ? ATR_VERDICT_AGAIN
		  : reply->status == 413			      ? ATR_VERDICT_TOO_LARGE
								      : ATR_VERDICT_REFUSED;
	if (v->kind == ATR_VERDICT_AGAIN)
		v->pause = NS_PER_S *
			   (reply->retry_after < PAUSE_MAX_S ? reply->retry_after : PAUSE_MAX_S);
	refusal_text(v, reply);
	if (says_too_large(v))
		v->kind = ATR_VERDICT_TOO_LARGE;
	if (reply->proxy)
		say_proxy(v, reply->proxy);
}

static void judge_grpc(struct atr_verdict *v, const struct atr_http_reply *reply)
{
	const struct atr_grpc_status *status = reply->grpc;
	const uint8_t *message;
	size_t len;

	v->code = -status->code;
	(void)snprintf(v->what, sizeof(v->what), "gRPC %s (%d)", atr_grpc_code_name(status->code),
		       status->code);
	say(v, status->message, strlen(status->message));
	v->pause = status->retry_info ? status->retry_ns : 0;
	if (status->code == ATR_GRPC_OK) {
		v->kind = ATR_VERDICT_TAKEN;
		v->message[0] = '\0';
		message = atr_grpc_message(reply->body, reply->len, &len);
		if (message && len)
			proto_success(v, message, len);
	} else if (atr_grpc_too_large(status)) {
		v->kind = ATR_VERDICT_TOO_LARGE;
	} else {
		v->kind = atr_grpc_retryable(status) ? ATR_VERDICT_AGAIN : ATR_VERDICT_REFUSED;
	}
}

/*
 * An answer without its end.  Behind a GOAWAY, which a collector sends when a connection is
 * to be renewed, libcurl 7.88 keeps the trailers to itself.  The message tells as much: of a
 * call that failed there is none.
 */
static void judge_no_trailers(struct atr_verdict *v, const struct atr_http_reply *reply)
{
	const uint8_t *message;
	size_t len;

	message = atr_grpc_message(reply->body, reply->len, &len);
	v->kind = message ? ATR_VERDICT_TAKEN : ATR_VERDICT_AGAIN;
	if (message && len)
		proto_success(v, message, len);
}

/* Also a proxy's answer, or that of somebody who does not speak gRPC. */
static void judge_no_grpc(struct atr_verdict *v, const struct atr_http_reply *reply)
{
	judge_http(v, reply);
	if (reply->status / 100 != 2)
		return;
	*v = (struct atr_verdict){ .kind = ATR_VERDICT_REFUSED, .code = reply->status };
	(void)snprintf(v->what, sizeof(v->what), "HTTP %d without a gRPC status", reply->status);
	if (reply->type == ATR_BODY_GRPC)
		judge_no_trailers(v, reply);
	else
		(void)snprintf(v->message, sizeof(v->message), "is this a port for gRPC?");
}

void atr_verdict(struct atr_verdict *v, enum atr_PROTOCOL protocol,
		 const struct atr_http_reply *reply)
{
	*v = (struct atr_verdict){
		.kind = ATR_VERDICT_NONE,
		.nobody = reply->nobody,
		.stale = reply->stale,
	};
	if (reply->too_long) {
		v->kind = ATR_VERDICT_REFUSED;
		v->code = reply->status;
		(void)snprintf(v->what, sizeof(v->what), "HTTP %d", reply->status);
		(void)snprintf(v->message, sizeof(v->message), "a response of more than 4 MiB");
	} else if (!reply->status) {
		say(v, reply->error, strlen(reply->error));
	} else if (protocol != ATR_PROTOCOL_GRPC) {
		judge_http(v, reply);
	} else if (reply->grpc->code != ATR_GRPC_NONE) {
		judge_grpc(v, reply);
	} else {
		judge_no_grpc(v, reply);
	}
}
