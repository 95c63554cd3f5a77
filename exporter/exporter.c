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
 * Between two sleeps everything here hangs from atr_exporter_run()'s frame, as
 * host.h asks: after a fork the child's run() begins with nothing.
 */
#include "exporter/exporter.h"

#include <poll.h>
#include <string.h>

#include "exporter/batch.h"
#include "exporter/code.h"
#include "exporter/jaeger-remote.h"
#include "exporter/keep.h"
#include "exporter/sink.h"
#include "preload/attr.h"

#define NS_PER_MS 1000000u
#define SLICE_NS (10 * NS_PER_MS)    /* longest sleep that does not notice requests */
#define TICK_MIN_NS (10 * NS_PER_MS) /* a schedule delay of 0 is not a busy loop */
#define PASSES_MAX 64		     /* over the rings, before anything else has its turn */
#define KEPT_MAX 192		     /* bytes of the attribute that says so */
#define MARGIN_NS (10 * NS_PER_MS)   /* a flush ends so long before its deadline */

struct exporter {
	const struct atr_host *host;
	struct atr_batch queue;
	struct atr_code code;
	struct atr_sink sink;
	struct atr_jaeger jaeger;
	struct atr_keep keep;
	struct atr_buf kept; /* a span that is kept, with what says so */
	bool sending;	     /* a delivery is under way */

	uint64_t tick_ns;
	uint64_t tick;	  /* when all that is queued becomes due */
	uint64_t send_to; /* spans are due up to here (of queue.pushed) */

	unsigned wake;	   /* what was asked for and is not done: FLUSH, STOP */
	uint64_t flush_by; /* when the flush has to be over */
	uint64_t flush_to; /* the spans it is about (of queue.pushed); UINT64_MAX = not known yet */
	bool given_up;	   /* the collector did not answer during this flush */
};

/* ---- rings to queue ---- */

/* The span with what says that it was kept; NULL: no memory. */
static const struct atr_buf *say_kept(struct exporter *x, const uint8_t *span, size_t len,
				      const char *why)
{
	struct atr_pb pb;
	uint8_t *at;

	atr_buf_reset(&x->kept);
	atr_buf_add(&x->kept, span, len);
	at = atr_buf_reserve(&x->kept, KEPT_MAX);
	if (!at)
		return NULL;
	pb = (struct atr_pb){ .p = at, .end = at + KEPT_MAX };
	atr_attr_str(&pb, ATR_KEPT, why, strlen(why));
	x->kept.len += (size_t)(pb.p - at);
	return &x->kept;
}

/* why: it was not sampled, but is kept; NULL: it was sampled. */
static void queue_up(struct exporter *x, const struct atr_record *record, const char *why)
{
	uint64_t until = x->wake & ATR_WAKE_FLUSH ? x->flush_by : UINT64_MAX;
	const uint8_t *span = record->span;
	size_t len = record->span_len;
	const struct atr_buf *buf;

	if (record->n_addrs) {
		buf = atr_code_span(&x->code, record, until);
		span = buf ? buf->bytes : NULL;
		len = buf ? buf->len : 0;
	}
	if (span && why) {
		buf = say_kept(x, span, len, why);
		span = buf ? buf->bytes : NULL;
		len = buf ? buf->len : 0;
	}
	if (!span || !atr_batch_push(&x->queue, span, len))
		atr_add(&x->host->stats->no_memory, 1);
}

static void take(void *arg, const struct atr_record *record)
{
	struct exporter *x = arg;

	if (!record->span_len)
		return;
	if (record->flags & ATR_RECORD_CANDIDATE)
		atr_keep_take(&x->keep, record, x->host->now());
	else
		queue_up(x, record, NULL);
}

/* What is kept, as far as there is room. */
static void take_kept(struct exporter *x)
{
	const struct atr_record *record;
	const char *why;

	while (atr_batch_room(&x->queue) && (record = atr_keep_next(&x->keep, &why)))
		queue_up(x, record, why);
}

/* Drains what the queue has room for; true when the rings were seen empty. */
static bool drain(struct exporter *x)
{
	size_t room;

	take_kept(x);
	for (int i = 0; i < PASSES_MAX && (room = atr_batch_room(&x->queue)) > 0; i++) {
		bool seen_empty = x->host->drain(room, take, x) < room;

		if (seen_empty)
			atr_keep_round(&x->keep, x->host->now());
		take_kept(x);
		if (seen_empty)
			return !x->keep.ready;
	}
	return false;
}

/* ---- queue to collector ---- */

static void count_lost(struct exporter *x, size_t n_spans)
{
	struct atr_stats *stats = x->host->stats;

	atr_add(x->wake & ATR_WAKE_STOP ? &stats->unsent : &stats->failed, n_spans);
}

/* Is it time for the next batch? */
static bool due(const struct exporter *x)
{
	size_t n = atr_batch_len(&x->queue);

	if (x->sending || x->given_up || !n)
		return false;
	return n >= x->queue.max_batch || x->queue.popped < x->send_to ||
	       atr_batch_room(&x->queue) == 0;
}

