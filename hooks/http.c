/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1 on a connection: which bytes are heads, which request a response answers.
 *
 * Two halves, one for requests and one for responses, each with its own place in the
 * stream; a server receives the first and sends the second, a client the other way
 * round.  Requests wait in a queue for their responses (pipelining), and the queue is
 * all the halves share: one puts in, the other takes out, without a lock.  Two threads
 * in the same half cannot be: their bytes would be mixed on the wire.  If it happens
 * all the same the half gives up.
 *
 * A head is read where it lies, if the call brought the whole of it; one in pieces is
 * put together in a buffer.  Bodies are never looked at but for their framing.
 *
 * A SERVER span lasts from the first byte of the request to the last of the response;
 * a CLIENT span until the response's head is there (semantic conventions, HTTP spans).
 */
#include "hooks/http.h"

#include <errno.h>
#include <string.h>

#include "hooks/buffer.h"
#include "hooks/errtype.h"
#include "hooks/talk.h"
#include "preload/clock.h"
#include "preload/process.h"
#include "preload/stats.h"
#include "preload/thread.h"

static struct atr_pool connections = {
	.size = (sizeof(struct atr_http) + 7) & ~(size_t)7,
	.per_chunk = 64,
	.max = 65536,
};

bool atr_http_claim(uint32_t *claim)
{
	return !__atomic_exchange_n(claim, 1, __ATOMIC_ACQUIRE);
}

void atr_http_lost(struct atr_http *h, struct atr_conn *c)
{
	if (!__atomic_exchange_n(&h->lost, 1, __ATOMIC_RELAXED))
		atr_count(not_followed, 1);
	c->heard = ATR_HEARD_ALL;
}

void atr_http_leave(uint32_t *claim)
{
	atr_store_release(claim, 0u);
}

void atr_http_give_up(struct atr_http_half *half)
{
	half->phase = ATR_HTTP_GIVEN_UP;
	atr_buffer_give(half->buf);
	half->buf = NULL;
	half->len = 0;
}

/* ---- the queue ---- */

void atr_http_queue(struct atr_http *h, struct atr_http_request *r)
{
	/* Pairs with the acquire in oldest(): the request is whole. */
	atr_store_release(&h->back->next, r);
	h->back = r;
}

/* The oldest request without a complete response; NULL when there is none. */
static struct atr_http_request *oldest(const struct atr_http *h)
{
	return atr_load_acquire(&h->front->next);
}

/* The oldest one has its response.  It stays as the queue's front, spent, until the next one goes.
 */
static void take_off(struct atr_http *h)
{
	struct atr_http_request *spent = h->front;

	atr_store(&h->front, oldest(h));
	atr_http_request_free(spent);
}

/* ---- one half being fed ---- */

struct feed {
	struct atr_http *h;
	struct atr_http_half *half;
	const struct atr_moved *m;
	bool (*head)(struct feed *f, const char *p, size_t n); /* false: give up */
	void (*done)(struct feed *f);			       /* a message is complete */
	struct atr_http_request *last;	 /* the one the bytes were about; NULL: none */
	struct atr_http_request *first;	 /* that was opened; NULL: none was */
	struct atr_http_request *before; /* the last one before */
	struct atr_http_request *before_last;
	bool answered_all; /* of a response: to its end */
};

static bool keep(struct atr_http_half *half, const char *p, size_t n)
{
	if (!half->buf)
		half->buf = atr_buffer_take();
	if (!half->buf || n > ATR_HTTP_HEAD_MAX - half->len)
		return false;
	memcpy(half->buf + half->len, p, n);
	half->len += (uint32_t)n;
	return true;
}

static bool plausible(const struct feed *f, const char *p, size_t n)
{
	bool requests = f->half == &f->h->request_half;

	return (requests ? atr_http_sniff(p, n) : atr_http_sniff_response(p, n)) >= 0;
}

/* A head, or a part of one; *used is how much of [p, p + n) belongs to it. */
static bool feed_head(struct feed *f, const char *p, size_t n, size_t *used)
{
	struct atr_http_half *half = f->half;
	size_t before = half->len, empty, end = 0;
	const char *head = p;
	size_t avail = n < ATR_HTTP_HEAD_MAX ? n : ATR_HTTP_HEAD_MAX;

	if (before) {
		if (avail > ATR_HTTP_HEAD_MAX - before)
			avail = ATR_HTTP_HEAD_MAX - before;
		if (!keep(half, p, avail))
			return false;
		head = half->buf;
		avail += before;
	}
	if (!atr_http_head_end(head, avail, &half->scan, &empty, &end) || !end) {
		*used = avail - before;
		return avail < ATR_HTTP_HEAD_MAX && plausible(f, head, avail) &&
		       (before || keep(half, p, avail));
	}
	*used = end - before;
	half->len = 0;
	if (!f->head(f, head, empty))
		return false;
	atr_buffer_give(half->buf);
	half->buf = NULL;
	return true;
}

