/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1 of a client: responses that were read, and requests that went out without a plan
 * (hooks/http-plan.c has the others).  A CLIENT span ends when the response's head
 * is there.
 */
#include "hooks/http.h"

#include "preload/process.h"
#include "preload/stats.h"
#include "preload/thread.h"

/* ---- responses that were read ---- */

static bool read_response(struct atr_http_feed *f, const char *p, size_t n)
{
	struct atr_http_request *r = atr_http_oldest(f->h);
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
	atr_http_say_whose(f->m, r);
	atr_http_request_over(r, f->m->conn, f->m->fd, NULL);
	return atr_http_response_body(f, r, &head);
}

static void response_read(struct atr_http_feed *f)
{
	struct atr_http_request *r = atr_http_response_done(f);

	if (!r)
		return;
	f->answered_all = true;
	f->last = r;
	atr_http_take_off(f->h); /* it stays, spent, until the next one goes */
}

/* A loop that reads an answer goes on with what it was asked for. */
static void go_on_asking(const struct atr_moved *m, const struct atr_http_request *r, bool complete)
{
	const void *loop = atr_context_loop(atr_load(&m->conn->loop));

	if (!loop)
		return;
	atr_context_enter(r && atr_context_usable(&r->sent_in) ? &r->sent_in : NULL, loop,
			  complete);
}

void atr_http_ask_received(struct atr_http *h, const struct atr_moved *m)
{
	struct atr_http_feed f = { .h = h,
				   .half = &h->response_half,
				   .m = m,
				   .head = read_response,
				   .done = response_read,
				   .last = atr_http_oldest(h) };
	bool understood = atr_http_feed_moved(&f);
	struct atr_http_request *r;

	if (!understood) {
		r = atr_http_oldest(h);
		/* Something came, and it is no response. */
		if (r && atr_load(&r->sent) && h->response_half.phase == ATR_HTTP_IN_HEAD)
			atr_http_request_over(r, m->conn, m->fd, "malformed_response");
		atr_http_not_understood(&f);
	}
	go_on_asking(m, f.last, f.answered_all);
}

/* The end of the stream: for a body that has no other end, it is its end. */
void atr_http_ask_ended(struct atr_http *h, const struct atr_moved *m)
{
	struct atr_http_feed f = {
		.h = h, .half = &h->response_half, .m = m, .last = atr_http_oldest(h)
	};

	if (h->response_half.phase == ATR_HTTP_IN_BODY &&
	    atr_http_body_opaque(&h->response_half.body) == UINT64_MAX)
		response_read(&f);
	else if (!f.last && atr_context_same(&h->front->sent_in, &atr_tls.context))
		return; /* it had the answer just before */
	go_on_asking(m, f.last, true);
}

/* ---- requests that were sent without a plan ---- */

/* It could not be added to: left alone, and counted. */
static bool sent_request(struct atr_http_feed *f, const char *p, size_t n)
{
	struct atr_http *h = f->h;
	struct atr_http_origin from = { .start = f->half->begun };
	struct atr_http_request *r;
	struct atr_http_head head;

	if (atr_http_parse_request(&head, p, n) < 0)
		return false;
	atr_http_recognised(f->m->conn);
	if (!f->half->injected && (r = atr_http_sent_now(h, p, n))) {
		atr_count(not_injected, r->lines_len || r->passes_on);
	} else if (!f->half->injected) {
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
	atr_http_request_body(h, f->half, &head, false);
	return true;
}

void atr_http_ask_sent(struct atr_http *h, const struct atr_moved *m)
{
	struct atr_http_feed f = { .h = h,
				   .half = &h->request_half,
				   .m = m,
				   .head = sent_request,
				   .done = atr_http_request_done };

	if (atr_http_feed_moved(&f))
		return;
	atr_count(not_injected, !m->iov);
	atr_http_not_understood(&f);
}
