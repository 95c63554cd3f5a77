/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/sys.o preload/utf8.o preload/pool.o hooks/sql.o hooks/sql-summary.o */
/* LINK: hooks/pgconn.o hooks/pgqueue.o hooks/pgprepared-sql.o hooks/buffer.o */
#include "hooks/pgprepared.c"
#include "preload/stats.h"
#include "preload/thread.h"
#include "tests/unit/test.h"

__thread struct atr_tls atr_tls;
struct atr_stats atr_stats; /* hooks/buffer.o counts */

static struct atr_pgconn *pg;
static struct atr_pgtext *stmt;

static void fresh(void)
{
	pg = atr_pgconn_new();
	stmt = &pg->text;
}

static void made(const char *sql, bool parameterised)
{
	atr_pgconn_text(stmt, ATR_SQL_POSTGRESQL, sql, parameterised);
}

static void keep(const char *name, const char *sql)
{
	made(sql, true);
	(void)atr_pgprepared_remember(pg, name, stmt);
}

static void fetch(const char *name)
{
	memset(stmt, 'z', sizeof(*stmt));
	if (!atr_pgprepared_recall(pg, name, stmt)) {
		CHECK_INT(stmt->len + stmt->summary_len, 0);
		memcpy(stmt->summary, "unknown", stmt->summary_len = 7);
	}
}

static const char *text(void)
{
	stmt->text[stmt->len] = '\0';
	return stmt->text;
}

static const char *summary(void)
{
	stmt->summary[stmt->summary_len] = '\0';
	return stmt->summary;
}

TEST(a_prepared_statement_is_recalled_by_its_name)
{
	fresh();
	keep("s1", "SELECT a FROM t WHERE b = $1");
	keep("", "DELETE FROM u WHERE c = 7");
	fetch("s1");
	CHECK_STR(text(), "SELECT a FROM t WHERE b = $1");
	CHECK_STR(summary(), "SELECT t");
	fetch("");
	CHECK_STR(text(), "DELETE FROM u WHERE c = ?");
	fetch(NULL);
	CHECK_STR(summary(), "DELETE u");
	/* Prepared anew under the same name: the newest counts. */
	keep("s1", "SELECT $1");
	fetch("s1");
	CHECK_STR(text(), "SELECT $1");
	fetch("nobody");
	CHECK_STR(summary(), "unknown");
	CHECK_INT(stmt->len, 0);
	atr_pgconn_free(pg);
}

TEST(many_statements_fill_the_arena_and_then_the_oldest_are_forgotten)
{
	char name[32], sql[400];
	unsigned known = 0;

	fresh();
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "stmt%d", i);
		snprintf(sql, sizeof(sql), "SELECT a%d FROM t%d WHERE b = $1%0200d", i, i, 0);
		keep(name, sql);
		fetch(name);
		known += strcmp(text(), sql) == 0;
		CHECK(pg->prepared->used <= sizeof(pg->prepared->arena));
	}
	CHECK_INT(known, 5000);
	fetch("stmt0");
	CHECK_STR(summary(), "unknown"); /* forgotten, not wrong */
	known = 0;
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "stmt%d", 4999 - i);
		snprintf(sql, sizeof(sql), "SELECT a%d FROM t%d WHERE b = $1%0200d", 4999 - i,
			 4999 - i, 0);
		fetch(name);
		known += strcmp(text(), sql) == 0;
	}
	CHECK_INT(known, 200);
	atr_pgconn_free(pg);
}

TEST(what_is_prepared_again_and_again_does_not_drive_out_what_is_in_use)
{
	char sql[400], name[ATR_PGPREPARED_NAME_MAX + 1];

	fresh();
	keep("kept", "SELECT a FROM kept WHERE b = $1");
	for (int i = 0; i < 5000; i++) {
		snprintf(sql, sizeof(sql), "SELECT a%d FROM t WHERE b = $1%0200d", i, 0);
		snprintf(name, sizeof(name), "passing%d", i);
		keep("", sql);
		keep(name, sql);
		fetch("");
		CHECK_STR(text(), sql);
		fetch(name);
		CHECK_STR(text(), sql);
		atr_pgprepared_forget(pg, name);
		fetch(name);
		CHECK_STR(summary(), "unknown");
		fetch("kept");
		CHECK_STR(text(), "SELECT a FROM kept WHERE b = $1");
		CHECK(pg->prepared->used <= sizeof(pg->prepared->arena));
	}
	atr_pgconn_free(pg);
}

TEST(a_long_text_and_a_long_prefix_stay_within_their_limits)
{
	size_t n = 3 * ATR_VALUE_MAX;
	char *sql = malloc(n + 1);

	fresh();
	memset(sql, 'x', n);
	sql[n] = '\0';
	memcpy(sql, "SELECT $1 FROM ", 15);
	keep("long", sql);
	fetch("long");
	CHECK_INT(stmt->len, ATR_VALUE_MAX);
	for (size_t i = 0; i + 4 < n; i += 5)
		memcpy(sql + i, "a, b ", 5);
	memcpy(sql, "SELECT FROM ", 12);
	made(sql, false);
	atr_pgconn_prefix(stmt, "PREPARE");
	CHECK(stmt->summary_len <= ATR_SQL_SUMMARY_MAX);
	CHECK_MEM(stmt->summary, "PREPARE ", 8);
	made("", false);
	atr_pgconn_prefix(stmt, "PREPARE");
	CHECK_STR(summary(), "PREPARE");
	free(sql);
	atr_pgconn_free(pg);
}

