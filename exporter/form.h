/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_FORM_H
#define ATR_EXPORTER_FORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exporter/delivery.h"
#include "exporter/otlp.h"

struct atr_host;
struct atr_resource;

/*
 * One way in which batches leave the process: to a collector, to people, into a file.
 * sink.c has the table of them; to drop one is to drop its file and its row.
 *
 * A form counts spans where the batch says, when it knows what became of them, and only then:
 * those of a batch that FAILED are counted by the caller, who may come with them again.
 */
struct atr_form_batch {
	const struct atr_otlp_head *head;
	const struct atr_resource *resource; /* what the head was made from */
	const uint8_t *spans;		     /* fields of ScopeSpans; good until start() is back */
	size_t len, n_spans;
	bool foreign;				   /* a dead process's */
	uint64_t *delivered, *refused, *no_memory; /* where spans are counted */
};

struct atr_form {
	const char *component; /* otel.component.type; NULL: as the collector's protocol says */
	unsigned bit;	       /* of OTEL_TRACES_EXPORTER; 0: AUTOTRACE_FILE */
	bool collects;	       /* it takes what dead processes left */
	bool remote; /* it waits for somebody's answer: its self begins with an atr_delivery */

	/* NULL without memory. */
	void *(*make)(const struct atr_host *host);
	/* BUSY: step() goes on with it. */
	enum atr_delivery_state (*start)(void *self, const struct atr_form_batch *batch);

	/* As in delivery.h.  A form that is never BUSY has none of these four. */
	enum atr_delivery_state (*step)(void *self, uint64_t until, enum atr_delivery_haste haste);
	uint64_t (*due)(const void *self);
	void (*hurry)(void *self);
	void (*cancel)(void *self);

	/* How many spans, from the front of the batch, are done with since the last call though
	 * the batch is not; NULL: it is taken whole or not at all. */
	size_t (*done)(void *self);

	void (*free)(void *self);

	/* Did it give up the last batch, a dead process's, because that was refused?  NULL: never.
	 */
	bool (*refused)(const void *self);

	/* Where it leads, as it may be shown. */
	const char *(*shown)(const void *self);

	/* Why it could not take the last batch that FAILED, as a printable line. */
	const char *(*error)(const void *self);
};

extern const struct atr_form atr_form_otlp, atr_form_zipkin, atr_form_file, atr_form_stdout,
	atr_form_console;

#endif
