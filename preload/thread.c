/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads and their rings.
 *
 * A ring belongs to one thread and is drained by the background thread.  All
 * rings hang in one list: threads push in front with a compare-exchange, and
 * nothing is ever taken out.
 *
 * The link of a thread that ended goes back to its pool with its ring, full or not,
 * and the next new thread takes both over: threads may come and go by the thousand
 * while no collector answers, and there are never more rings than there were
 * threads at a time.  Rings stay mapped and listed; the background thread takes idle
 * ones from the same pool, gives their pages back to the kernel, and returns them.
 * A thread whose ring is full while the queue is not takes another of them, or a new one, and
 * leaves its own there.
 * Whoever has a link from the pool is the only one who writes to its ring.
 *
 * Rings are in the process's spool file (preload/spool.h), or in memory where there is none.
 * Draining reads ahead; a record stays in its ring until it is settled, which is when it need
 * not be sent any more.
 *
 * Candidates have rings of their own, in memory: they are not to be sent by anybody before it is
 * decided about their trace, and do not wait for a collector.  What the background thread keeps of
 * them it writes into a ring as a thread of the program would, and from there it goes the way
 * of all others.
 *
 * A ring's mapping is MADV_DONTFORK: a child can neither send nor spoil its
 * parent's spans.  The list's links are kept beside the rings, not in them: a
 * ring must mean the same in another process.
 */
#include "preload/thread.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "preload/clock.h"
#include "preload/config.h"
#include "preload/life.h"
#include "preload/log.h"
#include "preload/process.h"
#include "preload/ring.h"
#include "preload/spool.h"
#include "preload/stats.h"
#include "preload/status.h"
#include "preload/sum.h"
#include "preload/sys.h"
#include "preload/worker.h"

__thread struct atr_tls atr_tls;

#define MAX_THREADS 65536

static struct atr_pool threads = {
	.size = sizeof(struct atr_thread),
	.per_chunk = 64,
	.max = MAX_THREADS,
};

/* All rings together; beyond the half new ones are small. */
#define RINGS_MAX (256u << 20)

struct atr_link {
	struct atr_pooled pooled;
	uint32_t epoch; /* of the process the ring is mapped in */
	bool trimmed;	/* no page of its data is in use */
	bool spooled;	/* the ring is in a file */
	struct atr_ring *ring;
	struct atr_link *next; /* in the list of all */
	struct atr_link *full; /* the next of those that were taken in vain; their taker's */
};

#define LINKS                                                                        \
	{                                                                            \
		.size = sizeof(struct atr_link), .per_chunk = 64, .max = MAX_THREADS \
	}

static struct atr_pool links[ATR_N_RINGS] = { LINKS, LINKS };
static struct atr_link *rings[ATR_N_RINGS]; /* the lists */
static struct atr_own_ring kept;	    /* the background thread's */
static bool made_file;			    /* or tried to */
static uint64_t mapped;			    /* bytes of all rings */
static uint64_t ahead;			    /* records drained and not settled; the reader's */
static uint32_t n_rings;		    /* of sampled spans, at least so many */
static struct atr_link *turn;		    /* where the next drain begins; the reader's */
static uint64_t waiting __attribute__((aligned(64))); /* committed and not handed to the exporter */
static pthread_key_t key;
static bool have_key;

/* 0: there are enough. */
static size_t ring_bytes(void)
{
	uint64_t all = atr_load(&mapped);
	size_t size = ATR_RING_LEAST;

	while (size < atr_config.ring_size && all < RINGS_MAX / 2)
		size *= 2;
	return all + size > RINGS_MAX ? 0 : size;
}

static void seed(struct atr_thread *t)
{
	if (atr_sys_getrandom(t->rng, sizeof(t->rng), 0) == (ssize_t)sizeof(t->rng))
		return;
	/* No getrandom(2) here: the best that is left. */
	t->rng[0] = atr_now();
	t->rng[1] = (uintptr_t)t;
	t->rng[2] = (uint64_t)atr_sys_gettid() << 32 | (uint32_t)atr_process.pid;
	t->rng[3] = 0x9e3779b97f4a7c15u;
}

