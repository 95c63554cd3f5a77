/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop of the background thread: wait, drain the rings into the queue, send
 * the front of the queue as a batch, and so on until STOP.
 *
 * A batch goes out when the queue holds a full one, when the schedule delay is
 * over, or at a flush, and only when the one before is done with.  While that is
 * under way the rings are still drained, until the queue is full; then they fill,
 * and the program's threads drop and count.
 *
 * A flush is done when every span that was in a ring when it was seen has left
 * the queue, or its time is up, or the collector does not answer.
 *
 * A record is settled when its batch was delivered or given up, and only then.  A process
 * that is killed meanwhile leaves it in the spool; one that is wholly on its way is marked, for
 * what the kernel has it delivers even so.  If it takes much longer than usual to be answered the
 * mark is taken back: a collector that hangs has received nothing.
 *
 * Between batches of its own it sends what dead processes left (orphan.c), from its first tick on:
 * a program that ends before comes to its own first.
 *
 * Between two sleeps everything here hangs from atr_exporter_run()'s frame, as
 * host.h asks: after a fork the child's run() begins with nothing.
 */
#include "exporter/exporter.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "exporter/batch.h"
#include "exporter/code.h"
#include "exporter/health.h"
#include "exporter/jaeger-remote.h"
#include "exporter/keep.h"
#include "exporter/limits.h"
#include "exporter/orphan.h"
#include "exporter/reader.h"
#include "exporter/replay.h"
#include "exporter/sink.h"
#include "exporter/tally.h"

#define NS_PER_MS 1000000u
#define SLICE_NS (10 * NS_PER_MS)     /* longest sleep that does not notice requests */
#define TICK_MIN_NS (10 * NS_PER_MS)  /* a schedule delay of 0 is not a busy loop */
#define CANDIDATES 256		      /* taken at a time */
#define PASSES_MAX 64		      /* and so often, before anything else has its turn */
#define MARGIN_NS (10 * NS_PER_MS)    /* a flush ends so long before its deadline */
#define ORPHANS_NS (100 * NS_PER_MS)  /* of an end, in which batches of theirs are begun */
#define HOLD_MIN_NS (500 * NS_PER_MS) /* after a batch that nobody took, doubled each time */
#define HOLD_MAX_NS (10000 * NS_PER_MS)
#define REFUSED_NS (60000ull * NS_PER_MS)  /* until what was refused is tried again */
#define REFUSED_MAX 8			   /* files of theirs that are tried beyond the first */
#define ANSWER_FIRST_NS (1000 * NS_PER_MS) /* of a collector that has not answered yet */
#define ANSWER_MIN_NS (1000 * NS_PER_MS)
#define ANSWER_MAX_NS (5000 * NS_PER_MS)

struct exporter {
	const struct atr_host *host;
	struct atr_batch queue;
	struct atr_code code;
	struct atr_limits limits;
	struct atr_sink sink;
	struct atr_tally tally;
	struct atr_reader readers[2];
	struct atr_jaeger jaeger;
	struct atr_keep keep;
	bool resource_said; /* to the spool */
	bool sending;	    /* a delivery is under way */

	struct atr_buf flight; /* the places of its spans */
	struct atr_orphans orphans;
	size_t n_spans;	     /* of it */
	uint64_t n_copied;   /* in the end, to those beside the collector */
	bool foreign;	     /* it is of theirs */
	bool last_foreign;   /* so was the last one */
	unsigned n_refused;  /* of their files since the last scan */
	bool scanned;	     /* for them, once at least */
	uint64_t scan_after; /* the next one is not before: some were refused */
	uint64_t shipped_at; /* all of it was; 0: not yet, or nobody has answered */
	uint64_t sent_at;    /* the same, whether it counts or not */

	uint64_t hold_ns;    /* 0: the last batch was taken */
	uint64_t hold_until; /* nothing is sent before, but by a flush */
	uint64_t tick_ns;
	uint64_t tick;	  /* when all that is queued becomes due */
	uint64_t send_to; /* spans are due up to here (of queue.pushed) */

