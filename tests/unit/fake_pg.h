/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_TEST_FAKE_PG_H
#define ATR_TEST_FAKE_PG_H

/*
 * A PostgreSQL client on a connection without a kernel or a server: both sides are written as
 * a script, and what comes of it is text.  All bytes end at an unreadable page.
 *
 *	"> Q SELECT 1" "< T|D|C SELECT 1|Z I"
 *
 * A message is its type and what is in it; "-" is an empty name.  Of a "P" the last field goes
 * to its end.  Numbers, lists of parameters and rows are made up.
 */
#include <pthread.h>

#include "exporter/otlp.pb-c.h"
#include "hooks/buffer.c"
#include "hooks/pg-answer.c"
#include "hooks/pg-ask.c"
#include "hooks/pg-statement.c"
#include "hooks/pg-talk.c"
#include "preload/config.h"
#include "preload/record.h"
#include "tests/unit/test.h"

/* ---- the thread's side ---- */

__thread struct atr_tls atr_tls;
struct atr_process atr_process;
struct atr_stats atr_stats;
struct atr_config atr_config;

static struct atr_thread threads[2];
static pthread_mutex_t ring = PTHREAD_MUTEX_INITIALIZER;
static Atr__Otlp__Span *spans[4096];
static unsigned n_spans;
static uint64_t counter;

struct atr_thread *atr_thread_self(void)
{
	return atr_tls.thread;
}

bool atr_thread_inside(const void *frame)
{
	(void)frame;
	return true;
}

uint64_t atr_thread_random(struct atr_thread *t)
{
	(void)t;
	return (atr_add(&counter, 1u) + 1) * 0x9e3779b97f4a7c15u;
}

struct atr_record *atr_thread_reserve(struct atr_thread *t, enum atr_which_ring which)
{
	(void)which;
	static __thread _Alignas(8) uint8_t record[ATR_RECORD_MAX];

	(void)t;
	return (struct atr_record *)(void *)record;
}

void atr_thread_commit(struct atr_thread *t, struct atr_record *record)
{
	(void)t;
	pthread_mutex_lock(&ring);
	if (n_spans == ATR_ARRAY_LEN(spans))
		abort();
	spans[n_spans] = atr__otlp__span__unpack(NULL, record->span_len, record->span);
	if (!spans[n_spans++])
		abort();
	pthread_mutex_unlock(&ring);
}

/* ---- the connection's side ---- */

void atr_conn_attrs(struct atr_conn *c, int fd, struct atr_pb *pb)
{
	(void)c;
	(void)fd;
	(void)pb;
}

void atr_conn_attrs_changed(struct atr_conn *c)
{
	(void)c;
}

size_t atr_conn_peer_address(struct atr_conn *c, char buf[static ATR_PEER_TEXT_MAX], int *port)
{
	(void)c;
	memcpy(buf, "192.0.2.7", 9);
	*port = 5433;
	return 9;
}

static bool unreadable;

bool atr_source_peek(const struct atr_source *source, size_t at, void *to, size_t n)
{
	if (unreadable)
		return false;
	if (source->n_iov != 1 || at + n > source->total)
		abort();
	memcpy(to, (const char *)source->iov->iov_base + at, n);
	return true;
}

static struct atr_conn conn;

static struct atr_pg *pg(void)
{
	return conn.talk;
}

static void hang_up(void)
{
	if (conn.talk)
		conn.protocol->end(conn.talk, &conn);
	conn.talk = NULL;
}

static void new_conn(void)
{
	hang_up();
	conn = (struct atr_conn){
		.gen = conn.gen + 1,
		.type = SOCK_STREAM,
		.family = AF_INET,
		.role = ATR_ROLE_CLIENT,
		.protocol = &atr_pg_protocol,
		.heard = ATR_HEARD_SOME,
	};
	conn.talk = conn.protocol->begin(&conn, true);
}

/* One call that sends n bytes, of which the kernel takes `takes`; err: it says this instead. */
static void call_send(const char *p, size_t n, size_t takes, int err)
{
	char *edge = test_edge(p, n);
	struct iovec v = { edge, n };
	struct atr_source source = { .iov = &v, .n_iov = 1, .total = n };
	struct atr_moved m = {
		.conn = &conn, .fd = 3, .iov = &v, .n_iov = 1, .bytes = takes, .err = err
	};
	struct atr_plan none = { .n = 0 };

	CHECK(!conn.protocol->plan(conn.talk, &conn, &source, &none));
	conn.protocol->sent(conn.talk, &m);
	test_edge_free(edge, n);
}

static void call_recv(const char *p, size_t n)
{
	char *edge = test_edge(p, n);
	struct iovec v = { edge, n };
	struct atr_moved m = { .conn = &conn, .fd = 3, .iov = &v, .n_iov = 1, .bytes = n };

	conn.protocol->received(conn.talk, &m);
	test_edge_free(edge, n);
}

/* The end of the stream, or an error. */
static void call_recv_nothing(int err)
{
	struct atr_moved m = { .conn = &conn, .fd = 3, .err = err };

	conn.protocol->received(conn.talk, &m);
}

