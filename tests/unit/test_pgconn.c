/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/sys.o preload/utf8.o preload/pool.o hooks/sql.o hooks/sql-summary.o */
#include "hooks/pgconn.c"
#include "tests/unit/test.h"

static struct atr_pgconn *pg;
static struct atr_pgtext *stmt;

static void fresh(void)
{
	pg = atr_pgconn_new();
	stmt = atr_pgconn_at_hand(pg);
}

static void made(const char *sql, bool parameterised)
{
	atr_pgconn_text(stmt, ATR_SQL_POSTGRESQL, sql, parameterised);
}

static void remember(const char *name, const char *sql)
{
	made(sql, true);
	atr_pgconn_remember(pg, name, stmt);
}

static void recall(const char *name)
{
	memset(stmt, 'z', sizeof(*stmt));
	atr_pgconn_recall(pg, name, stmt);
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

TEST(literals_are_masked_and_parameters_left_alone)
{
	fresh();
	made("SELECT * FROM t WHERE a = 'secret'", false);
	CHECK_STR(text(), "SELECT * FROM t WHERE a = ?");
	CHECK_STR(summary(), "SELECT t");
	made("SELECT * FROM t WHERE a = $1 AND b = 'x'", true);
	CHECK_STR(text(), "SELECT * FROM t WHERE a = $1 AND b = 'x'");
	/* Sent through the parameter call, but it has none; a password hash looks like one. */
	made("SELECT 'secret'", true);
	CHECK_STR(text(), "SELECT ?");
	made("SELECT '$1$salt$SECRETHASH', \"a$1\" /* $2 */ -- $3", true);
	CHECK(strstr(text(), "SECRET") == NULL);
	made("SELECT $1", false);
	CHECK_STR(text(), "SELECT $1");
	made("", false);
	CHECK_STR(text(), "");
	CHECK_STR(summary(), "");
	made(NULL, true);
	CHECK_STR(summary(), "");
	atr_pgconn_free(pg);
}

TEST(without_standard_strings_a_backslash_keeps_the_literal_open)
{
	fresh();
	atr_pgconn_text(stmt, ATR_SQL_POSTGRESQL_ESCAPES, "SELECT 'a\\' x', 'SECRET ONE', 'b'",
			false);
	CHECK_STR(text(), "SELECT ?, ?, ?");
	CHECK(!atr_sql_has_parameter(ATR_SQL_POSTGRESQL_ESCAPES, "SELECT 'a\\' $1'", 16));
	CHECK(atr_sql_has_parameter(ATR_SQL_POSTGRESQL, "SELECT 'a\\', $1", 15));
	atr_pgconn_free(pg);
}

TEST(a_prepared_statement_is_recalled_by_its_name)
{
	fresh();
	remember("s1", "SELECT a FROM t WHERE b = $1");
	remember("", "DELETE FROM u WHERE c = 7");
	recall("s1");
	CHECK_STR(text(), "SELECT a FROM t WHERE b = $1");
	CHECK_STR(summary(), "SELECT t");
	recall("");
	CHECK_STR(text(), "DELETE FROM u WHERE c = ?");
	recall(NULL);
	CHECK_STR(summary(), "DELETE u");
	/* Prepared anew under the same name: the newest counts. */
	remember("s1", "SELECT $1");
	recall("s1");
	CHECK_STR(text(), "SELECT $1");
	recall("nobody");
	CHECK_STR(summary(), "EXECUTE");
	CHECK_INT(stmt->len, 0);
	atr_pgconn_free(pg);
}

TEST(many_statements_fill_the_arena_and_then_it_begins_anew)
{
	char name[32], sql[400];
	unsigned known = 0;

	fresh();
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "stmt%d", i);
		snprintf(sql, sizeof(sql), "SELECT a%d FROM t%d WHERE b = $1%0200d", i, i, 0);
		remember(name, sql);
		recall(name);
		known += strcmp(text(), sql) == 0;
		CHECK(pg->arena_used <= sizeof(pg->arena));
	}
	CHECK_INT(known, 5000);
	recall("stmt0");
	CHECK_STR(summary(), "EXECUTE"); /* forgotten, not wrong */
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
	remember("long", sql);
	recall("long");
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