	unsigned wake;	   /* what was asked for and is not done: FLUSH, STOP */
	uint64_t flush_by; /* when the flush has to be over */
	uint64_t flush_to; /* the spans it is about (of queue.pushed); UINT64_MAX = not known yet */
	bool given_up;	   /* the collector did not answer during this flush */
};

/* ---- rings to queue ---- */

static void take(void *arg, const struct atr_record *record, const struct atr_place *place)
{
	struct exporter *x = arg;
	uint64_t until = x->wake & ATR_WAKE_FLUSH ? x->flush_by : UINT64_MAX;
	const uint8_t *span = record->span;
	size_t len = record->span_len;

	if (record->n_addrs) {
		const struct atr_buf *named = atr_code_span(&x->code, record, until);

		span = named ? named->bytes : NULL;
		len = named ? named->len : 0;
	}
	if (span)
		span = atr_limits_apply(&x->limits, span, &len);
	if (!span || !atr_batch_push(&x->queue, span, len, place)) {
		atr_add(&x->host->stats->no_memory, 1);
		x->host->queued(-1);
		x->host->settle(place, ATR_SETTLED);
	}
}

/* ---- candidates ---- */

/* There was no file yet when the resource became known: what was sampled made none. */
static void say_resource(struct exporter *x)
{
	const struct atr_buf *r = &x->sink.head.resource;

	if (x->resource_said || !x->host->spool_dir())
		return;
	x->host->resource(r->bytes, r->len);
	x->resource_said = true;
}

static void hold_back(void *arg, const struct atr_record *record, const struct atr_place *place)
{
	struct exporter *x = arg;

	(void)place;
	atr_keep_take(&x->keep, record, x->host->now());
}

/* What is kept goes back into a ring, and comes out of it with all others. */
static void give_kept(struct exporter *x)
{
	const struct atr_record *record;
	uint8_t attr[ATR_RECORD_SPARE];
	const char *why;

	while ((record = atr_keep_next(&x->keep, &why))) {
		x->host->keep(record, attr, atr_keep_say(attr, why));
		atr_keep_pop(&x->keep);
	}
	say_resource(x);
}

/* They wait for no collector.  True when their rings were seen empty. */
static bool drain_candidates(struct exporter *x)
{
	bool empty = false;

	for (int i = 0; i < PASSES_MAX && !empty; i++) {
		empty = x->host->candidates(CANDIDATES, hold_back, x) < CANDIDATES;
		give_kept(x);
	}
	if (empty)
		atr_keep_round(&x->keep, x->host->now());
	return empty;
}

/* Drains what the queue has room for; true when the rings were seen empty. */
static bool drain(struct exporter *x)
{
	bool empty = drain_candidates(x);
	size_t room;

	while ((room = atr_batch_room(&x->queue)) > 0) {
		if (x->host->drain(room, take, x) < room)
			break;
	}
	return room > 0 && empty;
}

/* ---- queue to collector ---- */

static size_t in_flight(const struct exporter *x)
{
	return x->flight.len / sizeof(struct atr_place);
}

/* What became of the first n spans of the batch. */
static void settle_first(struct exporter *x, size_t n, enum atr_settled what)
{
	struct atr_place *places = (struct atr_place *)(void *)x->flight.bytes;

	if (x->foreign)
		atr_orphans_settle(&x->orphans, n, what);
	if (n > in_flight(x))
		n = in_flight(x);
	for (size_t i = 0; i < n; i++)
		x->host->settle(&places[i], what);
	if (what != ATR_SETTLED || !n)
		return;
	x->flight.len -= n * sizeof(*places);
	memmove(places, places + n, x->flight.len);
}

static void settle(struct exporter *x, enum atr_settled what)
{
	settle_first(x, SIZE_MAX, what);
}

