/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_TEST_FAKE_HOST_H
#define ATR_TEST_FAKE_HOST_H

/*
 * A stand-in for the shim: what preload/host.h asks for, over a list of spans and
 * a condition variable, and atr_exporter_run() on a thread.  Every wait is
 * bounded.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <time.h>

#include "exporter/otlp.pb-c.h"
#include "preload/host.h"
#include "preload/sys.h"
#include "tests/unit/test.h"

#define FAKE_LOG 16384
#define FAKE_CANDIDATES 50000

static struct {
	pthread_mutex_t lock;
	pthread_cond_t wake, done;
	struct atr_config config;
	struct atr_stats stats;
	struct atr_host host;
	struct atr_health health;
	char strategy[ATR_STATUS_STRATEGY];
	pthread_t thread;

	uint64_t added, drained; /* spans; their ids count from 1 */
	uint64_t settled;	 /* of those drained */
	int64_t queued;		 /* as the exporter changed the number that waits */
	unsigned shipped, back;	 /* how often */
	const char *spool;	 /* the directory */
	uint64_t spool_used;
	struct fake_candidate {
		unsigned trace, flags;
	} candidates[2000];
	uint64_t n_candidates, taken; /* of them; their ids count from FAKE_CANDIDATES */
	struct fake_kept {
		uint64_t number;
		struct atr_record *record;
	} kept[2000]; /* what of `added` is not made by number */
	size_t n_kept;
	uint64_t keep_room; /* of `added`, what may be unsettled when one is kept; 0: any number */
	bool wake_at_half;  /* report ATR_WAKE_RING while something is there */
	unsigned requests;
	uint64_t deadline;
	unsigned asked, seen, flushed;
	bool returned;
	unsigned loaded;
	int stderr_error, stdout_error;
	size_t stdout_takes; /* bytes, and then no more until it is set again; 0: all */
	char log[FAKE_LOG];
	char out[FAKE_LOG];
	char stdout_text[1 << 20];
	size_t stdout_len;
} fake;

static uint64_t fake_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static struct timespec fake_timespec(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / 1000000000u),
				  .tv_nsec = (long)(ns % 1000000000u) };
}

/* A span message with that number as its id. */
static size_t fake_span(uint8_t *out, uint64_t id)
{
	Atr__Otlp__Span span = ATR__OTLP__SPAN__INIT;
	uint8_t trace_id[16] = { 7 }, span_id[8];
	char name[32];

	for (int i = 0; i < 8; i++)
		span_id[i] = (uint8_t)(id >> (56 - 8 * i));
	span.trace_id = (ProtobufCBinaryData){ 16, trace_id };
	span.span_id = (ProtobufCBinaryData){ 8, span_id };
	span.kind = ATR__OTLP__SPAN__SPAN_KIND__SPAN_KIND_CLIENT;
	span.start_time_unix_nano = 1700000000000000000u + id;
	span.end_time_unix_nano = span.start_time_unix_nano + 1500;
	(void)snprintf(name, sizeof(name), "span %llu", (unsigned long long)id);
	span.name = name;
	return atr__otlp__span__pack(&span, out);
}

static const struct fake_kept *fake_find_kept(uint64_t number)
{
	for (size_t i = 0; i < fake.n_kept; i++)
		if (fake.kept[i].number == number)
			return &fake.kept[i];
	return NULL;
}

static size_t fake_drain(size_t max, atr_take_fn *to, void *arg)
{
	union {
		struct atr_record record;
		uint8_t room[512];
	} u = { .record = { 0 } };
	size_t n = 0;

	pthread_mutex_lock(&fake.lock);
	for (; n < max && fake.drained < fake.added; n++) {
		const struct fake_kept *kept = fake_find_kept(++fake.drained);

		u.record.span_len = (uint32_t)fake_span(u.record.span, fake.drained);
		to(arg, kept ? kept->record : &u.record,
		   &(struct atr_place){ .end = fake.drained });
	}
	pthread_mutex_unlock(&fake.lock);
	return n;
}

