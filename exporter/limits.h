/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_LIMITS_H
#define ATR_EXPORTER_LIMITS_H

#include <stddef.h>
#include <stdint.h>

#include "exporter/buf.h"

struct atr_config;

/*
 * What a user may limit of a span (OpenTelemetry specification, "Common", attribute
 * limits): how many attributes it has, and how many characters a string of theirs.
 * Applied here, where it costs the program nothing, before a span is queued.
 */
struct atr_limits {
	size_t attributes; /* further ones are dropped, and counted in the span */
	size_t characters; /* of a string, also in an array; bytes of a byte array */
	struct atr_buf span;
};

void atr_limits_init(struct atr_limits *l, const struct atr_config *config);
void atr_limits_finish(struct atr_limits *l);

/*
 * The span as it may be, *len bytes: it is the given one unless something was dropped or
 * cut, else it is in l->span.  NULL: no memory.  What is no Span message stays as it is.
 */
const uint8_t *atr_limits_apply(struct atr_limits *l, const uint8_t *span, size_t *len);

#endif