/* Nobody answers: it counts as not sent, until it is sent again. */
static void unmark(struct exporter *x)
{
	if (!x->shipped_at)
		return;
	settle(x, ATR_BACK);
	x->shipped_at = 0;
}

/* A part of the batch, that was too large in one or that another exporter has, is done with:
 * whatever comes, it is not sent again. */
static void settle_part(struct exporter *x, enum atr_delivery_state state)
{
	struct atr_outcome outcome;
	size_t n = atr_sink_part(&x->sink, &outcome);

	if (!n || state == ATR_DELIVERY_DONE)
		return;
	if (state == ATR_DELIVERY_FAILED)
		unmark(x); /* of those that another exporter does not have */
	if (!x->foreign)
		atr_tally_part(&x->tally, n, &outcome, x->host->now());
	settle_first(x, n, ATR_SETTLED);
	x->n_spans -= n < x->n_spans ? n : x->n_spans;
	x->shipped_at = 0;
}

/* Whatever is not settled stays in the rings, and will be drained again. */
static void put_back(struct exporter *x)
{
	unmark(x);
	x->host->queued((int64_t)in_flight(x));
	atr_buf_reset(&x->flight);
	atr_batch_clear(&x->queue);
	x->send_to = x->queue.pushed;
	x->host->rewind();
}

/* How long the collector takes to answer, smoothed; 0: not known.  A forked child knows it, too. */
static uint64_t usual_answer;

static void note_answer(uint64_t took)
{
	usual_answer = usual_answer ? usual_answer - usual_answer / 8 + took / 8 : took;
}

static uint64_t patience(void)
{
	uint64_t ns = usual_answer ? 8 * usual_answer : ANSWER_FIRST_NS;

	return ns < ANSWER_MIN_NS ? ANSWER_MIN_NS : ns > ANSWER_MAX_NS ? ANSWER_MAX_NS : ns;
}

/* Its retries were in vain: the next attempt is a while away. */
static void hold(struct exporter *x)
{
	uint64_t now = x->host->now();

	x->hold_ns = x->hold_ns ? 2 * x->hold_ns : HOLD_MIN_NS;
	if (x->hold_ns > HOLD_MAX_NS)
		x->hold_ns = HOLD_MAX_NS;
	x->hold_until = now + x->hold_ns;
	if (x->hold_until < atr_sink_patience(&x->sink))
		x->hold_until = atr_sink_patience(&x->sink);
	atr_store(&x->host->health->hold_until, atr_wall_clock() + (x->hold_until - now));
}

/* The collector named the time: that holds for a flush, and for other people's spans, too. */
static bool told_to_wait(const struct exporter *x)
{
	return x->host->now() < atr_sink_patience(&x->sink);
}

static bool holds(const struct exporter *x)
{
	if (told_to_wait(x))
		return true;
	return x->hold_until && !(x->wake & ATR_WAKE_FLUSH) && x->host->now() < x->hold_until;
}

/* ---- what is known of it outside ---- */

/* For `autotrace status`. */
static void tell(const struct exporter *x)
{
	struct atr_health *h = x->host->health;

	h->queued = atr_batch_len(&x->queue);
	h->queue_max = x->queue.max_spans;
	h->inflight = x->sending ? x->n_spans : 0;
	h->backlog = atr_orphans_files(&x->orphans);
	if (x->sending)
		atr_sink_tell_others(&x->sink, h);
}

static void tell_endpoint(const struct exporter *x)
{
	struct atr_health *h = x->host->health;

	(void)snprintf(h->endpoint, sizeof(h->endpoint), "%s", atr_sink_shown(&x->sink));
}

/* A batch is over; `back`: its spans are to be sent again. */
static void tell_outcome(struct exporter *x, bool back)
{
	struct atr_outcome o = atr_sink_outcome(&x->sink);

	if (!x->foreign)
		atr_tally_end(&x->tally, &o, back, x->host->now());
	atr_sink_tell(&x->sink, x->host->health);
	atr_store(&x->host->health->hold_until, 0);
}

