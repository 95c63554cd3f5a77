/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_SINK_H
#define ATR_EXPORTER_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exporter/form.h"
#include "exporter/resource.h"

#define ATR_FORMS_MAX 5

/*
 * Where batches go: to each exporter of OTEL_TRACES_EXPORTER, and AUTOTRACE_FILE.
 *
 * The first of them, in the order of the table in sink.c, is the one whose spans are counted
 * as exported, rejected or missed; those of the others are copies.  A batch that nobody
 * took has FAILED and may be started again; one that somebody took is done with, and those
 * who could not take it do not get it again, for then the others would.  So it is with spans in
 * front of it that somebody took though the batch FAILED.
 */
struct atr_sink {
	const struct atr_host *host;
	struct atr_otlp_head head;
	struct atr_resource resource;
	struct atr_sink_form {
		const struct atr_form *form;
		void *self;
		enum atr_delivery_state state;
		size_t n_done;	     /* spans in front of the batch under way that it has */
		uint64_t hold_ns;    /* 0: it took the last batch */
		uint64_t hold_until; /* beside others it is not asked before */
	} forms[ATR_FORMS_MAX];
	unsigned n_forms;
	struct atr_delivery *delivery; /* of the first who answers; NULL: there is none */

	size_t n_spans; /* of the batch under way */
	size_t n_over;	/* of these, from the front, nobody gets any more */
	size_t n_told;	/* of these the caller was told */
	bool foreign;
	uint64_t started;
};

/* False when there is no memory for the least; to be finished all the same. */
bool atr_sink_init(struct atr_sink *sink, const struct atr_host *host);

/*
 * Takes a batch of ScopeSpans fields.  BUSY: atr_sink_step() goes on with
 * it.  FAILED: it is to be counted by the caller.
 */
enum atr_delivery_state atr_sink_start(struct atr_sink *sink, const uint8_t *spans, size_t len,
				       size_t n_spans);

/* The same with spans that are not this process's, for the first exporter alone.  Of the batch
 * its head, its resource and its spans are wanted. */
enum atr_delivery_state atr_sink_start_foreign(struct atr_sink *sink,
					       const struct atr_form_batch *batch);

/*
 * As atr_delivery_step().  crowded: there is no room for what comes next; who has not
 * answered by then, and is not the only one, goes without.
 */
enum atr_delivery_state atr_sink_step(struct atr_sink *sink, uint64_t until,
				      enum atr_delivery_haste haste, bool crowded);

/* As atr_delivery_done(), with how it went for the first of them. */
size_t atr_sink_part(struct atr_sink *sink, struct atr_outcome *ret);

/* When the collector, which is all there is, wants the next batch at the earliest; 0: at once. */
uint64_t atr_sink_patience(const struct atr_sink *sink);

/* As atr_delivery_due() and its like. */
uint64_t atr_sink_due(const struct atr_sink *sink);
void atr_sink_hurry(struct atr_sink *sink);
void atr_sink_cancel(struct atr_sink *sink);

/* The whole batch is on its way, and to nobody else. */
bool atr_sink_sent(const struct atr_sink *sink);
void atr_sink_on_sent(struct atr_sink *sink, void (*sent)(void *arg), void *arg);

/* Where spans go, to be shown, and how the last batch ended: of the first exporter. */
const char *atr_sink_shown(const struct atr_sink *sink);
struct atr_outcome atr_sink_outcome(const struct atr_sink *sink);

/* Tells how the last batch ended; what the first exporter says itself, if it is one that answers,
 * it has told.  Meanwhile what is wrong with the others can be told. */
void atr_sink_tell(const struct atr_sink *sink, struct atr_health *health);
void atr_sink_tell_others(const struct atr_sink *sink, struct atr_health *health);

/* The last foreign batch FAILED because it was refused: others may be taken. */
bool atr_sink_refused(const struct atr_sink *sink);

/* otel.component.type of the first exporter. */
const char *atr_sink_component(const struct atr_sink *sink);

/* Does it take what dead processes left?  The console does not, but when it is all there is to do.
 */
bool atr_sink_collects(const struct atr_sink *sink);

/*
 * At the end: spans that nobody will be asked to take any more, but who takes at once beside
 * one who does not.  What that one misses stays where it is.
 */
bool atr_sink_has_copies(const struct atr_sink *sink);
void atr_sink_copy_rest(struct atr_sink *sink, const uint8_t *spans, size_t len, size_t n_spans);

/* Tells of n spans that were left when the program ended, if that was not told yet. */
void atr_sink_say_unsent(struct atr_sink *sink, uint64_t n_spans);

void atr_sink_finish(struct atr_sink *sink);

#endif