static bool feed_body(struct feed *f, const char *p, size_t n, size_t *used)
{
	struct atr_http_body *body = &f->half->body;
	uint64_t opaque = atr_http_body_opaque(body);
	ssize_t eaten;

	if (opaque) {
		*used = opaque < n ? (size_t)opaque : n;
		atr_http_body_skip(body, *used);
	} else {
		eaten = atr_http_body_eat(body, p, n);
		if (eaten < 0)
			return false;
		*used = (size_t)eaten;
	}
	if (atr_http_body_done(body))
		f->done(f);
	return true;
}

ssize_t atr_http_empty_lines(struct atr_http_half *half, const char *p, size_t n)
{
	size_t i = 0;

	for (; i < n; i++) {
		if (half->cr && p[i] != '\n')
			return -1;
		half->cr = p[i] == '\r';
		if (p[i] != '\r' && p[i] != '\n')
			break;
	}
	return (ssize_t)i;
}

static bool feed_bytes(struct feed *f, const char *p, size_t n)
{
	struct atr_http_half *half = f->half;
	size_t used;

	while (n) {
		used = 0;
		switch (half->phase) {
		case ATR_HTTP_BETWEEN:
			if (half == &f->h->request_half) {
				ssize_t empty = atr_http_empty_lines(half, p, n);

				if (empty < 0)
					return false;
				used = (size_t)empty;
			}
			if (used == n)
				break;
			half->phase = ATR_HTTP_IN_HEAD;
			half->injected = false;
			half->scan = 0;
			half->begun = atr_now();
			break;
		case ATR_HTTP_IN_HEAD:
			if (!feed_head(f, p, n, &used))
				return false;
			break;
		case ATR_HTTP_IN_BODY:
			if (!feed_body(f, p, n, &used))
				return false;
			break;
		case ATR_HTTP_HELD:
			if (atr_load_acquire(&f->h->held) != ATR_HTTP_GO_ON)
				return false;
			half->phase = ATR_HTTP_BETWEEN;
			break;
		default:
			return false;
		}
		p += used;
		n -= used;
	}
	return true;
}

/* Bytes that we did not see are fine only in a body whose end is known. */
static bool feed_unseen(struct feed *f, uint64_t n)
{
	struct atr_http_half *half = f->half;

	if (half->phase != ATR_HTTP_IN_BODY || atr_http_body_opaque(&half->body) < n)
		return false;
	atr_http_body_skip(&half->body, n);
	if (atr_http_body_done(&half->body))
		f->done(f);
	return true;
}

static bool feed_moved(struct feed *f)
{
	uint64_t left = f->m->bytes;

	if (!f->m->iov)
		return feed_unseen(f, left);
	for (size_t i = 0; i < f->m->n_iov && left; i++) {
		size_t n = f->m->iov[i].iov_len < left ? f->m->iov[i].iov_len : (size_t)left;

		if (!feed_bytes(f, f->m->iov[i].iov_base, n))
			return false;
		left -= n;
	}
	return true;
}

void atr_http_recognised(struct atr_conn *c)
{
	if (atr_unlikely(c->heard != ATR_HEARD_ALL)) {
		c->speaker = ATR_SPEAKER_PROTOCOL;
		c->heard = ATR_HEARD_ALL;
		atr_conn_attrs_changed(c);
	}
}

static void not_understood(struct feed *f)
{
	f->m->conn->heard = ATR_HEARD_ALL;
	if (f->h->client && f->half == &f->h->response_half)
		atr_store(&f->h->foreign, 1u);
	atr_http_give_up(f->half);
}

/* What the raw spans of AUTOTRACE_SOCKET_SPANS=all belong under. */
static void say_whose(const struct atr_moved *m, const struct atr_http_request *r)
{
	if (r && m->of && r->op.context.valid) {
		*m->of = r->op.context;
		*m->since = r->op.start;
	}
}

/* Is this the thread that works on it, as far as we have seen? */
static bool mine(const struct atr_http_request *r)
{
	return atr_tls.thread && atr_load(&r->worker) == atr_tls.thread->tid;
}

