/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that are about to be sent.
 *
 * The bytes are walked before the call: bodies are stepped over, heads are copied into
 * a buffer (reading the program's memory must not crash where the call would say
 * EFAULT) until their empty line begins.  There, and only there, it is known what the
 * program sends itself, and there our lines go in.
 *
 * The request is put into the queue before the call, for its response may be read by
 * another thread before the call returns.  If the head does not go, the request
 * waits, unsent, and is taken again when the program sends the same head again.
 *
 * After the call the place in the stream is the one that the walk reached, if all
 * went; else the walk is done again over what did.
 */
#include <errno.h>
#include <string.h>

#include "hooks/buffer.h"
#include "hooks/http.h"
#include "hooks/inject.h"
#include "hooks/talk.h"
#include "preload/carrier.h"
#include "preload/clock.h"
#include "preload/stats.h"
#include "preload/thread.h"

struct planned {
	struct atr_http_half before, after;
	struct atr_http_request *requests[ATR_INSERTS_MAX]; /* of plan->insert[] */
	const struct atr_source *source;
	bool lost; /* the walk met what it does not understand */
};

_Static_assert(sizeof(struct planned) <= sizeof(((struct atr_plan *)0)->own), "fits");

static struct planned *own(struct atr_plan *plan)
{
	return (struct planned *)(void *)plan->own;
}

struct walk {
	struct atr_http *h;
	struct atr_conn *c;
	struct atr_http_half *half;
	const struct atr_source *source;
	struct atr_plan *plan; /* NULL: again, over what went */
	size_t at, total;
};

#define STEP 4096 /* bytes of a head that are copied at once */
#define PEEP 256  /* bytes of a chunked body's framing */

static size_t left(const struct walk *w, size_t most)
{
	return w->total - w->at < most ? w->total - w->at : most;
}

/* ---- a head ---- */

/* The request of this head: the one that did not go the last time, or a new one. */
static struct atr_http_request *request_of(struct walk *w, const struct atr_http_head *head,
					   const char *p, size_t n)
{
	struct atr_http *h = w->h;
	struct atr_http_request *r;
	struct atr_http_origin from = { .start = w->half->begun };

	if (h->unsent)
		return atr_http_sent_now(h, p, n); /* NULL: the program has thought better of it */
	r = atr_http_request_new(head);
	if (!r)
		return NULL;
	r->head_hash = atr_http_hash(p, n);
	from.connected = h->first ? &w->c->context : NULL;
	from.thread = &h->thread;
	atr_http_request_send(r, w->c, head, &from);
	h->first = false;
	atr_store_release(&r->sent, 1u);
	atr_http_queue(h, r);
	return r;
}

/* Where the copy is not what the program sends, from the first byte to the last. */
static void differs(struct atr_insert *in, const char *program, size_t n)
{
	size_t first = 0, last = n;

	while (first < n && in->copy[first] == program[first])
		first++;
	while (last > first && in->copy[last - 1] == program[last - 1])
		last--;
	if (first < last) {
		in->whole_from = in->from + first;
		in->whole_to = in->from + last;
	}
}

/*
 * The program passes on the context of the request it serves: this call's part of the head
 * goes out from a copy in which the span is ours.  (Where the header lay in an earlier
 * call it is too late: it stays, and is counted.)
 */
static void patch(struct atr_insert *in, struct atr_http_request *r, const char *head, size_t empty)
{
	size_t here = empty < in->at ? empty : in->at; /* bytes of the head in this call */
	struct atr_http_head parsed;
	char *copy;

	if (!r->passes_on)
		return;
	copy = atr_buffer_take();
	if (!copy) {
		r->passes_on = false;
		return;
	}
	memcpy(copy, head, empty);
	if (atr_http_parse_request(&parsed, copy, empty) == 0)
		atr_propagators_replace(copy, &parsed, &r->passed, &r->op.context);
	if (!r->patched && memcmp(copy, head, empty - here) != 0) {
		r->passes_on = false;
		atr_count(not_injected, 1);
		atr_buffer_give(copy);
		return;
	}
	memmove(copy, copy + (empty - here), here);
	in->copy = copy;
	in->from = in->at - here;
	differs(in, head + (empty - here), here);
}

/* `begun`: bytes from the one that begins the empty line to where the walk is. */
static bool add_insert(struct walk *w, const struct atr_http_head *head, const char *p,
		       size_t empty, size_t begun)
{
	struct atr_plan *plan = w->plan;
	struct atr_insert *in = &plan->insert[plan->n];
	struct atr_http_request *r = request_of(w, head, p, empty);

	if (!r)
		return false;
	*in = (struct atr_insert){ .at = 0 };
	if (begun <= w->at) {
		in->at = w->at - begun;
		in->text[0] = (struct atr_slice){ r->lines, r->lines_len };
		if (r->carrier && r->propagates)
			in->text[1] = atr_carrier_lines(r->carrier,
							atr_propagators_wants_tracestate(head),
							atr_propagators_wants_baggage(head));
	} else { /* it began in an earlier call, which could not be added to */
		atr_count(not_injected, r->lines_len > 0);
	}
	patch(in, r, p, empty);
	own(plan)->requests[plan->n++] = r;
	return true;
}