uint64_t atr_thread_random(struct atr_thread *t)
{
	uint64_t *s = t->rng, sum, x, tmp;

	do {
		sum = s[0] + s[3];
		x = (sum << 23 | sum >> 41) + s[0];
		tmp = s[1] << 17;
		s[2] ^= s[0];
		s[3] ^= s[1];
		s[1] ^= s[2];
		s[0] ^= s[3];
		s[2] ^= tmp;
		s[3] = s[3] << 45 | s[3] >> 19;
	} while (!x);
	return x;
}

static void close_cells(struct atr_thread *t)
{
	for (int i = 0; i < ATR_DEPTH_MAX; i++)
		atr_life_end(&t->cells[i], t->epoch == atr_process.epoch);
	t->depth = 0;
}

static bool on_alternate_stack(void)
{
	stack_t now = { 0 };

	return atr_sys(SYS_sigaltstack, NULL, &now, 0, 0, 0, 0) == 0 && now.ss_flags & SS_ONSTACK;
}

void atr_thread_abandon(void)
{
	struct atr_thread *t = atr_tls.thread;
	const struct atr_context *c = &atr_tls.context;

	/* The call that the library was left by had no end, and no span. */
	if (t && t->depth && c->valid && c->flags & ATR_FLAG_SAMPLED)
		atr_count(not_followed, t->depth);
	if (t)
		close_cells(t);
	atr_tls.inside = 0;
	atr_tls.context.valid = false;
}

bool atr_thread_inside(const void *frame)
{
	uint32_t inside = atr_tls.inside;

	if (inside == ATR_IN_BACKGROUND)
		return true;
	/* A frame above the one that entered: that one is no more. */
	if (inside & ATR_IN_SELF) {
		if (frame <= atr_tls.self_frame || on_alternate_stack()) {
			atr_count(reentered, 1);
			return true;
		}
		atr_tls.inside = inside &= ~ATR_IN_SELF;
	}
	if (inside && frame > atr_tls.library_frame && !on_alternate_stack())
		atr_thread_abandon();
	return false;
}

/* The thread has ended, or all its other destructors have: no more records from it. */
static void gone(void *arg)
{
	struct atr_thread *t = arg;

	for (int i = 0; i < ATR_N_RINGS; i++) {
		struct atr_own_ring *own = &t->rings[i];

		if (t->epoch == atr_process.epoch && own->ring) {
			atr_store(&own->ring->retired, 1);
			atr_pool_give(&links[i], own->link);
		}
		own->ring = NULL;
	}
	atr_tls.thread = NULL;
	close_cells(t);
	atr_sys_unmap(t->scratch, ATR_SCRATCH_SIZE);
	t->scratch = NULL;
	atr_pool_give(&threads, t);
}

void atr_thread_init(void)
{
	have_key = pthread_key_create(&key, gone) == 0;
}

static atr_noinline struct atr_thread *make(void)
{
	struct atr_thread *t = atr_tls.thread;
	uint64_t signals = atr_sys_block_signals();
	uint32_t was = atr_self_enter();

	if (!t)
		t = atr_pool_take(&threads);
	if (!t) {
		atr_self_leave(was);
		atr_sys_restore_signals(signals);
		atr_count(no_memory, 1);
		return NULL;
	}
	for (int i = 0; i < ATR_N_RINGS; i++)
		t->rings[i].ring = NULL;
	t->depth = 0;
	t->put_off.n = 0;
	t->put_off.n_several = t->put_off.done = 0;
	t->put_off.more = false;
	t->tid = (uint32_t)atr_sys_gettid();
	t->epoch = atr_process.epoch;
	seed(t);
	atr_tls.thread = t;
	if (have_key)
		(void)pthread_setspecific(key, t);
	atr_self_leave(was);
	atr_sys_restore_signals(signals);
	return t;
}

struct atr_thread *atr_thread_self(void)
{
	struct atr_thread *t = atr_tls.thread;

	if (atr_likely(t && t->epoch == atr_process.epoch))
		return t;
	return make();
}

