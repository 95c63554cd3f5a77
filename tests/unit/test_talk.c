/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: hooks/proxied.o preload/text.o */
/*
 * Who is listened to, with a protocol that knows its own by the first letter: Y is its own,
 * with P it cannot say before the fourth byte, and anything else is another's.
 */
#include "hooks/talk.c"
#include "tests/unit/test.h"

#include <errno.h>

/* ---- the protocol ---- */

static struct atr_conn conn;
static int talk_of;
static bool no_memory;
static unsigned n_sniffed, n_begun, n_received, n_sent, n_shut, n_ended;
static bool as_client;
static size_t sniffed_len;
static char sniffed[256];
static struct atr_moved last;
static char last_text[256]; /* of its first piece */
static size_t last_room;

static void remember(const struct atr_moved *m)
{
	size_t n = m->iov && m->n_iov ? m->iov->iov_len : 0;

	last = *m;
	last_room = n;
	n = n < m->bytes ? n : m->bytes;
	memcpy(last_text, n ? m->iov->iov_base : "", n);
	last_text[n] = '\0';
}

static int p_sniff(const char *p, size_t n)
{
	n_sniffed++;
	sniffed_len = n;
	memcpy(sniffed, n ? p : "", n);
	if (!n)
		return 0;
	if (p[0] == 'P')
		return n < 4 ? 0 : p[3] == 'Y' ? 1 : -1;
	return p[0] == 'Y' ? 1 : -1;
}

static void *p_begin(struct atr_conn *c, bool client)
{
	CHECK(c == &conn && !c->protocol);
	n_begun++;
	as_client = client;
	return no_memory ? NULL : &talk_of;
}

static void p_received(void *talk, const struct atr_moved *m)
{
	CHECK(talk == &talk_of);
	n_received++;
	remember(m);
}

static void p_sent(void *talk, const struct atr_moved *m)
{
	CHECK(talk == &talk_of);
	n_sent++;
	remember(m);
}

static unsigned holds;

static void p_shut(void *talk, struct atr_conn *c, int fd)
{
	CHECK(talk == &talk_of && c == &conn && holds == 1);
	CHECK_INT(fd, 7);
	n_shut++;
}

static void p_end(void *talk, struct atr_conn *c)
{
	CHECK(talk == &talk_of && c == &conn);
	CHECK(!c->protocol); /* nobody finds it any more */
	n_ended++;
}

const struct atr_protocol atr_http_protocol = {
	.name = "letters",
	.sniff = p_sniff,
	.begin = p_begin,
	.received = p_received,
	.sent = p_sent,
	.shut = p_shut,
	.end = p_end,
};

/* The one that is asked next: O is its own, and it wants nothing of a server. */
static int other_sniff(const char *p, size_t n)
{
	return n && *p == 'O' ? 1 : -1;
}

static void *other_begin(struct atr_conn *c, bool client)
{
	return client ? p_begin(c, client) : NULL;
}

const struct atr_protocol atr_pg_protocol = {
	.name = "others",
	.sniff = other_sniff,
	.begin = other_begin,
	.received = p_received,
	.sent = p_sent,
	.shut = p_shut,
	.end = p_end,
};

/* ---- what else it talks to ---- */

static unsigned n_given, n_changed, n_accepts, n_peeked;
static bool unreadable;
static const char *given;
static int accept_fd;
static bool accept_span;

void atr_buffer_give(char *buffer)
{
	given = buffer;
	n_given += buffer != NULL;
}

bool atr_source_peek(const struct atr_source *source, size_t at, void *to, size_t n)
{
	n_peeked++;
	CHECK_INT(at, 0);
	CHECK(n > 0 && n <= source->total && n <= source->iov->iov_len);
	if (unreadable)
		return false;
	memcpy(to, source->iov->iov_base, n);
	return true;
}

bool atr_conn_hold(struct atr_conn *c, uint32_t gen)
{
	if (!c->refs || c->gen != gen)
		return false;
	holds++;
	return true;
}

