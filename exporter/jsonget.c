/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/jsonget.h"

#include <string.h>

static const char *blanks(const char *s, const char *end)
{
	while (s < end && (*s == ' ' || *s == '\t' || *s == '\n' || *s == '\r'))
		s++;
	return s;
}

/* The byte behind the string that begins at s; NULL: it does not end. */
static const char *string_end(const char *s, const char *end)
{
	for (s++; s < end; s++) {
		if (*s == '"')
			return s + 1;
		if (*s == '\\')
			s++;
	}
	return NULL;
}

/* The byte behind the value that begins at s; NULL: it does not end. */
static const char *value_end(const char *s, const char *end)
{
	size_t depth = 0;

	while (s < end) {
		char c = *s;

		if (c == '"') {
			s = string_end(s, end);
			if (!s || !depth)
				return s;
			continue;
		}
		if (!depth && (c == ',' || c == '}' || c == ']' || c <= ' '))
			return s;
		s++;
		if (c == '{' || c == '[')
			depth++;
		else if ((c == '}' || c == ']') && --depth == 0)
			return s;
	}
	return depth ? NULL : s;
}

/* Steps to the next member of an object; false at its end, or where it is none. */
static bool member(const char **s, const char *end, struct atr_jsonget *key,
		   struct atr_jsonget *value)
{
	const char *p = blanks(*s, end), *behind;

	if (p < end && *p == ',')
		p = blanks(p + 1, end);
	if (p == end || *p != '"')
		return false;
	behind = string_end(p, end);
	if (!behind)
		return false;
	*key = (struct atr_jsonget){ p, (size_t)(behind - p) };
	p = blanks(behind, end);
	if (p == end || *p != ':')
		return false;
	p = blanks(p + 1, end);
	behind = value_end(p, end);
	if (!behind || behind == p)
		return false;
	*value = (struct atr_jsonget){ p, (size_t)(behind - p) };
	*s = behind;
	return true;
}

bool atr_jsonget(struct atr_jsonget *ret, const struct atr_jsonget *in, const char *key)
{
	const char *end = in->at + in->len, *s = blanks(in->at, end);
	struct atr_jsonget name;

	if (s == end || *s++ != '{')
		return false;
	while (member(&s, end, &name, ret))
		if (name.len == strlen(key) + 2 && memcmp(name.at + 1, key, name.len - 2) == 0)
			return true;
	return false;
}

uint64_t atr_jsonget_number(const struct atr_jsonget *value)
{
	bool quoted = value->len > 2 && value->at[0] == '"';
	size_t i = quoted, end = value->len - quoted;
	uint64_t n = 0;

	if (i == end)
		return 0;
	for (; i < end; i++) {
		char c = value->at[i];

		if (c < '0' || c > '9' || n > (UINT64_MAX - 9) / 10)
			return 0;
		n = 10 * n + (uint64_t)(c - '0');
	}
	return n;
}

/* Four hex digits; -1: they are none. */
static long unit(const char *s, const char *end)
{
	static const char digits[] = "0123456789abcdef";
	long v = 0;

	if (end - s < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		char c = s[i] >= 'A' && s[i] <= 'F' ? (char)(s[i] | 0x20) : s[i];
		const char *at = memchr(digits, c, 16);

		if (!at)
			return -1;
		v = v << 4 | (at - digits);
	}
	return v;
}

static size_t utf8(char out[static 4], long c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

/* The character that \uXXXX at *s (behind the u) means, a pair taken as one; *s behind it. */
static long escaped(const char **s, const char *end)
{
	long c = unit(*s, end), low;

	if (c < 0)
		return '?';
	*s += 4;
	if (c >= 0xd800 && c < 0xdc00 && end - *s >= 6 && (*s)[0] == '\\' && (*s)[1] == 'u') {
		low = unit(*s + 2, end);
		if (low >= 0xdc00 && low < 0xe000) {
			*s += 6;
			return 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
		}
	}
	return c == 0 || (c >= 0xd800 && c < 0xe000) ? 0xfffd : c;
}

void atr_jsonget_text(char *dst, size_t size, const struct atr_jsonget *value)
{
	static const char from[] = "nrtbf", to[] = "\n\r\t\b\f";
	const char *s = value->at + 1, *end = value->at + value->len - 1;
	size_t n = 0;

	dst[0] = '\0';
	if (value->len < 2 || value->at[0] != '"')
		return;
	while (s < end) {
		char one[4] = { *s++ };
		size_t len = 1;
		const char *at;

		if (one[0] == '\\' && s < end) {
			one[0] = *s++;
			at = memchr(from, one[0], sizeof(from) - 1);
			if (at)
				one[0] = to[at - from];
			else if (one[0] == 'u')
				len = utf8(one, escaped(&s, end));
		}
		if (n + len >= size)
			break;
		memcpy(dst + n, one, len);
		n += len;
	}
	dst[n] = '\0';
}
