/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_READER_H
#define ATR_EXPORTER_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "exporter/endpoint.h"
#include "exporter/gzip.h"
#include "exporter/http.h"
#include "exporter/metrics.h"
#include "exporter/otlp.h"

/*
 * Metrics on their way, every OTEL_METRIC_EXPORT_INTERVAL and at the end: over a
 * connection of their own, never waited for while there are spans to send.
 *
 * One that fails is not tried again: the next one has what it had.
 */
struct atr_reader {
	const struct atr_host *host;
	enum { ATR_READER_OFF, ATR_READER_OTLP, ATR_READER_CONSOLE } to;
	struct atr_metrics metrics;
	struct atr_endpoint endpoint;
	struct atr_http http;
	struct atr_gzip gz;
	struct atr_buf fields, request, packed, json;
	const struct atr_buf *body; /* one of the last three */
	struct atr_numbers sent;    /* those under way, */
	uint64_t sent_time;	    /* of this time */
	uint64_t interval, timeout;
	uint64_t due;	   /* the next export (monotonic ns) */
	uint64_t deadline; /* of the one under way */
	bool down;	   /* it fails, and that was said */
	bool lost;	   /* the last one found nobody */
};

/*
 * One of those of OTEL_METRICS_EXPORTER; off if it is not.  `type` and `url` are those of the
 * spans' exporter.  False without memory: there are no metrics.
 */
bool atr_reader_init(struct atr_reader *r, const struct atr_host *host,
		     enum atr_METRICS_EXPORTERS which, const char *type, const char *url);

/* Is there something to be done now?  Then `numbers` are to be had for atr_reader_step(). */
bool atr_reader_wants(const struct atr_reader *r, uint64_t now);

/* When there is: while an export is under way, soon. */
uint64_t atr_reader_due(const struct atr_reader *r, uint64_t now);

/* Begins an export, or goes on with it; waits at most until `until`. */
void atr_reader_step(struct atr_reader *r, const struct atr_otlp_head *head,
		     const struct atr_numbers *numbers, uint64_t until);

/* The last one, which ends by `until`, whatever was under way. */
void atr_reader_end(struct atr_reader *r, const struct atr_otlp_head *head,
		    const struct atr_numbers *numbers, uint64_t until);

void atr_reader_finish(struct atr_reader *r);

#endif
