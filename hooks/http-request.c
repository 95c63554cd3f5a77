/* SPDX-License-Identifier: Apache-2.0 */
#include "hooks/http-request.h"

#include <string.h>

#include "hooks/buffer.h"
#include "preload/carrier.h"
#include "preload/clock.h"
#include "preload/life.h"
#include "preload/process.h"
#include "preload/sampler.h"
#include "preload/stats.h"

static struct atr_pool requests = {
	.size = (sizeof(struct atr_http_request) + 7) & ~(size_t)7,
	.per_chunk = 64,
	.max = 65536,
};

/* What is known when a span begins, in wire form.  Only for spans that are recorded. */
struct atr_http_chunk {
	struct atr_pooled pooled;
	uint8_t bytes[8192];
};

static struct atr_pool chunks = {
	.size = sizeof(struct atr_http_chunk),
	.per_chunk = 32,
	.max = 32768,
};

static bool method_is(const struct atr_http_head *head, const char *name)
{
	return atr_slice_is(head->method, name);
}

struct atr_http_request *atr_http_request_new(const struct atr_http_head *head)
{
	struct atr_http_request *r = atr_pool_take(&requests);

	if (!r) {
		atr_count(no_memory, 1);
		return NULL;
	}
	atr_store(&r->next, NULL);
	r->op.recording = r->op.context.valid = false;
	r->sent_in.valid = false;
	r->carrier = NULL;
	r->attrs = NULL;
	r->attrs_len = r->lines_len = r->status = 0;
	r->name_len = 0;
	r->children = atr_process.children;
	r->sent = r->worker = 0;
	atr_store(&r->cell.waiting, 0u);
	atr_store(&r->cell.crowded, 0u);
	atr_store(&r->cell.life, NULL);
	atr_store(&r->cell.life_claim, 0u);
	r->to_head = head && method_is(head, "HEAD");
	r->to_connect = head && method_is(head, "CONNECT");
	r->upgrade = head && head->upgrade;
	r->listed = r->over = r->awaited = r->passes_on = r->patched = false;
	r->propagates = false;
	return r;
}

/* Nothing may start under it any more. */
static void close_context(struct atr_http_request *r)
{
	if (!r->op.context.open)
		return;
	atr_life_end(&r->cell, r->op.epoch == atr_process.epoch);
	if (r->op.kind == ATR_KIND_SERVER)
		(void)__atomic_fetch_sub(&atr_context_served, 1, __ATOMIC_RELAXED);
	r->op.context.open = NULL;
	r->op.context.valid = false;
}

/* Its parent waits for the answer no longer. */
static void not_awaited(struct atr_http_request *r)
{
	if (r->awaited && atr_context_usable(&r->sent_in))
		(void)__atomic_fetch_sub(&r->sent_in.open->waiting, 1, __ATOMIC_RELAXED);
	r->awaited = false;
}

static void give_attrs(struct atr_http_request *r)
{
	if (r->attrs)
		atr_pool_give(&chunks, r->attrs);
	r->attrs = NULL;
}

void atr_http_request_free(struct atr_http_request *r)
{
	close_context(r);
	not_awaited(r);
	if (r->listed)
		atr_open_remove(&r->open);
	r->listed = false;
	give_attrs(r);
	atr_carrier_release(r->carrier);
	r->carrier = NULL;
	atr_pool_give(&requests, r);
}

/* ---- the beginning ---- */

static void open_context(struct atr_http_request *r)
{
	r->op.context.open = &r->cell;
	r->op.context.gen = atr_load(&r->cell.gen);
	if (r->op.kind == ATR_KIND_SERVER)
		(void)atr_add(&atr_context_served, 1u);
}