static size_t fake_take_candidates(size_t max, atr_take_fn *to, void *arg)
{
	union {
		struct atr_record record;
		uint8_t room[512];
	} u = { .record = { 0 } };
	size_t n = 0;

	pthread_mutex_lock(&fake.lock);
	for (; n < max && fake.taken < fake.n_candidates; n++) {
		const struct fake_candidate *c = &fake.candidates[fake.taken];

		u.record.span_len =
			(uint32_t)fake_span(u.record.span, FAKE_CANDIDATES + fake.taken++);
		u.record.size = (uint32_t)(sizeof(u.record) + u.record.span_len + 7) & ~7u;
		u.record.flags = (uint16_t)(ATR_RECORD_CANDIDATE | c->flags);
		memcpy(u.record.local_root, &c->trace, sizeof(c->trace));
		to(arg, &u.record, &(struct atr_place){ .end = 0 });
	}
	pthread_mutex_unlock(&fake.lock);
	return n;
}

static void fake_keep(const struct atr_record *record, const uint8_t *attr, size_t len)
{
	struct atr_record *r = calloc(1, record->size + len);
	uint64_t settled = __atomic_load_n(&fake.settled, __ATOMIC_RELAXED);
	bool room;

	pthread_mutex_lock(&fake.lock);
	room = r && fake.n_kept < ATR_ARRAY_LEN(fake.kept) &&
	       (!fake.keep_room || fake.added - settled < fake.keep_room);
	if (room) {
		memcpy(r, record, sizeof(*r) + record->span_len);
		memcpy(r->span + r->span_len, attr, len);
		r->span_len += (uint32_t)len;
		r->flags = 0;
		fake.kept[fake.n_kept++] =
			(struct fake_kept){ .number = fake.added + 1, .record = r };
		__atomic_fetch_add(&fake.added, 1, __ATOMIC_RELEASE); /* a test waits for it */
	} else {
		free(r);
		fake.stats.queue_full++;
	}
	pthread_mutex_unlock(&fake.lock);
}

/* drain() holds the lock when what it hands out is settled at once. */
static void fake_settle(const struct atr_place *place, enum atr_settled what)
{
	(void)place;
	if (what == ATR_SETTLED)
		__atomic_fetch_add(&fake.settled, 1, __ATOMIC_RELAXED);
	else if (what == ATR_SHIPPED)
		fake.shipped++;
	else
		fake.back++;
}

static void fake_rewind(void)
{
	pthread_mutex_lock(&fake.lock);
	fake.drained = fake.settled;
	pthread_mutex_unlock(&fake.lock);
}

static const char *fake_spool_dir(void)
{
	return fake.spool;
}

static void fake_spool_used(uint64_t bytes)
{
	fake.spool_used = bytes;
}

static void fake_resource(const uint8_t *bytes, size_t len)
{
	(void)bytes;
	(void)len;
}

/* With the lock held. */
static unsigned fake_take_requests(void)
{
	unsigned bits = fake.requests;

	fake.requests &= ~(unsigned)(ATR_WAKE_RING | ATR_WAKE_CANDIDATES);
	if (fake.wake_at_half && fake.drained < fake.added)
		bits |= ATR_WAKE_RING;
	if (bits & ATR_WAKE_FLUSH)
		fake.seen = fake.asked;
	return bits;
}

static unsigned fake_pending(void)
{
	unsigned bits;

	pthread_mutex_lock(&fake.lock);
	bits = fake_take_requests();
	pthread_mutex_unlock(&fake.lock);
	return bits;
}

static uint64_t fake_waiting(void)
{
	return (uint64_t)((int64_t)fake.added + fake.queued);
}

static void fake_queued(int64_t change)
{
	__atomic_fetch_add(&fake.queued, change, __ATOMIC_RELAXED);
}

static unsigned fake_wait(uint64_t until, uint64_t n_spans)
{
	struct timespec ts = fake_timespec(until);
	unsigned bits;

	pthread_mutex_lock(&fake.lock);
	while ((bits = fake_take_requests()) == 0) {
		if (n_spans && fake_waiting() >= n_spans) {
			bits = ATR_WAKE_BATCH;
			break;
		}
		if (pthread_cond_timedwait(&fake.wake, &fake.lock, &ts) != 0)
			break;
	}
	pthread_mutex_unlock(&fake.lock);
	return bits;
}

static int fake_sleep_fds(struct pollfd *fds, unsigned n, int ms)
{
	struct timespec ts = fake_timespec((uint64_t)ms * 1000000u);

	return atr_sys_ppoll(fds, n, &ts);
}