/* The bytes of the head so far are in the buffer, up to w->at of the program's. */
static bool head_found(struct walk *w, size_t empty, size_t end)
{
	struct atr_http_half *half = w->half;
	struct atr_http_head head;

	if (atr_http_parse_request(&head, half->buf, empty) < 0)
		return false;
	atr_http_recognised(w->c);
	if (!half->injected && w->plan &&
	    !add_insert(w, &head, half->buf, empty, half->len - empty))
		return false;
	half->injected = true;
	if (!end)
		return true;
	w->at -= half->len - end;
	half->len = 0;
	atr_http_request_body(w->h, half, &head, !w->plan);
	return true;
}

/* A buffer that was there before the call must stay as it was, until the call is over. */
static bool fresh_buffer(struct walk *w)
{
	struct atr_http_half *half = w->half;

	if (!half->buf || (w->plan && half->buf == own(w->plan)->before.buf))
		half->buf = atr_buffer_take();
	return half->buf != NULL;
}

/* One more piece of the head into the buffer. */
static bool more_head(struct walk *w)
{
	struct atr_http_half *half = w->half;
	size_t n = left(w, STEP);

	if (n > ATR_HTTP_HEAD_MAX - half->len)
		n = ATR_HTTP_HEAD_MAX - half->len;
	if (!n || !atr_source_peek(w->source, w->at, half->buf + half->len, n))
		return false;
	half->len += (uint32_t)n;
	w->at += n;
	return true;
}

/* What is in the buffer; *done when the head is complete. */
static bool look_at_head(struct walk *w, bool *done)
{
	struct atr_http_half *half = w->half;
	size_t empty, end = 0;

	*done = false;
	if (!atr_http_head_end(half->buf, half->len, &half->scan, &empty, &end))
		return atr_http_sniff(half->buf, half->len) >= 0;
	*done = end;
	return head_found(w, empty, end);
}

static bool walk_head(struct walk *w)
{
	bool done = false;

	while (!done && w->at < w->total)
		if (!more_head(w) || !look_at_head(w, &done))
			return false;
	return true;
}

static void head_begins(struct walk *w)
{
	struct atr_http_half *half = w->half;
	const struct atr_context *now;

	half->phase = ATR_HTTP_IN_HEAD;
	half->injected = false;
	half->scan = 0;
	half->begun = atr_now();
	if (!w->plan)
		return;
	/* A loop writes a new connection's first request when it is connected, whatever it
	 * is in then. */
	now = w->h->first && atr_context_loop(atr_load(&w->c->loop)) ? NULL : atr_context_current();
	if (now)
		w->h->thread = *now;
	else
		w->h->thread.valid = false;
}

/* Where a head begins, behind empty lines; false when the bytes cannot be read. */
static bool walk_between(struct walk *w)
{
	struct atr_http_half *half = w->half;
	ssize_t empty;
	bool done;

	if (!fresh_buffer(w))
		return false;
	half->len = 0;
	if (!more_head(w))
		return false;
	empty = atr_http_empty_lines(half, half->buf, half->len);
	if (empty < 0)
		return false;
	half->len -= (uint32_t)empty;
	if (!half->len)
		return true;
	if (empty)
		memmove(half->buf, half->buf + empty, half->len);
	head_begins(w);
	return look_at_head(w, &done);
}

static bool walk_body(struct walk *w)
{
	struct atr_http_body *body = &w->half->body;
	uint64_t opaque = atr_http_body_opaque(body);
	char bytes[PEEP];
	ssize_t n;

	if (opaque) {
		n = (ssize_t)left(w, opaque < SIZE_MAX ? (size_t)opaque : SIZE_MAX);
		atr_http_body_skip(body, (uint64_t)n);
	} else {
		n = (ssize_t)left(w, sizeof(bytes));
		if (!atr_source_peek(w->source, w->at, bytes, (size_t)n))
			return false;
		n = atr_http_body_eat(body, bytes, (size_t)n);
		if (n < 0)
			return false;
	}
	w->at += (size_t)n;
	if (atr_http_body_done(body))
		atr_http_request_ends(w->half);
	return true;
}

/* True when it got to the end, or the plan is full. */
static bool walk(struct walk *w)
{
	while (w->at < w->total) {
		bool fine;

		switch (w->half->phase) {
		case ATR_HTTP_BETWEEN:
			if (w->plan && w->plan->n == ATR_INSERTS_MAX) {
				w->plan->cut = w->at;
				return true;
			}
			fine = walk_between(w);
			break;
		case ATR_HTTP_IN_HEAD:
			fine = walk_head(w);
			break;
		case ATR_HTTP_IN_BODY:
			fine = walk_body(w);
			break;
		case ATR_HTTP_HELD:
			fine = atr_load_acquire(&w->h->held) == ATR_HTTP_GO_ON;
			w->half->phase = ATR_HTTP_BETWEEN;
			break;
		default:
			fine = false;
		}
		if (!fine)
			return false;
	}
	return true;
}

