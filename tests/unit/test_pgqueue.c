/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/sys.o preload/pool.o */
#include "hooks/pgqueue.c"
#include "tests/unit/test.h"

static struct atr_pgqueue q;

/* The n-th statement: its text says which one it is. */
static bool push(uint32_t n, size_t len)
{
	struct atr_pgstmt *s = atr_pgqueue_push(&q, len, false);

	if (!s)
		return false;
	s->prepared = n;
	s->text_len = (uint32_t)len;
	memset(s->texts, (int)(n & 0xff), len);
	return true;
}

static bool first_is(uint32_t n)
{
	struct atr_pgstmt *s = atr_pgqueue_first(&q);

	if (!s || s->prepared != n)
		return false;
	for (uint32_t i = 0; i < s->text_len; i++)
		if ((uint8_t)s->texts[i] != (n & 0xff))
			return false;
	return true;
}

TEST(one_statement_of_any_length_needs_no_memory_from_the_pool)
{
	atr_pgqueue_init(&q);
	CHECK(atr_pgqueue_first(&q) == NULL);
	atr_pgqueue_pop(&q);
	for (uint32_t i = 1; i < 200; i++) {
		CHECK(push(i, i % 2 ? ATR_VALUE_MAX + ATR_SQL_SUMMARY_MAX : i));
		CHECK(first_is(i));
		atr_pgqueue_pop(&q);
		CHECK(atr_pgqueue_first(&q) == NULL);
	}
	CHECK(q.large == NULL);
}

TEST(statements_come_out_as_they_went_in)
{
	uint32_t in = 0, out = 0;

	atr_pgqueue_init(&q);
	srand(1);
	for (int round = 0; round < 20000; round++) {
		/* Waves, so that it is full and empty in turn. */
		bool fill = round / 500 % 2 == 0 ? rand() % 3 : !(rand() % 3);

		if (fill && in - out < 60) {
			CHECK(push(++in, (size_t)(rand() % (round % 7 ? 200 : ATR_VALUE_MAX))));
		} else if (out < in) {
			CHECK(first_is(++out));
			atr_pgqueue_pop(&q);
		}
		CHECK_INT(q.n, in - out);
	}
	while (out < in) {
		CHECK(first_is(++out));
		atr_pgqueue_pop(&q);
	}
	CHECK(q.large != NULL);
	CHECK(atr_pgqueue_first(&q) == NULL);
	atr_pgqueue_shrink(&q);
	CHECK(q.large == NULL);
}

TEST(without_room_statements_are_counted_until_all_have_been_answered)
{
	uint32_t n = 0;

	atr_pgqueue_init(&q);
	while (push(n + 1, 5000))
		n++;
	CHECK(n > 50);
	CHECK_INT(q.gap, 1);
	CHECK(atr_pgqueue_push(&q, 0, true) == NULL);
	CHECK_INT(q.gap_syncs, 1);
	for (uint32_t i = 1; i <= n; i++) {
		CHECK(first_is(i));
		atr_pgqueue_pop(&q);
		CHECK(!push(i, 1)); /* there is room, but it would overtake */
	}
	CHECK_INT(q.gap, n + 1);
	CHECK(atr_pgqueue_first(&q) == NULL);
	q.gap = q.gap_syncs = 0;
	CHECK(push(7, 10));
	CHECK(first_is(7));
	atr_pgqueue_pop(&q);
	atr_pgqueue_shrink(&q);
}