void atr_conn_release(struct atr_conn *c)
{
	CHECK(c == &conn);
	holds--;
}

void atr_conn_attrs_changed(struct atr_conn *c)
{
	CHECK(c == &conn);
	n_changed++;
}

void atr_accept_done(struct atr_conn *c, int fd, bool span)
{
	CHECK(c == &conn);
	c->accepting = 0;
	n_accepts++;
	accept_fd = fd;
	accept_span = span;
}

/* ---- contexts ---- */

static bool in_loop;
static struct atr_context thread_context;
static bool has_context;
static unsigned n_touched, n_entered;
static const struct atr_context *entered;
static const void *entered_loop;
static bool entered_complete;

const void *atr_context_loop(const void *loop)
{
	return in_loop ? loop : NULL;
}

const struct atr_context *atr_context_current(void)
{
	return has_context ? &thread_context : NULL;
}

bool atr_context_same(const struct atr_context *a, const struct atr_context *b)
{
	return a->valid && b->valid && memcmp(a->span_id, b->span_id, 8) == 0;
}

void atr_context_touch(void)
{
	n_touched++;
}

void atr_context_enter(const struct atr_context *context, const void *loop, bool complete)
{
	n_entered++;
	entered = context;
	entered_loop = loop;
	entered_complete = complete;
}

/* ---- what a test says ---- */

static void fresh(enum atr_role role)
{
	conn = (struct atr_conn){ .gen = conn.gen + 1,
				  .refs = 1,
				  .family = AF_INET,
				  .type = SOCK_STREAM,
				  .role = (uint8_t)role };
	no_memory = unreadable = in_loop = has_context = as_client = accept_span = false;
	n_sniffed = n_begun = n_received = n_sent = n_shut = n_ended = 0;
	n_given = n_changed = n_accepts = n_peeked = n_touched = n_entered = holds = 0;
	given = NULL;
	accept_fd = -77;
	entered = NULL;
	memset(&last, 0, sizeof(last));
	last_text[0] = '\0';
	sniffed_len = 999;
	memset(&thread_context, 0, sizeof(thread_context));
}

/* Moves a text, which ends at an unreadable page. */
static void moves(bool sent, const char *text)
{
	size_t n = strlen(text);
	struct iovec v = { test_edge(text, n), n };
	struct atr_moved m = { .conn = &conn, .fd = 7, .iov = &v, .n_iov = 1, .bytes = n };

	if (sent)
		atr_talk_sent(&m);
	else
		atr_talk_received(&m);
	test_edge_free(v.iov_base, n);
}

static void plans(const char *text)
{
	size_t n = strlen(text);
	struct iovec v = { test_edge(text, n), n };
	struct atr_source source = { .iov = &v, .n_iov = 1, .total = n };

	atr_talk_listen(&conn, &source);
	test_edge_free(v.iov_base, n);
}

/* ---- whose bytes are looked at ---- */

TEST(only_a_stream_nobody_else_speaks_on_is_listened_to)
{
	for (int role = ATR_ROLE_UNKNOWN; role <= ATR_ROLE_HANDS; role++) {
		for (int heard_before = 0; heard_before < 3; heard_before++) {
			for (int type = 0; type < 3; type++) {
				static const int types[] = { SOCK_STREAM, SOCK_DGRAM,
							     SOCK_SEQPACKET };

				fresh((enum atr_role)role);
				conn.heard = (uint8_t)heard_before;
				conn.type = (uint8_t)types[type];
				CHECK_INT(atr_talks(&conn), role <= ATR_ROLE_SERVER &&
								    types[type] == SOCK_STREAM &&
								    heard_before != ATR_HEARD_ALL);
				conn.speaker = ATR_SPEAKER_LIBPQ;
				CHECK(!atr_talks(&conn));
				conn.protocol = &atr_http_protocol; /* who is there is told */
				CHECK(atr_talks(&conn));
			}
		}
	}
}

