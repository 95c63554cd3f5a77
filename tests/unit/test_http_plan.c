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
#define LINE 70 /* bytes of our traceparent */
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
#define NOTHING "HTTP/1.1 204 No Content\r\n\r\n"

/* ---- where our lines go ---- */

static const struct {
	const char *head, *rest;
} texts[] = {
	{ HEAD, "\r\n" },
	{ "\r\n\r\n" HEAD, "\r\n" },
	{ "GET /a HTTP/1.0\nHost: h\n", "\n" },
	{ "GET /a HTTP/1.1\n", "\r\n" },
	{ "POST /a HTTP/1.1\r\nContent-Length: 21\r\n", "\r\nGET / HTTP/1.1\r\n\r\n..." },
	{ "PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
	  "\r\n3;x=y\r\nabc\r\n2\r\n\r\n\r\n0\r\nSum: 1\r\n\r\n" },
};

static char whole[512];

static size_t whole_text(size_t i)
{
	return (size_t)snprintf(whole, sizeof(whole), "%s%s", texts[i].head, texts[i].rest);
}

/* It went, once, with its line; the next one too, and both are spans. */
static void asked_once(struct atr_conn *c, size_t i)
{
	const struct atr_http_request *first = atr_http_oldest(http_of(c));

	if (!CHECK(first != NULL))
		return;
	expect_added(first, whole, strlen(texts[i].head));
	if (!went_as_expected())
		printf("    text %zu\n", i);
	CHECK(http_of(c)->request_half.phase == ATR_HTTP_BETWEEN);
	CHECK(http_of(c)->request_half.buf == NULL);
	ask(c, GET);
	expect_added(request(c), GET, sizeof(HEAD) - 1);
	went_as_expected();
	hear(c, OK OK);
	hang_up(c);
	CHECK_INT(n_spans, 2);
	CHECK_INT(atr_stats.not_injected, 0);
	fresh();
}

TEST(our_lines_go_right_before_the_empty_line_wherever_a_call_ends)
{
	fresh();
	for (size_t i = 0; i < ATR_ARRAY_LEN(texts); i++) {
		size_t n = whole_text(i);
		struct atr_conn *c;

		for (size_t cut = 1; cut <= n; cut++) {
			c = new_client(0);
			ask_bytes(c, whole, cut);
			ask_bytes(c, whole + cut, n - cut);
			asked_once(c, i);
		}
		c = new_client(0);
		for (size_t at = 0; at < n; at++)
			ask_bytes(c, whole + at, 1);
		asked_once(c, i);
	}
}

TEST(a_call_of_many_buffers_is_one_text)
{
	fresh();
	for (size_t i = 0; i < ATR_ARRAY_LEN(texts); i++) {
		size_t n = whole_text(i);

		for (unsigned pieces = 2; pieces < 60 && pieces < n; pieces += 7) {
			struct atr_conn *c = new_client(0);

			ask_pieces = pieces;
			ask_bytes(c, whole, n);
			ask_pieces = 1;
			asked_once(c, i);
		}
	}
}

TEST(each_of_many_requests_in_one_call_gets_its_lines)
{
	for (unsigned n = 2; n <= 3 * ATR_INSERTS_MAX; n++) {
		const struct atr_http_request *r;
		struct atr_conn *c;

		fresh();
		c = new_client(0);
		for (unsigned i = 0; i < n; i++)
			memcpy(whole + i * strlen("GET / HTTP/1.1\n\n"), "GET / HTTP/1.1\n\n", 17);
		ask(c, whole);
		r = atr_http_oldest(http_of(c));
		for (unsigned i = 0; i < n && CHECK(r != NULL); i++, r = r->next)
			expect_added(r, "GET / HTTP/1.1\n\n", 15);
		CHECK(r == NULL);
		went_as_expected();
		for (unsigned i = 0; i < n; i++)
			hear(c, NOTHING);
		CHECK_INT(n_spans, n);
		hang_up(c);
		all_given_back();
	}
}

