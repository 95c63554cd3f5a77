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

#define GET "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
#define POST "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\n" /* and five bytes */
#define UPGRADE "GET /a HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
#define CONNECT "CONNECT h:1 HTTP/1.1\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
#define NOTHING "HTTP/1.1 204 No Content\r\n\r\n"
#define SWITCHED "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n"

/* ---- one request, one span ---- */

TEST(a_request_is_one_server_span_under_the_parent_it_names)
{
	const Atr__Otlp__Span *s;
	struct atr_context handed;
	struct atr_conn *c;

	fresh();
	c = new_server(0);
	hear(c, "GET /a HTTP/1.1\r\nHost: h\r\n" TRACEPARENT "tracestate: x=y\r\n\r\n");
	CHECK_INT(n_spans, 0);
	CHECK(in(request(c)));
	CHECK(atr_tls.context_conn == c);
	CHECK_INT(atr_context_served, 1);
	handed = atr_tls.context;
	say(c, OK);
	s = last_span(1);
	CHECK_INT(s->kind, SERVER);
	CHECK_STR(s->name, "GET");
	shows(s->trace_id.data, 16, TRACE);
	shows(s->parent_span_id.data, 8, PARENT);
	CHECK_MEM(s->span_id.data, handed.span_id, 8);
	CHECK_INT(s->flags & 0x301, 0x301);
	CHECK_STR(s->trace_state, "x=y");
	CHECK_INT(status_of(s), 200);
	CHECK_STR(error_of(s), "-");
	CHECK_STR(attr(s, "url.path")->string_value, "/a");
	CHECK(s->end_time_unix_nano >= s->start_time_unix_nano);
	CHECK(!atr_context_usable(&handed));
	hang_up(c);
	CHECK_INT(n_spans, 1);
	all_given_back();
}

TEST(a_request_without_a_parent_is_a_root_whatever_the_thread_is_in)
{
	struct atr_conn *c;

	fresh();
	CHECK(atr_traceparent_parse(&atr_context_process, ATR_SLICE("00-" TRACE "-" PARENT "-01")));
	atr_tls.context = atr_context_process;
	c = new_server(0);
	hear(c, GET);
	say(c, NOTHING);
	CHECK(is_root(last_span(1)));
	hang_up(c);
	all_given_back();
}

static const char *const asked[] = {
	"GET /a HTTP/1.1\r\nHost: h\r\n" TRACEPARENT "\r\n",
	"\r\n\n\r\nGET /a HTTP/1.0\r\n" TRACEPARENT "\r\n",
	"GET /a HTTP/1.1\n" TRACEPARENT "Host: h\n\n",
	"POST /a HTTP/1.1\r\n" TRACEPARENT "Content-Length: 5\r\n\r\nabcde",
	"PUT /a HTTP/1.1\r\n" TRACEPARENT "Transfer-Encoding: chunked\r\n\r\n"
	"3;x=y\r\nabc\r\n1\r\n\n\r\n0\r\nSum: 1\r\n\r\n",
};

static void served_once(struct atr_conn *c)
{
	const Atr__Otlp__Span *s;

	CHECK(http_of(c)->request_half.phase == ATR_HTTP_BETWEEN);
	CHECK_INT(n_spans, 0);
	say(c, OK);
	s = last_span(1);
	shows(s->parent_span_id.data, 8, PARENT);
	CHECK_INT(status_of(s), 200);
	hang_up(c);
	fresh();
}

TEST(a_request_may_be_cut_anywhere_and_come_byte_by_byte)
{
	struct atr_conn *c;

	fresh();
	for (size_t i = 0; i < ATR_ARRAY_LEN(asked); i++) {
		size_t n = strlen(asked[i]);

		for (size_t cut = 0; cut <= n; cut++) {
			c = new_server(0);
			if (cut)
				move(c, asked[i], cut, false);
			if (cut < n)
				hear(c, asked[i] + cut);
			served_once(c);
		}
		c = new_server(0);
		move_singly(c, asked[i], false);
		served_once(c);
	}
}

