/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/grpc.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "exporter/otlp.pb-c.h"
#include "preload/compiler.h"

#define HEAD 5		 /* compressed or not, four bytes of length */
#define DETAILS_MAX 4096 /* decoded; a longer one says nothing */
#define NS_PER_S 1000000000u
#define RETRY_MAX_S 86400 /* a delay beyond a day is one */

void atr_grpc_begin(struct atr_buf *out, bool compressed)
{
	const uint8_t head[HEAD] = { compressed };

	atr_buf_add(out, head, sizeof(head));
}

void atr_grpc_end(struct atr_buf *out, size_t begun_at)
{
	size_t len;

	if (out->failed)
		return;
	len = out->len - begun_at - HEAD;
	for (int i = 0; i < 4; i++)
		out->bytes[begun_at + 1 + (size_t)i] = (uint8_t)(len >> (24 - 8 * i));
}

/* At most eight digits are allowed. */
void atr_grpc_timeout(char line[static ATR_GRPC_TIMEOUT_LINE], uint64_t ns)
{
	uint64_t ms = ns / 1000000u;

	if (ms > 99999999u)
		(void)snprintf(line, ATR_GRPC_TIMEOUT_LINE, "grpc-timeout: %uS",
			       (unsigned)(ms / 1000 < 99999999u ? ms / 1000 : 99999999u));
	else
		(void)snprintf(line, ATR_GRPC_TIMEOUT_LINE, "grpc-timeout: %um",
			       (unsigned)(ms ? ms : 1));
}

void atr_grpc_status_init(struct atr_grpc_status *status)
{
	*status = (struct atr_grpc_status){ .code = ATR_GRPC_NONE };
}

/* ---- the fields that tell how it ended ---- */

static void read_code(struct atr_grpc_status *status, const char *s, size_t len)
{
	int code = 0;

	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9' || code > 1000) {
			status->code = ATR_GRPC_UNKNOWN;
			return;
		}
		code = 10 * code + (s[i] - '0');
	}
	status->code = len ? code : ATR_GRPC_UNKNOWN;
}

/* -1: none. */
static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-encoded; what is badly so stays as it is. */
static void read_message(struct atr_grpc_status *status, const char *s, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len && n + 1 < sizeof(status->message); i++) {
		char c = s[i];

		if (c == '%' && len - i > 2 && hex(s[i + 1]) >= 0 && hex(s[i + 2]) >= 0) {
			c = (char)(hex(s[i + 1]) << 4 | hex(s[i + 2]));
			i += 2;
		}
		status->message[n++] = c ? c : ' ';
	}
	status->message[n] = '\0';
}

/* Base64, with or without padding, up to the first byte that is none; 0: too long. */
static size_t decode64(uint8_t out[static DETAILS_MAX], const char *s, size_t len)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t bits = 0;
	unsigned n_bits = 0;
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		const char *at = memchr(alphabet, s[i], 64);

		if (!at)
			break;
		bits = bits << 6 | (uint32_t)(at - alphabet);
		n_bits += 6;
		if (n_bits < 8)
			continue;
		n_bits -= 8;
		if (n == DETAILS_MAX)
			return 0;
		out[n++] = (uint8_t)(bits >> n_bits);
	}
	return n;
}

static void read_retry_info(struct atr_grpc_status *status, const ProtobufCBinaryData *value)
{
	Atr__Otlp__RpcRetryInfo *info =
		atr__otlp__rpc_retry_info__unpack(NULL, value->len, value->data);

	if (info) {
		const Atr__Otlp__RpcDuration *delay = info->retry_delay;
		int64_t s = delay ? delay->seconds : 0;
		int64_t ns = delay ? delay->nanos : 0;

		status->retry_info = true;
		if (s > RETRY_MAX_S)
			s = RETRY_MAX_S;
		status->retry_ns = s >= 0 && ns >= 0 && ns < (int64_t)NS_PER_S
					   ? (uint64_t)s * NS_PER_S + (uint64_t)ns
					   : 0;
	}
	atr__otlp__rpc_retry_info__free_unpacked(info, NULL);
}

