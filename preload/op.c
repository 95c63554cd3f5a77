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

#include "preload/clock.h"
#include "preload/process.h"
#include "preload/record.h"
#include "preload/sampler.h"
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

#define STATUS_CODE 3
#define STATUS_CODE_ERROR 2
#define FLAGS_HAS_IS_REMOTE 0x100
#define FLAGS_IS_REMOTE 0x200
#define NAME_MAX_BYTES 512

static void new_root(struct atr_context *c, struct atr_thread *t)
{
	uint64_t id[2] = { atr_thread_random(t), atr_thread_random(t) };

	memcpy(c->trace_id, id, 16);
	c->flags = ATR_FLAG_RANDOM;
	c->tracestate = NULL;
}

void atr_op_begin(struct atr_op *op, enum atr_kind kind)
{
	const struct atr_context *parent = atr_context_parent();
	struct atr_thread *t;
	uint64_t id;

	op->recording = op->entered = op->context.valid = false;
	if (!parent && atr_sampler_roots_off())
		return;
	t = atr_thread_self();
	if (!t)
		return;
	op->has_parent = parent != NULL;
	if (parent) {
		memcpy(op->context.trace_id, parent->trace_id, 16);
		memcpy(op->parent_id, parent->span_id, 8);
		op->context.flags = parent->flags & ATR_FLAG_RANDOM;
		op->context.tracestate = parent->tracestate;
		op->parent_remote = parent->remote;
	} else {
		new_root(&op->context, t);
		op->parent_remote = false;
	}
	id = atr_thread_random(t);
	memcpy(op->context.span_id, &id, 8);
	memcpy(op->context.local_root,
	       parent && !parent->remote ? parent->local_root : op->context.span_id, 8);
	if (atr_sampler_decide(parent, op->context.trace_id)) {
		op->context.flags |= ATR_FLAG_SAMPLED;
		op->recording = true;
	}
	op->context.remote = false;
	op->context.open = NULL;
	op->context.valid = true;
	op->kind = (uint8_t)kind;
	op->epoch = atr_process.epoch;
	op->thread_id = t->tid;
	op->end = 0;
	op->start = op->recording ? atr_now() : 0;
}

void atr_op_enter(struct atr_op *op)
{
	struct atr_thread *t = atr_tls.thread;

	if (!op->context.valid || !t || t->depth >= ATR_DEPTH_MAX)
		return;
	op->context.open = &t->cells[t->depth++];
	op->context.gen = *op->context.open;
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
	__atomic_fetch_add((uint32_t *)op->context.open, 1, __ATOMIC_RELEASE);
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

static void write_head(struct atr_op *op, struct atr_pb *pb, const char *name, size_t name_len)
{
	uint64_t offset = atr_load(&atr_clock_offset);
	uint64_t end = op->end ? op->end : atr_now();

	if (end < op->start)
		end = op->start;
	atr_pb_bytes(pb, SPAN_TRACE_ID, op->context.trace_id, 16);
	atr_pb_bytes(pb, SPAN_SPAN_ID, op->context.span_id, 8);
	if (op->context.tracestate)
		atr_pb_bytes(pb, SPAN_TRACE_STATE, op->context.tracestate,
			     strlen(op->context.tracestate));
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
	op->recording = false;
	if (op->epoch != atr_process.epoch)
		return false; /* our parent's, and the parent ends it */
	t = atr_thread_self();
	if (!t)
		return false;
	span->inside = atr_self_enter();
	span->record = atr_thread_reserve(t);
	if (!span->record) {
		atr_self_leave(span->inside);
		return false;
	}
	span->thread = t;
	span->error = NULL;
	span->pb = (struct atr_pb){
		.p = span->record->span,
		.end = (uint8_t *)span->record + ATR_RECORD_MAX,
	};
	memcpy(span->record->local_root, op->context.local_root, 8);
	if (!name_len) {
		name = "unknown";
		name_len = strlen(name);
	}
	write_head(op, &span->pb, name, name_len);
	return true;
}

void atr_span_error(struct atr_span *span, const char *error_type, size_t len)
{
	span->error = error_type;
	atr_attr_str(&span->pb, ATR_ERROR_TYPE, error_type, len);
}

void atr_span_commit(struct atr_span *span)
{
	struct atr_record *r = span->record;

	if (span->error) {
		static const uint8_t status[] = { STATUS_CODE << 3, STATUS_CODE_ERROR };

		atr_pb_bytes(&span->pb, SPAN_STATUS, status, sizeof(status));
	}
	if (!span->pb.overflow) {
		r->span_len = (uint32_t)(span->pb.p - r->span);
		r->size = (uint32_t)((sizeof(*r) + r->span_len + ATR_RECORD_ALIGN - 1) &
				     ~(size_t)(ATR_RECORD_ALIGN - 1));
		r->checksum = 0;
		r->n_addrs = 0;
		r->flags = span->error ? ATR_RECORD_ERROR : 0;
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
