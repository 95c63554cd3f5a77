/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/traceparent.o */
/* LINK: preload/text.o hooks/sql.o preload/utf8.o */
#include "hooks/sqlcommenter.c"

#include "tests/unit/test.h"

#include <time.h>

#define PG ATR_SQL_POSTGRESQL
#define ESC ATR_SQL_POSTGRESQL_ESCAPES
#define COMMENT " /*traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'"

static const struct atr_context span = {
	.trace_id = { 0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c,
		      0x80, 0x31, 0x9c },
	.span_id = { 0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31 },
	.flags = ATR_FLAG_SAMPLED,
	.valid = true,
};

/* What becomes of it, between unreadable pages; NULL: it is left alone. */
static const char *commented_with(enum atr_sql_dialect dialect, const char *sql, size_t len,
				  struct atr_slice tracestate)
{
	static char kept[65536];
	char *in = test_edge(sql, len), *out = test_edge(NULL, len + ATR_SQLCOMMENTER_MAX);
	size_t n = atr_sqlcommenter(dialect, in, len, &span, tracestate, out);

	memcpy(kept, out, n);
	kept[n] = '\0';
	test_edge_free(in, len);
	test_edge_free(out, len + ATR_SQLCOMMENTER_MAX);
	return n ? kept : NULL;
}

static const char *commented(enum atr_sql_dialect dialect, const char *sql)
{
	return commented_with(dialect, sql, strlen(sql), ATR_SLICE(""));
}

static bool gets_one(enum atr_sql_dialect dialect, const char *sql)
{
	const char *text = commented(dialect, sql);
	size_t len = strlen(sql);

	if (!text)
		return false;
	CHECK_MEM(text, sql, len);
	CHECK_STR(text + len, COMMENT "*/");
	return true;
}

static void each(const char *const *list, bool gets)
{
	for (; *list; list++)
		if (!CHECK(gets_one(PG, *list) == gets))
			printf("  %s\n", *list);
}

TEST(the_comment_is_what_the_specification_says)
{
	CHECK_STR(commented(PG, "SELECT 1"), "SELECT 1" COMMENT "*/");
	CHECK_STR(commented_with(PG, "SELECT 1", 8, ATR_SLICE("congo=t61rcWkgMzE,rojo=00f067")),
		  "SELECT 1" COMMENT ",tracestate='congo%3Dt61rcWkgMzE%2Crojo%3D00f067'*/");
}

TEST(every_byte_of_a_tracestate_but_the_unreserved_is_encoded)
{
	for (unsigned c = 0; c < 256; c++) {
		char one = (char)c, wanted[256];
		bool plain = c < 128 && (strchr("-._~", (int)c) ? c != 0
								: (c >= '0' && c <= '9') ||
									  (c >= 'A' && c <= 'Z') ||
									  (c >= 'a' && c <= 'z'));

		snprintf(wanted, sizeof(wanted),
			 plain ? "VALUES(1)%s,tracestate='%c'*/"
			       : "VALUES(1)%s,tracestate='%%%02X'*/",
			 COMMENT, c);
		CHECK_STR(commented_with(PG, "VALUES(1)", 9, (struct atr_slice){ &one, 1 }),
			  wanted);
	}
}

TEST(a_tracestate_brings_no_two_hyphens)
{
	CHECK_STR(commented_with(PG, "VALUES(1)", 9, ATR_SLICE("-a--b----")),
		  "VALUES(1)" COMMENT ",tracestate='-a-%2Db-%2D-%2D'*/");
}

TEST(a_tracestate_that_is_too_long_is_left_out)
{
	char state[ATR_SQLCOMMENTER_STATE_MAX + 1];
	const char *text;

	memset(state, '=', sizeof(state));
	text = commented_with(PG, "TABLE t", 7, (struct atr_slice){ state, sizeof(state) - 1 });
	CHECK_INT(strlen(strstr(text, "tracestate=")), 12 + 3 * ATR_SQLCOMMENTER_STATE_MAX + 3);
	text = commented_with(PG, "TABLE t", 7, (struct atr_slice){ state, sizeof(state) });
	CHECK_STR(text, "TABLE t" COMMENT "*/");
}

TEST(statements_get_a_comment_behind_all_of_them)
{
	static const char *const list[] = {
		"SELECT 1",
		"select 1;",
		"SELECT 1 ;\n",
		"  \n\tSELECT 'it''s' AS \"x\"\"y\", $1, $tag$ -- /* $tag$",
		"(SELECT 1) UNION (SELECT 2)",
		"((select 1))",
		"; SELECT 1",
		"SELECT 1; SELECT 2",
		"SELECT 1; SELECT 2;;",
		"BEGIN; UPDATE t SET a = 1; COMMIT",
		"SELECT'--'",
		"SELECT '/* no comment */'",
		"SELECT $$/*$$",
		"SELECT E'\\'-'",
		"SELECT U&'\\0041-'",
		"SELECT \"/*\"",
		"SELECT a - -1, a/-b, a * b",
		"SELECT 1 +",
		"SELECT a$$b$$, 1",
		"WITH x AS (SELECT 1) TABLE x",
		"COPY t FROM STDIN",
		"COPY (SELECT 1) TO STDOUT WITH (FORMAT csv)",
		"EXECUTE p(1)",
		"DO $$ BEGIN NULL; END $$",
		"CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END",
		"SELECT '\xff\xfe\xe4'",
		"SELECT gr\xc3\xb6\xc3\x9f\xc3\xa9 FROM t\xc3",
		NULL,
	};

	each(list, true);
}

