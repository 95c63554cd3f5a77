/* SPDX-License-Identifier: Apache-2.0 */
#include "hooks/http-url.h"

#include <string.h>

#include "hooks/http-settings.h"

bool atr_http_same_word(struct atr_slice a, struct atr_slice b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (atr_http_lower(a.p[i]) != atr_http_lower(b.p[i]))
			return false;
	return true;
}

/* [from, to) of s. */
static struct atr_slice part(struct atr_slice s, size_t from, size_t to)
{
	return (struct atr_slice){ s.p + from, to - from };
}

/* Offset of the first c at or after `from`, or s.len. */
static size_t find(struct atr_slice s, size_t from, char c)
{
	const char *p = from < s.len ? memchr(s.p + from, c, s.len - from) : NULL;

	return p ? (size_t)(p - s.p) : s.len;
}

/*
 * A character of a name or an address.  RFC 3986 allows a comma, but that is rather a list;
 * bytes beyond ASCII it does not, but names come as they were typed.
 */
static bool host_char(char c)
{
	static const char signs[] = "_~%!$&'()*+;=:";
	char l = atr_http_lower(c);

	return (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
	       (unsigned char)c >= 0x80 || memchr(signs, c, sizeof(signs) - 1);
}

/* An IPv6 address without its brackets: seven colons, or two side by side. */
static bool bare_ipv6(struct atr_slice s)
{
	size_t colons = 0;
	bool gap = false;

	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] != ':')
			continue;
		colons++;
		gap |= i + 1 < s.len && s.p[i + 1] == ':';
	}
	return colons > 1 && (gap || colons == 7);
}

/* ":port", ":" or nothing; -1 for anything else. */
static int port_of(struct atr_slice s)
{
	int port = 0;

	if (!s.len)
		return 0;
	if (s.p[0] != ':' || s.len > 6)
		return -1;
	for (size_t i = 1; i < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return -1;
		port = port * 10 + (s.p[i] - '0');
	}
	return port <= 65535 ? port : -1;
}

/* Length of "user:password@": up to the last @, as browsers read it. */
static size_t userinfo(struct atr_slice authority)
{
	size_t n = authority.len;

	while (n && authority.p[n - 1] != '@')
		n--;
	return n;
}

bool atr_http_authority(struct atr_slice text, struct atr_http_authority *ret)
{
	struct atr_slice s, host, rest;
	size_t colon;
	int port;

	*ret = (struct atr_http_authority){ .port = 0 };
	if (!text.len)
		return false;
	s = part(text, userinfo(text), text.len);
	if (s.len && s.p[0] == '[') {
		size_t end = find(s, 0, ']');

		if (end == s.len)
			return false;
		host = part(s, 1, end);
		rest = part(s, end + 1, s.len);
	} else {
		colon = bare_ipv6(s) ? s.len : find(s, 0, ':');
		host = part(s, 0, colon);
		rest = part(s, colon, s.len);
	}
	port = port_of(rest);
	if (!host.len || port < 0)
		return false;
	for (size_t i = 0; i < host.len; i++)
		if (!host_char(host.p[i]))
			return false;
	*ret = (struct atr_http_authority){ .host = host, .port = port };
	return true;
}

int atr_http_default_port(struct atr_slice scheme)
{
	if (atr_slice_is(scheme, "http") || atr_slice_is(scheme, "ws"))
		return 80;
	if (atr_slice_is(scheme, "https") || atr_slice_is(scheme, "wss"))
		return 443;
	return 0;
}

bool atr_http_scheme(struct atr_slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		char l = atr_http_lower(s.p[i]);

		if ((l < 'a' || l > 'z') &&
		    (!i || !((l >= '0' && l <= '9') || l == '+' || l == '-' || l == '.')))
			return false;
	}
	return s.len;
}

struct atr_http_target atr_http_target(const struct atr_http_head *request)
{
	struct atr_slice s = request->target;
	struct atr_http_target ret = { .path = { NULL, 0 } };
	size_t at = 0, fragment = find(s, 0, '#'), query;

	if (!s.len)
		return ret;
	if (fragment < s.len)
		ret.fragment = part(s, fragment + 1, s.len);
	s.len = fragment;
	if (s.len && s.p[0] != '/') {
		size_t scheme = find(s, 0, ':');

		if (s.len - scheme >= 3 && memcmp(s.p + scheme, "://", 3) == 0 &&
		    atr_http_scheme(part(s, 0, scheme))) {
			ret.scheme = part(s, 0, scheme);
			for (at = scheme + 3; at < s.len && s.p[at] != '/' && s.p[at] != '?'; at++)
				;
			ret.authority = part(s, scheme + 3, at);
		} else if (atr_slice_is(request->method, "CONNECT")) {
			ret.authority = s;
			return ret;
		}
	}
	query = find(s, at, '?');
	ret.path = part(s, at, query);
	if (query < s.len)
		ret.query = part(s, query + 1, s.len);
	return ret;
}

void atr_http_put(struct atr_http_text *to, struct atr_slice s)
{
	size_t room = sizeof(to->text) - to->len;
	size_t n = s.len < room ? s.len : room;

	if (n)
		memcpy(to->text + to->len, s.p, n);
	to->len += n;
}

void atr_http_put_authority(struct atr_http_text *to, struct atr_slice authority)
{
	size_t secret = userinfo(authority);

	if (!authority.len)
		return;
	if (secret)
		atr_http_put(to, ATR_SLICE("REDACTED:REDACTED@"));
	atr_http_put(to, part(authority, secret, authority.len));
}

void atr_http_put_query(struct atr_http_text *to, struct atr_slice query)
{
	size_t done = 0; /* up to here it is written */

	if (!query.len)
		return;
	/* What will be cut off anyway is not looked at. */
	for (size_t at = 0, end; at < query.len && to->len + at - done < sizeof(to->text);
	     at = end + 1) {
		size_t equals;

		end = find(query, at, '&');
		equals = find(part(query, 0, end), at, '=');
		if (equals == end || !atr_http_sensitive(part(query, at, equals)))
			continue;
		atr_http_put(to, part(query, done, equals + 1));
		atr_http_put(to, ATR_SLICE("REDACTED"));
		done = end;
	}
	atr_http_put(to, part(query, done, query.len));
}
