/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1 of a server: requests that were read, responses that were sent.  A SERVER span
 * lasts from the first byte of the request to the last of the response.
 */
#include "hooks/http.h"

#include "preload/process.h"
#include "preload/stats.h"
#include "preload/thread.h"

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
	atr_context_enter(!loop && atr_load(&atr_context_crossed) ? NULL : &r->op.context, loop,
			  complete);
	atr_tls.context_conn = c;
}

/* Somebody answers for r who has read another request and not answered it yet. */
static bool crosses(const struct atr_http_request *r, const struct atr_conn *c)
{
	const struct atr_context *now = &atr_tls.context;

	return atr_tls.context_conn && atr_tls.context_conn != c && !now->inherited && !now->loop &&
	       atr_context_usable(now) && now->open && !atr_context_same(now, &r->op.context);
}

/* ---- requests that were read ---- */

static bool read_request(struct atr_http_feed *f, const char *p, size_t n)
{
	struct atr_conn *c = f->m->conn;
	struct atr_http_request *r;
	struct atr_http_head head;

	if (atr_http_parse_request(&head, p, n) < 0)
		return false;
	atr_http_recognised(c);
	if (atr_load(&f->h->queued) >= ATR_HTTP_QUEUE_MAX) {
		atr_count(not_followed, 1);
		return false;
	}
	r = atr_http_request_new(&head);
	if (!r)
		return false;
	atr_http_request_serve(r, c, &head, f->half->begun);
	atr_store(&f->h->back->cell.crowded, 1u);
	atr_http_queue(f->h, r);
	f->last = r;
	if (f->first && atr_context_loop(atr_load(&c->loop))) {
		if (f->first == f->before_last)
			atr_context_several(&f->first->op.context);
		atr_context_several(&r->op.context);
	}
	f->before_last = r;
	if (!f->first)
		f->first = r;
	atr_http_request_body(f->h, f->half, &head, false);
	return true;
}

/*
 * The thread goes on with what it read: the request that was incomplete, or the first of
 * the new ones.  Of several it works on the oldest first.
 *
 * A loop may work on several at once or one after the other, so it has no context for
 * them.
 */
static void go_on_serving(const struct atr_http_feed *f, bool none_open, bool incomplete)
{
	struct atr_conn *c = f->m->conn;
	const void *loop = atr_context_loop(atr_load(&c->loop));
	bool complete = f->half->phase != ATR_HTTP_IN_BODY;

	if (loop && f->first && f->first != f->last)
		return;
	if (loop && f->first && !none_open) {
		/* The one in front may be what it goes on with, the more so if this was its end. */
		if (atr_tls.context_conn != c || !atr_context_usable(&atr_tls.context))
			atr_context_enter(NULL, loop, false);
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

void atr_http_serve_received(struct atr_http *h, const struct atr_moved *m)
{
	struct atr_http_feed f = { .h = h,
				   .half = &h->request_half,
				   .m = m,
				   .head = read_request,
				   .done = atr_http_request_done,
				   .last = h->back,
				   .before = h->back };
	bool none_open = h->back == atr_load(&h->front);
	bool incomplete = h->request_half.phase == ATR_HTTP_IN_BODY;

	/* A request whose response would not be seen is none that we could tell about. */
	if (h->response_half.phase == ATR_HTTP_GIVEN_UP || !atr_http_feed_moved(&f))
		atr_http_not_understood(&f);
	atr_http_say_whose(m, f.last);
	go_on_serving(&f, none_open, incomplete);
}

/* The client has gone, or so it seems: what the loop does now is about that. */
void atr_http_serve_ended(struct atr_http *h, const struct atr_moved *m)
{
	const void *loop = atr_context_loop(atr_load(&m->conn->loop));

	if (loop)
		atr_context_enter(atr_http_request_context(h->back), loop, false);
}

/* ---- responses that were sent ---- */

static bool wrote_response(struct atr_http_feed *f, const char *p, size_t n)
{
	struct atr_http_request *r = atr_http_oldest(f->h);
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
	return atr_http_response_body(f, r, &head);
}

static void response_written(struct atr_http_feed *f)
{
	struct atr_http_request *r = atr_http_response_done(f);

	if (!r)
		return;
	atr_http_say_whose(f->m, r);
	atr_http_request_over(r, f->m->conn, f->m->fd, NULL);
	atr_http_take_off(f->h);
}

/* What was sent is no response, or one that we did not see. */
static void lost_response(struct atr_http_feed *f)
{
	struct atr_http_request *r = atr_http_oldest(f->h);
	bool switched = atr_load(&f->h->held) == ATR_HTTP_SWITCHED;

	if (r && !switched && f->m->iov) {
		r->op.epoch = atr_process.epoch;
		atr_http_request_over(r, f->m->conn, f->m->fd, "malformed_response");
	}
	atr_http_not_understood(f);
}

void atr_http_serve_sent(struct atr_http *h, const struct atr_moved *m)
{
	struct atr_http_feed f = { .h = h,
				   .half = &h->response_half,
				   .m = m,
				   .head = wrote_response,
				   .done = response_written };
	struct atr_http_request *r = atr_http_oldest(h);
	struct atr_conn *c = m->conn;
	bool ours = r && mine(r);

	/* Writing for a request is working on it. */
	if (atr_context_loop(atr_load(&c->loop))) {
		atr_context_leave(r ? &r->op.context : NULL, atr_load(&c->loop));
	} else if (ours) {
		work_on(r, c, NULL, false);
	} else if (r && crosses(r, c)) {
		atr_store(&atr_context_crossed, 1u);
		atr_context_finish();
	}
	atr_http_say_whose(m, r);
	if (!atr_http_feed_moved(&f))
		lost_response(&f);
	/* A thread that serves one request after the other comes to the next. */
	r = atr_http_oldest(h);
	if (ours && r && mine(r) && !atr_context_loop(atr_load(&c->loop)))
		work_on(r, c, NULL, false);
}

/* The end of what this side sends ends a body that had no other. */
void atr_http_serve_shut(struct atr_http *h, struct atr_conn *c, int fd)
{
	struct atr_moved m = { .conn = c, .fd = fd };
	struct atr_http_feed f = { .h = h, .half = &h->response_half, .m = &m };

	if (h->client || !atr_http_claim(&h->responses))
		return;
	if (h->response_half.phase == ATR_HTTP_IN_BODY &&
	    atr_http_body_opaque(&h->response_half.body) == UINT64_MAX)
		response_written(&f);
	atr_http_leave(&h->responses);
}