TEST(a_long_head_is_walked_through_and_one_that_is_too_long_left_alone)
{
	static char text[ATR_HTTP_HEAD_MAX + 64];

	for (int more = 0; more < 2; more++) {
		size_t n = ATR_HTTP_HEAD_MAX + 2 * (size_t)more;
		struct atr_conn *c;

		fresh();
		c = new_client(0);
		memset(text, 'x', sizeof(text));
		memcpy(text, "GET /a HTTP/1.1\r\nX: ", 20);
		memcpy(text + n - 4, "\r\n\r\n", 4);
		text[n] = '\0';
		ask_bytes(c, text, 5000);
		ask_bytes(c, text + 5000, n - 5000);
		if (more)
			expect(text, n);
		else
			expect_added(request(c), text, n - 2);
		went_as_expected();
		CHECK(http_of(c)->request_half.phase ==
		      (more ? ATR_HTTP_GIVEN_UP : ATR_HTTP_BETWEEN));
		hang_up(c);
		all_given_back();
	}
}

TEST(what_came_with_the_trace_goes_along)
{
	struct atr_conn *in_conn, *c;
	char text[256];

	fresh();
	in_conn = new_server(0);
	hear(in_conn, "GET / HTTP/1.1\r\n" TRACEPARENT "tracestate: x=y\r\nbaggage: k=v\r\n\r\n");
	c = new_client(1);
	ask(c, GET);
	(void)snprintf(text, sizeof(text), HEAD "%stracestate: x=y\r\nbaggage: k=v\r\n\r\n",
		       line_of(&request(c)->op.context));
	expect(text, strlen(text));
	went_as_expected();
	ask(c, "GET / HTTP/1.1\r\nbaggage: own=1\r\n\r\n");
	(void)snprintf(text, sizeof(text),
		       "GET / HTTP/1.1\r\nbaggage: own=1\r\n%stracestate: x=y\r\n\r\n",
		       line_of(&request(c)->op.context));
	expect(text, strlen(text));
	went_as_expected();
	hang_up(in_conn); /* while they are on their way */
	hear(c, OK OK);
	CHECK_STR(last_span(3)->trace_state, "x=y"); /* kept for them */
	hang_up(c);
	all_given_back();
}

TEST(no_lines_go_where_they_are_denied_or_there_are_none)
{
	for (int denied = 0; denied < 2; denied++) {
		struct atr_conn *c;

		fresh();
		settings(denied ? NULL : "none", denied ? "x, h" : NULL);
		c = new_client(0);
		ask(c, GET);
		ask(c, "GET http://h:80/ HTTP/1.1\r\nHost: other\r\n\r\n");
		CHECK_STR(wire, GET "GET http://h:80/ HTTP/1.1\r\nHost: other\r\n\r\n");
		if (denied) {
			n_wire = 0;
			ask(c, "GET / HTTP/1.1\r\nHost: other\r\n\r\n");
			expect_added(request(c), "GET / HTTP/1.1\r\nHost: other\r\n\r\n", 29);
			went_as_expected();
			hear(c, NOTHING);
		}
		hear(c, OK OK);
		hang_up(c);
		CHECK_INT(n_spans, denied ? 3 : 2);
		CHECK_INT(atr_stats.not_injected, 0);
		all_given_back();
	}
}

/* ---- contexts that the program sends itself ---- */

TEST(a_context_of_the_programs_own_is_joined)
{
	static const char own_text[] = "GET / HTTP/1.1\r\n" TRACEPARENT "\r\n";
	const Atr__Otlp__Span *s;
	struct atr_conn *c;

	fresh();
	c = new_client(0);
	for (size_t i = 0; i + 1 < sizeof(own_text); i++)
		ask_bytes(c, own_text + i, 1);
	CHECK_STR(wire, own_text);
	CHECK(!request(c)->awaited && !request(c)->sent_in.valid);
	hear(c, OK);
	s = last_span(1);
	shows(s->trace_id.data, 16, TRACE);
	shows(s->parent_span_id.data, 8, PARENT);
	CHECK_INT(s->flags & 0x300, 0x100); /* not remote */
	hang_up(c);
	all_given_back();
}

/* text with the span id of its TRACEPARENT replaced */
static void expect_replaced(const struct atr_http_request *r, const char *text)
{
	char id[17];

	expect(text, strlen(text));
	put_hex(id, r->op.context.span_id, 8);
	memcpy(strstr(should_be, PARENT), id, 16);
}

