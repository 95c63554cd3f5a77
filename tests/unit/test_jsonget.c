/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/jsonget.c"

#include "preload/compiler.h"
#include "tests/unit/test.h"

/* The member at "a/b/c" of the text, as its text; NULL: none. */
static const char *get(const char *json, const char *path)
{
	static char ret[256];
	size_t len = strlen(json);
	char *edge = test_edge(json, len);
	struct atr_jsonget at = { edge, len };
	bool found = true;
	char key[64];

	while (found && *path) {
		size_t n = strcspn(path, "/");

		(void)snprintf(key, sizeof(key), "%.*s", (int)n, path);
		path += n + (path[n] == '/');
		found = atr_jsonget(&at, &at, key);
	}
	if (found)
		(void)snprintf(ret, sizeof(ret), "%.*s", (int)at.len, at.at);
	test_edge_free(edge, len);
	return found ? ret : NULL;
}

TEST(a_member_is_found_wherever_it_stands)
{
	CHECK_STR(get("{\"a\":1}", "a"), "1");
	CHECK_STR(get(" {\"b\":[1,{\"a\":2}],\n\"a\" : {\"c\":\"x\"} }", "a/c"), "\"x\"");
	CHECK_STR(get("{\"s\":\"},\\\"a\\\":9\",\"a\":true}", "a"), "true");
	CHECK_STR(get("{\"a\":[1,2,{}] ,\"b\":null}", "a"), "[1,2,{}]");
	CHECK_STR(get("{\"a\":[1,2,{}] ,\"b\":null}", "b"), "null");
	CHECK_STR(get("{\"a\":{\"a\":{\"a\":-1.5e3}}}", "a/a/a"), "-1.5e3");
}

TEST(what_is_not_there_is_not_found)
{
	static const char *const texts[] = {
		"",	   "{",	       "{}",	     "[]",    "\"a\"",	    "{\"b\":1}", "{\"a\"",
		"{\"a\":", "{\"a\":}", "{\"a\":\"x", "{a:1}", "{\"aa\":1}", "{\"a\":[1"
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(texts); i++)
		if (!CHECK(!get(texts[i], "a")))
			printf("  %s\n", texts[i]);
	CHECK(!get("{\"a\":1}", "a/b"));
}

TEST(every_truncation_is_survived)
{
	const char *json = "{\"x\":[\"\\u00e9\\\\\",{}],\"a\":{\"b\":\"\\ud83d\\ude00\"}}";

	for (size_t n = 0; n < strlen(json); n++) {
		char *edge = test_edge(json, n), out[64] = "";
		struct atr_jsonget a = { edge, n };

		/* The value ends before the object does. */
		if (atr_jsonget(&a, &a, "a") && atr_jsonget(&a, &a, "b"))
			atr_jsonget_text(out, sizeof(out), &a);
		CHECK(!out[0] || n >= strlen(json) - 1);
		test_edge_free(edge, n);
	}
}

static uint64_t number(const char *text)
{
	size_t len = strlen(text);
	char *edge = test_edge(text, len);
	struct atr_jsonget v = { edge, len };
	uint64_t n = atr_jsonget_number(&v);

	test_edge_free(edge, len);
	return n;
}

TEST(a_number_may_stand_in_quotes)
{
	CHECK_INT(number("17"), 17);
	CHECK_INT(number("\"17\""), 17);
	CHECK(number("1844674407370955160") == 1844674407370955160u);
	CHECK_INT(number("99999999999999999999"), 0);
	CHECK_INT(number("-1"), 0);
	CHECK_INT(number("1.5"), 0);
	CHECK_INT(number("\""), 0);
	CHECK_INT(number("\"\""), 0);
	CHECK_INT(number(""), 0);
	CHECK_INT(number("null"), 0);
}

static const char *text(const char *json, size_t size)
{
	static char out[64];
	size_t len = strlen(json);
	char *edge = test_edge(json, len), *dst = test_edge(NULL, size);
	struct atr_jsonget v = { edge, len };

	atr_jsonget_text(dst, size, &v);
	(void)snprintf(out, sizeof(out), "%s", dst);
	test_edge_free(edge, len);
	test_edge_free(dst, size);
	return out;
}

TEST(a_string_is_unescaped)
{
	CHECK_STR(text("\"too old\"", 64), "too old");
	CHECK_STR(text("\"\\\"\\\\\\/\\n\\t\"", 64), "\"\\/\n\t");
	CHECK_STR(text("\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\"", 64),
		  "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
	CHECK_STR(text("\"\\ud83d\\u0041\\udc00\\u0000\"", 64), "\xef\xbf\xbd"
								"A\xef\xbf\xbd\xef\xbf\xbd");
	CHECK_STR(text("\"\\u12\"", 64), "?12");
	CHECK_STR(text("\"\\\"", 64), "\\");
	CHECK_STR(text("17", 64), "");
	CHECK_STR(text("", 64), "");
	CHECK_STR(text("\"abc\"", 3), "ab");
	CHECK_STR(text("\"\\u20ac\\u20ac\"", 6), "\xe2\x82\xac");
}
