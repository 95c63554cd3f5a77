/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One half of an HTTP/1 connection, and the queue between the two.
 *
 * A head is read where it lies, if the call brought the whole of it; one in pieces is
 * put together in a buffer.  Bodies are never looked at but for their framing.
 */
#include "hooks/http.h"

#include <string.h>

#include "hooks/buffer.h"
#include "hooks/talk.h"
#include "preload/clock.h"
#include "preload/stats.h"

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

void atr_http_give_up(struct atr_http_half *half, struct atr_conn *c)
{
	c->heard = ATR_HEARD_ALL;
	half->phase = ATR_HTTP_GIVEN_UP;
	atr_buffer_give(half->buf);
	half->buf = NULL;
	half->len = 0;
}

/* ---- the queue ---- */

void atr_http_queue(struct atr_http *h, struct atr_http_request *r)
{
	/* Pairs with the acquire in atr_http_oldest(): the request is whole. */
	(void)atr_add(&h->queued, 1u);
	atr_store_release(&h->back->next, r);
	h->back = r;
}

/* The oldest request without a complete response; NULL when there is none. */
struct atr_http_request *atr_http_oldest(const struct atr_http *h)
{
	return atr_load_acquire(&h->front->next);
}

/* The oldest one has its response.  It stays as the queue's front, spent, until the next one goes.
 */
void atr_http_take_off(struct atr_http *h)
{
	struct atr_http_request *spent = h->front;

	(void)__atomic_fetch_sub(&h->queued, 1, __ATOMIC_RELAXED);
	atr_store(&h->front, atr_http_oldest(h));
	atr_http_request_free(spent);
}

/* All bits of both in all bits of the product's two halves. */
static inline uint64_t mixed(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t atr_http_hash(const char *p, size_t n)
{
	uint64_t h = 0xcbf29ce484222325u ^ n, word = 0;

	/* No text has the bytes that would make a factor 0. */
	for (; n >= 2 * sizeof(word); p += 2 * sizeof(word), n -= 2 * sizeof(word)) {
		uint64_t next;

		memcpy(&word, p, sizeof(word));
		memcpy(&next, p + sizeof(word), sizeof(next));
		h = mixed(h ^ word, next ^ 0x9e3779b97f4a7c15u);
	}
	if (n >= sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		h = mixed(h ^ word, 0xd6e8feb86659fd93u);
		p += sizeof(word);
		n -= sizeof(word);
	}
	word = 0;
	memcpy(&word, p, n);
	return (h ^ word) * 0x9e3779b97f4a7c15u;
}

struct atr_http_request *atr_http_sent_now(struct atr_http *h, const char *p, size_t n)
{
	struct atr_http_request *r = h->unsent;

	if (!r || r->head_hash != atr_http_hash(p, n))
		return NULL;
	h->unsent = atr_load(&r->next);
	atr_store_release(&r->sent, 1u);
	return r;
}

/* ---- one half being fed ---- */

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

static bool plausible(const struct atr_http_feed *f, const char *p, size_t n)
{
	bool requests = f->half == &f->h->request_half;

	return (requests ? atr_http_sniff(p, n) : atr_http_sniff_response(p, n)) >= 0;
}

/* A head, or a part of one; *used is how much of [p, p + n) belongs to it. */
static bool feed_head(struct atr_http_feed *f, const char *p, size_t n, size_t *used)
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

static bool feed_body(struct atr_http_feed *f, const char *p, size_t n, size_t *used)
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

static bool feed_bytes(struct atr_http_feed *f, const char *p, size_t n)
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
static bool feed_unseen(struct atr_http_feed *f, uint64_t n)
{
	struct atr_http_half *half = f->half;

	if (half->phase != ATR_HTTP_IN_BODY || atr_http_body_opaque(&half->body) < n)
		return false;
	atr_http_body_skip(&half->body, n);
	if (atr_http_body_done(&half->body))
		f->done(f);
	return true;
}

bool atr_http_feed_moved(struct atr_http_feed *f)
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

void atr_http_not_understood(struct atr_http_feed *f)
{
	if (f->h->client && f->half == &f->h->response_half)
		atr_store(&f->h->foreign, 1u);
	atr_http_give_up(f->half, f->m->conn);
}

/* What the raw spans of AUTOTRACE_SOCKET_SPANS=all belong under. */
void atr_http_say_whose(const struct atr_moved *m, const struct atr_http_request *r)
{
	if (r && m->of && r->op.context.valid) {
		*m->of = r->op.context;
		*m->since = r->op.start;
	}
}

void atr_http_request_body(struct atr_http *h, struct atr_http_half *half,
			   const struct atr_http_head *head, bool again)
{
	half->hold = head->upgrade || atr_slice_is(head->method, "CONNECT");
	/* The answer may have come meanwhile. */
	if (half->hold && !again)
		atr_store_release(&h->held, ATR_HTTP_STILL);
	atr_http_body_begin(&half->body, head->framing, head->length);
	if (atr_http_body_done(&half->body))
		atr_http_request_ends(half);
	else
		half->phase = ATR_HTTP_IN_BODY;
}

void atr_http_request_done(struct atr_http_feed *f)
{
	atr_http_request_ends(f->half);
}

bool atr_http_response_body(struct atr_http_feed *f, const struct atr_http_request *r,
			    const struct atr_http_head *head)
{
	enum atr_http_framing framing;

	if (head->status == 101 || (r->to_connect && head->status < 300)) {
		atr_store_release(&f->h->held, ATR_HTTP_SWITCHED);
		f->done(f);
		return false; /* what follows is not HTTP */
	}
	framing = atr_http_response_framing(head, r->to_head, r->to_connect);
	atr_http_body_begin(&f->half->body, framing, head->length);
	if (atr_http_body_done(&f->half->body))
		f->done(f);
	else
		f->half->phase = ATR_HTTP_IN_BODY;
	return true;
}

struct atr_http_request *atr_http_response_done(struct atr_http_feed *f)
{
	struct atr_http_request *r = atr_http_oldest(f->h);
	uint32_t still = ATR_HTTP_STILL;

	f->half->phase = ATR_HTTP_BETWEEN;
	if (r && (r->upgrade || r->to_connect))
		(void)__atomic_compare_exchange_n(&f->h->held, &still, ATR_HTTP_GO_ON, 0,
						  __ATOMIC_RELEASE, __ATOMIC_RELAXED);
	return r;
}
