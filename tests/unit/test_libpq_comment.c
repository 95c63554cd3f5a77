/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/traceparent.o */
/* LINK: hooks/sqlcommenter.o hooks/sql.o hooks/buffer.o */
/* LINK: preload/carrier.o preload/pool.o preload/sys.o preload/text.o preload/utf8.o */
#include "hooks/libpq-comment.c"

#include "tests/unit/test.h"

struct atr_config atr_config;
struct atr_propagators atr_propagators;
struct atr_stats atr_stats;

static struct atr_pgconn pg;

static struct atr_op fresh(void)
{
	struct atr_op op = { .context = {
				     .trace_id = { 0xaa }, .span_id = { 0xbb }, .valid = true } };

	atr_config.sqlcommenter = true;
	atr_propagators.mask = ATR_PROPAGATE_TRACECONTEXT;
	atr_buffer_give(pg.commented);
	pg.commented = NULL;
	memset(&atr_stats, 0, sizeof(atr_stats));
	return op;
}

static const char *comment(const struct atr_op *op, const char *sql)
{
	return atr_libpq_comment(&pg, op, ATR_SQL_POSTGRESQL, sql);
}

TEST(the_program_keeps_its_text_and_libpq_gets_a_copy)
{
	struct atr_op op = fresh();
	const char *sql = "SELECT 1", *copy = comment(&op, sql);

	CHECK(copy != sql && copy == pg.commented);
	CHECK_STR(sql, "SELECT 1");
	CHECK_STR(copy, "SELECT 1 /*traceparent='00-aa000000000000000000000000000000-"
			"bb00000000000000-00'*/");
	CHECK(comment(&op, "SELECT 22") == copy);
	CHECK_INT(strlen(copy), strlen("SELECT 22 /**/") + 69);
}

TEST(nothing_is_told_that_is_not_to_be_told)
{
	struct atr_op op = fresh();
	const char *sql = "SELECT 1";

	op.context.valid = false;
	CHECK(comment(&op, sql) == sql);
	op = fresh();
	atr_config.sqlcommenter = false;
	CHECK(comment(&op, sql) == sql);
	op = fresh();
	atr_propagators.mask = 0;
	CHECK(comment(&op, sql) == sql);
	CHECK(pg.commented == NULL);
	op = fresh();
	sql = "SELECT 'open";
	CHECK(comment(&op, sql) == sql);
	CHECK_INT(atr_stats.not_commented, 0);
}

TEST(a_tracestate_goes_with_it_while_it_is_there)
{
	struct atr_op op = fresh();
	struct atr_carrier *c = atr_carrier_new(ATR_SLICE("a=b"), ATR_SLICE("k=v"));

	op.context.carrier = c;
	op.context.carrier_gen = c->gen;
	CHECK(strstr(comment(&op, "SELECT 1"), "-00',tracestate='a%3Db'*/") != NULL);
	CHECK_INT(c->refs, 1);
	atr_carrier_release(c);
	CHECK(strstr(comment(&op, "SELECT 1"), "-00'*/") != NULL);
}

TEST(what_is_too_long_is_left_alone_and_counted)
{
	enum { MOST = ATR_BUFFER_SIZE - ATR_SQLCOMMENTER_MAX - 1 };
	static char sql[MOST + 2];
	struct atr_op op = fresh();

	memset(sql, 'x', MOST + 1);
	memcpy(sql, "SELECT ", 7);
	CHECK(comment(&op, sql) == sql);
	CHECK_INT(atr_stats.not_commented, 1);
	sql[MOST] = '\0';
	CHECK(comment(&op, sql) == pg.commented);
	CHECK_INT(strlen(pg.commented), MOST + 1 + 4 + 69);
	CHECK_INT(atr_stats.not_commented, 1);
}

TEST(without_memory_the_text_goes_as_it_is)
{
	static char *taken[5000];
	struct atr_op op = fresh();
	const char *sql = "SELECT 1";
	unsigned n = 0;

	while (n < 5000 && (taken[n] = atr_buffer_take()))
		n++;
	CHECK(n < 5000);
	CHECK(comment(&op, sql) == sql);
	while (n)
		atr_buffer_give(taken[--n]);
	CHECK(comment(&op, sql) == pg.commented);
}
