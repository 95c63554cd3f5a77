/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings of sampled spans and of candidates, and what the background thread makes of
 * them.  "Files" are memory here, of which we know.
 */
/* LINK: preload/sys.o preload/ring.o preload/pool.o preload/clock.o */
/* LINK: preload/life.o preload/text.o */
#include "preload/thread.c"

#include "tests/unit/test.h"

struct atr_process atr_process;
struct atr_stats atr_stats;
struct atr_config atr_config;

static unsigned files;	/* rings in files that were made */
static bool no_files;	/* there can be none */
static unsigned wanted; /* what the background thread was woken for */

struct atr_ring *atr_spool_ring(uint32_t size)
{
	struct atr_ring *ring = no_files ? NULL : atr_sys_map(ATR_RING_DATA + size);

	if (ring)
		atr_ring_init(ring, size);
	files += ring != NULL;
	return ring;
}

bool atr_spool_populate(void *p, size_t len)
{
	(void)p;
	(void)len;
	return true;
}

bool atr_spool_trim(void *p, size_t len)
{
	memset(p, 0, len);
	return true;
}

const char *atr_spool_dir(void)
{
	return files ? "/" : NULL;
}

void atr_status_forked(void)
{
}

void atr_spool_forked(void)
{
}

void atr_worker_committed(unsigned why, uint64_t n)
{
	(void)n;
	wanted |= why;
}

void atr_worker_wake_ring(unsigned why)
{
	wanted |= why;
}

void atr_log(enum atr_LOG_LEVEL level, const char *fmt, ...)
{
	(void)level;
	(void)fmt;
}

/* As after a fork: no ring, no record, no count. */
static void fresh(void)
{
	atr_process.epoch++;
	atr_thread_forked();
	memset(&atr_stats, 0, sizeof(atr_stats));
	atr_config.ring_size = ATR_RING_LEAST;
	atr_config.ring_size_set = true;
	atr_config.bsp_max_queue_size = 2048;
	atr_config.bsp_max_queue_size_set = false;
	files = wanted = 0;
	no_files = false;
}

/* A record of `len` bytes, each of which is `value`, with so many addresses 1000, 1001... */
static bool record(unsigned flags, uint8_t value, size_t len, unsigned n_addrs)
{
	struct atr_thread *t = atr_thread_self();
	struct atr_record *r = atr_thread_reserve(
		t, flags & ATR_RECORD_CANDIDATE ? ATR_RING_CANDIDATES : ATR_RING_SAMPLED);
	size_t at = atr_record_addrs_at((uint32_t)len);

	if (!r)
		return false;
	*r = (struct atr_record){ .span_len = (uint32_t)len,
				  .flags = (uint16_t)flags,
				  .n_addrs = (uint16_t)n_addrs,
				  .size = (uint32_t)(sizeof(*r) + at + 8 * n_addrs) };
	memset(r->span, value, len);
	for (uint64_t i = 0; i < n_addrs; i++)
		memcpy(r->span + at + 8 * i, &(uint64_t){ 1000 + i }, 8);
	atr_thread_commit(t, r);
	return true;
}

/* What was drained: copies, and places. */
static struct {
	union {
		struct atr_record r;
		uint8_t room[ATR_RECORD_MAX];
	} records[64];
	struct atr_place places[64];
	size_t n;
} got;

static void take(void *arg, const struct atr_record *r, const struct atr_place *place)
{
	(void)arg;
	if (got.n == ATR_ARRAY_LEN(got.records))
		abort();
	memcpy(got.records[got.n].room, r, r->size);
	got.places[got.n++] = *place;
}

static size_t drained(void)
{
	got.n = 0;
	(void)atr_thread_drain(60, take, NULL);
	return got.n;
}

static size_t candidates(void)
{
	got.n = 0;
	(void)atr_thread_candidates(60, take, NULL);
	return got.n;
}

static void settle_all(void)
{
	for (size_t i = 0; i < got.n; i++)
		atr_thread_settle(&got.places[i], ATR_SETTLED);
}

#define CANDIDATE ATR_RECORD_CANDIDATE

