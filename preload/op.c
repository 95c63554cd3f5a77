/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the start of an operation to an OTLP Span in the ring.
 *
 * atr_op_end() reserves room for the longest record and writes the fixed fields;
 * the caller's attributes follow in place; atr_span_commit() puts the status and
 * the record's length and makes it visible.  A span that did not fit even so is
 * dropped and counted.  Field numbers: opentelemetry-proto, trace.proto, Span.
 */
#include "preload/op.h"

#include <string.h>

#include "preload/carrier.h"
#include "preload/clock.h"
#include "preload/config.h"
#include "preload/life.h"
#include "preload/process.h"
#include "preload/rate.h"
#include "preload/record.h"
#include "preload/sampler.h"
#include "preload/stack.h"
#include "preload/stats.h"
#include "preload/thread.h"
#include "preload/utf8.h"

enum {
	SPAN_TRACE_ID = 1,
	SPAN_SPAN_ID = 2,
	SPAN_TRACE_STATE = 3,
	SPAN_PARENT_SPAN_ID = 4,
	SPAN_NAME = 5,
	SPAN_KIND = 6,
	SPAN_START = 7,
	SPAN_END = 8,
	SPAN_STATUS = 15,
	SPAN_FLAGS = 16,
};

#define STATUS_MESSAGE 2
#define STATUS_MESSAGE_MAX 512
#define STATUS_CODE 3
#define STATUS_CODE_ERROR 2
#define FLAGS_HAS_IS_REMOTE 0x100
#define FLAGS_IS_REMOTE 0x200
#define NAME_MAX_BYTES 512
#define SPAN_ID_AT (ATR_RECORD_IDS - 8) /* in the message */

static void new_root(struct atr_context *c, struct atr_thread *t, const uint8_t *trace_id)
{
	uint64_t id[2];

	if (trace_id) {
		memcpy(c->trace_id, trace_id, 16);
		c->flags = 0; /* nobody says that it is random */
	} else {
		id[0] = atr_thread_random(t);
		id[1] = atr_thread_random(t);
		memcpy(c->trace_id, id, 16);
		c->flags = ATR_FLAG_RANDOM;
	}
	c->carrier = NULL;
	c->debug = c->candidate = false;
}

static void new_child(struct atr_op *op, const struct atr_context *parent)
{
	struct atr_context *c = &op->context;

	memcpy(c->trace_id, parent->trace_id, 16);
	memcpy(op->parent_id, parent->span_id, 8);
	c->flags = parent->flags & ATR_FLAG_RANDOM;
	c->carrier = parent->carrier;
	c->carrier_gen = parent->carrier_gen;
	c->debug = parent->debug;
	c->candidate = parent->candidate;
	op->parent_remote = parent->remote;
}

/* Everything but the sampler's decision. */
static struct atr_thread *begin(struct atr_op *op, enum atr_kind kind,
				const struct atr_context *parent, const uint8_t *trace_id)
{
	struct atr_thread *t = atr_thread_self();
	uint64_t id;

	atr_op_none(op);
	if (!t)
		return NULL;
	op->has_parent = parent != NULL;
	op->parent_remote = false;
	if (parent)
		new_child(op, parent);
	else
		new_root(&op->context, t, trace_id);
	id = atr_thread_random(t);
	memcpy(op->context.span_id, &id, 8);
	if (atr_unlikely(atr_sampler_passive)) {
		if (!parent)
			return NULL;
		memcpy(op->context.span_id, parent->span_id, 8);
		op->context.flags = parent->flags;
	}
	memcpy(op->context.local_root,
	       parent && !parent->remote ? parent->local_root : op->context.span_id, 8);
	op->context.remote = op->context.deferred = op->context.inherited = false;
	op->context.loop = NULL;
	op->context.open = NULL;
	op->context.valid = true;
	op->kind = (uint8_t)kind;
	op->epoch = atr_process.epoch;
	op->thread_id = t->tid;
	return t;
}

/*
 * For otel.sdk.span.started.  What is recorded counts when it ends, for only then is it
 * certain that it is a span (a call may move nothing); what is not, when that is decided.
 */
static void count_started(struct atr_thread *t, bool has_parent, bool remote,
			  enum atr_result result)
{
	enum atr_origin origin = !has_parent ? ATR_ORIGIN_NONE
				 : remote    ? ATR_ORIGIN_REMOTE
					     : ATR_ORIGIN_LOCAL;
	uint64_t *n;

	if (atr_likely(atr_config.metrics_exporters == ATR_METRICS_NONE) || !t)
		return;
	n = &t->started[origin][result];
	atr_store(n, *n + 1);
}

