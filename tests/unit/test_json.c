/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/json.c"
#include "tests/unit/test.h"

static struct atr_json over(const char *text)
{
	struct atr_json j;

	atr_json_init(&j, test_edge(text, strlen(text)), strlen(text));
	return j;
}

static bool skips(const char *text)
{
	struct atr_json j = over(text);

	atr_json_skip(&j);
	return atr_json_end(&j);
}

TEST(what_is_json_is_skipped_whole)
{
	static const char *const good[] = {
		"{}",	    " [ ] ",	     "null",
		"true",	    "false",	     "-1.5e+3",
		"0",	    "\"\"",	     "{\"a\":[1,{\"b\":null}],\"c\":\"\\u00e9\\n\\\"\"}",
		"[[[[]]]]", "[1 , 2\t,\n3]",
	};
	static const char *const bad[] = {
		"",	    "{",	   "}",		 "[1,]",      "[,1]",	 "{\"a\"}",
		"{\"a\":}", "{a:1}",	   "{\"a\":1,}", "nul",	      "\"",	 "\"\\",
		"\"\\x\"",  "\"\\u12g4\"", "\"\n\"",	 "1.",	      "-",	 "1e",
		"[1 2]",    "{} {}",	   "[1}",	 "{\"a\":1]", "\"\\u\"",
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		CHECK(skips(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (!CHECK(!skips(bad[i])))
			printf("  %s\n", bad[i]);
}

TEST(it_does_not_nest_for_ever)
{
	char deep[2001];

	memset(deep, '[', 1000);
	memset(deep + 1000, ']', 1000);
	deep[2000] = '\0';
	CHECK(!skips(deep));
}

static double number(const char *text)
{
	struct atr_json j = over(text);
	double v = -99;

	return atr_json_number(&j, &v) && atr_json_end(&j) ? v : -99;
}

TEST(numbers_are_read_whatever_the_locale)
{
	CHECK(number("0.25") == 0.25);
	CHECK(number("-3") == -3);
	CHECK(number("1e-3") > 0.00099999 && number("1e-3") < 0.00100001);
	CHECK(number("12.5E1") == 125);
	CHECK(number("\"1\"") == -99);
	CHECK(number("1e999999999") > 1e300);
}

TEST(strings_become_utf8)
{
	struct atr_json j = over("\"a\\u00e9\\ud83d\\ude00\\ud800x\\/\"");
	char text[32], small[4];
	size_t len;

	CHECK(atr_json_string(&j, text, sizeof(text), &len) && atr_json_end(&j));
	CHECK_STR(text, "a\xc3\xa9\xf0\x9f\x98\x80\xef\xbf\xbdx/");
	CHECK_INT(len, strlen(text));
	j = over("\"abcdef\"");
	CHECK(!atr_json_string(&j, small, sizeof(small), &len) && atr_json_end(&j));
	CHECK_STR(small, "abc");
}

TEST(members_are_found_and_others_passed_over)
{
	struct atr_json j = over("{\"x\":{\"wanted\":1},\"wanted\":2,\"y\":[3]}");
	char key[16];
	double v = 0;

	CHECK(atr_json_object(&j));
	while (atr_json_key(&j, key, sizeof(key)))
		if (strcmp(key, "wanted") == 0)
			CHECK(atr_json_number(&j, &v));
		else
			atr_json_skip(&j);
	CHECK(v == 2 && atr_json_end(&j));
}
