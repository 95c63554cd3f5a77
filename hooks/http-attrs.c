/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attributes of HTTP spans.
 *
 * A client's URL is put together from what the request says of it; a server's
 * address, scheme and client are those before any proxy, where one says so.  Short
 * attributes are written first, so that when there is little room a long URL is
 * what is left out.
 */
#include "hooks/http-attrs.h"

#include "hooks/forwarded.h"
#include "hooks/http-settings.h"
#include "hooks/http-url.h"
#include "preload/text.h"

/* Longest value of any other attribute, in bytes (ATR_HTTP_URL_MAX: URLs). */
#define TEXT_MAX 512
/* Longest value of a captured header, and how many of them one message gives. */
#define CAPTURED_MAX 1024
#define N_CAPTURED_MAX 64

/* Each writes one attribute or nothing: what does not fit must not spoil what follows. */
static void put_str(struct atr_pb *pb, enum atr_attr attr, struct atr_slice value, size_t max)
{
	bool overflow = pb->overflow;

	atr_attr_str(pb, attr, value.p, atr_attr_cut(value.p, value.len, max));
	pb->overflow = overflow;
}

static void put_int(struct atr_pb *pb, enum atr_attr attr, int64_t value)
{
	bool overflow = pb->overflow;

	atr_attr_int(pb, attr, value);
	pb->overflow = overflow;
}

static void put_text(struct atr_pb *pb, enum atr_attr attr, const struct atr_http_text *text)
{
	put_str(pb, attr, (struct atr_slice){ text->text, text->len }, ATR_HTTP_URL_MAX);
}

/* ---- header values ---- */

/* Room for folded values, made into one line each; always at least SLACK. */
struct unfolded {
	char *text;
	size_t room;
};

/* The cut looks for the end of a character that many bytes further. */
#define SLACK 4

/*
 * The value cut to max bytes.  A folded one is the same with a blank where it was
 * folded (RFC 9112 5.2), and gets what room there is left.
 */
static struct atr_slice one_line(struct unfolded *to, struct atr_slice value, size_t max)
{
	size_t n = 0;

	if (value.len && memchr(value.p, '\n', value.len)) {
		if (max > to->room - SLACK)
			max = to->room - SLACK;
		for (size_t i = 0; i < value.len && n < max + SLACK; i++) {
			if (value.p[i] != '\r' && value.p[i] != '\n') {
				to->text[n++] = value.p[i];
				continue;
			}
			while (n && memchr(" \t", to->text[n - 1], 2))
				n--;
			while (i + 1 < value.len && memchr(" \t\r\n", value.p[i + 1], 4))
				i++;
			to->text[n++] = ' ';
		}
		value = (struct atr_slice){ to->text, n };
	}
	value.len = atr_attr_cut(value.p, value.len, max);
	if (value.p == to->text) {
		to->text += value.len;
		to->room -= value.len;
	}
	return value;
}

static void put_header(struct atr_pb *pb, bool response, struct atr_slice name,
		       const struct atr_slice *values, size_t n)
{
	struct atr_slice prefix =
		response ? ATR_SLICE("http.response.header.") : ATR_SLICE("http.request.header.");
	char key[sizeof("http.response.header.") + ATR_HTTP_HEADER_MAX];
	bool overflow = pb->overflow;

	memcpy(key, prefix.p, prefix.len);
	for (size_t i = 0; i < name.len; i++)
		key[prefix.len + i] = atr_http_lower(name.p[i]);
	atr_attr_strs(pb, (struct atr_slice){ key, prefix.len + name.len }, values, n);
	pb->overflow = overflow;
}

/* The configured header that the field is, or list->n. */
static size_t header_of(const struct atr_http_list *list, struct atr_slice name)
{
	size_t i = 0;

	while (i < list->n && !atr_http_same_word(list->items[i], name))
		i++;
	return i;
}

/* Most programs want none, and need not have the stack for it. */
static atr_noinline void put_listed(struct atr_pb *pb, const struct atr_http_head *head,
				    bool response, const struct atr_http_list *list)
{
	struct atr_slice values[N_CAPTURED_MAX], same[N_CAPTURED_MAX];
	struct atr_slice rest = head->fields, name, value;
	uint8_t header[N_CAPTURED_MAX];
	char text[4096];
	struct unfolded unfolded = { text, sizeof(text) };
	size_t n = 0;

	while (n < N_CAPTURED_MAX && atr_http_next_field(&rest, &name, &value)) {
		size_t h = header_of(list, name);

		if (h == list->n)
			continue;
		header[n] = (uint8_t)h;
		values[n++] = one_line(&unfolded, value, CAPTURED_MAX);
	}
	for (size_t h = 0, left = n; h < list->n && left; h++) {
		size_t n_same = 0;

		for (size_t i = 0; i < n; i++)
			if (header[i] == h)
				same[n_same++] = values[i];
		if (n_same)
			put_header(pb, response, list->items[h], same, n_same);
		left -= n_same;
	}
}

