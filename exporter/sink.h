/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_SINK_H
#define ATR_EXPORTER_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exporter/console.h"
#include "exporter/delivery.h"
#include "exporter/otlp.h"

/* Where batches go: to a collector or to people.  OTEL_TRACES_EXPORTER decides. */
struct atr_sink {
	const struct atr_host *host;
	bool to_console;
	struct atr_otlp_head head;
	struct atr_delivery delivery;
	struct atr_console console;
};

/* False when there is no memory for the least; to be finished all the same. */
bool atr_sink_init(struct atr_sink *sink, const struct atr_host *host);

/*
 * Takes a batch of ScopeSpans fields.  BUSY: atr_delivery_step() goes on with
 * it.  FAILED: it is to be counted by the caller.
 */
enum atr_delivery_state atr_sink_start(struct atr_sink *sink, const uint8_t *spans, size_t len,
				       size_t n_spans);

/* The same with the batch that dead processes' spans are in. */
struct atr_orphans;
enum atr_delivery_state atr_sink_start_foreign(struct atr_sink *sink, const struct atr_orphans *o);

/* Tells of n spans that were left when the program ended, if that was not told yet. */
void atr_sink_say_unsent(struct atr_sink *sink, uint64_t n_spans);

void atr_sink_finish(struct atr_sink *sink);

#endif
