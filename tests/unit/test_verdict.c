/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/authority.o */
/* LINK: exporter/buf.o exporter/grpc.o exporter/json.o exporter/list.o exporter/otlp.o */
/* LINK: exporter/otlp.pb-c.o exporter/retry.o exporter/url.o exporter/resource.o */
/* LINK: exporter/container.o exporter/detect.o preload/sys.o preload/utf8.o */
/* LINK: exporter/line.o -lprotobuf-c */
#include "exporter/verdict.c"

#include "preload/compiler.h"
#include "tests/unit/test.h"

static struct atr_verdict judge(enum atr_PROTOCOL protocol, struct atr_http_reply reply)
{
	static const struct atr_grpc_status none = { .code = ATR_GRPC_NONE };
	struct atr_verdict v;

	if (!reply.grpc)
		reply.grpc = &none;
	atr_verdict(&v, protocol, &reply);
	return v;
}

#define HTTP(...) judge(ATR_PROTOCOL_HTTP_PROTOBUF, (struct atr_http_reply){ __VA_ARGS__ })
#define GRPC(...) judge(ATR_PROTOCOL_GRPC, (struct atr_http_reply){ __VA_ARGS__ })
#define BODY(text) .body = (const uint8_t *)(text), .len = sizeof(text) - 1

TEST(each_http_status_has_one_meaning)
{
	for (int status = 100; status < 600; status++) {
		enum atr_verdict_kind want = ATR_VERDICT_REFUSED;

		if (status / 100 == 2)
			want = ATR_VERDICT_TAKEN;
		else if (status == 429 || status == 502 || status == 503 || status == 504)
			want = ATR_VERDICT_AGAIN;
		else if (status == 413)
			want = ATR_VERDICT_TOO_LARGE;
		if (!CHECK_INT(HTTP(.status = status).kind, want))
			printf("  %d\n", status);
		CHECK_INT(HTTP(.status = status, .too_long = true).kind, ATR_VERDICT_REFUSED);
		/* From a proxy, or whoever does not speak gRPC. */
		if (want == ATR_VERDICT_TAKEN)
			want = ATR_VERDICT_REFUSED;
		CHECK_INT(GRPC(.status = status).kind, want);
	}
}

TEST(a_line_of_text_has_no_end_of_its_own)
{
	struct atr_verdict v = HTTP(.status = 400, BODY("not here\r\nmore"));

	CHECK_STR(v.message, "not here");
}

TEST(no_answer_says_why)
{
	struct atr_verdict v = HTTP(.error = "no \x1b route", .nobody = true);

	CHECK_INT(v.kind, ATR_VERDICT_NONE);
	CHECK(v.nobody);
	CHECK_STR(v.message, "no \\x1b route");
}

TEST(what_was_rejected_is_read_from_either_form)
{
	struct atr_verdict v = HTTP(.status = 200, .type = ATR_BODY_PROTOBUF,
				    BODY("\x0a\x0b\x08\x03\x12\x07too old"));

	CHECK_INT(v.rejected, 3);
	CHECK_STR(v.message, "too old");
	v = HTTP(.status = 202, .type = ATR_BODY_JSON,
		 BODY("{\"partialSuccess\":{\"rejectedSpans\":\"4\",\"errorMessage\":\"a\\nb\"}}"));
	CHECK_INT(v.rejected, 4);
	CHECK_STR(v.message, "a\\nb");
	v = HTTP(.status = 200, .type = ATR_BODY_JSON,
		 BODY("{\"partial_success\":{\"rejected_data_points\":5}}"));
	CHECK_INT(v.rejected, 5);
	v = HTTP(.status = 200, .type = ATR_BODY_JSON, BODY("{\"partialSuccess\":{}}"));
	CHECK(v.rejected == 0 && !v.message[0]);
	v = HTTP(.status = 200, .type = ATR_BODY_OTHER, BODY("<html>"));
	CHECK(v.kind == ATR_VERDICT_TAKEN && v.rejected == 0 && !v.message[0]);
}