static const struct who {
	enum atr_role role;
	bool inherited, unix_socket, paired;
	bool sends, receives; /* listened to when that comes first */
} whos[] = {
	{ ATR_ROLE_CLIENT, false, false, false, true, false },
	{ ATR_ROLE_CLIENT, false, true, false, true, false },
	{ ATR_ROLE_CLIENT, true, false, false, true, false },
	{ ATR_ROLE_SERVER, false, false, false, false, true },
	{ ATR_ROLE_SERVER, false, true, false, false, true },
	{ ATR_ROLE_SERVER, true, true, false, false, true },
	{ ATR_ROLE_UNKNOWN, false, false, false, false, false },
	{ ATR_ROLE_UNKNOWN, false, true, true, false, false }, /* a socketpair */
	{ ATR_ROLE_UNKNOWN, true, false, false, false, true }, /* inetd's */
	{ ATR_ROLE_UNKNOWN, true, true, false, false, false }, /* a pipe to a child, as it were */
	{ ATR_ROLE_UNKNOWN, true, false, true, false, true },
	{ ATR_ROLE_LISTEN, false, false, false, false, false },
	{ ATR_ROLE_LISTEN, true, false, false, false, false },
};

static void be(const struct who *w)
{
	fresh(w->role);
	conn.inherited = w->inherited;
	conn.paired = w->paired;
	if (w->unix_socket)
		conn.family = AF_UNIX;
}

TEST(a_side_that_asks_is_listened_to_and_any_other_is_left_alone_for_good)
{
	for (size_t i = 0; i < ATR_ARRAY_LEN(whos); i++) {
		const struct who *w = &whos[i];

		for (int how = 0; how < 3; how++) { /* sends, plans to send, receives */
			bool fits = how == 2 ? w->receives : w->sends;

			be(w);
			if (how == 1)
				plans("Yes");
			else
				moves(how == 0, "Yes");
			CHECK_INT(conn.protocol == &atr_http_protocol, fits);
			CHECK_INT(n_sniffed, fits);
			CHECK_INT(n_begun, fits);
			CHECK_INT(conn.heard, ATR_HEARD_ALL);
			CHECK_INT(as_client, fits && how < 2);
			CHECK_INT(n_sent, fits && how == 0);
			CHECK_INT(n_received, fits && how == 2);
			CHECK_INT(conn.speaker, fits ? ATR_SPEAKER_PROTOCOL : ATR_SPEAKER_PROGRAM);
			/* What comes next, in either direction, changes nothing. */
			moves(true, "Yes");
			moves(false, "Yes");
			plans("");
			CHECK_INT(n_sniffed, fits);
			CHECK_INT(n_sent, fits ? 1 + (how == 0) : 0);
			CHECK_INT(n_received, fits ? 1 + (how == 2) : 0);
		}
	}
}

TEST(a_connection_that_belongs_to_a_protocol_says_so)
{
	fresh(ATR_ROLE_CLIENT);
	moves(true, "Yes");
	CHECK(conn.talk == &talk_of);
	CHECK(conn.gone == atr_talk_gone);
	CHECK_INT(n_changed, 1);
	CHECK(last.conn == &conn && last.fd == 7 && last.bytes == 3 && last.n_iov == 1);
	CHECK_STR(last_text, "Yes");
	fresh(ATR_ROLE_CLIENT);
	moves(true, "No");
	CHECK(conn.gone == NULL && conn.talk == NULL && conn.protocol == NULL);
	CHECK_INT(conn.speaker, ATR_SPEAKER_PROGRAM);
	CHECK_INT(conn.heard, ATR_HEARD_ALL);
	CHECK_INT(n_changed, 0);
	CHECK_INT(n_begun, 0);
	CHECK(!atr_talks(&conn));
}

