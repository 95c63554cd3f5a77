/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/text.o */
#include "hooks/proxied.c"
#include "tests/unit/test.h"

static char client[ATR_ADDR_TEXT_MAX + 1];

/* From memory that ends where the bytes do. */
static size_t header(const char *p, size_t n)
{
	char *edge = test_edge(p, n);
	size_t len, is = atr_proxied(edge, n, client, &len);

	client[len] = 0;
	test_edge_free(edge, n);
	return is;
}

#define S(literal) literal, sizeof(literal) - 1
#define V2 SIGNATURE
#define IPV4 "\xc0\0\2\7\xc0\0\2\x09\xc3\xcb\0\x50"
#define IPV6 "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\7"

static const struct {
	const char *p;
	size_t n, header;
	const char *client;
} cases[] = {
	{ S("PROXY TCP4 192.0.2.7 192.0.2.9 50123 80\r\nGET "), 41, "192.0.2.7" },
	{ S("PROXY TCP6 2001:db8::7 2001:db8::9 1 2\r\n"), 40, "2001:db8::7" },
	{ S("PROXY UNKNOWN\r\n"), 15, "" },
	{ S("PROXY UNKNOWN a b c\r\n"), 21, "" },
	{ S("PROXY UDP4 192.0.2.7 192.0.2.9 50123 80\r\n"), 0, "" },
	{ S("PROXY TCP4 <script> 192.0.2.9 50123 80\r\n"), 0, "" },
	{ S("PROXY TCP4\r\n"), 0, "" },
	{ S("PROXY /index.html HTTP/1.1\r\n"), 0, "" },
	{ S("PROXY TCP4 192.0.2.7 192.0.2.9 50123 80\n"), 0, "" },
	{ S("PROXY \n"), 0, "" },
	{ S("GET / HTTP/1.1\r\n"), 0, "" },
	{ S(V2 "\x21\x11\0\x0c" IPV4 "GET "), 28, "192.0.2.7" },
	{ S(V2 "\x21\x12\0\x0c" IPV4), 28, "192.0.2.7" },
	{ S(V2 "\x21\x21\0\x24" IPV6 IPV6 "\1\2\0\x50"), 52, "2001:db8::7" },
	{ S(V2 "\x21\x11\0\x10" IPV4 "\3\0\1x"), 32, "192.0.2.7" }, /* and more of its own */
	{ S(V2 "\x20\0\0\0"), 16, "" },
	{ S(V2 "\x20\x11\0\x0c" IPV4), 28, "" }, /* LOCAL: what it says does not count */
	{ S(V2 "\x21\x11\0\4\xc0\0\2\7"), 20, "" },
	{ S(V2 "\x31\x11\0\x0c" IPV4), 0, "" },
	{ S(V2 "\x22\x11\0\x0c" IPV4), 0, "" },
};

TEST(a_header_is_as_long_as_it_says_and_names_the_client)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		CHECK_INT(header(cases[i].p, cases[i].n), cases[i].header);
		CHECK_STR(client, cases[i].client);
	}
}

TEST(what_is_not_there_whole_is_none)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		for (size_t n = 0; n < cases[i].header; n++)
			CHECK_INT(header(cases[i].p, n), 0);
}

TEST(a_line_has_at_most_107_bytes)
{
	char line[200] = "PROXY UNKNOWN ";

	memset(line + 14, 'x', sizeof(line) - 14);
	memcpy(line + 105, "\r\n", 2);
	CHECK_INT(header(line, sizeof(line)), 107);
	memcpy(line + 105, "x\r\n", 3);
	CHECK_INT(header(line, sizeof(line)), 0);
}

TEST(an_address_that_is_too_long_is_none)
{
	CHECK_INT(header(S("PROXY TCP6 1111:2222:3333:4444:5555:6666:7777:8888:9999:aaa b 1 "
			   "2\r\n")),
		  0);
}