/* ---- scripts ---- */

static char wire[400000];
static size_t n_wire, wire_at;

static void put(const void *p, size_t n)
{
	if (n > sizeof(wire) - n_wire)
		abort();
	memcpy(wire + n_wire, p, n);
	n_wire += n;
}

#define PUT(literal) put(literal, sizeof(literal) - 1)

/* A message begins; and its length is known. */
static void begin_message(char type)
{
	if (type)
		put(&type, 1);
	wire_at = n_wire;
	PUT("\0\0\0\0");
}

static void end_message(void)
{
	uint32_t len = (uint32_t)(n_wire - wire_at);

	for (int i = 0; i < 4; i++)
		wire[wire_at + (size_t)i] = (char)(len >> (24 - 8 * i));
}

/* The next field, to a blank or to the end. */
static struct atr_slice field(struct atr_slice *rest, bool last)
{
	const char *end = last ? NULL : memchr(rest->p, ' ', rest->len);
	struct atr_slice f = { rest->p, end ? (size_t)(end - rest->p) : rest->len };

	rest->p += f.len + (end != NULL);
	rest->len -= f.len + (end != NULL);
	return atr_slice_is(f, "-") ? (struct atr_slice){ f.p, 0 } : f;
}

static void put_string(struct atr_slice s)
{
	put(s.p, s.len);
	PUT("\0");
}

static void put_question(char type, struct atr_slice rest)
{
	begin_message(type == '0' ? 0 : type);
	switch (type) {
	case '0': /* a start, or what asks for encryption, or to cancel */
		if (atr_slice_is(rest, "ssl")) {
			PUT("\4\322\026\057");
		} else if (atr_slice_is(rest, "cancel")) {
			PUT("\4\322\026\056\0\0\0\1\0\0\0\2");
		} else {
			PUT("\0\3\0\0user\0me\0database\0");
			put_string(rest);
			PUT("\0");
		}
		break;
	case 'P':
		put_string(field(&rest, false));
		put_string(field(&rest, true));
		PUT("\0\0");
		break;
	case 'B':
		put_string(field(&rest, false));
		put_string(field(&rest, false));
		PUT("\0\0\0\1\0\0\0\6secret\0\0");
		break;
	case 'D':
	case 'C':
		put(rest.p, 1);
		rest.p += 2;
		rest.len -= 2;
		put_string(field(&rest, false));
		break;
	case 'E':
		put_string(field(&rest, false));
		PUT("\0\0\0\0");
		break;
	case 'Q':
	case 'f':
		put_string(rest);
		break;
	case 'F':
		PUT("\0\0\1\2\0\0\0\0\0\0");
		break;
	default:
		put(rest.p, rest.len);
	}
	end_message();
}

static void put_answer(char type, struct atr_slice rest)
{
	if (type == '!') { /* one byte, without a head */
		put(rest.p, 1);
		return;
	}
	begin_message(type);
	switch (type) {
	case 'C':
		put_string(rest);
		break;
	case 'E':
	case 'N':
		PUT("SX\0V");
		put_string(field(&rest, false));
		PUT("C");
		put_string(field(&rest, false));
		PUT("Mwhat happened\0\0");
		break;
	case 'S':
		put_string(field(&rest, false));
		put_string(field(&rest, false));
		break;
	case 'R':
	case 'V':
		PUT("\0\0\0\0");
		break;
	case 'A':
	case 'K':
	case 'v':
		PUT("\0\0\0\1ab\0\0");
		break;
	case 'T':
	case 't':
		PUT("\0\1column\0");
		break;
	case 'D':
		PUT("\0\1\0\0\0\3row");
		break;
	case 'G':
	case 'H':
	case 'W':
		PUT("\0\0\0");
		break;
	default:
		put(rest.p, rest.len);
	}
	end_message();
}

/* The bytes of one line of a script, without its ">" or "<". */
static void put_line(bool asks, const char *p, const char *end)
{
	n_wire = 0;
	while (p < end) {
		const char *bar = memchr(p, '|', (size_t)(end - p));
		const char *to = bar ? bar : end;
		struct atr_slice rest = { p + 1, (size_t)(to - p - 1) };

		if (rest.len) {
			rest.p++;
			rest.len--;
		}
		(asks ? put_question : put_answer)(*p, rest);
		p = to + (bar != NULL);
	}
}

/* Of one line, ready to be moved. */
static void put_all(bool asks, const char *line)
{
	put_line(asks, line, line + strlen(line));
}

/* How the bytes of a script move. */
struct how {
	size_t piece;	 /* bytes in a call; 0: all of a line */
	size_t at;	 /* the first call ends here; 0: as the others */
	size_t short_by; /* the kernel takes so many less, and they are sent again */
};