#define PASSED "GET / HTTP/1.1\r\nA: b\r\n" TRACEPARENT "C: d\r\n\r\n"

TEST(a_context_that_is_passed_on_is_replaced_in_place)
{
	struct atr_conn *served, *c;
	uint8_t parent[8];

	fresh();
	served = new_server(0);
	hear(served, "GET / HTTP/1.1\r\n" TRACEPARENT "\r\n");
	memcpy(parent, request(served)->op.context.span_id, 8);
	c = new_client(1);
	ask(c, GET PASSED GET); /* another before it and one behind it */
	CHECK_INT(http_of(c)->queued, 3);
	CHECK(strncmp(strstr(wire, "A: b"), "A: b\r\ntraceparent: 00-" TRACE "-", 55) == 0);
	CHECK(strstr(wire, PARENT) == NULL);
	n_wire = 0;
	ask(c, PASSED);
	expect_replaced(request(c), PASSED);
	went_as_expected();
	CHECK_INT(atr_stats.not_injected, 0);
	CHECK_INT(request(served)->cell.waiting, 4);
	hear(c, OK OK OK OK);
	CHECK_INT(request(served)->cell.waiting, 0);
	CHECK_MEM(last_span(4)->parent_span_id.data, parent, 8);
	hang_up(c);
	hang_up(served);
	all_given_back();
}

TEST(a_passed_on_line_is_replaced_while_it_is_in_the_call_that_ends_the_head)
{
	const size_t line = strstr(PASSED, "traceparent") - PASSED;
	const size_t id = strstr(PASSED, PARENT) - PASSED;

	for (size_t cut = 1; cut < sizeof(PASSED) - 1; cut++) {
		bool late = cut > id && cut <= sizeof(PASSED) - 3;
		struct atr_conn *served, *c;
		uint8_t parent[8];

		fresh();
		served = new_server(0);
		hear(served, "GET / HTTP/1.1\r\n" TRACEPARENT "\r\n");
		memcpy(parent, request(served)->op.context.span_id, 8);
		c = new_client(1);
		ask_bytes(c, PASSED, cut);
		ask(c, &PASSED[cut]);
		CHECK(line < id);
		if (late)
			expect(PASSED, sizeof(PASSED) - 1);
		else
			expect_replaced(request(c), PASSED);
		went_as_expected();
		CHECK_INT(atr_stats.not_injected, late);
		hear(c, OK);
		CHECK_MEM(last_span(1)->parent_span_id.data, parent, 8);
		hang_up(c);
		hang_up(served);
		all_given_back();
	}
}

TEST(what_is_denied_is_not_replaced_either)
{
	static const char text[] = "GET / HTTP/1.1\r\nHost: h\r\n" TRACEPARENT "\r\n";
	struct atr_conn *served, *c;

	fresh();
	settings(NULL, "h");
	served = new_server(0);
	hear(served, "GET / HTTP/1.1\r\n" TRACEPARENT "\r\n");
	c = new_client(1);
	ask(c, text);
	CHECK_STR(wire, text);
	hear(c, OK);
	CHECK(is_child_of(last_span(1), &request(served)->op.context));
	hang_up(c);
	hang_up(served);
	all_given_back();
}

TEST(a_context_that_two_open_requests_came_with_is_joined)
{
	struct atr_conn *one, *two, *c;

	fresh();
	one = new_server(0);
	two = new_server(1);
	hear(one, "GET / HTTP/1.1\r\n" TRACEPARENT "\r\n");
	hear(two, "GET / HTTP/1.1\r\n" TRACEPARENT "\r\n");
	c = new_client(2);
	ask(c, PASSED);
	CHECK_STR(wire, PASSED);
	hear(c, OK);
	shows(last_span(1)->parent_span_id.data, 8, PARENT);
	say(one, NOTHING);
	n_wire = 0;
	ask(c, PASSED);
	expect_replaced(request(c), PASSED);
	went_as_expected();
	fresh();
}

/* ---- what the kernel does not take ---- */