TEST(json_that_ends_anywhere_or_is_none_is_survived)
{
	static const char whole[] = "{\"other\":[1,{\"a\":null}],\"partialSuccess\":"
				    "{\"rejectedSpans\":4,\"errorMessage\":\"a\\u00e9\"}}";
	struct atr_verdict v;

	for (size_t n = 1; n < sizeof(whole); n++) {
		uint8_t *body = test_edge(whole, n);

		v = HTTP(.status = 200, .type = ATR_BODY_JSON, .body = body, .len = n);
		CHECK_INT(v.kind, ATR_VERDICT_TAKEN);
		CHECK(v.rejected == 0 || v.rejected == 4);
		CHECK(n < sizeof(whole) - 1 || v.rejected == 4);
		test_edge_free(body, n);
	}
	v = HTTP(.status = 200, .type = ATR_BODY_JSON, BODY("{\"message\":\"fine\"}"));
	CHECK(v.rejected == 0 && !v.message[0]);
	v = HTTP(.status = 200, .type = ATR_BODY_JSON,
		 BODY("{\"partialSuccess\":{\"rejectedSpans\":-1}}"));
	CHECK_INT(v.rejected, 0);
	v = HTTP(.status = 200, .type = ATR_BODY_JSON,
		 BODY("{\"partialSuccess\":{\"rejectedSpans\":\"99999999999999999999\"}}"));
	CHECK_INT(v.rejected, 0);
}

TEST(a_refusal_is_told_in_the_collectors_words)
{
	struct atr_verdict v;

	v = HTTP(.status = 400, .type = ATR_BODY_PROTOBUF, BODY("\x08\x03\x12\x03why"));
	CHECK_STR(v.message, "why");
	CHECK_STR(v.what, "HTTP 400");
	v = HTTP(.status = 400, .type = ATR_BODY_JSON, BODY("{\"code\":3,\"message\":\"why\"}"));
	CHECK_STR(v.message, "why");
	v = HTTP(.status = 404, .type = ATR_BODY_OTHER, BODY("not here\n<html>"));
	CHECK_STR(v.message, "not here");
	v = HTTP(.status = 308, .location = "https://u:p@other/x?key=1");
	CHECK_STR(v.message, "a redirect to https://other/x, which is not followed");
	CHECK_INT(v.kind, ATR_VERDICT_REFUSED);
}

/* The Collector's answer, in each of its forms. */
TEST(a_400_that_says_too_large_is_a_413)
{
	static const char *const others[] = { "attribute too large", "header too large",
					      "body too short", "bad request" };
	struct atr_verdict v;

	v = HTTP(.status = 400, .type = ATR_BODY_PROTOBUF,
		 BODY("\x08\x03\x12\x1chttp: request body too large"));
	CHECK_INT(v.kind, ATR_VERDICT_TOO_LARGE);
	CHECK_STR(v.what, "HTTP 400");
	CHECK_STR(v.message, "http: request body too large");
	v = HTTP(.status = 400, .type = ATR_BODY_JSON,
		 BODY("{\"code\":3,\"message\":\"http: request body too large\"}"));
	CHECK_INT(v.kind, ATR_VERDICT_TOO_LARGE);
	v = HTTP(.status = 400, BODY("Request Entity Too Large\n"), .proxy = "http://proxy");
	CHECK_INT(v.kind, ATR_VERDICT_TOO_LARGE);
	CHECK_STR(v.message, "through the proxy http://proxy: Request Entity Too Large");
	CHECK_INT(HTTP(.status = 400, BODY("Payload Too Large")).kind, ATR_VERDICT_TOO_LARGE);
	for (size_t i = 0; i < ATR_ARRAY_LEN(others); i++) {
		v = HTTP(.status = 400, .body = (const uint8_t *)others[i],
			 .len = strlen(others[i]));
		CHECK_INT(v.kind, ATR_VERDICT_REFUSED);
	}
	/* A proxy's name is not what was said; nor is it with another status. */
	v = HTTP(.status = 400, BODY("no"), .proxy = "http://body too large");
	CHECK_INT(v.kind, ATR_VERDICT_REFUSED);
	v = HTTP(.status = 500, BODY("http: request body too large"));
	CHECK_INT(v.kind, ATR_VERDICT_REFUSED);
	v = HTTP(.status = 503, BODY("http: request body too large"));
	CHECK_INT(v.kind, ATR_VERDICT_AGAIN);
}