/* One that is refused does not keep those behind it waiting; with nobody there all wait. */
static void leave_orphans(struct exporter *x)
{
	bool refused = atr_sink_refused(&x->sink);

	if (refused)
		x->scan_after = x->host->now() + REFUSED_NS;
	if (refused && (x->n_refused++ < REFUSED_MAX || x->host->orphans_only))
		atr_orphans_skip(&x->orphans);
	else
		atr_orphans_let_go(&x->orphans);
}

/* The batch was delivered (or refused, which is as final), or nobody took it. */
static void batch_over(struct exporter *x, enum atr_delivery_state state)
{
	bool lost = state == ATR_DELIVERY_FAILED;

	x->sending = false;
	tell_outcome(x, lost && in_flight(x));
	if (!lost)
		x->hold_ns = x->hold_until = 0;
	if (!lost && x->sent_at)
		note_answer(x->host->now() - x->sent_at);
	x->sent_at = 0;
	if (lost && x->foreign) {
		unmark(x);
		if (x->host->orphans_only)
			atr_add(&x->host->stats->left, x->orphans.n_spans);
		leave_orphans(x);
	} else if (lost && in_flight(x)) {
		put_back(x); /* until the rings are full: then what is new is dropped */
		hold(x);
	} else {
		if (lost) /* their places were not kept, for want of memory */
			atr_add(&x->host->stats->failed, x->n_spans);
		settle(x, ATR_SETTLED);
	}
	if (lost && !atr_sink_refused(&x->sink) && x->wake & ATR_WAKE_FLUSH)
		x->given_up = true;
	x->foreign = false;
	x->shipped_at = 0;
}

/* Is it time for the next batch? */
static bool due(const struct exporter *x)
{
	size_t n = atr_batch_len(&x->queue);

	if (x->sending || x->given_up || !n || holds(x))
		return false;
	return n >= x->queue.max_batch || x->queue.popped < x->send_to ||
	       atr_batch_room(&x->queue) == 0;
}

static void begin_batch(struct exporter *x, enum atr_delivery_state state)
{
	x->shipped_at = 0;
	x->sending = state == ATR_DELIVERY_BUSY;
	x->last_foreign = x->foreign;
	if (x->sending)
		return;
	settle_part(x, state);
	batch_over(x, state);
}

static void send_batch(struct exporter *x)
{
	const uint8_t *spans;
	size_t len;
	size_t n = atr_batch_front(&x->queue, &spans, &len);

	x->foreign = false;
	x->n_spans = n;
	atr_tally_begin(&x->tally, n, x->host->now());
	atr_buf_reset(&x->flight);
	atr_buf_add(&x->flight, atr_batch_places(&x->queue), n * sizeof(struct atr_place));
	if (x->flight.failed) { /* then they are settled before their time */
		for (size_t i = 0; i < n; i++)
			x->host->settle(&atr_batch_places(&x->queue)[i], ATR_SETTLED);
		atr_buf_reset(&x->flight);
	}
	x->host->queued(-(int64_t)n);
	begin_batch(x, atr_sink_start(&x->sink, spans, len, n));
	if (atr_batch_len(&x->queue)) /* it was not put back */
		atr_batch_pop(&x->queue, n, len);
}

static bool orphans_due(const struct exporter *x)
{
	return !x->sending && atr_orphans_any(&x->orphans) && !told_to_wait(x);
}

/* Can there be an answer by then, if it takes no longer than usual? */
static bool would_be_answered(const struct exporter *x, uint64_t until)
{
	uint64_t now = x->host->now(), ns = usual_answer ? usual_answer : ORPHANS_NS;

	return until > now && until - now > ns + ns / 4;
}