TEST(a_head_that_did_not_go_is_the_same_request_the_next_time)
{
	const size_t n = sizeof(GET) - 1, empty = sizeof(HEAD) - 1;

	/* room: of the head, our line, the empty line; then the rest is offered again */
	for (size_t room = 0; room < n + LINE; room++) {
		struct atr_conn *c;
		size_t went;

		fresh();
		c = new_client(0);
		went = ask_once(c, GET, n, room, room ? 0 : EAGAIN);
		CHECK_INT(went, room <= empty ? room : room < empty + LINE ? empty : room - LINE);
		CHECK_INT(request(c)->sent, room > empty);
		CHECK_INT(http_of(c)->unsent != NULL, room <= empty);
		if (room % 2) /* once more without luck */
			CHECK_INT(ask_once(c, &GET[went], n - went, 0, EAGAIN), 0);
		ask(c, &GET[went]);
		CHECK_INT(http_of(c)->queued, 1);
		CHECK(http_of(c)->unsent == NULL && request(c)->sent);
		expect_added(request(c), GET, empty);
		if (!went_as_expected())
			printf("    room %zu\n", room);
		hear(c, OK);
		hang_up(c);
		CHECK_INT(n_spans, 1);
		all_given_back();
	}
}

TEST(of_several_heads_those_that_did_not_go_wait)
{
	static char text[] = "GET /1 HTTP/1.1\n\nPOST /2 HTTP/1.1\nContent-Length: 3\n\nabc"
			     "GET /3 HTTP/1.1\n\n";
	const size_t n = sizeof(text) - 1;

	for (size_t room = 0; room < n + 3 * LINE; room++) {
		const struct atr_http_request *r;
		struct atr_conn *c;
		size_t went;

		fresh();
		c = new_client(0);
		went = ask_once(c, text, n, room, 0);
		for (int i = 0; i < 100 && went < n; i++) /* 20 bytes at a time */
			went += ask_once(c, text + went, n - went, 20, 0);
		CHECK_INT(http_of(c)->queued, 3);
		r = atr_http_oldest(http_of(c));
		expect_added(r, "GET /1 HTTP/1.1\n\n", 16);
		expect_added(r->next, "POST /2 HTTP/1.1\nContent-Length: 3\n\nabc", 35);
		expect_added(r->next->next, "GET /3 HTTP/1.1\n\n", 16);
		if (!went_as_expected())
			printf("    room %zu\n", room);
		hear(c, OK OK OK);
		hang_up(c);
		CHECK_INT(n_spans, 3);
		all_given_back();
	}
}

TEST(ids_go_whole_and_what_went_with_them_stays_the_same)
{
	const size_t n = sizeof(PASSED) - 1, id = strstr(PASSED, PARENT) - PASSED;

	for (size_t room = 0; room <= n; room++) {
		struct atr_conn *served, *c;
		size_t went;

		fresh();
		served = new_server(0);
		hear(served, "GET / HTTP/1.1\r\n" TRACEPARENT "\r\n");
		c = new_client(1);
		went = ask_once(c, PASSED, n, room, 0);
		if (room > id && room < id + 16)
			CHECK(went >= room && went <= id + 16); /* not torn */
		else
			CHECK_INT(went, room);
		if (room % 2)
			say(served, NOTHING); /* nobody is passed on any more */
		if (room % 5 == 0 && went < n - 1)
			hear(c, "what?"); /* what answers is not HTTP */
		ask(c, &PASSED[went]);
		if (room % 5 || room > id)
			expect_replaced(request(c), PASSED);
		else
			expect(PASSED, n);
		CHECK_INT(atr_stats.not_injected, 0);
		if (!went_as_expected())
			printf("    room %zu\n", room);
		hang_up(c);
		hang_up(served);
		all_given_back();
	}
}

TEST(a_program_that_says_something_else_then_is_left_alone)
{
	struct atr_conn *c;

	fresh();
	c = new_client(0);
	CHECK_INT(ask_once(c, GET, sizeof(GET) - 1, 0, EAGAIN), 0);
	ask(c, "GET /other HTTP/1.1\r\n\r\n");
	CHECK_STR(wire, "GET /other HTTP/1.1\r\n\r\n");
	CHECK(http_of(c)->request_half.phase == ATR_HTTP_GIVEN_UP);
	hang_up(c);
	CHECK_INT(n_spans, 0); /* it never left */
	all_given_back();
}

