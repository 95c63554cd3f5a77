/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_OTLP_H
#define ATR_EXPORTER_OTLP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exporter/buf.h"

struct atr_resource;

/*
 * OTLP requests and responses.  Pure.
 *
 * A span comes as a finished message, so a request is a concatenation: what is
 * the same in every request (resource, scope, schema URLs) is encoded once by
 * protobuf-c; the spans' bytes follow as they are; only lengths are computed.
 */
#define ATR_SCHEMA_URL "https://opentelemetry.io/schemas/1.44.0"

struct atr_otlp_head {
	struct atr_buf resource; /* a ResourceSpans without its ScopeSpans */
	struct atr_buf scope;	 /* a ScopeSpans without its spans */
};

/* 0 or -ENOMEM. */
int atr_otlp_head_init(struct atr_otlp_head *head, const struct atr_resource *r);
void atr_otlp_head_finish(struct atr_otlp_head *head);

/* Adds the attributes of an encoded head->resource to *r; false when it is none. */
bool atr_otlp_read_resource(struct atr_resource *r, const uint8_t *bytes, size_t len);

/*
 * Appends a span as a field of ScopeSpans: tag, length, bytes.  Such fields one
 * behind the other are by themselves a valid ScopeSpans message.
 */
void atr_otlp_add_span(struct atr_buf *spans, const uint8_t *span, size_t len);

/* Length of the field atr_otlp_add_span() wrote at `spans`. */
size_t atr_otlp_span_field(const uint8_t *spans, size_t len);

/* Appends the request for `spans` (fields, as above) to `request`. */
void atr_otlp_request(struct atr_buf *request, const struct atr_otlp_head *head,
		      const uint8_t *spans, size_t len);

/* What a collector said. */
struct atr_otlp_reply {
	uint64_t rejected;
	char message[256]; /* one printable line, may be empty */
};

/* The body of a success; an empty or unreadable one rejects nothing. */
void atr_otlp_read_success(struct atr_otlp_reply *reply, const uint8_t *body, size_t len);

/* The body of a failure: a google.rpc.Status. */
void atr_otlp_read_failure(struct atr_otlp_reply *reply, const uint8_t *body, size_t len);

#endif
