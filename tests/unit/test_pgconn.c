/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/sys.o preload/utf8.o preload/pool.o hooks/sql.o hooks/sql-summary.o */
/* LINK: hooks/pgqueue.o hooks/pgprepared.o hooks/buffer.o -lpthread */
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
