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
#include "tests/unit/fake_http.h"

#define HEAD "GET /a HTTP/1.1\r\nHost: h\r\n" /* and an empty line */
#define GET HEAD "\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
#define NOTHING "HTTP/1.1 204 No Content\r\n\r\n"
#define UPGRADE "GET /a HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
#define CONNECT "CONNECT h:1 HTTP/1.1\r\n\r\n"

/* ---- answers ---- */

static const struct {
	const char *request, *response;
	size_t head; /* its last byte ends the span */
	int status;
	const char *error;
} answers[] = {
#define ANSWER(request, before, body, status, error)                    \
	{                                                               \
		request, before body, sizeof(before) - 1, status, error \
	}
	ANSWER(GET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "hi", 200, "-"),
	ANSWER(GET, "HTTP/1.0 200 OK\nContent-Length: 2\n\n", "hi", 200, "-"),
	ANSWER(GET, "HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n",
	       "1;x\r\na\r\n0\r\nSum: 1\r\n\r\n", 404, "404"),
	ANSWER(GET, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "", 500, "500"),
	ANSWER(GET, "HTTP/1.1 204 No\r\nContent-Length: 9\r\n\r\n", "", 204, "-"),
	ANSWER(GET, "HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n", "", 304, "-"),
	ANSWER("HEAD /a HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "", 200,
	       "-"),
	ANSWER(GET,
	       "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n"
	       "HTTP/1.1 201 Made\r\nContent-Length: 1\r\n\r\n",
	       "x", 201, "-"),
	ANSWER(UPGRADE, "HTTP/1.1 426 No\r\nContent-Length: 1\r\n\r\n", "x", 426, "426"),
	ANSWER(CONNECT, "HTTP/1.1 403 No\r\nContent-Length: 1\r\n\r\n", "x", 403, "403"),
#undef ANSWER
};

TEST(the_last_byte_of_the_responses_head_ends_the_span)
{
	fresh();
	for (size_t i = 0; i < ATR_ARRAY_LEN(answers); i++) {
		for (size_t step = 1; step < 3; step++) {
			const char *p = answers[i].response;
			struct atr_conn *c = new_client(0);
			size_t at = 0;

			ask(c, answers[i].request);
			for (; at + step < answers[i].head; at += step)
				move(c, p + at, step, false);
			if (!CHECK_INT(n_spans, 0))
				printf("    %s\n", p);
			move(c, p + at, answers[i].head - at, false);
			CHECK_INT(last_span(1)->kind, CLIENT);
			CHECK_STR(last_span(1)->name, strncmp(answers[i].request, "GET", 3) == 0
							      ? "GET"
						      : answers[i].request[0] == 'H' ? "HEAD"
										     : "CONNECT");
			CHECK_INT(status_of(last_span(1)), answers[i].status);
			CHECK_STR(error_of(last_span(1)), answers[i].error);
			hear(c, p + answers[i].head);
			CHECK(http_of(c)->response_half.phase == ATR_HTTP_BETWEEN);
			ask(c, GET); /* also where a switch was refused */
			hear(c, OK);
			CHECK_INT(n_spans, 2);
			hang_up(c);
			CHECK_INT(n_spans, 2);
			fresh();
		}
	}
}

TEST(pipelined_requests_have_their_answers_in_order)
{
	static const char responses[] = OK "HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n"
					   "1\r\nx\r\n0\r\n\r\n" NOTHING;
	static const int statuses[] = { 200, 404, 204 };

	for (int singly = 0; singly < 2; singly++) {
		struct atr_context asked[3];
		struct atr_conn *c;

		fresh();
		c = new_client(0);
		for (int i = 0; i < 3; i++) {
			ask(c, GET);
			asked[i] = request(c)->op.context;
		}
		if (singly)
			move_singly(c, responses, false);
		else
			hear(c, responses);
		CHECK_INT(n_spans, 3);
		for (unsigned i = 0; i < n_spans; i++) {
			CHECK_MEM(spans[i]->span_id.data, asked[i].span_id, 8);
			CHECK_INT(status_of(spans[i]), statuses[i]);
			CHECK(!atr_context_usable(&asked[i]));
		}
		hang_up(c);
		all_given_back();
	}
}

