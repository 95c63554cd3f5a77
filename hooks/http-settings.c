/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the user chose about HTTP spans: methods, secrets in URLs, headers to be
 * captured, routes, and whom our headers may be sent to.
 *
 * A list that is set replaces its default whole, even where none of its items is
 * good: an AUTOTRACE_PROPAGATE_TO that only holds mistakes must not mean every host.
 */
#include "hooks/http-settings.h"

#include <string.h>

#include "hooks/http-url.h"
#include "preload/compiler.h"
#include "preload/config.h"
#include "preload/text.h"

static struct {
	struct atr_http_list known_methods;
	struct atr_http_list sensitive_query;
	struct atr_http_list routes;
	struct atr_http_list captured[2][2]; /* [server][response] */
	struct atr_http_list propagate_to;
	struct atr_http_list propagate_except;
	struct atr_http_list ignore;
	bool propagate_to_set;
} settings;

static bool is_token(struct atr_slice s, size_t max)
{
	static const char signs[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; i < s.len; i++) {
		char l = atr_http_lower(s.p[i]);

		if ((l < 'a' || l > 'z') && (l < '0' || l > '9') &&
		    !memchr(signs, l, sizeof(signs) - 1))
			return false;
	}
	return s.len <= max;
}

static bool is_method(struct atr_slice s)
{
	return is_token(s, ATR_HTTP_METHOD_MAX);
}

static bool is_header(struct atr_slice s)
{
	return is_token(s, ATR_HTTP_HEADER_MAX);
}

static bool is_parameter(struct atr_slice s)
{
	return !memchr(s.p, '=', s.len) && !memchr(s.p, '&', s.len);
}

/* host, *.domain or *; a port would never match. */
static bool is_host(struct atr_slice s)
{
	struct atr_http_authority authority;

	if (s.p[0] == '*') {
		if (s.len == 1)
			return true;
		if (s.len < 3 || s.p[1] != '.')
			return false;
		s.p += 2;
		s.len -= 2;
	}
	if (memchr(s.p, '*', s.len) || !atr_http_authority(s, &authority))
		return false;
	return authority.host.len + (s.p[0] == '[' ? 2 : 0) == s.len;
}

/* host, host/path or /path; * as in a host, and at the end of a path for all that is left. */
static bool is_ignorable(struct atr_slice s)
{
	const char *path = memchr(s.p, '/', s.len);
	size_t host = path ? (size_t)(path - s.p) : s.len;
	const char *star;

	if (host && !is_host((struct atr_slice){ s.p, host }))
		return false;
	if (!path)
		return true;
	if (memchr(path, '?', s.len - host) || memchr(path, '#', s.len - host))
		return false;
	star = memchr(path, '*', s.len - host);
	return !star || star == s.p + s.len - 1;
}

/* A path in which {...} stands for whole segments, and * only at the end. */
static bool is_route(struct atr_slice s)
{
	if (s.p[0] != '/' || s.len > ATR_HTTP_ROUTE_MAX)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		const char *end;

		if (s.p[i] == '}' || (s.p[i] == '*' && i + 1 < s.len))
			return false;
		if (s.p[i] != '{')
			continue;
		end = memchr(s.p + i, '}', s.len - i);
		if (!end || s.p[i - 1] != '/' || memchr(s.p + i, '/', (size_t)(end - s.p) - i) ||
		    memchr(s.p + i + 1, '{', (size_t)(end - s.p) - i - 1))
			return false;
		i = (size_t)(end - s.p);
		if (i + 1 < s.len && s.p[i + 1] != '/')
			return false;
	}
	return true;
}