TEST(what_may_be_a_proxys_word_names_it_and_what_only_it_can_say_is_no_refusal)
{
	char url[400] = "http://u:p@", body[400];
	struct atr_verdict v;

	v = HTTP(.status = 407, .proxy = "http://u:p@proxy:3128");
	CHECK_INT(v.kind, ATR_VERDICT_AGAIN);
	CHECK_STR(v.message, "through the proxy http://proxy:3128");
	CHECK_INT(HTTP(.status = 407).kind, ATR_VERDICT_REFUSED);
	v = HTTP(.status = 403, .proxy = "proxy:3128", .type = ATR_BODY_OTHER, BODY("no\nway"));
	CHECK_INT(v.kind, ATR_VERDICT_REFUSED);
	CHECK_STR(v.message, "through the proxy proxy:3128: no");
	v = HTTP(.status = 502, .proxy = "proxy");
	CHECK_INT(v.kind, ATR_VERDICT_AGAIN);
	CHECK_STR(v.message, "through the proxy proxy");
	v = HTTP(.status = 200, .proxy = "proxy");
	CHECK(v.kind == ATR_VERDICT_TAKEN && !v.message[0]);
	memset(url + 11, 'p', sizeof(url) - 12);
	memset(body, 'b', sizeof(body));
	v = HTTP(.status = 403, .proxy = url, .type = ATR_BODY_OTHER, .body = (uint8_t *)body,
		 .len = sizeof(body));
	CHECK(strstr(v.message, "pp: bbb") || strstr(v.message, "...: bbb"));
}

TEST(a_pause_is_the_collectors)
{
	struct atr_grpc_status busy = { .code = 14, .retry_info = true, .retry_ns = 7 };

	CHECK(HTTP(.status = 503, .retry_after = 3).pause == 3 * NS_PER_S);
	CHECK_INT(HTTP(.status = 400, .retry_after = 3).pause, 0);
	/* 2^64 ns and a little, and all that there is. */
	CHECK(HTTP(.status = 503, .retry_after = 18446744074u).pause == 86400 * NS_PER_S);
	CHECK(HTTP(.status = 503, .retry_after = INT64_MAX).pause == 86400 * NS_PER_S);
	CHECK_INT(GRPC(.status = 200, .grpc = &busy).pause, 7);
	busy.retry_info = false;
	CHECK_INT(GRPC(.status = 200, .grpc = &busy).pause, 0);
}

TEST(each_grpc_status_has_one_meaning)
{
	struct atr_grpc_status s = { .code = 0 };
	struct atr_verdict v = GRPC(.status = 200, .grpc = &s,
				    BODY("\0\0\0\0\x0d\x0a\x0b\x08\x03\x12\x07too old"));

	CHECK_INT(v.kind, ATR_VERDICT_TAKEN);
	CHECK_INT(v.rejected, 3);
	CHECK_STR(v.message, "too old");
	CHECK_INT(GRPC(.status = 200, .grpc = &s).kind, ATR_VERDICT_TAKEN);
	CHECK_INT(GRPC(.status = 200, .grpc = &s, BODY("\0\0\0\0\xff")).kind, ATR_VERDICT_TAKEN);
	s = (struct atr_grpc_status){ .code = 14, .message = "later" };
	v = GRPC(.status = 200, .grpc = &s);
	CHECK_INT(v.kind, ATR_VERDICT_AGAIN);
	CHECK_STR(v.what, "gRPC UNAVAILABLE (14)");
	CHECK_STR(v.message, "later");
	s = (struct atr_grpc_status){ .code = 8, .message = "larger than max" };
	CHECK_INT(GRPC(.status = 200, .grpc = &s).kind, ATR_VERDICT_TOO_LARGE);
	s = (struct atr_grpc_status){ .code = 3 };
	CHECK_INT(GRPC(.status = 200, .grpc = &s).kind, ATR_VERDICT_REFUSED);
	CHECK_STR(GRPC(.status = 200, .type = ATR_BODY_OTHER).message, "is this a port for gRPC?");
}

TEST(of_a_grpc_answer_without_its_end_the_message_tells)
{
	struct atr_verdict v = GRPC(.status = 200, .type = ATR_BODY_GRPC);

	CHECK_INT(v.kind, ATR_VERDICT_AGAIN);
	CHECK_STR(v.what, "HTTP 200 without a gRPC status");
	CHECK_INT(GRPC(.status = 200, .type = ATR_BODY_GRPC, BODY("\0\0\0\0\x05\x0a\x02")).kind,
		  ATR_VERDICT_AGAIN);
	CHECK_INT(GRPC(.status = 200, .type = ATR_BODY_GRPC, BODY("\0\0\0\0\0")).kind,
		  ATR_VERDICT_TAKEN);
	v = GRPC(.status = 200, .type = ATR_BODY_GRPC,
		 BODY("\0\0\0\0\x0d\x0a\x0b\x08\x03\x12\x07too old"));
	CHECK_INT(v.kind, ATR_VERDICT_TAKEN);
	CHECK_INT(v.rejected, 3);
}