static uint64_t fake_deadline(void)
{
	return __atomic_load_n(&fake.deadline, __ATOMIC_ACQUIRE);
}

static void fake_flushed(void)
{
	pthread_mutex_lock(&fake.lock);
	fake.flushed = fake.seen;
	if (fake.asked == fake.seen)
		fake.requests &= ~(unsigned)ATR_WAKE_FLUSH;
	pthread_cond_broadcast(&fake.done);
	pthread_mutex_unlock(&fake.lock);
}

static void atr_printf(2, 3) fake_log(enum atr_LOG_LEVEL level, const char *fmt, ...)
{
	size_t n;
	va_list args;

	if (level > fake.config.log_level)
		return;
	pthread_mutex_lock(&fake.lock);
	n = strlen(fake.log);
	va_start(args, fmt);
	(void)vsnprintf(fake.log + n, sizeof(fake.log) - n, fmt, args);
	va_end(args);
	n = strlen(fake.log);
	(void)snprintf(fake.log + n, sizeof(fake.log) - n, "\n");
	pthread_mutex_unlock(&fake.lock);
}

static long fake_write_stderr(const char *bytes, size_t len)
{
	size_t n;

	if (fake.stderr_error)
		return fake.stderr_error;
	pthread_mutex_lock(&fake.lock);
	n = strlen(fake.out);
	(void)snprintf(fake.out + n, sizeof(fake.out) - n, "%.*s", (int)len, bytes);
	pthread_mutex_unlock(&fake.lock);
	return (long)len;
}

static long fake_write_stdout(const char *bytes, size_t len)
{
	if (fake.stdout_takes) {
		len = len < fake.stdout_takes ? len : fake.stdout_takes;
		fake.stdout_error = -EAGAIN;
		fake.stdout_takes = 0;
	} else if (fake.stdout_error) {
		return fake.stdout_error;
	}
	pthread_mutex_lock(&fake.lock);
	if (len < sizeof(fake.stdout_text) - fake.stdout_len) {
		memcpy(fake.stdout_text + fake.stdout_len, bytes, len);
		fake.stdout_len += len;
	}
	pthread_mutex_unlock(&fake.lock);
	return (long)len;
}

static void fake_count(struct atr_counts *ret)
{
	pthread_mutex_lock(&fake.lock);
	*ret = (struct atr_counts){ .waiting = fake_waiting() };
	ret->started[ATR_ORIGIN_NONE][ATR_RESULT_SAMPLE] = fake.added;
	pthread_mutex_unlock(&fake.lock);
}

static void fake_loaded(void)
{
	fake.loaded++;
}

static void fake_look_up(const char *endpoint, struct atr_addresses *ret)
{
	(void)endpoint;
	*ret = (struct atr_addresses){ 0 };
}

static void *fake_run(void *arg)
{
	atr_exporter_run_fn *run = *(atr_exporter_run_fn **)arg;

	run(&fake.host);
	pthread_mutex_lock(&fake.lock);
	/* As the shim does: what nobody sent is counted. */
	fake.stats.unsent += fake.added - fake.settled;
	fake.drained = fake.settled = fake.added;
	fake.returned = true;
	pthread_cond_broadcast(&fake.done);
	pthread_mutex_unlock(&fake.lock);
	return NULL;
}

static void fake_sampler_say(void)
{
}

static void fake_strategy(const struct atr_strategy *strategy)
{
	(void)strategy;
}

/* Fresh, with default settings; change fake.config, then fake_start(). */
static void fake_init(void)
{
	pthread_condattr_t attr;

	memset(&fake, 0, sizeof(fake));
	pthread_mutex_init(&fake.lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&fake.wake, &attr);
	pthread_cond_init(&fake.done, &attr);
#define WORD(constant, spelling)
#define OPTION(field, type, env, def, min, max, doc) fake.config.field = def;
#include "preload/config.def"
	fake.host = (struct atr_host){
		.abi = ATR_HOST_ABI,
		.config = &fake.config,
		.stats = &fake.stats,
		.drain = fake_drain,
		.settle = fake_settle,
		.rewind = fake_rewind,
		.candidates = fake_take_candidates,
		.keep = fake_keep,
		.spool_dir = fake_spool_dir,
		.spool_used = fake_spool_used,
		.resource = fake_resource,
		.now = fake_now,
		.wait = fake_wait,
		.queued = fake_queued,
		.pending = fake_pending,
		.sleep_fds = fake_sleep_fds,
		.deadline = fake_deadline,
		.flushed = fake_flushed,
		.log = fake_log,
		.write_stderr = fake_write_stderr,
		.write_stdout = fake_write_stdout,
		.loaded = fake_loaded,
		.look_up = fake_look_up,
		.count = fake_count,
		.health = &fake.health,
		.strategy_shown = fake.strategy,
		.sampler_say = fake_sampler_say,
		.strategy = fake_strategy,
	};
}

