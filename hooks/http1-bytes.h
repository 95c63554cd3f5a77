/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_HTTP1_BYTES_H
#define ATR_HOOKS_HTTP1_BYTES_H

/*
 * Which bytes may stand where in HTTP/1: shared by the readers of heads (http1.c) and of
 * bodies (http1-body.c).  Every scan returns where it stopped, at most `end`.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define ATR_HTTP_EACH(byte) (0x0101010101010101u * (byte))

/* clang-format off */
static const bool atr_http_tchar[256] = {
	['!'] = 1, ['#' ... '\''] = 1, ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,
	['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['^' ... '`'] = 1, ['a' ... 'z'] = 1,
	['|'] = 1, ['~'] = 1,
};
/* clang-format on */

static inline bool atr_http_is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static inline uint64_t atr_http_word(const char *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof(w));
	return w;
}

/* Is one of the eight bytes below `least`, which is at most 0x80, or DEL? */
static inline bool atr_http_has_control(uint64_t w, uint8_t least)
{
	uint64_t del = w ^ ATR_HTTP_EACH(0x7f);

	return (((w - ATR_HTTP_EACH(least)) & ~w) | ((del - ATR_HTTP_EACH(1)) & ~del)) &
	       ATR_HTTP_EACH(0x80);
}

static inline const char *atr_http_plain_end(const char *p, const char *end, uint8_t least)
{
	while (end - p >= 8 && !atr_http_has_control(atr_http_word(p), least))
		p += 8;
	while (p < end && (uint8_t)*p >= least && *p != 0x7f)
		p++;
	return p;
}

/* Behind what may stand in a value: HTAB, SP, VCHAR and obs-text. */
static inline const char *atr_http_text_end(const char *p, const char *end)
{
	p = atr_http_plain_end(p, end, ' ');
	while (p < end && *p == '\t')
		p = atr_http_plain_end(p + 1, end, ' ');
	return p;
}

static inline const char *atr_http_token_end(const char *p, const char *end)
{
	while (p < end && atr_http_tchar[(uint8_t)*p])
		p++;
	return p;
}

#endif