static void work_on(struct atr_http_request *r, const struct atr_conn *c, const void *loop,
		    bool complete)
{
	if (!atr_http_request_context(r))
		return;
	if (atr_tls.thread)
		atr_store(&r->worker, atr_tls.thread->tid);
	atr_context_enter(&r->op.context, loop, complete);
	atr_tls.context_conn = c;
}

/* ---- requests that were read ---- */

void atr_http_request_body(struct atr_http *h, struct atr_http_half *half,
			   const struct atr_http_head *head)
{
	atr_http_body_begin(&half->body, head->framing, head->length);
	if (!atr_http_body_done(&half->body)) {
		half->phase = ATR_HTTP_IN_BODY;
	} else if (head->upgrade || atr_slice_is(head->method, "CONNECT")) {
		atr_store_release(&h->held, ATR_HTTP_STILL);
		half->phase = ATR_HTTP_HELD;
	} else {
		half->phase = ATR_HTTP_BETWEEN;
	}
}

static bool read_request(struct feed *f, const char *p, size_t n)
{
	struct atr_conn *c = f->m->conn;
	struct atr_http_request *r;
	struct atr_http_head head;

	if (atr_http_parse_request(&head, p, n) < 0)
		return false;
	atr_http_recognised(c);
	r = atr_http_request_new(&head);
	if (!r)
		return false;
	atr_http_request_serve(r, c, &head, f->half->begun);
	atr_store(&f->h->back->cell.crowded, 1u);
	atr_http_queue(f->h, r);
	f->last = r;
	if (f->first && atr_context_loop(c->loop)) {
		if (f->first == f->before_last)
			atr_context_several(&f->first->op.context);
		atr_context_several(&r->op.context);
	}
	f->before_last = r;
	if (!f->first)
		f->first = r;
	atr_http_request_body(f->h, f->half, &head);
	return true;
}

static void request_done(struct feed *f)
{
	const struct atr_http_request *r = f->h->back;

	f->half->phase = r->upgrade || r->to_connect ? ATR_HTTP_HELD : ATR_HTTP_BETWEEN;
}

/*
 * The thread goes on with what it read: the request that was incomplete, or the first of
 * the new ones.  Of several it works on the oldest first.
 *
 * A loop may work on several at once or one after the other, so it has no context for
 * them.
 */
static void go_on_serving(const struct feed *f, bool none_open, bool incomplete)
{
	struct atr_conn *c = f->m->conn;
	const void *loop = atr_context_loop(c->loop);
	bool complete = f->half->phase != ATR_HTTP_IN_BODY;

	if (loop && f->first && f->first != f->last)
		return;
	if (loop && f->first && !none_open && atr_tls.context_conn == c &&
	    atr_context_usable(&atr_tls.context)) {
		atr_context_behind(&f->last->op.context);
		return;
	}
	if (loop && (f->first || incomplete)) {
		work_on(f->last, c, loop, complete);
		return;
	}
	if (loop) { /* a part of a head: nothing can be done about that */
		atr_context_enter(NULL, loop, false);
		return;
	}
	for (struct atr_http_request *r = f->first; r; r = r == f->last ? NULL : atr_load(&r->next))
		atr_store(&r->worker, f->last->op.thread_id);
	if (incomplete)
		work_on(f->before, c, NULL, true);
	else if (f->first && none_open)
		work_on(f->first, c, NULL, true);
	else if (f->first && atr_tls.context_conn != c)
		atr_context_enter(NULL, NULL, false);
}

static void serve_received(struct atr_http *h, const struct atr_moved *m)
{
	struct feed f = { .h = h,
			  .half = &h->request_half,
			  .m = m,
			  .head = read_request,
			  .done = request_done,
			  .last = h->back,
			  .before = h->back };
	bool none_open = h->back == atr_load(&h->front);
	bool incomplete = h->request_half.phase == ATR_HTTP_IN_BODY;

	/* A request whose response would not be seen is none that we could tell about. */
	if (h->response_half.phase == ATR_HTTP_GIVEN_UP || !feed_moved(&f))
		not_understood(&f);
	say_whose(m, f.last);
	go_on_serving(&f, none_open, incomplete);
}

/* The client has gone, or so it seems: what the loop does now is about that. */
static void serve_ended(struct atr_http *h, const struct atr_moved *m)
{
	const void *loop = atr_context_loop(m->conn->loop);

	if (loop)
		atr_context_enter(atr_http_request_context(h->back), loop, false);
}