/* ---- what is not understood, or not seen ---- */

TEST(what_is_malformed_goes_as_it_is_and_so_does_all_behind_it)
{
	static const char *const bad[] = {
		"GET /a HTTP/1.1\r\nContent-Length: x\r\n\r\n",
		"GET /a HTTP/1.1\r\nName : x\r\n\r\n",
		"GET /a HTTP/2.0\r\n\r\n",
		"\r \r\n",
		"EHLO me\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: x\r\n\r\n",
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(bad); i++) {
		struct atr_conn *c;

		fresh();
		c = new_client(0);
		ask(c, bad[i]);
		CHECK(http_of(c)->request_half.phase == ATR_HTTP_GIVEN_UP);
		CHECK_INT(c->heard, ATR_HEARD_ALL);
		CHECK_INT(c->speaker, ATR_SPEAKER_PROGRAM);
		ask(c, GET);
		CHECK_STR(wire, (snprintf(whole, sizeof(whole), "%s%s", bad[i], GET), whole));
		hang_up(c);
		CHECK_INT(n_spans, 0);
		all_given_back();
	}
}

TEST(what_is_malformed_behind_a_good_request_leaves_that_its_lines)
{
	static const char text[] = GET "EHLO me\r\n";
	struct atr_conn *c;

	fresh();
	c = new_client(0);
	ask(c, text);
	expect_added(request(c), text, sizeof(HEAD) - 1);
	went_as_expected();
	CHECK(http_of(c)->request_half.phase == ATR_HTTP_GIVEN_UP);
	hear(c, OK);
	CHECK_INT(n_spans, 1);
	hang_up(c);
	all_given_back();
}

TEST(a_broken_chunk_ends_it)
{
	static const char head[] = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n";
	struct atr_conn *c;

	fresh();
	c = new_client(0);
	(void)snprintf(whole, sizeof(whole), "%s\r\n-1\r\n%s", head, GET);
	ask(c, whole);
	expect_added(request(c), whole, sizeof(head) - 1);
	went_as_expected();
	hear(c, OK);
	CHECK_INT(n_spans, 1);
	hang_up(c);
	all_given_back();
}

TEST(memory_that_cannot_be_read_is_left_to_the_kernel)
{
	struct atr_conn *c;

	fresh();
	c = new_client(0);
	hole = whole;
	(void)snprintf(whole, sizeof(whole), GET);
	ask(c, whole);
	CHECK_STR(wire, GET);
	hang_up(c);
	CHECK_INT(n_spans, 0);
	all_given_back();
}

TEST(a_head_that_cannot_be_added_to_is_counted)
{
	struct atr_conn *c;

	fresh();
	c = new_client(0);
	move_singly(c, GET, true); /* MSG_ZEROCOPY */
	CHECK_INT(atr_stats.not_injected, 1);
	say(c, "GET / HTTP/1.1\r\n" TRACEPARENT "\r\n"); /* would not have been */
	CHECK_INT(atr_stats.not_injected, 1);
	say(c, "POST /a HTTP/1.1\r\nContent-Length: 100\r\n\r\n");
	move_unseen(c, 100, true); /* a body by sendfile() */
	CHECK_INT(atr_stats.not_injected, 2);
	CHECK(http_of(c)->request_half.phase == ATR_HTTP_BETWEEN);
	hear(c, OK OK NOTHING);
	CHECK_INT(n_spans, 3);
	move_unseen(c, 100, true); /* a head */
	CHECK_INT(atr_stats.not_injected, 3);
	CHECK(http_of(c)->request_half.phase == ATR_HTTP_GIVEN_UP);
	hang_up(c);
	all_given_back();
}

TEST(an_empty_line_that_began_in_such_a_call_cannot_be_added_to)
{
	struct atr_conn *c;

	fresh();
	c = new_client(0);
	say(c, HEAD "\r");
	ask(c, "\n" GET);
	expect("\n", 1);
	expect_added(request(c), GET, sizeof(HEAD) - 1);
	went_as_expected();
	CHECK_INT(atr_stats.not_injected, 1);
	CHECK_INT(http_of(c)->queued, 2);
	hear(c, OK OK);
	hang_up(c);
	CHECK_INT(n_spans, 2);
	all_given_back();
}

