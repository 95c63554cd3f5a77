/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/sys.o preload/utf8.o preload/pool.o hooks/sql.o hooks/sql-summary.o */
#include "hooks/pgconn.c"
#include "tests/unit/test.h"

static struct atr_pgconn *pg;

static const char *text(void)
{
	pg->text[pg->text_len] = '\0';
	return pg->text;
}

static const char *summary(void)
{
	pg->summary[pg->summary_len] = '\0';
	return pg->summary;
}

TEST(literals_are_masked_and_parameters_left_alone)
{
	pg = atr_pgconn_new();
	atr_pgconn_text(pg, "SELECT * FROM t WHERE a = 'secret'", false);
	CHECK_STR(text(), "SELECT * FROM t WHERE a = ?");
	CHECK_STR(summary(), "SELECT t");
	atr_pgconn_text(pg, "SELECT * FROM t WHERE a = $1 AND b = 'x'", true);
	CHECK_STR(text(), "SELECT * FROM t WHERE a = $1 AND b = 'x'");
	/* Sent through the parameter call, but it has none. */
	atr_pgconn_text(pg, "SELECT 'secret'", true);
	CHECK_STR(text(), "SELECT ?");
	atr_pgconn_text(pg, "SELECT $1", false);
	CHECK_STR(text(), "SELECT $1");
	atr_pgconn_text(pg, "", false);
	CHECK_STR(text(), "");
	CHECK_STR(summary(), "");
	atr_pgconn_text(pg, NULL, true);
	CHECK_STR(summary(), "");
	atr_pgconn_free(pg);
}

TEST(a_prepared_statement_is_recalled_by_its_name)
{
	pg = atr_pgconn_new();
	atr_pgconn_remember(pg, "s1", "SELECT a FROM t WHERE b = $1");
	CHECK_STR(summary(), "PREPARE SELECT t");
	atr_pgconn_remember(pg, "", "DELETE FROM u WHERE c = 7");
	atr_pgconn_recall(pg, "s1");
	CHECK_STR(text(), "SELECT a FROM t WHERE b = $1");
	CHECK_STR(summary(), "SELECT t");
	atr_pgconn_recall(pg, "");
	CHECK_STR(text(), "DELETE FROM u WHERE c = ?");
	atr_pgconn_recall(pg, NULL);
	CHECK_STR(summary(), "DELETE u");
	/* Prepared anew under the same name: the newest counts. */
	atr_pgconn_remember(pg, "s1", "SELECT $1");
	atr_pgconn_recall(pg, "s1");
	CHECK_STR(text(), "SELECT $1");
	atr_pgconn_recall(pg, "nobody");
	CHECK_STR(summary(), "EXECUTE");
	CHECK_INT(pg->text_len, 0);
	atr_pgconn_free(pg);
}

TEST(many_statements_fill_the_arena_and_then_it_begins_anew)
{
	char name[32], sql[400];
	unsigned known = 0;

	pg = atr_pgconn_new();
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "stmt%d", i);
		snprintf(sql, sizeof(sql), "SELECT a%d FROM t%d WHERE b = $1%0200d", i, i, 0);
		atr_pgconn_remember(pg, name, sql);
		atr_pgconn_recall(pg, name);
		known += strcmp(text(), sql) == 0;
		CHECK(pg->arena_used <= sizeof(pg->arena));
	}
	CHECK_INT(known, 5000);
	atr_pgconn_recall(pg, "stmt0");
	CHECK_STR(summary(), "EXECUTE"); /* forgotten, not wrong */
	atr_pgconn_free(pg);
}

TEST(a_long_text_and_a_long_prefix_stay_within_their_limits)
{
	size_t n = 3 * ATR_VALUE_MAX;
	char *sql = malloc(n + 1);

	pg = atr_pgconn_new();
	memset(sql, 'x', n);
	sql[n] = '\0';
	memcpy(sql, "SELECT $1 FROM ", 15);
	atr_pgconn_remember(pg, "long", sql);
	atr_pgconn_recall(pg, "long");
	CHECK_INT(pg->text_len, ATR_VALUE_MAX);
	for (size_t i = 0; i + 4 < n; i += 5)
		memcpy(sql + i, "a, b ", 5);
	memcpy(sql, "SELECT FROM ", 12);
	atr_pgconn_text(pg, sql, false);
	atr_pgconn_prefix(pg, "PREPARE");
	CHECK(pg->summary_len <= ATR_SQL_SUMMARY_MAX);
	CHECK_MEM(pg->summary, "PREPARE ", 8);
	free(sql);
	atr_pgconn_free(pg);
}