/* Maps a ring for the link and puts both into the list. */
static bool map_ring(struct atr_link *link, enum atr_which_ring which)
{
	bool in_file = which == ATR_RING_SAMPLED;
	size_t size = ring_bytes(), len = ATR_RING_DATA + size;
	struct atr_ring *ring = size && in_file ? atr_spool_ring((uint32_t)size) : NULL;

	link->spooled = ring != NULL;
	if (!ring) {
		ring = size ? atr_sys_map(len) : NULL;
		if (!ring)
			return false;
		(void)atr_sys(SYS_madvise, ring, len, MADV_DONTFORK, 0, 0, 0);
		atr_ring_init(ring, (uint32_t)size);
	}
	ring->pid = (uint32_t)atr_process.pid;
	atr_add(&mapped, len);
	link->ring = ring;
	link->epoch = atr_process.epoch;
	if (which == ATR_RING_SAMPLED)
		atr_add(&n_rings, 1);
	link->next = atr_load(&rings[which]);
	/* Pairs with the acquire in first(): link and ring are whole. */
	while (!__atomic_compare_exchange_n(&rings[which], &link->next, link, 0, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED))
		;
	return true;
}

static atr_noinline struct atr_ring *make_ring(struct atr_own_ring *own, uint32_t tid,
					       enum atr_which_ring which)
{
	struct atr_link *link = atr_pool_take(&links[which]);

	if (!link)
		return NULL;
	/* A new one, or one whose ring was our parent's. */
	if ((!link->ring || link->epoch != atr_process.epoch) && !map_ring(link, which)) {
		link->ring = NULL;
		atr_pool_give(&links[which], link);
		return NULL;
	}
	link->trimmed = false;
	link->ring->tid = tid;
	atr_store(&link->ring->retired, 0);
	own->link = link;
	own->ring = link->ring;
	return own->ring;
}

static unsigned wake_for(enum atr_which_ring which)
{
	return which == ATR_RING_SAMPLED ? ATR_WAKE_RING : ATR_WAKE_CANDIDATES;
}

/*
 * Who sets the size of the queue has one of that size; else it is what the rings hold, and at least
 * so much.  Who sets the size of the rings has rings of that size.
 */
static bool is_beyond(uint64_t n)
{
	return atr_config.bsp_max_queue_size_set && n > atr_config.bsp_max_queue_size;
}

static bool queue_has_room(void)
{
	return atr_thread_waiting() < atr_config.bsp_max_queue_size;
}

static void retire(struct atr_link *link)
{
	atr_store(&link->ring->retired, 1);
	atr_pool_give(&links[ATR_RING_SAMPLED], link);
}

/* Its ring is full: room in another one, which is its own from then on. */
static struct atr_record *reserve_in_another(struct atr_own_ring *own, uint32_t tid)
{
	struct atr_own_ring was = *own;
	struct atr_link *full = NULL, *link;
	struct atr_record *record = NULL;

	while (!record && make_ring(own, tid, ATR_RING_SAMPLED)) {
		record = atr_ring_reserve(own->ring);
		if (!record) {
			own->link->full = full;
			full = own->link;
		}
	}
	while ((link = full)) {
		full = link->full;
		retire(link);
	}
	if (record)
		retire(was.link);
	else
		*own = was;
	return record;
}

/* Counts what it drops by the limit that it was dropped for. */
static atr_noinline struct atr_record *ring_is_full(struct atr_own_ring *own, uint32_t tid,
						    enum atr_which_ring which)
{
	struct atr_record *record = NULL;

	if (which == ATR_RING_CANDIDATES || atr_config.ring_size_set)
		atr_count(ring_full, 1);
	else if (!queue_has_room())
		atr_count(queue_full, 1);
	else if (!(record = reserve_in_another(own, tid)))
		atr_count(ring_full, 1);
	return record;
}

struct atr_record *atr_thread_reserve(struct atr_thread *t, enum atr_which_ring which)
{
	struct atr_own_ring *own = &t->rings[which];
	struct atr_ring *ring = own->ring ? own->ring : make_ring(own, t->tid, which);
	struct atr_record *record;

