/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/json.h"

#include <stdint.h>
#include <string.h>

#define DEPTH_MAX 32

void atr_json_init(struct atr_json *j, const char *text, size_t len)
{
	*j = (struct atr_json){ .p = text, .end = text + len };
}

/* The next sign that is no white space; 0 at the end, or when bad. */
static char peek(struct atr_json *j)
{
	while (j->p < j->end && (*j->p == ' ' || *j->p == '\t' || *j->p == '\n' || *j->p == '\r'))
		j->p++;
	return j->bad || j->p == j->end ? '\0' : *j->p;
}

static bool fail(struct atr_json *j)
{
	j->bad = true;
	return false;
}

static bool eat(struct atr_json *j, char sign)
{
	if (peek(j) != sign || !sign)
		return fail(j);
	j->p++;
	return true;
}

/* ---- strings ---- */

static int hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

static bool hex4(struct atr_json *j, uint32_t *ret)
{
	*ret = 0;
	for (int i = 0; i < 4; i++, j->p++) {
		int digit = j->p < j->end ? hex_digit(*j->p) : -1;

		if (digit < 0)
			return fail(j);
		*ret = *ret << 4 | (uint32_t)digit;
	}
	return true;
}

/* What is written \uXXXX, or as two of them; half a pair becomes U+FFFD. */
static bool escaped_code(struct atr_json *j, uint32_t *ret)
{
	uint32_t low;

	if (!hex4(j, ret))
		return false;
	if (*ret < 0xd800 || *ret > 0xdfff)
		return true;
	if (*ret < 0xdc00 && j->end - j->p >= 6 && j->p[0] == '\\' && j->p[1] == 'u') {
		j->p += 2;
		if (!hex4(j, &low))
			return false;
		if (low >= 0xdc00 && low <= 0xdfff) {
			*ret = 0x10000 + ((*ret - 0xd800) << 10) + (low - 0xdc00);
			return true;
		}
	}
	*ret = 0xfffd;
	return true;
}

static size_t utf8(uint32_t c, char to[4])
{
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	static const uint8_t first[] = { 0, 0, 0xc0, 0xe0, 0xf0 };

	for (size_t i = n; i-- > 1; c >>= 6)
		to[i] = (char)(0x80 | (c & 0x3f));
	to[0] = (char)(first[n] | c);
	return n;
}

/* One character of a string, as bytes; 0: bad. */
static size_t character(struct atr_json *j, char to[4])
{
	static const char names[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
	const char *name;
	uint32_t code;

	to[0] = *j->p++;
	if (to[0] != '\\')
		return (unsigned char)to[0] >= 0x20 ? 1 : fail(j);
	if (j->p == j->end)
		return fail(j);
	if (*j->p == 'u') {
		j->p++;
		return escaped_code(j, &code) ? utf8(code, to) : 0;
	}
	name = *j->p ? strchr(names, *j->p++) : NULL;
	if (!name)
		return fail(j);
	to[0] = means[name - names];
	return 1;
}

bool atr_json_string(struct atr_json *j, char *ret, size_t size, size_t *ret_len)
{
	size_t len = 0;
	bool fits = true;

	if (peek(j) != '"') {
		atr_json_skip(j);
		return false;
	}
	j->p++;
	while (!j->bad && j->p < j->end && *j->p != '"') {
		char bytes[4];
		size_t n = character(j, bytes);

		fits = fits && len + n < size;
		if (fits)
			memcpy(ret + len, bytes, n);
		len += fits ? n : 0;
	}
	ret[len] = '\0';
	*ret_len = len;
	return eat(j, '"') && fits;
}

/* ---- numbers ---- */

static bool digits(struct atr_json *j, double *v, double *scale)
{
	const char *from = j->p;

	for (; j->p < j->end && *j->p >= '0' && *j->p <= '9'; j->p++) {
		*v = *v * 10 + (*j->p - '0');
		*scale *= 10;
	}
	return j->p > from || fail(j);
}

static bool follows(struct atr_json *j, const char *one_of)
{
	if (j->bad || j->p == j->end || !*j->p || !strchr(one_of, *j->p))
		return false;
	j->p++;
	return true;
}

/* Not strtod(): it follows the locale. */
bool atr_json_number(struct atr_json *j, double *ret)
{
	double v = 0, scale = 1, exponent = 0, none = 1;
	char sign = peek(j);
	bool negative;

	if (sign != '-' && (sign < '0' || sign > '9')) {
		atr_json_skip(j);
		return false;
	}
	negative = follows(j, "-");
	(void)digits(j, &v, &none);
	if (follows(j, ".")) {
		(void)digits(j, &v, &scale);
		v /= scale;
	}
	if (follows(j, "eE")) {
		bool down = j->p < j->end && *j->p == '-';

		(void)follows(j, "+-");
		(void)digits(j, &exponent, &none);
		for (int i = 0; i < 400 && i < exponent; i++)
			v = down ? v / 10 : v * 10;
	}
	*ret = negative ? -v : v;
	return !j->bad;
}

/* ---- objects and arrays ---- */

static bool enter(struct atr_json *j, char bracket)
{
	if (peek(j) != bracket) {
		atr_json_skip(j);
		return false;
	}
	j->p++;
	j->first = true;
	return true;
}

bool atr_json_object(struct atr_json *j)
{
	return enter(j, '{');
}

bool atr_json_array(struct atr_json *j)
{
	return enter(j, '[');
}

/* Is there another one before the closing bracket? */
static bool another(struct atr_json *j, char bracket)
{
	bool first = j->first;

	j->first = false;
	if (peek(j) == bracket) {
		j->p++;
		return false;
	}
	return first ? !j->bad && (peek(j) || fail(j)) : eat(j, ',');
}

bool atr_json_element(struct atr_json *j)
{
	return another(j, ']');
}

bool atr_json_key(struct atr_json *j, char *key, size_t size)
{
	size_t len;

	if (!another(j, '}'))
		return false;
	if (peek(j) != '"')
		return fail(j);
	/* One that is too long is cut: it is none that anybody asks for. */
	(void)atr_json_string(j, key, size, &len);
	return eat(j, ':');
}

static void skip(struct atr_json *j, unsigned depth)
{
	static const char *const words[] = { "true", "false", "null" };
	char sign = peek(j), text[8];
	double number;
	size_t len;

	if (sign == '"') {
		(void)atr_json_string(j, text, sizeof(text), &len);
	} else if (sign == '-' || (sign >= '0' && sign <= '9')) {
		(void)atr_json_number(j, &number);
	} else if ((sign == '{' || sign == '[') && depth < DEPTH_MAX) {
		(void)enter(j, sign);
		while (sign == '{' ? atr_json_key(j, text, sizeof(text)) : atr_json_element(j))
			skip(j, depth + 1);
	} else {
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
			len = strlen(words[i]);
			if ((size_t)(j->end - j->p) >= len && memcmp(j->p, words[i], len) == 0) {
				j->p += len;
				return;
			}
		}
		(void)fail(j);
	}
}

void atr_json_skip(struct atr_json *j)
{
	skip(j, 0);
}

bool atr_json_end(struct atr_json *j)
{
	return !peek(j) && !j->bad && j->p == j->end;
}