/* ---- responses that were sent ---- */

static bool wrote_response(struct feed *f, const char *p, size_t n)
{
	struct atr_http_request *r = oldest(f->h);
	enum atr_http_framing framing;
	struct atr_http_head head;

	if (!r || atr_http_parse_response(&head, p, n) < 0)
		return false;
	if (head.status < 200 && head.status != 101) {
		f->half->phase = ATR_HTTP_BETWEEN; /* the real one is still to come */
		return true;
	}
	/* A forked child that answers ends what its parent began. */
	r->op.epoch = atr_process.epoch;
	atr_http_request_answered(r, &head);
	if (head.status == 101 || (r->to_connect && head.status < 300)) {
		atr_store_release(&f->h->held, ATR_HTTP_SWITCHED);
		f->done(f);
		return false; /* what follows is not HTTP */
	}
	framing = atr_http_response_framing(&head, r->to_head, r->to_connect);
	atr_http_body_begin(&f->half->body, framing, head.length);
	if (atr_http_body_done(&f->half->body))
		f->done(f);
	else
		f->half->phase = ATR_HTTP_IN_BODY;
	return true;
}

static void response_written(struct feed *f)
{
	struct atr_http *h = f->h;
	struct atr_http_request *r = oldest(h);

	f->half->phase = ATR_HTTP_BETWEEN;
	if (!r)
		return;
	if (r->upgrade || r->to_connect) {
		uint32_t still = ATR_HTTP_STILL;

		(void)__atomic_compare_exchange_n(&h->held, &still, ATR_HTTP_GO_ON, 0,
						  __ATOMIC_RELEASE, __ATOMIC_RELAXED);
	}
	say_whose(f->m, r);
	atr_http_request_over(r, f->m->conn, f->m->fd, NULL);
	take_off(h);
}

/* What was sent is no response, or one that we did not see. */
static void lost_response(struct feed *f)
{
	struct atr_http_request *r = oldest(f->h);
	bool switched = atr_load(&f->h->held) == ATR_HTTP_SWITCHED;

	if (r && !switched && f->m->iov) {
		r->op.epoch = atr_process.epoch;
		atr_http_request_over(r, f->m->conn, f->m->fd, "malformed_response");
	}
	not_understood(f);
}

static void serve_sent(struct atr_http *h, const struct atr_moved *m)
{
	struct feed f = { .h = h,
			  .half = &h->response_half,
			  .m = m,
			  .head = wrote_response,
			  .done = response_written };
	struct atr_http_request *r = oldest(h);
	struct atr_conn *c = m->conn;
	bool ours = r && mine(r);

	/* Writing for a request is working on it. */
	if (atr_context_loop(c->loop)) {
		atr_context_leave(r ? &r->op.context : NULL, c->loop);
	} else if (ours) {
		work_on(r, c, NULL, false);
	}
	say_whose(m, r);
	if (!feed_moved(&f))
		lost_response(&f);
	/* A thread that serves one request after the other comes to the next. */
	r = oldest(h);
	if (ours && r && mine(r) && !atr_context_loop(c->loop))
		work_on(r, c, NULL, false);
}

/* ---- responses that were read ---- */

static bool read_response(struct feed *f, const char *p, size_t n)
{
	struct atr_http_request *r = oldest(f->h);
	enum atr_http_framing framing;
	struct atr_http_head head;

	if (!r || !atr_load_acquire(&r->sent) || atr_http_parse_response(&head, p, n) < 0)
		return false;
	f->last = r;
	if (head.status < 200 && head.status != 101) {
		f->half->phase = ATR_HTTP_BETWEEN;
		return true;
	}
	r->op.epoch = atr_process.epoch;
	atr_http_request_answered(r, &head);
	say_whose(f->m, r);
	atr_http_request_over(r, f->m->conn, f->m->fd, NULL);
	if (head.status == 101 || (r->to_connect && head.status < 300)) {
		atr_store_release(&f->h->held, ATR_HTTP_SWITCHED);
		f->done(f);
		return false;
	}
	framing = atr_http_response_framing(&head, r->to_head, r->to_connect);
	atr_http_body_begin(&f->half->body, framing, head.length);
	if (atr_http_body_done(&f->half->body))
		f->done(f);
	else
		f->half->phase = ATR_HTTP_IN_BODY;
	return true;
}