static void move_line(bool asks, const struct how *how)
{
	size_t done = 0, first = how->at;

	while (done < n_wire) {
		size_t n = first ? first : how->piece ? how->piece : n_wire;

		n = n < n_wire - done ? n : n_wire - done;
		first = 0;
		if (!asks) {
			call_recv(wire + done, n);
		} else if (how->short_by && n > how->short_by) {
			call_send(wire + done, n, n - how->short_by, 0);
			call_send(wire + done + n - how->short_by, how->short_by, 0, EAGAIN);
			call_send(wire + done + n - how->short_by, how->short_by, how->short_by, 0);
		} else {
			call_send(wire + done, n, n, 0);
		}
		done += n;
	}
}

/* Lines that begin with ">" (asked) or "<" (answered), each ended by "\n" or the script. */
static void play(const char *script, const struct how *how)
{
	while (*script) {
		const char *end = strchrnul(script, '\n');

		if (end > script + 2) {
			put_line(*script == '>', script + 2, end);
			move_line(*script == '>', how);
		}
		script = end + (*end != '\0');
	}
}

static void played(const char *script)
{
	play(script, &(struct how){ .piece = 0 });
}

#define START "> 0 db\n< R|S server_version 16|K|Z I\n"

/* ---- what became of it ---- */

static const Atr__Otlp__AnyValue *attr(const Atr__Otlp__Span *s, const char *key)
{
	for (size_t i = 0; i < s->n_attributes; i++)
		if (strcmp(s->attributes[i]->key, key) == 0)
			return s->attributes[i]->value;
	return NULL;
}

static const char *text_attr(const Atr__Otlp__Span *s, const char *key)
{
	const Atr__Otlp__AnyValue *v = attr(s, key);

	return v ? v->string_value : "";
}

static void describe_span(const Atr__Otlp__Span *s, char *to, size_t size)
{
	static const struct {
		const char *key, *word;
	} shown[] = {
		{ "db.response.status_code", "code" },
		{ "error.type", "error" },
		{ "db.response.returned_rows", "returned" },
		{ "db.response.affected_rows", "affected" },
		{ "db.postgresql.copy.rows", "rows" },
		{ "db.postgresql.copy.bytes", "bytes" },
		{ "db.postgresql.transaction.status", "tx" },
	};
	size_t n = (size_t)snprintf(to, size, "%s", s->name);

	CHECK_INT(s->kind, ATR_KIND_CLIENT);
	CHECK_INT(s->status ? s->status->code : 0, attr(s, "error.type") ? 2 : 0);
	CHECK(s->end_time_unix_nano >= s->start_time_unix_nano);
	for (size_t i = 0; i < ATR_ARRAY_LEN(shown); i++) {
		const Atr__Otlp__AnyValue *v = attr(s, shown[i].key);

		if (!v)
			continue;
		n += v->value_case == ATR__OTLP__ANY_VALUE__VALUE_STRING_VALUE
			     ? (size_t)snprintf(to + n, size - n, " %s=%s", shown[i].word,
						v->string_value)
			     : (size_t)snprintf(to + n, size - n, " %s=%lld", shown[i].word,
						(long long)v->int_value);
	}
}

/* All spans but that of connecting, a line each; and they are forgotten. */
static const char *said(void)
{
	static char text[200000];
	size_t n = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < n_spans; i++) {
		if (strcmp(spans[i]->name, "connect db") != 0 || attr(spans[i], "error.type")) {
			if (n)
				text[n++] = '\n';
			describe_span(spans[i], text + n, sizeof(text) - n);
			n += strlen(text + n);
		}
		atr__otlp__span__free_unpacked(spans[i], NULL);
	}
	n_spans = 0;
	return text;
}

static unsigned in_use(const struct atr_pool *pool)
{
	unsigned n = pool->n_made;

	for (uint32_t i = (uint32_t)pool->free; i; n--) {
		const char *chunk = pool->chunks[(i - 1) / pool->per_chunk];
		size_t at = pool->size * ((i - 1) % pool->per_chunk);

		i = ((const struct atr_pooled *)(const void *)(chunk + at))->next;
	}
	return n;
}

static void all_given_back(void)
{
	CHECK_INT(in_use(&connections), 0);
	CHECK_INT(in_use(&items), 0);
	CHECK_INT(in_use(&statements), 0);
	CHECK_INT(in_use(&texts), 0);
	CHECK_INT(in_use(&buffers), 0);
}

static void fresh(void)
{
	hang_up();
	(void)said();
	all_given_back();
	memset(&atr_tls, 0, sizeof(atr_tls));
	memset(threads, 0, sizeof(threads));
	memset(&atr_stats, 0, sizeof(atr_stats));
	memset(&atr_process, 0, sizeof(atr_process));
	memset(&atr_context_process, 0, sizeof(atr_context_process));
	atr_tls.thread = &threads[0];
	unreadable = false;
#define WORD(constant, spelling)
#define OPTION(field, type, env, def, min, max, doc) atr_config.field = def;
#include "preload/config.def"
	atr_sampler_init(ATR_SAMPLER_PARENTBASED_ALWAYS_ON, 1, true);
	atr_clock_sync();
	new_conn();
}

#endif
