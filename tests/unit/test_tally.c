/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/tally.c"

#include "tests/unit/test.h"

#define MS 1000000ull

static void run(struct atr_tally *t, size_t n, const char *error, int status, uint64_t rejected,
		bool back, uint64_t took)
{
	const struct atr_outcome o = { .error = error,
				       .http_status = status,
				       .n_rejected = rejected };

	atr_tally_begin(t, n, 5000 * MS);
	CHECK_INT(t->inflight, n);
	atr_tally_end(t, &o, back, 5000 * MS + took);
	CHECK_INT(t->inflight, 0);
}

TEST(each_outcome_has_a_row_and_its_spans_in_it)
{
	struct atr_tally t = { 0 };

	run(&t, 10, NULL, 200, 0, false, 4 * MS);
	run(&t, 7, NULL, 200, 0, false, 6 * MS);
	run(&t, 5, "400", 400, 5, false, 20000 * MS);
	run(&t, 4, "rejected", 200, 1, false, 5 * MS);
	CHECK_INT(t.n_rows, 3);
	CHECK_INT(t.ok_spans, 20);
	CHECK_INT(t.processed, 26);
	CHECK_STR(t.rows[0].error, "");
	CHECK_INT(t.rows[0].n_exports, 2);
	CHECK_INT(t.rows[0].n_spans, 0);
	CHECK(t.rows[0].seconds > 0.0099 && t.rows[0].seconds < 0.0101);
	CHECK_INT(t.rows[0].buckets[0], 1); /* a bound belongs to the bucket below it */
	CHECK_INT(t.rows[0].buckets[1], 1);
	CHECK_INT(t.rows[1].n_spans, 5);
	CHECK_INT(t.rows[1].buckets[ATR_TALLY_BUCKETS - 1], 1);
	CHECK_INT(t.rows[2].n_spans, 1);
	CHECK_INT(t.rows[2].buckets[0], 1);
}

TEST(what_is_put_back_is_processed_once_and_exported_each_time)
{
	struct atr_tally t = { 0 };

	run(&t, 10, "connection_failed", 0, 0, true, MS);
	run(&t, 4, "connection_failed", 0, 0, true, MS);
	CHECK_INT(t.processed, 10);
	run(&t, 10, NULL, 200, 0, false, MS);
	CHECK_INT(t.processed, 10);
	run(&t, 3, NULL, 200, 0, false, MS);
	CHECK_INT(t.processed, 13);
	CHECK_INT(t.ok_spans, 13);
	CHECK_INT(t.rows[0].n_spans, 14);
	CHECK_INT(t.rows[0].n_exports, 2);
}

TEST(too_many_kinds_are_others)
{
	struct atr_tally t = { 0 };
	char error[8];
	uint64_t n = 0;

	for (int status = 400; status < 440; status++) {
		(void)snprintf(error, sizeof(error), "%d", status);
		run(&t, 1, error, status, 1, false, MS);
	}
	CHECK_INT(t.n_rows, ATR_TALLY_ROWS);
	CHECK_STR(t.rows[ATR_TALLY_ROWS - 1].error, "_OTHER");
	for (size_t i = 0; i < t.n_rows; i++)
		n += t.rows[i].n_spans;
	CHECK_INT(n, 40);
	CHECK_INT(t.rows[ATR_TALLY_ROWS - 1].n_spans, 40 - (ATR_TALLY_ROWS - 1));
}