TEST(an_answer_may_come_before_the_request_is_complete)
{
	static const char head[] = "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nab";
	struct atr_conn *c;

	fresh();
	c = new_client(0);
	ask(c, head);
	expect_added(request(c), head, sizeof(head) - 5);
	went_as_expected();
	hear(c, "HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n");
	CHECK_STR(error_of(last_span(1)), "413");
	ask(c, "cde" GET);
	expect("cde", 3);
	expect_added(request(c), GET, sizeof(HEAD) - 1);
	went_as_expected();
	hear(c, OK);
	CHECK_INT(n_spans, 2);
	hang_up(c);
	all_given_back();
}

TEST(an_answer_to_what_has_not_gone_is_none)
{
	struct atr_conn *c;

	fresh();
	c = new_client(0);
	CHECK_INT(ask_once(c, GET, sizeof(GET) - 1, 5, 0), 5);
	hear(c, "HTTP/1.1 408 Slow\r\nContent-Length: 0\r\n\r\n");
	CHECK(http_of(c)->foreign);
	hang_up(c);
	CHECK_INT(n_spans, 0);
	all_given_back();
}

TEST(a_response_without_a_length_ends_with_the_connection)
{
	struct atr_conn *c;

	fresh();
	c = new_client(0);
	ask(c, "GET / HTTP/1.0\r\n\r\n");
	hear(c, "HTTP/1.0 200 OK\r\n\r\nHTTP/1.0 404 No\r\n\r\n");
	CHECK_INT(status_of(last_span(1)), 200);
	move_unseen(c, 1 << 30, false);
	move_none(c, false, 0);
	CHECK_INT(http_of(c)->queued, 0);
	hang_up(c);
	CHECK_INT(n_spans, 1);
	all_given_back();
}

TEST(what_follows_a_switch_is_not_http)
{
	static const char *const requests_of[] = { UPGRADE, CONNECT };
	static const char *const responses_of[] = { "HTTP/1.1 101 Go\r\n\r\n",
						    "HTTP/1.1 200 Go\r\n\r\n" };

	for (int i = 0; i < 2; i++) {
		for (int early = 0; early < 2; early++) {
			struct atr_conn *c;

			fresh();
			c = new_client(0);
			ask(c, requests_of[i]);
			CHECK(http_of(c)->request_half.phase == ATR_HTTP_HELD);
			n_wire = 0;
			if (early) /* before the answer: nobody can know */
				ask(c, GET);
			hear(c, responses_of[i]);
			hear(c, OK);
			ask(c, GET);
			CHECK_STR(wire, early ? GET GET : GET);
			CHECK(http_of(c)->request_half.phase == ATR_HTTP_GIVEN_UP);
			hang_up(c);
			CHECK_INT(n_spans, 1);
			CHECK_STR(error_of(last_span(1)), "-");
			all_given_back();
		}
	}
}

TEST(what_answers_in_another_language_ends_the_matter)
{
	static const char *const foreign[] = {
		"SSH-2.0-x\r\n",	   "\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
		"+OK redis\r\n",
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(foreign); i++) {
		for (int singly = 0; singly < 2; singly++) {
			struct atr_conn *c;

			fresh();
			c = new_client(0);
			ask(c, GET GET);
			if (singly)
				move_singly(c, foreign[i], false);
			else
				hear(c, foreign[i]);
			CHECK_STR(error_of(last_span(1)), "malformed_response");
			n_wire = 0;
			ask(c, GET);
			CHECK_STR(wire, GET);
			hear(c, OK);
			hang_up(c);
			CHECK_INT(n_spans, 1);
			CHECK_INT(atr_stats.not_followed, 1);
			all_given_back();
		}
	}
}