TEST(without_memory_for_its_state_the_connection_is_left_alone)
{
	fresh(ATR_ROLE_CLIENT);
	no_memory = true;
	moves(true, "Yes");
	CHECK(!conn.protocol && !conn.gone);
	CHECK_INT(conn.heard, ATR_HEARD_ALL);
	CHECK_INT(conn.speaker, ATR_SPEAKER_PROGRAM);
	no_memory = false;
	moves(true, "Yes");
	CHECK_INT(n_sniffed, 1);
	CHECK_INT(n_sent, 0);
}

/* ---- in pieces ---- */

TEST(what_is_undecided_is_followed_until_the_protocol_knows)
{
	for (int how = 0; how < 3; how++) {
		fresh(how == 2 ? ATR_ROLE_SERVER : ATR_ROLE_CLIENT);
		if (how == 1)
			plans("P");
		else
			moves(how == 0, "P");
		CHECK(conn.protocol == &atr_http_protocol && conn.talk == &talk_of);
		CHECK(conn.gone == atr_talk_gone);
		CHECK_INT(conn.heard, ATR_HEARD_SOME);
		/* It may still be the program's, so its spans and attributes stay as they are. */
		CHECK_INT(conn.speaker, ATR_SPEAKER_PROGRAM);
		CHECK_INT(n_changed, 0);
		CHECK(atr_talks(&conn));
		/* It sees all that comes, and is not asked or begun again. */
		moves(how != 2, "rY");
		moves(how == 2, "x");
		CHECK_INT(n_sniffed, 1);
		CHECK_INT(n_begun, 1);
		CHECK_INT(n_sent, how == 0 ? 2 : 1);
		CHECK_INT(n_received, how == 2 ? 2 : 1);
		CHECK_INT(conn.heard, ATR_HEARD_SOME);
	}
}

TEST(only_the_bytes_that_moved_are_looked_at)
{
	struct iovec v[3];
	struct atr_moved m = { .conn = &conn, .fd = 7, .iov = v, .n_iov = 3 };

	/* Less than the buffer: the rest of it is not the peer's. */
	for (size_t n = 1; n <= 5; n++) {
		fresh(ATR_ROLE_SERVER);
		v[0] = (struct iovec){ test_edge("Yes..", n), 5 };
		m.bytes = n;
		m.n_iov = 1;
		atr_talk_received(&m);
		CHECK_INT(sniffed_len, n);
		CHECK_INT(n_received, 1);
		CHECK_INT(last.bytes, n);
		CHECK(last.iov->iov_base == v[0].iov_base && last.n_iov == 1);
		test_edge_free(v[0].iov_base, n);
	}
	/* More than the first buffer: that is enough. */
	fresh(ATR_ROLE_SERVER);
	m.n_iov = 3;
	v[0] = (struct iovec){ test_edge("Ye", 2), 2 };
	v[1] = (struct iovec){ test_edge("s", 1), 1 };
	v[2] = (struct iovec){ NULL, 0 };
	m.bytes = 3;
	atr_talk_received(&m);
	CHECK_INT(sniffed_len, 2);
	CHECK_INT(n_received, 1);
	test_edge_free(v[0].iov_base, 2);
	/* An empty first buffer says nothing yet. */
	fresh(ATR_ROLE_SERVER);
	v[0] = (struct iovec){ NULL, 0 };
	m.bytes = 1;
	atr_talk_received(&m);
	CHECK_INT(sniffed_len, 0);
	CHECK_INT(conn.heard, ATR_HEARD_SOME);
	CHECK_INT(n_received, 1);
	test_edge_free(v[1].iov_base, 1);
}

TEST(before_it_is_sent_no_more_is_looked_at_than_it_takes)
{
	char text[200];

	for (size_t n = 1; n < sizeof(text); n++) {
		memset(text, 'Y', n);
		text[n] = '\0';
		fresh(ATR_ROLE_CLIENT);
		plans(text);
		CHECK_INT(sniffed_len, n < 128 ? n : 128);
		CHECK_MEM(sniffed, text, sniffed_len);
		CHECK(conn.protocol == &atr_http_protocol && as_client);
		CHECK_INT(n_sent, 0); /* it has not gone yet */
	}
}