static void put_captured(struct atr_pb *pb, const struct atr_http_head *head, enum atr_kind kind,
			 bool response)
{
	const struct atr_http_list *list = atr_http_captured(kind, response);

	if (atr_unlikely(list->n))
		put_listed(pb, head, response, list);
}

/* ---- where the request goes ---- */

/* The authority that was asked for, as it stands there; empty when there is none. */
static struct atr_slice asked_for(const struct atr_http_head *request,
				  const struct atr_http_target *target,
				  struct atr_http_authority *ret)
{
	if (atr_http_authority(target->authority, ret))
		return target->authority;
	if (atr_http_authority(request->value[ATR_HTTP_HOST], ret))
		return request->value[ATR_HTTP_HOST];
	return (struct atr_slice){ NULL, 0 };
}

struct atr_slice atr_http_host(const struct atr_http_head *request)
{
	struct atr_http_target target = atr_http_target(request);
	struct atr_http_authority ret;

	(void)asked_for(request, &target, &ret);
	return ret.host;
}

static void put_server(struct atr_pb *pb, const struct atr_http_authority *server, int default_port)
{
	int port = server->port ? server->port : default_port;

	if (!server->host.len)
		return;
	put_str(pb, ATR_SERVER_ADDRESS, server->host, TEXT_MAX);
	if (port)
		put_int(pb, ATR_SERVER_PORT, port);
}

/* The scheme in lower case, or that of the connection. */
static struct atr_slice scheme_of(struct atr_slice given, const struct atr_http_peer *peer,
				  char buf[static ATR_SCHEME_MAX])
{
	if (!given.len || given.len > ATR_SCHEME_MAX)
		return peer->tls ? ATR_SLICE("https") : ATR_SLICE("http");
	for (size_t i = 0; i < given.len; i++)
		buf[i] = atr_http_lower(given.p[i]);
	return (struct atr_slice){ buf, given.len };
}

/* ---- client ---- */

/* The peer as a URL names it; a socket in the file system can only be on this host. */
static void put_peer(struct atr_http_text *url, const struct atr_http_peer *peer, int default_port)
{
	bool v6 = memchr(peer->address.p, ':', peer->address.len);
	char port[21] = ":";

	if (peer->address.p[0] == '/' || peer->address.p[0] == '@') {
		atr_http_put(url, ATR_SLICE("localhost"));
		return;
	}
	if (v6)
		atr_http_put(url, ATR_SLICE("["));
	atr_http_put(url, peer->address);
	if (v6)
		atr_http_put(url, ATR_SLICE("]"));
	if (peer->port > 0 && peer->port != default_port)
		atr_http_put(url, (struct atr_slice){
					  port, 1 + atr_decimal(port + 1, (uint64_t)peer->port) });
}

/* False when nothing says which host it is, or the target is no URL: that may hide a password. */
static bool url_full(struct atr_http_text *url, const struct atr_http_target *target,
		     struct atr_slice authority, const struct atr_http_peer *peer)
{
	bool own = target->scheme.len || target->authority.len;

	if (own ? authority.p != target->authority.p : !authority.p && !peer->address.len)
		return false;
	url->len = 0;
	if (target->scheme.len)
		atr_http_put(url, target->scheme);
	else
		atr_http_put(url, peer->tls ? ATR_SLICE("https") : ATR_SLICE("http"));
	atr_http_put(url, ATR_SLICE("://"));
	if (authority.p)
		atr_http_put_authority(url, authority);
	else
		put_peer(url, peer, peer->tls ? 443 : 80);
	if (atr_slice_is(target->path, "*") && !target->query.p)
		return true; /* the server as a whole */
	if (!target->scheme.len && target->path.len && target->path.p[0] != '/')
		atr_http_put(url, ATR_SLICE("/"));
	atr_http_put(url, target->path);
	if (target->query.p) {
		atr_http_put(url, ATR_SLICE("?"));
		atr_http_put_query(url, target->query);
	}
	if (target->fragment.p) {
		atr_http_put(url, ATR_SLICE("#"));
		atr_http_put(url, target->fragment);
	}
	return true;
}

static void put_client(struct atr_pb *pb, const struct atr_http_head *request,
		       const struct atr_http_target *target, const struct atr_http_peer *peer)
{
	struct atr_http_authority server;
	struct atr_slice authority;
	char buf[ATR_SCHEME_MAX];
	struct atr_http_text url;
	int port = atr_http_default_port(scheme_of(target->scheme, peer, buf));

	authority = asked_for(request, target, &server);
	if (!authority.p) {
		server = (struct atr_http_authority){ peer->address, peer->port };
		port = 0;
	}
	put_server(pb, &server, port);
	if (url_full(&url, target, authority, peer))
		put_text(pb, ATR_URL_FULL, &url);
}