/* A batch of a dead process's, if there can be an answer by then.  A file without one goes. */
static void send_orphans(struct exporter *x, uint64_t until)
{
	struct atr_orphans *o = &x->orphans;
	size_t n = atr_orphans_next(o, x->queue.max_batch);

	if (!n || !would_be_answered(x, until))
		return;
	x->foreign = true;
	x->n_spans = n;
	begin_batch(x, atr_sink_start_foreign(&x->sink, &(struct atr_form_batch){
								.head = &o->head,
								.resource = &o->resource,
								.spans = o->spans.bytes,
								.len = o->spans.len,
								.n_spans = n,
							}));
}

/* The last of the request goes to the kernel the next moment: what is in it is marked. */
static void shipped(void *arg)
{
	struct exporter *x = arg;

	if (!x->sending)
		return;
	settle_first(x, atr_delivery_part(x->sink.delivery), ATR_SHIPPED);
	x->shipped_at = x->sent_at = x->host->now();
}

/* The mark is taken back when an attempt has failed, or nobody answers. */
static void mark(struct exporter *x)
{
	if (!atr_sink_sent(&x->sink) || x->host->now() - x->shipped_at > patience())
		unmark(x);
}

/* ---- metrics ---- */

static void collect(const struct exporter *x, struct atr_numbers *ret)
{
	struct atr_counts counts;

	x->host->count(&counts);
	*ret = (struct atr_numbers){
		.queue_size = counts.waiting,
		.queue_capacity = x->queue.max_spans,
		.queue_full = atr_load(&x->host->stats->ring_full) +
			      atr_load(&x->host->stats->queue_full),
		.tally = x->tally,
	};
	_Static_assert(sizeof(ret->started) == sizeof(counts.started), "the same table");
	memcpy(ret->started, counts.started, sizeof(ret->started));
	memcpy(ret->live, counts.live, sizeof(ret->live));
}

/* Nothing waits for them. */
static void send_metrics(struct exporter *x)
{
	uint64_t now = x->host->now();
	struct atr_numbers numbers;

	for (size_t i = 0; i < ATR_ARRAY_LEN(x->readers); i++) {
		if (!atr_reader_wants(&x->readers[i], now))
			continue;
		collect(x, &numbers);
		atr_reader_step(&x->readers[i], &x->sink.head, &numbers, now);
	}
}

static void send_last_metrics(struct exporter *x)
{
	struct atr_numbers numbers;

	/* Nobody waits for the console, which is the first. */
	for (size_t i = 0; i < ATR_ARRAY_LEN(x->readers); i++) {
		if (x->readers[i].to == ATR_READER_OFF)
			continue;
		collect(x, &numbers);
		atr_reader_end(&x->readers[i], &x->sink.head, &numbers, x->flush_by);
	}
}

static enum atr_delivery_haste haste(const struct exporter *x)
{
	if (!(x->wake & ATR_WAKE_FLUSH))
		return ATR_HASTE_NONE;
	return x->wake & ATR_WAKE_STOP ? ATR_HASTE_STOP : ATR_HASTE_FLUSH;
}

static void deliver(struct exporter *x)
{
	uint64_t until = x->wake & ATR_WAKE_FLUSH ? x->flush_by : UINT64_MAX;
	bool crowded = !atr_batch_room(&x->queue);
	enum atr_delivery_state state = atr_sink_step(&x->sink, until, haste(x), crowded);

	settle_part(x, state);
	if (state == ATR_DELIVERY_BUSY)
		mark(x);
	else
		batch_over(x, state);
}

/* ---- waiting ---- */

static void sleep_until(struct exporter *x, uint64_t until)
{
	uint64_t now = x->host->now();
	uint64_t left = until > now ? until - now : 0;

	if (left > SLICE_NS)
		left = SLICE_NS;
	if (left)
		(void)x->host->sleep_fds(NULL, 0, (int)((left + NS_PER_MS - 1) / NS_PER_MS));
}

static void scan(struct exporter *x)
{
	x->scanned = true;
	atr_orphans_scan(&x->orphans);
}