TEST(the_next_protocol_is_asked_when_one_says_no_and_may_decline)
{
	fresh(ATR_ROLE_CLIENT);
	moves(true, "Other");
	CHECK(conn.protocol == &atr_pg_protocol);
	CHECK_INT(n_sent, 1);
	fresh(ATR_ROLE_SERVER);
	moves(false, "Other");
	CHECK(!conn.protocol);
	CHECK_INT(conn.heard, ATR_HEARD_ALL);
	CHECK_INT(conn.speaker, ATR_SPEAKER_PROGRAM);
}

TEST(what_cannot_be_read_decides_nothing)
{
	fresh(ATR_ROLE_CLIENT);
	unreadable = true;
	plans("Yes");
	CHECK_INT(n_peeked, 1);
	CHECK_INT(n_sniffed, 0);
	CHECK_INT(conn.heard, ATR_HEARD_NOTHING);
	unreadable = false;
	plans("Yes");
	CHECK(conn.protocol == &atr_http_protocol);
	/* Nor does nothing, whoever sends it. */
	for (size_t i = 0; i < ATR_ARRAY_LEN(whos); i++) {
		be(&whos[i]);
		plans("");
		CHECK_INT(conn.heard, ATR_HEARD_NOTHING);
		CHECK_INT(n_peeked, 0);
	}
	/* A side that does not ask is not even read. */
	fresh(ATR_ROLE_SERVER);
	plans("Yes");
	CHECK_INT(n_peeked, 0);
	CHECK_INT(conn.heard, ATR_HEARD_ALL);
}

TEST(a_call_that_moved_nothing_decides_nothing)
{
	struct atr_moved m = { .conn = &conn, .fd = 7, .err = EAGAIN };

	for (size_t i = 0; i < ATR_ARRAY_LEN(whos); i++) {
		be(&whos[i]);
		conn.loop = &conn;
		in_loop = true;
		atr_talk_received(&m);
		atr_talk_sent(&m);
		CHECK_INT(conn.heard, ATR_HEARD_NOTHING);
		CHECK_INT(n_sniffed + n_touched + n_entered, 0);
	}
	/* But a protocol hears of errors and ends. */
	fresh(ATR_ROLE_CLIENT);
	moves(true, "Yes");
	atr_talk_received(&m);
	CHECK(last.err == EAGAIN && !last.iov && !last.bytes);
	atr_talk_sent(&m);
	CHECK_INT(n_received, 1);
	CHECK_INT(n_sent, 2);
}

TEST(bytes_that_are_not_seen_are_no_first_bytes)
{
	struct iovec v = { NULL, 0 };
	struct atr_moved m = { .conn = &conn, .fd = 7, .bytes = 10 };

	fresh(ATR_ROLE_CLIENT);
	atr_talk_sent(&m); /* sendfile() */
	CHECK_INT(conn.heard, ATR_HEARD_ALL);
	CHECK_INT(n_sniffed, 0);
	fresh(ATR_ROLE_SERVER);
	m.iov = &v;
	atr_talk_received(&m); /* no pieces */
	CHECK_INT(conn.heard, ATR_HEARD_ALL);
	CHECK_INT(n_sniffed, 0);
}

/* ---- behind a load balancer ---- */

#define HEADER "PROXY TCP4 192.0.2.7 192.0.2.9 50123 80\r\n"
#define HEADER_LEN (sizeof(HEADER) - 1)
#define CLIENT "192.0.2.7"

static struct iovec piece(const char *text, size_t len)
{
	return (struct iovec){ (void *)(uintptr_t)text, len };
}

static void check_client(void)
{
	CHECK(conn.proxied);
	CHECK_INT(conn.client_len, sizeof(CLIENT) - 1);
	CHECK_MEM(conn.client, CLIENT, sizeof(CLIENT) - 1);
}

