/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/list.h"

#include <errno.h>
#include <string.h>

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

static void trim(const char **s, size_t *len)
{
	while (*len && blank(**s)) {
		(*s)++;
		(*len)--;
	}
	while (*len && blank((*s)[*len - 1]))
		(*len)--;
}

bool atr_list_next(const char **list, struct atr_list_item *item)
{
	while (**list) {
		const char *s = *list;
		size_t len = strcspn(s, ",");
		const char *eq;

		*list += len + (s[len] == ',');
		trim(&s, &len);
		if (!len)
			continue;
		eq = memchr(s, '=', len);
		*item = (struct atr_list_item){
			.key = s,
			.key_len = eq ? (size_t)(eq - s) : len,
			.value = eq ? eq + 1 : s + len,
			.value_len = eq ? len - (size_t)(eq + 1 - s) : 0,
			.has_value = eq != NULL,
		};
		trim(&item->key, &item->key_len);
		trim(&item->value, &item->value_len);
		return true;
	}
	return false;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

ssize_t atr_list_decode(char *dst, const char *s, size_t len)
{
	size_t out = 0;

	for (size_t i = 0; i < len; i++) {
		int hi, lo;

		if (s[i] != '%') {
			dst[out++] = s[i];
			continue;
		}
		if (len - i < 3)
			return -EINVAL;
		hi = hex_digit(s[i + 1]);
		lo = hex_digit(s[i + 2]);
		if (hi < 0 || lo < 0 || (hi == 0 && lo == 0))
			return -EINVAL;
		dst[out++] = (char)(hi << 4 | lo);
		i += 2;
	}
	return (ssize_t)out;
}