/* Waits for whatever comes next: a request of the host, the tick, the next attempt. */
static unsigned rest(struct exporter *x)
{
	uint64_t until = x->sending ? atr_sink_due(&x->sink) : x->tick, metrics;

	if (until > x->tick && atr_batch_room(&x->queue))
		until = x->tick;
	for (size_t i = 0; i < ATR_ARRAY_LEN(x->readers); i++) {
		metrics = atr_reader_due(&x->readers[i], x->host->now());
		if (until > metrics)
			until = metrics;
	}
	if (until > atr_jaeger_due(&x->jaeger))
		until = atr_jaeger_due(&x->jaeger);
	if (due(x) || until <= x->host->now() || orphans_due(x))
		return x->host->pending();
	if (atr_batch_room(&x->queue))
		return x->host->wait(
			until, x->sending || x->given_up || holds(x) ? 0 : x->queue.max_batch);
	/* With the queue full a ring's call cannot be answered: not to be woken by it. */
	sleep_until(x, until);
	return x->host->pending();
}

static void tick(struct exporter *x)
{
	uint64_t now = x->host->now();

	if (now < x->tick)
		return;
	x->tick = now + x->tick_ns;
	x->send_to = x->queue.pushed;
	atr_code_rest(&x->code);
	x->host->sampler_say();
	if (!x->foreign && now >= x->scan_after && atr_sink_collects(&x->sink)) {
		x->n_refused = 0;
		scan(x);
	}
}

/* ---- flush ---- */

/* Its own come first: a batch of theirs that is not wholly on its way can wait. */
static void put_off_orphans(struct exporter *x)
{
	if (!x->sending || !x->foreign || atr_sink_sent(&x->sink))
		return;
	atr_sink_cancel(&x->sink);
	unmark(x);
	atr_orphans_let_go(&x->orphans);
	x->sending = x->foreign = false;
	x->sent_at = 0;
}

static void begin_flush(struct exporter *x, unsigned wake)
{
	uint64_t deadline = x->host->deadline();

	put_off_orphans(x);
	x->wake = wake;
	x->flush_by = deadline > MARGIN_NS ? deadline - MARGIN_NS : 0;
	x->flush_to = UINT64_MAX;
	x->given_up = !x->sending && atr_sink_patience(&x->sink) >= x->flush_by;
	atr_sink_hurry(&x->sink);
}

static bool flush_over(const struct exporter *x)
{
	uint64_t now = x->host->now();

	if (now >= x->flush_by || x->given_up)
		return true;
	if (x->sending)
		return atr_sink_due(&x->sink) >= x->flush_by;
	return x->queue.popped >= x->flush_to;
}

/* One round of a flush.  Its end is the caller's to notice. */
static void flush(struct exporter *x)
{
	put_off_orphans(x); /* one that was on its way may have been answered: not now */
	if (drain(x) && x->flush_to == UINT64_MAX)
		x->flush_to = x->queue.pushed;
	x->send_to = x->queue.pushed;
	while (due(x) && x->host->now() < x->flush_by)
		send_batch(x);
	if (!x->sending) {
		if (told_to_wait(x))
			sleep_until(x, atr_sink_patience(&x->sink));
		return;
	}
	deliver(x);
	if (x->sending && atr_sink_due(&x->sink) < x->flush_by)
		sleep_until(x, atr_sink_due(&x->sink));
}

/*
 * A program that never lives for a whole tick does its part when it ends, if that is quick.  What
 * it has begun is waited for: without an answer somebody else would send it again.
 */
static void send_orphans_until(struct exporter *x, uint64_t until)
{
	const uint64_t begin_by = x->host->now() + ORPHANS_NS;

	if (!x->scanned && atr_sink_collects(&x->sink))
		scan(x);
	while (x->host->now() < until) {
		if (x->sending && atr_sink_due(&x->sink) >= until)
			return;
		if (x->sending) {
			deliver(x);
			continue;
		}
		if (orphans_due(x))
			send_orphans(x, x->host->now() < begin_by ? until : 0);
		if (!x->sending)
			return;
	}
}

