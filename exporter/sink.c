/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/sink.h"

#include <string.h>

#include "exporter/health.h"
#include "preload/host.h"

#define NS_PER_MS 1000000u
#define HOLD_MIN_NS (500 * NS_PER_MS) /* of one who failed beside others, doubled each time */
#define HOLD_MAX_NS (10000 * NS_PER_MS)
#define CROWDED_NS (1000 * NS_PER_MS) /* longest that one who does not answer holds up others */

/* The first one that is asked for is the one that counts. */
static const struct atr_form *const all[ATR_FORMS_MAX] = {
	&atr_form_otlp, &atr_form_zipkin, &atr_form_file, &atr_form_stdout, &atr_form_console,
};

/* ---- the sink ---- */

static void use_resource(struct atr_sink *sink)
{
	const struct atr_host *host = sink->host;
	const struct atr_config *c = host->config;
	char shown[256];

	if (!atr_resource_build(&sink->resource, c->resource_attributes, c->service_name)) {
		(void)atr_escape(shown, sizeof(shown), c->resource_attributes,
				 strlen(c->resource_attributes));
		host->log(ATR_LOG_WARN,
			  "OTEL_RESOURCE_ATTRIBUTES: \"%s\" cannot be read as key=value,key=value; "
			  "none of it is used",
			  shown);
	}
	if (atr_otlp_head_init(&sink->head, &sink->resource) != 0 || sink->resource.failed)
		host->log(ATR_LOG_ERROR, "out of memory: resource attributes are missing");
	else
		host->resource(sink->head.resource.bytes, sink->head.resource.len);
}

static bool wanted(const struct atr_config *c, const struct atr_form *form)
{
	return form->bit ? (c->exporters & form->bit) != 0 : c->file != NULL;
}

bool atr_sink_init(struct atr_sink *sink, const struct atr_host *host)
{
	*sink = (struct atr_sink){ .host = host };
	use_resource(sink);
	for (size_t i = 0; i < ATR_FORMS_MAX; i++) {
		struct atr_sink_form *f = &sink->forms[sink->n_forms];

		if (!wanted(host->config, all[i]))
			continue;
		*f = (struct atr_sink_form){
			.form = all[i],
			.self = all[i]->make(host),
			.state = ATR_DELIVERY_DONE,
		};
		if (!f->self)
			return false;
		if (all[i]->remote && !sink->delivery)
			sink->delivery = f->self;
		else if (all[i]->remote)
			((struct atr_delivery *)f->self)->beside = true;
		sink->n_forms++;
	}
	return true;
}

bool atr_sink_collects(const struct atr_sink *sink)
{
	return sink->n_forms && sink->forms[0].form->collects;
}

/* ---- one batch ---- */

static bool started(const struct atr_sink *sink, unsigned i)
{
	return i == 0 || !sink->foreign;
}

/* Where what form i takes of the batch is counted. */
static void count_at(const struct atr_sink *sink, unsigned i, struct atr_form_batch *b)
{
	struct atr_stats *s = sink->host->stats;

	b->delivered = i ? &s->copied : b->foreign ? &s->adopted : &s->exported;
	b->refused = i ? &s->copies_lost : b->foreign ? &s->adopted_refused : &s->rejected;
	b->no_memory = i ? &s->copies_lost : &s->no_memory;
}

/* Spans in front of the batch that it has since the last call, or counted otherwise. */
static size_t done_by(struct atr_sink_form *f, size_t n_spans)
{
	size_t n = f->form->done ? f->form->done(f->self) : 0;

	return n < n_spans ? n : n_spans;
}

/* Up to there the batch is over.  Who does not have it goes without. */
static void over(struct atr_sink *sink, size_t upto)
{
	struct atr_stats *s = sink->host->stats;

	for (unsigned i = 0; i < sink->n_forms; i++) {
		const struct atr_sink_form *f = &sink->forms[i];

		if (started(sink, i) && f->state == ATR_DELIVERY_FAILED && f->n_done < upto)
			atr_add(i ? &s->copies_lost : &s->missed, upto - f->n_done);
	}
	sink->n_over = upto;
}

static void hold(struct atr_sink *sink, struct atr_sink_form *f)
{
	if (sink->n_forms == 1)
		return;
	f->hold_ns = f->hold_ns ? 2 * f->hold_ns : HOLD_MIN_NS;
	if (f->hold_ns > HOLD_MAX_NS)
		f->hold_ns = HOLD_MAX_NS;
	f->hold_until = sink->host->now() + f->hold_ns;
	if (f->form->remote && f->hold_until < ((struct atr_delivery *)f->self)->patience)
		f->hold_until = ((struct atr_delivery *)f->self)->patience;
}

/* BUSY while anybody is; DONE when anybody took it. */
static enum atr_delivery_state outcome(struct atr_sink *sink)
{
	unsigned n_busy = 0, n_done = 0;
	size_t most = 0;