/* Items of a comma separated list, without blanks around; empty ones do not count. */
static bool next_item(const char **at, struct atr_slice *item)
{
	const char *s = *at, *end;

	while (*s == ' ' || *s == '\t' || *s == ',')
		s++;
	end = strchr(s, ',');
	if (!end)
		end = s + strlen(s);
	*at = end;
	while (end > s && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*item = (struct atr_slice){ s, (size_t)(end - s) };
	return item->len;
}

struct setting {
	struct atr_http_list *list;
	const char *env;
	const char *value;
	bool (*valid)(struct atr_slice item);
	const char *what;
};

static void warn_item(const struct setting *s, struct atr_slice item,
		      void (*warn)(const char *line))
{
	char line[512];

	(void)atr_format(line, sizeof(line), "%s=%.*s: \"%.*s\" is not %s; leaving it out", s->env,
			 160, s->value, item.len < 80 ? (int)item.len : 80, item.p, s->what);
	warn(line);
}

static void warn_list(const struct setting *s, const char *why, void (*warn)(const char *line))
{
	char line[512];

	(void)atr_format(line, sizeof(line), "%s=%.*s %s", s->env, 200, s->value, why);
	warn(line);
}

static void read_list(const struct setting *s, void (*warn)(const char *line))
{
	struct atr_http_list *list = s->list;
	const char *at = s->value;
	struct atr_slice item;

	list->n = 0;
	while (at && next_item(&at, &item)) {
		if (!s->valid(item)) {
			warn_item(s, item, warn);
		} else if (list->n == ATR_HTTP_LIST_MAX) {
			warn_list(s, "has more than 64 items; using the first 64", warn);
			break;
		} else {
			list->items[list->n++] = item;
		}
	}
	if (s->value && !list->n)
		warn_list(s, "has no items; using an empty list", warn);
}

_Static_assert(ATR_HTTP_LIST_MAX == 64, "the warning says so");

/* The names of the variables, by their fields. */
static const struct {
#define OPTION(field, type, env, def, min, max, doc) const char *field;
#include "preload/config.def"
} env_of = {
#define OPTION(field, type, env, def, min, max, doc) .field = env,
#include "preload/config.def"
};

void atr_http_attrs_init(void (*warn)(const char *line))
{
#define LIST(to, field, valid, what)                                      \
	{                                                                 \
		&settings.to, env_of.field, atr_config.field, valid, what \
	}
	const struct setting all[] = {
		LIST(known_methods, http_known_methods, is_method,
		     "an HTTP method of at most 24 characters"),
		LIST(sensitive_query, sensitive_query, is_parameter, "a query parameter"),
		LIST(routes, http_routes, is_route,
		     "a path of at most 167 characters with {name} for a segment and * at the end"),
		LIST(captured[0][0], http_client_request_headers, is_header,
		     "a header name of at most 64 characters"),
		LIST(captured[0][1], http_client_response_headers, is_header,
		     "a header name of at most 64 characters"),
		LIST(captured[1][0], http_server_request_headers, is_header,
		     "a header name of at most 64 characters"),
		LIST(captured[1][1], http_server_response_headers, is_header,
		     "a header name of at most 64 characters"),
		LIST(propagate_to, propagate_to, is_host, "a host, *.domain or *"),
		LIST(propagate_except, propagate_except, is_host, "a host, *.domain or *"),
		LIST(ignore, ignore, is_ignorable,
		     "a /path, a host or a host/path, with * for *.domain and at the end of a "
		     "path"),
	};
#undef LIST
	_Static_assert(ATR_HTTP_METHOD_MAX == 24 && ATR_HTTP_HEADER_MAX == 64 &&
			       ATR_HTTP_ROUTE_MAX == 167,
		       "the warnings say so");

	for (size_t i = 0; i < ATR_ARRAY_LEN(all); i++)
		read_list(&all[i], warn);
	settings.propagate_to_set = atr_config.propagate_to != NULL;
}

static bool same(struct atr_slice a, struct atr_slice b)
{
	return a.len == b.len && memcmp(a.p, b.p, a.len) == 0;
}

static bool contains(const struct atr_http_list *list, struct atr_slice s)
{
	for (size_t i = 0; i < list->n; i++)
		if (same(list->items[i], s))
			return true;
	return false;
}

bool atr_http_known_method(struct atr_slice method)
{
	return contains(&settings.known_methods, method);
}

bool atr_http_sensitive(struct atr_slice key)
{
	return contains(&settings.sensitive_query, key);
}

const struct atr_http_list *atr_http_captured(enum atr_kind kind, bool response)
{
	return &settings.captured[kind == ATR_KIND_SERVER][response];
}

/* ---- routes ---- */

static bool route_matches(struct atr_slice route, struct atr_slice path)
{
	const char *r = route.p, *r_end = r + route.len;
	const char *p = path.p, *p_end = p + path.len;

	while (r < r_end) {
		if (*r == '*')
			return true;
		if (*r == '{') {
			const char *segment = p;

			while (p < p_end && *p != '/')
				p++;
			if (p == segment)
				return false;
			r = (const char *)memchr(r, '}', (size_t)(r_end - r)) + 1;
		} else if (p == p_end || *p++ != *r++) {
			return false;
		}
	}
	return p == p_end;
}

/* What a route has at i, from the most literal to the least. */
static int looseness(struct atr_slice route, size_t i)
{
	return i == route.len || (route.p[i] != '{' && route.p[i] != '*') ? 0
	       : route.p[i] == '{'					  ? 1
									  : 2;
}

/* Is a more literal than b where they first differ?  Both match the same path. */
static bool more_literal(struct atr_slice a, struct atr_slice b)
{
	size_t i = 0, j = 0;

	for (;;) {
		int x = looseness(a, i), y = looseness(b, j);

		if (x != y)
			return x < y;
		if (x == 2 || i == a.len || j == b.len)
			return false;
		while (x == 1 && a.p[i] != '}')
			i++;
		while (x == 1 && b.p[j] != '}')
			j++;
		i++;
		j++;
	}
}

struct atr_slice atr_http_route(struct atr_slice path)
{
	struct atr_slice best = { NULL, 0 };

	for (size_t i = 0; i < settings.routes.n && path.len; i++) {
		struct atr_slice route = settings.routes.items[i];

		if (route_matches(route, path) && (!best.p || more_literal(route, best)))
			best = route;
	}
	return best;
}

/* ---- hosts ---- */

/* Without brackets, and without the dot that says the name is a full one. */
static struct atr_slice plain(struct atr_slice host)
{
	if (host.len > 1 && host.p[0] == '[' && host.p[host.len - 1] == ']') {
		host.p++;
		host.len -= 2;
	}
	if (host.len > 1 && host.p[host.len - 1] == '.')
		host.len--;
	return host;
}

static bool host_is(struct atr_slice item, struct atr_slice host)
{
	item = plain(item);
	if (item.p[0] == '*') {
		item.p++;
		item.len--;
		if (!item.len)
			return true;
		if (host.len <= item.len)
			return false;
		host.p += host.len - item.len;
		host.len = item.len;
	}
	return atr_http_same_word(item, host);
}

static bool host_is_in(const struct atr_http_list *list, struct atr_slice host)
{
	for (size_t i = 0; i < list->n; i++)
		if (host_is(list->items[i], host))
			return true;
	return false;
}

bool atr_http_propagate_to(struct atr_slice host)
{
	host = plain(host);
	if (settings.propagate_to_set && !host_is_in(&settings.propagate_to, host))
		return false;
	return !host_is_in(&settings.propagate_except, host);
}

bool atr_http_propagate_limited(void)
{
	return settings.propagate_to_set || settings.propagate_except.n;
}

/* ---- requests that are not looked at ---- */

static bool path_is(struct atr_slice item, struct atr_slice path)
{
	if (item.p[item.len - 1] != '*')
		return same(item, path);
	return path.len >= item.len - 1 && memcmp(path.p, item.p, item.len - 1) == 0;
}

static bool ignores(struct atr_slice item, const struct atr_http_head *request,
		    struct atr_slice path)
{
	const char *slash = memchr(item.p, '/', item.len);
	size_t n = slash ? (size_t)(slash - item.p) : item.len;

	if (slash && !path_is((struct atr_slice){ slash, item.len - n }, path))
		return false;
	return !n || host_is((struct atr_slice){ item.p, n }, plain(atr_http_host(request)));
}

bool atr_http_ignored(const struct atr_http_head *request)
{
	struct atr_slice path;

	if (!settings.ignore.n)
		return false;
	path = atr_http_target(request).path;
	if (!path.len)
		path = ATR_SLICE("/");
	for (size_t i = 0; i < settings.ignore.n; i++)
		if (ignores(settings.ignore.items[i], request, path))
			return true;
	return false;
}