static void send_batch(struct exporter *x)
{
	enum atr_delivery_state state;
	const uint8_t *spans;
	size_t len;
	size_t n = atr_batch_front(&x->queue, &spans, &len);

	state = atr_sink_start(&x->sink, spans, len, n);
	x->sending = state == ATR_DELIVERY_BUSY;
	if (state == ATR_DELIVERY_FAILED)
		count_lost(x, n);
	atr_batch_pop(&x->queue, n, len);
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
	enum atr_delivery_state state = atr_delivery_step(&x->sink.delivery, until, haste(x));

	if (state == ATR_DELIVERY_BUSY)
		return;
	x->sending = false;
	if (state == ATR_DELIVERY_FAILED) {
		count_lost(x, atr_delivery_cancel(&x->sink.delivery));
		x->given_up = x->wake & ATR_WAKE_FLUSH;
	}
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

/* Waits for whatever comes next: a request of the host, the tick, the next attempt. */
static unsigned rest(struct exporter *x)
{
	uint64_t until = x->sending ? atr_delivery_due(&x->sink.delivery) : x->tick;

	if (until > x->tick && atr_batch_room(&x->queue))
		until = x->tick;
	if (until > atr_jaeger_due(&x->jaeger))
		until = atr_jaeger_due(&x->jaeger);
	if (due(x) || until <= x->host->now())
		return x->host->pending();
	if (atr_batch_room(&x->queue))
		return x->host->wait(until);
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
}

/* ---- flush ---- */

static void begin_flush(struct exporter *x, unsigned wake)
{
	uint64_t deadline = x->host->deadline();

	x->wake = wake;
	x->flush_by = deadline > MARGIN_NS ? deadline - MARGIN_NS : 0;
	x->flush_to = UINT64_MAX;
	x->given_up = false;
	atr_delivery_hurry(&x->sink.delivery);
}

static bool flush_over(const struct exporter *x)
{
	uint64_t now = x->host->now();

	if (now >= x->flush_by || x->given_up)
		return true;
	if (x->sending)
		return atr_delivery_due(&x->sink.delivery) >= x->flush_by;
	return x->queue.popped >= x->flush_to;
}

/* One round of a flush.  Its end is the caller's to notice. */
static void flush(struct exporter *x)
{
	bool empty = drain(x);

	if (empty && x->wake & ATR_WAKE_STOP)
		atr_keep_end(&x->keep);
	if (empty && x->flush_to == UINT64_MAX)
		x->flush_to = x->queue.pushed;
	x->send_to = x->queue.pushed;
	while (due(x) && x->host->now() < x->flush_by)
		send_batch(x);
	if (!x->sending)
		return;
	deliver(x);
	if (x->sending && atr_delivery_due(&x->sink.delivery) < x->flush_by)
		sleep_until(x, atr_delivery_due(&x->sink.delivery));
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
	x->given_up = false;
	if (wake & ATR_WAKE_STOP)
		return; /* the host counts that as flushed when run() is back */
	x->wake = 0;
	x->tick = x->host->now() + x->tick_ns;
	x->host->flushed();
}

/* ---- the whole ---- */

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
	atr_jaeger_init(&x->jaeger, host);
	atr_keep_init(&x->keep, c->max_traces_per_second, host->stats);
	atr_batch_init(&x->queue, c->bsp_max_queue_size, c->bsp_max_export_batch_size);
	return atr_sink_init(&x->sink, host);
}

static void take_none(void *arg, const struct atr_record *record)
{
	(void)arg;
	(void)record;
}

/* What is left, in the rings too, is counted and told. */
static void leave(struct exporter *x)
{
	uint64_t *unsent = &x->host->stats->unsent;

	x->host->sampler_say();
	atr_keep_end(&x->keep);
	atr_add(unsent, atr_keep_ready(&x->keep));
	atr_add(unsent, atr_batch_len(&x->queue));
	atr_add(unsent, atr_delivery_cancel(&x->sink.delivery));
	atr_add(unsent, x->host->drain(SIZE_MAX, take_none, NULL));
	atr_sink_say_unsent(&x->sink, atr_load(unsent));
}

static void loop(struct exporter *x)
{
	while (!(x->wake & ATR_WAKE_STOP)) {
		unsigned wake = rest(x);

		if (wake & ATR_WAKE_FLUSH) {
			run_flush(x, wake);
			continue;
		}
		(void)drain(x);
		tick(x);
		atr_jaeger_step(&x->jaeger);
		while (due(x))
			send_batch(x);
		if (x->sending)
			deliver(x);
	}
}

void atr_exporter_run(const struct atr_host *host)
{
	struct exporter x;

	if (host->abi != ATR_HOST_ABI)
		return;
	if (init(&x, host)) {
		loop(&x);
		leave(&x);
	} else {
		host->log(ATR_LOG_ERROR, "out of memory: nothing will be exported");
	}
	atr_sink_finish(&x.sink);
	atr_batch_finish(&x.queue);
	atr_code_finish(&x.code);
	atr_jaeger_finish(&x.jaeger);
	atr_keep_finish(&x.keep);
	atr_buf_free(&x.kept);
}