static void count_live(struct atr_thread *t, const struct atr_op *op, int change)
{
	uint64_t *n = &t->live[op->context.candidate];

	atr_store(n, *n + (uint64_t)change);
}

void atr_op_count_live(struct atr_op *op)
{
	struct atr_thread *t = atr_tls.thread;

	if (atr_likely(atr_config.metrics_exporters == ATR_METRICS_NONE) || !op->recording || !t)
		return;
	op->live = true;
	count_live(t, op, 1);
}

/* In whatever thread: each has its part of the sum. */
void atr_op_not_live(struct atr_op *op)
{
	struct atr_thread *t = op->epoch == atr_process.epoch ? atr_thread_self() : NULL;

	op->live = false;
	if (t)
		count_live(t, op, -1);
}

/* What begins under a span of this process has its decision. */
static struct atr_sampling decide(const struct atr_op *op, const struct atr_context *parent,
				  struct atr_slice name, uint64_t now)
{
	const struct atr_sampler_ask ask = {
		.parent = parent, .trace_id = op->context.trace_id, .name = name, .now = now
	};

	if (parent && !parent->remote)
		return (struct atr_sampling){ .sampled = parent->flags & ATR_FLAG_SAMPLED,
					      .candidate = parent->candidate };
	return atr_sampler_decide(&ask);
}

static void decided(struct atr_op *op, const struct atr_sampling *s)
{
	struct atr_context *c = &op->context;

	c->candidate = s->candidate;
	if (!s->sampled && !s->candidate) {
		count_started(atr_tls.thread, op->has_parent, op->parent_remote, ATR_RESULT_DROP);
		return;
	}
	if (s->sampled)
		c->flags |= ATR_FLAG_SAMPLED;
	if (!op->has_parent && s->told.known) {
		c->carrier = s->told.carrier;
		c->carrier_gen = s->told.carrier_gen;
	}
	op->recording = atr_sampler_recorded;
}

static void take_site(struct atr_op *op)
{
	if (op->recording && atr_config.call_sites == ATR_CALL_SITES_ON)
		op->site = atr_stack_site();
}

void atr_op_begin(struct atr_op *op, enum atr_kind kind)
{
	const struct atr_context *parent = atr_context_parent();
	uint32_t was;

	atr_op_none(op);
	if (!parent && atr_sampler_roots_off()) {
		count_started(atr_tls.thread, false, false, ATR_RESULT_DROP);
		return;
	}
	/* A signal handler's call in between would be given the same ids. */
	was = atr_self_enter();
	if (begin(op, kind, parent, NULL) && atr_likely(!atr_sampler_passive)) {
		const struct atr_sampling s = decide(op, parent, (struct atr_slice){ NULL, 0 }, 0);

		decided(op, &s);
		take_site(op);
	}
	op->start = op->recording ? atr_now() : 0;
	atr_self_leave(was);
}

void atr_op_begin_call(struct atr_op *op, enum atr_kind kind)
{
	const struct atr_context *parent = atr_context_parent();
	bool inherits = parent && !parent->remote;
	uint32_t was;

	if (atr_likely(atr_config.metrics_exporters == ATR_METRICS_NONE &&
		       (inherits || !atr_sampler_spends()))) {
		atr_op_begin(op, kind);
		return;
	}
	was = atr_self_enter();
	if (begin(op, kind, parent, NULL) && !atr_sampler_passive) {
		op->undecided = op->recording = true;
		if (inherits)
			op->context.flags |= parent->flags & ATR_FLAG_SAMPLED;
		take_site(op);
		op->start = atr_now();
	}
	atr_self_leave(was);
}

/* What atr_op_begin_call() left to be decided.  False: it is not recorded. */
static bool decide_late(struct atr_op *op)
{
	const struct atr_context *parent = &op->context; /* has the decision of a local one */
	struct atr_sampling s;

	if (!op->has_parent)
		parent = NULL;
	else if (op->parent_remote)
		parent = atr_context_of_process();
	s = decide(op, parent, (struct atr_slice){ NULL, 0 }, 0);
	op->undecided = op->recording = false;
	decided(op, &s);
	return op->recording;
}

void atr_op_begin_under(struct atr_op *op, enum atr_kind kind, const struct atr_op_origin *from)
{
	uint32_t was = atr_self_enter();

	if (begin(op, kind, from->parent, from->trace_id) && atr_likely(!atr_sampler_passive)) {
		const struct atr_sampling s =
			from->sampling ? *from->sampling
				       : decide(op, from->parent, from->name, from->start);

		decided(op, &s);
		take_site(op);
		op->start = from->start;
	}
	atr_self_leave(was);
}