static void keep_attrs(struct atr_http_request *r, struct atr_conn *c,
		       const struct atr_http_head *head)
{
	char text[ATR_PEER_TEXT_MAX];
	struct atr_http_peer peer = { .port = 0 };
	struct atr_pb pb;

	if (!r->op.recording)
		return;
	r->attrs = atr_pool_take(&chunks);
	if (!r->attrs) {
		atr_count(no_memory, 1);
		r->op.recording = false;
		return;
	}
	peer.address = (struct atr_slice){ text, atr_conn_peer_address(c, text, &peer.port) };
	if (c->client_len && r->op.kind == ATR_KIND_SERVER)
		peer.address = (struct atr_slice){ c->client, c->client_len };
	pb = (struct atr_pb){ .p = r->attrs->bytes,
			      .end = r->attrs->bytes + sizeof(r->attrs->bytes) };
	r->name_len = (uint8_t)atr_http_request_attrs(&pb, head, (enum atr_kind)r->op.kind, &peer,
						      r->name);
	r->attrs_len = (uint16_t)(pb.p - r->attrs->bytes);
}

static struct atr_carrier *carrier_of(const struct atr_remote *remote)
{
	return atr_carrier_new((struct atr_slice){ remote->tracestate, remote->tracestate_len },
			       (struct atr_slice){ remote->baggage, remote->baggage_len });
}

/* Is there anything that the propagators would look at? */
static bool brings_any(const struct atr_http_head *head)
{
	return (atr_propagators.mask || atr_propagators.trace_id_name[0]) &&
	       (atr_propagators.trace_id_name[0] || head->count[ATR_HTTP_TRACEPARENT] ||
		head->count[ATR_HTTP_BAGGAGE] || head->count[ATR_HTTP_B3] ||
		head->count[ATR_HTTP_X_B3_TRACEID] || head->count[ATR_HTTP_X_B3_SAMPLED] ||
		head->count[ATR_HTTP_X_B3_FLAGS] || head->count[ATR_HTTP_UBER_TRACE_ID]);
}

_Static_assert(sizeof(struct atr_remote) <= ATR_BUFFER_SIZE, "fits a buffer");

void atr_http_request_serve(struct atr_http_request *r, struct atr_conn *c,
			    const struct atr_http_head *head, uint64_t start)
{
	struct atr_op_origin from = { .start = start };
	/* Too large for a small stack. */
	char *buffer = brings_any(head) ? atr_buffer_take() : NULL;
	struct atr_remote *remote = (struct atr_remote *)(void *)buffer;

	atr_context_forget_fork();
	if (remote) {
		atr_propagators_extract(head, remote);
		r->carrier = carrier_of(remote);
		if (remote->context.valid)
			from.parent = &remote->context;
		else if (remote->has_trace_id)
			from.trace_id = remote->context.trace_id;
		from.decided = !from.parent && remote->decision != ATR_UNDECIDED;
		from.sampled = remote->decision == ATR_SAMPLED;
		if (r->carrier) {
			remote->context.carrier = r->carrier;
			remote->context.carrier_gen = r->carrier->gen;
		}
	}
	atr_op_begin_under(&r->op, ATR_KIND_SERVER, &from);
	if (from.decided && remote->context.debug)
		r->op.context.debug = true; /* B3's d, without ids */
	if (r->op.context.valid) {
		r->op.context.carrier = r->carrier;
		r->op.context.carrier_gen = r->carrier ? r->carrier->gen : 0;
		open_context(r);
		atr_open_add(&r->open, head, from.parent, &r->op.context);
		r->listed = true;
	}
	keep_attrs(r, c, head);
	atr_buffer_give(buffer);
}

/* ---- whose work a request is that is about to be sent ---- */

struct choice {
	struct atr_context parent;
	bool has_parent;
	bool joined; /* the program's own trace */
};

static bool take_parent(struct choice *ch, const struct atr_context *parent)
{
	if (!parent || !atr_context_usable(parent))
		return false;
	ch->parent = *parent;
	return true;
}

/* A loop's: what the thread is in is the weakest sign. */
static bool choose_in_loop(struct choice *ch, const struct atr_http_head *head,
			   const struct atr_http_origin *from)
{
	if (take_parent(ch, from->connected) ||
	    atr_open_by_head(head, &ch->parent) == ATR_FOUND_ONE)
		return true;
	/* It writes a new connection's first when that is there: begun before. */
	if (!from->connected)
		atr_context_touch();
	return take_parent(ch, from->thread);
}