TEST(candidates_have_rings_of_their_own_which_are_in_no_file)
{
	fresh();
	CHECK(record(CANDIDATE, 1, 100, 0));
	CHECK_INT(files, 0);
	CHECK(!atr_thread_spooled());
	CHECK(record(0, 2, 100, 0));
	CHECK_INT(files, 1);
	CHECK(atr_thread_spooled());
	CHECK_INT(drained(), 1);
	CHECK_INT(got.records[0].r.span[0], 2);
	CHECK(got.records[0].r.checksum == atr_record_sum(&got.records[0].r));
	CHECK(!atr_thread_empty()); /* not settled */
	settle_all();
	CHECK(atr_thread_empty()); /* a candidate is nothing that is left in a file */
	CHECK_INT(candidates(), 1);
	CHECK_INT(got.records[0].r.span[0], 1);
	CHECK_INT(candidates(), 0);
	CHECK_INT(atr_stats.recorded, 2);
}

TEST(what_is_sampled_waits_for_the_collector_and_candidates_do_not)
{
	unsigned in = 0;

	fresh();
	while (record(0, 1, 5000, 0))
		in++;
	CHECK_INT(drained(), in);
	CHECK(!record(0, 1, 5000, 0));
	CHECK(wanted & ATR_WAKE_RING && !(wanted & ATR_WAKE_CANDIDATES));
	CHECK_INT(atr_stats.ring_full, 2);
	for (int i = 0; i < 200; i++) {
		CHECK(record(CANDIDATE, 1, 9000, 0));
		CHECK_INT(candidates(), 1);
	}
	wanted = 0;
	while (record(CANDIDATE, 1, 5000, 0))
		;
	CHECK_INT(wanted, ATR_WAKE_CANDIDATES);
	/* Once again: all that is sampled, no candidate. */
	CHECK(candidates() > 0);
	atr_thread_rewind();
	CHECK_INT(candidates(), 0);
	CHECK_INT(drained(), in);
}

TEST(what_a_trace_is_kept_for_is_not_left_lying)
{
	fresh();
	CHECK(record(CANDIDATE, 1, 10, 0));
	CHECK(record(CANDIDATE | ATR_RECORD_ROOT | ATR_RECORD_ERROR, 1, 10, 0));
	CHECK(record(ATR_RECORD_ERROR, 1, 10, 0));
	CHECK_INT(wanted, 0);
	CHECK(record(CANDIDATE | ATR_RECORD_KEEP, 1, 10, 0));
	CHECK_INT(wanted, ATR_WAKE_CANDIDATES);
	while (wanted == ATR_WAKE_CANDIDATES)
		CHECK(record(0, 1, 10, 0));
	CHECK_INT(wanted, ATR_WAKE_CANDIDATES | ATR_WAKE_RING);
}

TEST(what_is_kept_goes_the_way_of_a_sampled_one)
{
	static const uint8_t attr[] = "why it is kept";
	const struct atr_record *r = &got.records[0].r;

	fresh();
	for (size_t len = 1; len < 40; len++) {
		for (unsigned n = 0; n < 4; n++) {
			size_t at = atr_record_addrs_at((uint32_t)(len + sizeof(attr)));
			size_t ids = len < ATR_RECORD_IDS ? len : ATR_RECORD_IDS;
			unsigned site = n ? ATR_RECORD_SITE : 0;

			CHECK(record(CANDIDATE | ATR_RECORD_KEEP | ATR_RECORD_ROOT |
					     ATR_RECORD_ERROR | site,
				     9, len, n));
			CHECK_INT(candidates(), 1);
			atr_thread_keep(r, attr, sizeof(attr));
			CHECK_INT(drained(), 1);
			CHECK_INT(r->flags, ATR_RECORD_ERROR | site);
			CHECK_INT(r->span_len, len + sizeof(attr));
			CHECK_MEM(r->span + ids, attr, sizeof(attr));
			for (size_t i = 0; i < len; i++)
				CHECK_INT(r->span[i < ids ? i : i + sizeof(attr)], 9);
			CHECK_INT(r->n_addrs, n);
			CHECK_INT(r->size, sizeof(*r) + at + 8 * n);
			for (unsigned i = 0; i < n; i++)
				CHECK_INT(atr_record_addrs(r)[i], 1000 + i);
			CHECK(r->checksum == atr_record_sum(r));
			/* Not delivered: it comes again. */
			atr_thread_rewind();
			CHECK_INT(drained(), 1);
			settle_all();
			CHECK_INT(drained(), 0);
		}
	}
	CHECK_INT(atr_stats.recorded, 39 * 4); /* each once */
	CHECK(atr_thread_empty());
}

