/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/buf.o exporter/otlp.pb-c.o preload/sys.o preload/utf8.o -lprotobuf-c */
#include "exporter/grpc.c"

#include "tests/unit/test.h"

static struct atr_grpc_status read_line(const char *line)
{
	struct atr_grpc_status s;
	size_t n = strlen(line);
	char *edge = test_edge(line, n);

	atr_grpc_status_init(&s);
	atr_grpc_header(&s, edge, n);
	test_edge_free(edge, n);
	return s;
}

TEST(a_message_is_framed_by_its_length)
{
	struct atr_buf out = { 0 };
	const uint8_t *message;
	size_t len = 0;

	atr_buf_str(&out, "x");
	atr_grpc_begin(&out, false);
	for (int i = 0; i < 0x10203; i++)
		atr_buf_add(&out, "m", 1);
	atr_grpc_end(&out, 1);
	CHECK_INT(out.len, 1 + 5 + 0x10203);
	CHECK_MEM(out.bytes, "x\0\0\1\2\3m", 7);
	message = atr_grpc_message(out.bytes + 1, out.len - 1, &len);
	CHECK(message == out.bytes + 6 && len == 0x10203);
	CHECK(!atr_grpc_message(out.bytes + 1, out.len - 2, &len));
	atr_buf_reset(&out);
	atr_grpc_begin(&out, true);
	atr_grpc_end(&out, 0);
	CHECK_MEM(out.bytes, "\1\0\0\0\0", 5);
	CHECK(!atr_grpc_message(out.bytes, 5, &len)); /* compressed */
	out.bytes[0] = 0;
	CHECK(atr_grpc_message(out.bytes, 5, &len) && len == 0);
	for (size_t n = 0; n < 5; n++)
		CHECK(!atr_grpc_message(out.bytes, n, &len));
	atr_buf_free(&out);
}

TEST(a_timeout_has_at_most_eight_digits)
{
	static const struct {
		uint64_t ns;
		const char *line;
	} cases[] = {
		{ 0, "grpc-timeout: 1m" },
		{ 999999, "grpc-timeout: 1m" },
		{ 10000000000u, "grpc-timeout: 10000m" },
		{ 99999999000000u, "grpc-timeout: 99999999m" },
		{ 100000000000000u, "grpc-timeout: 100000S" },
		{ UINT64_MAX, "grpc-timeout: 99999999S" },
	};
	char line[ATR_GRPC_TIMEOUT_LINE];

	for (size_t i = 0; i < ATR_ARRAY_LEN(cases); i++) {
		atr_grpc_timeout(line, cases[i].ns);
		if (cases[i].ns != UINT64_MAX)
			CHECK_STR(line, cases[i].line);
		CHECK(strlen(line) <= 14 + 8 + 1);
	}
}

TEST(the_status_is_read_from_its_line_and_no_other)
{
	CHECK_INT(read_line("grpc-status: 0\r\n").code, 0);
	CHECK_INT(read_line("Grpc-Status:14\r\n").code, 14);
	CHECK_INT(read_line("grpc-status: 16 \t").code, 16);
	CHECK_INT(read_line("grpc-status: 99\r\n").code, 99);
	CHECK_INT(read_line("grpc-status:\r\n").code, ATR_GRPC_UNKNOWN);
	CHECK_INT(read_line("grpc-status: x").code, ATR_GRPC_UNKNOWN);
	CHECK_INT(read_line("grpc-status: -1").code, ATR_GRPC_UNKNOWN);
	CHECK_INT(read_line("grpc-status: 99999999999999").code, ATR_GRPC_UNKNOWN);
	CHECK_INT(read_line("grpc-statu: 1").code, ATR_GRPC_NONE);
	CHECK_INT(read_line("grpc-status-x: 1").code, ATR_GRPC_NONE);
	CHECK_INT(read_line("HTTP/2 200 \r\n").code, ATR_GRPC_NONE);
	CHECK_INT(read_line("\r\n").code, ATR_GRPC_NONE);
	CHECK_INT(read_line("").code, ATR_GRPC_NONE);
}

