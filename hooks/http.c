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
 * Each half: http-half.c.  What a server does: http-serve.c, a client: http-ask.c and
 * http-plan.c.  One request and its span: http-request.c.  Here: from the calls to
 * the halves, and the end of the connection.
 */
#include "hooks/http.h"

#include <errno.h>

#include "hooks/buffer.h"
#include "hooks/errtype.h"
#include "preload/process.h"
#include "preload/stats.h"

static struct atr_pool connections = {
	.size = (sizeof(struct atr_http) + 7) & ~(size_t)7,
	.per_chunk = 64,
	.max = 65536,
};

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
		(h->client ? atr_http_ask_received : atr_http_serve_received)(h, m);
	else
		(h->client ? atr_http_ask_ended : atr_http_serve_ended)(h, m);
	atr_http_leave(claim);
}

/* A call that failed: a server has tried, at least. */
static void not_sent(struct atr_http *h, const struct atr_moved *m)
{
	const struct atr_http_request *r;

	failed(h, m->err);
	if (h->client || !atr_http_claim(&h->responses))
		return;
	r = atr_http_oldest(h);
	atr_context_leave(r ? &r->op.context : NULL, atr_load(&m->conn->loop));
	atr_http_leave(&h->responses);
}

static void sent(void *talk, const struct atr_moved *m)
{
	struct atr_http *h = talk;
	struct atr_http_half *half = h->client ? &h->request_half : &h->response_half;
	uint32_t *claim = h->client ? &h->requests : &h->responses;

	if (atr_load(&h->lost))
		return;
	if (!m->bytes) {
		if (m->err)
			not_sent(h, m);
		return;
	}
	if (!atr_http_claim(claim)) {
		atr_http_lost(h, m->conn);
		return;
	}
	if (h->client && atr_load(&h->calling))
		atr_http_lost(h, m->conn);
	else if (half->phase != ATR_HTTP_GIVEN_UP)
		(h->client ? atr_http_ask_sent : atr_http_serve_sent)(h, m);
	atr_http_leave(claim);
}

static void shut(void *talk, struct atr_conn *c, int fd)
{
	atr_http_serve_shut(talk, c, fd);
}

/* By a child that was forked meanwhile? */
static bool may_be_answered(const struct atr_http *h, const struct atr_http_request *r)
{
	return !h->client && !r->status && r->children != atr_process.children;
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
	if (may_be_answered(h, r))
		return "";
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

	atr_http_serve_shut(h, c, -1);
	blind = atr_load(&h->lost) || atr_load(&h->foreign) ||
		(!h->client && h->response_half.phase == ATR_HTTP_GIVEN_UP);
	for (r = atr_http_oldest(h); r; r = atr_load(&r->next)) {
		const char *error = why_not(h, c, r);

		if (r->over)
			continue;
		if (may_be_answered(h, r))
			r->op.epoch = UINT32_MAX; /* it is not over for that child */
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
	h->queued = 0;
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
