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

#if defined(__SSE2__) && !defined(ATR_HTTP_WORDS)
#define ATR_HTTP_SSE2
#include <emmintrin.h>
#endif

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

/*
 * Of eight bytes: the high bit of each that ..., and nothing else.  Without it all bytes are at
 * most 0x7f, and no sum below carries into the next one.
 */
#define ATR_HTTP_LOW(w) ((w)&ATR_HTTP_EACH(0x7f))
#define ATR_HTTP_AT_LEAST(low, byte) ((low) + ATR_HTTP_EACH(0x80 - (byte)))

/* ... is below `least`, which is at most 0x80, or DEL. */
static inline uint64_t atr_http_controls(uint64_t w, uint8_t least)
{
	uint64_t low = ATR_HTTP_LOW(w);

	return (~ATR_HTTP_AT_LEAST(low, least) | ATR_HTTP_AT_LEAST(low, 0x7f)) & ~w &
	       ATR_HTTP_EACH(0x80);
}

/* ... is neither letter nor digit nor hyphen. */
static inline uint64_t atr_http_no_letters(uint64_t w)
{
	uint64_t low = ATR_HTTP_LOW(w), lower = low | ATR_HTTP_EACH(0x20);
	uint64_t letter = ATR_HTTP_AT_LEAST(lower, 'a') & ~ATR_HTTP_AT_LEAST(lower, 'z' + 1);
	uint64_t digit = ATR_HTTP_AT_LEAST(low, '0') & ~ATR_HTTP_AT_LEAST(low, '9' + 1);
	uint64_t hyphen = ~ATR_HTTP_AT_LEAST(low ^ ATR_HTTP_EACH('-'), 1);

	return (~(letter | digit | hyphen) | w) & ATR_HTTP_EACH(0x80);
}

/* Which byte, in the order of memory, is the first of those?  There is one. */
static inline unsigned atr_http_first(uint64_t high_bits)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return (unsigned)__builtin_ctzll(high_bits) / 8;
#else
	return (unsigned)__builtin_clzll(high_bits) / 8;
#endif
}

/*
 * The same for sixteen bytes at once, a bit for each: every x86-64 has SSE2.  Without it
 * (ATR_HTTP_WORDS for a test of that) the words above do it all.
 */
#ifdef ATR_HTTP_SSE2
static inline __m128i atr_http_sixteen(const char *p)
{
	return _mm_loadu_si128((const __m128i *)(const void *)p);
}

static inline unsigned atr_http_controls_16(__m128i v, uint8_t least)
{
	__m128i fine = _mm_cmpeq_epi8(_mm_max_epu8(v, _mm_set1_epi8((char)least)), v);
	__m128i del = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f));

	return (unsigned)_mm_movemask_epi8(_mm_andnot_si128(del, fine)) ^ 0xffff;
}

static inline unsigned atr_http_no_letters_16(__m128i v)
{
	__m128i l = _mm_sub_epi8(_mm_or_si128(v, _mm_set1_epi8(0x20)), _mm_set1_epi8('a'));
	__m128i d = _mm_sub_epi8(v, _mm_set1_epi8('0'));
	__m128i letter = _mm_cmpeq_epi8(_mm_min_epu8(l, _mm_set1_epi8(25)), l);
	__m128i digit = _mm_cmpeq_epi8(_mm_min_epu8(d, _mm_set1_epi8(9)), d);
	__m128i hyphen = _mm_cmpeq_epi8(v, _mm_set1_epi8('-'));

	return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(letter, digit), hyphen)) ^
	       0xffff;
}

#endif

static inline const char *atr_http_plain_end(const char *p, const char *end, uint8_t least)
{
#ifdef ATR_HTTP_SSE2
	for (; end - p >= 16; p += 16) {
		unsigned stop = atr_http_controls_16(atr_http_sixteen(p), least);

		if (stop)
			return p + __builtin_ctz(stop);
	}
#endif
	for (; end - p >= 8; p += 8) {
		uint64_t stop = atr_http_controls(atr_http_word(p), least);

		if (stop)
			return p + atr_http_first(stop);
	}
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

/* Behind what may stand in a name, one by one. */
static inline const char *atr_http_rare_end(const char *p, const char *end)
{
	while (p < end && atr_http_tchar[(uint8_t)*p])
		p++;
	return p;
}

static inline const char *atr_http_token_end(const char *p, const char *end)
{
#ifdef ATR_HTTP_SSE2
	for (; end - p >= 16; p += 16) {
		unsigned stop = atr_http_no_letters_16(atr_http_sixteen(p));

		if (stop)
			return atr_http_rare_end(p + __builtin_ctz(stop), end);
	}
#endif
	for (; end - p >= 8; p += 8) {
		uint64_t stop = atr_http_no_letters(atr_http_word(p));

		if (stop)
			return atr_http_rare_end(p + atr_http_first(stop), end);
	}
	return atr_http_rare_end(p, end);
}

#endif