/* ---- before the call ---- */

static bool only_body(const struct atr_http_half *half, size_t n)
{
	return half->phase == ATR_HTTP_IN_BODY && atr_http_body_opaque(&half->body) >= n;
}

static void give_other(char *buffer, const char *kept)
{
	if (buffer != kept)
		atr_buffer_give(buffer);
}

bool atr_http_plan(void *talk, struct atr_conn *c, struct atr_source *source, struct atr_plan *plan)
{
	struct atr_http *h = talk;
	struct planned *o = own(plan);
	struct walk w = { .h = h,
			  .c = c,
			  .half = &o->after,
			  .source = source,
			  .plan = plan,
			  .total = source->total };

	if (!h->client || atr_load(&h->lost))
		return false;
	if (!atr_http_claim(&h->requests)) {
		atr_http_lost(h, c);
		return false;
	}
	/* Another thread's or a signal handler's call is under way, or one never came back. */
	if (atr_load(&h->calling)) {
		atr_http_lost(h, c);
		atr_http_leave(&h->requests);
		return false;
	}
	/* What answers is not HTTP: then this is not either. */
	if (atr_load(&h->foreign))
		atr_http_give_up(&h->request_half, c);
	if (h->request_half.phase == ATR_HTTP_GIVEN_UP ||
	    only_body(&h->request_half, source->total)) {
		atr_http_leave(&h->requests);
		return false;
	}
	o->before = o->after = h->request_half;
	o->source = source;
	o->lost = !walk(&w);
	if (o->lost) /* up to the last thing that was understood, all is well */
		plan->cut = source->total;
	h->planned_buf = o->after.buf != o->before.buf ? o->after.buf : NULL;
	atr_store(&h->calling, 1u);
	atr_http_leave(&h->requests);
	return true;
}

/* ---- after it ---- */

/* The requests from here on did not go, or only a part of the first one's head. */
static void unsend(struct atr_http *h, const struct atr_plan *plan, const struct planned *o,
		   unsigned from, size_t bytes)
{
	for (unsigned i = from; i < plan->n; i++) {
		const struct atr_insert *in = &plan->insert[i];

		/* Our ids went; a head that goes on must be this one. */
		o->requests[i]->patched |= in->whole_to && bytes >= in->whole_to;
		atr_store_release(&o->requests[i]->sent, 0u);
	}
	if (from < plan->n)
		h->unsent = o->requests[from];
}

static void settle(struct atr_http *h, const struct atr_moved *m, struct atr_plan *plan,
		   unsigned begun)
{
	struct planned *o = own(plan);
	struct atr_http_half *half = &h->request_half;
	struct walk w = {
		.h = h, .c = m->conn, .half = half, .source = o->source, .total = m->bytes
	};
	unsigned went = 0;

	/* A head has gone when its empty line has begun to. */
	while (went < plan->n && plan->insert[went].at < m->bytes)
		went++;
	*half = o->before;
	if (m->bytes == plan->cut) {
		*half = o->after;
		give_other(o->before.buf, half->buf);
		if (!half->len) {
			atr_buffer_give(half->buf);
			half->buf = NULL;
		}
		if (o->lost)
			atr_http_give_up(half, m->conn);
	} else {
		give_other(o->after.buf, o->before.buf);
		if (m->bytes && !walk(&w))
			atr_http_give_up(half, m->conn);
	}
	if (begun > went)
		half->injected = true;
	unsend(h, plan, o, begun > went ? begun : went, m->bytes);
}

void atr_http_sent_planned(void *talk, const struct atr_moved *m, struct atr_plan *plan,
			   unsigned begun)
{
	struct atr_http *h = talk;
	struct planned *o = own(plan);

	if (!atr_http_claim(&h->requests)) {
		atr_http_lost(h, m->conn);
		return;
	}
	atr_store(&h->calling, 0u);
	h->planned_buf = NULL;
	if (!atr_load(&h->lost))
		settle(h, m, plan, begun);
	else /* another call came in between: the half stays where it was */
		give_other(o->after.buf, o->before.buf);
	if (m->err)
		atr_store(&h->failed, m->err == EAGAIN || m->err == EINTR || m->err == ENOTCONN
					      ? atr_load(&h->failed)
					      : (uint32_t)m->err);
	if (m->of && h->back->op.context.valid) {
		*m->of = h->back->op.context;
		*m->since = h->back->op.start;
	}
	if (m->bytes && h->request_half.phase == ATR_HTTP_IN_HEAD && !h->request_half.injected)
		atr_context_touch(); /* whose it is will be known at its end */
	else if (m->bytes)
		atr_context_leave(&h->back->sent_in, atr_load(&m->conn->loop));
	atr_http_leave(&h->requests);
}