TEST(what_a_balancer_says_first_is_stepped_over_and_the_protocol_never_sees_it)
{
	struct atr_context of;
	uint64_t since;
	struct iovec v = piece(HEADER "Yes, please", HEADER_LEN + 500);
	struct atr_moved m = { .conn = &conn,
			       .fd = 7,
			       .iov = &v,
			       .n_iov = 1,
			       .bytes = HEADER_LEN + 11,
			       .of = &of,
			       .since = &since };

	fresh(ATR_ROLE_SERVER);
	conn.accepting = 1;
	atr_talk_received(&m);
	check_client();
	CHECK_INT(sniffed_len, 11);
	CHECK_MEM(sniffed, "Yes, please", 11);
	CHECK_INT(n_received, 1);
	CHECK_INT(last.bytes, 11);
	CHECK_INT(last.n_iov, 1);
	CHECK_STR(last_text, "Yes, please");
	CHECK_INT(last_room, 500);
	CHECK(last.of == &of && last.since == &since && last.fd == 7);
	CHECK_INT(n_accepts, 1);
	CHECK(!accept_span);
	CHECK(m.iov == &v && m.bytes == HEADER_LEN + 11); /* the caller's is as it was */
	moves(false, "more");
	CHECK_STR(last_text, "more");
}

TEST(where_it_comes_alone_the_next_bytes_are_the_first)
{
	/* Into a buffer that it fills, and into a larger one. */
	for (size_t larger = 0; larger < 2; larger++) {
		struct iovec v = piece(HEADER, HEADER_LEN + larger);
		struct atr_moved m = {
			.conn = &conn, .fd = 7, .iov = &v, .n_iov = 1, .bytes = HEADER_LEN
		};

		fresh(ATR_ROLE_SERVER);
		conn.accepting = 1;
		conn.loop = &conn;
		in_loop = true;
		atr_talk_received(&m);
		check_client();
		CHECK_INT(n_sniffed + n_received + n_accepts + n_entered, 0);
		CHECK_INT(conn.heard, ATR_HEARD_NOTHING);
		CHECK(atr_talks(&conn));
		moves(false, "Yes");
		CHECK_INT(n_received, 1);
		CHECK_STR(last_text, "Yes");
		CHECK_INT(n_accepts, 1);
		check_client();
	}
	/* There is but one: a second is what the program says. */
	fresh(ATR_ROLE_SERVER);
	moves(false, HEADER);
	moves(false, HEADER);
	CHECK_INT(n_sniffed, 1);
	CHECK_INT(conn.heard, ATR_HEARD_ALL);
	CHECK(!conn.protocol);
}

TEST(behind_it_the_next_buffer_goes_on_only_where_it_filled_the_first)
{
	struct iovec v[2] = { piece(HEADER, HEADER_LEN), piece("Yes...", 6) };
	struct atr_moved m = {
		.conn = &conn, .fd = 7, .iov = v, .n_iov = 2, .bytes = HEADER_LEN + 3
	};

	fresh(ATR_ROLE_SERVER);
	atr_talk_received(&m);
	CHECK_INT(n_received, 1);
	CHECK_INT(last.n_iov, 1);
	CHECK_INT(last.bytes, 3);
	CHECK_STR(last_text, "Yes");
	check_client();
	/* Else there is no array of what is behind it: it is left alone. */
	fresh(ATR_ROLE_SERVER);
	conn.accepting = 1;
	v[0] = piece(HEADER "Ye", HEADER_LEN + 2);
	v[1] = piece("s", 1);
	atr_talk_received(&m);
	CHECK_INT(n_received, 0);
	CHECK_INT(conn.heard, ATR_HEARD_ALL);
	CHECK_INT(n_accepts, 1);
	CHECK(accept_span);
}