TEST(what_has_a_comment_or_does_not_end_is_left_alone)
{
	static const char *const list[] = {
		"SELECT 1 -- x",
		"SELECT 1 -- x\n",
		"-- x\nSELECT 1",
		"/* x */ SELECT 1",
		"SELECT /*+ hint */ 1",
		"SELECT 1 /* x */",
		"SELECT 1; /* x */ SELECT 2",
		"SELECT 1 /*traceparent='00-0-0-01'*/",
		"SELECT 1 --",
		"SELECT 1--",
		"SELECT 1 /*",
		"SELECT 1 /* /* */",
		"SELECT 1 +/* x */ 2",
		"SELECT 1*/**/2",
		"SELECT 1 ---1",
		"SELECT E'a' -- x\n 'b'",
		"SELECT 1E'a' -- x\n 'b'",
		"SELECT 'a",
		"SELECT 'a''",
		"SELECT '",
		"SELECT E'a\\'",
		"SELECT E'a'\n'b\\'",
		"SELECT U&'a",
		"SELECT X'a",
		"SELECT $$a",
		"SELECT $$a$",
		"SELECT $tag$a$$",
		"SELECT $tag$a$tag",
		"SELECT \"a",
		"SELECT \"a\"\"",
		"SELECT U&\"a",
		NULL,
	};

	each(list, false);
}

TEST(what_is_no_statement_of_the_list_is_left_alone)
{
	static const char *const list[] = {
		"",
		" ",
		";",
		" ; ;\n",
		"(",
		"'SELECT'",
		"\"SELECT\" 1",
		"SELECTED 1",
		"SELEC 1",
		"1 SELECT",
		"x SELECT 1",
		"PREPARE p AS SELECT $1",
		"DEALLOCATE p",
		"BEGIN",
		"COMMIT;",
		"ROLLBACK TO s",
		"SET x = 1",
		"FETCH ALL FROM c",
		"LISTEN x",
		/* the replication protocol, and consoles of poolers */
		"SHOW wal_segment_size",
		"IDENTIFY_SYSTEM",
		"BASE_BACKUP ( LABEL 'x', PROGRESS )",
		"START_REPLICATION SLOT \"s\" 0/0 TIMELINE 1",
		"CREATE_REPLICATION_SLOT \"s\" LOGICAL \"test_decoding\"",
		"DROP_REPLICATION_SLOT \"s\" WAIT",
		"TIMELINE_HISTORY 2",
		"PAUSE db",
		"RELOAD",
		NULL,
	};

	each(list, false);
}

TEST(the_old_rules_for_backslashes_are_known)
{
	CHECK(gets_one(PG, "SELECT 'a\\', 1"));
	CHECK(!gets_one(ESC, "SELECT 'a\\', 1"));
	CHECK(gets_one(ESC, "SELECT 'a\\'', 1"));
	CHECK(!gets_one(PG, "SELECT 'a\\'', 1"));
}

TEST(a_text_may_have_bytes_of_any_kind)
{
	static const char nul[] = "SELECT '\0/*', \0 1";

	CHECK(commented_with(PG, nul, sizeof(nul) - 1, ATR_SLICE("")) != NULL);
}

TEST(every_prefix_is_left_alone_or_is_followed_by_the_comment)
{
	static const char sql[] =
		"WITH a AS (SELECT E'\\'x'''\n 'y') SELECT U&\"d\"\"q\", $t$ $ $$ $t$"
		", 1e-5--1\n, b /* /* ; */ */ FROM a; SELECT 'x'";
	unsigned alone = 0;

	for (size_t n = 0; n < sizeof(sql); n++) {
		const char *text = commented_with(PG, sql, n, ATR_SLICE("a=b"));

		alone += !text;
		if (!text)
			continue;
		CHECK_MEM(text, sql, n);
		CHECK_STR(text + n, COMMENT ",tracestate='a%3Db'*/");
	}
	CHECK(alone > 50 && alone < sizeof(sql));
}

TEST(it_is_linear)
{
	static const char *const bad[] = { ";a",     "(",  "'",	   "\"",      "$a$", "$",
					   "E'a'\n", "/*", "--\n", "SELECT ", "\\" };
	static char sql[60000];
	clock_t began;

	for (size_t i = 0; i < ATR_ARRAY_LEN(bad); i++) {
		size_t n = strlen(bad[i]);

		memcpy(sql, "SELECT ", 7);
		for (size_t at = 7; at < sizeof(sql); at++)
			sql[at] = bad[i][(at - 7) % n];
		began = clock();
		(void)commented_with(PG, sql, sizeof(sql), ATR_SLICE("a=b"));
		CHECK(clock() - began < CLOCKS_PER_SEC); /* 10 ms; quadratic: 4 s */
	}
}