static void read_details(struct atr_grpc_status *status, const char *s, size_t len)
{
	static const char retry_info[] = "/google.rpc.RetryInfo";
	uint8_t bytes[DETAILS_MAX];
	Atr__Otlp__RpcStatus *said =
		atr__otlp__rpc_status__unpack(NULL, decode64(bytes, s, len), bytes);

	for (size_t i = 0; said && i < said->n_details; i++) {
		const char *type = said->details[i]->type_url;
		const char *slash = strrchr(type, '/');

		if (slash && strcmp(slash, retry_info) == 0)
			read_retry_info(status, &said->details[i]->value);
	}
	atr__otlp__rpc_status__free_unpacked(said, NULL);
}

void atr_grpc_header(struct atr_grpc_status *status, const char *line, size_t len)
{
	static const struct {
		const char *name;
		void (*read)(struct atr_grpc_status *status, const char *s, size_t len);
	} fields[] = {
		{ "grpc-status", read_code },
		{ "grpc-message", read_message },
		{ "grpc-status-details-bin", read_details },
	};
	const char *colon = memchr(line, ':', len);
	size_t name_len = colon ? (size_t)(colon - line) : 0, at = name_len + 1;

	if (!colon)
		return;
	while (at < len && (line[at] == ' ' || line[at] == '\t'))
		at++;
	while (len > at && strchr(" \t\r\n", line[len - 1]))
		len--;
	for (size_t i = 0; i < ATR_ARRAY_LEN(fields); i++)
		if (strlen(fields[i].name) == name_len &&
		    strncasecmp(line, fields[i].name, name_len) == 0)
			fields[i].read(status, line + at, len - at);
}

/* ---- the answer ---- */

const uint8_t *atr_grpc_message(const uint8_t *body, size_t len, size_t *ret_len)
{
	size_t n;

	if (len < HEAD || body[0] != 0) /* nobody was told that it may be compressed */
		return NULL;
	n = (size_t)body[1] << 24 | (size_t)body[2] << 16 | (size_t)body[3] << 8 | body[4];
	if (n > len - HEAD)
		return NULL;
	*ret_len = n;
	return body + HEAD;
}

bool atr_grpc_retryable(const struct atr_grpc_status *status)
{
	switch (status->code) {
	case ATR_GRPC_CANCELLED:
	case ATR_GRPC_DEADLINE_EXCEEDED:
	case ATR_GRPC_ABORTED:
	case ATR_GRPC_OUT_OF_RANGE:
	case ATR_GRPC_UNAVAILABLE:
	case ATR_GRPC_DATA_LOSS:
		return true;
	case ATR_GRPC_RESOURCE_EXHAUSTED:
		return status->retry_info;
	default:
		return false;
	}
}

/*
 * gRPC's own libraries say "larger than max" (Go, C), "exceeds maximum size" (Java),
 * "exceeds the maximum" (.NET), "length too large" (Rust, with another code).
 */
bool atr_grpc_too_large(const struct atr_grpc_status *status)
{
	static const char *const words[] = { "larger than max", "exceeds maximum",
					     "exceeds the maximum", "too large" };

	if (status->code != ATR_GRPC_OUT_OF_RANGE &&
	    (status->code != ATR_GRPC_RESOURCE_EXHAUSTED || status->retry_info))
		return false;
	for (size_t i = 0; i < ATR_ARRAY_LEN(words); i++)
		if (strcasestr(status->message, words[i]))
			return true;
	return false;
}

const char *atr_grpc_code_name(int code)
{
	static const char *const names[] = {
		"OK",
		"CANCELLED",
		"UNKNOWN",
		"INVALID_ARGUMENT",
		"DEADLINE_EXCEEDED",
		"NOT_FOUND",
		"ALREADY_EXISTS",
		"PERMISSION_DENIED",
		"RESOURCE_EXHAUSTED",
		"FAILED_PRECONDITION",
		"ABORTED",
		"OUT_OF_RANGE",
		"UNIMPLEMENTED",
		"INTERNAL",
		"UNAVAILABLE",
		"DATA_LOSS",
		"UNAUTHENTICATED",
	};

	return code >= 0 && (size_t)code < ATR_ARRAY_LEN(names) ? names[code] : "?";
}
