/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/attr.o preload/utf8.o */
#include "exporter/keep.c"
#include "tests/unit/test.h"

#define SECOND 1000000000ull

static struct atr_stats stats;
static struct atr_keep k;

static void fresh(uint32_t most_per_second)
{
	memset(&stats, 0, sizeof(stats));
	atr_keep_init(&k, most_per_second, &stats);
}

/* A record of that trace; its number is in its first byte. */
static void take(unsigned trace, unsigned number, unsigned flags, size_t len)
{
	static union {
		struct atr_record r;
		uint8_t room[ATR_RECORD_MAX];
	} u;

	memset(&u, 0, sizeof(u.r));
	u.r.span_len = (uint32_t)len;
	u.r.size = (uint32_t)(sizeof(u.r) + ((len + 7) & ~(size_t)7));
	u.r.flags = (uint16_t)(ATR_RECORD_CANDIDATE | flags);
	memcpy(u.r.local_root, &trace, sizeof(trace));
	u.r.span[0] = (uint8_t)number;
	atr_keep_take(&k, &u.r, SECOND);
}

/* The numbers of what is kept, and why: "1e 2e ". */
static const char *kept(void)
{
	static char text[256];
	const struct atr_record *r;
	const char *why;
	size_t n = 0;

	text[0] = '\0';
	for (; (r = atr_keep_next(&k, &why)) && n < sizeof(text) - 8; atr_keep_pop(&k))
		n += (size_t)sprintf(text + n, "%u%c ", r->span[0], why[0]);
	return text;
}

static size_t n_ready(void)
{
	size_t n = 0;

	for (const struct atr_kept_span *s = k.ready; s; s = s->next)
		n++;
	return n;
}

static void rounds(unsigned n)
{
	while (n--)
		atr_keep_round(&k, SECOND);
}

static void nothing_held(void)
{
	CHECK_STR(kept(), "");
	CHECK_INT(k.bytes, 0);
	CHECK_INT(n_ready(), 0);
	atr_keep_finish(&k);
}

TEST(a_trace_in_which_nothing_happened_is_dropped_whole)
{
	fresh(0);
	take(7, 1, 0, 100);
	take(7, 2, ATR_RECORD_ROOT, 100);
	CHECK(k.bytes > 200);
	rounds(1);
	CHECK_INT(stats.unkept, 0); /* a failure may still lie in another ring */
	rounds(1);
	CHECK_INT(stats.unkept, 2);
	take(7, 3, ATR_RECORD_KEEP | ATR_RECORD_ERROR, 100); /* too late */
	CHECK_INT(stats.unkept, 3);
	CHECK_INT(stats.keep_overflow, 0);
	nothing_held();
}

TEST(one_failure_keeps_what_came_before_and_after_in_order)
{
	fresh(0);
	take(7, 1, 0, 10);
	take(8, 9, 0, 10);
	take(7, 2, ATR_RECORD_KEEP | ATR_RECORD_ERROR, 10);
	CHECK_INT(n_ready(), 2);
	CHECK_STR(kept(), "1e 2e ");
	take(7, 3, 0, 10);
	take(7, 4, ATR_RECORD_ROOT, 10);
	take(8, 8, ATR_RECORD_ROOT, 10);
	rounds(5);
	take(7, 5, 0, 10);
	CHECK_STR(kept(), "3e 4e 5e ");
	CHECK_INT(stats.unkept, 2);
	nothing_held();
}

TEST(a_failure_from_a_ring_that_was_looked_at_before_the_root_s_counts)
{
	fresh(0);
	take(7, 1, ATR_RECORD_ROOT, 10);
	rounds(1);
	take(7, 2, ATR_RECORD_KEEP, 10);
	rounds(1);
	CHECK_STR(kept(), "1s 2s ");
	nothing_held();
}

TEST(the_root_alone_may_be_what_it_is_kept_for)
{
	fresh(0);
	take(7, 1, ATR_RECORD_ROOT | ATR_RECORD_KEEP, 10);
	CHECK_STR(kept(), "1s ");
	nothing_held();
}

TEST(the_end_drops_what_is_open_and_leaves_what_is_kept)
{
	fresh(0);
	take(7, 1, 0, 10);
	take(8, 2, ATR_RECORD_KEEP, 10);
	take(9, 3, ATR_RECORD_ROOT, 10);
	atr_keep_end(&k);
	CHECK_INT(stats.unkept, 2);
	CHECK_STR(kept(), "2s ");
	nothing_held();
}