TEST(who_says_it_itself_is_listened_to_from_the_next_call_on)
{
	fresh(ATR_ROLE_CLIENT);
	plans(HEADER);
	CHECK_INT(conn.heard, ATR_HEARD_NOTHING);
	CHECK_INT(n_sniffed, 0);
	moves(true, HEADER); /* as the hook says when it has gone */
	CHECK_INT(conn.heard, ATR_HEARD_NOTHING);
	CHECK_INT(n_sniffed, 0);
	plans("Yes");
	CHECK(conn.protocol == &atr_http_protocol && as_client);
	CHECK_INT(conn.heard, ATR_HEARD_ALL);
	/* From a side that does not ask it is nothing but bytes. */
	fresh(ATR_ROLE_SERVER);
	moves(true, HEADER);
	CHECK_INT(conn.heard, ATR_HEARD_ALL);
	CHECK(!conn.proxied);
}

/* ---- the span of its accept() ---- */

TEST(an_accept_is_settled_when_it_is_known_what_was_accepted)
{
	fresh(ATR_ROLE_SERVER);
	conn.accepting = 1;
	moves(false, "Yes");
	CHECK_INT(n_accepts, 1);
	CHECK_INT(accept_fd, 7);
	CHECK(!accept_span); /* the requests are the spans */
	moves(false, "more");
	CHECK_INT(n_accepts, 1);

	fresh(ATR_ROLE_SERVER);
	conn.accepting = 1;
	moves(false, "No");
	CHECK_INT(n_accepts, 1);
	CHECK(accept_span);

	fresh(ATR_ROLE_SERVER);
	conn.accepting = 1;
	moves(true, "220 Yes"); /* the server speaks first: no protocol of ours */
	CHECK_INT(n_accepts, 1);
	CHECK(accept_span);

	fresh(ATR_ROLE_SERVER);
	conn.accepting = 1;
	moves(false, "P");
	CHECK_INT(n_accepts, 0);    /* it may be either */
	conn.heard = ATR_HEARD_ALL; /* as the protocol says in the end */
	moves(false, "...");
	CHECK_INT(n_accepts, 1);
	CHECK(accept_span);
}

TEST(an_accept_that_was_never_decided_is_settled_at_the_end)
{
	fresh(ATR_ROLE_SERVER);
	conn.accepting = 1;
	atr_talk_gone(&conn); /* closed without a byte */
	CHECK_INT(n_accepts, 1);
	CHECK_INT(accept_fd, -1);
	CHECK(accept_span);
	CHECK_INT(n_ended, 0);
	fresh(ATR_ROLE_SERVER);
	conn.accepting = 1;
	moves(false, "P");
	atr_talk_gone(&conn);
	CHECK_INT(n_accepts, 1);
	CHECK(accept_span);
	CHECK_INT(n_ended, 1);
	fresh(ATR_ROLE_SERVER);
	conn.speaker = ATR_SPEAKER_PROTOCOL;
	conn.accepting = 1;
	atr_talk_gone(&conn);
	CHECK(!accept_span);
}

/* ---- the end ---- */

TEST(at_the_end_the_protocol_gives_back_what_it_has_and_the_debt_goes_too)
{
	char debt[8];

	fresh(ATR_ROLE_CLIENT);
	moves(true, "Yes");
	conn.debt = debt;
	conn.debt_len = 8;
	conn.gone(&conn);
	CHECK_INT(n_ended, 1);
	CHECK(!conn.protocol && !conn.talk);
	CHECK_INT(n_given, 1);
	CHECK(given == debt);
	CHECK(!conn.debt && !conn.debt_len);
	CHECK_INT(n_accepts, 0);
	/* Nothing twice. */
	atr_talk_gone(&conn);
	CHECK_INT(n_ended, 1);
	CHECK_INT(n_given, 1);
}

TEST(a_shutdown_is_told_to_who_is_there)
{
	fresh(ATR_ROLE_CLIENT);
	atr_talk_shut(&conn, 7);
	CHECK_INT(n_shut, 0);
	CHECK_INT(holds, 0);
	moves(true, "P");
	atr_talk_shut(&conn, 7);
	CHECK_INT(n_shut, 1);
	CHECK_INT(holds, 0);
	conn.refs = 0; /* closed at this moment */
	atr_talk_shut(&conn, 7);
	CHECK_INT(n_shut, 1);
	CHECK_INT(holds, 0);
}

