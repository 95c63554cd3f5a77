/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_METRICS_H
#define ATR_EXPORTER_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exporter/buf.h"
#include "exporter/tally.h"
#include "preload/host.h"

/*
 * Metrics about ourselves (metrics.def), as OTLP and as text.  Pure.
 *
 * A point is what a number came to since the start or, by the temporality preference,
 * since the last point that was delivered: what could not be sent is in the next one.
 */

/* The numbers of a moment. */
struct atr_numbers {
	uint64_t started[ATR_ORIGINS][ATR_RESULTS];
	uint64_t live[2]; /* sampled, candidates */
	uint64_t queue_size, queue_capacity, queue_full;
	struct atr_tally tally;
};

struct atr_metrics {
	bool delta;	  /* for counters and histograms */
	uint64_t start;	  /* ns since 1970; when counting began */
	uint64_t since;	  /* the same, or with `delta` when it was delivered last */
	const char *type; /* otel.component.type of the exporter */
	char server[128]; /* server.address; "": none */
	int port;
	struct atr_numbers was; /* delivered; with `delta` only */
};

/* Appends the metrics as fields of ScopeMetrics (as atr_otlp_add_span() does); false: without
 * memory, or there is not one point. */
bool atr_metrics_encode(struct atr_buf *fields, const struct atr_metrics *m,
			const struct atr_numbers *now, uint64_t time);

/* Appends a line for each point. */
void atr_metrics_print(struct atr_buf *text, const struct atr_metrics *m,
		       const struct atr_numbers *now);

/* They arrived. */
void atr_metrics_delivered(struct atr_metrics *m, const struct atr_numbers *numbers, uint64_t time);

#endif
