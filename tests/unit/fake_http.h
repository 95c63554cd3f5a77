/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_TEST_FAKE_HTTP_H
#define ATR_TEST_FAKE_HTTP_H

/*
 * The whole of HTTP between parser and connection, with a thread, a ring and a kernel of our
 * own: connections are structs, what goes out lies in `wire`, spans in `spans`.
 *
 * Every piece that is received lies before an unreadable page.
 */
#include <errno.h>
#include <pthread.h>

#include "exporter/otlp.pb-c.h"
#include "hooks/buffer.c"
#include "hooks/http-ask.c"
#include "hooks/http-half.c"
#include "hooks/http-plan.c"
#include "hooks/http-request.c"
#include "hooks/http-serve.c"
#include "hooks/http.c"
#include "hooks/inject.h"
#include "preload/carrier.c"
#include "preload/config.h"
#include "preload/record.h"
#include "preload/traceparent.h"
#include "tests/unit/test.h"

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"
#define TRACEPARENT "traceparent: 00-" TRACE "-" PARENT "-01\r\n"

#define SERVER 2 /* Span.SpanKind */
#define CLIENT 3

/* ---- the thread's side ---- */

__thread struct atr_tls atr_tls;
struct atr_process atr_process;
struct atr_stats atr_stats;
struct atr_config atr_config;

static struct atr_thread threads[3];
static struct atr_tls thread_words[3]; /* of those that this is not, just now */
static unsigned thread_now;

static pthread_mutex_t ring = PTHREAD_MUTEX_INITIALIZER;
static Atr__Otlp__Span *spans[1024];
static unsigned n_spans;
static uint64_t counter;

struct atr_thread *atr_thread_self(void)
{
	return atr_tls.thread;
}

uint64_t atr_thread_random(struct atr_thread *t)
{
	(void)t;
	return (atr_add(&counter, 1u) + 1) * 0x9e3779b97f4a7c15u;
}

struct atr_record *atr_thread_reserve(struct atr_thread *t, enum atr_which_ring which)
{
	(void)which;
	static __thread _Alignas(8) uint8_t room[ATR_RECORD_MAX];

	(void)t;
	return (struct atr_record *)(void *)room;
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

/* The rest of a test goes on in that thread. */
static void as_thread(unsigned i)
{
	thread_words[thread_now] = atr_tls;
	thread_now = i;
	atr_tls = thread_words[i];
	atr_tls.thread = &threads[i];
}

/* The thread runs a loop, and waits. */
static void wait_for_more(void)
{
	atr_context_dispatch(-1, atr_now());
}

/* ---- the connection's side ---- */

static unsigned attrs_changed;

void atr_conn_attrs(struct atr_conn *c, int fd, struct atr_pb *pb)
{
	(void)c;
	(void)fd;
	(void)pb;
}

void atr_conn_attrs_changed(struct atr_conn *c)
{
	(void)c;
	attrs_changed++;
}

size_t atr_conn_peer_address(struct atr_conn *c, char buf[static ATR_PEER_TEXT_MAX], int *port)
{
	(void)c;
	memcpy(buf, "192.0.2.7", 9);
	*port = 8080;
	return 9;
}

static const char *hole; /* what lies here cannot be read; NULL: there is no such place */

bool atr_source_peek(const struct atr_source *source, size_t at, void *to, size_t n)
{
	char *out = to;

	for (size_t i = 0; i < source->n_iov && n; i++) {
		const struct iovec *v = &source->iov[i];
		size_t here = at < v->iov_len ? v->iov_len - at : 0;

		here = here < n ? here : n;
		if (here && hole && hole < (const char *)v->iov_base + at + here)
			return false;
		if (here)
			memcpy(out, (const char *)v->iov_base + at, here);
		at -= at < v->iov_len ? at : v->iov_len;
		out += here;
		n -= here;
	}
	return !n;
}

static struct atr_conn conns[4];

static struct atr_conn *new_conn(unsigned i, enum atr_role role)
{
	struct atr_conn *c = &conns[i];