TEST(the_longest_candidate_loses_its_stack_not_why_it_is_kept)
{
	uint8_t attr[ATR_RECORD_SPARE];
	size_t longest = ATR_RECORD_MAX - sizeof(struct atr_record) - ATR_RECORD_SPARE;
	const struct atr_record *r = &got.records[0].r;

	memset(attr, 7, sizeof(attr));
	fresh();
	CHECK(record(CANDIDATE | ATR_RECORD_SITE, 9, longest, 24));
	CHECK_INT(candidates(), 1);
	atr_thread_keep(r, attr, sizeof(attr));
	CHECK_INT(drained(), 1);
	CHECK_INT(r->size, ATR_RECORD_MAX);
	CHECK_INT(r->flags, 0);
	CHECK_INT(r->n_addrs, 0);
	CHECK_MEM(r->span + ATR_RECORD_IDS, attr, sizeof(attr));
	CHECK_INT(r->span[ATR_RECORD_IDS + sizeof(attr)], 9);
	CHECK_INT(r->span_len, longest + sizeof(attr));
}

static void keep(void)
{
	atr_thread_keep(&got.records[0].r, (const uint8_t *)"x", 1);
}

TEST(there_may_be_no_room_for_what_is_kept)
{
	uint64_t n = 0;

	fresh();
	CHECK(record(CANDIDATE, 9, 5000, 0));
	CHECK_INT(candidates(), 1);
	for (; !atr_stats.ring_full; n++)
		keep();
	CHECK(n > 5 && n < 60);
	CHECK_INT(drained(), n - 1);
	CHECK_INT(atr_stats.recorded, 0); /* that one candidate, again and again */
	keep();
	CHECK_INT(atr_stats.ring_full, 2);
	settle_all();
	keep();
	CHECK_INT(atr_stats.ring_full, 2);
	CHECK_INT(files, 1); /* it was given back, and taken again */
	/* The program's threads may have it: there is one more then. */
	CHECK_INT(drained(), 1);
	CHECK(record(0, 1, 10, 0));
	CHECK_INT(files, 1);
}

TEST(a_queue_that_was_given_a_size_holds_what_is_kept_too)
{
	fresh();
	atr_config.bsp_max_queue_size_set = true;
	atr_config.bsp_max_queue_size = 3;
	CHECK(record(CANDIDATE, 9, 50, 0));
	CHECK(record(0, 9, 50, 0));
	CHECK_INT(candidates(), 1);
	keep();
	keep();
	CHECK_INT(atr_stats.queue_full, 0);
	keep();
	CHECK_INT(atr_stats.queue_full, 1);
	atr_thread_queued(-1);
	keep();
	CHECK_INT(atr_stats.queue_full, 1);
	CHECK_INT(drained(), 4);
}

static size_t drain_and_forget(void)
{
	size_t all = 0;

	while (drained())
		all += got.n;
	return all;
}

TEST(a_full_ring_is_not_a_full_queue)
{
	unsigned rings_then;

	fresh();
	atr_config.ring_size_set = false;
	atr_config.bsp_max_queue_size = 100;
	for (int i = 0; i < 100; i++)
		CHECK(record(0, 1, 5000, 0)); /* a ring holds some ten of them */
	CHECK_INT(atr_stats.queue_full, 0);
	CHECK(files > 5 && files < 15);
	while (record(0, 1, 5000, 0))
		; /* the last ring is the thread's: what fits */
	CHECK_INT(atr_stats.queue_full, 1);
	CHECK_INT(atr_stats.ring_full, 0);
	/* Kept ones are dropped where others are. */
	CHECK(record(CANDIDATE, 9, 5000, 0));
	CHECK_INT(candidates(), 1);
	while (atr_stats.queue_full == 1)
		keep();
	CHECK_INT(atr_stats.ring_full, 0);
	/* All of them are drained, and used again. */
	rings_then = files;
	for (int i = 0; i < 3; i++) {
		CHECK(drain_and_forget() >= 100);
		for (struct atr_link *l = first(ATR_RING_SAMPLED); l; l = l->next)
			atr_ring_release(l->ring, l->ring->read);
		CHECK(atr_thread_empty() && !drained());
		atr_thread_queued(-(int64_t)atr_thread_waiting());
		for (int k = 0; k < 100; k++)
			CHECK(record(0, 1, 5000, 0));
	}
	CHECK(files <= rings_then + 2); /* the thread's own one does not begin in front */
	CHECK_INT(atr_stats.queue_full, 2);
	/* There may be no memory for another one. */
	mapped = RINGS_MAX;
	atr_config.bsp_max_queue_size = 100000;
	while (record(0, 1, 5000, 0))
		;
	CHECK_INT(atr_stats.ring_full, 1);
}

