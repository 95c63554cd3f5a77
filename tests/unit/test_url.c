/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/buf.o preload/sys.o preload/utf8.o */
#include "exporter/url.c"

#include "tests/unit/test.h"

static void check_base(const char *base, const char *want)
{
	char *got = atr_url_from_base(base);

	CHECK(atr_url_valid(base));
	CHECK_STR(got, want);
	free(got);
}

static void check_traces(const char *url, const char *want)
{
	char *got = atr_url_from_traces(url);

	CHECK(atr_url_valid(url));
	CHECK_STR(got, want);
	free(got);
}

TEST(the_general_endpoint_is_a_base)
{
	check_base("http://c:4318", "http://c:4318/v1/traces");
	check_base("http://c:4318/", "http://c:4318/v1/traces");
	check_base("http://c:4318/x", "http://c:4318/x/v1/traces");
	check_base("http://c:4318/x/", "http://c:4318/x/v1/traces");
	check_base("https://c", "https://c/v1/traces");
	check_base("http://c/x?key=1", "http://c/x/v1/traces?key=1");
	check_base("HTTP://[::1]:4318", "HTTP://[::1]:4318/v1/traces");
}

TEST(the_traces_endpoint_is_used_as_it_is)
{
	check_traces("http://c:4318", "http://c:4318/");
	check_traces("http://c:4318/", "http://c:4318/");
	check_traces("http://c:4318/x", "http://c:4318/x");
	check_traces("http://c:4318/x/", "http://c:4318/x/");
	check_traces("http://c:4318?q=/", "http://c:4318/?q=/");
	check_traces("http://u:p@c/x", "http://u:p@c/x");
}

TEST(what_is_no_url_is_refused)
{
	static const char *const bad[] = { "",
					   "localhost:4318",
					   "ftp://c/",
					   "http:/c",
					   "http://",
					   "http:///x",
					   "http://:4318",
					   "http://c:",
					   "http://c:0",
					   "http://c:65536",
					   "http://c:43x8",
					   "http://c:4318 ",
					   "http://c d",
					   "http://c\n",
					   "grpc://c:4317",
					   "http://[::1",
					   "http://[]:4318",
					   "http://[gg]:1",
					   "http://u@",
					   "http://a_b\\c",
					   "http://c:431899",
					   "unix:///run/sock",
					   "http://c:4318:1" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (!CHECK(!atr_url_valid(bad[i])))
			printf("  %s\n", bad[i]);
	CHECK(atr_url_valid("http://under_score.example:65535"));
	CHECK(atr_url_valid(ATR_URL_DEFAULT));
}

TEST(passwords_are_not_shown)
{
	char out[64];

	atr_url_shown(out, sizeof(out), "https://user:pass@c:1/x");
	CHECK_STR(out, "https://c:1/x");
	atr_url_shown(out, sizeof(out), "https://a@b:c@d/x@y");
	CHECK_STR(out, "https://d/x@y");
	atr_url_shown(out, sizeof(out), "https://c/x?key=secret");
	CHECK_STR(out, "https://c/x");
	atr_url_shown(out, sizeof(out), "http://c/\x1b");
	CHECK_STR(out, "http://c/\\x1b");
	for (size_t size = 1; size < 20; size++) {
		char *edge = test_edge(NULL, size);

		atr_url_shown(edge, size, "http://u@collector/");
		CHECK(strlen(edge) < size);
		test_edge_free(edge, size);
	}
}