static atr_exporter_run_fn *fake_run_fn;

static void fake_start(atr_exporter_run_fn *run)
{
	fake_run_fn = run;
	if (pthread_create(&fake.thread, NULL, fake_run, &fake_run_fn) != 0)
		abort();
}

static void fake_add(uint64_t n)
{
	pthread_mutex_lock(&fake.lock);
	fake.added += n;
	pthread_cond_broadcast(&fake.wake);
	pthread_mutex_unlock(&fake.lock);
}

static void fake_wake_ring(void)
{
	pthread_mutex_lock(&fake.lock);
	fake.requests |= ATR_WAKE_RING;
	pthread_cond_broadcast(&fake.wake);
	pthread_mutex_unlock(&fake.lock);
}

/* Asks for a flush (and stop) within ms; returns the ms it took, or -1 when it took ms or more. */
static int fake_flush(unsigned bits, unsigned ms)
{
	uint64_t start = fake_now(), until = start + (uint64_t)ms * 1000000u;
	struct timespec ts = fake_timespec(until);
	bool over = false;
	unsigned mine;

	pthread_mutex_lock(&fake.lock);
	__atomic_store_n(&fake.deadline, until, __ATOMIC_RELEASE);
	mine = ++fake.asked;
	fake.requests |= ATR_WAKE_FLUSH | bits;
	pthread_cond_broadcast(&fake.wake);
	while (!(over = fake.returned || fake.flushed >= mine))
		if (pthread_cond_timedwait(&fake.done, &fake.lock, &ts) != 0)
			break;
	pthread_mutex_unlock(&fake.lock);
	return over ? (int)((fake_now() - start) / 1000000u) : -1;
}

/* Stops it; the ms that took. */
static int fake_stop(unsigned ms)
{
	int took = fake_flush(ATR_WAKE_STOP, ms);

	pthread_join(fake.thread, NULL);
	for (size_t i = 0; i < fake.n_kept; i++)
		free(fake.kept[i].record);
	return took;
}

/* A span that was not sampled, of that trace; wakes as its ring does that has much in it. */
static void fake_candidate(unsigned trace, unsigned flags)
{
	pthread_mutex_lock(&fake.lock);
	fake.candidates[fake.n_candidates++] = (struct fake_candidate){ trace, flags };
	pthread_mutex_unlock(&fake.lock);
}

static void fake_wake_candidates(void)
{
	pthread_mutex_lock(&fake.lock);
	fake.requests |= ATR_WAKE_CANDIDATES;
	pthread_cond_broadcast(&fake.wake);
	pthread_mutex_unlock(&fake.lock);
}

static unsigned fake_log_lines(void)
{
	unsigned n = 0;

	pthread_mutex_lock(&fake.lock);
	for (const char *c = fake.log; *c; c++)
		n += *c == '\n';
	pthread_mutex_unlock(&fake.lock);
	return n;
}

/* Is that text in the log? */
static bool fake_said(const char *text)
{
	bool said;

	pthread_mutex_lock(&fake.lock);
	said = strstr(fake.log, text) != NULL;
	if (!said)
		printf("  the log is \"%s\"\n", fake.log);
	pthread_mutex_unlock(&fake.lock);
	return said;
}

static uint64_t fake_drained(void)
{
	uint64_t n;

	pthread_mutex_lock(&fake.lock);
	n = fake.drained;
	pthread_mutex_unlock(&fake.lock);
	return n;
}

/* Waits until a counter has reached n, at most 20 s. */
static bool fake_wait_for(const uint64_t *counter, uint64_t n)
{
	for (int i = 0; i < 20000; i++) {
		if (__atomic_load_n(counter, __ATOMIC_ACQUIRE) >= n)
			return true;
		usleep(1000);
	}
	return false;
}

#endif
