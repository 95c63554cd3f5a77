/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/authority.o */
/* LINK: exporter/buf.o exporter/list.o preload/sys.o preload/utf8.o */
#include "exporter/url.c"

#include "tests/unit/test.h"

/* Where the text leads: "url" or "url socket". */
static void check(enum atr_url_use use, const char *text, const char *want)
{
	size_t n = strlen(text) + 1;
	char *edge = test_edge(text, n), got[512];
	struct atr_url url;

	if (!CHECK(atr_url_valid(edge, use == ATR_URL_GRPC)))
		printf("  %s\n", text);
	CHECK(atr_url_make(&url, edge, use, use == ATR_URL_GRPC ? "S/Export" : "v1/traces", false));
	(void)snprintf(got, sizeof(got), "%s%s%s", url.url, url.socket ? " " : "",
		       url.socket ? url.socket : "");
	CHECK_STR(got, want);
	atr_url_finish(&url);
	test_edge_free(edge, n);
}

TEST(the_general_endpoint_is_a_base)
{
	check(ATR_URL_BASE, "http://c:4318", "http://c:4318/v1/traces");
	check(ATR_URL_BASE, "http://c:4318/", "http://c:4318/v1/traces");
	check(ATR_URL_BASE, "http://c:4318/x", "http://c:4318/x/v1/traces");
	check(ATR_URL_BASE, "http://c:4318/x/", "http://c:4318/x/v1/traces");
	check(ATR_URL_BASE, "https://c", "https://c/v1/traces");
	check(ATR_URL_BASE, "http://c/x?key=1", "http://c/x/v1/traces?key=1");
	check(ATR_URL_BASE, "HTTP://[::1]:4318", "HTTP://[::1]:4318/v1/traces");
}

TEST(the_traces_endpoint_is_used_as_it_is)
{
	check(ATR_URL_WHOLE, "http://c:4318", "http://c:4318/");
	check(ATR_URL_WHOLE, "http://c:4318/", "http://c:4318/");
	check(ATR_URL_WHOLE, "http://c:4318/x", "http://c:4318/x");
	check(ATR_URL_WHOLE, "http://c:4318/x/", "http://c:4318/x/");
	check(ATR_URL_WHOLE, "http://c:4318?q=/", "http://c:4318/?q=/");
	check(ATR_URL_WHOLE, "http://u:p@c/x", "http://u:p@c/x");
}

TEST(of_a_grpc_endpoint_only_the_host_counts)
{
	check(ATR_URL_GRPC, "http://c:4317", "http://c:4317/S/Export");
	check(ATR_URL_GRPC, "https://c:4317/", "https://c:4317/S/Export");
	check(ATR_URL_GRPC, "http://c/v1/traces?q#f", "http://c/S/Export");
	check(ATR_URL_GRPC, "c:4317", "https://c:4317/S/Export");
	check(ATR_URL_GRPC, "c", "https://c/S/Export");
	check(ATR_URL_GRPC, "dns:///c:4317", "https://c:4317/S/Export");
	check(ATR_URL_GRPC, "dns:c:4317", "https://c:4317/S/Export");
	check(ATR_URL_GRPC, "[::1]:4317", "https://[::1]:4317/S/Export");
}

TEST(insecure_is_for_hosts_that_stand_alone)
{
	struct atr_url url;

	CHECK(atr_url_make(&url, "c:4317", ATR_URL_GRPC, "S", true));
	CHECK_STR(url.url, "http://c:4317/S");
	atr_url_finish(&url);
	CHECK(atr_url_make(&url, "https://c:4317", ATR_URL_GRPC, "S", true));
	CHECK_STR(url.url, "https://c:4317/S");
	atr_url_finish(&url);
}

TEST(sockets_are_spelled_in_three_ways)
{
	check(ATR_URL_BASE, "unix:///run/o.sock", "http://localhost/v1/traces /run/o.sock");
	check(ATR_URL_WHOLE, "unix:///run/o.sock", "http://localhost/v1/traces /run/o.sock");
	check(ATR_URL_GRPC, "unix:///run/o.sock", "http://localhost/S/Export /run/o.sock");
	check(ATR_URL_BASE, "unix:/run/o.sock", "http://localhost/v1/traces /run/o.sock");
	check(ATR_URL_GRPC, "unix:o.sock", "http://localhost/S/Export o.sock");
	check(ATR_URL_BASE, "http+unix://%2Frun%2Fo.sock",
	      "http://localhost/v1/traces /run/o.sock");
	check(ATR_URL_BASE, "http+unix://%2Frun%2Fo.sock/x/",
	      "http://localhost/x/v1/traces /run/o.sock");
	check(ATR_URL_WHOLE, "http+unix://%2Frun%2Fo.sock/x", "http://localhost/x /run/o.sock");
	check(ATR_URL_WHOLE, "http+unix://%2Frun%2Fo.sock", "http://localhost/ /run/o.sock");
	check(ATR_URL_GRPC, "http+unix://%2Fo.sock/x", "http://localhost/S/Export /o.sock");
}

TEST(a_socket_whose_path_is_too_long_or_none_is_refused)
{
	char text[256] = "unix:///";

	memset(text + 8, 'x', 106);
	CHECK(atr_url_valid(text, false));
	text[114] = 'x';
	CHECK(!atr_url_valid(text, false));
	CHECK(!atr_url_valid("unix:", false));
	CHECK(!atr_url_valid("unix://", true));
	CHECK(!atr_url_valid("unix://host/path", false));
	CHECK(!atr_url_valid("http+unix://", false));
	CHECK(!atr_url_valid("http+unix:///x", false));
	CHECK(!atr_url_valid("http+unix://%2", false));
	CHECK(!atr_url_valid("http+unix://%00", false));
	memset(text, 'x', sizeof(text) - 1);
	memcpy(text, "http+unix://", 12);
	CHECK(!atr_url_valid(text, false));
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
					   "http://c:4318:1" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (!CHECK(!atr_url_valid(bad[i], false)))
			printf("  %s\n", bad[i]);
	CHECK(atr_url_valid("http://under_score.example:65535", false));
	CHECK(!atr_url_valid("c:4317/x", true));
	CHECK(!atr_url_valid("c:x", true));
	CHECK(!atr_url_valid("", true));
	CHECK(!atr_url_valid("redis://c:1", true));
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
	atr_url_shown(out, sizeof(out), "redis://u:p@c");
	CHECK_STR(out, "redis://c");
	atr_url_shown(out, sizeof(out), "u:p@c:4317");
	CHECK_STR(out, "c:4317");
	atr_url_shown(out, sizeof(out), "http://c/\x1b");
	CHECK_STR(out, "http://c/\\x1b");
	for (size_t size = 1; size < 20; size++) {
		char *edge = test_edge(NULL, size);

		atr_url_shown(edge, size, "http://u@collector/");
		CHECK(strlen(edge) < size);
		test_edge_free(edge, size);
	}
}
