/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_TALLY_H
#define ATR_EXPORTER_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What came of exporting, as the semantic conventions count it (otel.sdk.*).  Pure.
 *
 * An export is one batch, its retries included.  A batch that nobody took is put back and
 * comes again: that is another export, of spans that were processed before.
 */

/* Kinds of outcome that are told apart; what comes later is "_OTHER". */
#define ATR_TALLY_ROWS 12

/* Upper bounds of the durations' buckets, in seconds: those the specification has by default
 * for seconds. */
#define ATR_TALLY_BOUNDS                                                                  \
	{                                                                                 \
		0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10 \
	}
#define ATR_TALLY_BUCKETS 15

struct atr_tally_row {
	char error[32];	  /* error.type; "": none */
	int http_status;  /* 0: no answer */
	uint64_t n_spans; /* that were not taken */
	uint64_t n_exports;
	double seconds; /* of all of them */
	uint64_t buckets[ATR_TALLY_BUCKETS];
};

struct atr_tally {
	struct atr_tally_row rows[ATR_TALLY_ROWS];
	size_t n_rows;
	uint64_t ok_spans;  /* taken by the collector */
	uint64_t processed; /* spans handed to the exporter, each once */
	uint64_t again;	    /* spans put back that were not handed out again yet */
	uint64_t inflight;
	uint64_t began; /* monotonic ns */
};

struct atr_outcome;

/* A batch of n_spans is handed to the exporter. */
void atr_tally_begin(struct atr_tally *t, size_t n_spans, uint64_t now);

/* It is over; `back`: its spans were put back. */
void atr_tally_end(struct atr_tally *t, const struct atr_outcome *outcome, bool back, uint64_t now);

#endif
