/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_GRPC_H
#define ATR_EXPORTER_GRPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exporter/buf.h"

/*
 * gRPC as a unary call needs it, over HTTP/2 that somebody else speaks ("gRPC over HTTP2").
 * Pure.
 *
 * A message has five bytes in front of it; how the call ended is said by fields behind the
 * body (or in front of it, if there is none).
 */
enum atr_grpc_code {
	ATR_GRPC_NONE = -1, /* none was said */
	ATR_GRPC_OK = 0,
	ATR_GRPC_CANCELLED = 1,
	ATR_GRPC_UNKNOWN = 2,
	ATR_GRPC_INVALID_ARGUMENT = 3,
	ATR_GRPC_DEADLINE_EXCEEDED = 4,
	ATR_GRPC_PERMISSION_DENIED = 7,
	ATR_GRPC_RESOURCE_EXHAUSTED = 8,
	ATR_GRPC_ABORTED = 10,
	ATR_GRPC_OUT_OF_RANGE = 11,
	ATR_GRPC_UNIMPLEMENTED = 12,
	ATR_GRPC_INTERNAL = 13,
	ATR_GRPC_UNAVAILABLE = 14,
	ATR_GRPC_DATA_LOSS = 15,
	ATR_GRPC_UNAUTHENTICATED = 16,
};

#define ATR_GRPC_MESSAGE 512

struct atr_grpc_status {
	int code;			/* enum atr_grpc_code; what a later version knows, too */
	char message[ATR_GRPC_MESSAGE]; /* decoded; any bytes but NUL */
	bool retry_info;		/* it was said when to try again */
	uint64_t retry_ns;		/* after this time */
};

/* Puts the head of a message in front of what is added next, and its length in when it ends. */
void atr_grpc_begin(struct atr_buf *out, bool compressed);
void atr_grpc_end(struct atr_buf *out, size_t begun_at);

/* "grpc-timeout: 10000m", at least one millisecond. */
#define ATR_GRPC_TIMEOUT_LINE 32
void atr_grpc_timeout(char line[static ATR_GRPC_TIMEOUT_LINE], uint64_t ns);

void atr_grpc_status_init(struct atr_grpc_status *status);

/* A header or trailer line, "name: value"; what says nothing about the status is ignored. */
void atr_grpc_header(struct atr_grpc_status *status, const char *line, size_t len);

/* The message in a response's body; NULL: there is none, or it cannot be read. */
const uint8_t *atr_grpc_message(const uint8_t *body, size_t len, size_t *ret_len);

/* Is the call to be made again? (OTLP specification, "OTLP/gRPC Response", failures.) */
bool atr_grpc_retryable(const struct atr_grpc_status *status);

/* Was the message too large?  There is no code for it, servers say it in words. */
bool atr_grpc_too_large(const struct atr_grpc_status *status);

/* "UNAVAILABLE"; of an unknown code "?". */
const char *atr_grpc_code_name(int code);

#endif
