/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/buf.o exporter/json.o preload/utf8.o */
#include "exporter/spots.c"

#include <stdio.h>

#include "tests/unit/test.h"

#define RESOURCE(scopes) "{\"resource\":{\"spans\":[{}]},\"scopeSpans\":[" scopes "]}"
#define SCOPE(spans) "{\"spans\":[" spans "],\"scope\":{}}"
#define LINE(resources) "{\"resourceSpans\":[" resources "],\"x\":[{\"spans\":[{}]}]}\r"

/* The line with blanks for spans from `first` on. */
static void take(struct atr_spots *s, char *line, size_t first, size_t n)
{
	uint32_t from, to;

	while (n) {
		size_t k = atr_spots_take(s, first, n, &from, &to);

		if (!CHECK(k && k <= n && from <= to && to <= strlen(line)))
			return;
		memset(line + from, ' ', to - from);
		first += k;
		n -= k;
	}
}

/* The names of the spans that are in it, and that it is JSON; the rest is not looked at. */
static const char *names(const char *line)
{
	static char got[64];
	struct atr_spots s = { 0 };
	struct atr_json j;
	const struct atr_spot *spot;
	size_t n, at = 0;

	atr_json_init(&j, line, strlen(line));
	atr_json_skip(&j);
	CHECK(atr_json_end(&j));
	CHECK(atr_spots_find(&s, line, strlen(line)));
	spot = spots(&s, &n);
	for (size_t i = 0; i < n; i++)
		got[at++] = line[spot[i].from + 2];
	got[at] = '\0';
	atr_spots_finish(&s);
	return got;
}

static const char many[] = LINE(
	RESOURCE(SCOPE("{\"a\":1},{\"b\":[{},\"}\"]}, {\"c\":1}")) "," RESOURCE(SCOPE("") "," SCOPE(
		" {\"d\":1} ") "," SCOPE("{\"e\":1},null,\n\t{\"f\":1},7")) ",null,{}");

TEST(every_run_of_spans_can_be_taken_out_of_a_line)
{
	static const char all[] = "abcdef";
	char line[sizeof(many)], left[sizeof(all)];

	CHECK_STR(names(many), all);
	for (size_t first = 0; first < 6; first++)
		for (size_t n = 1; first + n <= 6; n++) {
			struct atr_spots s = { 0 };

			memcpy(line, many, sizeof(many));
			CHECK(atr_spots_find(&s, line, strlen(line)));
			take(&s, line, first, n);
			(void)snprintf(left, sizeof(left), "%.*s%s", (int)first, all,
				       all + first + n);
			CHECK_STR(names(line), left);
			atr_spots_finish(&s);
		}
}

/* Bit i: span i goes, in as many steps as there are spans, or in runs. */
TEST(every_choice_of_spans_can_be_taken_out_from_front_to_back)
{
	static const char all[] = "abcdef";
	char line[sizeof(many)], left[sizeof(all)];

	for (unsigned choice = 0; choice < 64; choice++)
		for (int runs = 0; runs < 2; runs++) {
			struct atr_spots s = { 0 };
			size_t k = 0;

			memcpy(line, many, sizeof(many));
			CHECK(atr_spots_find(&s, line, strlen(line)));
			for (size_t i = 0, n; i < 6; i += n) {
				n = 1;
				if (!(choice >> i & 1)) {
					left[k++] = all[i];
					continue;
				}
				while (runs && i + n < 6 && choice >> (i + n) & 1)
					n++;
				take(&s, line, i, n);
			}
			left[k] = '\0';
			CHECK_STR(names(line), left);
			atr_spots_finish(&s);
		}
}

TEST(what_is_no_line_has_no_spots)
{
	static const char *const bad[] = { "", "{", "[]", "{\"resourceSpans\":[{]}", "x" };
	static const char none[] = LINE("null,5,{\"scopeSpans\":null}");
	struct atr_spots s = { 0 };
	uint32_t from, to;

	for (size_t len = 0; len < sizeof(many) - 3; len++) /* the last is a white space */
		CHECK(!atr_spots_find(&s, many, len));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		(void)atr_spots_find(&s, bad[i], strlen(bad[i]));
		CHECK_INT(atr_spots_take(&s, 0, 1, &from, &to), 0);
	}
	CHECK(atr_spots_find(&s, none, strlen(none)));
	CHECK_INT(atr_spots_take(&s, 0, 1, &from, &to), 0);
	atr_spots_finish(&s);
}