TEST(the_message_is_percent_decoded_and_bounded)
{
	char line[2000] = "grpc-message: ";

	CHECK_STR(read_line("grpc-message: too%20many: 100%25 %c3%bC\r\n").message,
		  "too many: 100% \xc3\xbc");
	CHECK_STR(read_line("grpc-message: a%zz%4").message, "a%zz%4");
	CHECK_STR(read_line("grpc-message: a%00b").message, "a b");
	CHECK_STR(read_line("grpc-message:").message, "");
	memset(line + 14, 'x', sizeof(line) - 15);
	CHECK_INT(strlen(read_line(line).message), ATR_GRPC_MESSAGE - 1);
}

/* A Status by field numbers: code 14, and a RetryInfo of 2.5 s. */
static const char with_retry[] = "grpc-status-details-bin: "
				 "CA4SBGJ1c3kaNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJl"
				 "dHJ5SW5mbxIKCggIAhCAyrXuAQ\r\n";

TEST(retry_info_is_found_in_the_details)
{
	struct atr_grpc_status s = read_line(with_retry);
	char other[sizeof(with_retry)];

	CHECK(s.retry_info);
	CHECK_INT(s.retry_ns, 2500000000u);
	for (size_t n = 0; n < sizeof(with_retry) - 2; n++) {
		memcpy(other, with_retry, sizeof(other));
		other[n] = '\0';
		s = read_line(other);
		if (n < sizeof(with_retry) - 4 && s.retry_info && !CHECK(s.retry_ns == 0))
			printf("  at %zu\n", n);
	}
	CHECK(!read_line("grpc-status-details-bin: !").retry_info);
	CHECK(!read_line("grpc-status-details-bin: AAAA").retry_info);
}

TEST(details_that_are_too_long_say_nothing)
{
	static char line[32 + 4 * DETAILS_MAX] = "grpc-status-details-bin: ";
	size_t n = strlen(line);

	memset(line + n, 'A', 2 * DETAILS_MAX);
	CHECK(!read_line(line).retry_info);
}

TEST(some_codes_are_tried_again)
{
	static const int again[] = { 1, 4, 10, 11, 14, 15 };

	for (int code = -1; code < 20; code++) {
		struct atr_grpc_status s = { .code = code };
		bool want = false;

		for (size_t i = 0; i < ATR_ARRAY_LEN(again); i++)
			want |= again[i] == code;
		CHECK(atr_grpc_retryable(&s) == want);
		s.retry_info = true;
		CHECK(atr_grpc_retryable(&s) == (want || code == 8));
	}
}

TEST(too_large_is_said_in_words)
{
	static const struct {
		int code;
		const char *message;
		bool retry_info, too_large;
	} cases[] = {
		{ 8, "grpc: received message larger than max (5 vs. 4)", false, true },
		{ 8, "SERVER: Received message larger than max (1219 vs. 10)", false, true },
		{ 8, "gRPC message exceeds maximum size 4194304: 5000000", false, true },
		{ 8, "Received message exceeds the maximum configured message size.", false, true },
		{ 11, "Error, decoded message length too large: found 5, the limit is: 4", false,
		  true },
		{ 8, "Received message larger than max", true, false },
		{ 8, "quota used up", false, false },
		{ 11, "", false, false },
		{ 13, "message larger than max", false, false },
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(cases); i++) {
		struct atr_grpc_status s = { .code = cases[i].code,
					     .retry_info = cases[i].retry_info };

		(void)snprintf(s.message, sizeof(s.message), "%s", cases[i].message);
		if (!CHECK(atr_grpc_too_large(&s) == cases[i].too_large))
			printf("  %s\n", s.message);
	}
}

TEST(codes_have_names)
{
	CHECK_STR(atr_grpc_code_name(0), "OK");
	CHECK_STR(atr_grpc_code_name(14), "UNAVAILABLE");
	CHECK_STR(atr_grpc_code_name(16), "UNAUTHENTICATED");
	CHECK_STR(atr_grpc_code_name(17), "?");
	CHECK_STR(atr_grpc_code_name(-1), "?");
}
