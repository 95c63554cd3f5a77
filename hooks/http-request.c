/* SPDX-License-Identifier: Apache-2.0 */
#include "hooks/http-request.h"

#include <string.h>

#include "hooks/buffer.h"
#include "preload/carrier.h"
#include "preload/clock.h"
#include "preload/life.h"
#include "preload/process.h"
#include "preload/rate.h"
#include "preload/sampler.h"
#include "preload/stats.h"
#include "preload/tracestate.h"

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
	atr_op_none(&r->op);
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
	atr_op_drop(&r->op);
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
		atr_op_drop(&r->op);
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

static const struct atr_sampling ignored; /* not sampled, and no candidate */

/* The name that a decision depends on, if it does. */
static struct atr_slice name_for_sampler(struct atr_http_request *r,
					 const struct atr_http_head *head, enum atr_kind kind)
{
	if (atr_likely(!atr_sampler_wants_name()))
		return (struct atr_slice){ NULL, 0 };
	return (struct atr_slice){ r->name, atr_http_span_name(head, kind, r->name) };
}

/* The decision about what a remote parent began, and its tracestate made to say it. */
static struct atr_sampling sample_remote(struct atr_remote *remote, struct atr_slice name,
					 uint64_t now, bool ignore)
{
	const struct atr_context *parent = &remote->context;
	struct atr_sampling s = ignored;
	struct atr_ot ot;

	if (!ignore) {
		const struct atr_sampler_ask ask = { .parent = parent,
						     .trace_id = parent->trace_id,
						     .ot = &ot,
						     .name = name,
						     .now = now };

		atr_ot_read((struct atr_slice){ remote->tracestate, remote->tracestate_len }, &ot);
		s = atr_sampler_decide(&ask);
	}
	remote->tracestate_len =
		atr_sampler_tracestate(&s, parent->trace_id, remote->tracestate,
				       remote->tracestate_len, sizeof(remote->tracestate));
	return s;
}

/* What the headers say of a request that is served; nothing yet of a tracestate. */
static void come_from(struct atr_op_origin *from, struct atr_sampling *s, struct atr_remote *remote,
		      bool ignore)
{
	if (remote->context.valid) {
		*s = sample_remote(remote, from->name, from->start, ignore);
		from->parent = &remote->context;
		from->sampling = s;
		return;
	}
	if (remote->has_trace_id)
		from->trace_id = remote->context.trace_id;
	if (remote->decision != ATR_UNDECIDED && !ignore) {
		*s = atr_sampler_decided(remote->decision == ATR_SAMPLED);
		from->sampling = s;
	}
}

/* The tracestate of a trace that begins here, for one that brings baggage. */
static void begin_tracestate(struct atr_remote *remote, const struct atr_context *c)
{
	struct atr_slice state;

	if (remote->context.valid || !c->carrier || !atr_carrier_hold(c->carrier, c->carrier_gen))
		return;
	state = atr_carrier_tracestate(c->carrier);
	if (state.len <= sizeof(remote->tracestate)) {
		memcpy(remote->tracestate, state.p, state.len);
		remote->tracestate_len = state.len;
	}
	atr_carrier_release(c->carrier);
}

/* The carrier of its parent, or of how it was sampled, for as long as the request lives. */
static void keep_carrier(struct atr_http_request *r)
{
	struct atr_context *c = &r->op.context;

	if (c->carrier && atr_carrier_hold(c->carrier, c->carrier_gen))
		r->carrier = c->carrier;
	else
		c->carrier = NULL;
}

static void set_carrier(struct atr_http_request *r, struct atr_carrier *carrier)
{
	r->carrier = r->op.context.carrier = carrier;
	r->op.context.carrier_gen = carrier ? carrier->gen : 0;
}

void atr_http_request_serve(struct atr_http_request *r, struct atr_conn *c,
			    const struct atr_http_head *head, uint64_t start)
{
	struct atr_op_origin from = { .start = start };
	/* Too large for a small stack. */
	char *buffer = brings_any(head) ? atr_buffer_take() : NULL;
	struct atr_remote *remote = (struct atr_remote *)(void *)buffer;
	bool ignore = !atr_sampler_passive && atr_http_ignored(head);
	struct atr_sampling sampling;

	atr_context_forget_fork();
	from.name = name_for_sampler(r, head, ATR_KIND_SERVER);
	if (ignore)
		from.sampling = &ignored;
	if (remote) {
		atr_propagators_extract(head, remote);
		come_from(&from, &sampling, remote, ignore);
	}
	atr_op_begin_under(&r->op, ATR_KIND_SERVER, &from);
	atr_op_count_live(&r->op);
	if (remote && !from.parent && remote->decision != ATR_UNDECIDED && remote->context.debug)
		r->op.context.debug = true; /* B3's d, without ids */
	if (r->op.context.valid) {
		if (remote) {
			begin_tracestate(remote, &r->op.context);
			set_carrier(r, carrier_of(remote));
		} else {
			keep_carrier(r);
		}
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

/* It is ignored, in a trace that may be sampled: the threshold is not this request's. */
static void ignore_threshold(struct atr_http_request *r)
{
	struct atr_context *c = &r->op.context;
	struct atr_carrier *was = r->carrier;
	struct atr_slice state, baggage;
	char *buffer;
	size_t len;

	if (!was)
		return;
	state = atr_carrier_tracestate(was);
	baggage = atr_carrier_baggage(was);
	buffer = state.len && state.len < ATR_BUFFER_SIZE ? atr_buffer_take() : NULL;
	if (!buffer)
		return;
	memcpy(buffer, state.p, state.len);
	len = atr_sampler_tracestate(&ignored, c->trace_id, buffer, state.len, ATR_BUFFER_SIZE);
	if (len != state.len) {
		set_carrier(r, atr_carrier_new((struct atr_slice){ buffer, len }, baggage));
		atr_carrier_release(was);
	}
	atr_buffer_give(buffer);
}

void atr_http_request_send(struct atr_http_request *r, struct atr_conn *c,
			   const struct atr_http_head *head, const struct atr_http_origin *from)
{
	struct atr_op_origin origin = { .start = from->start };
	bool ignore = !atr_sampler_passive && atr_http_ignored(head);
	struct choice ch;

	choose(&ch, r, c, head, from);
	if (ch.has_parent)
		origin.parent = &ch.parent;
	if (ignore)
		origin.sampling = &ignored;
	else if (!ch.has_parent || ch.parent.remote)
		origin.name = name_for_sampler(r, head, ATR_KIND_CLIENT);
	atr_op_begin_under(&r->op, ATR_KIND_CLIENT, &origin);
	atr_op_count_live(&r->op);
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
	if (ignore)
		ignore_threshold(r);
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
