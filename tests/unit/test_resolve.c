/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/text.o */
#include "preload/resolve.c"
#include "tests/unit/test.h"

static const char *host_of(const char *url)
{
	static char name[64];
	size_t n = strlen(url) + 1;
	char *edge = test_edge(url, n);
	const char *port = NULL, *ret = NULL;

	if (url_host(edge, name, sizeof(name) - 8, &port)) {
		strncat(name, " ", 2);
		strncat(name, port, strspn(port, "0123456789"));
		ret = name;
	}
	test_edge_free(edge, n);
	return ret;
}

TEST(a_url_gives_its_host_and_port)
{
	CHECK_STR(host_of("http://collector"), "collector 80");
	CHECK_STR(host_of("https://collector/"), "collector 443");
	CHECK_STR(host_of("http://collector:4318/v1/traces"), "collector 4318");
	CHECK_STR(host_of("http://user:pa@ss@collector:1"), "collector 1");
	CHECK_STR(host_of("http://collector?x=y:9"), "collector 80");
	CHECK_STR(host_of("http://10.0.0.1:80"), "10.0.0.1 80");
}

TEST(what_is_no_url_or_a_v6_number_gives_none)
{
	CHECK(host_of("http://") == NULL);
	CHECK(host_of("http://:80") == NULL);
	CHECK(host_of("http://[::1]:80/") == NULL);
	CHECK(host_of("http://a-host-name-that-is-longer-than-the-room-there-is-for-it") == NULL);
	CHECK(host_of("") == NULL);
}

TEST(a_host_may_stand_alone)
{
	CHECK_STR(host_of("collector:4317"), "collector 4317");
	CHECK_STR(host_of("collector"), "collector 443");
	CHECK_STR(host_of("dns:///collector:4317"), "collector 4317");
	CHECK_STR(host_of("dns:collector:4317"), "collector 4317");
	CHECK_STR(host_of("user:secret@proxy:3128"), "proxy 3128");
}

TEST(a_socket_has_no_host)
{
	CHECK(host_of("unix:///run/otel.sock") == NULL);
	CHECK(host_of("unix:run/otel.sock") == NULL);
	CHECK(host_of("http+unix://%2Frun%2Fotel.sock/x") == NULL);
}

TEST(numbers_and_localhost_are_not_looked_up)
{
	static const char *const urls[] = { "http://127.0.0.1:4318", "http://localhost:4318",
					    "http://[::1]:4318", "localhost:4317", "unix:x" };
	struct atr_addresses a;

	for (size_t i = 0; i < ATR_ARRAY_LEN(urls); i++) {
		a.resolved[0] = 'x';
		a.error = "x";
		atr_resolve(urls[i], NULL, &a);
		CHECK(!a.resolved[0] && !a.error);
	}
}

TEST(a_name_becomes_addresses_or_an_error)
{
	char self[256], url[300], want[300];
	struct atr_addresses a;

	atr_resolve("http://no-such-host.invalid:1", NULL, &a);
	CHECK(!a.resolved[0] && a.error);
	if (gethostname(self, sizeof(self)) != 0 || strcmp(self, "localhost") == 0 || numeric(self))
		SKIP("this host has no name of its own");
	snprintf(url, sizeof(url), "http://%s:77/x", self);
	atr_resolve(url, "1080", &a);
	if (!a.resolved[0])
		SKIP("this host does not resolve its own name");
	snprintf(want, sizeof(want), "%s:77:", self);
	CHECK_MEM(a.resolved, want, strlen(want));
	CHECK(strlen(a.resolved) > strlen(want));
	atr_resolve(self, "1080", &a);
	snprintf(want, sizeof(want), "%s:1080:", self);
	CHECK_MEM(a.resolved, want, strlen(want));
}
