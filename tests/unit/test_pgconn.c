/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/sys.o preload/utf8.o preload/pool.o hooks/sql.o hooks/sql-summary.o */
/* LINK: hooks/pgqueue.o hooks/buffer.o -lpthread */
#include <pthread.h>

#include "hooks/pgconn.c"
#include "preload/stats.h"
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
	(void)atr_pgconn_remember(pg, name, stmt);
}

static void fetch(const char *name)
{
	memset(stmt, 'z', sizeof(*stmt));
	if (!atr_pgconn_recall(pg, name, stmt)) {
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
		CHECK(pg->arena_used <= sizeof(pg->arena));
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
	char sql[400], name[NAME_MAX_BYTES + 1];

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
		atr_pgconn_unprepare(pg, name);
		fetch(name);
		CHECK_STR(summary(), "unknown");
		fetch("kept");
		CHECK_STR(text(), "SELECT a FROM kept WHERE b = $1");
		CHECK(pg->arena_used <= sizeof(pg->arena));
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
	handle = atr_pgconn_remember(pg, "p", stmt);
	fetch("p");
	CHECK_STR(text(), "SELECT $1 AS second");
	atr_pgconn_undo(pg, handle);
	fetch("p");
	CHECK_STR(text(), "SELECT $1 AS first");
	atr_pgconn_undo(pg, handle); /* twice, or of an arena that is no more */
	atr_pgconn_undo(pg, 0);
	atr_pgconn_undo(pg, 100000);
	fetch("p");
	CHECK_STR(text(), "SELECT $1 AS first");
	keep("q", "SELECT $1 AS other");
	atr_pgconn_unprepare(pg, "p");
	fetch("p");
	CHECK_STR(summary(), "unknown");
	fetch("q");
	CHECK_STR(text(), "SELECT $1 AS other");
	atr_pgconn_unprepare(pg, NULL);
	fetch("q");
	CHECK_STR(summary(), "unknown");
	atr_pgconn_free(pg);
}

static void sql(const char *statement)
{
	if (atr_pgconn_is_about_prepared(statement))
		(void)atr_pgconn_prepared_by(pg, ATR_SQL_POSTGRESQL, statement, true);
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
	(void)atr_pgconn_prepared_by(pg, ATR_SQL_POSTGRESQL,
				     "DEALLOCATE a; PREPARE b AS SELECT 4; SELECT 1/0", false);
	fetch("a");
	CHECK_STR(summary(), "unknown");
	fetch("b");
	CHECK_STR(summary(), "unknown");
	fetch("c");
	CHECK_STR(text(), "SELECT $1");
	handle = atr_pgconn_prepared_by(pg, ATR_SQL_POSTGRESQL, "PREPARE c AS SELECT $2", true);
	atr_pgconn_undo(pg, handle);
	fetch("c");
	CHECK_STR(text(), "SELECT $1");
	CHECK(atr_pgconn_has_several("SELECT 1; x") && !atr_pgconn_has_several("SELECT 1; \n;"));
	atr_pgconn_free(pg);
}

static char conns[20000];

TEST(connections_are_found_by_their_address_until_they_are_forgotten)
{
	unsigned made_ones = 0, same = 0;

	for (int round = 0; round < 2; round++) {
		made_ones = same = 0;
		for (size_t i = 16; i < 1000 * 16; i += 16) {
			CHECK(atr_pgconn_find(conns + i) == NULL);
			pg = atr_pgconn_make(conns + i);
			made_ones += pg != NULL;
			same += pg && pg == atr_pgconn_make(conns + i) &&
				pg == atr_pgconn_find(conns + i) && pg->conn == conns + i;
		}
		CHECK_INT(made_ones, 999);
		CHECK_INT(same, 999);
		for (size_t i = 16; i < 1000 * 16; i += 16) {
			pg = atr_pgconn_find(conns + i);
			atr_pgconn_forget(pg);
			CHECK(atr_pgconn_find(conns + i) == NULL);
			CHECK(pg->conn == NULL);
			atr_pgconn_free(pg);
		}
	}
}

TEST(a_full_table_is_said_and_nothing_is_lost)
{
	static const void *all[3 * PROBES];
	unsigned n = 0;

	/* All of them want to lie in the same slot. */
	for (uintptr_t at = 16; n < 3 * PROBES; at += 16)
		if (place((const void *)at) == SLOTS - 3)
			all[n++] = (const void *)at;
	n = 0;
	for (size_t i = 0; i < 3 * PROBES; i++)
		n += atr_pgconn_make(all[i]) != NULL;
	CHECK_INT(n, PROBES);
	for (size_t i = 0; i < 3 * PROBES; i++) {
		pg = atr_pgconn_find(all[i]);
		CHECK_INT(pg != NULL, i < PROBES);
		if (!pg)
			continue;
		atr_pgconn_forget(pg);
		atr_pgconn_free(pg);
	}
}

static unsigned seen;

static void see(struct atr_pgconn *one)
{
	seen++;
	CHECK(one->owner == ENDING);
	CHECK(!atr_pgconn_hold(one)); /* whoever comes now passes by */
}

TEST(the_end_of_the_process_leaves_alone_what_somebody_is_at_work_with)
{
	struct atr_pgconn *a = atr_pgconn_make(conns + 16), *b = atr_pgconn_make(conns + 32);

	CHECK(atr_pgconn_hold(a));
	CHECK(atr_pgconn_hold(a)); /* left by longjmp(), and entered again */
	seen = 0;
	atr_pgconn_each(see);
	CHECK_INT(seen, 1);
	atr_pgconn_release(a);
	atr_pgconn_each(see);
	CHECK_INT(seen, 3);
	CHECK(atr_pgconn_hold(b));
	atr_pgconn_release(b);
	atr_pgconn_forget(a);
	atr_pgconn_free(a);
	atr_pgconn_forget(b);
	atr_pgconn_free(b);
}

static void *come_and_go(void *arg)
{
	char *mine = arg;

	for (int i = 0; i < 2000; i++) {
		struct atr_pgconn *one = atr_pgconn_make(mine);

		if (!one || !atr_pgconn_hold(one))
			continue;
		atr_pgconn_forget(one);
		atr_pgconn_free(one);
	}
	return NULL;
}

static void nothing(struct atr_pgconn *one)
{
	CHECK(one->conn != NULL);
}

TEST(threads_come_and_go_while_the_process_ends)
{
	pthread_t threads[4];

	for (size_t i = 0; i < 4; i++)
		CHECK_INT(pthread_create(&threads[i], NULL, come_and_go, conns + 1600 * (i + 1)),
			  0);
	for (int i = 0; i < 50; i++)
		atr_pgconn_each(nothing);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}