	if (!ring) {
		atr_count(no_memory, 1);
		return NULL;
	}
	record = atr_ring_reserve(ring);
	if (atr_unlikely(!record)) {
		record = ring_is_full(own, t->tid, which);
		atr_worker_wake_ring(wake_for(which));
	}
	return record;
}

static void commit(struct atr_own_ring *own, struct atr_record *record)
{
	if (own->link->spooled)
		record->checksum = atr_record_sum(record);
	atr_ring_commit(own->ring, record);
}

uint64_t atr_thread_waiting(void)
{
	return __atomic_load_n(&waiting, __ATOMIC_SEQ_CST);
}

void atr_thread_queued(int64_t change)
{
	__atomic_fetch_add(&waiting, (uint64_t)change, __ATOMIC_SEQ_CST);
}

void atr_thread_commit(struct atr_thread *t, struct atr_record *record)
{
	unsigned flags = record->flags; /* the record is the reader's once it is committed */
	enum atr_which_ring which =
		flags & ATR_RECORD_CANDIDATE ? ATR_RING_CANDIDATES : ATR_RING_SAMPLED;
	struct atr_own_ring *own = &t->rings[which];
	uint64_t n = 0;

	if (which == ATR_RING_SAMPLED) {
		/* Before the record can be seen: it is counted down when that is handed out.  In
		 * one order with the store in host_wait(): of a thread that will sleep and one
		 * that makes the batch full, one sees the other. */
		n = __atomic_add_fetch(&waiting, 1, __ATOMIC_SEQ_CST);
		if (atr_unlikely(is_beyond(n))) {
			atr_thread_queued(-1);
			atr_count(queue_full, 1);
			return;
		}
	}
	commit(own, record);
	/* Up to that much again may be on its way and not released yet.  What a trace is kept for
	 * is not left lying: who is killed loses candidates. */
	atr_worker_committed(flags & ATR_RECORD_KEEP ||
					     atr_ring_unread(own->ring) * 4 > own->ring->size
				     ? wake_for(which)
				     : 0,
			     n);
}

/* ---- the background thread's side ---- */

static struct atr_link *first(enum atr_which_ring which)
{
	/* Pairs with the release in map_ring(). */
	return atr_load_acquire(&rings[which]);
}

static size_t drain_ring(struct atr_link *link, size_t max, atr_take_fn *take, void *arg)
{
	struct atr_place place = { .link = link, .end = link->ring->read };
	const struct atr_record *r;
	size_t n = 0;

	while (n < max && (r = atr_ring_next(link->ring, &place.end))) {
		take(arg, r, &place);
		n++;
	}
	atr_store(&link->ring->read, place.end);
	return n;
}

/* Committed records that are not settled? */
static bool has_records(const struct atr_link *link)
{
	uint64_t pos = atr_ring_tail(link->ring);

	return atr_ring_next(link->ring, &pos) != NULL;
}

/* Rings without a thread that are empty: their pages go back to the kernel. */
static void trim_link(struct atr_link *link)
{
	struct atr_ring *ring = link->ring;

	if (link->trimmed || !ring || link->epoch != atr_process.epoch || has_records(link) ||
	    atr_ring_unread(ring))
		return;
	if (!link->spooled)
		(void)atr_sys(SYS_madvise, (char *)ring + ATR_RING_DATA, ring->size, MADV_DONTNEED,
			      0, 0, 0);
	else if (atr_spool_trim((char *)ring + ATR_RING_DATA, ring->size))
		atr_ring_rewind(ring);
	link->trimmed = true;
}

static void trim(enum atr_which_ring which)
{
	struct atr_link *taken[32];
	size_t n = 0;

	while (n < ATR_ARRAY_LEN(taken) && (taken[n] = atr_pool_take_again(&links[which])))
		trim_link(taken[n++]);
	while (n)
		atr_pool_give(&links[which], taken[--n]);
}

