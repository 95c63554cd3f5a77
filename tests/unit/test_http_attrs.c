/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/authority.o */
/* LINK: hooks/http1.o preload/config.o preload/sys.o preload/text.o preload/utf8.o */
/* LINK: preload/attr.o exporter/otlp.pb-c.o -lprotobuf-c */
/* The oracle is protobuf-c: what we write in place it must read back. */
#include "exporter/otlp.pb-c.h"
#include "hooks/forwarded.c"
#include "hooks/http-attrs.c"
#include "hooks/http-settings.c"
#include "hooks/http-url.c"
#include "tests/unit/test.h"

#define CLIENT ATR_KIND_CLIENT
#define SERVER ATR_KIND_SERVER

/* ---- settings ---- */

static const char *set_name, *set_value;
static const char *set_name2, *set_value2;
static char warnings[128][512];
static unsigned n_warnings;

static const char *get(const char *name)
{
	if (set_name && strcmp(name, set_name) == 0)
		return set_value;
	return set_name2 && strcmp(name, set_name2) == 0 ? set_value2 : NULL;
}

static void warn(const char *line)
{
	if (n_warnings < 128)
		snprintf(warnings[n_warnings], sizeof(warnings[0]), "%s", line);
	n_warnings++;
}

static void configure_two(const char *name, const char *value, const char *name2,
			  const char *value2)
{
	set_name = name;
	set_value = value;
	set_name2 = name2;
	set_value2 = value2;
	n_warnings = 0;
	atr_config_read(&atr_config, get, warn);
	atr_http_attrs_init(warn);
}

static void configure(const char *name, const char *value)
{
	configure_two(name, value, NULL, NULL);
}

/* ---- heads in, attributes out ---- */

static struct atr_http_peer peer;

static void peer_is(const char *address, int port, bool tls)
{
	peer = (struct atr_http_peer){ { address, address ? strlen(address) : 0 }, port, tls };
}

/* What the last request or response gave. */
static Atr__Otlp__Span *span;
static char name[ATR_HTTP_NAME_MAX + 1];

static void forget(void)
{
	if (span)
		atr__otlp__span__free_unpacked(span, NULL);
	span = NULL;
}

/* Attributes of a head of n bytes in a buffer of `size`, both before unreadable pages. */
static bool attrs_of(const char *text, size_t n, enum atr_kind kind, bool response, size_t size)
{
	char *in = test_edge(text, n), *ret_name = test_edge(NULL, ATR_HTTP_NAME_MAX);
	uint8_t *out = test_edge(NULL, size);
	struct atr_pb pb = { .p = out, .end = out + size };
	struct atr_http_head head;
	bool parsed;

	forget();
	name[0] = '\0';
	parsed = (response ? atr_http_parse_response : atr_http_parse_request)(&head, in, n) == 0;
	if (parsed && response) {
		atr_http_response_attrs(&pb, &head, kind);
	} else if (parsed) {
		size_t len = atr_http_request_attrs(&pb, &head, kind, &peer, ret_name);

		CHECK(len <= ATR_HTTP_NAME_MAX);
		memcpy(name, ret_name, len);
		name[len] = '\0';
	}
	CHECK(!pb.overflow);
	CHECK(pb.p <= pb.end);
	span = atr__otlp__span__unpack(NULL, (size_t)(pb.p - out), out);
	CHECK(span != NULL);
	test_edge_free(in, n);
	test_edge_free(ret_name, ATR_HTTP_NAME_MAX);
	test_edge_free(out, size);
	return parsed;
}

#define ROOM 65536

static void request(enum atr_kind kind, const char *text)
{
	CHECK(attrs_of(text, strlen(text), kind, false, ROOM));
}

static void response(enum atr_kind kind, const char *text)
{
	CHECK(attrs_of(text, strlen(text), kind, true, ROOM));
}

static size_t print_value(char *to, size_t size, const Atr__Otlp__AnyValue *v)
{
	size_t n = 0;

	switch (v->value_case) {
	case ATR__OTLP__ANY_VALUE__VALUE_STRING_VALUE:
		return (size_t)snprintf(to, size, "%s", v->string_value);
	case ATR__OTLP__ANY_VALUE__VALUE_INT_VALUE:
		return (size_t)snprintf(to, size, "#%lld", (long long)v->int_value);
	case ATR__OTLP__ANY_VALUE__VALUE_ARRAY_VALUE:
		n += (size_t)snprintf(to, size, "[");
		for (size_t i = 0; i < v->array_value->n_values; i++) {
			if (i)
				n += (size_t)snprintf(to + n, size - n, "|");
			n += print_value(to + n, size - n, v->array_value->values[i]);
		}
		return n + (size_t)snprintf(to + n, size - n, "]");
	default:
		return (size_t)snprintf(to, size, "?");
	}
}

/* The value of an attribute, "#80" if it is a number, "[a|b]" an array; NULL when absent. */
static const char *attr(const char *key)
{
	static char text[70000];
	const char *ret = NULL;

	for (size_t i = 0; span && i < span->n_attributes; i++) {
		if (strcmp(span->attributes[i]->key, key) != 0)
			continue;
		CHECK(ret == NULL); /* a key is there once */
		(void)print_value(text, sizeof(text), span->attributes[i]->value);
		ret = text;
	}
	return ret;
}

/* All of them, "key=value\n" each. */
static const char *all(void)
{
	static char text[70000];
	size_t n = 0;

	text[0] = '\0';
	for (size_t i = 0; span && i < span->n_attributes; i++) {
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s=", span->attributes[i]->key);
		n += print_value(text + n, sizeof(text) - n, span->attributes[i]->value);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "\n");
	}
	return text;
}

static void fresh(void)
{
	configure(NULL, NULL);
	CHECK_INT(n_warnings, 0);
	peer_is("192.0.2.1", 8080, false);
}

/* ---- whole requests ---- */

TEST(a_clients_request_has_these_attributes_and_no_others)
{
	fresh();
	request(CLIENT, "GET /orders?id=7 HTTP/1.1\r\n"
			"Host: shop.example:8080\r\n"
			"User-Agent: curl/7.88.1\r\n"
			"Accept: */*\r\n");
	CHECK_STR(all(), "http.request.method=GET\n"
			 "network.protocol.version=1.1\n"
			 "server.address=shop.example\n"
			 "server.port=#8080\n"
			 "url.full=http://shop.example:8080/orders?id=7\n");
	CHECK_STR(name, "GET");
}

TEST(a_servers_request_has_these_attributes_and_no_others)
{
	fresh();
	peer_is("203.0.113.9", 51000, false);
	request(SERVER, "POST /orders?id=7 HTTP/1.0\r\n"
			"Host: shop.example:8080\r\n"
			"User-Agent: curl/7.88.1\r\n"
			"Content-Length: 0\r\n");
	CHECK_STR(all(), "http.request.method=POST\n"
			 "network.protocol.version=1.0\n"
			 "url.scheme=http\n"
			 "server.address=shop.example\n"
			 "server.port=#8080\n"
			 "client.address=203.0.113.9\n"
			 "url.path=/orders\n"
			 "url.query=id=7\n"
			 "user_agent.original=curl/7.88.1\n");
	CHECK_STR(name, "POST");
}

