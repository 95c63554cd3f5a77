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

#include "exporter/batch.h"
#include "exporter/code.h"
#include "exporter/sink.h"

#define NS_PER_MS 1000000u
#define SLICE_NS (10 * NS_PER_MS)    /* longest sleep that does not notice requests */
#define TICK_MIN_NS (10 * NS_PER_MS) /* a schedule delay of 0 is not a busy loop */
#define MARGIN_NS (10 * NS_PER_MS)   /* a flush ends so long before its deadline */

struct exporter {
	const struct atr_host *host;
	struct atr_batch queue;
	struct atr_code code;
	struct atr_sink sink;
	bool sending; /* a delivery is under way */

	uint64_t tick_ns;
	uint64_t tick;	  /* when all that is queued becomes due */
	uint64_t send_to; /* spans are due up to here (of queue.pushed) */

	unsigned wake;	   /* what was asked for and is not done: FLUSH, STOP */
	uint64_t flush_by; /* when the flush has to be over */
	uint64_t flush_to; /* the spans it is about (of queue.pushed); UINT64_MAX = not known yet */
	bool given_up;	   /* the collector did not answer during this flush */
};

/* ---- rings to queue ---- */

static void take(void *arg, const struct atr_record *record)
{
	struct exporter *x = arg;
	uint64_t until = x->wake & ATR_WAKE_FLUSH ? x->flush_by : UINT64_MAX;
	const struct atr_buf *span;
	bool pushed;

	if (!record->span_len)
		return;
	if (record->n_addrs) {
		span = atr_code_span(&x->code, record, until);
		pushed = span && atr_batch_push(&x->queue, span->bytes, span->len);
	} else {
		pushed = atr_batch_push(&x->queue, record->span, record->span_len);
	}
	if (!pushed)
		atr_add(&x->host->stats->no_memory, 1);
}

/* Drains what the queue has room for; true when the rings were seen empty. */
static bool drain(struct exporter *x)
{
	size_t room;

	while ((room = atr_batch_room(&x->queue)) > 0)
		if (x->host->drain(room, take, x) < room)
			return true;
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
	if (drain(x) && x->flush_to == UINT64_MAX)
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
}
