/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/authority.c"

#include "tests/unit/test.h"

static const char *shown(const char *url)
{
	static char text[256];
	size_t n = strlen(url) + 1;
	char *edge = test_edge(url, n);
	struct atr_shown s = atr_authority_shown(edge);

	CHECK(s.scheme <= s.from && s.from + s.len < n);
	(void)snprintf(text, sizeof(text), "%.*s%.*s", (int)s.scheme, edge, (int)s.len,
		       edge + s.from);
	test_edge_free(edge, n);
	return text;
}

TEST(of_a_url_the_user_and_the_query_are_not_shown)
{
	CHECK_STR(shown("https://user:pass@c:1/x"), "https://c:1/x");
	CHECK_STR(shown("https://a@b:c@d/x@y"), "https://d/x@y");
	CHECK_STR(shown("http://[::1]:4318/a@b?k=v"), "http://[::1]:4318/a@b");
	CHECK_STR(shown("http://c#x"), "http://c");
	CHECK_STR(shown("u:p@c:4317"), "c:4317");
	CHECK_STR(shown("socks5h://u:p@c"), "socks5h://c");
	CHECK_STR(shown(""), "");
}

TEST(of_what_is_no_url_nothing_is_shown_in_front_of_the_last_at)
{
	static const char *const passwords[] = { "p/w", "/",	"p?w", "p#w",	"p/w?x#y",
						 "@/@", "a:/b", "://", "x://y", "p w" };

	for (size_t i = 0; i < sizeof(passwords) / sizeof(passwords[0]); i++) {
		char url[64];

		(void)snprintf(url, sizeof(url), "https://user:%s@c:1/x?q", passwords[i]);
		CHECK_STR(shown(url), "https://c:1/x");
		(void)snprintf(url, sizeof(url), "user:%s@c:1", passwords[i]);
		CHECK_STR(shown(url), "c:1");
	}
}

TEST(the_path_of_a_socket_is_shown_with_what_is_in_it)
{
	CHECK_STR(shown("unix:///run/a@b.sock"), "unix:///run/a@b.sock");
	CHECK_STR(shown("unix:a@b.sock"), "unix:a@b.sock");
	CHECK_STR(shown("http+unix://%2Frun%2Fo.sock/a@b"), "http+unix://%2Frun%2Fo.sock/a@b");
	CHECK_STR(shown("unix://u:p@host"), "unix://host");
}
