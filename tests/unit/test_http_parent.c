/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/traceparent.o */
/* LINK: preload/sys.o preload/utf8.o preload/attr.o preload/clock.o preload/pool.o */
/* LINK: preload/life.o preload/context.o preload/op.o preload/sampler.o preload/text.o */
/* LINK: preload/rate.o preload/tracestate.o preload/strategy.o preload/adaptive.o */
/* LINK: preload/stack.o preload/cfi.o preload/object.o preload/peek.o */
/* LINK: hooks/errtype.o hooks/http1.o hooks/http1-body.o hooks/open.o */
/* LINK: hooks/propagator.o hooks/propagator-format.o */
/* LINK: hooks/http-attrs.o hooks/http-settings.o hooks/http-url.o hooks/forwarded.o */
/* LINK: exporter/otlp.pb-c.o -lprotobuf-c */
/*
 * Whose work is it: what a thread is in after it has read or written, and the parent of a
 * request that is sent (docs/design.md, "Contexts").
 */
#include "tests/unit/fake_http.h"

#define GET "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
#define POST "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\n" /* and five bytes */
#define FROM(id) "GET /a HTTP/1.1\r\nX-Request-Id: " id "\r\n"
#define PASSED FROM("0") TRACEPARENT "\r\n"
#define NOTHING "HTTP/1.1 204 No Content\r\n\r\n"
#define OTHER_IDS "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"

static struct atr_http_request *oldest(struct atr_conn *c)
{
	return atr_http_oldest(http_of(c));
}

/* In no context at all, not even for a moment. */
static bool in_none(void)
{
	return atr_context_current() == NULL;
}

/* Where a loop waits for the connection. */
static struct atr_conn *looped(struct atr_conn *c)
{
	c->loop = ATR_LOOP_POLL;
	return c;
}

/* The parent of the request that was sent last: this one? */
static bool sent_for(struct atr_conn *c, const struct atr_http_request *parent)
{
	const struct atr_http_request *r = request(c);

	return r->op.has_parent && !r->op.parent_remote && atr_context_usable(&r->sent_in) &&
	       memcmp(r->op.parent_id, parent->op.context.span_id, 8) == 0 &&
	       memcmp(r->op.context.trace_id, parent->op.context.trace_id, 16) == 0;
}

static bool sent_for_nobody(struct atr_conn *c)
{
	return request(c)->op.context.valid && !request(c)->op.has_parent &&
	       !request(c)->sent_in.valid;
}

/* ---- a thread that serves one request after the other ---- */