TEST(what_failed_to_be_prepared_leaves_what_was_there)
{
	uint32_t handle;

	fresh();
	keep("p", "SELECT $1 AS first");
	made("SELECT $1 AS second", true);
	handle = atr_pgprepared_remember(pg, "p", stmt);
	fetch("p");
	CHECK_STR(text(), "SELECT $1 AS second");
	atr_pgprepared_undo(pg, handle);
	fetch("p");
	CHECK_STR(text(), "SELECT $1 AS first");
	atr_pgprepared_undo(pg, handle); /* twice, or of an arena that is no more */
	atr_pgprepared_undo(pg, 0);
	atr_pgprepared_undo(pg, 100000);
	fetch("p");
	CHECK_STR(text(), "SELECT $1 AS first");
	keep("q", "SELECT $1 AS other");
	atr_pgprepared_forget(pg, "p");
	fetch("p");
	CHECK_STR(summary(), "unknown");
	fetch("q");
	CHECK_STR(text(), "SELECT $1 AS other");
	atr_pgprepared_forget(pg, NULL);
	fetch("q");
	CHECK_STR(summary(), "unknown");
	atr_pgconn_free(pg);
}

static void sql(const char *statement)
{
	if (atr_pgprepared_is_meant(statement))
		(void)atr_pgprepared_by_sql(pg, ATR_SQL_POSTGRESQL, statement, true);
}

TEST(prepare_and_deallocate_as_statements_do_the_same)
{
	static const struct {
		const char *sql, *name, *text; /* NULL: not known then */
	} cases[] = {
		{ "PREPARE a AS SELECT $1 FROM t", "a", "SELECT $1 FROM t" },
		{ "/* c */ prepare B (int, numeric(5, 2)) As\n SELECT $1", "b", "SELECT $1" },
		{ "PREPARE \"As \"\"X\" AS SELECT 'secret'", "As \"X", "SELECT ?" },
		{ "PREPARE TRANSACTION 'x'", "transaction", NULL },
		{ "DEALLOCATE nobody", "a", "SELECT $1 FROM t" },
		{ "DEALLOCATE A", "a", NULL },
		{ "DEALLOCATE PREPARE b", "b", NULL },
		{ "DISCARD PLANS", "As \"X", "SELECT ?" },
		{ "DEALLOCATE \"all\"", "As \"X", "SELECT ?" },
		{ "deallocate prepare all", "As \"X", NULL },
		{ "PREPARE c AS SELECT 1", "c", "SELECT ?" },
		{ "SELECT 'DISCARD ALL'", "c", "SELECT ?" },
		{ "PREPARE", "", NULL },
		{ "PREPARE d", "d", NULL },
		{ "PREPARE d AS", "d", "" },
		{ "PREPARE d (", "d", "" },
		{ "DEALLOCATE", "c", "SELECT ?" },
		{ "DISCARD", "c", "SELECT ?" },
		{ "Discard /* all */ All;", "c", NULL },
		{ "", "c", NULL },
		{ "PREPARE e AS SELECT $1; INSERT INTO t VALUES ('SECRET')", "e", "SELECT $1" },
		{ ";BEGIN; DEALLOCATE e;prepare f(int) AS (SELECT (1));commit;", "f",
		  "(SELECT (?))" },
		{ "SELECT ';'", "e", NULL },
		{ "DISCARD; DEALLOCATE; PREPARE; PREPARE g; PREPARE h AS; SELECT 1", "h", "" },
		{ "CREATE RULE r AS ON DELETE TO t DO (SELECT 1; PREPARE g AS x)", "g", NULL },
		{ "SELECT 1; DEALLOCATE ALL", "f", NULL },
	};

	fresh();
	for (size_t i = 0; i < ATR_ARRAY_LEN(cases); i++) {
		sql(cases[i].sql);
		fetch(cases[i].name);
		if (cases[i].text)
			CHECK_STR(text(), cases[i].text);
		else
			CHECK_STR(summary(), "unknown");
	}
	sql(NULL);
	atr_pgconn_free(pg);
}

TEST(of_statements_that_perhaps_succeeded_nothing_is_known)
{
	uint32_t handle;

	fresh();
	sql("PREPARE a AS SELECT 1; PREPARE b AS SELECT 2; PREPARE c AS SELECT $1");
	(void)atr_pgprepared_by_sql(pg, ATR_SQL_POSTGRESQL,
				    "DEALLOCATE a; PREPARE b AS SELECT 4; SELECT 1/0", false);
	fetch("a");
	CHECK_STR(summary(), "unknown");
	fetch("b");
	CHECK_STR(summary(), "unknown");
	fetch("c");
	CHECK_STR(text(), "SELECT $1");
	handle = atr_pgprepared_by_sql(pg, ATR_SQL_POSTGRESQL, "PREPARE c AS SELECT $2", true);
	atr_pgprepared_undo(pg, handle);
	fetch("c");
	CHECK_STR(text(), "SELECT $1");
	CHECK(atr_pgprepared_has_several("SELECT 1; x") &&
	      !atr_pgprepared_has_several("SELECT 1; \n;"));
	atr_pgconn_free(pg);
}