TEST(a_response_has_its_status_and_nothing_else)
{
	fresh();
	response(CLIENT, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nServer: x\r\n");
	CHECK_STR(all(), "http.response.status_code=#404\n");
	response(SERVER, "HTTP/1.1 200 OK\r\n");
	CHECK_STR(all(), "http.response.status_code=#200\n");
}

/* ---- methods ---- */

TEST(known_methods_name_the_span_and_others_are_other)
{
	static const char *const known[] = { "CONNECT", "DELETE", "GET", "HEAD",  "OPTIONS",
					     "PATCH",	"POST",	  "PUT", "QUERY", "TRACE" };
	static const char *const unknown[] = { "get", "Get", "GETT", "GE", "PROPFIND", "_OTHER" };
	char text[128];

	fresh();
	for (int kind = SERVER; kind <= CLIENT; kind++) {
		for (size_t i = 0; i < ATR_ARRAY_LEN(known); i++) {
			snprintf(text, sizeof(text), "%s / HTTP/1.1\r\nHost: h\r\n", known[i]);
			request((enum atr_kind)kind, text);
			CHECK_STR(name, known[i]);
			CHECK_STR(attr("http.request.method"), known[i]);
			CHECK_STR(attr("http.request.method_original"), NULL);
		}
		for (size_t i = 0; i < ATR_ARRAY_LEN(unknown); i++) {
			snprintf(text, sizeof(text), "%s / HTTP/1.1\r\nHost: h\r\n", unknown[i]);
			request((enum atr_kind)kind, text);
			CHECK_STR(name, "HTTP");
			CHECK_STR(attr("http.request.method"), "_OTHER");
			CHECK_STR(attr("http.request.method_original"), unknown[i]);
		}
	}
}

TEST(the_users_methods_replace_the_known_ones)
{
	fresh();
	configure("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", " PROPFIND ,,GET,");
	CHECK_INT(n_warnings, 0);
	request(CLIENT, "PROPFIND / HTTP/1.1\r\nHost: h\r\n");
	CHECK_STR(name, "PROPFIND");
	request(CLIENT, "GET / HTTP/1.1\r\nHost: h\r\n");
	CHECK_STR(name, "GET");
	request(CLIENT, "POST / HTTP/1.1\r\nHost: h\r\n");
	CHECK_STR(name, "HTTP");
	CHECK_STR(attr("http.request.method_original"), "POST");
	configure("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "ABCDEFGHIJKLMNOPQRSTUVWX");
	request(SERVER, "ABCDEFGHIJKLMNOPQRSTUVWX / HTTP/1.1\r\nHost: h\r\n");
	CHECK_STR(name, "ABCDEFGHIJKLMNOPQRSTUVWX");
}

/* ---- a client's URL ---- */

static void check_client(const char *target, const char *host, const char *url, const char *address,
			 const char *port)
{
	char text[1024];
	bool tunnel = strncmp(target, "CONNECT ", 8) == 0, ok;

	snprintf(text, sizeof(text), "%s%s HTTP/1.1\r\n%s%s%s", tunnel ? "" : "GET ", target,
		 host ? "Host: " : "", host ? host : "", host ? "\r\n" : "");
	request(CLIENT, text);
	ok = CHECK_STR(attr("url.full"), url);
	ok = CHECK_STR(attr("server.address"), address) && ok;
	if (!CHECK_STR(attr("server.port"), port) || !ok)
		printf("  %s to %s\n", target, host ? host : "nobody");
	CHECK_STR(attr("url.path"), NULL);
	CHECK_STR(attr("client.address"), NULL);
}

TEST(each_form_of_target_makes_a_url)
{
	fresh();
	check_client("/", "h", "http://h/", "h", "#80");
	check_client("/a/b?c=d", "h:81", "http://h:81/a/b?c=d", "h", "#81");
	check_client("/a?", "h", "http://h/a?", "h", "#80");
	check_client("/a#f?g", "h", "http://h/a#f?g", "h", "#80");
	check_client("/a?b#f", "h", "http://h/a?b#f", "h", "#80");
	check_client("//a", "h", "http://h//a", "h", "#80");
	check_client("/http://other/", "h", "http://h/http://other/", "h", "#80");
	check_client("http://a.b/c?d", "h", "http://a.b/c?d", "a.b", "#80");
	check_client("http://a.b:99", "h", "http://a.b:99", "a.b", "#99");
	check_client("HTTPS://a.b?x", "h", "HTTPS://a.b?x", "a.b", "#443");
	check_client("ftp://a.b/c", "h", "ftp://a.b/c", "a.b", NULL);
	check_client("http://a.b#f", "h", "http://a.b#f", "a.b", "#80");
	check_client("CONNECT a.b:443", "h", "http://a.b:443", "a.b", "#443");
	check_client("CONNECT [::1]:443", "h", "http://[::1]:443", "::1", "#443");
	check_client("*", "h", "http://h", "h", "#80");
	check_client("*", "h:8080", "http://h:8080", "h", "#8080");
	check_client("a/b", "h", "http://h/a/b", "h", "#80");
	check_client("a:b", "h", "http://h/a:b", "h", "#80");
	check_client("?a", "h", "http://h?a", "h", "#80");
	/* CONNECT with a path is none of its forms, but what it is must not crash. */
	check_client("CONNECT /x", "h", "http://h/x", "h", "#80");
}

TEST(an_encrypted_connection_is_https)
{
	fresh();
	peer_is("192.0.2.1", 443, true);
	check_client("/", "h", "https://h/", "h", "#443");
	check_client("/", "h:80", "https://h:80/", "h", "#80");
	check_client("/", NULL, "https://192.0.2.1/", "192.0.2.1", "#443");
	check_client("http://a/b", "h", "http://a/b", "a", "#80");
}

TEST(hosts_are_addresses_without_brackets_and_ports)
{
	fresh();
	check_client("/", "[2001:db8::1]:81", "http://[2001:db8::1]:81/", "2001:db8::1", "#81");
	check_client("/", "[::1]", "http://[::1]/", "::1", "#80");
	check_client("/", "::1", "http://::1/", "::1", "#80");
	check_client("/", "1:2:3:4:5:6:7:8", "http://1:2:3:4:5:6:7:8/", "1:2:3:4:5:6:7:8", "#80");
	check_client("/", "h:", "http://h:/", "h", "#80");
	check_client("/", "H.Example", "http://H.Example/", "H.Example", "#80");
	check_client("/",
		     "b\xc3\xbc"
		     "cher.example",
		     "http://b\xc3\xbc"
		     "cher.example/",
		     "b\xc3\xbc"
		     "cher.example",
		     "#80");
	check_client("/",
		     "b\xff"
		     "r",
		     "http://b?r/", "b?r", "#80");
	check_client("/", "h:65535", "http://h:65535/", "h", "#65535");
}

TEST(without_a_host_that_is_one_the_peer_stands_in)
{
	static const char *const hosts[] = {
		NULL,  "",    ":80",  "h:x", "h:65536", "h:123456", "h:-1",  "h:+1",	"a b",
		"a/b", "a,b", "[::1", "[]",  "[::1]x",	"[::1]:",   "a\"b",  "a\\b",	"a?b",
		"a#b", "<h>", "u@",   "@",   "[[::1]]", "h\r\n i",  "a:b:c", "h:80:80",
	};

	fresh();
	for (size_t i = 0; i < ATR_ARRAY_LEN(hosts); i++)
		if (!hosts[i] || strcmp(hosts[i], "[::1]:") != 0)
			check_client("/x", hosts[i], "http://192.0.2.1:8080/x", "192.0.2.1",
				     "#8080");
	check_client("*", NULL, "http://192.0.2.1:8080", "192.0.2.1", "#8080");
	peer_is("192.0.2.1", 80, false);
	check_client("/x", NULL, "http://192.0.2.1/x", "192.0.2.1", "#80");
	peer_is("2001:db8::1", 8080, false);
	check_client("/x", NULL, "http://[2001:db8::1]:8080/x", "2001:db8::1", "#8080");
	peer_is("/run/app.sock", 0, false);
	check_client("/x", NULL, "http://localhost/x", "/run/app.sock", NULL);
	check_client("/x", "app", "http://app/x", "app", "#80");
	peer_is(NULL, 0, false);
	check_client("/x", NULL, NULL, NULL, NULL);
	check_client("/x", "h", "http://h/x", "h", "#80");
}

TEST(passwords_are_redacted)
{
	fresh();
	check_client("http://u:p@h/x", "h", "http://REDACTED:REDACTED@h/x", "h", "#80");
	check_client("http://u@h:81/x", "h", "http://REDACTED:REDACTED@h:81/x", "h", "#81");
	check_client("http://@h/x", "h", "http://REDACTED:REDACTED@h/x", "h", "#80");
	check_client("http://u:p@q@h/x@y", "h", "http://REDACTED:REDACTED@h/x@y", "h", "#80");
	check_client("http://u:p@[::1]:9", "h", "http://REDACTED:REDACTED@[::1]:9", "::1", "#9");
	check_client("CONNECT u:p@h:443", "h", "http://REDACTED:REDACTED@h:443", "h", "#443");
	check_client("CONNECT u:pa/ss@h:443", "h", "http://REDACTED:REDACTED@h:443", "h", "#443");
	check_client("/x", "u:p@h", "http://REDACTED:REDACTED@h/x", "h", "#80");
	check_client("averyveryverylongscheme://u:p@h/x", "h",
		     "averyveryverylongscheme://REDACTED:REDACTED@h/x", "h", "#80");
	/* No URL: the password goes beyond what looks like the host. */
	check_client("http://u:pa/ss@h/x", "h", NULL, "h", "#80");
	check_client("http://u:pa?ss@h/x", "h", NULL, "h", "#80");
	check_client("CONNECT u/p:443", "h", NULL, "h", "#80");
	check_client("http:///x", "h", NULL, "h", "#80");
}

TEST(sensitive_query_values_are_redacted_and_their_keys_are_kept)
{
	static const struct {
		const char *query, *want;
	} cases[] = {
		{ "sig=s", "sig=REDACTED" },
		{ "sig=", "sig=REDACTED" },
		{ "sig", "sig" },
		{ "sig=s&b=c", "sig=REDACTED&b=c" },
		{ "a=b&sig=s", "a=b&sig=REDACTED" },
		{ "a=b&sig=s&c=d&sig=t", "a=b&sig=REDACTED&c=d&sig=REDACTED" },
		{ "sig=s=t=u&", "sig=REDACTED&" },
		{ "&&sig=s&&", "&&sig=REDACTED&&" },
		{ "Sig=s&SIG=s", "Sig=s&SIG=s" },
		{ "xsig=s&sigx=s", "xsig=s&sigx=s" },
		{ "=sig&a=sig=b", "=sig&a=sig=b" },
		{ "X-Amz-Signature=1&X-Amz-Credential=2&X-Amz-Security-Token=3&X-Goog-Signature=4",
		  "X-Amz-Signature=REDACTED&X-Amz-Credential=REDACTED&"
		  "X-Amz-Security-Token=REDACTED&X-Goog-Signature=REDACTED" },
		{ "x-amz-signature=1&Signature=2", "x-amz-signature=1&Signature=2" },
		{ "sig=a/b?c", "sig=REDACTED" },
	};
	char text[512], want[512];

	fresh();
	for (size_t i = 0; i < ATR_ARRAY_LEN(cases); i++) {
		snprintf(text, sizeof(text), "GET /p?%s HTTP/1.1\r\nHost: h\r\n", cases[i].query);
		snprintf(want, sizeof(want), "http://h/p?%s", cases[i].want);
		request(CLIENT, text);
		CHECK_STR(attr("url.full"), want);
		request(SERVER, text);
		CHECK_STR(attr("url.query"), cases[i].want);
		CHECK_STR(attr("url.path"), "/p");
		snprintf(text, sizeof(text), "GET http://a/p?%s#sig=kept HTTP/1.1\r\nHost: h\r\n",
			 cases[i].query);
		snprintf(want, sizeof(want), "http://a/p?%s#sig=kept", cases[i].want);
		request(CLIENT, text);
		CHECK_STR(attr("url.full"), want);
	}
	configure("OTEL_INSTRUMENTATION_SANITIZATION_URL_EXPERIMENTAL_SENSITIVE_QUERY_PARAMETERS",
		  "token, password");
	request(CLIENT, "GET /?sig=1&token=2&password=3 HTTP/1.1\r\nHost: h\r\n");
	CHECK_STR(attr("url.full"), "http://h/?sig=1&token=REDACTED&password=REDACTED");
}

/* A secret must not come through where the text is cut, wherever that is. */
TEST(no_secret_survives_a_cut)
{
	static char text[8192];

	fresh();
	for (size_t pad = ATR_HTTP_URL_MAX - 64; pad < ATR_HTTP_URL_MAX + 16; pad++) {
		size_t n = (size_t)snprintf(text, sizeof(text), "GET /?");

		memset(text + n, 'p', pad);
		n += pad;
		snprintf(text + n, sizeof(text) - n,
			 "&sig=SSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSS&sig=SSSSSSSSSSSS "
			 "HTTP/1.1\r\n"
			 "Host: h\r\n");
		request(CLIENT, text);
		CHECK(attr("url.full") && strlen(attr("url.full")) <= ATR_HTTP_URL_MAX);
		CHECK(attr("url.full") && !strstr(attr("url.full"), "SS"));
		request(SERVER, text);
		CHECK(attr("url.query") && strlen(attr("url.query")) <= ATR_HTTP_URL_MAX);
		CHECK(attr("url.query") && !strstr(attr("url.query"), "SS"));
	}
}

/* ---- a server's request ---- */

static void check_server(const char *text, const char *scheme, const char *address,
			 const char *port, const char *client)
{
	bool ok;

	request(SERVER, text);
	ok = CHECK_STR(attr("url.scheme"), scheme);
	ok = CHECK_STR(attr("server.address"), address) && ok;
	ok = CHECK_STR(attr("server.port"), port) && ok;
	if (!CHECK_STR(attr("client.address"), client) || !ok)
		printf("  %s", text);
	CHECK_STR(attr("url.full"), NULL);
}

#define GET "GET / HTTP/1.1\r\nHost: h\r\n"
#define PEER "192.0.2.1"

TEST(the_scheme_is_what_the_first_proxy_says_else_the_connections)
{
	fresh();
	check_server(GET, "http", "h", "#80", PEER);
	check_server(GET "X-Forwarded-Proto: https\r\n", "https", "h", "#443", PEER);
	check_server(GET "X-Forwarded-Proto: HTTPS , http\r\n", "https", "h", "#443", PEER);
	check_server(GET "X-Forwarded-Proto: ht tps\r\n", "http", "h", "#80", PEER);
	check_server(GET "X-Forwarded-Proto: <https>\r\n", "http", "h", "#80", PEER);
	check_server(GET "X-Forwarded-Proto: 1http\r\n", "http", "h", "#80", PEER);
	check_server(GET "X-Forwarded-Proto: averyveryverylongscheme\r\n", "http", "h", "#80",
		     PEER);
	check_server(GET "X-Forwarded-Proto: \r\n", "http", "h", "#80", PEER);
	check_server(GET "X-Forwarded-Proto: wss\r\n", "wss", "h", "#443", PEER);
	check_server(GET "X-Forwarded-Proto: coap+tcp\r\n", "coap+tcp", "h", NULL, PEER);
	check_server(GET "Forwarded: proto=https\r\nX-Forwarded-Proto: http\r\n", "https", "h",
		     "#443", PEER);
	check_server(GET "Forwarded: Proto=\"https\";by=x\r\n", "https", "h", "#443", PEER);
	check_server(GET "Forwarded: proto=h/x\r\nX-Forwarded-Proto: https\r\n", "https", "h",
		     "#443", PEER);
	check_server(GET "Forwarded: proto=averyveryverylongscheme\r\nX-Forwarded-Proto: https\r\n",
		     "https", "h", "#443", PEER);
	check_server("GET https://a/ HTTP/1.1\r\nHost: h\r\n", "https", "a", "#443", PEER);
	peer_is(PEER, 5000, true);
	check_server(GET, "https", "h", "#443", PEER);
	check_server(GET "X-Forwarded-Proto: http\r\n", "http", "h", "#80", PEER);
}

TEST(the_servers_address_is_the_host_that_was_asked_for)
{
	fresh();
	check_server(GET "X-Forwarded-Host: a\r\n", "http", "a", "#80", PEER);
	check_server(GET "X-Forwarded-Host: a:81, b:82\r\n", "http", "a", "#81", PEER);
	check_server(GET "X-Forwarded-Host: , a\r\n", "http", "a", "#80", PEER);
	check_server(GET "X-Forwarded-Host: a/b\r\n", "http", "h", "#80", PEER);
	check_server(GET "X-Forwarded-Host: a\r\nForwarded: host=\"b:81\"\r\n", "http", "b", "#81",
		     PEER);
	check_server(GET "X-Forwarded-Host: a\r\nForwarded: host=\"b c\"\r\n", "http", "a", "#80",
		     PEER);
	check_server(GET "Forwarded: host=\"[::1]:81\";proto=https\r\n", "https", "::1", "#81",
		     PEER);
	check_server(GET "Forwarded: host=b;proto=https\r\n", "https", "b", "#443", PEER);
	check_server("GET http://a:81/ HTTP/1.1\r\nHost: h\r\n", "http", "a", "#81", PEER);
	check_server("GET http://a:81/ HTTP/1.1\r\nHost: h\r\nX-Forwarded-Host: b\r\n", "http", "b",
		     "#80", PEER);
	check_server("GET / HTTP/1.0\r\n", "http", NULL, NULL, PEER);
	check_server("CONNECT a:443 HTTP/1.1\r\nHost: h\r\n", "http", "a", "#443", PEER);
	CHECK_STR(attr("url.path"), NULL);
}

TEST(the_clients_address_is_the_first_that_is_told)
{
	static const struct {
		const char *forwarded, *want;
	} cases[] = {
		{ "for=203.0.113.7", "203.0.113.7" },
		{ "For=203.0.113.7;proto=http;by=203.0.113.43", "203.0.113.7" },
		{ "proto=http;FOR=203.0.113.7", "203.0.113.7" },
		{ "for=203.0.113.7, for=198.51.100.17", "203.0.113.7" },
		{ "for=\"203.0.113.7:4711\"", "203.0.113.7" },
		{ "for=203.0.113.7:4711", "203.0.113.7" },
		{ "for=\"203.0.113.7:_port\"", "203.0.113.7" },
		{ "for=\"[2001:db8::1]\"", "2001:db8::1" },
		{ "for=\"[2001:db8::1]:4711\"", "2001:db8::1" },
		{ "for=\"[2001:db8::1]:_obfuscated\"", "2001:db8::1" },
		{ "for=[2001:db8::1]", "2001:db8::1" },
		{ "for=2001:db8::1", "2001:db8::1" },
		{ "for=client.example", "client.example" },
		{ " ; ;for=203.0.113.7; ", "203.0.113.7" },
		{ ", for=203.0.113.7", "203.0.113.7" },
		{ "by=\"a,for=x;for=y\";for=203.0.113.7", "203.0.113.7" },
		{ "by=\"a\\\",for=x\";for=203.0.113.7", "203.0.113.7" },
		{ "xfor=1.1.1.1;for=203.0.113.7", "203.0.113.7" },
		/* What is not said there: the peer. */
		{ "proto=http, for=203.0.113.7", PEER },
		{ "for=unknown", PEER },
		{ "for=Unknown", PEER },
		{ "for=\"unknown:80\"", PEER },
		{ "for=_hidden", PEER },
		{ "for=\"_hidden:80\"", PEER },
		{ "for=", PEER },
		{ "for", PEER },
		{ "for=\"", PEER },
		{ "for=\"203.0.113.7", PEER },
		{ "for=\"203.0.113.7\\", PEER },
		{ "for=\"a\\\"b\"", PEER },
		{ "for=\"[::1\"", PEER },
		{ "for=\"a b\"", PEER },
		{ "for=<script>", PEER },
		{ "for=a@b", PEER },
		{ "for = 203.0.113.7", PEER },
		{ "=;=,==\"\"=", PEER },
		{ ",,,;;;", PEER },
		{ "\"\"", PEER },
		{ "203.0.113.7", PEER },
	};
	static const struct {
		const char *list, *want;
	} lists[] = {
		{ "203.0.113.7", "203.0.113.7" },
		{ "203.0.113.7, 198.51.100.17", "203.0.113.7" },
		{ "203.0.113.7:4711", "203.0.113.7" },
		{ "2001:db8::1", "2001:db8::1" },
		{ "[2001:db8::1]:4711", "2001:db8::1" },
		{ "\"203.0.113.7\"", "203.0.113.7" },
		{ " ,203.0.113.7", "203.0.113.7" },
		{ "unknown, 203.0.113.7", PEER },
		{ "<script>", PEER },
		{ ",", PEER },
		{ "", PEER },
		{ "\r\n 203.0.113.7", "203.0.113.7" },
	};
	char text[512];

	fresh();
	for (size_t i = 0; i < ATR_ARRAY_LEN(cases); i++) {
		snprintf(text, sizeof(text), GET "Forwarded: %s\r\n", cases[i].forwarded);
		check_server(text, "http", "h", "#80", cases[i].want);
		/* What Forwarded does not say, the older field does. */
		snprintf(text, sizeof(text),
			 GET "Forwarded: %s\r\nX-Forwarded-For: 198.51.100.5\r\n",
			 cases[i].forwarded);
		check_server(text, "http", "h", "#80",
			     strcmp(cases[i].want, PEER) ? cases[i].want : "198.51.100.5");
	}
	for (size_t i = 0; i < ATR_ARRAY_LEN(lists); i++) {
		snprintf(text, sizeof(text), GET "X-Forwarded-For: %s\r\n", lists[i].list);
		check_server(text, "http", "h", "#80", lists[i].want);
	}
	peer_is(NULL, 0, false);
	check_server(GET, "http", "h", "#80", NULL);
}

TEST(path_and_query_are_the_targets)
{
	static const struct {
		const char *target, *path, *query;
	} cases[] = {
		{ "/", "/", NULL },
		{ "/a/b", "/a/b", NULL },
		{ "/a?b=c?d", "/a", "b=c?d" },
		{ "/a?", "/a", NULL },
		{ "/a#f", "/a", NULL },
		{ "/a?b#f?g", "/a", "b" },
		{ "http://h/a?b", "/a", "b" },
		{ "http://h", "/", NULL },
		{ "http://h?b", "/", "b" },
		{ "http://u:p@h/a", "/a", NULL },
		{ "*", "*", NULL },
		{ "/caf\xff", "/caf?", NULL },
	};
	char text[256];

	fresh();
	for (size_t i = 0; i < ATR_ARRAY_LEN(cases); i++) {
		snprintf(text, sizeof(text), "OPTIONS %s HTTP/1.1\r\nHost: h\r\n", cases[i].target);
		request(SERVER, text);
		CHECK_STR(attr("url.path"), cases[i].path);
		CHECK_STR(attr("url.query"), cases[i].query);
	}
}

TEST(a_folded_user_agent_is_one_line)
{
	fresh();
	request(SERVER, GET "User-Agent: a \r\n\t b\n c\r\n");
	CHECK_STR(attr("user_agent.original"), "a b c");
}

/* ---- routes ---- */

static const char *route_of(const char *path)
{
	char text[1024];

	snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: h\r\n", path);
	request(SERVER, text);
	if (attr("http.route")) {
		CHECK(strncmp(name, "GET ", 4) == 0);
		CHECK_STR(name + 4, attr("http.route"));
	} else {
		CHECK_STR(name, "GET");
	}
	return attr("http.route");
}

TEST(a_route_that_matches_names_the_span)
{
	fresh();
	configure("AUTOTRACE_HTTP_ROUTES", "/users/{id}, /users/{id}/orders/{order},/static/*,/");
	CHECK_INT(n_warnings, 0);
	CHECK_STR(route_of("/users/7"), "/users/{id}");
	CHECK_STR(name, "GET /users/{id}");
	CHECK_STR(route_of("/users/7?x=/y"), "/users/{id}");
	CHECK_STR(route_of("http://a/users/7"), "/users/{id}");
	CHECK_STR(route_of("/users/"), NULL);
	CHECK_STR(route_of("/users"), NULL);
	CHECK_STR(route_of("/users/7/"), NULL);
	CHECK_STR(route_of("/users/7/orders"), NULL);
	CHECK_STR(route_of("/users/7/orders/8"), "/users/{id}/orders/{order}");
	CHECK_STR(route_of("/Users/7"), NULL);
	CHECK_STR(route_of("/static/"), "/static/*");
	CHECK_STR(route_of("/static/a/b.css"), "/static/*");
	CHECK_STR(route_of("/static"), NULL);
	CHECK_STR(route_of("/"), "/");
	CHECK_STR(route_of("http://a"), NULL);
	CHECK_STR(route_of("*"), NULL);
	request(SERVER, "BREW /users/7 HTTP/1.1\r\nHost: h\r\n");
	CHECK_STR(name, "HTTP /users/{id}");
	request(CLIENT, "GET /users/7 HTTP/1.1\r\nHost: h\r\n");
	CHECK_STR(name, "GET");
	CHECK_STR(attr("http.route"), NULL);
}

TEST(the_most_literal_route_wins_then_the_first)
{
	static const char *const orders[] = {
		"/*,/a*,/a/*,/a/{x},/a/b*,/a/b,/{y}/b,/{z}/b,/{y}/{b}",
		"/{y}/b,/{z}/b,/{y}/{b},/a/b,/a/b*,/a/{x},/a/*,/a*,/*",
		"/a/{x},/{y}/{b},/*,/a/b,/{y}/b,/a*,/{z}/b,/a/*,/a/b*",
	};

	fresh();
	for (size_t i = 0; i < ATR_ARRAY_LEN(orders); i++) {
		configure("AUTOTRACE_HTTP_ROUTES", orders[i]);
		CHECK_INT(n_warnings, 0);
		CHECK_STR(route_of("/a/b"), "/a/b");
		CHECK_STR(route_of("/a/bc"), "/a/b*");
		CHECK_STR(route_of("/a/c"), "/a/{x}");
		CHECK_STR(route_of("/a/"), "/a/*");
		CHECK_STR(route_of("/a/c/d"), "/a/*");
		CHECK_STR(route_of("/abc"), "/a*");
		CHECK_STR(route_of("/x/b"), "/{y}/b");
		CHECK_STR(route_of("/x/c"), "/{y}/{b}");
		CHECK_STR(route_of("/x"), "/*");
	}
}

TEST(the_longest_route_and_method_fit_into_the_name)
{
	char routes[256], want[256], text[512];

	fresh();
	routes[0] = '/';
	memset(routes + 1, 'r', ATR_HTTP_ROUTE_MAX);
	routes[ATR_HTTP_ROUTE_MAX] = '\0';
	configure_two("AUTOTRACE_HTTP_ROUTES", routes, "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS",
		      "ABCDEFGHIJKLMNOPQRSTUVWX");
	CHECK_INT(n_warnings, 0);
	snprintf(text, sizeof(text), "ABCDEFGHIJKLMNOPQRSTUVWX %s HTTP/1.1\r\n", routes);
	snprintf(want, sizeof(want), "ABCDEFGHIJKLMNOPQRSTUVWX %s", routes);
	request(SERVER, text);
	CHECK_STR(name, want);
	CHECK_INT(strlen(name), ATR_HTTP_NAME_MAX);
	strcat(routes, "r");
	configure("AUTOTRACE_HTTP_ROUTES", routes);
	CHECK(n_warnings > 0);
}

/* ---- captured headers ---- */

TEST(headers_are_captured_only_where_they_are_asked_for)
{
	static const char *const variables[] = {
		"OTEL_INSTRUMENTATION_HTTP_CLIENT_CAPTURE_REQUEST_HEADERS",
		"OTEL_INSTRUMENTATION_HTTP_CLIENT_CAPTURE_RESPONSE_HEADERS",
		"OTEL_INSTRUMENTATION_HTTP_SERVER_CAPTURE_REQUEST_HEADERS",
		"OTEL_INSTRUMENTATION_HTTP_SERVER_CAPTURE_RESPONSE_HEADERS",
	};

	for (int i = 0; i < 4; i++) {
		fresh();
		configure(variables[i], "X-A");
		CHECK_INT(n_warnings, 0);
		request(CLIENT, GET "X-A: 1\r\nX-B: 2\r\n");
		CHECK_STR(attr("http.request.header.x-a"), i == 0 ? "[1]" : NULL);
		response(CLIENT, "HTTP/1.1 200 OK\r\nX-A: 1\r\n");
		CHECK_STR(attr("http.response.header.x-a"), i == 1 ? "[1]" : NULL);
		request(SERVER, GET "X-A: 1\r\nX-B: 2\r\n");
		CHECK_STR(attr("http.request.header.x-a"), i == 2 ? "[1]" : NULL);
		CHECK_STR(attr("http.request.header.x-b"), NULL);
		response(SERVER, "HTTP/1.1 200 OK\r\nX-A: 1\r\n");
		CHECK_STR(attr("http.response.header.x-a"), i == 3 ? "[1]" : NULL);
	}
}

TEST(captured_headers_are_arrays_under_lower_case_names)
{
	fresh();
	configure("OTEL_INSTRUMENTATION_HTTP_CLIENT_CAPTURE_RESPONSE_HEADERS",
		  "Set-Cookie, x-b ,X_C,set-cookie,content-type");
	response(CLIENT, "HTTP/1.1 200 OK\r\n"
			 "X-B: one, two\r\n"
			 "SET-COOKIE:\ta=b \r\n"
			 "X-Other: z\r\n"
			 "Set-Cookie:\r\n"
			 "x_c: f\r\n  \tg\t\r\n\th\r\n"
			 "set-cookie: caf\xe9\r\n"
			 "Content-Typ: x\r\n");
	CHECK_STR(all(), "http.response.status_code=#200\n"
			 "http.response.header.set-cookie=[a=b||caf?]\n"
			 "http.response.header.x-b=[one, two]\n"
			 "http.response.header.x_c=[f g h]\n");
}

TEST(captured_values_are_bounded_in_length_and_number)
{
	static char text[60000];
	size_t n = 0;

	fresh();
	configure("OTEL_INSTRUMENTATION_HTTP_SERVER_CAPTURE_REQUEST_HEADERS", "a");
	n += (size_t)snprintf(text + n, sizeof(text) - n, "GET / HTTP/1.1\r\na: ");
	memset(text + n, 'v', CAPTURED_MAX - 1);
	n += CAPTURED_MAX - 1;
	snprintf(text + n, sizeof(text) - n, "\xc3\xa9\r\n");
	request(SERVER, text);
	CHECK_INT(strlen(attr("http.request.header.a")), CAPTURED_MAX - 1 + 2);
	/* Folded ones share what room there is, and are cut as well. */
	n = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n");
	for (int i = 0; i < 6; i++) {
		n += (size_t)snprintf(text + n, sizeof(text) - n, "a: x\r\n y");
		memset(text + n, 'v', CAPTURED_MAX);
		n += CAPTURED_MAX;
		n += (size_t)snprintf(text + n, sizeof(text) - n, "\r\n");
	}
	text[n] = '\0';
	request(SERVER, text);
	CHECK(attr("http.request.header.a") &&
	      strncmp(attr("http.request.header.a"), "[x yvvv", 7) == 0);
	CHECK(attr("http.request.header.a") && strlen(attr("http.request.header.a")) <= 4096 + 8);
	/* ... where the room ends, too, at a character. */
	n = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n");
	for (int i = 0; i < 6; i++) {
		n += (size_t)snprintf(text + n, sizeof(text) - n, "a: x\r\n ");
		for (int k = 0; k < 400; k++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "\xe2\x82\xac");
		n += (size_t)snprintf(text + n, sizeof(text) - n, "\r\n");
	}
	request(SERVER, text);
	CHECK(attr("http.request.header.a") && !strchr(attr("http.request.header.a"), '?'));
	n = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n");
	for (int i = 0; i < 1000; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "A:%d\r\n", i);
	request(SERVER, text);
	for (size_t i = 0; i < span->n_attributes; i++)
		if (strcmp(span->attributes[i]->key, "http.request.header.a") == 0)
			CHECK_INT(span->attributes[i]->value->array_value->n_values,
				  N_CAPTURED_MAX);
	CHECK(attr("http.request.header.a") != NULL);
}

/* ---- lengths and hostile heads ---- */

TEST(long_texts_are_cut_at_characters)
{
	static char text[20000];

	fresh();
	for (size_t shift = 0; shift < 4; shift++) {
		size_t n = (size_t)snprintf(text, sizeof(text), "GET /%.*s", (int)shift, "xxx");

		for (int i = 0; i < 1500; i++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "\xe2\x82\xac");
		n += (size_t)snprintf(text + n, sizeof(text) - n, " HTTP/1.1\r\nUser-Agent: %.*s",
				      (int)shift, "yyy");
		for (int i = 0; i < 500; i++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "\xf0\x9f\x90\x98");
		snprintf(text + n, sizeof(text) - n, "\r\nHost: h\r\n");
		request(SERVER, text);
		CHECK_INT(strlen(attr("url.path")), 2046 + (shift + 1) % 3);
		CHECK(!strchr(attr("url.path"), '?'));
		CHECK_INT(strlen(attr("user_agent.original")), shift ? 508 + shift : 512);
		CHECK(!strchr(attr("user_agent.original"), '?'));
		request(CLIENT, text);
		CHECK(attr("url.full") && !strchr(attr("url.full"), '?'));
		CHECK(strlen(attr("url.full")) > 2048 - 3 && strlen(attr("url.full")) <= 2048);
	}
}

TEST(the_longest_target_is_cut)
{
	static char text[70000];
	static const char *const starts[] = { "/",	    "/?",	 "/?sig=", "/#",  "http://",
					      "http://h/?", "http://a@", "x",	   "/?a&" };

	fresh();
	configure("AUTOTRACE_HTTP_ROUTES", "/{a}/{b},/{a},/*");
	for (size_t i = 0; i < ATR_ARRAY_LEN(starts); i++) {
		static const char fill[] = "a/&@=[:%";

		for (size_t f = 0; f < sizeof(fill) - 1; f++) {
			size_t n = (size_t)snprintf(text, sizeof(text), "GET %s", starts[i]);

			memset(text + n, fill[f], 60000);
			n += 60000;
			snprintf(text + n, sizeof(text) - n, " HTTP/1.1\r\nHost: h\r\n");
			request(CLIENT, text);
			CHECK(!attr("url.full") || strlen(attr("url.full")) <= 2048);
			CHECK(!attr("server.address") || strlen(attr("server.address")) <= 512);
			request(SERVER, text);
			CHECK(!attr("url.path") || strlen(attr("url.path")) <= 2048);
			CHECK(!attr("url.query") || strlen(attr("url.query")) <= 2048);
		}
	}
}

/* An attribute is there whole or not at all, whatever the room, and so is what follows it. */
static void check_every_room(const char *text, enum atr_kind kind, bool is_response)
{
	static char whole[70000];
	size_t n = strlen(text), full, last = 0;

	CHECK(attrs_of(text, n, kind, is_response, ROOM));
	strcpy(whole, all());
	full = atr__otlp__span__get_packed_size(span);
	for (size_t size = 0; size < full + 80; size++) {
		size_t at = 0;

		CHECK(attrs_of(text, n, kind, is_response, size));
		for (size_t i = 0; i < span->n_attributes; i++) {
			char line[6000], *found;
			size_t len = (size_t)snprintf(line, sizeof(line),
						      "%s=", span->attributes[i]->key);

			len += print_value(line + len, sizeof(line) - len,
					   span->attributes[i]->value);
			snprintf(line + len, sizeof(line) - len, "\n");
			found = strstr(whole + at, line);
			if (CHECK(found != NULL))
				at = (size_t)(found - whole) + len + 1;
		}
		last = span->n_attributes;
	}
	CHECK_STR(all(), whole);
	CHECK(last > 0);
}

TEST(every_short_buffer_has_whole_attributes_only)
{
	fresh();
	configure_two("OTEL_INSTRUMENTATION_HTTP_SERVER_CAPTURE_REQUEST_HEADERS", "x-a,cookie",
		      "AUTOTRACE_HTTP_ROUTES", "/a/{b}");
	check_every_room(
		"POST /a/b?c=d&sig=e HTTP/1.1\r\nHost: h.example:81\r\nUser-Agent: agent\r\n"
		"X-A: 1\r\nCookie: c=d\r\nX-A: 2\r\n",
		SERVER, false);
	check_every_room("BREW /a/b?c=d&sig=e HTTP/1.1\r\nHost: h.example:81\r\n", CLIENT, false);
	configure("OTEL_INSTRUMENTATION_HTTP_CLIENT_CAPTURE_RESPONSE_HEADERS", "x-a,cookie");
	check_every_room("HTTP/1.1 404 x\r\nX-A: 1\r\nCookie: c=d\r\nX-A: 2\r\n", CLIENT, true);
}

TEST(a_long_attribute_that_does_not_fit_does_not_keep_out_a_short_one)
{
	static char text[4096];
	size_t n;

	fresh();
	n = (size_t)snprintf(text, sizeof(text), "GET /");
	memset(text + n, 'x', 1000);
	snprintf(text + n + 1000, sizeof(text) - n - 1000,
		 " HTTP/1.1\r\nUser-Agent: agent\r\nHost: h\r\n");
	CHECK(attrs_of(text, strlen(text), SERVER, false, 600));
	CHECK_STR(attr("url.path"), NULL);
	CHECK_STR(attr("user_agent.original"), "agent");
	CHECK_STR(attr("server.address"), "h");
}

TEST(a_full_buffer_stays_as_it_is)
{
	uint8_t byte[16];
	struct atr_pb pb = { .p = byte, .end = byte + sizeof(byte), .overflow = true };
	struct atr_http_head head = { .method = ATR_SLICE("GET"), .target = ATR_SLICE("/") };
	char buf[ATR_HTTP_NAME_MAX];

	fresh();
	CHECK_INT(atr_http_request_attrs(&pb, &head, CLIENT, &peer, buf), 3);
	CHECK(pb.overflow && pb.p == byte);
}

/* Every head cut anywhere, and every byte of it changed: no crash, valid protobuf. */
TEST(mutilated_heads_do_no_harm)
{
	static const char text[] =
		"GET http://u:p@[::1]:80/a?sig=b#c HTTP/1.1\r\nHost: h:80\r\n"
		"Forwarded: for=\"[::1]:4\";host=\"a:1\";proto=https, for=b\r\n"
		"X-Forwarded-For: 1.2.3.4, 5.6.7.8\r\nX-Forwarded-Proto: http\r\n"
		"X-Forwarded-Host: a:80\r\nUser-Agent: a\r\n b\r\n";
	static const char with[] = "\" ;,=[]:@/?#\\*\xff\x80"
				   "a";
	char copy[sizeof(text)];

	fresh();
	configure("OTEL_INSTRUMENTATION_HTTP_SERVER_CAPTURE_REQUEST_HEADERS", "user-agent,host");
	for (size_t n = 0; n < sizeof(text); n++) {
		(void)attrs_of(text, n, SERVER, false, 700);
		(void)attrs_of(text, n, CLIENT, false, 700);
	}
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		for (size_t w = 0; w < sizeof(with) - 1; w++) {
			memcpy(copy, text, sizeof(text));
			copy[i] = with[w];
			(void)attrs_of(copy, sizeof(text) - 1, SERVER, false, 700);
			(void)attrs_of(copy, sizeof(text) - 1, CLIENT, false, 700);
		}
}

/* ---- status ---- */

TEST(a_status_is_an_error_by_the_table)
{
	static const struct {
		unsigned status;
		const char *client, *server;
	} cases[] = {
		{ 100, NULL, NULL },	      { 101, NULL, NULL },
		{ 200, NULL, NULL },	      { 204, NULL, NULL },
		{ 304, NULL, NULL },	      { 399, NULL, NULL },
		{ 400, "400", NULL },	      { 404, "404", NULL },
		{ 499, "499", NULL },	      { 500, "500", "500" },
		{ 503, "503", "503" },	      { 599, "599", "599" },
		{ 600, "600", "600" },	      { 999, "999", "999" },
		{ 1000, "_OTHER", "_OTHER" }, { 99, "_OTHER", "_OTHER" },
		{ 0, "_OTHER", "_OTHER" },    { 4294967295u, "_OTHER", "_OTHER" },
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(cases); i++) {
		char *buf = test_edge(NULL, 8);

		CHECK_STR(atr_http_status_error(cases[i].status, CLIENT, buf), cases[i].client);
		CHECK_STR(atr_http_status_error(cases[i].status, SERVER, buf), cases[i].server);
		test_edge_free(buf, 8);
	}
}

/* ---- hosts ---- */

static const char *host_of(const char *text)
{
	static char host[256];
	struct atr_http_head head;
	struct atr_slice s;

	if (!CHECK_INT(atr_http_parse_request(&head, text, strlen(text)), 0))
		return NULL;
	s = atr_http_host(&head);
	if (!s.p)
		return NULL;
	memcpy(host, s.p, s.len);
	host[s.len] = '\0';
	return host;
}

TEST(the_host_is_that_of_the_target_else_of_the_field)
{
	CHECK_STR(host_of("GET / HTTP/1.1\r\nHost: h:80\r\n"), "h");
	CHECK_STR(host_of("GET / HTTP/1.1\r\nHost: [::1]:80\r\n"), "::1");
	CHECK_STR(host_of("GET http://u:p@a:1/ HTTP/1.1\r\nHost: h:80\r\n"), "a");
	CHECK_STR(host_of("CONNECT b:443 HTTP/1.1\r\nHost: h:80\r\n"), "b");
	CHECK_STR(host_of("GET / HTTP/1.1\r\n"), NULL);
	CHECK_STR(host_of("GET / HTTP/1.1\r\nHost: a b\r\n"), NULL);
}

static bool to(const char *host)
{
	size_t n = strlen(host);
	char *edge = test_edge(host, n);
	bool yes = atr_http_propagate_to((struct atr_slice){ edge, n });

	test_edge_free(edge, n);
	return yes;
}

TEST(headers_go_to_every_host_unless_lists_say_otherwise)
{
	fresh();
	CHECK(to("a") && to("") && to("[::1]") && to("*"));
	CHECK(atr_http_propagate_to((struct atr_slice){ NULL, 0 }));
	configure("AUTOTRACE_PROPAGATE_TO",
		  "a.example, *.corp.example,[2001:db8::1],::1,10.0.0.1,full.");
	CHECK_INT(n_warnings, 0);
	CHECK(to("a.example") && to("A.Example") && to("a.example.") && to("full"));
	CHECK(!to("b.example") && !to("xa.example") && !to("a.example.org") && !to("x.a.example"));
	CHECK(to("x.corp.example") && to("x.y.CORP.example") && to("x.corp.example."));
	CHECK(!to("corp.example") && !to(".corp.example") && !to("xcorp.example"));
	CHECK(to("2001:db8::1") && to("[2001:db8::1]") && to("[::1]") && to("10.0.0.1"));
	CHECK(!to("10.0.0.10") && !to("") && !to(".") && !to("["));
	CHECK(!atr_http_propagate_to((struct atr_slice){ NULL, 0 }));
	configure("AUTOTRACE_PROPAGATE_EXCEPT", "*.corp.example,b");
	CHECK(to("corp.example") && to("a") && !to("x.corp.example") && !to("B"));
	configure_two("AUTOTRACE_PROPAGATE_TO", "*.example,b", "AUTOTRACE_PROPAGATE_EXCEPT",
		      "*.corp.example,b");
	CHECK(to("a.example") && !to("a.corp.example") && !to("b") && !to("c"));
	configure_two("AUTOTRACE_PROPAGATE_TO", "*", "AUTOTRACE_PROPAGATE_EXCEPT", "b");
	CHECK(to("a") && to("") && !to("b"));
	configure("AUTOTRACE_PROPAGATE_EXCEPT", "*");
	CHECK(!to("a") && !to(""));
}

TEST(a_list_that_only_holds_mistakes_is_empty_and_not_every_host)
{
	fresh();
	configure("AUTOTRACE_PROPAGATE_TO", "http://a.example");
	CHECK_INT(n_warnings, 2);
	CHECK(!to("a.example") && !to("b"));
	configure("AUTOTRACE_PROPAGATE_TO", " , ");
	CHECK_INT(n_warnings, 1);
	CHECK(!to("a"));
}

/* ---- what is wrong in lists ---- */

TEST(a_bad_item_is_left_out_with_a_line_that_names_all)
{
	static const struct {
		const char *env, *value, *bad;
	} cases[] = {
		{ "AUTOTRACE_PROPAGATE_TO", "a,b:80", "b:80" },
		{ "AUTOTRACE_PROPAGATE_TO", "a,a*", "a*" },
		{ "AUTOTRACE_PROPAGATE_TO", "a,*a", "*a" },
		{ "AUTOTRACE_PROPAGATE_TO", "a,*.", "*." },
		{ "AUTOTRACE_PROPAGATE_TO", "a,*.*.b", "*.*.b" },
		{ "AUTOTRACE_PROPAGATE_TO", "a,b:", "b:" },
		{ "AUTOTRACE_PROPAGATE_TO", "a,u@b", "u@b" },
		{ "AUTOTRACE_PROPAGATE_TO", "a,[::1]:80", "[::1]:80" },
		{ "AUTOTRACE_PROPAGATE_TO", "a,b/c", "b/c" },
		{ "AUTOTRACE_PROPAGATE_EXCEPT", "a b,c", "a b" },
		{ "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "GET,A B", "A B" },
		{ "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "GET,ABCDEFGHIJKLMNOPQRSTUVWXY",
		  "ABCDEFGHIJKLMNOPQRSTUVWXY" },
		{ "OTEL_INSTRUMENTATION_HTTP_CLIENT_CAPTURE_REQUEST_HEADERS", "X:,a", "X:" },
		{ "OTEL_INSTRUMENTATION_HTTP_SERVER_CAPTURE_REQUEST_HEADERS", "a,caf\xc3\xa9",
		  "caf\xc3\xa9" },
		{ "OTEL_INSTRUMENTATION_HTTP_CLIENT_CAPTURE_RESPONSE_HEADERS", "a,x/y", "x/y" },
		{ "OTEL_INSTRUMENTATION_HTTP_SERVER_CAPTURE_RESPONSE_HEADERS", "a,x y", "x y" },
		{ "OTEL_INSTRUMENTATION_SANITIZATION_URL_EXPERIMENTAL_SENSITIVE_QUERY_PARAMETERS",
		  "a,b=c", "b=c" },
		{ "AUTOTRACE_HTTP_ROUTES", "/a,b", "b" },
		{ "AUTOTRACE_HTTP_ROUTES", "/a,/*/b", "/*/b" },
		{ "AUTOTRACE_HTTP_ROUTES", "/a,/{b", "/{b" },
		{ "AUTOTRACE_HTTP_ROUTES", "/a,/b}", "/b}" },
		{ "AUTOTRACE_HTTP_ROUTES", "/a,/x{b}", "/x{b}" },
		{ "AUTOTRACE_HTTP_ROUTES", "/a,/{b}x", "/{b}x" },
		{ "AUTOTRACE_HTTP_ROUTES", "/a,/{b}*", "/{b}*" },
		{ "AUTOTRACE_HTTP_ROUTES", "/a,/{b/c}", "/{b/c}" },
		{ "AUTOTRACE_HTTP_ROUTES", "/a,/{{b}}", "/{{b}}" },
		{ "AUTOTRACE_HTTP_ROUTES", "/a,/{b}{c}", "/{b}{c}" },
		{ "AUTOTRACE_HTTP_ROUTES", "/a,{b}", "{b}" },
		{ "AUTOTRACE_HTTP_ROUTES", "/a,*", "*" },
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(cases); i++) {
		char want[512];

		configure(cases[i].env, cases[i].value);
		snprintf(want, sizeof(want), "%s=%s: \"%s\" is not ", cases[i].env, cases[i].value,
			 cases[i].bad);
		if (!CHECK_INT(n_warnings, 1) ||
		    !CHECK(strncmp(warnings[0], want, strlen(want)) == 0) ||
		    !CHECK(strstr(warnings[0], "; leaving it out")))
			printf("  %s\n  %s\n", want, warnings[0]);
	}
	configure("AUTOTRACE_PROPAGATE_TO", "a,b:80");
	CHECK_STR(warnings[0],
		  "AUTOTRACE_PROPAGATE_TO=a,b:80: \"b:80\" is not a host, *.domain or *; "
		  "leaving it out");
	CHECK(to("a"));
	configure("AUTOTRACE_HTTP_ROUTES", "/,/*,/{},/a/{b}/c/{d},/a*,/a/{b}/*");
	CHECK_INT(n_warnings, 0);
}

TEST(a_list_has_64_items_and_further_ones_are_reported_once)
{
	static const char *const variables[] = {
		"AUTOTRACE_PROPAGATE_TO",
		"AUTOTRACE_PROPAGATE_EXCEPT",
		"OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS",
		"OTEL_INSTRUMENTATION_HTTP_CLIENT_CAPTURE_REQUEST_HEADERS",
		"OTEL_INSTRUMENTATION_HTTP_CLIENT_CAPTURE_RESPONSE_HEADERS",
		"OTEL_INSTRUMENTATION_HTTP_SERVER_CAPTURE_REQUEST_HEADERS",
		"OTEL_INSTRUMENTATION_HTTP_SERVER_CAPTURE_RESPONSE_HEADERS",
		"OTEL_INSTRUMENTATION_SANITIZATION_URL_EXPERIMENTAL_SENSITIVE_QUERY_PARAMETERS",
		"AUTOTRACE_HTTP_ROUTES",
	};
	static char list[2048];

	for (size_t v = 0; v < ATR_ARRAY_LEN(variables); v++)
		for (int items = 64; items <= 66; items++) {
			bool routes = v == ATR_ARRAY_LEN(variables) - 1;
			size_t n = 0;

			for (int i = 0; i < items; i++)
				n += (size_t)snprintf(list + n, sizeof(list) - n, "%sm%d,",
						      routes ? "/" : "", i);
			configure(variables[v], list);
			if (!CHECK_INT(n_warnings, items > 64))
				printf("  %s, %d items\n", variables[v], items);
			if (items > 64) {
				CHECK(strncmp(warnings[0], variables[v], strlen(variables[v])) ==
				      0);
				CHECK(strstr(warnings[0],
					     " has more than 64 items; using the first 64"));
			}
		}
	configure("AUTOTRACE_PROPAGATE_TO", "a,b");
	CHECK(to("b"));
}

TEST(a_long_value_makes_a_line_that_still_says_what_happens)
{
	static char big[4000];

	memset(big, '(', sizeof(big) - 1);
	configure("OTEL_INSTRUMENTATION_HTTP_SERVER_CAPTURE_RESPONSE_HEADERS", big);
	CHECK_INT(n_warnings, 2);
	CHECK(strstr(warnings[0], "OTEL_INSTRUMENTATION_HTTP_SERVER_CAPTURE_RESPONSE_HEADERS=((("));
	CHECK(strstr(warnings[0], "is not a header name of at most 64 characters; leaving it out"));
	CHECK(strstr(warnings[1], "has no items; using an empty list"));
	configure("OTEL_INSTRUMENTATION_SANITIZATION_URL_EXPERIMENTAL_SENSITIVE_QUERY_PARAMETERS",
		  memset(big, '=', sizeof(big) - 1));
	CHECK(strstr(warnings[0], "is not a query parameter; leaving it out"));
	configure("AUTOTRACE_HTTP_ROUTES", memset(big, '=', sizeof(big) - 1));
	CHECK(strstr(warnings[0], "; leaving it out"));
}