TEST(a_body_that_breaks_after_its_head_has_been_answered_is_no_error)
{
	struct atr_conn *c;

	fresh();
	c = new_client(0);
	ask(c, GET GET);
	hear(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx");
	CHECK_STR(error_of(last_span(1)), "-");
	hang_up(c);
	CHECK_INT(n_spans, 1);
	CHECK_INT(atr_stats.not_followed, 1); /* the second */
	all_given_back();
}

TEST(a_response_nobody_saw_is_none)
{
	struct atr_conn *c;

	fresh();
	c = new_client(0);
	ask(c, GET);
	hear(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
	move_unseen(c, 9, false); /* a body, by splice() */
	ask(c, GET);
	move_unseen(c, 9, false); /* a head */
	hang_up(c);
	CHECK_INT(n_spans, 1);
	CHECK_INT(atr_stats.not_followed, 1);
	all_given_back();
}

/* ---- the end of the connection ---- */

TEST(a_request_that_got_no_answer_says_why)
{
	static const struct {
		bool ended, out;
		int err;
		const char *error;
	} ends[] = {
		{ false, false, 0, "-" }, /* the program had enough of it */
		{ true, false, 0, "connection_closed" },
		{ false, false, EAGAIN, "-" },
		{ false, false, ECONNRESET, "connection_reset" },
		{ false, true, EPIPE, "broken_pipe" },
		{ false, true, EAGAIN, "-" },
		{ true, true, EPIPE, "broken_pipe" },
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(ends); i++) {
		struct atr_conn *c;

		fresh();
		c = new_client(0);
		ask(c, GET);
		hear(c, "HTTP/1.1 200 OK\r\nContent");
		if (ends[i].ended)
			move_none(c, false, 0);
		if (ends[i].err)
			move_none(c, ends[i].out, ends[i].err);
		CHECK_INT(n_spans, 0);
		hang_up(c);
		CHECK_STR(error_of(last_span(1)), ends[i].error);
		all_given_back();
	}
}

TEST(a_request_whose_head_did_not_go_is_a_span_only_where_a_call_failed)
{
	for (int fails = 0; fails < 2; fails++) {
		struct atr_conn *c;

		fresh();
		c = new_client(0);
		CHECK_INT(ask_once(c, GET, sizeof(GET) - 1, 0, fails ? ECONNRESET : ENOTCONN), 0);
		hang_up(c);
		CHECK_INT(n_spans, fails);
		if (fails)
			CHECK_STR(error_of(last_span(1)), "connection_reset");
		all_given_back();
	}
}

/* ---- threads, and calls within calls ---- */

TEST(a_call_that_begins_while_another_is_under_way_makes_it_nobodys)
{
	struct atr_source source = { .iov = ATR_PIECE(GET, sizeof(GET) - 1),
				     .n_iov = 1,
				     .total = sizeof(GET) - 1 };

	for (int planned_too = 0; planned_too < 2; planned_too++) {
		struct atr_plan first = { .cut = source.total }, second = first;
		struct atr_conn *c;
		struct atr_moved m;

		fresh();
		c = new_client(0);
		m = (struct atr_moved){ .conn = c, .bytes = source.total };
		CHECK(atr_http_plan(c->talk, c, &source, &first));
		if (planned_too)
			CHECK(!atr_http_plan(c->talk, c, &source, &second));
		else
			say(c, GET);
		CHECK(http_of(c)->lost);
		CHECK_INT(atr_stats.not_followed, 1);
		atr_http_sent_planned(c->talk, &m, &first, 1);
		CHECK(!atr_http_plan(c->talk, c, &source, &second));
		say(c, GET);
		hear(c, OK);
		hang_up(c);
		CHECK_INT(n_spans, 0);
		all_given_back();
	}
}

TEST(a_call_that_never_comes_back_keeps_nothing_when_all_is_over)
{
	struct atr_source source = { .iov = ATR_PIECE(GET, sizeof(GET) - 1),
				     .n_iov = 1,
				     .total = sizeof(GET) - 1 };
	struct atr_plan plan = { .cut = source.total };
	struct atr_conn *c;

	fresh();
	c = new_client(0);
	CHECK(atr_http_plan(c->talk, c, &source, &plan));
	hang_up(c);
	all_given_back();
	c = new_client(0);
	ask(c, "GE");
	CHECK(atr_http_plan(c->talk, c, &source, &plan)); /* two buffers now */
	hang_up(c);
	all_given_back();
}

TEST(a_server_and_a_body_need_no_plan)
{
	struct atr_source source = { .iov = ATR_PIECE("12345", 5), .n_iov = 1, .total = 5 };
	struct atr_plan plan = { .cut = 5 };
	struct atr_conn *c;

	fresh();
	c = new_server(0);
	CHECK(!atr_http_plan(c->talk, c, &source, &plan));
	c = new_client(1);
	ask(c, "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n");
	CHECK(!atr_http_plan(c->talk, c, &source, &plan));
	fresh();
}

TEST(two_threads_in_one_half_make_the_connection_nobodys)
{
	for (int out = 0; out < 2; out++) {
		struct atr_conn *c;

		fresh();
		c = new_client(0);
		ask(c, GET);
		CHECK(atr_http_claim(out ? &http_of(c)->requests : &http_of(c)->responses));
		n_wire = 0;
		if (out)
			ask(c, GET);
		else
			hear(c, OK);
		CHECK_INT(atr_stats.not_followed, 1);
		atr_http_leave(out ? &http_of(c)->requests : &http_of(c)->responses);
		ask(c, GET);
		CHECK_STR(wire, out ? GET GET : GET);
		hear(c, OK);
		hang_up(c);
		CHECK_INT(n_spans, 0);
		CHECK_INT(atr_stats.not_followed, 2);
		all_given_back();
	}
}

#define ROUNDS 300

static struct atr_conn *shared;

static void *read_answers(void *arg)
{
	struct atr_http *h = http_of(shared);

	(void)arg;
	atr_tls.thread = &threads[1];
	for (int i = 0; i < ROUNDS; i++) {
		const struct atr_http_request *r;

		while (!(r = atr_http_oldest(h)) || !atr_load_acquire(&r->sent))
			usleep(10);
		hear(shared, OK);
	}
	return NULL;
}

TEST(one_thread_may_ask_while_another_reads_the_answers)
{
	pthread_t reader;

	fresh();
	shared = new_client(0);
	if (!CHECK(pthread_create(&reader, NULL, read_answers, NULL) == 0))
		return;
	for (int i = 0; i < ROUNDS; i++)
		ask(shared, i % 2 ? GET : "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
	pthread_join(reader, NULL);
	CHECK_INT(n_spans, ROUNDS);
	for (unsigned i = 1; i < n_spans; i++)
		CHECK(memcmp(spans[i]->span_id.data, spans[i - 1]->span_id.data, 8) != 0);
	hang_up(shared);
	CHECK_INT(n_spans, ROUNDS);
	all_given_back();
}

/* ---- for the raw spans ---- */

TEST(a_call_is_told_whose_bytes_it_moved)
{
	static char response[] = OK;
	struct atr_source source = { .iov = ATR_PIECE(GET, sizeof(GET) - 1),
				     .n_iov = 1,
				     .total = sizeof(GET) - 1 };
	struct iovec v = { response, sizeof(response) - 1 };
	struct atr_plan plan = { .cut = source.total };
	struct atr_context of = { .valid = false };
	uint64_t since = 0;
	struct atr_conn *c;
	struct atr_moved m;

	fresh();
	c = new_client(0);
	m = (struct atr_moved){ .conn = c, .bytes = source.total, .of = &of, .since = &since };
	CHECK(atr_http_plan(c->talk, c, &source, &plan));
	atr_http_sent_planned(c->talk, &m, &plan, 1);
	CHECK(atr_context_same(&of, &request(c)->op.context));
	CHECK_INT(since, request(c)->op.start);
	of.valid = false;
	m.iov = &v;
	m.n_iov = 1;
	m.bytes = v.iov_len;
	c->protocol->received(c->talk, &m);
	CHECK(of.valid);
	CHECK_MEM(of.span_id, last_span(1)->span_id.data, 8);
	fresh();
}

/* ---- sampling ---- */

TEST(an_unsampled_request_is_told_to_others_all_the_same)
{
	struct atr_conn *c;

	fresh();
	atr_sampler_init(ATR_SAMPLER_ALWAYS_OFF, 1, true);
	c = new_client(0);
	ask(c, GET);
	CHECK_INT(request(c)->op.context.flags, ATR_FLAG_RANDOM);
	expect_added(request(c), GET, sizeof(HEAD) - 1);
	went_as_expected();
	hear(c, OK);
	hang_up(c);
	CHECK_INT(n_spans, 0);
	all_given_back();
}

TEST(without_an_sdk_what_came_goes_on_unchanged)
{
	static const char going_on[] = HEAD "traceparent: 00-" TRACE "-" PARENT "-01\r\n\r\n";
	struct atr_conn *served, *c;

	fresh();
	atr_sampler_passive = true;
	served = new_server(0);
	c = new_client(1);
	ask(c, GET);
	CHECK_STR(wire, GET); /* nothing came */
	hear(c, OK);
	hear(served, "GET / HTTP/1.1\r\n" TRACEPARENT "\r\n");
	n_wire = 0;
	ask(c, GET);
	CHECK_STR(wire, going_on);
	n_wire = 0;
	ask(c, "GET / HTTP/1.1\r\n" TRACEPARENT "\r\n");
	CHECK_STR(wire, "GET / HTTP/1.1\r\n" TRACEPARENT "\r\n");
	fresh();
	CHECK_INT(n_spans, 0);
}
