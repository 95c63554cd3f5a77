/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_JSONL_H
#define ATR_EXPORTER_JSONL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exporter/buf.h"

struct atr_form_batch;

/*
 * A batch as lines of OTLP JSON, each a whole request, as the specification's
 * "OpenTelemetry Protocol File Exporter" has them, and how far they are written.
 */
struct atr_jsonl {
	struct atr_buf text;
	struct atr_buf lines; /* struct atr_jsonl_line each */
	size_t written;	      /* bytes of the text */
	size_t at, i;	      /* where the first line begins that is not whole, and its number */
	size_t done;	      /* spans of whole lines that the caller was not told of */
};

struct atr_jsonl_line {
	size_t end; /* in the text, behind its newline */
	size_t n_spans, n_bad;
};

/* Begins with an empty text. */
void atr_jsonl_reset(struct atr_jsonl *j);
void atr_jsonl_free(struct atr_jsonl *j);

/*
 * Appends a batch.  A line holds spans of about `chunk` bytes of protobuf, and is no longer than
 * `most` bytes unless by a single span.  *lost as in otlp-json.h.  False without memory.
 */
bool atr_jsonl(struct atr_jsonl *j, const struct atr_form_batch *batch, size_t chunk, size_t most,
	       uint64_t *lost);

/* Length of the lines that are not whole, as many as fit into `room` but for the first one, which
 * is there in any case; 0: there are no more. */
size_t atr_jsonl_fit(const struct atr_jsonl *j, size_t room);

/* n more bytes are written: spans of lines that are whole by that are counted where the batch says,
 * those that are no protobuf as refused.  Returns how many bytes of the next line are written. */
size_t atr_jsonl_wrote(struct atr_jsonl *j, size_t n, const struct atr_form_batch *batch);

/* How many spans, from the front of the batch, are done with since the last call. */
size_t atr_jsonl_done(struct atr_jsonl *j);

#endif
