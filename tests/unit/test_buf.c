/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/sys.o preload/utf8.o */
#include "exporter/buf.c"

#include "tests/unit/test.h"

static const char *escaped(const char *s)
{
	static char out[256];

	size_t n = atr_escape(out, sizeof(out), s, strlen(s));

	CHECK_INT(n, strlen(out));
	return out;
}

TEST(bytes_are_appended_and_memory_is_kept)
{
	struct atr_buf buf = { 0 };
	uint8_t *before;

	for (int i = 0; i < 1000; i++)
		atr_buf_str(&buf, "0123456789");
	CHECK_INT(buf.len, 10000);
	CHECK_MEM(buf.bytes + 9990, "0123456789", 10);
	before = buf.bytes;
	atr_buf_reset(&buf);
	CHECK_INT(buf.len, 0);
	CHECK(atr_buf_reserve(&buf, 10000) == before);
	atr_buf_free(&buf);
	CHECK(!buf.bytes);
}

TEST(a_failure_sticks_until_reset)
{
	struct atr_buf buf = { 0 };

	atr_buf_str(&buf, "ab");
	CHECK(!atr_buf_reserve(&buf, SIZE_MAX / 2));
	atr_buf_str(&buf, "cd");
	CHECK(buf.failed);
	CHECK_INT(buf.len, 2);
	atr_buf_reset(&buf);
	atr_buf_str(&buf, "cd");
	CHECK_INT(buf.len, 2);
	atr_buf_free(&buf);
}

TEST(control_characters_and_bad_utf8_are_escaped)
{
	CHECK_STR(escaped("plain text"), "plain text");
	CHECK_STR(escaped("a\nb\tc\rd\\e"), "a\\nb\\tc\\rd\\\\e");
	CHECK_STR(escaped("\x1b[31m\x7f"), "\\x1b[31m\\x7f");
	CHECK_STR(escaped("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"),
		  "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
	CHECK_STR(escaped("\xc3"), "\\xc3");
	CHECK_STR(escaped("\xff\xc3("), "\\xff\\xc3(");
	CHECK_STR(escaped("\xc2\x9b"
			  "31m"),
		  "\\xc2\\x9b31m"); /* CSI of C1 */
}

TEST(nul_is_escaped_too)
{
	char out[16];

	CHECK_INT(atr_escape(out, sizeof(out), "a\0b", 3), 6);
	CHECK_STR(out, "a\\x00b");
}

TEST(every_short_buffer_is_kept_to_and_no_character_is_cut)
{
	static const char s[] = "a\n\x01\xe2\x82\xac.";

	for (size_t size = 1; size < 16; size++) {
		char *out = test_edge(NULL, size);
		char *in = test_edge(s, sizeof(s) - 1);
		size_t n = atr_escape(out, size, in, sizeof(s) - 1);

		CHECK(n < size);
		CHECK_INT(strlen(out), n);
		CHECK_INT(atr_utf8_valid(out, n), n);
		test_edge_free(in, sizeof(s) - 1);
		test_edge_free(out, size);
	}
}

TEST(a_file_is_read_whole_or_to_its_limit)
{
	struct atr_buf buf = { 0 };

	CHECK_INT(atr_buf_read_file(&buf, "/proc/self/stat", 1 << 20), 0);
	CHECK(buf.len > 20);
	atr_buf_reset(&buf);
	CHECK_INT(atr_buf_read_file(&buf, "/proc/self/stat", 7), 0);
	CHECK_INT(buf.len, 7);
	CHECK_INT(atr_buf_read_file(&buf, "/nonexistent/file", 7), -ENOENT);
	atr_buf_free(&buf);
}
