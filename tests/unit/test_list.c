/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/list.c"

#include <errno.h>

#include "tests/unit/test.h"

/* The items of a list as [key|value]. */
static const char *items(const char *list)
{
	static char out[256];
	struct atr_list_item item;
	size_t n = 0;

	out[0] = '\0';
	while (atr_list_next(&list, &item))
		n += (size_t)snprintf(out + n, sizeof(out) - n, "[%.*s%s%.*s]", (int)item.key_len,
				      item.key, item.has_value ? "|" : "", (int)item.value_len,
				      item.value);
	return out;
}

TEST(a_list_is_cut_at_commas_and_the_first_equals_sign)
{
	CHECK_STR(items("a=b"), "[a|b]");
	CHECK_STR(items("a=b,c=d"), "[a|b][c|d]");
	CHECK_STR(items("a=b=c"), "[a|b=c]");
	CHECK_STR(items("a=,=b,c"), "[a|][|b][c]");
}

TEST(blanks_are_trimmed_and_empty_items_passed_over)
{
	CHECK_STR(items(" a = b\t,\t c=d e "), "[a|b][c|d e]");
	CHECK_STR(items(",, ,a=b,"), "[a|b]");
	CHECK_STR(items(""), "");
	CHECK_STR(items(" , "), "");
}

TEST(percent_codes_are_decoded)
{
	char out[32];

	CHECK_INT(atr_list_decode(out, "a%2Cb%3dc%25", 12), 6);
	CHECK_MEM(out, "a,b=c%", 6);
	CHECK_INT(atr_list_decode(out, "", 0), 0);
}

TEST(bad_percent_codes_are_refused)
{
	static const char *const bad[] = { "%", "%4", "a%zz", "%4g", "%g4", "%00", "ab%2" };
	char out[32];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		size_t len = strlen(bad[i]);
		char *in = test_edge(bad[i], len);

		CHECK_INT(atr_list_decode(out, in, len), -EINVAL);
		test_edge_free(in, len);
	}
}