TEST(a_request_may_lie_in_many_pieces_of_one_call)
{
	fresh();
	for (size_t i = 0; i < ATR_ARRAY_LEN(asked); i++) {
		struct iovec v[200];
		struct atr_conn *c = new_server(0);
		struct atr_moved m = { .conn = c, .iov = v, .bytes = strlen(asked[i]) };

		for (; m.n_iov < m.bytes; m.n_iov++)
			v[m.n_iov] = (struct iovec){ (char *)(uintptr_t)asked[i] + m.n_iov, 1 };
		v[m.n_iov++] = (struct iovec){ (char *)(uintptr_t) "GARBAGE", 7 }; /* not filled */
		c->protocol->received(c->talk, &m);
		served_once(c);
	}
}

/* ---- where a response ends ---- */

static const struct {
	const char *request, *response;
	int status;
	const char *error;
} answers[] = {
	{ GET, OK, 200, "-" },
	{ GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "-" },
	{ GET, "HTTP/1.0 404 No\nContent-Length: 3\n\nabc", 404, "-" },
	{ GET, "HTTP/1.1 503 No\r\nContent-Length: 1\r\n\r\nx", 503, "503" },
	{ GET,
	  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	  "a;b=c\r\n0123456789\r\n0\r\nSum: 1\r\nMore: 2\r\n\r\n",
	  200, "-" },
	{ GET, NOTHING, 204, "-" },
	{ GET, "HTTP/1.1 204 No\r\nContent-Length: 9\r\n\r\n", 204, "-" },
	{ GET, "HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n", 304, "-" },
	{ GET, "HTTP/1.1 304 Same\r\nTransfer-Encoding: chunked\r\n\r\n", 304, "-" },
	{ "HEAD /a HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 200, "-" },
	{ "HEAD /a HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", 200, "-" },
	{ GET, "HTTP/1.1 100 Continue\r\n\r\n" OK, 200, "-" },
	{ GET, "HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" OK, 200, "-" },
	{ UPGRADE, SWITCHED, 101, "-" },
	{ UPGRADE, "HTTP/1.1 426 No\r\nContent-Length: 1\r\n\r\nx", 426, "-" },
	{ CONNECT, "HTTP/1.1 200 Go\r\nContent-Length: 9\r\n\r\n", 200, "-" },
	{ CONNECT, "HTTP/1.1 403 No\r\nContent-Length: 1\r\n\r\nx", 403, "-" },
};

TEST(the_last_byte_of_the_response_ends_the_span_however_it_is_framed)
{
	fresh();
	for (size_t i = 0; i < ATR_ARRAY_LEN(answers); i++) {
		const char *p = answers[i].response;

		for (unsigned at_once = 0; at_once < 2; at_once++) {
			struct atr_conn *c = new_server(0);
			size_t n = strlen(p), before = at_once ? n - 1 : 1;

			hear(c, answers[i].request);
			for (size_t at = 0; at + before < n; at += before)
				move(c, p + at, before, true);
			if (at_once)
				CHECK_INT(n_spans, 0);
			else if (!CHECK_INT(n_spans, 0))
				printf("    %s\n", p);
			move(c, p + n - 1, 1, true);
			CHECK_INT(status_of(last_span(1)), answers[i].status);
			CHECK_STR(error_of(last_span(1)), answers[i].error);
			hang_up(c);
			CHECK_INT(n_spans, 1);
			fresh();
		}
	}
}

TEST(a_response_without_a_length_ends_with_what_this_side_sends)
{
	for (int by_shutdown = 0; by_shutdown < 2; by_shutdown++) {
		struct atr_conn *c;

		fresh();
		c = new_server(0);
		hear(c, GET);
		say(c, "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 404");
		say(c, "No\r\n\r\n");
		move_unseen(c, 1000000, true);
		CHECK_INT(n_spans, 0);
		if (by_shutdown) {
			c->protocol->shut(c->talk, c, 3);
			CHECK_INT(n_spans, 1);
		}
		hang_up(c);
		CHECK_INT(status_of(last_span(1)), 200);
		CHECK_STR(error_of(last_span(1)), "-");
		all_given_back();
	}
}

TEST(a_body_that_nobody_saw_is_fine_as_far_as_its_length_goes)
{
	struct atr_conn *c;

	fresh();
	c = new_server(0);
	hear(c, POST);
	move_unseen(c, 3, false); /* a recv() that discards */
	move_unseen(c, 2, false);
	CHECK(http_of(c)->request_half.phase == ATR_HTTP_BETWEEN);
	say(c, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
	move_unseen(c, 6, true);
	CHECK_INT(n_spans, 0);
	move_unseen(c, 1, true);
	CHECK_INT(n_spans, 1);
	hear(c, GET);
	say(c, NOTHING);
	CHECK_INT(n_spans, 2);
	hear(c, POST "abc");
	move_unseen(c, 3, false); /* one more than there are */
	CHECK(http_of(c)->request_half.phase == ATR_HTTP_GIVEN_UP);
	say(c, NOTHING);
	CHECK_INT(n_spans, 3);
	hang_up(c);
	all_given_back();
}

TEST(an_answer_may_come_before_the_request_is_there)
{
	struct atr_conn *c;

	fresh();
	c = new_server(0);
	hear(c, POST "ab");
	say(c, "HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n");
	CHECK_INT(status_of(last_span(1)), 413);
	hear(c, "cde" GET); /* the rest, and the next */
	say(c, OK);
	CHECK_INT(status_of(last_span(2)), 200);
	hang_up(c);
	all_given_back();
}

/* ---- other protocols behind this one ---- */

TEST(what_follows_a_switch_is_not_http)
{
	static const char *const requests_of[] = { UPGRADE, CONNECT };
	static const char *const responses_of[] = { SWITCHED, "HTTP/1.1 200 Go\r\n\r\n" };

	for (int i = 0; i < 2; i++) {
		struct atr_conn *c;

		fresh();
		c = new_server(0);
		hear(c, requests_of[i]);
		CHECK(http_of(c)->request_half.phase == ATR_HTTP_HELD);
		say(c, responses_of[i]);
		CHECK_INT(n_spans, 1);
		hear(c, GET);
		say(c, OK);
		hear(c, GET);
		CHECK(http_of(c)->request_half.phase == ATR_HTTP_GIVEN_UP);
		hang_up(c);
		CHECK_INT(n_spans, 1);
		CHECK_INT(atr_stats.not_followed, 0);
		all_given_back();
	}
}

TEST(where_the_switch_is_refused_the_next_request_is_followed)
{
	static const char *const requests_of[] = { UPGRADE, CONNECT };

	for (int i = 0; i < 2; i++) {
		struct atr_conn *c;

		fresh();
		c = new_server(0);
		hear(c, requests_of[i]);
		say(c, "HTTP/1.1 400 No\r\nContent-Length: 1\r\n\r\nx");
		hear(c, GET);
		CHECK(in(request(c)));
		say(c, OK);
		CHECK_INT(status_of(last_span(2)), 200);
		hear(c, requests_of[i]); /* and asked for again */
		say(c, i ? "HTTP/1.1 200 Go\r\n\r\n" : SWITCHED);
		hear(c, GET);
		hang_up(c);
		CHECK_INT(n_spans, 3);
		all_given_back();
	}
}

TEST(what_comes_before_the_switch_is_answered_is_left_alone)
{
	struct atr_conn *c;

	fresh();
	c = new_server(0);
	hear(c, UPGRADE GET);
	CHECK(http_of(c)->request_half.phase == ATR_HTTP_GIVEN_UP);
	say(c, SWITCHED);
	CHECK_INT(status_of(last_span(1)), 101);
	hang_up(c);
	CHECK_INT(n_spans, 1);
	all_given_back();
}

TEST(an_upgrade_with_a_body_is_held_when_the_body_is_there)
{
	struct atr_conn *c;

	fresh();
	c = new_server(0);
	hear(c,
	     "POST /a HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 1\r\n\r\n");
	CHECK(http_of(c)->request_half.phase == ATR_HTTP_IN_BODY);
	hear(c, "x");
	CHECK(http_of(c)->request_half.phase == ATR_HTTP_HELD);
	say(c, OK);
	hear(c, GET);
	say(c, OK);
	CHECK_INT(n_spans, 2);
	hang_up(c);
	all_given_back();
}

/* ---- pipelining ---- */

#define NTH(n) "GET /" #n " HTTP/1.1\r\ntraceparent: 00-" TRACE "-000000000000000" #n "-01\r\n\r\n"

TEST(pipelined_requests_are_answered_in_order)
{
	static const char responses[] = OK "HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n"
					   "1\r\nx\r\n0\r\n\r\n" NOTHING;
	static const int statuses[] = { 200, 404, 204 };

	for (int singly = 0; singly < 4; singly++) {
		struct atr_conn *c;

		fresh();
		c = new_server(0);
		if (singly & 1)
			move_singly(c, NTH(1) NTH(2) NTH(3), false);
		else
			hear(c, NTH(1) NTH(2) NTH(3));
		CHECK_INT(http_of(c)->queued, 3);
		CHECK_INT(atr_context_served, 3);
		if (singly & 2)
			move_singly(c, responses, true);
		else
			say(c, responses);
		CHECK_INT(n_spans, 3);
		CHECK_INT(http_of(c)->queued, 0);
		for (unsigned i = 0; i < n_spans; i++) {
			CHECK_INT(spans[i]->parent_span_id.data[7], i + 1);
			CHECK_INT(status_of(spans[i]), statuses[i]);
		}
		hang_up(c);
		all_given_back();
	}
}

TEST(a_request_with_another_behind_it_knows)
{
	struct atr_http_request *first;
	struct atr_conn *c;

	fresh();
	c = new_server(0);
	hear(c, GET);
	first = request(c);
	CHECK(!first->cell.crowded);
	hear(c, GET);
	CHECK(first->cell.crowded && !request(c)->cell.crowded);
	hang_up(c);
	fresh();
	c = new_server(0);
	hear(c, GET);
	CHECK(!request(c)->cell.crowded); /* although it was another's memory */
	say(c, NOTHING);
	hear(c, GET);
	CHECK(!request(c)->cell.crowded);
	hang_up(c);
	all_given_back();
}

TEST(more_requests_than_there_is_room_for_are_not_followed)
{
	struct atr_conn *c;

	fresh();
	c = new_server(0);
	for (int i = 0; i < ATR_HTTP_QUEUE_MAX - 1; i++)
		hear(c, GET);
	say(c, NOTHING); /* room for one more */
	hear(c, GET GET);
	CHECK_INT(http_of(c)->queued, ATR_HTTP_QUEUE_MAX);
	CHECK_INT(atr_stats.not_followed, 0);
	hear(c, GET);
	CHECK_INT(atr_stats.not_followed, 1);
	hear(c, GET GET);
	CHECK_INT(http_of(c)->queued, ATR_HTTP_QUEUE_MAX);
	CHECK_INT(atr_stats.not_followed, 1);
	for (int i = 0; i < ATR_HTTP_QUEUE_MAX + 1; i++)
		say(c, NOTHING);
	CHECK_INT(n_spans, ATR_HTTP_QUEUE_MAX + 1);
	CHECK_STR(error_of(last_span(ATR_HTTP_QUEUE_MAX + 1)), "-");
	hear(c, GET);
	hang_up(c);
	CHECK_INT(n_spans, ATR_HTTP_QUEUE_MAX + 1);
	all_given_back();
}

/* ---- what is not understood ---- */

static const char *const malformed[] = {
	"GET /a HTTP/1.1\r\nContent-Length: x\r\n\r\n",
	"GET /a HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
	"GET /a HTTP/1.1\r\nName : x\r\n\r\n",
	"GET /a HTTP/2.0\r\n\r\n",
	"\r \nGET /a HTTP/1.1\r\n\r\n",
	"\rGET /a HTTP/1.1\r\n\r\n",
	"\x16\x03\x01\x02\x01",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
};

TEST(what_is_malformed_makes_no_span_and_nothing_after_it_does)
{
	for (size_t i = 0; i < ATR_ARRAY_LEN(malformed); i++) {
		for (int singly = 0; singly < 2; singly++) {
			struct atr_conn *c;

			fresh();
			c = new_server(0);
			if (singly)
				move_singly(c, malformed[i], false);
			else
				hear(c, malformed[i]);
			if (!CHECK(http_of(c)->request_half.phase == ATR_HTTP_GIVEN_UP))
				printf("    %s\n", malformed[i]);
			CHECK_INT(c->heard, ATR_HEARD_ALL);
			CHECK_INT(c->speaker, ATR_SPEAKER_PROGRAM);
			CHECK_INT(attrs_changed, 0);
			hear(c, GET);
			say(c, OK);
			hang_up(c);
			CHECK_INT(n_spans, 0);
			CHECK_INT(atr_stats.not_followed, 0);
			all_given_back();
		}
	}
}

TEST(the_first_request_that_is_understood_makes_the_connection_known)
{
	struct atr_conn *c;

	fresh();
	c = new_server(0);
	hear(c, "GET /a HTTP/1.1\r\n");
	CHECK_INT(c->heard, ATR_HEARD_SOME);
	hear(c, "\r\n" GET);
	CHECK_INT(c->heard, ATR_HEARD_ALL);
	CHECK_INT(c->speaker, ATR_SPEAKER_PROTOCOL);
	CHECK_INT(attrs_changed, 1);
	hang_up(c);
	all_given_back();
}

TEST(a_malformed_request_behind_a_good_one_leaves_that_alone)
{
	struct atr_conn *c;

	fresh();
	c = new_server(0);
	hear(c, GET "GET /a HTTP/1.1\r\nbad\r\n\r\n");
	say(c, OK);
	CHECK_STR(error_of(last_span(1)), "-");
	say(c, "HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"); /* to what nobody understood */
	hear(c, GET);
	hang_up(c);
	CHECK_INT(n_spans, 1);
	all_given_back();
}

TEST(a_body_whose_framing_is_broken_is_given_up_its_request_is_not)
{
	struct atr_conn *c;

	fresh();
	c = new_server(0);
	hear(c, "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n");
	CHECK(http_of(c)->request_half.phase == ATR_HTTP_GIVEN_UP);
	say(c, "HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n");
	CHECK_INT(status_of(last_span(1)), 400);
	hang_up(c);
	CHECK_INT(n_spans, 1);
	all_given_back();
}

TEST(a_malformed_response_ends_its_span_with_an_error)
{
	static const char *const responses[] = {
		"220 smtp\r\n",
		"\r\nHTTP/1.1 200 OK\r\n\r\n", /* only requests may have empty lines before */
		"HTTP/1.1 2x0 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(responses); i++) {
		struct atr_conn *c;

		fresh();
		c = new_server(0);
		hear(c, GET GET);
		move_singly(c, responses[i], true);
		CHECK_STR(error_of(last_span(1)), "malformed_response");
		hear(c, GET); /* whose answer would not be seen */
		say(c, OK);
		hang_up(c);
		CHECK_INT(n_spans, 1);
		CHECK_INT(atr_stats.not_followed, 1); /* the second */
		all_given_back();
	}
}

TEST(a_response_that_nobody_saw_leaves_its_request_unfollowed)
{
	struct atr_conn *c;

	fresh();
	c = new_server(0);
	hear(c, GET);
	move_unseen(c, 100, true); /* a head by sendfile() */
	CHECK_INT(n_spans, 0);
	say(c, OK);
	hang_up(c);
	CHECK_INT(n_spans, 0);
	CHECK_INT(atr_stats.not_followed, 1);
	all_given_back();
}

TEST(a_response_that_nobody_asked_for_is_no_span)
{
	struct atr_conn *c;

	fresh();
	c = new_server(0);
	hear(c, GET);
	say(c, NOTHING OK);
	CHECK_INT(n_spans, 1);
	CHECK(http_of(c)->response_half.phase == ATR_HTTP_GIVEN_UP);
	hang_up(c);
	CHECK_INT(n_spans, 1);
	all_given_back();
}

TEST(a_head_may_be_64_kib_long_but_no_longer)
{
	static char text[ATR_HTTP_HEAD_MAX + 64];
	static const char line[] = "GET /a HTTP/1.1\r\nX: ";

	for (int more = 0; more < 2; more++) {
		size_t n = ATR_HTTP_HEAD_MAX + (size_t)more;

		for (size_t piece = n; piece > 4000; piece = piece / 5 + 1) {
			struct atr_conn *c;

			fresh();
			c = new_server(0);
			memset(text, 'x', sizeof(text));
			memcpy(text, line, sizeof(line) - 1);
			memcpy(text + n - 4, "\r\n\r\n", 4);
			for (size_t at = 0; at < n; at += piece)
				move(c, text + at, n - at < piece ? n - at : piece, false);
			CHECK_INT(http_of(c)->queued, !more);
			hear(c, GET);
			CHECK_INT(http_of(c)->queued, more ? 0 : 2);
			hang_up(c);
			all_given_back();
		}
	}
}

/* ---- the end of the connection ---- */

TEST(a_request_that_got_no_answer_says_why)
{
	static const struct {
		const char *response;
		int err;
		const char *error;
	} ends[] = {
		{ "", 0, "connection_closed" },
		{ "", EAGAIN, "connection_closed" },
		{ "", EINTR, "connection_closed" },
		{ "", ECONNRESET, "connection_reset" },
		{ "", ETIMEDOUT, "timed_out" },
		{ "HTTP/1.1 200 OK\r\nConte", 0, "connection_closed" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx", 0, "response_incomplete" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", 0,
		  "response_incomplete" },
		{ "HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nx", EPIPE, "broken_pipe" },
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(ends); i++) {
		for (int out = 0; out < 2; out++) {
			struct atr_conn *c;

			fresh();
			c = new_server(0);
			hear(c, GET);
			if (ends[i].response[0])
				say(c, ends[i].response);
			if (ends[i].err)
				move_none(c, out, ends[i].err);
			CHECK_INT(n_spans, 0);
			hang_up(c);
			CHECK_STR(error_of(last_span(1)), ends[i].error);
			all_given_back();
		}
	}
}

TEST(all_that_are_open_end_with_the_connection)
{
	struct atr_conn *c;

	fresh();
	c = new_server(0);
	hear(c, GET GET GET "GET /half");
	say(c, OK "HTTP/1.1 404 No\r\n");
	move_none(c, false, 0);
	hang_up(c);
	CHECK_INT(n_spans, 3);
	CHECK_STR(error_of(spans[0]), "-");
	CHECK_STR(error_of(spans[1]), "connection_closed");
	CHECK_STR(error_of(spans[2]), "connection_closed");
	CHECK_INT(atr_stats.not_followed, 0);
	all_given_back();
}

TEST(a_parent_that_has_forked_leaves_the_answer_to_its_child)
{
	struct atr_conn *c;

	fresh();
	c = new_server(0);
	hear(c, GET);
	atr_process.children++;
	hang_up(c);
	CHECK_INT(n_spans, 0);
	CHECK_INT(atr_stats.not_followed, 0);
	all_given_back();
	/* Forked before the request came: it is this process's own. */
	c = new_server(0);
	hear(c, GET);
	hang_up(c);
	CHECK_STR(error_of(last_span(1)), "connection_closed");
	all_given_back();
}

TEST(a_child_ends_what_its_parent_began)
{
	struct atr_conn *c;

	fresh();
	c = new_server(0);
	hear(c, "GET /a HTTP/1.1\r\n" TRACEPARENT "\r\n");
	atr_process.epoch++;
	say(c, OK);
	shows(last_span(1)->parent_span_id.data, 8, PARENT);
	hear(c, GET);
	atr_process.epoch++;
	say(c, "what?\r\n");
	CHECK_STR(error_of(last_span(2)), "malformed_response");
	hang_up(c);
	all_given_back();
}

TEST(of_an_inherited_connection_only_what_was_answered_is_a_span)
{
	struct atr_conn *c;

	fresh();
	c = new_server(0);
	c->inherited = true;
	hear(c, GET GET GET);
	say(c, OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
	hang_up(c);
	CHECK_STR(error_of(last_span(2)), "response_incomplete");
	all_given_back();
}

/* ---- threads that should not ---- */

TEST(two_threads_in_one_half_make_the_connection_nobodys)
{
	for (int out = 0; out < 2; out++) {
		struct atr_conn *c;

		fresh();
		c = new_server(0);
		hear(c, GET GET);
		CHECK(atr_http_claim(out ? &http_of(c)->responses : &http_of(c)->requests));
		if (out)
			say(c, NOTHING);
		else
			hear(c, GET);
		CHECK_INT(atr_stats.not_followed, 1);
		atr_http_leave(out ? &http_of(c)->responses : &http_of(c)->requests);
		say(c, NOTHING);
		hear(c, GET);
		CHECK_INT(http_of(c)->queued, 2);
		hang_up(c);
		CHECK_INT(n_spans, 0);
		CHECK_INT(atr_stats.not_followed, 3);
		all_given_back();
	}
}

/* ---- memory that is refused ---- */

TEST(without_memory_there_is_no_span_and_no_harm)
{
	struct atr_pool keep;
	struct atr_conn *c;

	fresh();
	refuse(&connections, &keep);
	CHECK(atr_http_protocol.begin(&conns[1], false) == NULL);
	connections = keep;
	c = new_server(0);
	refuse(&requests, &keep);
	CHECK(atr_http_protocol.begin(&conns[1], false) == NULL);
	hear(c, GET);
	requests = keep;
	CHECK_INT(atr_stats.no_memory, 2);
	CHECK(http_of(c)->request_half.phase == ATR_HTTP_GIVEN_UP);
	hang_up(c);
	c = new_server(0);
	refuse(&chunks, &keep);
	hear(c, GET);
	CHECK(in(request(c))); /* it is handed on all the same */
	CHECK_INT(atr_stats.no_memory, 3);
	say(c, OK);
	chunks = keep;
	refuse(&buffers, &keep);
	hear(c, GET GET "GE"); /* only what is in pieces needs one */
	buffers = keep;
	CHECK_INT(http_of(c)->queued, 2);
	CHECK(http_of(c)->request_half.phase == ATR_HTTP_GIVEN_UP);
	say(c, NOTHING NOTHING);
	hang_up(c);
	CHECK_INT(n_spans, 2);
	all_given_back();
}

/* ---- sampling and what else may come ---- */

TEST(an_unsampled_request_leaves_nothing_but_its_context)
{
	struct atr_conn *c;

	fresh();
	c = new_server(0);
	hear(c, "GET /a HTTP/1.1\r\ntraceparent: 00-" TRACE "-" PARENT "-00\r\n\r\n");
	CHECK(in(request(c)));
	shows(atr_tls.context.trace_id, 16, TRACE);
	CHECK_INT(atr_tls.context.flags, 0);
	CHECK(request(c)->attrs == NULL);
	say(c, OK);
	hang_up(c);
	CHECK_INT(n_spans, 0);
	all_given_back();
}

TEST(a_decision_without_ids_is_kept_to)
{
	struct atr_conn *c;

	fresh();
	settings("b3", NULL);
	c = new_server(0);
	hear(c, "GET /a HTTP/1.1\r\nb3: 0\r\n\r\n");
	CHECK(in(request(c)) && !request(c)->op.recording);
	say(c, NOTHING);
	hear(c, "GET /a HTTP/1.1\r\nb3: d\r\n\r\n");
	CHECK(request(c)->op.context.debug);
	atr_sampler_init(ATR_SAMPLER_ALWAYS_OFF, 1, true);
	say(c, NOTHING);
	CHECK(is_root(last_span(1)));
	hear(c, GET);
	say(c, NOTHING);
	CHECK_INT(n_spans, 1);
	hear(c, "GET /a HTTP/1.1\r\nb3: 1\r\n\r\n");
	say(c, NOTHING);
	CHECK_INT(n_spans, 2);
	hang_up(c);
	all_given_back();
}

TEST(a_plain_trace_id_is_the_roots)
{
	struct atr_conn *c;

	fresh();
	atr_propagators_init("none", "X-Trace", ignore);
	c = new_server(0);
	hear(c, "GET /a HTTP/1.1\r\nX-Trace: " TRACE "\r\n\r\n");
	say(c, NOTHING);
	CHECK(is_root(last_span(1)));
	shows(last_span(1)->trace_id.data, 16, TRACE);
	hang_up(c);
	all_given_back();
}

TEST(without_an_sdk_what_came_is_the_context_unchanged)
{
	struct atr_conn *c;

	fresh();
	atr_sampler_passive = true;
	c = new_server(0);
	hear(c, "GET /a HTTP/1.1\r\n" TRACEPARENT "\r\n");
	shows(atr_tls.context.span_id, 8, PARENT);
	say(c, NOTHING);
	CHECK(atr_context_current() == NULL);
	hear(c, GET);
	CHECK(atr_context_current() == NULL);
	say(c, NOTHING);
	hang_up(c);
	CHECK_INT(n_spans, 0);
	all_given_back();
}

/* ---- for the raw spans ---- */

TEST(a_call_is_told_whose_bytes_it_moved)
{
	static char request_text[] = GET, response_text[] = OK;
	struct iovec v = { request_text, sizeof(request_text) - 1 };
	struct atr_context of = { .valid = false };
	uint64_t since = 0;
	struct atr_conn *c;
	struct atr_moved m;

	fresh();
	c = new_server(0);
	m = (struct atr_moved){ .conn = c, .iov = &v, .n_iov = 1, .of = &of, .since = &since };
	m.bytes = v.iov_len;
	c->protocol->received(c->talk, &m);
	CHECK(atr_context_same(&of, &request(c)->op.context));
	CHECK_INT(since, request(c)->op.start);
	of.valid = false;
	v = (struct iovec){ response_text, sizeof(response_text) - 1 };
	m.bytes = v.iov_len;
	c->protocol->sent(c->talk, &m);
	CHECK(of.valid);
	CHECK_MEM(of.span_id, last_span(1)->span_id.data, 8);
	hang_up(c);
	all_given_back();
}
