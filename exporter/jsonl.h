/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_JSONL_H
#define ATR_EXPORTER_JSONL_H

#include <stddef.h>
#include <stdint.h>

#include "exporter/buf.h"

struct atr_form_batch;

/*
 * Appends a batch as lines of OTLP JSON, each a whole request, as the specification's
 * "OpenTelemetry Protocol File Exporter" has them.  A line holds spans of about `chunk`
 * bytes of protobuf, at least one.  Returns how many spans are not in it, for they are no
 * protobuf; *lost as in otlp-json.h.
 */
size_t atr_jsonl(struct atr_buf *out, const struct atr_form_batch *batch, size_t chunk,
		 uint64_t *lost);

#endif
