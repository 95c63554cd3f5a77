/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/trouble.c"

#include "tests/unit/test.h"

#define S 1000000000ull

TEST(a_trouble_is_said_once_and_its_end)
{
	struct atr_trouble t = { 0 };
	unsigned others = 9;

	CHECK(!atr_trouble_ends(&t));
	CHECK(atr_trouble_fails(&t, 1 * S, &others));
	CHECK_INT(others, 0);
	for (unsigned i = 2; i < 500; i++)
		CHECK(!atr_trouble_fails(&t, i * S, &others));
	CHECK(atr_trouble_ends(&t));
	CHECK(!atr_trouble_ends(&t));
}

TEST(troubles_that_come_and_go_are_said_once_a_minute_and_counted)
{
	struct atr_trouble t = { 0 };
	unsigned n_said = 0, n_ends = 0, others, n = 0;

	for (unsigned i = 1; i <= 600; i++) {
		if (atr_trouble_fails(&t, i * S, &others)) {
			n_said++;
			n += 1 + others;
			CHECK_INT(others, n_said > 1 ? 59 : 0);
		}
		n_ends += atr_trouble_ends(&t);
	}
	CHECK_INT(n_said, 10);
	CHECK_INT(n_ends, 10);
	CHECK_INT(n, 541);
}

TEST(one_that_stays_is_said_when_its_minute_has_come)
{
	struct atr_trouble t = { 0 };
	unsigned others;

	CHECK(atr_trouble_fails(&t, 1 * S, &others));
	CHECK(atr_trouble_ends(&t));
	CHECK(!atr_trouble_fails(&t, 2 * S, &others));
	CHECK(!atr_trouble_fails(&t, 60 * S, &others));
	CHECK(atr_trouble_fails(&t, 61 * S, &others));
	CHECK_INT(others, 0);
	CHECK(!atr_trouble_fails(&t, 200 * S, &others));
	CHECK(atr_trouble_ends(&t));
}
