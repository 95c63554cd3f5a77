/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_PB_H
#define ATR_PRELOAD_PB_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "preload/compiler.h"

/*
 * Protobuf wire format, the few shapes a Span needs, written front to back into
 * a buffer.  The first thing that does not fit sets `overflow` and later writes
 * do nothing, so that the caller looks once, at the end.
 * (protobuf.dev, "Encoding"; the field numbers are those of opentelemetry-proto.)
 */
struct atr_pb {
	uint8_t *p;
	uint8_t *end;
	bool overflow;
};

enum { ATR_PB_VARINT = 0, ATR_PB_FIXED64 = 1, ATR_PB_LEN = 2, ATR_PB_FIXED32 = 5 };

/* Bytes that v takes as a varint. */
static inline size_t atr_pb_size(uint64_t v)
{
	return (size_t)((63 - __builtin_clzll(v | 1)) / 7 + 1);
}

static inline bool atr_pb_room(struct atr_pb *pb, size_t n)
{
	if (atr_likely((size_t)(pb->end - pb->p) >= n && !pb->overflow))
		return true;
	pb->overflow = true;
	return false;
}

/* The unchecked ones: for callers that asked for room. */
static inline void atr_pb_put_varint(struct atr_pb *pb, uint64_t v)
{
	while (v >= 0x80) {
		*pb->p++ = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	*pb->p++ = (uint8_t)v;
}

static inline void atr_pb_put(struct atr_pb *pb, const void *bytes, size_t n)
{
	memcpy(pb->p, bytes, n);
	pb->p += n;
}

static inline void atr_pb_put_tag(struct atr_pb *pb, unsigned field, unsigned type)
{
	atr_pb_put_varint(pb, field << 3 | type);
}

static inline void atr_pb_raw(struct atr_pb *pb, const void *bytes, size_t n)
{
	if (atr_pb_room(pb, n))
		atr_pb_put(pb, bytes, n);
}

static inline void atr_pb_bytes(struct atr_pb *pb, unsigned field, const void *bytes, size_t n)
{
	if (atr_pb_room(pb, n + 12)) {
		atr_pb_put_tag(pb, field, ATR_PB_LEN);
		atr_pb_put_varint(pb, n);
		atr_pb_put(pb, bytes, n);
	}
}

static inline void atr_pb_uint(struct atr_pb *pb, unsigned field, uint64_t v)
{
	if (atr_pb_room(pb, 12)) {
		atr_pb_put_tag(pb, field, ATR_PB_VARINT);
		atr_pb_put_varint(pb, v);
	}
}

static inline void atr_pb_fixed64(struct atr_pb *pb, unsigned field, uint64_t v)
{
	if (atr_pb_room(pb, 10)) {
		atr_pb_put_tag(pb, field, ATR_PB_FIXED64);
		v = htole64(v);
		atr_pb_put(pb, &v, 8);
	}
}

static inline void atr_pb_fixed32(struct atr_pb *pb, unsigned field, uint32_t v)
{
	if (atr_pb_room(pb, 6)) {
		atr_pb_put_tag(pb, field, ATR_PB_FIXED32);
		v = htole32(v);
		atr_pb_put(pb, &v, 4);
	}
}

#endif