TEST(a_thread_works_on_the_oldest_of_pipelined_requests)
{
	const struct atr_http_request *first, *second, *third;
	struct atr_conn *c;

	fresh();
	c = new_server(0);
	hear(c, GET GET);
	first = oldest(c);
	second = first->next;
	CHECK(in(first));
	hear(c, GET); /* it reads ahead */
	third = second->next;
	CHECK(in(first));
	say(c, NOTHING);
	CHECK(in(second));
	say(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n");
	CHECK(in(second));
	say(c, "x");
	CHECK(in(third));
	say(c, NOTHING);
	CHECK(in_none());
	fresh();
}

TEST(a_request_is_the_threads_while_it_comes_and_until_its_last_byte)
{
	struct atr_conn *c;

	fresh();
	c = new_server(0);
	hear(c, "POST /a HTTP/1.1\r\n");
	CHECK(in_none());
	hear(c, "Content-Length: 5\r\n\r\n");
	CHECK(in(request(c)));
	hear(c, "abcde");
	CHECK(in(request(c)));
	say(c, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na");
	CHECK(in(request(c)));
	say(c, "b");
	CHECK(in_none());
	fresh();
}

TEST(a_worker_that_reads_the_rest_takes_the_request_over)
{
	struct atr_conn *c;

	fresh();
	c = new_server(0);
	hear(c, POST "ab");
	as_thread(1);
	CHECK(in_none());
	hear(c, "cde");
	CHECK(in(request(c)));
	CHECK_INT(request(c)->worker, 71);
	hear(c, GET); /* and reads ahead */
	say(c, NOTHING);
	CHECK(in(request(c)));
	fresh();
}

TEST(writing_takes_nothing_over)
{
	struct atr_conn *c, *d;

	fresh();
	c = new_server(0);
	d = new_server(1);
	hear(c, GET);
	hear(d, GET);
	CHECK(in(request(d))); /* what it read last */
	say(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na");
	CHECK(in(request(c))); /* it is this one's worker as well */
	as_thread(1);
	say(c, "b");
	CHECK(in_none());
	fresh();
}

TEST(threads_that_answer_for_each_other_have_no_context_of_what_they_read)
{
	struct atr_conn *c, *d, *e;

	fresh();
	c = new_server(0);
	d = new_server(1);
	hear(c, GET);
	as_thread(1);
	hear(d, GET);
	CHECK(in(request(d)));
	say(c, NOTHING); /* read by the other, in the middle of its own */
	CHECK(in_none());
	say(d, NOTHING);
	hear(d, GET);
	CHECK(in_none());
	as_thread(0);
	hear(c, GET);
	CHECK(in_none());
	e = looped(new_server(2)); /* loops know better */
	wait_for_more();
	hear(e, GET);
	CHECK(in(request(e)));
	fresh();
}

TEST(answering_for_another_when_done_with_its_own_is_no_such_thing)
{
	struct atr_conn *c, *d, *e;

	fresh();
	c = new_server(0);
	d = new_server(1);
	e = new_server(2);
	hear(c, GET GET GET);
	hear(e, GET);
	as_thread(1);
	say(c, NOTHING); /* it has read nothing */
	hear(d, GET);
	say(d, NOTHING);
	say(c, NOTHING); /* or has answered that */
	atr_tls.context = request(e)->op.context;
	atr_tls.context.inherited = true;
	say(c, NOTHING); /* or was born in another */
	hear(d, GET);
	CHECK(in(request(d)));
	fresh();
}

TEST(a_thread_that_reads_ahead_elsewhere_is_in_no_context)
{
	struct atr_conn *c, *d;

	fresh();
	c = new_server(0);
	d = new_server(1);
	hear(c, GET);
	as_thread(1);
	hear(d, GET);
	CHECK(in(request(d)));
	hear(c, GET); /* behind one that another thread works on */
	CHECK(in_none());
	fresh();
}

TEST(a_thread_is_no_loop_because_one_waits_elsewhere)
{
	struct atr_conn *c;

	fresh();
	c = looped(new_server(0));
	hear(c, GET GET);
	CHECK(in(oldest(c)));
	say(c, NOTHING);
	CHECK(in(oldest(c)));
	fresh();
}

/* ---- a thread that runs an event loop ---- */

TEST(a_loop_is_in_the_request_it_has_read_until_it_waits)
{
	struct atr_conn *c;

	fresh();
	c = looped(new_server(0));
	wait_for_more();
	hear(c, GET);
	CHECK(in(request(c)));
	wait_for_more();
	CHECK(in_none());
	fresh();
}

TEST(a_loop_that_reads_a_part_of_a_head_is_in_nobodys_context)
{
	struct atr_conn *c, *d;

	fresh();
	c = looped(new_server(0));
	d = looped(new_server(1));
	wait_for_more();
	hear(c, GET);
	hear(d, "GET /a HT");
	CHECK(in_none());
	hear(d, "TP/1.1\r\n\r\n");
	CHECK(in_none()); /* the first is untouched */
	say(c, NOTHING);
	wait_for_more();
	hear(d, GET);
	wait_for_more();
	fresh();
}

TEST(a_loop_goes_on_with_a_request_as_its_parts_come)
{
	struct atr_conn *c, *d;

	fresh();
	c = looped(new_server(0));
	d = looped(new_server(1));
	wait_for_more();
	hear(c, POST "ab");
	CHECK(in(request(c)));
	hear(d, GET); /* the first was not complete: it has not been put off */
	CHECK(in(request(d)));
	say(d, NOTHING);
	wait_for_more();
	hear(c, "cde");
	CHECK(in(request(c)));
	fresh();
}

TEST(the_end_of_one_request_and_another_in_one_read_have_no_context)
{
	struct atr_conn *c, *d;

	for (int between = 0; between < 2; between++) {
		fresh();
		c = looped(new_server(0));
		d = looped(new_server(1));
		wait_for_more();
		hear(c, POST "ab");
		CHECK(in(request(c)));
		if (between) {
			hear(d, GET);
			say(d, NOTHING);
		}
		wait_for_more();
		hear(c, "cde" GET);
		CHECK(in_none()); /* what is done now may be for the first */
		wait_for_more();
		hear(d, GET);
		CHECK(in_none()); /* or for the second, of which nothing was seen yet */
		fresh();
	}
}

TEST(several_requests_in_one_read_of_a_loop_have_no_context)
{
	struct atr_conn *c, *d;

	fresh();
	c = looped(new_server(0));
	d = looped(new_client(1));
	ask(d, GET);
	hear(d, NOTHING);
	wait_for_more();
	hear(c, GET GET);
	CHECK(in_none());
	ask(d, GET);
	CHECK(sent_for_nobody(d));
	hear(c, GET);
	CHECK(in_none());
	fresh();
}

TEST(as_many_things_done_as_were_read_at_once_is_all_of_them_seen_to)
{
	for (int things = 1; things < 4; things++) {
		struct atr_conn *c, *d;

		fresh();
		c = looped(new_server(0));
		d = looped(new_server(1));
		wait_for_more();
		hear(c, GET GET);
		for (int i = 0; i < things; i++)
			atr_context_touch(); /* queries */
		wait_for_more();
		hear(d, GET);
		CHECK(things < 2 ? in_none() : in(request(d)));
		fresh();
	}
}

TEST(in_a_loop_a_request_that_has_another_behind_it_has_no_context)
{
	struct atr_conn *c, *d;

	fresh();
	c = looped(new_server(0));
	d = looped(new_client(1));
	ask(d, GET);
	hear(d, NOTHING);
	wait_for_more();
	hear(c, GET);
	CHECK(in(request(c)));
	hear(c, GET);
	CHECK(in_none());
	ask(d, GET);
	CHECK(sent_for_nobody(d));
	say(c, NOTHING);
	wait_for_more();
	hear(c, POST "ab");
	CHECK(in_none()); /* the second is put off: open, and nothing was done about it */
	fresh();
}

TEST(the_end_of_a_stream_is_about_its_request)
{
	struct atr_conn *c;

	fresh();
	c = looped(new_server(0));
	wait_for_more();
	hear(c, POST "ab");
	wait_for_more();
	CHECK(in_none());
	move_none(c, false, 0);
	CHECK(in(request(c)));
	fresh();
	c = new_server(0);
	hear(c, GET);
	as_thread(1);
	move_none(c, false, 0);
	CHECK(in_none()); /* not where there is no loop */
	fresh();
}

TEST(a_loop_that_writes_for_another_is_in_neither_context)
{
	for (int fails = 0; fails < 2; fails++) {
		struct atr_conn *c, *d;

		fresh();
		c = looped(new_server(0));
		d = looped(new_server(1));
		wait_for_more();
		hear(c, POST "ab");
		hear(d, POST "ab");
		CHECK(in(request(d)));
		if (fails)
			move_none(d, true, EAGAIN);
		else
			say(d, "HTTP/1.1 200 OK\r\nConte");
		CHECK(in(request(d))); /* for its own: it stays */
		if (fails)
			move_none(c, true, EAGAIN);
		else
			say(c, "HTTP/1.1 200 OK\r\nConte");
		CHECK(in_none());
		fresh();
	}
}

TEST(an_answer_that_a_loop_reads_is_about_what_it_was_asked_for)
{
	struct atr_conn *c, *d, *a, *b;

	fresh();
	c = looped(new_server(0));
	d = looped(new_server(1));
	a = looped(new_client(2));
	b = looped(new_client(3));
	ask(a, GET);
	ask(b, GET);
	hear(a, NOTHING);
	hear(b, NOTHING);
	CHECK(in_none()); /* for nobody */
	wait_for_more();
	hear(c, GET);
	ask(a, GET);
	CHECK(sent_for(a, request(c)));
	CHECK_INT(request(c)->cell.waiting, 1);
	wait_for_more();
	hear(d, GET);
	ask(b, GET);
	CHECK(sent_for(b, request(d)));
	wait_for_more();
	hear(a, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
	CHECK(in(request(c)));
	CHECK_INT(request(c)->cell.waiting, 0);
	wait_for_more();
	hear(b, NOTHING);
	CHECK(in(request(d)));
	say(d, NOTHING);
	wait_for_more();
	hear(a, "hi");
	CHECK(in(request(c)));
	move_none(a, false, 0); /* it hangs up then */
	CHECK(in(request(c)));
	wait_for_more();
	move_none(b, false, 0);
	CHECK(in_none());
	fresh();
}

TEST(an_answer_that_a_loop_leaves_untouched_puts_its_request_off)
{
	struct atr_conn *c, *d, *a;

	fresh();
	c = looped(new_server(0));
	d = looped(new_server(1));
	a = looped(new_client(2));
	ask(a, GET);
	hear(a, NOTHING);
	wait_for_more();
	hear(c, GET);
	ask(a, GET);
	wait_for_more();
	hear(a, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
	wait_for_more();
	hear(d, GET); /* the answer was not complete */
	CHECK(in(request(d)));
	say(d, NOTHING);
	wait_for_more();
	hear(a, "hi");
	wait_for_more();
	hear(d, GET);
	CHECK(in_none());
	fresh();
}

TEST(an_answer_for_a_request_that_is_over_is_for_nobody)
{
	struct atr_conn *c, *a;

	fresh();
	c = looped(new_server(0));
	a = looped(new_client(1));
	ask(a, GET);
	hear(a, NOTHING);
	wait_for_more();
	hear(c, GET);
	ask(a, GET);
	say(c, NOTHING);
	wait_for_more();
	hear(a, NOTHING);
	CHECK(in_none());
	fresh();
}

/* ---- the parent of a request that is sent: what the head says ---- */

TEST(the_ids_in_the_head_come_first_whatever_the_thread_does)
{
	for (int loops = 0; loops < 2; loops++) {
		struct atr_conn *c, *d, *a;

		fresh();
		c = new_server(0);
		d = new_server(1);
		if (loops) {
			looped(c);
			looped(d);
			wait_for_more();
		}
		hear(c, "GET / HTTP/1.1\r\n" TRACEPARENT "\r\n");
		hear(d, FROM("0") "\r\n");
		a = new_client(2);
		a->context = request(d)->op.context; /* connected for another */
		if (loops)
			looped(a);
		ask(a, PASSED);
		CHECK(sent_for(a, request(c)));
		CHECK(request(a)->passes_on);
		ask(a, "GET / HTTP/1.1\r\ntraceparent: " OTHER_IDS "\r\n\r\n");
		CHECK(!request(a)->passes_on && !request(a)->sent_in.valid); /* joined */
		shows(request(a)->op.parent_id, 8, "00f067aa0ba902b7");
		CHECK(!request(a)->op.parent_remote);
		fresh();
	}
}

TEST(in_a_loop_the_request_id_and_the_target_tell)
{
	struct atr_conn *c, *d, *a;

	fresh();
	c = looped(new_server(0));
	d = looped(new_server(1));
	a = looped(new_client(2));
	ask(a, GET);
	wait_for_more();
	hear(c, FROM("1") "\r\n");
	wait_for_more();
	hear(d, FROM("2") "\r\n");
	wait_for_more();
	ask(a, FROM("1") "\r\n");
	CHECK(sent_for(a, request(c)));
	ask(a, FROM("2") "Added: x\r\n\r\n");
	CHECK(sent_for(a, request(d)));
	ask(a, FROM("3") "\r\n");
	CHECK(sent_for_nobody(a));
	ask(a, "GET /b HTTP/1.1\r\nX-Request-Id: 1\r\n\r\n");
	CHECK(sent_for_nobody(a));
	hear(d, FROM("1") "\r\n"); /* two */
	wait_for_more();
	ask(a, FROM("1") "\r\n");
	CHECK(sent_for_nobody(a));
	fresh();
}

TEST(without_a_loop_the_request_id_counts_for_nothing)
{
	struct atr_conn *c, *a;

	fresh();
	c = new_server(0);
	hear(c, FROM("1") "\r\n");
	as_thread(1);
	a = new_client(1);
	ask(a, FROM("1") "\r\n");
	CHECK(sent_for_nobody(a));
	fresh();
}

TEST(cookies_and_credentials_count_for_nothing)
{
	static const char head[] = "GET / HTTP/1.1\r\nCookie: a=b\r\nAuthorization: Basic x\r\n"
				   "Host: h\r\nUser-Agent: u\r\n\r\n";
	struct atr_conn *c, *a;

	fresh();
	c = looped(new_server(0));
	a = looped(new_client(1));
	ask(a, GET);
	wait_for_more();
	hear(c, head);
	wait_for_more();
	ask(a, head);
	CHECK(sent_for_nobody(a));
	fresh();
}

/* ---- what the connection says, and the thread ---- */

TEST(in_a_loop_the_first_request_belongs_to_what_the_connection_was_made_in)
{
	struct atr_conn *c, *d, *a;

	fresh();
	c = looped(new_server(0));
	d = looped(new_server(1));
	a = looped(new_client(2));
	wait_for_more();
	hear(c, GET);
	a->context = request(c)->op.context;
	wait_for_more();
	hear(d, FROM("1") "\r\n");
	ask(a, FROM("1") "\r\n"); /* comes before what else the head says */
	CHECK(sent_for(a, request(c)));
	say(c, NOTHING);
	wait_for_more();
	say(d, NOTHING);
	wait_for_more();
	hear(d, FROM("2") "\r\n");
	ask(a, GET); /* its second is the thread's */
	CHECK(sent_for(a, request(d)));
	fresh();
}

/* MSG_ZEROCOPY, and the like. */
TEST(a_request_that_could_not_be_added_to_has_its_parent_too)
{
	struct atr_conn *c, *d, *a;

	fresh();
	c = looped(new_server(0));
	d = looped(new_server(1));
	a = looped(new_client(2));
	wait_for_more();
	hear(c, GET);
	a->context = request(c)->op.context;
	wait_for_more();
	say(a, GET);
	CHECK(sent_for(a, request(c)));
	say(a, GET);
	CHECK(sent_for_nobody(a)); /* the connection has had its first */
	say(c, NOTHING);
	wait_for_more();
	hear(d, GET);
	say(a, GET);
	CHECK(sent_for(a, request(d)));
	hear(c, GET);
	CHECK(in(request(c))); /* something was done about the other */
	fresh();
}

TEST(an_answer_that_comes_when_the_parent_is_over_is_no_others)
{
	struct atr_http_request *r;
	struct atr_conn *c, *a;

	fresh();
	c = new_server(0);
	a = new_client(1);
	hear(c, GET);
	r = request(c);
	ask(a, GET);
	CHECK_INT(r->cell.waiting, 1);
	hang_up(c);
	c = new_server(0);
	hear(c, GET);
	say(c, NOTHING);
	hear(c, GET);
	CHECK(request(c) == r); /* its memory, and its cell */
	CHECK_INT(r->cell.waiting, 0);
	hear(a, NOTHING);
	CHECK_INT(r->cell.waiting, 0);
	fresh();
}

TEST(in_a_loop_the_first_request_of_a_connection_made_in_none_is_nobodys)
{
	for (int over = 0; over < 2; over++) {
		struct atr_conn *c, *d, *a;

		fresh();
		c = looped(new_server(0));
		d = looped(new_server(1));
		a = looped(new_client(2));
		wait_for_more();
		if (over) { /* made in one that has ended since */
			hear(c, GET);
			a->context = request(c)->op.context;
			say(c, NOTHING);
			wait_for_more();
		}
		hear(d, GET);
		CHECK(in(request(d)));
		ask(a, GET);
		CHECK(sent_for_nobody(a));
		CHECK(in_none()); /* nor is what the loop does next certain */
		wait_for_more();
		hear(c, GET);
		CHECK(in_none()); /* d was not touched by that */
		fresh();
	}
}

TEST(without_a_loop_the_thread_comes_before_the_connection)
{
	struct atr_conn *c, *d, *a;

	fresh();
	c = new_server(0);
	d = new_server(1);
	hear(c, GET);
	a = new_client(2);
	a->context = request(c)->op.context;
	hear(d, GET);
	ask(a, GET);
	CHECK(sent_for(a, request(d)));
	hang_up(a);
	a = new_client(2);
	a->context = request(c)->op.context;
	as_thread(1);
	ask(a, GET GET); /* a helper's: then the connection tells, for its first */
	CHECK(memcmp(oldest(a)->op.parent_id, request(c)->op.context.span_id, 8) == 0);
	CHECK(sent_for_nobody(a));
	fresh();
}

TEST(then_the_processs_context_and_then_nobody)
{
	for (int loops = 0; loops < 2; loops++) {
		struct atr_conn *a;

		fresh();
		a = new_client(0);
		if (loops) {
			looped(a);
			wait_for_more();
		}
		ask(a, GET);
		CHECK(sent_for_nobody(a));
		CHECK(atr_traceparent_parse(&atr_context_process, ATR_SLICE(OTHER_IDS)));
		ask(a, GET);
		CHECK(request(a)->op.has_parent && request(a)->op.parent_remote);
		shows(request(a)->op.parent_id, 8, "00f067aa0ba902b7");
		fresh();
	}
}

/* A head in pieces belongs to what the thread was in at its first byte. */
/* Who started this program waits for no answer of its, and a loop has no work to go on with. */
TEST(what_is_asked_for_the_processs_context_is_not_gone_on_with)
{
	struct atr_cell cell = { .gen = 0 };
	struct atr_conn *a;

	fresh();
	a = looped(new_client(0));
	wait_for_more();
	CHECK(atr_traceparent_parse(&atr_context_process, ATR_SLICE(OTHER_IDS)));
	atr_context_process.open = &cell;
	ask(a, GET);
	CHECK(request(a)->op.has_parent && request(a)->op.parent_remote);
	CHECK(!request(a)->sent_in.valid);
	CHECK_INT(cell.waiting, 0);
	wait_for_more();
	hear(a, NOTHING);
	CHECK(in_none());
	fresh();
}

TEST(the_first_byte_of_a_head_tells_whose_it_is)
{
	struct atr_conn *c, *d, *a;

	fresh();
	c = new_server(0);
	d = new_server(1);
	a = new_client(2);
	hear(c, GET);
	ask(a, "GET / HT");
	hear(d, GET);
	ask(a, "TP/1.1\r\n\r\n");
	CHECK(sent_for(a, request(c)));
	say(c, NOTHING);
	ask(a, "GET / HT");
	say(d, NOTHING);
	ask(a, "TP/1.1\r\n\r\n");
	CHECK(sent_for_nobody(a)); /* it has ended meanwhile */
	fresh();
}

/* ---- the table of docs/design.md ---- */

/* c is served by a loop; a is a connection of a pool, used before. */
static struct atr_conn *c, *d, *a;

static void a_loop_serves(void)
{
	fresh();
	c = looped(new_server(0));
	d = looped(new_server(1));
	a = looped(new_client(2));
	ask(a, GET);
	hear(a, NOTHING);
	wait_for_more();
}

TEST(a_timer_that_may_be_due_makes_a_root)
{
	a_loop_serves();
	atr_context_dispatch(3, atr_now());
	hear(c, GET);
	ask(a, GET);
	CHECK(sent_for(a, request(c)));
	while (atr_now() < atr_tls.round.deadline)
		;
	ask(a, GET);
	CHECK(sent_for_nobody(a));
	fresh();
}

TEST(while_a_request_is_put_off_only_it_has_a_context)
{
	a_loop_serves();
	hear(c, GET);
	wait_for_more(); /* nothing was done about it */
	hear(d, GET);
	ask(a, GET);
	CHECK(sent_for_nobody(a));
	wait_for_more();
	ask(a, GET);
	CHECK(sent_for_nobody(a));
	say(c, NOTHING);
	say(d, NOTHING);
	wait_for_more();
	hear(d, GET);
	ask(a, GET);
	CHECK(sent_for(a, request(d)));
	fresh();
}

TEST(a_request_that_waits_for_an_answer_is_not_put_off)
{
	a_loop_serves();
	hear(c, GET);
	ask(a, GET);
	hear(d, GET);
	CHECK(in(request(d)));
	say(d, NOTHING);
	wait_for_more();
	hear(d, POST "ab");
	CHECK(in(request(d)));
	fresh();
}

TEST(two_that_were_read_before_anything_was_done_make_roots)
{
	a_loop_serves();
	hear(c, GET);
	hear(d, GET);
	ask(a, GET);
	CHECK(sent_for_nobody(a));
	fresh();
}

TEST(what_another_thread_hands_over_makes_roots)
{
	a_loop_serves();
	hear(c, GET);
	atr_context_handed();
	ask(a, GET);
	CHECK(sent_for_nobody(a));
	fresh();
}

TEST(where_one_thread_reads_and_another_calls_it_is_a_root)
{
	a_loop_serves();
	hear(c, GET);
	as_thread(1);
	ask(a, GET);
	CHECK(sent_for_nobody(a));
	fresh();
}

TEST(a_thread_born_of_a_request_is_its_own_while_no_other_is_served)
{
	fresh();
	c = new_server(0);
	d = new_server(1);
	a = new_client(2);
	hear(c, GET);
	as_thread(1);
	atr_tls.context = request(c)->op.context;
	atr_tls.context.inherited = true;
	ask(a, GET);
	CHECK(sent_for(a, request(c)));
	as_thread(0);
	hear(d, GET);
	as_thread(1);
	ask(a, GET);
	CHECK(sent_for_nobody(a));
	fresh();
}

TEST(writing_for_one_after_another_from_a_list_makes_roots)
{
	a_loop_serves();
	hear(c, POST "ab");
	hear(d, POST "ab");
	say(c, "HTTP/1.1 100 Continue\r\n\r\n");
	ask(a, GET);
	CHECK(sent_for_nobody(a));
	fresh();
}

TEST(asking_is_doing_something_about_a_request)
{
	a_loop_serves();
	hear(c, GET);
	ask(a, "GET / HT");
	hear(d, GET);
	CHECK(in(request(d))); /* c is not untouched */
	fresh();
}
