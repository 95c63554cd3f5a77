/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/traceparent.o preload/life.o preload/carrier.o preload/pool.o */
/* LINK: preload/text.o preload/clock.o preload/sys.o */
#include "preload/context.c"
#include "preload/stats.h"
#include "preload/traceparent.h"
#include "tests/unit/test.h"

__thread struct atr_tls atr_tls;
struct atr_stats atr_stats;
static struct atr_thread self;

#define IDS "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"

TEST(the_parent_is_the_threads_then_the_processs_then_nobody)
{
	struct atr_cell cell = { .gen = 5 };

	atr_tls.context = (struct atr_context){ 0 };
	atr_context_process = (struct atr_context){ 0 };
	CHECK(atr_context_parent() == NULL);
	CHECK(atr_traceparent_parse(&atr_context_process, ATR_SLICE("00-" IDS "-01")));
	CHECK(atr_context_parent() == &atr_context_process);
	atr_tls.context = (struct atr_context){ .valid = true, .open = &cell, .gen = 5 };
	CHECK(atr_context_parent() == &atr_tls.context);
	cell.gen++; /* it has ended */
	CHECK(atr_context_parent() == &atr_context_process);
}

/* ---- event loops ---- */

static const int loop;
static struct atr_cell cells[3];

static void fresh(void)
{
	memset(&atr_tls, 0, sizeof(atr_tls));
	memset(&self, 0, sizeof(self));
	memset(&atr_context_process, 0, sizeof(atr_context_process));
	for (int i = 0; i < 3; i++) {
		cells[i].gen++;
		cells[i].waiting = 0;
	}
	atr_tls.thread = &self;
}

static struct atr_context request(int n)
{
	return (struct atr_context){ .valid = true,
				     .span_id = { (uint8_t)(n + 1) },
				     .open = &cells[n],
				     .gen = cells[n].gen };
}

static bool is_current(int n)
{
	const struct atr_context *c = atr_context_current();

	atr_context_touch();
	return c && c->span_id[0] == n + 1;
}

static void read_request(int n)
{
	struct atr_context c = request(n);

	atr_context_enter(&c, &loop, true);
}

TEST(a_loop_works_for_the_request_it_has_just_read)
{
	fresh();
	atr_context_dispatch(-1, atr_now());
	CHECK(atr_context_current() == NULL);
	read_request(0);
	CHECK(is_current(0));
	read_request(1); /* the first was touched when it was asked for */
	CHECK(is_current(1));
	atr_context_dispatch(-1, atr_now());
	CHECK(atr_context_current() == NULL);
}

TEST(a_loop_that_reads_two_and_then_works_has_no_context_until_it_waits_again)
{
	fresh();
	atr_context_dispatch(-1, atr_now());
	read_request(0);
	read_request(1);
	CHECK(atr_context_current() == NULL);
	read_request(2);
	CHECK(atr_context_current() == NULL);
	atr_context_dispatch(-1, atr_now());
	cells[0].gen++;
	cells[1].gen++;
	cells[2].gen++;
	read_request(2);
	CHECK(is_current(2));
}

TEST(a_request_that_is_over_does_not_count_as_untouched)
{
	fresh();
	atr_context_dispatch(-1, atr_now());
	read_request(0);
	cells[0].gen++;
	read_request(1);
	CHECK(is_current(1));
}

TEST(an_incomplete_request_may_wait_while_another_is_read)
{
	struct atr_context c;

	fresh();
	c = request(0);
	atr_context_dispatch(-1, atr_now());
	atr_context_enter(&c, &loop, false);
	read_request(1);
	CHECK(is_current(1));
}

