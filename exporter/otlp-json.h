/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_OTLP_JSON_H
#define ATR_EXPORTER_OTLP_JSON_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exporter/buf.h"

struct atr_otlp_head;

/*
 * OTLP/JSON from OTLP's protobuf form.  Pure.
 *
 * The bytes are walked along the descriptors that protobuf-c makes of otlp.proto, which
 * thereby is the only list of fields.  They may be anybody's: what is no protobuf is
 * refused, what is no UTF-8 becomes '?'.
 */

/*
 * Appends an ExportTraceServiceRequest on one line, without the line's end: `spans` is a
 * run of ScopeSpans fields, under the head.  False: out is as it was, but perhaps `failed`
 * for want of memory; else the bytes were no protobuf.
 */
bool atr_otlp_json(struct atr_buf *out, const struct atr_otlp_head *head, const uint8_t *spans,
		   size_t len);

/*
 * The same for any message of otlp.proto.  *lost is increased for every field that is not
 * shown: unknown ones, those of another type, a message that comes twice where there can
 * be one, what is nested too deeply.
 */
bool atr_otlp_json_message(struct atr_buf *out, const ProtobufCMessageDescriptor *type,
			   const uint8_t *bytes, size_t len, uint64_t *lost);

/* Appends a JSON string with its quotes. */
void atr_json_str(struct atr_buf *out, const char *s, size_t len);

/* A number as JSON has it; NaN and infinities as the strings that protobuf's mapping has. */
void atr_json_double(struct atr_buf *out, double v);

#endif
