/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PostgreSQL spoken by a program's own code (JDBC, pg8000, asyncpg, node's pg): the same
 * spans as libpq.c makes of libpq's calls.  The client's side alone; a server's connections
 * are not followed.
 *
 * What is asked is looked at before it goes out, so that a span begins before the server can
 * have seen anything and the thread that reads the answer finds what it answers.  The
 * call is the program's own all the same.  Where the kernel takes less, the program sends the
 * rest again: that many bytes of what comes next were looked at already.
 *
 * The side that asks fills a queue, the other empties it: no lock.  What is not
 * understood ends all of it for good, and so does a second thread in one direction.
 * Encryption that the server agrees to ends it, too.  A connection of libpq's is libpq.c's.
 */
#include "hooks/pg-talk.h"

#include <errno.h>

#include "hooks/buffer.h"
#include "hooks/hook.h"
#include "hooks/inject.h"
#include "hooks/talk.h"
#include "preload/clock.h"
#include "preload/stats.h"

/* Of data that is copied in no more is looked at in one go. */
#define COPY_WINDOW 1024

/* What is sent in one call, if it needs no buffer. */
#define SMALL 512

static struct atr_pool connections = {
	.size = (sizeof(struct atr_pg) + 7) & ~(size_t)7,
	.per_chunk = 32,
	.max = 32768,
};

static bool claim(uint32_t *of)
{
	return !__atomic_exchange_n(of, 1, __ATOMIC_ACQUIRE);
}

static void leave(uint32_t *claimed)
{
	atr_store_release(claimed, 0u);
}

/* For good.  What is open is dropped when the connection ends: it is the other side's, too. */
static void give_up(struct atr_pg *pg, struct atr_conn *c)
{
	atr_store(&pg->lost, 1u);
	c->heard = ATR_HEARD_ALL;
}

/* Is there still something to be followed? */
static bool followed(struct atr_pg *pg, struct atr_conn *c)
{
	if (atr_load(&pg->lost) || atr_load_acquire(&pg->opaque))
		return false;
	if (c->speaker != ATR_SPEAKER_LIBPQ)
		return true;
	give_up(pg, c); /* it turns out to be libpq's */
	return false;
}

/* ---- what is asked ---- */

static bool feed_asked(struct atr_pg_asking *a, const char *p, size_t n)
{
	struct atr_pg *pg = a->pg;
	struct atr_pg3_message m;

	while (n) {
		ssize_t used = atr_pg3_next(&pg->ask, p, n, &m);

		if (used < 0)
			return false;
		p += used;
		n -= (size_t)used;
		if (!m.whole)
			continue;
		if (!atr_pg_ask(a, &m))
			return false;
		pg->begun = 0;
		pg->copying = m.type == 'd';
		if (atr_unlikely(pg->ask.keep)) {
			atr_buffer_give(pg->ask.keep);
			pg->ask.keep = NULL;
		}
	}
	return true;
}

/* A message has begun that is not whole yet: what its statement begins with. */
static void note_begin(struct atr_pg_asking *a)
{
	const struct atr_context *thread = atr_context_current();
	struct atr_pg *pg = a->pg;

	if (pg->begun || (!pg->ask.in_body && !pg->ask.n_head))
		return;
	pg->begun = a->now ? a->now : atr_now();
	pg->thread.valid = false;
	if (thread)
		pg->thread = *thread;
}

/* False: the program's memory cannot be read, or is not understood. */
static bool look_at(struct atr_pg_asking *a, struct atr_source *source, char *window, size_t *at)
{
	struct atr_pg *pg = a->pg;

	while (*at < source->total) {
		size_t left = source->total - *at, n = atr_pg3_skippable(&pg->ask);

		if (n) {
			n = n < left ? n : left;
			atr_pg3_skip(&pg->ask, (uint32_t)n);
			*at += n;
			continue;
		}
		n = pg->copying ? COPY_WINDOW : ATR_BUFFER_SIZE;
		n = n < left ? n : left;
		if (!atr_source_peek(source, *at, window, n))
			return true; /* the kernel will say so, too */
		if (!feed_asked(a, window, n))
			return false;
		*at += n;
	}
	return true;
}