TEST(a_head_whose_lines_are_out_is_no_second_request)
{
	const size_t empty = sizeof(HEAD) - 1;
	struct atr_conn *c;

	fresh();
	c = new_client(0);
	CHECK_INT(ask_once(c, GET, sizeof(GET) - 1, empty + LINE, 0), empty);
	move_singly(c, "\r\n", true); /* the rest without a plan */
	CHECK_INT(http_of(c)->queued, 1);
	CHECK_INT(atr_stats.not_injected, 0);
	hear(c, OK);
	hang_up(c);
	CHECK_INT(n_spans, 1);
	all_given_back();
}

TEST(without_memory_nothing_is_added)
{
	struct atr_pool keep;
	struct atr_conn *c;

	fresh();
	c = new_client(0);
	refuse(&requests, &keep);
	ask(c, GET);
	requests = keep;
	CHECK_STR(wire, GET);
	hang_up(c);
	c = new_client(0);
	refuse(&buffers, &keep);
	ask(c, GET);
	buffers = keep;
	CHECK_STR(wire, GET GET);
	hang_up(c);
	CHECK_INT(n_spans, 0);
	c = new_client(0);
	n_wire = 0;
	refuse(&chunks, &keep);
	ask(c, GET);
	chunks = keep;
	expect_added(request(c), GET, sizeof(HEAD) - 1);
	went_as_expected();
	hear(c, OK);
	hang_up(c);
	CHECK_INT(n_spans, 0);
	all_given_back();
}

/* ---- requests for another protocol ---- */

#define WITH_BODY "POST /1 HTTP/1.1\nContent-Length: 3\n\nabc"
#define UPGRADE_HEAD "GET /a HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"

/* The walk that is done again over what went meets the end of a body whose request is not the
 * last one in the queue. */
TEST(a_body_before_an_upgrade_of_which_not_all_went)
{
	static char text[] = WITH_BODY UPGRADE_HEAD "\r\n";
	const size_t n = sizeof(text) - 1, first = sizeof(WITH_BODY) - 1;

	for (size_t room = first + 70; room < n + 70; room++) {
		struct atr_conn *c;
		size_t went;

		fresh();
		c = new_client(0);
		went = ask_once(c, text, n, room, 0);
		while (went < n)
			went += ask_once(c, text + went, n - went, ALL, 0);
		expect_added(atr_http_oldest(http_of(c)), WITH_BODY, sizeof(WITH_BODY) - 5);
		expect_added(request(c), UPGRADE_HEAD "\r\n", sizeof(UPGRADE_HEAD) - 1);
		if (!went_as_expected())
			printf("    room %zu\n", room);
		hear(c, OK "HTTP/1.1 101 Go\r\n\r\n");
		CHECK_INT(n_spans, 2);
		hang_up(c);
		all_given_back();
	}
}

/* The answer to a request for another protocol comes while the call that sends it is under way. */
TEST(an_upgrade_with_a_body_that_is_refused_before_its_call_returns)
{
	static const char text[] = "POST / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n"
				   "Content-Length: 5\r\n\r\nab";
	struct atr_source source = { .iov = ATR_PIECE(text, sizeof(text) - 1),
				     .n_iov = 1,
				     .total = sizeof(text) - 1 };
	struct atr_plan plan = { .cut = source.total };
	struct atr_conn *c;
	struct atr_moved m;

	fresh();
	c = new_client(0);
	m = (struct atr_moved){ .conn = c, .bytes = source.total - 1 };
	CHECK(atr_http_plan(c->talk, c, &source, &plan));
	hear(c, "HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n");
	atr_http_sent_planned(c->talk, &m, &plan, 1);
	ask(c, "bcde");
	n_wire = 0;
	ask(c, "GET / HTTP/1.1\r\n\r\n");
	CHECK(n_wire > 40);
	CHECK(http_of(c)->request_half.phase == ATR_HTTP_BETWEEN);
	hang_up(c);
	all_given_back();
}