/*
 * Until flushed() the host is not asked again: a request that came meanwhile would
 * be taken for done with this one.
 */
static void run_flush(struct exporter *x, unsigned wake)
{
	begin_flush(x, wake);
	do
		flush(x);
	while (!flush_over(x));
	if (wake & ATR_WAKE_STOP) {
		send_last_metrics(x);
		if (!x->given_up && !x->sending)
			send_orphans_until(x, x->flush_by);
		return; /* the host counts that as flushed when run() is back */
	}
	if (x->foreign)
		atr_orphans_give_up(&x->orphans);
	unmark(x); /* an exec may come next */
	x->given_up = false;
	x->wake = 0;
	x->tick = x->host->now() + x->tick_ns;
	x->host->flushed();
}

/* ---- the whole ---- */

static void init_readers(struct exporter *x)
{
	static const enum atr_METRICS_EXPORTERS order[] = { ATR_METRICS_CONSOLE, ATR_METRICS_OTLP };
	const char *url = x->sink.delivery ? x->sink.delivery->endpoint.url.url : NULL;

	for (size_t i = 0; i < ATR_ARRAY_LEN(x->readers); i++) {
		if (atr_reader_init(&x->readers[i], x->host, order[i], atr_sink_component(&x->sink),
				    url))
			continue;
		x->host->log(ATR_LOG_ERROR, "out of memory: there are no metrics");
		x->readers[i].to = ATR_READER_OFF;
	}
}

/* False when there is no memory for the least. */
static bool init(struct exporter *x, const struct atr_host *host)
{
	const struct atr_config *c = host->config;
	uint64_t tick_ns = (uint64_t)c->bsp_schedule_delay * NS_PER_MS;

	*x = (struct exporter){
		.host = host,
		.tick_ns = tick_ns > TICK_MIN_NS ? tick_ns : TICK_MIN_NS,
	};
	x->tick = host->now() + x->tick_ns;
	if (c->bsp_max_export_batch_size > c->bsp_max_queue_size &&
	    c->bsp_max_export_batch_size_set)
		host->log(ATR_LOG_WARN,
			  "OTEL_BSP_MAX_EXPORT_BATCH_SIZE: \"%u\" is more than the queue holds; "
			  "using %u",
			  c->bsp_max_export_batch_size, c->bsp_max_queue_size);
	atr_code_init(&x->code, host);
	atr_limits_init(&x->limits, c);
	if (!host->orphans_only)
		atr_jaeger_init(&x->jaeger, host);
	atr_keep_init(&x->keep, c->max_traces_per_second, host->stats);
	atr_batch_init(&x->queue, c->bsp_max_queue_size, c->bsp_max_export_batch_size);
	atr_orphans_init(&x->orphans, host);
	if (!atr_sink_init(&x->sink, host))
		return false;
	atr_sink_on_sent(&x->sink, shipped, x);
	tell_endpoint(x);
	init_readers(x);
	return true;
}

/* What the collector will not be asked to take any more is the others' all the same. */
static void copy_rest(struct exporter *x, uint64_t until)
{
	const uint8_t *spans;
	size_t len, n;

	if (!atr_sink_has_copies(&x->sink))
		return;
	do {
		(void)drain(x);
		n = atr_batch_front(&x->queue, &spans, &len);
		if (n)
			atr_sink_copy_rest(&x->sink, spans, len, n);
		atr_batch_pop(&x->queue, n, len);
		x->n_copied += n;
	} while (n && x->host->now() < until);
}

static void take_none(void *arg, const struct atr_record *record, const struct atr_place *place)
{
	(void)arg;
	(void)record;
	(void)place;
}