TEST(where_there_is_no_file_what_is_kept_is_in_memory)
{
	fresh();
	no_files = true;
	CHECK(record(CANDIDATE, 9, 50, 0));
	CHECK_INT(candidates(), 1);
	keep();
	CHECK(!atr_thread_spooled());
	CHECK_INT(drained(), 1);
	CHECK_INT(got.records[0].r.checksum, 0);
}

TEST(the_rest_is_counted_as_what_it_is)
{
	fresh();
	for (int i = 0; i < 5; i++)
		CHECK(record(CANDIDATE, 1, 100, 0));
	for (int i = 0; i < 3; i++)
		CHECK(record(0, 1, 100, 0));
	atr_thread_count_rest(false);
	CHECK_INT(atr_stats.recorded, 8);
	CHECK_INT(atr_stats.unkept, 5);
	CHECK_INT(atr_stats.left, 3);
	CHECK_INT(atr_stats.unsent, 0);
	CHECK(!atr_thread_empty());
}

TEST(what_was_taken_and_never_settled_is_counted_by_who_finds_it)
{
	fresh();
	for (int i = 0; i < 5; i++)
		CHECK(record(0, 1, 100, 0));
	CHECK_INT(drained(), 5);
	for (int i = 0; i < 2; i++)
		atr_thread_settle(&got.places[i], ATR_SETTLED);
	CHECK(record(0, 1, 100, 0));
	atr_thread_count_rest(true);
	CHECK_INT(atr_stats.recorded, 6);
	CHECK_INT(atr_stats.left, 4);
}

TEST(a_file_can_be_had_without_a_span)
{
	fresh();
	atr_thread_make_file();
	atr_thread_make_file();
	CHECK_INT(files, 1);
	CHECK_INT(drained(), 0);
	CHECK(record(0, 1, 100, 0)); /* the ring was borrowed */
	CHECK_INT(files, 1);
	fresh();
	CHECK(record(0, 1, 100, 0));
	atr_thread_make_file();
	CHECK_INT(files, 1);
}

TEST(a_child_begins_with_neither)
{
	fresh();
	CHECK(record(CANDIDATE, 1, 100, 0));
	CHECK(record(0, 1, 100, 0));
	CHECK_INT(candidates(), 1);
	keep();
	CHECK(record(CANDIDATE, 1, 100, 0));
	atr_process.epoch++;
	atr_thread_forked();
	files = 0;
	CHECK_INT(candidates(), 0);
	CHECK(record(CANDIDATE, 3, 100, 0));
	CHECK_INT(candidates(), 1);
	keep();
	CHECK_INT(files, 1); /* not the parent's */
	CHECK(!kept.link->next);
	CHECK_INT(drained(), 1);
	CHECK_INT(got.records[0].r.span[0], 3);
}

static void *one_candidate(void *arg)
{
	(void)arg;
	(void)record(CANDIDATE, 5, 100, 0);
	(void)record(0, 6, 100, 0);
	return NULL;
}

TEST(a_thread_that_ends_hands_both_of_its_rings_on)
{
	fresh();
	if (!have_key)
		atr_thread_init();
	for (int i = 0; i < 20; i++) {
		pthread_t thread;

		CHECK_INT(pthread_create(&thread, NULL, one_candidate, NULL), 0);
		CHECK_INT(pthread_join(thread, NULL), 0);
	}
	CHECK_INT(files, 1);
	CHECK_INT(mapped, 2 * (ATR_RING_DATA + ATR_RING_LEAST));
	CHECK_INT(candidates(), 20);
	CHECK_INT(drained(), 20);
	/* Empty, and without a thread: their pages go. */
	settle_all();
	CHECK_INT(drained() + candidates(), 0);
	for (int i = 0; i < ATR_N_RINGS; i++)
		CHECK(first((enum atr_which_ring)i)->trimmed);
}