	*c = (struct atr_conn){
		.gen = c->gen + 1,
		.type = SOCK_STREAM,
		.role = (uint8_t)role,
		.protocol = &atr_http_protocol,
		.heard = ATR_HEARD_SOME,
	};
	c->talk = c->protocol->begin(c, role == ATR_ROLE_CLIENT);
	return c;
}

static struct atr_conn *new_server(unsigned i)
{
	return new_conn(i, ATR_ROLE_SERVER);
}

static struct atr_conn *new_client(unsigned i)
{
	return new_conn(i, ATR_ROLE_CLIENT);
}

static struct atr_http *http_of(struct atr_conn *c)
{
	return c->talk;
}

/* The last one that was read, or sent. */
static struct atr_http_request *request(struct atr_conn *c)
{
	return http_of(c)->back;
}

static void hang_up(struct atr_conn *c)
{
	c->protocol->end(c->talk, c);
	c->talk = NULL;
}

static void move(struct atr_conn *c, const char *p, size_t n, bool out)
{
	char *edge = test_edge(p, n);
	struct iovec v = { edge, n };
	struct atr_moved m = { .conn = c, .fd = 3, .iov = &v, .n_iov = 1, .bytes = n };

	(out ? c->protocol->sent : c->protocol->received)(c->talk, &m);
	test_edge_free(edge, n);
}

/* Bytes that come, and bytes that go without a plan. */
static void hear(struct atr_conn *c, const char *text)
{
	move(c, text, strlen(text), false);
}

static void say(struct atr_conn *c, const char *text)
{
	move(c, text, strlen(text), true);
}

static void move_singly(struct atr_conn *c, const char *text, bool out)
{
	for (; *text; text++)
		move(c, text, 1, out);
}

/* A call that moved nothing: an error, or the end of the stream. */
static void move_none(struct atr_conn *c, bool out, int err)
{
	struct atr_moved m = { .conn = c, .fd = 3, .err = err };

	(out ? c->protocol->sent : c->protocol->received)(c->talk, &m);
}

/* sendfile(), splice(): n bytes that nobody saw. */
static void move_unseen(struct atr_conn *c, uint64_t n, bool out)
{
	struct atr_moved m = { .conn = c, .fd = 3, .bytes = n };

	(out ? c->protocol->sent : c->protocol->received)(c->talk, &m);
}

/* ---- what goes out ---- */

static char wire[512 * 1024];
static size_t n_wire;
static char owed[4096]; /* of a text that was cut off */
static size_t n_owed;

static void put_wire(const char *p, size_t n)
{
	if (n >= sizeof(wire) - n_wire)
		abort();
	if (n)
		memcpy(wire + n_wire, p, n);
	n_wire += n;
	wire[n_wire] = '\0';
}

/* One of our texts, as far as there is room; what is left of it is owed. */
static void put_text(const struct atr_insert *in, size_t *room)
{
	for (int i = 0; i < 2; i++) {
		size_t n = in->text[i].len < *room ? in->text[i].len : *room;

		put_wire(in->text[i].p, n);
		*room -= n;
		for (; n < in->text[i].len; n++)
			owed[n_owed++] = in->text[i].p[n];
	}
}

/* Stopped at i, which must not be within what goes whole: the rest of that is owed. */
static size_t whole_to(const struct atr_insert *in, size_t i)
{
	if (i <= in->whole_from || i >= in->whole_to)
		return i;
	for (; i < in->whole_to; i++)
		owed[n_owed++] = in->copy[i - in->from];
	return i;
}

/* The kernel takes `room` bytes of what the plan makes of p.  Returns how many of p's. */
static size_t carry_out(const struct atr_plan *plan, const char *p, size_t room, unsigned *begun)
{
	const struct atr_insert *in = plan->insert, *end = in + plan->n;
	size_t i = 0;

	*begun = 0;
	for (; room; i++) {
		for (; in < end && in->at == i && room; in++) {
			(*begun)++;
			put_text(in, &room);
		}
		if (!room || i == plan->cut)
			break;
		put_wire(in < end && in->copy && i >= in->from ? in->copy + (i - in->from) : p + i,
			 1);
		room--;
	}
	return in < end ? whole_to(in, i) : i;
}

#define ALL SIZE_MAX

/* Pieces a call's bytes lie in. */
static unsigned ask_pieces = 1;

/*
 * One call that sends n bytes, of which, and of what is added, the kernel takes `room`; err: it
 * says this instead.  Returns what the program is told, but for the errors.
 */
static size_t ask_once(struct atr_conn *c, const char *p, size_t n, size_t room, int err)
{
	struct iovec iov[64];
	struct atr_source source = { .iov = iov, .n_iov = ask_pieces, .total = n };
	struct atr_moved m = { .conn = c, .fd = 3, .err = err };
	struct atr_plan plan = { .cut = n };
	unsigned begun;

	for (unsigned i = 0; i < ask_pieces; i++) {
		size_t from = n * i / ask_pieces, to = n * (i + 1) / ask_pieces;

		iov[i] = (struct iovec){ (char *)(uintptr_t)p + from, to - from };
	}
	put_wire(owed, n_owed);
	n_owed = 0;
	if (!c->protocol->plan(c->talk, c, &source, &plan)) {
		n = n < room ? n : room;
		put_wire(p, n);
		m.iov = iov;
		m.n_iov = ask_pieces;
		m.bytes = n;
		c->protocol->sent(c->talk, &m);
		return n;
	}
	CHECK(plan.n <= ATR_INSERTS_MAX && plan.cut <= n);
	for (unsigned i = 0; i < plan.n; i++) {
		CHECK(plan.insert[i].at < plan.cut && plan.insert[i].from <= plan.insert[i].at);
		CHECK(!i || plan.insert[i - 1].at < plan.insert[i].from || !plan.insert[i].copy);
		CHECK(!i || plan.insert[i - 1].at < plan.insert[i].at);
	}
	m.bytes = carry_out(&plan, p, room, &begun);
	c->protocol->sent_planned(c->talk, &m, &plan, begun);
	for (unsigned i = 0; i < plan.n; i++)
		atr_buffer_give(plan.insert[i].copy);
	return m.bytes;
}

/* All n bytes, in as many calls as there are plans. */
static void ask_bytes(struct atr_conn *c, const char *p, size_t n)
{
	while (n) {
		size_t went = ask_once(c, p, n, ALL, 0);

		if (!went)
			abort();
		p += went;
		n -= went;
	}
}

static void ask(struct atr_conn *c, const char *text)
{
	ask_bytes(c, text, strlen(text));
}

/* ---- what must have gone ---- */

static void put_hex(char *to, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)snprintf(to + 2 * i, 3, "%02x", bytes[i]);
}