/* What is left, in the rings too, is told, and for the host to count. */
static void leave(struct exporter *x)
{
	uint64_t n = in_flight(x);

	if (x->foreign) {
		atr_orphans_give_up(&x->orphans);
		batch_over(x, ATR_DELIVERY_FAILED);
	}
	atr_sink_cancel(&x->sink);
	copy_rest(x, x->flush_by);
	x->host->sampler_say();
	(void)drain_candidates(x);
	atr_keep_end(&x->keep);
	n += atr_batch_len(&x->queue) + x->n_copied;
	n += x->host->drain(SIZE_MAX, take_none, NULL);
	put_back(x);
	atr_sink_say_unsent(&x->sink, n);
}

static void loop(struct exporter *x)
{
	while (!(x->wake & ATR_WAKE_STOP)) {
		unsigned wake;

		tell(x);
		wake = rest(x);
		if (wake & ATR_WAKE_FLUSH) {
			run_flush(x, wake);
			continue;
		}
		/* Where much fails they are looked at now and then, not one by one. */
		if (wake == ATR_WAKE_CANDIDATES && !x->sending)
			sleep_until(x, x->host->now() + SLICE_NS);
		(void)drain(x);
		if (wake & ATR_WAKE_RING)
			x->send_to = x->queue.pushed;
		tick(x);
		atr_jaeger_step(&x->jaeger);
		/* Taking turns: who always has something of its own sends theirs, too. */
		if (!x->last_foreign && orphans_due(x))
			send_orphans(x, UINT64_MAX);
		while (due(x))
			send_batch(x);
		if (orphans_due(x))
			send_orphans(x, UINT64_MAX);
		if (x->sending)
			deliver(x);
		send_metrics(x);
	}
}

/* What is to stop goes on with a batch that is wholly on its way, for as long as an answer may
 * take: what is let go of will be sent again by the next who drains. */
static bool lets_go(const struct exporter *x, uint64_t *since)
{
	uint64_t now = x->host->now();

	if (!(x->host->pending() & ATR_WAKE_STOP))
		return false;
	if (!*since)
		*since = now;
	return !atr_sink_sent(&x->sink) || now - *since > patience();
}

/* Nothing but what dead processes left, as long as there is somebody to take it. */
static void loop_orphans(struct exporter *x)
{
	uint64_t stopping = 0;
	bool lost = false;

	scan(x);
	while (!lost && atr_orphans_any(&x->orphans) && !(x->host->pending() & ATR_WAKE_STOP)) {
		x->wake = ATR_WAKE_FLUSH; /* who is not there is not waited for */
		x->flush_by = x->host->deadline();
		send_orphans(x, UINT64_MAX);
		while (x->sending && !lets_go(x, &stopping)) {
			sleep_until(x, atr_sink_due(&x->sink));
			deliver(x);
			lost = !x->sending && !atr_orphans_any(&x->orphans);
		}
	}
	if (x->sending)
		batch_over(x, ATR_DELIVERY_FAILED);
	/* Told to stop between two batches: is there another one? */
	atr_add(&x->host->stats->left, atr_orphans_next(&x->orphans, x->queue.max_batch));
}

void atr_exporter_run(const struct atr_host *host)
{
	struct exporter x;

	if (host->abi != ATR_HOST_ABI)
		return;
	if (host->files) {
		atr_replay(host);
		return;
	}
	if (init(&x, host)) {
		if (host->orphans_only) {
			loop_orphans(&x);
		} else {
			loop(&x);
			leave(&x);
		}
	} else {
		host->log(ATR_LOG_ERROR, "out of memory: nothing will be exported");
	}
	atr_orphans_finish(&x.orphans);
	for (size_t i = 0; i < ATR_ARRAY_LEN(x.readers); i++)
		atr_reader_finish(&x.readers[i]);
	atr_sink_finish(&x.sink);
	atr_buf_free(&x.flight);
	atr_batch_finish(&x.queue);
	atr_code_finish(&x.code);
	atr_limits_finish(&x.limits);
	atr_jaeger_finish(&x.jaeger);
	atr_keep_finish(&x.keep);
}