static void look_ahead(struct atr_pg *pg, struct atr_conn *c, struct atr_source *source)
{
	struct atr_pg_asking a = { .pg = pg, .conn = c };
	size_t at = pg->ahead < source->total ? (size_t)pg->ahead : source->total;
	bool is_small = source->total - at <= SMALL;
	char small[SMALL], *window;

	pg->calling = true;
	if (at == source->total)
		return;
	window = is_small ? small : atr_buffer_take();
	if (!window || !look_at(&a, source, window, &at))
		give_up(pg, c);
	if (!is_small)
		atr_buffer_give(window);
	note_begin(&a);
	pg->ahead = at;
}

/* Asked to add something to what is sent, it looks, and never does. */
static bool plan(void *talk, struct atr_conn *c, struct atr_source *source, struct atr_plan *none)
{
	struct atr_pg *pg = talk;

	(void)none;
	if (!followed(pg, c))
		return false;
	if (!claim(&pg->asking)) {
		give_up(pg, c);
		return false;
	}
	if (pg->calling)
		give_up(pg, c);
	else
		look_ahead(pg, c, source);
	leave(&pg->asking);
	return false;
}

/* Bytes that went without having been looked at: a call that cannot be added to. */
static bool went_unseen(struct atr_pg *pg, const struct atr_moved *m, uint64_t seen)
{
	struct atr_pg_asking a = { .pg = pg, .conn = m->conn };
	uint64_t left = m->bytes;
	bool ok = true;

	if (!m->iov) {
		left -= seen;
		if (left > atr_pg3_skippable(&pg->ask))
			return false;
		atr_pg3_skip(&pg->ask, (uint32_t)left);
		return true;
	}
	for (size_t i = 0; i < m->n_iov && left && ok; i++) {
		size_t n = m->iov[i].iov_len < left ? m->iov[i].iov_len : (size_t)left;
		size_t from = seen < n ? (size_t)seen : n;

		ok = feed_asked(&a, (const char *)m->iov[i].iov_base + from, n - from);
		seen -= from;
		left -= n;
	}
	note_begin(&a);
	return ok;
}

static void note_errno(struct atr_pg *pg, int err)
{
	if (err != EAGAIN && err != EINTR && err != EFAULT && err != ENOTCONN)
		atr_store(&pg->failed, (uint32_t)err);
}

static void sent(void *talk, const struct atr_moved *m)
{
	struct atr_pg *pg = talk;
	uint64_t seen;

	if (!followed(pg, m->conn))
		return;
	if (!claim(&pg->asking)) {
		give_up(pg, m->conn);
		return;
	}
	if (m->err)
		note_errno(pg, m->err);
	pg->calling = false;
	seen = pg->ahead < m->bytes ? pg->ahead : m->bytes;
	pg->ahead -= seen;
	if (seen < m->bytes && !went_unseen(pg, m, seen))
		give_up(pg, m->conn);
	if (m->of && pg->said.valid) {
		*m->of = pg->said;
		*m->since = pg->said_since;
	}
	leave(&pg->asking);
}

/* ---- what is answered ---- */

/* One byte: is the connection encrypted from here on? */
static bool encryption(struct atr_pg *pg, struct atr_conn *c, char answer)
{
	(void)__atomic_fetch_sub(&pg->singles, 1, __ATOMIC_RELAXED);
	if (answer == 'N')
		return true;
	if (answer != 'S' && answer != 'G')
		return false;
	c->speaker = ATR_SPEAKER_PROGRAM;
	atr_conn_attrs_changed(c);
	atr_store_release(&pg->opaque, 1u);
	return true;
}

/* Is the next byte an answer of its own?  (A server that is too old sends an error instead.) */
static bool is_single(const struct atr_pg *pg, char next)
{
	return atr_unlikely(atr_load(&pg->singles)) && next != 'E' && !pg->answer.n_head &&
	       !pg->answer.in_body;
}

static bool feed_answered(struct atr_pg_answering *a, const char *p, size_t n)
{
	struct atr_pg *pg = a->pg;
	struct atr_pg3_message m;

	while (n) {
		ssize_t used = 1;

		if (is_single(pg, *p)) {
			if (!encryption(pg, a->m->conn, *p))
				return false;
			if (atr_load(&pg->opaque))
				return true;
		} else {
			used = atr_pg3_next(&pg->answer, p, n, &m);
			if (used < 0 || (m.whole && !atr_pg_answer(a, &m)))
				return false;
		}
		p += used;
		n -= (size_t)used;
	}
	return true;
}