static void response_read(struct feed *f)
{
	struct atr_http *h = f->h;
	struct atr_http_request *r = oldest(h);

	f->half->phase = ATR_HTTP_BETWEEN;
	if (!r)
		return;
	if (r->upgrade || r->to_connect) {
		uint32_t still = ATR_HTTP_STILL;

		(void)__atomic_compare_exchange_n(&h->held, &still, ATR_HTTP_GO_ON, 0,
						  __ATOMIC_RELEASE, __ATOMIC_RELAXED);
	}
	f->answered_all = true;
	f->last = r;
	take_off(h); /* it stays, spent, until the next one goes */
}

/* A loop that reads an answer goes on with what it was asked for. */
static void go_on_asking(const struct atr_moved *m, const struct atr_http_request *r, bool complete)
{
	const void *loop = atr_context_loop(m->conn->loop);

	if (!loop)
		return;
	atr_context_enter(r && atr_context_usable(&r->sent_in) ? &r->sent_in : NULL, loop,
			  complete);
}

static void ask_received(struct atr_http *h, const struct atr_moved *m)
{
	struct feed f = { .h = h,
			  .half = &h->response_half,
			  .m = m,
			  .head = read_response,
			  .done = response_read,
			  .last = oldest(h) };
	bool understood = feed_moved(&f);
	struct atr_http_request *r;

	if (!understood) {
		r = oldest(h);
		/* Something came, and it is no response. */
		if (r && atr_load(&r->sent) && h->response_half.phase == ATR_HTTP_IN_HEAD)
			atr_http_request_over(r, m->conn, m->fd, "malformed_response");
		not_understood(&f);
	}
	go_on_asking(m, f.last, f.answered_all);
}

/* The end of the stream: for a body that has no other end, it is its end. */
static void ask_ended(struct atr_http *h, const struct atr_moved *m)
{
	struct feed f = { .h = h, .half = &h->response_half, .m = m, .last = oldest(h) };

	if (h->response_half.phase == ATR_HTTP_IN_BODY &&
	    atr_http_body_opaque(&h->response_half.body) == UINT64_MAX)
		response_read(&f);
	else if (!f.last && atr_context_same(&h->front->sent_in, &atr_tls.context))
		return; /* it had the answer just before */
	go_on_asking(m, f.last, true);
}

/* ---- requests that were sent without a plan ---- */

/* It could not be added to: left alone, and counted. */
static bool sent_request(struct feed *f, const char *p, size_t n)
{
	struct atr_http *h = f->h;
	struct atr_http_origin from = { .start = f->half->begun };
	struct atr_http_request *r;
	struct atr_http_head head;

	if (atr_http_parse_request(&head, p, n) < 0)
		return false;
	atr_http_recognised(f->m->conn);
	if (!f->half->injected) {
		r = atr_http_request_new(&head);
		if (!r)
			return false;
		from.connected = h->first ? &f->m->conn->context : NULL;
		from.thread = atr_context_current();
		atr_http_request_send(r, f->m->conn, &head, &from);
		atr_store_release(&r->sent, 1u);
		atr_http_queue(h, r);
		h->first = false;
		atr_count(not_injected, r->lines_len || r->passes_on);
	}
	atr_http_request_body(h, f->half, &head);
	return true;
}

static void ask_sent(struct atr_http *h, const struct atr_moved *m)
{
	struct feed f = {
		.h = h, .half = &h->request_half, .m = m, .head = sent_request, .done = request_done
	};

	if (feed_moved(&f))
		return;
	atr_count(not_injected, !m->iov);
	not_understood(&f);
}

/* ---- the protocol ---- */

static void failed(struct atr_http *h, int err)
{
	if (err != EAGAIN && err != EINTR && err != EFAULT && err != ENOTCONN)
		atr_store(&h->failed, (uint32_t)err);
}

static void received(void *talk, const struct atr_moved *m)
{
	struct atr_http *h = talk;
	struct atr_http_half *half = h->client ? &h->response_half : &h->request_half;
	uint32_t *claim = h->client ? &h->responses : &h->requests;

	if (atr_load(&h->lost))
		return;
	if (m->err == EAGAIN || m->err == EINTR || m->err == EFAULT)
		return;
	if (!atr_http_claim(claim)) {
		atr_http_lost(h, m->conn);
		return;
	}
	if (m->err)
		failed(h, m->err);
	else if (!m->bytes)
		atr_store(&h->ended, 1u);
	if (half->phase == ATR_HTTP_GIVEN_UP)
		;
	else if (m->bytes)
		(h->client ? ask_received : serve_received)(h, m);
	else
		(h->client ? ask_ended : serve_ended)(h, m);
	atr_http_leave(claim);
}

