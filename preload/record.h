/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_RECORD_H
#define ATR_PRELOAD_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What a ring holds: this header, then span_len bytes that are an OTLP Span
 * message in protobuf wire form (the message's content, without the tag and
 * length it will have inside ScopeSpans), then padding to 8 bytes.
 * Position independent: no pointer in it, so it may live in a shared file.
 */
struct atr_record {
	uint32_t size;	   /* bytes of the whole record, this header included; a multiple of 8 */
	uint32_t checksum; /* of what follows (preload/sum.h); rings in memory take none */
	uint32_t span_len; /* bytes of the Span message; 0 = padding to the end of the ring */
	uint16_t n_addrs;  /* code addresses behind the message, still to be named */
	uint16_t flags;	   /* enum atr_record_flag */
	uint8_t local_root[8]; /* span id of the first span of this trace in this process */
	uint8_t span[];
};

enum atr_record_flag {
	ATR_RECORD_ERROR = 1,	  /* status is Error */
	ATR_RECORD_SITE = 2,	  /* the first address is the call site; the others are a stack */
	ATR_RECORD_CANDIDATE = 4, /* not sampled: to be exported only if its trace is kept */
	ATR_RECORD_KEEP = 8,	  /* the trace is kept for this one: it failed, or was slow */
	ATR_RECORD_ROOT = 16,	  /* of a candidate: the local root itself, the others have ended */
};

#define ATR_RECORD_ALIGN 8

/* Where the addresses are (preload/stack.h), n_addrs of them. */
static inline size_t atr_record_addrs_at(uint32_t span_len)
{
	return ((size_t)span_len + ATR_RECORD_ALIGN - 1) & ~(size_t)(ATR_RECORD_ALIGN - 1);
}

static inline const uint64_t *atr_record_addrs(const struct atr_record *r)
{
	return (const uint64_t *)(const void *)(r->span + atr_record_addrs_at(r->span_len));
}

/* Do the lengths of a record fit into the `avail` bytes that are left there? */
static inline bool atr_record_sound(const struct atr_record *r, uint64_t avail)
{
	return avail >= sizeof(*r) && r->size >= sizeof(*r) && r->size <= avail &&
	       r->size % ATR_RECORD_ALIGN == 0 && r->span_len <= r->size - sizeof(*r) &&
	       (!r->span_len || r->n_addrs * sizeof(uint64_t) <=
					r->size - sizeof(*r) - atr_record_addrs_at(r->span_len));
}

/* Longest record: a ring reserves this much for each span it is asked for. */
#define ATR_RECORD_MAX 16384

/* A candidate is so much shorter: what says why it is kept is put into it. */
#define ATR_RECORD_SPARE 192

/* A span's message begins with the fields of its trace id and its span id, which take up this. */
#define ATR_RECORD_IDS (2 + 16 + 2 + 8)

#endif