void atr_op_move_under(struct atr_op *op, const struct atr_context *parent, uint64_t not_before)
{
	bool was_live = op->live;

	if (!op->recording)
		return;
	if (!parent->valid || !(parent->flags & ATR_FLAG_SAMPLED || parent->candidate)) {
		atr_op_drop(op);
		return;
	}
	if (op->live)
		atr_op_not_live(op);
	op->has_parent = true;
	op->undecided = false;
	new_child(op, parent);
	op->context.flags |= parent->flags & ATR_FLAG_SAMPLED;
	memcpy(op->context.local_root, parent->local_root, 8);
	if (was_live)
		atr_op_count_live(op);
	if (op->start < not_before)
		op->start = not_before;
}

void atr_op_enter(struct atr_op *op)
{
	struct atr_thread *t = atr_tls.thread;

	if (!op->context.valid || !t || t->depth >= ATR_DEPTH_MAX)
		return;
	op->context.open = &t->cells[t->depth++];
	op->context.gen = op->context.open->gen;
	op->outer = atr_tls.context;
	atr_tls.context = op->context;
	op->entered = true;
}

void atr_op_leave(struct atr_op *op)
{
	struct atr_thread *t = atr_tls.thread;

	if (!op->entered)
		return;
	op->entered = false;
	atr_tls.context = op->outer;
	/* No child may start under it any more, on whatever thread it was handed to. */
	atr_life_end(op->context.open, op->epoch == atr_process.epoch);
	if (t && t->depth)
		t->depth--;
}

static void write_name(struct atr_pb *pb, const char *name, size_t len)
{
	len = atr_attr_cut(name, len, NAME_MAX_BYTES);
	if (!atr_pb_room(pb, len + 12))
		return;
	atr_pb_put_tag(pb, SPAN_NAME, ATR_PB_LEN);
	atr_pb_put_varint(pb, len);
	(void)atr_utf8_copy((char *)pb->p, len, name, len);
	pb->p += len;
}

/* Its parent may have ended meanwhile, and the tracestate be gone with it. */
static void write_tracestate(const struct atr_context *c, struct atr_pb *pb)
{
	struct atr_slice value;

	if (atr_likely(!c->carrier) || !atr_carrier_hold(c->carrier, c->carrier_gen))
		return;
	value = atr_carrier_tracestate(c->carrier);
	if (value.len && value.len < ATR_RECORD_MAX / 4)
		atr_pb_bytes(pb, SPAN_TRACE_STATE, value.p, value.len);
	atr_carrier_release(c->carrier);
}

static void write_head(struct atr_op *op, struct atr_span *span, const char *name, size_t name_len)
{
	uint64_t offset = atr_load(&atr_clock_offset);
	uint64_t end = op->end ? op->end : atr_now();
	struct atr_pb *pb = &span->pb;

	if (end < op->start)
		end = op->start;
	span->ns = end - op->start;
	span->slow = span->ns > (uint64_t)atr_config.stack_slow_ms * 1000000u;
	atr_pb_bytes(pb, SPAN_TRACE_ID, op->context.trace_id, 16);
	atr_pb_bytes(pb, SPAN_SPAN_ID, op->context.span_id, 8);
	write_tracestate(&op->context, pb);
	if (op->has_parent)
		atr_pb_bytes(pb, SPAN_PARENT_SPAN_ID, op->parent_id, 8);
	write_name(pb, name, name_len);
	atr_pb_uint(pb, SPAN_KIND, op->kind);
	atr_pb_fixed64(pb, SPAN_START, op->start + offset);
	atr_pb_fixed64(pb, SPAN_END, end + offset);
	atr_pb_fixed32(pb, SPAN_FLAGS,
		       FLAGS_HAS_IS_REMOTE | (op->parent_remote ? FLAGS_IS_REMOTE : 0) |
			       op->context.flags);
	atr_attr_int(pb, ATR_THREAD_ID, op->thread_id);
}