static bool feed_received(struct atr_pg_answering *a)
{
	const struct atr_moved *m = a->m;
	uint64_t left = m->bytes;

	if (!m->iov) {
		if (left > atr_pg3_skippable(&a->pg->answer))
			return false;
		atr_pg3_skip(&a->pg->answer, (uint32_t)left);
		return true;
	}
	for (size_t i = 0; i < m->n_iov && left && !atr_load(&a->pg->opaque); i++) {
		size_t n = m->iov[i].iov_len < left ? m->iov[i].iov_len : (size_t)left;

		if (!feed_answered(a, m->iov[i].iov_base, n))
			return false;
		left -= n;
	}
	return true;
}

/* A loop that has read an answer goes on with what it was asked for. */
static void go_on(const struct atr_pg_answering *a)
{
	const void *loop = atr_context_loop(atr_load(&a->m->conn->loop));
	const struct atr_pg_item *item;
	const struct atr_context *to = NULL;

	if (!loop)
		return;
	item = atr_load_acquire(&a->pg->front->next);
	if (a->any && !a->several)
		to = &a->sent_in;
	else if (!a->any && item && item->statement)
		to = &item->statement->sent_in;
	atr_context_enter(to && atr_context_usable(to) ? to : NULL, loop, a->complete);
}

static void take_answers(struct atr_pg_answering *a)
{
	if (!a->m->bytes) {
		a->ending = a->complete = true;
		atr_pg_answer_end(a, "connection_lost");
	} else if (!feed_received(a)) {
		give_up(a->pg, a->m->conn);
	}
}

static void received(void *talk, const struct atr_moved *m)
{
	struct atr_pg *pg = talk;
	struct atr_pg_answering a = { .pg = pg, .m = m };

	if (m->err == EAGAIN || m->err == EINTR || m->err == EFAULT)
		return;
	if (!claim(&pg->answering)) {
		give_up(pg, m->conn);
		return;
	}
	if (m->err)
		note_errno(pg, m->err);
	if (followed(pg, m->conn))
		take_answers(&a);
	if (!followed(pg, m->conn))
		atr_pg_answer_drop(pg); /* nobody waits for them */
	else
		go_on(&a);
	leave(&pg->answering);
}

/* ---- the connection ---- */

/* The program may still read what the server has to say. */
static void shut(void *talk, struct atr_conn *c, int fd)
{
	(void)talk;
	(void)c;
	(void)fd;
}

static void end(void *talk, struct atr_conn *c)
{
	struct atr_pg *pg = talk;
	struct atr_moved m = { .conn = c, .fd = -1 };
	struct atr_pg_answering a = { .pg = pg, .m = &m, .ending = true };

	if (followed(pg, c)) {
		if (pg->open)
			pg->open->asked |= ATR_PG_FINAL;
		atr_pg_answer_end(&a, atr_load(&pg->failed) ? "connection_lost" : "cancelled");
		atr_pg_ask_end(pg, c);
	}
	atr_pg_answer_free(pg);
	atr_pg_statement_drop(pg->unnamed);
	atr_pg_text_release(pg->nameless);
	atr_pg_text_release(pg->nameless_bound);
	atr_pg_text_release(pg->recent);
	atr_buffer_give(pg->ask.keep);
	atr_pgconn_free(pg->known);
	atr_pool_give(&connections, pg);
}

static void *begin(struct atr_conn *c, bool client)
{
	struct atr_pg *pg;
	uint32_t self, next;

	(void)c;
	/* Not a server, and not within a call of libpq's. */
	if (!client || (atr_tls.inside & ATR_IN_LIBPQ))
		return NULL;
	pg = atr_pool_take(&connections);
	if (!pg)
		return NULL;
	self = pg->pooled.self;
	next = pg->pooled.next;
	*pg = (struct atr_pg){
		.pooled = { self, next },
		.ask = { .untyped = true, .room = atr_buffer_take },
		.answer = { .answers = true },
		.known = atr_pgconn_new(),
		.front = atr_pg_item_new(ATR_PG_SYNC),
	};
	pg->answer.keep = pg->keep;
	pg->back = pg->front;
	if (pg->known && pg->front)
		return pg;
	if (pg->front)
		atr_pg_item_free(pg->front);
	atr_pgconn_free(pg->known);
	atr_pool_give(&connections, pg);
	return NULL;
}

const struct atr_protocol atr_pg_protocol = {
	.name = "postgresql",
	.sniff = atr_pg3_sniff,
	.begin = begin,
	.received = received,
	.sent = sent,
	.plan = plan,
	.shut = shut,
	.end = end,
};