	for (unsigned i = 0; i < sink->n_forms && started(sink, i); i++) {
		struct atr_sink_form *f = &sink->forms[i];

		f->n_done += done_by(f, sink->n_spans - f->n_done);
		if (f->n_done > most)
			most = f->n_done;
		n_busy += f->state == ATR_DELIVERY_BUSY;
		n_done += f->state == ATR_DELIVERY_DONE;
	}
	if (n_busy) {
		sink->n_over = sink->forms[0].n_done;
		return ATR_DELIVERY_BUSY;
	}
	if (n_done)
		most = sink->n_spans;
	over(sink, most);
	return most == sink->n_spans ? ATR_DELIVERY_DONE : ATR_DELIVERY_FAILED;
}

static void note(struct atr_sink *sink, struct atr_sink_form *f, enum atr_delivery_state state)
{
	f->state = state;
	if (state == ATR_DELIVERY_FAILED)
		hold(sink, f);
	else if (state == ATR_DELIVERY_DONE)
		f->hold_ns = f->hold_until = 0;
}

static enum atr_delivery_state start(struct atr_sink *sink, struct atr_form_batch *b)
{
	uint64_t now = sink->host->now();

	sink->n_spans = b->n_spans;
	sink->n_over = sink->n_told = 0;
	sink->foreign = b->foreign;
	sink->started = now;
	for (unsigned i = 0; i < sink->n_forms && started(sink, i); i++) {
		struct atr_sink_form *f = &sink->forms[i];

		f->n_done = 0;
		if (now < f->hold_until) {
			f->state = ATR_DELIVERY_FAILED;
			continue;
		}
		count_at(sink, i, b);
		note(sink, f, f->form->start(f->self, b));
	}
	return outcome(sink);
}

enum atr_delivery_state atr_sink_start(struct atr_sink *sink, const uint8_t *spans, size_t len,
				       size_t n_spans)
{
	struct atr_form_batch b = {
		.head = &sink->head,
		.resource = &sink->resource,
		.spans = spans,
		.len = len,
		.n_spans = n_spans,
	};

	return start(sink, &b);
}

enum atr_delivery_state atr_sink_start_foreign(struct atr_sink *sink,
					       const struct atr_form_batch *batch)
{
	struct atr_form_batch b = *batch;

	b.foreign = true;
	return start(sink, &b);
}

static bool busy(const struct atr_sink *sink, unsigned i)
{
	return started(sink, i) && sink->forms[i].state == ATR_DELIVERY_BUSY;
}

static bool anybody_has_it(const struct atr_sink *sink)
{
	for (unsigned i = 0; i < sink->n_forms; i++)
		if (started(sink, i) && sink->forms[i].state == ATR_DELIVERY_DONE)
			return true;
	return false;
}

enum atr_delivery_state atr_sink_step(struct atr_sink *sink, uint64_t until,
				      enum atr_delivery_haste haste, bool crowded)
{
	for (unsigned i = 0; i < sink->n_forms; i++) {
		struct atr_sink_form *f = &sink->forms[i];

		if (!busy(sink, i))
			continue;
		note(sink, f, f->form->step(f->self, until, haste));
		if (f->state == ATR_DELIVERY_BUSY && crowded && anybody_has_it(sink) &&
		    sink->host->now() - sink->started > CROWDED_NS) {
			f->form->cancel(f->self);
			note(sink, f, ATR_DELIVERY_FAILED);
		}
	}
	return outcome(sink);
}

size_t atr_sink_part(struct atr_sink *sink, struct atr_outcome *ret)
{
	size_t n = sink->n_over - sink->n_told;

	sink->n_told = sink->n_over;
	if (n && sink->forms[0].n_done < sink->n_over)
		*ret = atr_sink_outcome(sink); /* it goes without */
	else if (n)
		*ret = sink->delivery ? sink->delivery->part_outcome : (struct atr_outcome){ 0 };
	return n;
}

uint64_t atr_sink_patience(const struct atr_sink *sink)
{
	return sink->n_forms == 1 && sink->delivery ? sink->delivery->patience : 0;
}

uint64_t atr_sink_due(const struct atr_sink *sink)
{
	uint64_t due = UINT64_MAX;

	for (unsigned i = 0; i < sink->n_forms; i++) {
		const struct atr_sink_form *f = &sink->forms[i];
		uint64_t at = busy(sink, i) ? f->form->due(f->self) : UINT64_MAX;

		if (at < due)
			due = at;
	}
	return due;
}

void atr_sink_hurry(struct atr_sink *sink)
{
	for (unsigned i = 0; i < sink->n_forms; i++)
		if (busy(sink, i))
			sink->forms[i].form->hurry(sink->forms[i].self);
}

