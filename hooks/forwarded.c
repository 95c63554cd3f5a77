/* SPDX-License-Identifier: Apache-2.0 */
#include "hooks/forwarded.h"

#include <string.h>

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n'; /* a folded line's end, too */
}

/*
 * A value begins at s[*i]: a quoted string or anything up to `;`, `,` or a blank.
 * Escapes in a quoted string stay: no host and no scheme has any.  Without its end it
 * is empty.
 */
static struct atr_slice value_at(struct atr_slice s, size_t *i)
{
	size_t start = *i;

	if (start == s.len || s.p[start] != '"') {
		while (*i < s.len && s.p[*i] != ';' && s.p[*i] != ',' && !blank(s.p[*i]))
			++*i;
		return (struct atr_slice){ s.p + start, *i - start };
	}
	for (++*i; *i < s.len && s.p[*i] != '"'; ++*i)
		if (s.p[*i] == '\\' && *i + 1 < s.len)
			++*i;
	if (*i >= s.len)
		return (struct atr_slice){ NULL, 0 };
	++*i;
	return (struct atr_slice){ s.p + start + 1, *i - start - 2 };
}

/* The value of a parameter in the field's first element. */
static struct atr_slice parameter(struct atr_slice s, struct atr_slice name)
{
	bool any = false;

	for (size_t i = 0; i < s.len;) {
		size_t start = i;

		if (blank(s.p[i]) || s.p[i] == ';' || (s.p[i] == ',' && !any)) {
			i++;
			continue;
		}
		if (s.p[i] == ',')
			break;
		any = true;
		while (i < s.len && !memchr("=;, \t\r\n", s.p[i], 7))
			i++;
		if (i < s.len && s.p[i] == '=') {
			struct atr_slice key = { s.p + start, i - start }, value;

			i++;
			value = value_at(s, &i);
			if (!value.p)
				break;
			if (atr_http_same_word(key, name))
				return value;
		}
	}
	return (struct atr_slice){ NULL, 0 };
}

/* The first entry of a plain list; some put it between quotes all the same. */
static struct atr_slice first(struct atr_slice s)
{
	size_t i = 0, end;

	while (i < s.len && (blank(s.p[i]) || s.p[i] == ','))
		i++;
	if (i == s.len)
		return (struct atr_slice){ NULL, 0 };
	if (s.p[i] == '"')
		return value_at(s, &i);
	for (end = i; end < s.len && s.p[end] != ','; end++)
		;
	while (blank(s.p[end - 1]))
		end--;
	return (struct atr_slice){ s.p + i, end - i };
}

/* The address or name of a node (RFC 7239 6); empty when it says that it does not say. */
static struct atr_slice node(struct atr_slice s)
{
	struct atr_http_authority authority;
	const char *colon = s.len ? memchr(s.p, ':', s.len) : NULL;

	/* Its port may be a word: cut it off, unless it is not the only colon. */
	if (colon && s.p[0] != '[' && !memchr(colon + 1, ':', s.len - (size_t)(colon + 1 - s.p)))
		s.len = (size_t)(colon - s.p);
	else if (s.len && s.p[0] == '[' && memchr(s.p, ']', s.len))
		s.len = (size_t)((const char *)memchr(s.p, ']', s.len) + 1 - s.p);
	if (!s.len || s.p[0] == '_' || atr_http_same_word(s, ATR_SLICE("unknown")) ||
	    memchr(s.p, '@', s.len) || !atr_http_authority(s, &authority))
		return (struct atr_slice){ NULL, 0 };
	return authority.host;
}

struct atr_slice atr_forwarded_for(const struct atr_http_head *request)
{
	const struct atr_slice *field = request->value;
	struct atr_slice ret = node(parameter(field[ATR_HTTP_FORWARDED], ATR_SLICE("for")));

	return ret.p ? ret : node(first(field[ATR_HTTP_X_FORWARDED_FOR]));
}

static bool is_scheme(struct atr_slice s)
{
	return s.len <= ATR_SCHEME_MAX && atr_http_scheme(s);
}

struct atr_slice atr_forwarded_proto(const struct atr_http_head *request)
{
	const struct atr_slice *field = request->value;
	struct atr_slice ret = parameter(field[ATR_HTTP_FORWARDED], ATR_SLICE("proto"));

	if (!is_scheme(ret))
		ret = first(field[ATR_HTTP_X_FORWARDED_PROTO]);
	return is_scheme(ret) ? ret : (struct atr_slice){ NULL, 0 };
}

bool atr_forwarded_host(const struct atr_http_head *request, struct atr_http_authority *ret)
{
	const struct atr_slice *field = request->value;

	return atr_http_authority(parameter(field[ATR_HTTP_FORWARDED], ATR_SLICE("host")), ret) ||
	       atr_http_authority(first(field[ATR_HTTP_X_FORWARDED_HOST]), ret);
}