/* ---- server ---- */

static void put_server_url(struct atr_pb *pb, const struct atr_http_target *target)
{
	struct atr_http_text query;

	if (target->path.len)
		put_str(pb, ATR_URL_PATH, target->path, ATR_HTTP_URL_MAX);
	else if (target->scheme.len)
		put_str(pb, ATR_URL_PATH, ATR_SLICE("/"), 1);
	if (!target->query.len)
		return;
	query.len = 0;
	atr_http_put_query(&query, target->query);
	put_text(pb, ATR_URL_QUERY, &query);
}

static void put_service(struct atr_pb *pb, const struct atr_http_head *request,
			const struct atr_http_target *target, const struct atr_http_peer *peer)
{
	struct atr_slice scheme = atr_forwarded_proto(request), client;
	struct atr_slice agent = request->value[ATR_HTTP_USER_AGENT];
	char buf[ATR_SCHEME_MAX], text[TEXT_MAX + SLACK];
	struct unfolded unfolded = { text, sizeof(text) };
	struct atr_http_authority server;

	scheme = scheme_of(scheme.len ? scheme : target->scheme, peer, buf);
	put_str(pb, ATR_URL_SCHEME, scheme, ATR_SCHEME_MAX);
	if (!atr_forwarded_host(request, &server))
		(void)asked_for(request, target, &server);
	put_server(pb, &server, atr_http_default_port(scheme));
	client = atr_forwarded_for(request);
	if (!client.len)
		client = peer->address;
	if (client.len)
		put_str(pb, ATR_CLIENT_ADDRESS, client, TEXT_MAX);
	put_server_url(pb, target);
	if (agent.len)
		put_str(pb, ATR_USER_AGENT_ORIGINAL, one_line(&unfolded, agent, TEXT_MAX),
			TEXT_MAX);
}

/* ---- both ---- */

static size_t name_of(const struct atr_http_head *request, struct atr_slice route,
		      char name[static ATR_HTTP_NAME_MAX])
{
	bool known = atr_http_known_method(request->method);
	struct atr_slice method = known ? request->method : ATR_SLICE("HTTP");
	size_t len = method.len;

	memcpy(name, method.p, len);
	if (route.len) {
		name[len++] = ' ';
		memcpy(name + len, route.p, route.len);
	}
	return len + route.len;
}

static struct atr_slice route_for(const struct atr_http_target *target, enum atr_kind kind)
{
	return kind == ATR_KIND_SERVER ? atr_http_route(target->path)
				       : (struct atr_slice){ NULL, 0 };
}

size_t atr_http_span_name(const struct atr_http_head *request, enum atr_kind kind,
			  char name[static ATR_HTTP_NAME_MAX])
{
	struct atr_http_target target = atr_http_target(request);

	return name_of(request, route_for(&target, kind), name);
}

size_t atr_http_request_attrs(struct atr_pb *pb, const struct atr_http_head *request,
			      enum atr_kind kind, const struct atr_http_peer *peer,
			      char name[static ATR_HTTP_NAME_MAX])
{
	struct atr_http_target target = atr_http_target(request);
	bool known = atr_http_known_method(request->method);
	struct atr_slice method = request->method, route = route_for(&target, kind);

	put_str(pb, ATR_HTTP_REQUEST_METHOD, known ? method : ATR_SLICE("_OTHER"), TEXT_MAX);
	if (!known)
		put_str(pb, ATR_HTTP_REQUEST_METHOD_ORIGINAL, request->method, TEXT_MAX);
	put_str(pb, ATR_NETWORK_PROTOCOL_VERSION,
		request->minor ? ATR_SLICE("1.1") : ATR_SLICE("1.0"), 3);
	if (kind != ATR_KIND_SERVER) {
		put_client(pb, request, &target, peer);
	} else {
		if (route.len)
			put_str(pb, ATR_HTTP_ROUTE, route, TEXT_MAX);
		put_service(pb, request, &target, peer);
	}
	put_captured(pb, request, kind, false);
	return name_of(request, route, name);
}

void atr_http_response_attrs(struct atr_pb *pb, const struct atr_http_head *response,
			     enum atr_kind kind)
{
	if (response->status)
		put_int(pb, ATR_HTTP_RESPONSE_STATUS_CODE, response->status);
	put_captured(pb, response, kind, true);
}

const char *atr_http_status_error(unsigned status, enum atr_kind kind, char buf[static 8])
{
	if (status >= 100 && status < (kind == ATR_KIND_SERVER ? 500 : 400))
		return NULL;
	if (status < 100 || status > 999)
		return "_OTHER"; /* no status at all: there must be few values */
	buf[atr_decimal(buf, status)] = '\0';
	return buf;
}