/*
 * A thread that serves one request after the other knows best whose work it does; the connection
 * may have been made for another (a pool that is warmed up).
 */
static bool choose_in_thread(struct choice *ch, const struct atr_http_origin *from)
{
	atr_context_touch();
	return take_parent(ch, from->thread) || take_parent(ch, from->connected);
}

static void choose(struct choice *ch, struct atr_http_request *r, const struct atr_conn *c,
		   const struct atr_http_head *head, const struct atr_http_origin *from)
{
	const struct atr_context *process;
	struct atr_context carried;

	*ch = (struct choice){ .has_parent = true };
	if (atr_propagators_carried(head, &carried)) {
		if (atr_open_by_ids(&carried, &ch->parent) == ATR_FOUND_ONE) {
			r->passes_on = true;
			r->passed = carried;
		} else {
			ch->parent = carried;
			ch->joined = true;
		}
		return;
	}
	if (atr_context_loop(atr_load(&c->loop)) ? choose_in_loop(ch, head, from)
						 : choose_in_thread(ch, from))
		return;
	process = atr_context_of_process();
	if (process)
		ch->parent = *process;
	else
		ch->has_parent = false;
}

/* The carrier of its parent, for as long as the request lives. */
static void keep_carrier(struct atr_http_request *r)
{
	struct atr_context *c = &r->op.context;

	if (c->carrier && atr_carrier_hold(c->carrier, c->carrier_gen))
		r->carrier = c->carrier;
	else
		c->carrier = NULL;
}

void atr_http_request_send(struct atr_http_request *r, struct atr_conn *c,
			   const struct atr_http_head *head, const struct atr_http_origin *from)
{
	struct atr_op_origin origin = { .start = from->start };
	struct choice ch;

	choose(&ch, r, c, head, from);
	if (ch.has_parent)
		origin.parent = &ch.parent;
	atr_op_begin_under(&r->op, ATR_KIND_CLIENT, &origin);
	if (!r->op.context.valid)
		return;
	if (ch.joined) {
		r->op.parent_remote = false; /* its parent is of this process, though not ours */
	} else if (ch.has_parent && ch.parent.open && !ch.parent.remote) {
		/* Not the process's context, which is no work to go on with. */
		r->sent_in = ch.parent;
		(void)atr_add(&r->sent_in.open->waiting, 1u);
		r->awaited = true;
	}
	open_context(r);
	keep_carrier(r);
	r->propagates = !atr_http_propagate_limited() || atr_http_propagate_to(atr_http_host(head));
	if (r->propagates)
		r->lines_len = (uint16_t)atr_propagators_inject(&r->op.context, head, r->lines);
	else
		r->passes_on = false;
	keep_attrs(r, c, head);
}

/* ---- the end ---- */

void atr_http_request_answered(struct atr_http_request *r, const struct atr_http_head *response)
{
	struct atr_pb pb;

	r->status = response->status;
	if (!r->op.recording || !r->attrs)
		return;
	pb = (struct atr_pb){ .p = r->attrs->bytes + r->attrs_len,
			      .end = r->attrs->bytes + sizeof(r->attrs->bytes) };
	atr_http_response_attrs(&pb, response, (enum atr_kind)r->op.kind);
	r->attrs_len = (uint16_t)(pb.p - r->attrs->bytes);
}

void atr_http_request_over(struct atr_http_request *r, struct atr_conn *c, int fd,
			   const char *error)
{
	char status_error[8];
	struct atr_span span;

	if (r->over)
		return;
	r->over = true;
	close_context(r);
	not_awaited(r);
	if (r->listed)
		atr_open_remove(&r->open);
	r->listed = false;
	if (!error && r->status)
		error = atr_http_status_error(r->status, (enum atr_kind)r->op.kind, status_error);
	if (atr_op_end(&r->op, &span, r->name, r->name_len)) {
		atr_pb_raw(&span.pb, r->attrs->bytes, r->attrs_len);
		atr_conn_attrs(c, fd, &span.pb);
		if (error)
			atr_span_error(&span, error, strlen(error));
		atr_span_commit(&span);
	}
	give_attrs(r);
}