TEST(no_more_traces_per_second_are_kept_than_are_wanted_and_those_whole)
{
	fresh(2);
	for (unsigned i = 1; i <= 5; i++) {
		take(i, i, 0, 10);
		take(i, i + 10, ATR_RECORD_KEEP | ATR_RECORD_ERROR, 10);
		take(i, i + 20, ATR_RECORD_ROOT, 10);
	}
	CHECK_STR(kept(), "1e 11e 21e 2e 12e 22e ");
	CHECK_INT(stats.keep_limited, 9); /* with what came after the decision */
	CHECK_INT(stats.keep_overflow, 0);
	CHECK_INT(stats.unkept, 0);
	nothing_held();
}

TEST(the_oldest_are_given_up_when_there_are_too_many_bytes)
{
	unsigned n = 0;

	fresh(0);
	for (unsigned i = 1; i <= 2000; i++)
		take(i, 1, 0, 8000);
	CHECK(k.bytes <= ATR_KEEP_BYTES);
	CHECK(stats.keep_overflow > 900 && stats.keep_overflow < 1100);
	take(2000, 2, ATR_RECORD_KEEP, 10); /* the youngest is still there */
	CHECK_STR(kept(), "1s 2s ");
	take(1, 2, ATR_RECORD_KEEP, 10); /* the oldest is not */
	CHECK_STR(kept(), "");
	/* What is kept waits for the collector: then nothing more is held. */
	for (unsigned i = 3000; i < 5000; i++)
		take(i, 1, ATR_RECORD_KEEP, 8000);
	CHECK(k.bytes <= ATR_KEEP_BYTES);
	take(6000, 1, 0, 8000);
	CHECK(k.bytes <= ATR_KEEP_BYTES);
	while (kept()[0])
		n++;
	CHECK(n > 5);
	atr_keep_end(&k);
	nothing_held();
}

TEST(more_traces_than_can_be_remembered_cost_the_oldest)
{
	fresh(0);
	for (unsigned i = 1; i <= ATR_KEEP_TRACES + 10; i++)
		take(i, 1, 0, 10);
	CHECK_INT(stats.keep_overflow, 10);
	for (unsigned i = 11; i <= ATR_KEEP_TRACES + 10; i++)
		take(i, 2, ATR_RECORD_ROOT, 10);
	rounds(2);
	CHECK_INT(stats.unkept, 2 * ATR_KEEP_TRACES);
	/* Remembered ones go first: nothing is lost for them. */
	for (unsigned i = 10001; i <= 10000 + ATR_KEEP_TRACES; i++)
		take(i, 1, 0, 10);
	CHECK_INT(stats.keep_overflow, 10);
	atr_keep_end(&k);
	nothing_held();
}

TEST(one_whose_root_never_comes_is_given_up)
{
	fresh(0);
	take(7, 1, 0, 10);
	atr_keep_round(&k, SECOND + HOLD_NS);
	CHECK_INT(stats.keep_overflow, 0);
	atr_keep_round(&k, SECOND + HOLD_NS + 1);
	CHECK_INT(stats.keep_overflow, 1);
	nothing_held();
}

/* Against a model: every record is kept, dropped or given up, and traces are whole. */
TEST(every_record_is_accounted_for)
{
	unsigned n = 0, fetched = 0;
	const char *why;

	srand(9);
	fresh(0);
	for (unsigned i = 0; i < 50000; i++, n++) {
		unsigned flags = rand() % 50 ? 0 : ATR_RECORD_KEEP;

		flags |= rand() % 5 ? 0u : (unsigned)ATR_RECORD_ROOT;
		take((unsigned)rand() % 6000, i, flags, (size_t)rand() % 2000);
		if (rand() % 100 == 0)
			rounds(1);
		for (; rand() % 3 && atr_keep_next(&k, &why); atr_keep_pop(&k))
			fetched++;
	}
	atr_keep_end(&k);
	for (; atr_keep_next(&k, &why); atr_keep_pop(&k))
		fetched++;
	CHECK_INT(fetched + stats.unkept + stats.keep_overflow + stats.keep_limited, n);
	nothing_held();
}

TEST(why_a_span_is_kept_is_said_as_an_attribute)
{
	uint8_t said[ATR_RECORD_SPARE];
	static const uint8_t slow[] = "\x4a\x18\x0a\x0e"
				      "autotrace.kept\x12\x06\x0a\x04slow";

	CHECK_INT(atr_keep_say(said, "slow"), sizeof(slow) - 1);
	CHECK_MEM(said, slow, sizeof(slow) - 1);
}