/* The line that tells of this context. */
static const char *line_of(const struct atr_context *context)
{
	static char line[80];
	char trace[33], span[17];

	put_hex(trace, context->trace_id, 16);
	put_hex(span, context->span_id, 8);
	(void)snprintf(line, sizeof(line), "traceparent: 00-%s-%s-%02x\r\n", trace, span,
		       context->flags);
	return line;
}

static char should_be[sizeof(wire)];
static size_t n_should_be;

static void expect(const char *p, size_t n)
{
	memcpy(should_be + n_should_be, p, n);
	n_should_be += n;
	should_be[n_should_be] = '\0';
}

/* A text whose head's empty line is at `empty`, with that request's line before it. */
static void expect_added(const struct atr_http_request *r, const char *text, size_t empty)
{
	const char *line = line_of(&r->op.context);

	expect(text, empty);
	expect(line, strlen(line));
	expect(text + empty, strlen(text) - empty);
}

static bool went_as_expected(void)
{
	bool same = CHECK_STR(wire, should_be);

	n_wire = n_should_be = 0;
	return same;
}

/* ---- what became of it ---- */

static bool shows(const uint8_t *bytes, size_t n, const char *hex_text)
{
	char text[40];

	for (size_t i = 0; i < n; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	return CHECK_STR(text, hex_text);
}

static const Atr__Otlp__AnyValue *attr(const Atr__Otlp__Span *s, const char *key)
{
	for (size_t i = 0; i < s->n_attributes; i++)
		if (strcmp(s->attributes[i]->key, key) == 0)
			return s->attributes[i]->value;
	return NULL;
}

/* error.type, or "-"; status says the same. */
static const char *error_of(const Atr__Otlp__Span *s)
{
	const Atr__Otlp__AnyValue *error = attr(s, "error.type");

	CHECK_INT(s->status ? s->status->code : 0, error ? 2 : 0);
	return error ? error->string_value : "-";
}

static int status_of(const Atr__Otlp__Span *s)
{
	const Atr__Otlp__AnyValue *status = attr(s, "http.response.status_code");

	return status ? (int)status->int_value : 0;
}

/* The last span, and that there are n; a span of nothing when there is none. */
static const Atr__Otlp__Span *last_span(unsigned n)
{
	static Atr__Otlp__Span none = ATR__OTLP__SPAN__INIT;

	CHECK_INT(n_spans, n);
	return n_spans ? spans[n_spans - 1] : &none;
}

static bool is_child_of(const Atr__Otlp__Span *s, const struct atr_context *parent)
{
	return s->trace_id.len == 16 && s->parent_span_id.len == 8 &&
	       memcmp(s->trace_id.data, parent->trace_id, 16) == 0 &&
	       memcmp(s->parent_span_id.data, parent->span_id, 8) == 0;
}

static bool is_root(const Atr__Otlp__Span *s)
{
	return s->trace_id.len == 16 && s->parent_span_id.len == 0;
}

/* Is the thread in the context of this request? */
static bool in(const struct atr_http_request *r)
{
	const struct atr_context *now = atr_context_current();

	return now && atr_context_same(now, &r->op.context);
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

/* Nothing is held, and nobody is waited for. */
static void all_given_back(void)
{
	CHECK_INT(in_use(&connections), 0);
	CHECK_INT(in_use(&requests), 0);
	CHECK_INT(in_use(&chunks), 0);
	CHECK_INT(in_use(&buffers), 0);
	CHECK_INT(in_use(&small_ones), 0);
	CHECK_INT(atr_context_served, 0);
}

/* While it is refused there is none: keep is what it is put back from. */
static void refuse(struct atr_pool *pool, struct atr_pool *keep)
{
	*keep = *pool;
	pool->max = 0;
	pool->free = 0;
}

static void ignore(const char *line)
{
	(void)line;
}

static void settings(const char *propagators, const char *except)
{
	atr_config.propagate_except = except;
	atr_http_attrs_init(ignore);
	atr_propagators_init(propagators, NULL, ignore);
}

/* Which connections were left open by a test does not matter: this ends them. */
static void fresh(void)
{
	for (unsigned i = 0; i < ATR_ARRAY_LEN(conns); i++)
		if (conns[i].talk)
			hang_up(&conns[i]);
	all_given_back();
	while (n_spans)
		atr__otlp__span__free_unpacked(spans[--n_spans], NULL);
	memset(&atr_tls, 0, sizeof(atr_tls));
	memset(thread_words, 0, sizeof(thread_words));
	memset(threads, 0, sizeof(threads));
	memset(&atr_process, 0, sizeof(atr_process));
	memset(&atr_stats, 0, sizeof(atr_stats));
	memset(&atr_context_process, 0, sizeof(atr_context_process));
	atr_context_crossed = 0;
	for (unsigned i = 0; i < ATR_ARRAY_LEN(threads); i++)
		threads[i].tid = 70 + i;
	thread_now = 0;
	atr_tls.thread = &threads[0];
	n_wire = n_owed = 0;
	wire[0] = '\0';
	ask_pieces = 1;
	attrs_changed = 0;
	hole = NULL;
#define WORD(constant, spelling)
#define OPTION(field, type, env, def, min, max, doc) atr_config.field = def;
#include "preload/config.def"
	settings(NULL, NULL);
	atr_sampler_passive = false;
	atr_sampler_init(ATR_SAMPLER_PARENTBASED_ALWAYS_ON, 1, true);
	atr_clock_sync();
}

#endif