void atr_sink_cancel(struct atr_sink *sink)
{
	bool any = false;

	for (unsigned i = 0; i < sink->n_forms; i++) {
		if (!busy(sink, i))
			continue;
		sink->forms[i].form->cancel(sink->forms[i].self);
		sink->forms[i].state = ATR_DELIVERY_FAILED;
		any = true;
	}
	if (any)
		over(sink, sink->n_over);
}

bool atr_sink_sent(const struct atr_sink *sink)
{
	for (unsigned i = 0; i < sink->n_forms; i++)
		if (busy(sink, i) && sink->forms[i].self != sink->delivery)
			return false;
	return sink->delivery && atr_delivery_sent(sink->delivery);
}

void atr_sink_on_sent(struct atr_sink *sink, void (*sent)(void *arg), void *arg)
{
	if (!sink->delivery)
		return;
	sink->delivery->http.on_sent = sent;
	sink->delivery->http.on_sent_arg = arg;
}

const char *atr_sink_shown(const struct atr_sink *sink)
{
	return sink->n_forms ? sink->forms[0].form->shown(sink->forms[0].self) : "nowhere";
}

const char *atr_sink_component(const struct atr_sink *sink)
{
	static const char *const types[] = {
		[ATR_PROTOCOL_HTTP_PROTOBUF] = "otlp_http_span_exporter",
		[ATR_PROTOCOL_HTTP_JSON] = "otlp_http_json_span_exporter",
		[ATR_PROTOCOL_GRPC] = "otlp_grpc_span_exporter",
	};
	const char *other = sink->n_forms ? sink->forms[0].form->component : NULL;

	return other || !sink->delivery ? other : types[sink->delivery->endpoint.protocol];
}

struct atr_outcome atr_sink_outcome(const struct atr_sink *sink)
{
	bool lost = sink->n_forms && sink->forms[0].state == ATR_DELIVERY_FAILED;

	if (sink->delivery)
		return sink->delivery->outcome;
	return (struct atr_outcome){ .error = lost ? "_OTHER" : NULL };
}

void atr_sink_tell_others(const struct atr_sink *sink, struct atr_health *health)
{
	for (unsigned i = 1; i < sink->n_forms && started(sink, i); i++) {
		const struct atr_sink_form *f = &sink->forms[i];
		const char *why = f->form->error(f->self);

		if (f->state == ATR_DELIVERY_FAILED || (f->state == ATR_DELIVERY_BUSY && why[0]))
			atr_health_other(health, f->form->shown(f->self),
					 why[0] ? why : "no answer in time");
	}
}

void atr_sink_tell(const struct atr_sink *sink, struct atr_health *health)
{
	const struct atr_sink_form *f = &sink->forms[0];

	if (sink->n_forms && !sink->delivery && f->state == ATR_DELIVERY_FAILED)
		atr_health_error(health, f->form->error(f->self));
	else if (sink->n_forms && !sink->delivery && f->state == ATR_DELIVERY_DONE)
		atr_health_ok(health);
	atr_sink_tell_others(sink, health);
}

bool atr_sink_refused(const struct atr_sink *sink)
{
	const struct atr_sink_form *f = &sink->forms[0];

	return sink->n_forms && sink->foreign && f->form->refused && f->form->refused(f->self);
}

/* ---- the end ---- */

bool atr_sink_has_copies(const struct atr_sink *sink)
{
	bool remote = false, local = false;

	for (unsigned i = 0; i < sink->n_forms; i++) {
		remote = remote || sink->forms[i].form->remote;
		local = local || !sink->forms[i].form->remote;
	}
	return remote && local;
}

void atr_sink_copy_rest(struct atr_sink *sink, const uint8_t *spans, size_t len, size_t n_spans)
{
	struct atr_form_batch b = {
		.head = &sink->head,
		.resource = &sink->resource,
		.spans = spans,
		.len = len,
		.n_spans = n_spans,
	};

	for (unsigned i = 0; i < sink->n_forms; i++) {
		struct atr_sink_form *f = &sink->forms[i];

		if (f->form->remote)
			continue;
		count_at(sink, i, &b);
		if (f->form->start(f->self, &b) == ATR_DELIVERY_DONE)
			continue;
		if (f->form->cancel)
			f->form->cancel(f->self);
		atr_add(&sink->host->stats->copies_lost, n_spans - done_by(f, n_spans));
	}
}

void atr_sink_say_unsent(struct atr_sink *sink, uint64_t n_spans)
{
	if (sink->delivery)
		atr_delivery_say_unsent(sink->delivery, n_spans);
}

void atr_sink_finish(struct atr_sink *sink)
{
	for (unsigned i = 0; i < sink->n_forms; i++)
		sink->forms[i].form->free(sink->forms[i].self);
	sink->n_forms = 0;
	sink->delivery = NULL;
	atr_otlp_head_finish(&sink->head);
	atr_resource_finish(&sink->resource);
}
