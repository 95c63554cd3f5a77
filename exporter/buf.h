/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_BUF_H
#define ATR_EXPORTER_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Bytes that grow.  A failed allocation sticks: what is added after it is
 * ignored, and `failed` is looked at once, at the end.  Memory is kept by
 * atr_buf_reset(), so a buffer in steady use does not allocate.
 */
struct atr_buf {
	uint8_t *bytes;
	size_t len, room;
	bool failed;
};

/* Makes room for `more` bytes behind len; where they go, or NULL. */
uint8_t *atr_buf_reserve(struct atr_buf *buf, size_t more);

void atr_buf_add(struct atr_buf *buf, const void *bytes, size_t len);
void atr_buf_str(struct atr_buf *buf, const char *s);

/* As atr_escape() writes it. */
void atr_buf_escaped(struct atr_buf *buf, const char *s, size_t len);

/* The whole of a file, at most `max` bytes of it; 0 or -errno. */
int atr_buf_read_file(struct atr_buf *buf, const char *path, size_t max);

/* Empty again, and no longer failed. */
void atr_buf_reset(struct atr_buf *buf);
void atr_buf_free(struct atr_buf *buf);

/*
 * One line of text that is safe on a terminal and in a log: valid UTF-8, control
 * characters as \n \t \r or \x1b, backslash doubled.  Cut to size - 1 bytes and
 * NUL-terminated; returns the length.
 */
size_t atr_escape(char *dst, size_t size, const char *s, size_t len);

#endif