/* The first time that spans were dropped is said; how many in all, by AUTOTRACE_DEBUG=stats. */
static void say_dropped(void)
{
	static bool said;

	if (said || !(atr_load(&atr_stats.ring_full) + atr_load(&atr_stats.queue_full)))
		return;
	said = true;
	if (atr_load(&atr_stats.queue_full))
		atr_log(ATR_LOG_WARN,
			"spans are dropped: more wait than OTEL_BSP_MAX_QUEUE_SIZE=%u allows",
			atr_config.bsp_max_queue_size);
	else if (atr_config.ring_size_set)
		atr_log(ATR_LOG_WARN,
			"spans are dropped: more of a thread's wait than AUTOTRACE_RING_SIZE=%u "
			"holds",
			atr_config.ring_size);
	else
		atr_log(ATR_LOG_WARN, "spans are dropped: more wait than all rings may hold");
}

/*
 * The rings in turn, some records of each at a time, and going on next time where this time
 * ended: a thread that records without a pause, or has a backlog, does not keep the others'
 * waiting.
 */
static size_t drain_all(size_t max, atr_take_fn *take, void *arg)
{
	size_t n = 0, share = max / 8 + 1, got;
	uint32_t empty = 0;

	if (!turn)
		turn = first(ATR_RING_SAMPLED);
	while (turn && n < max && empty <= atr_load(&n_rings)) {
		got = drain_ring(turn, share < max - n ? share : max - n, take, arg);
		empty = got ? 0 : empty + 1;
		n += got;
		turn = turn->next ? turn->next : first(ATR_RING_SAMPLED);
	}
	return n;
}

size_t atr_thread_drain(size_t max, atr_take_fn *take, void *arg)
{
	size_t n;

	atr_clock_sync();
	/* It is borrowed: where nothing is kept any more nothing stays mapped for it. */
	if (kept.ring)
		atr_pool_give(&links[ATR_RING_SAMPLED], kept.link);
	kept.ring = NULL;
	n = drain_all(max, take, arg);
	trim(ATR_RING_SAMPLED);
	atr_count(recorded, n);
	ahead += n;
	say_dropped();
	return n;
}

void atr_thread_settle(const struct atr_place *place, enum atr_settled what)
{
	struct atr_ring *ring = place->link->ring;

	switch (what) {
	case ATR_SHIPPED:
		atr_store_release(&ring->shipped, place->end);
		break;
	case ATR_BACK:
		atr_store_release(&ring->shipped, atr_ring_tail(ring));
		break;
	case ATR_SETTLED:
		atr_ring_release(ring, place->end);
		ahead--;
		break;
	}
}

void atr_thread_rewind(void)
{
	for (struct atr_link *link = first(ATR_RING_SAMPLED); link; link = link->next)
		atr_store(&link->ring->read, atr_ring_tail(link->ring));
	atr_count(recorded, -ahead);
	ahead = 0;
}

static size_t drain_candidates(size_t max, atr_take_fn *take, void *arg)
{
	size_t n = 0;

	for (struct atr_link *link = first(ATR_RING_CANDIDATES); link; link = link->next) {
		n += drain_ring(link, max - n, take, arg);
		atr_ring_release(link->ring, link->ring->read);
	}
	atr_count(recorded, n);
	return n;
}

size_t atr_thread_candidates(size_t max, atr_take_fn *take, void *arg)
{
	size_t n = drain_candidates(max, take, arg);

	trim(ATR_RING_CANDIDATES);
	return n;
}

static struct atr_record *reserve_for_kept(void)
{
	uint32_t tid = (uint32_t)atr_sys_gettid();
	struct atr_record *to;

	if (!kept.ring && !make_ring(&kept, tid, ATR_RING_SAMPLED)) {
		atr_count(no_memory, 1);
		return NULL;
	}
	atr_count(recorded, -1); /* it comes out of that ring once more, or never got so far */
	if (is_beyond(atr_load(&waiting) + 1)) {
		atr_count(queue_full, 1);
		return NULL;
	}
	to = atr_ring_reserve(kept.ring);
	return to ? to : ring_is_full(&kept, tid, ATR_RING_SAMPLED);
}