static void sent(void *talk, const struct atr_moved *m)
{
	struct atr_http *h = talk;
	struct atr_http_half *half = h->client ? &h->request_half : &h->response_half;
	uint32_t *claim = h->client ? &h->requests : &h->responses;

	if (atr_load(&h->lost))
		return;
	if (!m->bytes && m->err) {
		failed(h, m->err);
		if (!h->client) /* tried, at least */
			atr_context_leave(&h->back->op.context, m->conn->loop);
	}
	if (!m->bytes)
		return;
	if (!atr_http_claim(claim)) {
		atr_http_lost(h, m->conn);
		return;
	}
	if (h->client && atr_load(&h->calling))
		atr_http_lost(h, m->conn);
	else if (half->phase != ATR_HTTP_GIVEN_UP)
		(h->client ? ask_sent : serve_sent)(h, m);
	atr_http_leave(claim);
}

/* The end of what this side sends ends a body that had no other. */
static void shut(void *talk, struct atr_conn *c, int fd)
{
	struct atr_http *h = talk;
	struct atr_moved m = { .conn = c, .fd = fd };
	struct feed f = { .h = h, .half = &h->response_half, .m = &m };

	if (h->client || !atr_http_claim(&h->responses))
		return;
	if (h->response_half.phase == ATR_HTTP_IN_BODY &&
	    atr_http_body_opaque(&h->response_half.body) == UINT64_MAX)
		response_written(&f);
	atr_http_leave(&h->responses);
}

/* error.type of a request that never got its (whole) response; NULL: none, "" for no span. */
static const char *why_not(const struct atr_http *h, const struct atr_conn *c,
			   const struct atr_http_request *r)
{
	uint32_t err = atr_load(&h->failed);

	if (h->client && !atr_load(&r->sent) && !err)
		return ""; /* it never left */
	if (c->inherited && !r->status)
		return ""; /* it may not have been a server's at all */
	if (!h->client && !r->status && r->children != atr_process.children)
		return ""; /* a child may be about to answer it */
	if (err)
		return atr_errtype((int)err);
	if (h->client) /* given up by the program itself: no error */
		return atr_load(&h->ended) ? "connection_closed" : NULL;
	return r->status ? "response_incomplete" : "connection_closed";
}

static void end(void *talk, struct atr_conn *c)
{
	struct atr_http *h = talk;
	struct atr_http_request *r, *next;
	bool blind; /* the responses were not seen */

	shut(talk, c, -1);
	blind = atr_load(&h->lost) || (!h->client && h->response_half.phase == ATR_HTTP_GIVEN_UP);
	for (r = oldest(h); r; r = atr_load(&r->next)) {
		const char *error = why_not(h, c, r);

		if (r->over)
			continue;
		if (blind || (error && !*error)) {
			atr_count(not_followed, blind && r->op.recording);
			atr_op_drop(&r->op);
		}
		atr_http_request_over(r, c, -1, error);
	}
	for (r = h->front; r; r = next) {
		next = atr_load(&r->next);
		atr_http_request_free(r);
	}
	atr_buffer_give(h->planned_buf);
	atr_buffer_give(h->request_half.buf);
	atr_buffer_give(h->response_half.buf);
	atr_pool_give(&connections, h);
}

static void *begin(struct atr_conn *c, bool client)
{
	struct atr_http *h = atr_pool_take(&connections);
	struct atr_http_request *spent = h ? atr_http_request_new(NULL) : NULL;

	(void)c;
	if (!spent) {
		if (h)
			atr_pool_give(&connections, h);
		return NULL;
	}
	h->client = client;
	h->first = true;
	h->held = ATR_HTTP_STILL;
	h->lost = h->foreign = h->failed = h->ended = h->requests = h->responses = h->calling = 0;
	h->request_half = (struct atr_http_half){ .phase = ATR_HTTP_BETWEEN };
	h->response_half = (struct atr_http_half){ .phase = ATR_HTTP_BETWEEN };
	h->front = h->back = spent;
	h->unsent = NULL;
	h->planned_buf = NULL;
	h->thread.valid = false;
	return h;
}

const struct atr_protocol atr_http_protocol = {
	.name = "http",
	.sniff = atr_http_sniff,
	.begin = begin,
	.received = received,
	.sent = sent,
	.plan = atr_http_plan,
	.sent_planned = atr_http_sent_planned,
	.shut = shut,
	.end = end,
};
