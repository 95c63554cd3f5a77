/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/utf8.h"

#include <stdint.h>
#include <string.h>

/* Length of the character at s, 0 if it is none (RFC 3629, section 4). */
static size_t character(const unsigned char *s, size_t len)
{
	unsigned char lo = 0x80, hi = 0xbf;
	size_t n;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf) {
		n = 2;
	} else if (s[0] >= 0xe0 && s[0] <= 0xef) {
		n = 3;
		if (s[0] == 0xe0)
			lo = 0xa0; /* overlong */
		else if (s[0] == 0xed)
			hi = 0x9f; /* surrogates */
	} else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
		n = 4;
		if (s[0] == 0xf0)
			lo = 0x90; /* overlong */
		else if (s[0] == 0xf4)
			hi = 0x8f; /* beyond U+10FFFF */
	} else {
		return 0;
	}
	if (len < n || s[1] < lo || s[1] > hi)
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

/* Length of the run of ASCII at s, eight bytes at a time. */
static size_t ascii(const char *s, size_t len)
{
	size_t i = 0;

	for (; i + 8 <= len; i += 8) {
		uint64_t word;

		memcpy(&word, s + i, 8);
		if (word & 0x8080808080808080ull)
			break;
	}
	while (i < len && (unsigned char)s[i] < 0x80)
		i++;
	return i;
}

size_t atr_utf8_valid(const char *s, size_t len)
{
	size_t i = ascii(s, len);

	while (i < len) {
		size_t n = character((const unsigned char *)s + i, len - i);

		if (!n)
			break;
		i += n;
		if (n == 1)
			i += ascii(s + i, len - i);
	}
	return i;
}

size_t atr_utf8_copy(char *dst, size_t size, const char *s, size_t len)
{
	size_t out = 0, in = 0;

	while (in < len && out < size) {
		size_t room = size - out;
		size_t left = len - in;
		size_t n = atr_utf8_valid(s + in, left < room ? left : room);

		memcpy(dst + out, s + in, n);
		in += n;
		out += n;
		if (in == len || out == size)
			break;
		/* Here s[in] is no character, or one that `room` cut in two. */
		n = character((const unsigned char *)s + in, len - in);
		if (n)
			break;
		dst[out++] = '?';
		in++;
	}
	return out;
}
