/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_ATTR_H
#define ATR_PRELOAD_ATTR_H

#include "preload/pb.h"
#include "preload/slice.h"

/*
 * Span attributes in wire form: KeyValue messages of Span.attributes (field 9).
 * Pure: into any buffer, so a connection can keep its constant ones encoded.
 */
enum atr_attr {
#define ATTR(name, ...) ATR_##name,
#include "preload/attr.def"
	ATR_N_ATTRS
};

/* Longest string value in bytes; longer ones are cut at a character boundary. */
#define ATR_VALUE_MAX 8192

/* Strings become valid UTF-8 on the way: a byte that is no character becomes '?'. */
void atr_attr_str(struct atr_pb *pb, enum atr_attr attr, const char *value, size_t len);
/* For a value that is known to be valid UTF-8: a word of ours, a sanitised text. */
void atr_attr_utf8(struct atr_pb *pb, enum atr_attr attr, const char *value, size_t len);

void atr_attr_int(struct atr_pb *pb, enum atr_attr attr, int64_t value);

/*
 * An array of strings whose key is no row of attr.def (http.request.header.<name>).
 * The key is valid UTF-8; the values become it, each cut like any other.
 */
void atr_attr_strs(struct atr_pb *pb, struct atr_slice key, const struct atr_slice *values,
		   size_t n);

/* Length of s cut to at most max bytes without cutting a character in two. */
size_t atr_attr_cut(const char *s, size_t len, size_t max);

#endif
