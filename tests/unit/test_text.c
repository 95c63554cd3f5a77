/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/text.c"
#include "tests/unit/test.h"

#include <arpa/inet.h>
#include <limits.h>

static const char *atr_printf(1, 2) formatted(const char *fmt, ...)
{
	static char buf[256];
	va_list args;

	va_start(args, fmt);
	(void)atr_vformat(buf, sizeof(buf), fmt, args);
	va_end(args);
	return buf;
}

TEST(formats_are_those_of_printf)
{
	char want[256];

#define SAME(...)                                          \
	do {                                               \
		snprintf(want, sizeof(want), __VA_ARGS__); \
		CHECK_STR(formatted(__VA_ARGS__), want);   \
	} while (0)
	SAME("plain");
	SAME("%s and %s", "one", "two");
	SAME("%.*s|%.3s|%.0s|", 2, "abcdef", "abcdef", "abc");
	SAME("%d %i %d %d", 0, -1, INT_MAX, INT_MIN);
	SAME("%u %x %x", UINT_MAX, 255u, 0u);
	SAME("%ld %lu %llu %lld", LONG_MIN, ULONG_MAX, ULLONG_MAX, LLONG_MIN);
	SAME("%zu %zd", SIZE_MAX, (ssize_t)-5);
	SAME("%c%c 100%%", 'a', 'b');
	SAME("%p", (void *)0x1234abcd);
#undef SAME
}

TEST(a_short_buffer_cuts_and_terminates)
{
	for (size_t size = 1; size < 20; size++) {
		char *buf = test_edge(NULL, size);
		size_t n = atr_format(buf, size, "%s-%d", "hello", 123456);

		CHECK_INT(n, size - 1 < 12 ? size - 1 : 12);
		CHECK_INT(buf[n], 0);
		CHECK_MEM(buf, "hello-123456", n);
		test_edge_free(buf, size);
	}
}

TEST(addresses_are_those_of_inet_ntop)
{
	static const char *const v6[] = { "::",
					  "::1",
					  "1::",
					  "2001:db8::1",
					  "2001:db8:0:1:1:1:1:1",
					  "fe80::1:0:0:1",
					  "1:0:0:2::3",
					  "1:2:3:4:5:6:7:8",
					  "0:1::",
					  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" };
	char buf[ATR_ADDR_TEXT_MAX + 1], want[INET6_ADDRSTRLEN];
	uint8_t addr[16];

	for (size_t i = 0; i < ATR_ARRAY_LEN(v6); i++) {
		CHECK_INT(inet_pton(AF_INET6, v6[i], addr), 1);
		inet_ntop(AF_INET6, addr, want, sizeof(want));
		buf[atr_ipv6_text(buf, addr)] = '\0';
		CHECK_STR(buf, want);
	}
	srand(1);
	for (int i = 0; i < 20000; i++) {
		for (int k = 0; k < 16; k++)
			addr[k] = rand() % 3 ? 0 : (uint8_t)rand();
		addr[0] |= 1; /* not the v4-in-v6 forms, which inet_ntop writes otherwise */
		inet_ntop(AF_INET6, addr, want, sizeof(want));
		buf[atr_ipv6_text(buf, addr)] = '\0';
		if (!CHECK_STR(buf, want))
			break;
		inet_ntop(AF_INET, addr, want, sizeof(want));
		buf[atr_ipv4_text(buf, addr)] = '\0';
		if (!CHECK_STR(buf, want))
			break;
	}
}

TEST(a_mapped_address_is_written_as_ipv4)
{
	uint8_t addr[16] = { [10] = 0xff, [11] = 0xff, [12] = 10, [15] = 7 };
	char buf[ATR_ADDR_TEXT_MAX + 1];

	buf[atr_ipv6_text(buf, addr)] = '\0';
	CHECK_STR(buf, "10.0.0.7");
}

TEST(hex_goes_both_ways_and_takes_lower_case_only)
{
	uint8_t bytes[256], back[256];
	char hex[512];

	for (int i = 0; i < 256; i++)
		bytes[i] = (uint8_t)i;
	atr_to_hex(hex, bytes, 256);
	CHECK_INT(atr_from_hex(back, hex, 256), 0);
	CHECK_MEM(back, bytes, 256);
	CHECK_INT(atr_from_hex(back, "0g", 1), -1);
	CHECK_INT(atr_from_hex(back, "AB", 1), -1);
	CHECK_INT(atr_from_hex(back, "a", 1), -1);
}
