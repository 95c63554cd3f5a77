/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_UTF8_H
#define ATR_PRELOAD_UTF8_H

#include <stddef.h>

/*
 * Protobuf strings must be valid UTF-8: a strict receiver refuses the whole
 * request otherwise.  Pure.
 */

/* Length of the valid UTF-8 at the start of s (whole characters). */
size_t atr_utf8_valid(const char *s, size_t len);

/*
 * Copies s to dst, every byte that is not part of a valid character replaced by
 * '?', cut to `size` bytes at a character boundary; returns the bytes written.
 * The result is never longer than len.
 */
size_t atr_utf8_copy(char *dst, size_t size, const char *s, size_t len);

#endif
