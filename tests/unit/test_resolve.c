/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/text.o */
#include "preload/resolve.c"
#include "tests/unit/test.h"

static const char *host_of(const char *url)
{
	static char name[64];
	size_t n = strlen(url) + 1;
	char *edge = test_edge(url, n);
	const char *port, *ret = NULL;

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
	CHECK(host_of("collector:4318") == NULL);
	CHECK(host_of("http://") == NULL);
	CHECK(host_of("http://:80") == NULL);
	CHECK(host_of("http://[::1]:80/") == NULL);
	CHECK(host_of("http://a-host-name-that-is-longer-than-the-room-there-is-for-it") == NULL);
	CHECK(host_of("") == NULL);
}

TEST(numbers_and_localhost_are_not_looked_up)
{
	const char *resolved = "x", *error = "x";

	atr_resolve("http://127.0.0.1:4318", &resolved, &error);
	CHECK(!resolved && !error);
	atr_resolve("http://localhost:4318", &resolved, &error);
	CHECK(!resolved && !error);
	atr_resolve("http://[::1]:4318", &resolved, &error);
	CHECK(!resolved && !error);
}

TEST(a_name_becomes_addresses_or_an_error)
{
	char self[256], want[300];
	const char *resolved, *error;

	atr_resolve("http://no-such-host.invalid:1", &resolved, &error);
	CHECK(!resolved && error);
	if (gethostname(self, sizeof(self)) != 0 || strcmp(self, "localhost") == 0 || numeric(self))
		SKIP("this host has no name of its own");
	snprintf(want, sizeof(want), "http://%s:77/x", self);
	atr_resolve(want, &resolved, &error);
	if (!resolved)
		SKIP("this host does not resolve its own name");
	snprintf(want, sizeof(want), "%s:77:", self);
	CHECK_MEM(resolved, want, strlen(want));
	CHECK(strlen(resolved) > strlen(want));
}
