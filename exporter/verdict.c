/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/verdict.h"

#include <stdio.h>
#include <string.h>

#include "exporter/http.h"
#include "exporter/jsonget.h"
#include "exporter/otlp.h"
#include "exporter/retry.h"
#include "exporter/url.h"

#define LINE_MAX_SHOWN 200 /* bytes of a response that is neither protobuf nor JSON */
#define NS_PER_S 1000000000ull

static void say(struct atr_verdict *v, const char *text, size_t len)
{
	(void)atr_escape(v->message, sizeof(v->message), text, len);
}

static struct atr_jsonget text_of(const struct atr_http_reply *reply)
{
	return (struct atr_jsonget){ (const char *)reply->body, reply->len };
}

/* The member under its name in JSON, or in the .proto file, as some write it. */
static bool either(struct atr_jsonget *ret, const struct atr_jsonget *in, const char *a,
		   const char *b)
{
	return atr_jsonget(ret, in, a) || atr_jsonget(ret, in, b);
}

static void json_message(struct atr_verdict *v, const struct atr_jsonget *in, const char *a,
			 const char *b)
{
	struct atr_jsonget value;
	char text[sizeof(v->message)];

	if (!either(&value, in, a, b))
		return;
	atr_jsonget_text(text, sizeof(text), &value);
	say(v, text, strlen(text));
}

static void json_success(struct atr_verdict *v, const struct atr_http_reply *reply)
{
	struct atr_jsonget body = text_of(reply), partial, value;

	if (!either(&partial, &body, "partialSuccess", "partial_success"))
		return;
	if (either(&value, &partial, "rejectedSpans", "rejected_spans") ||
	    either(&value, &partial, "rejectedDataPoints", "rejected_data_points"))
		v->rejected = atr_jsonget_number(&value);
	json_message(v, &partial, "errorMessage", "error_message");
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
		json_success(v, reply);
}

/* Why not, in the collector's own words if it has some. */
static void refusal_text(struct atr_verdict *v, const struct atr_http_reply *reply)
{
	struct atr_otlp_reply said = { 0 };
	struct atr_jsonget body = text_of(reply);
	const char *end;

	if (reply->location) {
		char shown[160];

		atr_url_shown(shown, sizeof(shown), reply->location);
		(void)snprintf(v->message, sizeof(v->message),
			       "a redirect to %s, which is not followed", shown);
	} else if (reply->len && reply->type == ATR_BODY_PROTOBUF) {
		atr_otlp_read_failure(&said, reply->body, reply->len);
		memcpy(v->message, said.message, sizeof(v->message));
	} else if (reply->len && reply->type == ATR_BODY_JSON) {
		json_message(v, &body, "message", "message");
	} else if (reply->len && reply->type == ATR_BODY_OTHER) {
		end = memchr(body.at, '\n', body.len);
		if (end)
			body.len = (size_t)(end - body.at);
		say(v, body.at, body.len < LINE_MAX_SHOWN ? body.len : LINE_MAX_SHOWN);
	}
}

static void judge_http(struct atr_verdict *v, const struct atr_http_reply *reply)
{
	v->code = reply->status;
	(void)snprintf(v->what, sizeof(v->what), "HTTP %d", reply->status);
	if (reply->status / 100 == 2) {
		taken(v, reply);
		return;
	}
	v->kind = atr_retry_status(reply->status) ? ATR_VERDICT_AGAIN
		  : reply->status == 413	  ? ATR_VERDICT_TOO_LARGE
						  : ATR_VERDICT_REFUSED;
	if (v->kind == ATR_VERDICT_AGAIN)
		v->pause = reply->retry_after * NS_PER_S;
	refusal_text(v, reply);
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
	*v = (struct atr_verdict){ .kind = ATR_VERDICT_NONE, .nobody = reply->nobody };
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