void atr_thread_keep(const struct atr_record *record, const uint8_t *attr, size_t len)
{
	struct atr_record *to = reserve_for_kept();
	size_t n_addrs = record->n_addrs;
	size_t at;

	if (!to)
		return;
	*to = *record;
	to->span_len += (uint32_t)len;
	to->flags &= ATR_RECORD_ERROR | ATR_RECORD_SITE;
	/* It is the first attribute, behind the ids: limits cut what is behind it. */
	at = record->span_len < ATR_RECORD_IDS ? record->span_len : ATR_RECORD_IDS;
	memcpy(to->span, record->span, at);
	memcpy(to->span + at, attr, len);
	memcpy(to->span + at + len, record->span + at, record->span_len - at);
	at = atr_record_addrs_at(to->span_len);
	if (sizeof(*to) + at + n_addrs * sizeof(uint64_t) > ATR_RECORD_MAX) {
		n_addrs = 0;
		to->flags &= ATR_RECORD_ERROR;
	}
	memcpy(to->span + at, atr_record_addrs(record), n_addrs * sizeof(uint64_t));
	to->n_addrs = (uint16_t)n_addrs;
	to->size = (uint32_t)(sizeof(*to) + at + n_addrs * sizeof(uint64_t));
	atr_thread_queued(1);
	commit(&kept, to);
}

static void count_left(void *arg, const struct atr_record *record, const struct atr_place *place)
{
	(void)arg;
	(void)record;
	if (place->link->spooled)
		atr_count(left, 1);
	else
		atr_count(unsent, 1);
}

static void count_unkept(void *arg, const struct atr_record *record, const struct atr_place *place)
{
	(void)arg;
	(void)record;
	(void)place;
	atr_count(unkept, 1);
}

void atr_thread_count_rest(bool torn)
{
	if (torn && ahead) /* it may have come to its end even so */
		atr_thread_rewind();
	for (struct atr_link *link = first(ATR_RING_SAMPLED); link; link = link->next)
		atr_count(recorded, drain_ring(link, SIZE_MAX, count_left, NULL));
	(void)drain_candidates(SIZE_MAX, count_unkept, NULL);
}

void atr_thread_make_file(void)
{
	if (made_file)
		return;
	made_file = true;
	if (!atr_spool_dir() && !kept.ring)
		(void)make_ring(&kept, (uint32_t)atr_sys_gettid(), ATR_RING_SAMPLED);
}

bool atr_thread_spooled(void)
{
	for (struct atr_link *link = first(ATR_RING_SAMPLED); link; link = link->next)
		if (link->spooled)
			return true;
	return false;
}

bool atr_thread_empty(void)
{
	for (struct atr_link *link = first(ATR_RING_SAMPLED); link; link = link->next)
		if (has_records(link))
			return false;
	return true;
}

void atr_thread_counts(struct atr_counts *ret)
{
	*ret = (struct atr_counts){ .waiting = atr_thread_waiting() };
	for (uint32_t i = 0; i < atr_load(&threads.n_made); i++) {
		const struct atr_thread *t = atr_pool_at(&threads, i);

		for (int which = 0; which < 2; which++)
			ret->live[which] += atr_load(&t->live[which]);
		for (int o = 0; o < ATR_ORIGINS; o++)
			for (int r = 0; r < ATR_RESULTS; r++)
				ret->started[o][r] += atr_load(&t->started[o][r]);
	}
}

/* What its parent's threads counted. */
static void forget_counts(void)
{
	for (uint32_t i = 0; i < threads.n_made; i++) {
		struct atr_thread *t = atr_pool_at(&threads, i);

		memset(t->started, 0, sizeof(t->started));
		t->live[0] = t->live[1] = 0;
	}
}

void atr_thread_forked(void)
{
	if (atr_config.metrics_exporters != ATR_METRICS_NONE)
		forget_counts();
	/* The links stay in their pool as they are: the parent's other threads may
	 * have been using them.  A few bytes per ring and fork. */
	for (int i = 0; i < ATR_N_RINGS; i++)
		rings[i] = NULL;
	turn = NULL;
	n_rings = 0;
	kept.ring = NULL;
	made_file = false;
	mapped = ahead = waiting = 0;
	atr_spool_forked();
	atr_status_forked();
}