/* ---- whose work it is that is no protocol's ---- */

static const int loop;

static void in_a_loop(enum atr_role role)
{
	fresh(role);
	conn.heard = ATR_HEARD_ALL;
	conn.loop = &loop;
	in_loop = true;
	conn.context = (struct atr_context){ .valid = true, .span_id = { 1 } };
}

TEST(an_answer_that_is_read_by_a_loop_is_for_whom_the_connection_was_asked)
{
	in_a_loop(ATR_ROLE_CLIENT);
	moves(false, "rows");
	CHECK_INT(n_entered, 1);
	CHECK(entered == &conn.context && entered_loop == &loop && !entered_complete);
	CHECK_INT(conn.context_claim, 0);
	moves(true, "query");
	CHECK_INT(n_touched, 1);
	CHECK_INT(n_entered, 1);
	CHECK(!conn.shared); /* the thread is in no context */
	CHECK_INT(conn.context_claim, 0);
}

TEST(a_connection_that_several_wrote_on_is_nobodys)
{
	in_a_loop(ATR_ROLE_CLIENT);
	has_context = true;
	thread_context = conn.context;
	moves(true, "one");
	CHECK(!conn.shared);
	moves(false, "answer");
	CHECK(entered == &conn.context);
	thread_context.span_id[0] = 2;
	moves(true, "two");
	CHECK(conn.shared);
	moves(false, "answer");
	CHECK(entered == NULL && n_entered == 2);
	thread_context.span_id[0] = 1; /* and stays so */
	moves(true, "one");
	moves(false, "answer");
	CHECK(entered == NULL && n_entered == 3);
	CHECK_INT(n_touched, 3);
}

TEST(without_a_loop_on_an_accepted_connection_or_beside_another_thread_nothing_is_entered)
{
	in_a_loop(ATR_ROLE_CLIENT);
	in_loop = false;
	moves(false, "x");
	moves(true, "x");
	CHECK_INT(n_entered + n_touched, 0);
	in_a_loop(ATR_ROLE_CLIENT);
	conn.loop = NULL;
	moves(false, "x");
	moves(true, "x");
	CHECK_INT(n_entered + n_touched, 0);
	in_a_loop(ATR_ROLE_SERVER);
	moves(false, "x");
	moves(true, "x");
	CHECK_INT(n_entered + n_touched, 0);
	in_a_loop(ATR_ROLE_CLIENT);
	conn.context_claim = 1; /* another thread is at it */
	moves(false, "x");
	moves(true, "x");
	CHECK_INT(n_entered + n_touched, 0);
	CHECK_INT(conn.context_claim, 1);
	/* A pair between processes counts, though nobody follows it. */
	in_a_loop(ATR_ROLE_UNKNOWN);
	moves(false, "x");
	CHECK_INT(n_entered, 1);
	/* What is in a protocol is the protocol's matter. */
	in_a_loop(ATR_ROLE_CLIENT);
	conn.heard = ATR_HEARD_NOTHING;
	moves(true, "Yes");
	moves(false, "Yes");
	CHECK_INT(n_entered + n_touched, 0);
}

/* readv() into two buffers brings the header and nothing else: nothing need be skipped. */
TEST(a_header_that_comes_alone_into_several_buffers_leaves_the_connection_followed)
{
	struct iovec v[2] = { piece(HEADER, HEADER_LEN + 100), piece("", 100) };
	struct atr_moved m = { .conn = &conn, .fd = 7, .iov = v, .n_iov = 2, .bytes = HEADER_LEN };

	fresh(ATR_ROLE_SERVER);
	atr_talk_received(&m);
	CHECK_INT(conn.heard, ATR_HEARD_NOTHING);
	moves(false, "Yes");
	CHECK_INT(n_received, 1);
}