TEST(while_work_is_put_off_nobody_else_has_a_context)
{
	fresh();
	atr_context_dispatch(-1, atr_now());
	read_request(0);
	atr_context_dispatch(-1, atr_now()); /* nothing was done about it */
	read_request(1);
	CHECK(atr_context_current() == NULL);
	cells[1].gen++;
	atr_context_dispatch(-1, atr_now());
	read_request(0);
	CHECK(is_current(0)); /* it may be itself */
	atr_context_dispatch(-1, atr_now());
	cells[0].gen++; /* it ends */
	read_request(2);
	CHECK(is_current(2));
}

TEST(what_is_done_in_no_certain_context_touches_nobody)
{
	fresh();
	atr_context_dispatch(-1, atr_now());
	read_request(0);
	atr_context_dispatch(-1, atr_now()); /* put off */
	read_request(1);
	atr_context_touch(); /* whose work was this? */
	atr_context_dispatch(-1, atr_now());
	cells[0].gen++;
	read_request(2);
	CHECK(atr_context_current() == NULL); /* 1 is put off as well */
}

TEST(more_put_off_than_there_is_room_for_is_not_forgotten)
{
	static struct atr_cell many[ATR_PUT_OFF_MAX + 1];
	struct atr_context c;

	fresh();
	c = request(0);
	for (int i = 0; i <= ATR_PUT_OFF_MAX; i++) {
		c.open = &many[i];
		c.span_id[1] = (uint8_t)(i + 1);
		atr_context_dispatch(-1, atr_now());
		atr_context_enter(&c, &loop, true);
	}
	atr_context_dispatch(-1, atr_now());
	for (int i = 1; i < ATR_PUT_OFF_MAX; i++)
		many[i].gen++;
	c.open = &many[0];
	c.span_id[1] = 1;
	atr_context_enter(&c, &loop, true);
	CHECK(atr_context_current() == NULL); /* the one without room is open still */
	many[0].gen++;
	atr_context_dispatch(-1, atr_now());
	read_request(2);
	CHECK(is_current(2));
}

TEST(a_loop_that_only_looks_says_nothing_of_its_timers)
{
	fresh();
	atr_context_dispatch(3, atr_now());
	atr_context_dispatch(0, atr_now());
	read_request(0);
	CHECK(is_current(0));
	while (atr_now() < atr_tls.round.deadline)
		;
	CHECK(atr_context_current() == NULL);
	atr_context_dispatch(0, atr_now());
	read_request(0);
	CHECK(is_current(0));
}

TEST(a_timer_that_is_due_ends_the_certainty)
{
	fresh();
	atr_context_dispatch(3, atr_now());
	read_request(0);
	while (atr_now() < atr_tls.round.deadline)
		;
	CHECK(atr_context_current() == NULL);
	atr_context_dispatch(100000, atr_now());
	read_request(0);
	CHECK(is_current(0));
}

TEST(what_another_thread_hands_over_is_nobodys)
{
	fresh();
	atr_context_dispatch(-1, atr_now());
	read_request(0);
	CHECK(is_current(0));
	atr_context_handed();
	CHECK(atr_context_current() == NULL);
}

TEST(a_thread_without_a_loop_keeps_what_it_serves)
{
	struct atr_context a, b;

	fresh();
	a = request(0);
	b = request(1);
	atr_context_dispatch(1, atr_now());
	atr_context_enter(&a, NULL, true);
	atr_context_handed();
	CHECK(is_current(0));
	atr_context_enter(&b, NULL, true);
	CHECK(is_current(1));
	atr_context_finish();
	CHECK(atr_context_current() == NULL);
}

TEST(several_at_once_are_nobodys)
{
	struct atr_context a;

	fresh();
	a = request(0);
	atr_context_dispatch(-1, atr_now());
	atr_context_several(&a);
	read_request(2);
	CHECK(atr_context_current() == NULL);
	atr_context_dispatch(-1, atr_now());
	read_request(2);
	CHECK(atr_context_current() == NULL); /* the first is put off */
	cells[0].gen++;
	atr_context_dispatch(-1, atr_now());
	read_request(2);
	CHECK(is_current(2));
}
