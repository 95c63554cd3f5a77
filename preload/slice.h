/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_SLICE_H
#define ATR_PRELOAD_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Bytes of somebody else's memory; no NUL at the end.  p is NULL for "there is none". */
struct atr_slice {
	const char *p;
	size_t len;
};

#define ATR_SLICE(literal) ((struct atr_slice){ literal, sizeof(literal) - 1 })

static inline bool atr_slice_is(struct atr_slice s, const char *literal)
{
	size_t len = strlen(literal);

	return s.len == len && memcmp(s.p, literal, len) == 0;
}

#endif
