/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/utf8.c"

#include "tests/unit/test.h"

/* The definition itself (RFC 3629): decode, and see that the shortest form says the same. */
static size_t decoded(const uint8_t *s, size_t len)
{
	static const struct {
		uint8_t mask, lead;
		uint32_t least;
	} forms[] = { { 0x80, 0x00, 0 },
		      { 0xe0, 0xc0, 0x80 },
		      { 0xf0, 0xe0, 0x800 },
		      { 0xf8, 0xf0, 0x10000 } };

	for (size_t n = 1; n <= 4; n++) {
		uint32_t c;

		if ((s[0] & forms[n - 1].mask) != forms[n - 1].lead)
			continue;
		if (len < n)
			return 0;
		c = s[0] & (uint8_t)~forms[n - 1].mask;
		for (size_t i = 1; i < n; i++) {
			if (s[i] >> 6 != 2)
				return 0;
			c = c << 6 | (s[i] & 0x3f);
		}
		return c >= forms[n - 1].least && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) ? n
											      : 0;
	}
	return 0;
}

/* atr_utf8_copy(), written as slowly and plainly as its contract. */
static size_t copied(uint8_t *dst, size_t size, const uint8_t *s, size_t len)
{
	size_t out = 0;

	for (size_t in = 0; in < len;) {
		size_t n = decoded(s + in, len - in);

		if ((n ? n : 1) > size - out)
			break;
		if (n)
			memcpy(dst + out, s + in, n);
		else
			dst[out] = '?';
		out += n ? n : 1;
		in += n ? n : 1;
	}
	return out;
}

TEST(every_sequence_of_three_bytes_is_judged_as_the_standard_says)
{
	uint8_t *s = test_edge(NULL, 3);
	unsigned wrong = 0;

	for (uint32_t v = 0; v < 1u << 24; v++) {
		s[0] = (uint8_t)v;
		s[1] = (uint8_t)(v >> 8);
		s[2] = (uint8_t)(v >> 16);
		wrong += character(s, 3) != decoded(s, 3);
	}
	CHECK_INT(wrong, 0);
	test_edge_free(s, 3);
}

TEST(every_sequence_of_four_bytes_at_the_borders_of_the_classes_too)
{
	static const uint8_t bytes[] = { 0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0,
					 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec,
					 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5,
					 0xf7, 0xf8, 0xfb, 0xfc, 0xfd, 0xfe, 0xff };
	const size_t n = sizeof(bytes);
	unsigned wrong = 0;
	uint8_t s[4];

	for (size_t i = 0; i < n * n * n * n; i++) {
		s[0] = bytes[i % n];
		s[1] = bytes[i / n % n];
		s[2] = bytes[i / n / n % n];
		s[3] = bytes[i / n / n / n];
		wrong += character(s, 4) != decoded(s, 4);
	}
	CHECK_INT(wrong, 0);
	CHECK_INT(character((const uint8_t *)"\xf0\x9f\x98\x80", 4), 4);
}

TEST(a_text_is_valid_up_to_the_first_byte_that_is_not)
{
	CHECK_INT(atr_utf8_valid("", 0), 0);
	CHECK_INT(atr_utf8_valid("plain text, longer than a word", 30), 30);
	CHECK_INT(atr_utf8_valid("caf\xc3\xa9 cr\xc3\xa8me", 12), 12);
	CHECK_INT(atr_utf8_valid("caf\xc3", 4), 3);
	CHECK_INT(atr_utf8_valid("12345678\xff"
				 "9",
				 10),
		  8);
	CHECK_INT(atr_utf8_valid("1234567\xe2\x82\xac"
				 "9",
				 11),
		  11);
}

TEST(every_invalid_byte_becomes_one_question_mark)
{
	char out[32];

	CHECK_INT(atr_utf8_copy(out, sizeof(out),
				"a\xff\xfe"
				"b",
				4),
		  4);
	CHECK_MEM(out, "a??b", 4);
	CHECK_INT(atr_utf8_copy(out, sizeof(out), "\xe2\x82", 2), 2);
	CHECK_MEM(out, "??", 2);
	CHECK_INT(atr_utf8_copy(out, sizeof(out), "\xed\xa0\x80", 3), 3);
	CHECK_MEM(out, "???", 3);
}

TEST(a_character_is_copied_whole_or_not_at_all)
{
	static const char text[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xff z";
	static const size_t lengths[] = { 0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 12, 13, 13 };

	for (size_t size = 0; size < sizeof(lengths) / sizeof(lengths[0]); size++) {
		char *out = test_edge(NULL, size);

		CHECK_INT(atr_utf8_copy(out, size, text, sizeof(text) - 1), lengths[size]);
		test_edge_free(out, size);
	}
}

TEST(random_bytes_are_copied_as_the_contract_says_at_every_size)
{
	static const uint8_t likely[] = { 'a',	0x80, 0xbf, 0xa0, 0xc3, 0xe0, 0xe2,
					  0xed, 0xf0, 0xf4, 0x90, 0xff, 0x00 };
	uint32_t seed = 1;

	for (unsigned round = 0; round < 4000; round++) {
		uint8_t text[24], want[24];
		size_t len = round % sizeof(text);
		char *in;

		for (size_t i = 0; i < len; i++) {
			seed = seed * 1664525 + 1013904223;
			text[i] = seed >> 31 ? likely[(seed >> 16) % sizeof(likely)] : 'x';
		}
		in = test_edge(text, len);
		for (size_t size = 0; size <= len; size++) {
			size_t n = copied(want, size, text, len);
			char out[24];

			CHECK_INT(atr_utf8_copy(out, size, in, len), n);
			CHECK_MEM(out, want, n);
			CHECK_INT(atr_utf8_valid(out, n), n);
		}
		test_edge_free(in, len);
	}
}