bool atr_op_end(struct atr_op *op, struct atr_span *span, const char *name, size_t name_len)
{
	struct atr_thread *t;

	if (!op->recording)
		return false;
	if (op->epoch != atr_process.epoch) {
		atr_op_drop(op);
		return false; /* our parent's, and the parent ends it */
	}
	span->inside = atr_self_enter();
	if (atr_unlikely(op->undecided) && !decide_late(op)) {
		atr_self_leave(span->inside);
		return false;
	}
	atr_op_drop(op);
	t = atr_thread_self();
	if (!t) {
		atr_self_leave(span->inside);
		return false;
	}
	count_started(t, op->has_parent, op->parent_remote,
		      op->context.candidate ? ATR_RESULT_RECORD_ONLY : ATR_RESULT_SAMPLE);
	span->record = atr_thread_reserve(t, op->context.candidate ? ATR_RING_CANDIDATES
								   : ATR_RING_SAMPLED);
	if (!span->record) {
		atr_self_leave(span->inside);
		return false;
	}
	span->thread = t;
	span->error = NULL;
	span->message = (struct atr_slice){ NULL, 0 };
	span->site = op->site;
	span->candidate = op->context.candidate;
	span->pb = (struct atr_pb){
		.p = span->record->span,
		.end = (uint8_t *)span->record + ATR_RECORD_MAX -
		       (span->candidate ? ATR_RECORD_SPARE : 0),
	};
	memcpy(span->record->local_root, op->context.local_root, 8);
	if (!name_len) {
		name = "unknown";
		name_len = strlen(name);
	}
	write_head(op, span, name, name_len);
	return true;
}

void atr_span_error(struct atr_span *span, const char *error_type, size_t len)
{
	span->error = error_type;
	atr_attr_str(&span->pb, ATR_ERROR_TYPE, error_type, len);
}

/* Status { message, code = ERROR } */
static void write_status(const struct atr_span *span, struct atr_pb *pb)
{
	uint8_t status[32 + STATUS_MESSAGE_MAX];
	struct atr_pb in = { .p = status, .end = status + sizeof(status) };
	size_t len = atr_attr_cut(span->message.p, span->message.len, STATUS_MESSAGE_MAX);

	if (len) {
		atr_pb_put_tag(&in, STATUS_MESSAGE, ATR_PB_LEN);
		atr_pb_put_varint(&in, len);
		(void)atr_utf8_copy((char *)in.p, len, span->message.p, len);
		in.p += len;
	}
	atr_pb_uint(&in, STATUS_CODE, STATUS_CODE_ERROR);
	atr_pb_bytes(pb, SPAN_STATUS, status, (size_t)(in.p - status));
}

static bool wants_stack(const struct atr_span *span)
{
	switch (atr_config.stacktrace) {
	case ATR_STACKTRACE_OFF:
		return false;
	case ATR_STACKTRACE_ERROR:
		return span->error != NULL;
	case ATR_STACKTRACE_SLOW:
		return span->error || span->slow;
	default:
		return true;
	}
}

/* The addresses go behind the message; where there is no room left, they do not. */
static void write_addrs(struct atr_span *span, struct atr_record *r)
{
	uint64_t addrs[1 + ATR_STACK_MAX], *to = (uint64_t *)(void *)r->span;
	size_t at = atr_record_addrs_at(r->span_len), n = 0;

	if (span->site) {
		addrs[n++] = span->site;
		r->flags |= ATR_RECORD_SITE;
	}
	if (atr_unlikely(wants_stack(span)))
		n += atr_stack_trace(addrs + n);
	if (at + n * sizeof(*addrs) > ATR_RECORD_MAX - sizeof(*r)) {
		r->flags &= (uint16_t)~ATR_RECORD_SITE;
		n = 0;
	}
	memcpy(to + at / sizeof(*to), addrs, n * sizeof(*addrs));
	r->n_addrs = (uint16_t)n;
}

/* The reader is to hold it back until it is known whether its trace is kept. */
static uint16_t candidate_flags(const struct atr_span *span)
{
	const struct atr_record *r = span->record;
	bool is_root = memcmp(r->span + SPAN_ID_AT, r->local_root, sizeof(r->local_root)) == 0;

	return ATR_RECORD_CANDIDATE | (is_root ? ATR_RECORD_ROOT : 0) |
	       (atr_sampler_keeps(span->error != NULL, span->ns) ? ATR_RECORD_KEEP : 0);
}

void atr_span_commit(struct atr_span *span)
{
	struct atr_record *r = span->record;

	if (span->error)
		write_status(span, &span->pb);
	if (!span->pb.overflow) {
		r->span_len = (uint32_t)(span->pb.p - r->span);
		r->checksum = 0;
		r->flags = span->error ? ATR_RECORD_ERROR : 0;
		if (atr_unlikely(span->candidate))
			r->flags |= candidate_flags(span);
		write_addrs(span, r);
		r->size = (uint32_t)(sizeof(*r) + atr_record_addrs_at(r->span_len) +
				     r->n_addrs * sizeof(uint64_t));
		atr_thread_commit(span->thread, r);
	} else {
		atr_count(too_long, 1);
	}
	atr_self_leave(span->inside);
}

void atr_span_drop(struct atr_span *span)
{
	atr_self_leave(span->inside);
}
