/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/utf8.o */
#include "hooks/sql-summary.c"
#include "hooks/sql.c"

#include "tests/unit/test.h"

#define PG ATR_SQL_POSTGRESQL
#define MYSQL ATR_SQL_MYSQL
#define ANY ATR_SQL_OTHER
#define ESC ATR_SQL_POSTGRESQL_ESCAPES
#define N_DIALECTS 4

static const enum atr_sql_dialect dialects[N_DIALECTS] = { ANY, PG, ESC, MYSQL };

/* The text of n bytes, made safe between two unreadable pages; size: the room it gets. */
static size_t text_of(enum atr_sql_dialect dialect, const char *sql, size_t n, char *to,
		      size_t size)
{
	char *in = test_edge(sql, n), *out = test_edge(NULL, size);
	size_t len = atr_sql_sanitise(dialect, in, n, out, size);

	memcpy(to, out, len);
	test_edge_free(in, n);
	test_edge_free(out, size);
	return len;
}

static size_t summary_of(enum atr_sql_dialect dialect, const char *sql, size_t n, char *to)
{
	char *in = test_edge(sql, n), *out = test_edge(NULL, ATR_SQL_SUMMARY_MAX);
	size_t len = atr_sql_summary(dialect, in, n, out);

	memcpy(to, out, len);
	test_edge_free(in, n);
	test_edge_free(out, ATR_SQL_SUMMARY_MAX);
	return len;
}

static const char *text(enum atr_sql_dialect dialect, const char *sql)
{
	static char out[8192];
	size_t n = strlen(sql);

	out[text_of(dialect, sql, n, out, n)] = '\0';
	return out;
}

static const char *summary(enum atr_sql_dialect dialect, const char *sql)
{
	static char out[ATR_SQL_SUMMARY_MAX + 1];

	out[summary_of(dialect, sql, strlen(sql), out)] = '\0';
	return out;
}

/* The string value of "key" at or after json, unescaped; NULL when there is none. */
static const char *json_string(const char *json, const char *key, char *value, size_t size)
{
	const char *s = strstr(json, key);
	size_t n = 0;

	if (!s || !(s = strchr(s, ':')) || !(s = strchr(s, '"')))
		return NULL;
	for (s++; *s && *s != '"' && n + 1 < size; s++) {
		if (*s == '\\' && *++s == 'n')
			value[n++] = '\n';
		else
			value[n++] = *s;
	}
	value[n] = '\0';
	return s + 1;
}

TEST(every_case_of_the_semantic_conventions_passes)
{
	static char json[65536];
	FILE *f = fopen("tests/vectors/db-sql-test-cases.json", "r");
	unsigned cases = 0;

	if (!CHECK(f != NULL))
		return;
	json[fread(json, 1, sizeof(json) - 1, f)] = '\0';
	(void)fclose(f);
	for (const char *at = json;; cases++) {
		char query[1024], first[1024], second[1024], wanted[1024];

		at = json_string(at, "\"query\"", query, sizeof(query));
		if (!at)
			break;
		at = json_string(at, "\"db.query.text\"", first, sizeof(first));
		/* The second way to write it, if there is one. */
		strcpy(second, first);
		if (at[strspn(at, " \n")] == ',') {
			char pair[1100];

			snprintf(pair, sizeof(pair), "\"x\": %.1000s",
				 at + 1 + strspn(at + 1, " \n"));
			(void)json_string(pair, "\"x\"", second, sizeof(second));
		}
		at = json_string(at, "\"db.query.summary\"", wanted, sizeof(wanted));
		for (size_t d = 0; d < N_DIALECTS; d++) {
			if (strcmp(text(dialects[d], query), second) != 0)
				CHECK_STR(text(dialects[d], query), first);
			CHECK_STR(summary(dialects[d], query), wanted);
		}
	}
	CHECK_INT(cases, 24);
}

static const struct {
	enum atr_sql_dialect dialect;
	const char *sql, *text;
} texts[] = {
	/* numbers */
	{ ANY, "SELECT -1, +1.5, a-1, a - 1, (a)-1, a.b+.5",
	  "SELECT ?, ?, a-?, a - ?, (a)-?, a.b+?" },
	{ ANY, "a1 a_1 1e5 1E-5 1e+5 0x1F 0b01 1_000 1.", "a1 a_1 ? ? ? ? ? ? ?" },
	{ ANY, "LIMIT 10;", "LIMIT ?;" },
	{ ANY, "0xE-5", "??" },
	{ ANY, "t.1", "t.?" },
	{ ANY, "a=-1 a=- 1", "a=? a=- ?" },
	/* booleans, but not names */
	{ ANY, "TRUE, false, t.true, :true, truer, NULL", "?, ?, t.true, :true, truer, NULL" },
	/* typed literals keep their type */
	{ ANY, "DATE '2020-01-01' INTERVAL '1 day'", "DATE ? INTERVAL ?" },
	/* strings and names */
	{ ANY, "'' 'a''b' 'a\\' x 'b'", "? ? ? x ?" },
	{ ANY, "\"a 1\" `b 2` \"a\"\"1\" `b``2`", "\"a 1\" `b 2` \"a\"\"1\" `b``2`" },
	{ ANY, "X'1F' b'01' N'x' U&'x' U&\"x 1\" ab'x'", "? ? ? ? U&\"x 1\" ab?" },
	/* parameters */
	{ ANY, "? :name :1, $1 @p %s", "? :name :1, $1 @p %s" },
	{ ANY, "a[1:2] {\"a\":1}", "a[?:?] {\"a\":?}" },
	{ PG, "$1 $12+$3 $1::int", "$1 $12+$3 $1::int" },
	/* comments */
	{ ANY, "a--b\nc /* d */ e --", "a\nc  e " },
	{ ANY, "a /* b /* c */ d", "a  d" },
	{ PG, "a /* b /* c */ d */ e", "a  e" },
	{ PG, "a -- b\rc", "a \rc" },
	{ PG, "a # b", "a # b" },
	{ MYSQL, "a # b 'c\nd", "a \nd" },
	{ MYSQL, "a -- b\nc --\td\n5--1 --", "a \nc \n?-? " },
	{ MYSQL, "a /*! 5 */ b", "a  b" },
	/* PostgreSQL */
	{ PG, "E'a\\'b' e'\\\\' 'a\\' x 'b'", "? ? ? x ?" },
	{ PG, "E'a'\n'b\\'c' d", "? d" },
	{ PG, "E'a' -- x\n -- y\n 'b\\'c' d", "? d" },
	{ PG, "E'a' \n -- y\n 'b\\'c' d", "? d" },
	{ PG, "E'a' 'b\\' c", "? ? c" },
	{ PG, "1E'a\\'b' c", "? c" },
	{ PG, "B'01' X'1f' N'x' U&'\\0041' U&\"x 1\"", "? ? ? ? U&\"x 1\"" },
	{ PG, "$$a'b$$ $x$ $$ $y$ $x$ $_1$a$_1$", "? ? ?" },
	{ PG, "a$b$c $1$2", "a$b$c $1$2" },
	{ PG, "1$$a$$ 1$b$c d$b$", "?? ??" },
	{ PG, "x::numeric(10,2) ARRAY[1,2] a[1:2]", "x::numeric(?,?) ARRAY[?,?] a[?:?]" },
	{ PG, "j->'a' j->>1 j#>'{a}' a@>b a?b a||'x' !~* 'y'",
	  "j->? j->>? j#>? a@>b a?b a||? !~* ?" },
	{ PG, "a `b 1` c", "a `b ?` c" },
	{ PG, "x := 1", "x := ?" },
	/* MySQL */
	{ MYSQL, "'a\\'b' \"c\\\"d\" \"e\"\"f\" 'g''h' `i\\`", "? ? ? ? `i\\`" },
	{ MYSQL, "_utf8'a' x'1f' n'a\\'b' @v @@v", "_utf8? ? ? @v @@v" },
	{ MYSQL, "u&'x' e'a\\'b'", "u&? e?" },
	/* what never ends */
	{ ANY, "a 'b c", "a ?" },
	{ ANY, "a \"b c", "a ?" },
	{ ANY, "a `b c", "a ?" },
	{ ANY, "a 'b''", "a ?" },
	{ ANY, "a /* b c", "a " },
	{ ANY, "a /*/ b c", "a " },
	{ ANY, "a U&\"b c", "a ?" },
	{ PG, "a $$ b $ $x$", "a ?" },
	{ PG, "a $b$ c $b", "a ?" },
	{ PG, "a /* /* */ b", "a " },
	{ PG, "a E'b\\", "a ?" },
	{ MYSQL, "a 'b\\'", "a ?" },
	{ MYSQL, "a \"b", "a ?" },
	/* bytes that are no text */
	{ ANY, "caf\xc3\xa9 \xc3 '\xff' \xff", "caf\xc3\xa9 ? ? ?" },
};

TEST(each_dialect_has_its_own_literals_names_and_comments)
{
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (!CHECK_STR(text(texts[i].dialect, texts[i].sql), texts[i].text))
			printf("  in dialect %d: %s\n", (int)texts[i].dialect, texts[i].sql);
}

static const struct {
	enum atr_sql_dialect dialect;
	const char *sql, *summary;
} summaries[] = {
	/* names */
	{ PG, "select * from \"my table\" m, public.\"T\" , only c . d as e",
	  "select \"my table\" public.\"T\" c.d" },
	{ MYSQL, "SELECT * FROM `db`.`t 1` AS x", "SELECT `db`.`t 1`" },
	{ ANY, "SELECT * FROM \"song list\", 'artists'", "SELECT \"song list\" 'artists'" },
	{ PG, "SELECT * FROM 'artists'", "SELECT" },
	{ PG, "SELECT t.from, x FROM t WHERE t.select = :join", "SELECT t" },
	{ PG, "SELECT 1 FROM caf\xc3\xa9, \xff", "SELECT caf\xc3\xa9 ?" },
	{ PG, "SELECT * FROM $1, ?, :t, u", "SELECT u" },
	/* joins, lists, functions */
	{ PG,
	  "SELECT * FROM a NATURAL JOIN b LEFT JOIN LATERAL f(1, g(2)) x ON a.x IS DISTINCT FROM "
	  "b.y, c",
	  "SELECT a b f c" },
	{ PG, "SELECT * FROM (a JOIN b USING (id)) j, (VALUES (1,2)) v(w), d", "SELECT a b d" },
	{ PG, "SELECT * FROM generate_series(1,2) g, unnest(a) WITH ORDINALITY",
	  "SELECT generate_series unnest" },
	{ PG, "SELECT EXTRACT(YEAR FROM d), trim(both from e), a IS DISTINCT FROM b FROM t",
	  "SELECT t" },
	{ PG, "SELECT a FROM t WHERE b ORDER BY c, d LIMIT 1 FOR UPDATE OF e, f", "SELECT t" },
	{ PG, "SELECT a FROM t GROUP BY c, d WINDOW w AS (x), v AS (y)", "SELECT t" },
	{ MYSQL, "SELECT STRAIGHT_JOIN a FROM t STRAIGHT_JOIN u", "SELECT t u" },
	/* sub-selects and sets */
	{ PG, "SELECT (SELECT 1 FROM a), b FROM c WHERE d IN (SELECT e FROM f)",
	  "SELECT SELECT a c SELECT f" },
	{ PG, "(SELECT 1 FROM a) UNION ALL (SELECT 2 FROM b)", "SELECT a SELECT b" },
	{ PG, "SELECT 1 FROM a EXCEPT SELECT b, c FROM d", "SELECT a SELECT d" },
	{ PG, "SELECT a INTO TEMP n FROM t", "SELECT n t" },
	{ MYSQL, "SELECT a FROM t INTO @x, @y", "SELECT t" },
	{ PG, "VALUES (1), (2)", "VALUES" },
	{ PG, "TABLE t", "TABLE t" },
	/* common table expressions */
	{ PG,
	  "WITH a AS (SELECT * FROM x), b(c,d) AS MATERIALIZED (INSERT INTO y SELECT * FROM A) "
	  "UPDATE z SET q = 1 FROM \"a\", b, s.a",
	  "SELECT x INSERT y SELECT UPDATE z s.a" },
	{ PG, "WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n+1 FROM t) SELECT n FROM t, u",
	  "SELECT SELECT u" },
	{ PG, "INSERT INTO t WITH x AS (SELECT 1) SELECT * FROM x, y", "INSERT t SELECT SELECT y" },
	{ PG, "SELECT * FROM (WITH x AS (SELECT 1 FROM a) SELECT * FROM x) y",
	  "SELECT SELECT a SELECT" },
	{ PG, "WITH x AS (SELECT 1) SELECT 1 FROM x; SELECT 1 FROM x", "SELECT SELECT SELECT x" },
	/* changes */
	{ PG,
	  "INSERT INTO t (a) VALUES (1),(2) ON CONFLICT (a) DO UPDATE SET a = 2, b = 3 RETURNING "
	  "a, b",
	  "INSERT t" },
	{ MYSQL, "INSERT IGNORE t SELECT * FROM u ON DUPLICATE KEY UPDATE x = 1, y = 2",
	  "INSERT t SELECT u" },
	{ ANY, "INSERT OR REPLACE INTO t VALUES (1)", "INSERT t" },
	{ MYSQL, "REPLACE INTO `t` VALUES (1)", "REPLACE `t`" },
	{ PG, "UPDATE ONLY t AS x SET a = 1, b = 2 FROM u, v", "UPDATE t u v" },
	{ MYSQL, "UPDATE a, b SET a.x = b.x, a.y = 2", "UPDATE a b" },
	{ PG, "DELETE FROM a USING b, c WHERE a.x = b.x", "DELETE a b c" },
	{ MYSQL, "DELETE a FROM a JOIN b USING (id)", "DELETE a b" },
	{ PG,
	  "MERGE INTO t AS x USING (SELECT * FROM u) s ON x.a=s.a WHEN MATCHED THEN UPDATE SET a = "
	  "1, b = 2",
	  "MERGE t SELECT u" },
	{ PG, "MERGE INTO t USING u AS s ON true WHEN NOT MATCHED THEN INSERT (a) VALUES (1)",
	  "MERGE t u" },
	{ PG, "COPY t (a, b) FROM STDIN", "COPY t" },
	{ PG, "COPY (SELECT * FROM t) TO STDOUT", "COPY SELECT t" },
	{ PG, "COPY (DELETE FROM t RETURNING *) TO STDOUT", "COPY DELETE t" },
	{ PG, "truncate table only a, b", "truncate a b" },
	/* definitions */
	{ PG, "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)", "CREATE INDEX i" },
	{ PG, "CREATE INDEX ON t (a)", "CREATE INDEX t" },
	{ PG, "CREATE TEMP TABLE t AS SELECT * FROM u", "CREATE TABLE t SELECT u" },
	{ PG, "CREATE VIEW v AS WITH x AS (SELECT 1) SELECT * FROM x",
	  "CREATE VIEW v SELECT SELECT" },
	{ PG, "CREATE TABLE t (a int REFERENCES b(x) ON DELETE CASCADE, b int)", "CREATE TABLE t" },
	{ PG,
	  "CREATE OR REPLACE FUNCTION f(a int) AS $$ select 1 from s; $$ LANGUAGE sql; SELECT 2 "
	  "FROM z",
	  "CREATE FUNCTION f SELECT z" },
	{ MYSQL,
	  "CREATE DEFINER=`r`@`h` PROCEDURE p() BEGIN SELECT 1 FROM x; UPDATE y SET a=1; END",
	  "CREATE PROCEDURE p" },
	{ MYSQL, "CREATE USER 'bob'@'h' IDENTIFIED BY 'secret'", "CREATE USER" },
	{ PG, "DROP TABLE IF EXISTS a, b.c CASCADE", "DROP TABLE a b.c" },
	{ PG, "ALTER TABLE ONLY t ADD a int, ADD b int", "ALTER TABLE t" },
	{ PG, "REFRESH MATERIALIZED VIEW CONCURRENTLY v", "REFRESH VIEW v" },
	{ PG, "COMMENT ON TABLE t IS 'secret'", "COMMENT TABLE t" },
	{ PG, "REINDEX (VERBOSE) TABLE t", "REINDEX TABLE t" },
	{ PG, "GRANT SELECT, UPDATE (a) ON TABLE t, u TO bob, alice", "GRANT t u" },
	{ PG, "REVOKE ALL ON ALL TABLES IN SCHEMA s FROM bob, alice", "REVOKE s" },
	/* the rest */
	{ PG, "BEGIN; UPDATE t SET a=1; COMMIT;", "BEGIN UPDATE t COMMIT" },
	{ PG, "START TRANSACTION READ ONLY", "START TRANSACTION" },
	{ PG, "ROLLBACK TO SAVEPOINT s1", "ROLLBACK" },
	{ PG, "EXPLAIN (ANALYZE, FORMAT json) UPDATE t SET a = 1", "EXPLAIN UPDATE t" },
	{ PG, "EXPLAIN ANALYZE WITH x AS (SELECT 1) DELETE FROM y", "EXPLAIN SELECT DELETE y" },
	{ PG, "PREPARE foo (int, text) AS INSERT INTO t VALUES ($1, $2)", "PREPARE INSERT t" },
	{ PG, "EXECUTE foo(1)", "EXECUTE" },
	{ ANY, "EXEC dbo.proc 1", "EXEC dbo.proc" },
	{ PG, "DEALLOCATE pdo_stmt_0001", "DEALLOCATE" },
	{ PG, "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM t", "DECLARE SELECT t" },
	{ PG, "FETCH 10 FROM c", "FETCH" },
	{ PG, "VACUUM (FULL, ANALYZE) a, b", "VACUUM a b" },
	{ PG, "ANALYZE", "ANALYZE" },
	{ PG, "LOCK TABLE a, b IN EXCLUSIVE MODE", "LOCK a b" },
	{ PG, "LISTEN ch", "LISTEN ch" },
	{ PG, "NOTIFY ch, 'payload'", "NOTIFY ch" },
	{ PG, "SET LOCAL search_path TO a, b", "SET search_path" },
	{ MYSQL, "SHOW TABLES", "SHOW TABLES" },
	{ PG, "SHOW server_version", "SHOW server_version" },
	{ PG, "call some_stored_procedure(1, 2)", "call some_stored_procedure" },
	{ ANY, "{ ? = call f(?) }", "call f" },
	{ MYSQL, "LOCK TABLES a READ, b WRITE", "LOCK a b" },
	{ PG, "DO $$ begin end $$", "DO" },
	/* nothing that could be an operation */
	{ PG, "", "" },
	{ PG, " -- SELECT 1 FROM t", "" },
	{ PG, "foo bar SELECT", "" },
	{ PG, "'SELECT' SELECT 1 FROM t", "" },
	{ PG, "foo; SELECT 1 FROM t", "SELECT t" },
	{ PG, "/* x */ SELECT/**/1 FROM/**/t/**/,u", "SELECT t u" },
};

TEST(a_summary_names_operations_and_targets_in_their_order)
{
	for (size_t i = 0; i < sizeof(summaries) / sizeof(summaries[0]); i++)
		if (!CHECK_STR(summary(summaries[i].dialect, summaries[i].sql),
			       summaries[i].summary))
			printf("  of: %s\n", summaries[i].sql);
}

TEST(every_keyword_is_found_in_either_case_and_nothing_like_it)
{
	for (unsigned k = 0; k < NO_KEYWORD; k++) {
		char word[16];
		size_t n = strlen(keywords[k].word);

		CHECK(k == 0 || strcmp(keywords[k - 1].word, keywords[k].word) < 0);
		CHECK_INT(keyword(keywords[k].word, n), k);
		for (size_t i = 0; i <= n; i++)
			word[i] = keywords[k].word[i] == '_' ? '_'
				  : keywords[k].word[i]	     ? (char)(keywords[k].word[i] | 0x20)
							     : '\0';
		CHECK_INT(keyword(word, n), k);
		word[n - 1] = '0';
		CHECK_INT(keyword(word, n), NO_KEYWORD);
	}
}

TEST(a_summary_is_cut_between_words_at_255_bytes)
{
	char sql[1024] = "SELECT * FROM ", name[300];
	size_t n;

	for (unsigned i = 0; i < 60; i++)
		snprintf(sql + strlen(sql), 16, "%stab_%02u", i ? ", " : "", i);
	n = strlen(summary(PG, sql));
	CHECK_INT(n, 6 + 35 * 7); /* SELECT tab_00 ... tab_34; with tab_35 it were 258 */

	memset(name, 'n', sizeof(name));
	for (size_t len = 246; len < 252; len++) {
		snprintf(sql, sizeof(sql), "SELECT * FROM %.*s, x", (int)len, name);
		/* Nothing follows a word that did not fit: the order is part of the truth. */
		CHECK_INT(strlen(summary(PG, sql)), len == 246	 ? 7 + 246 + 2
						    : len <= 248 ? 7 + len
								 : 6);
		snprintf(sql, sizeof(sql), "SELECT * FROM s.%.*s", (int)len, name);
		CHECK_INT(strlen(summary(PG, sql)), len <= 246 ? 9 + len : 6);
	}
}

/* What must hold for any input. */
static void check_any(enum atr_sql_dialect dialect, const char *sql, size_t n)
{
	static char out[8192];
	size_t len = text_of(dialect, sql, n, out, n);
	bool good = len <= n && atr_utf8_valid(out, len) == len;

	len = summary_of(dialect, sql, n, out);
	good = good && len <= ATR_SQL_SUMMARY_MAX && atr_utf8_valid(out, len) == len;
	if (!good)
		printf("  in dialect %d: %.*s\n", (int)dialect, (int)n, sql);
	CHECK(good);
}

TEST(every_truncation_and_every_rest_of_every_input_is_read_within_its_bounds)
{
	for (size_t i = 0;
	     i < sizeof(texts) / sizeof(texts[0]) + sizeof(summaries) / sizeof(summaries[0]); i++) {
		const size_t n_texts = sizeof(texts) / sizeof(texts[0]);
		const char *sql = i < n_texts ? texts[i].sql : summaries[i - n_texts].sql;
		size_t n = strlen(sql);

		for (size_t d = 0; d < N_DIALECTS; d++)
			for (size_t at = 0; at <= n; at++) {
				check_any(dialects[d], sql, at);
				check_any(dialects[d], sql + at, n - at);
			}
	}
}

TEST(every_size_of_output_holds_the_start_of_the_whole_cut_at_a_character)
{
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char sql[256], whole[256], part[256];
		size_t n = (size_t)snprintf(
			sql, sizeof(sql), "\xc3\xa9\xe2\x82\xac %s \xf0\x9f\x98\x80", texts[i].sql);
		size_t len = text_of(texts[i].dialect, sql, n, whole, n);

		for (size_t size = 0; size <= n; size++) {
			size_t got = text_of(texts[i].dialect, sql, n, part, size);

			CHECK(got <= size);
			CHECK(got + 3 >= (size < len ? size : len));
			CHECK_MEM(part, whole, got);
			CHECK_INT(atr_utf8_valid(part, got), got);
		}
	}
}

static uint32_t seed = 20;

static uint32_t rnd(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)(seed >> 8) * below >> 24);
}

TEST(random_bytes_never_break_it)
{
	static const char *const pieces[] = {
		"'",	 "\"",	   "`",	     "$",    "$$",	 "$a$",	   "E'",      "U&'",
		"U&\"",	 "x'",	   "--",     "/*",   "*/",	 "#",	   "\n",      "\\",
		"1",	 "-",	   ".",	     ":",    "(",	 ")",	   ",",	      ";",
		"a",	 " ",	   "é",	     "\xff", "\xe2\x82", "+1",	   "@",	      "FROM",
		"JOIN",	 "SELECT", "WITH",   "AS",   "CREATE",	 "TABLE",  "INSERT",  "INTO",
		"ON",	 "VALUES", "UPDATE", "SET",  "USING",	 "DELETE", "EXPLAIN", "COPY",
		"GRANT", "e'",
	};

	for (unsigned round = 0; round < 60000; round++) {
		char sql[160];
		size_t n = 0;

		while (n < 100 && rnd(20)) {
			if (rnd(4)) {
				const char *piece = pieces[rnd(sizeof(pieces) / sizeof(pieces[0]))];

				memcpy(sql + n, piece, strlen(piece));
				n += strlen(piece);
				if (!rnd(2))
					sql[n++] = ' ';
			} else {
				sql[n++] = (char)rnd(256);
			}
		}
		for (size_t d = 0; d < N_DIALECTS; d++)
			check_any(dialects[d], sql, n);
	}
}

/*
 * Literals and comments of each dialect; Q stands nowhere else, 9 in no name.
 * The quotes, backslashes and tags in them are there to end them too early.
 */
static const char *const secrets[N_DIALECTS][12] = {
	[ANY] = { "'Q'", "'Q''Q'", "'Q\\'", "'Q\"`--/*Q'", "/*Q'Q*/", "--Q'Q\n", "N'Q'", "x'Q'",
		  "9.9e-9", "-9", "U&'Q\\'", "0x9" },
	[PG] = { "'Q'", "'Q''Q'", "'Q\\'", "E'Q\\'Q'", "e'Q\\\\'", "E'Q'\n'\\'Q'", "$$Q'$Q$$",
		 "$t$Q$$Q$u$Q$t$", "/*Q/*Q*/Q'Q*/", "--Q'Q\n", "U&'Q\\'", "9.9" },
	[ESC] = { "'Q'", "'Q''Q'", "'Q\\'Q'", "E'Q\\'Q'", "e'Q\\\\'", "'Q\\\\'\n'\\'Q'", "$$Q'$Q$$",
		  "$t$Q$$Q$u$Q$t$", "/*Q/*Q*/Q'Q*/", "--Q'Q\n", "b'Q\\'Q'", "9.9" },
	[MYSQL] = { "'Q'", "'Q''Q'", "'Q\\'Q'", "\"Q\"", "\"Q\\\"Q\"", "\"Q\"\"'Q\"", "# Q'Q\n",
		    "-- Q'Q\n", "/*Q'Q*/", "x'Q'", "n'Q\\'Q'", "9e9" },
};

TEST(no_byte_of_a_literal_or_a_comment_is_ever_seen_cut_or_whole)
{
	static const char *const plain[] = {
		"SELECT", "a",	    "FROM",   "JOIN",  "t",	 "(",	 ")",	   ",",
		"=",	  "WHERE",  "INSERT", "INTO",  "VALUES", "\n",	 ";",	   "*",
		"|",	  "UPDATE", "SET",    "::int", "$1",	 "?",	 "CREATE", "TABLE",
		"AS",	  "WITH",   "DROP",   "\"n\"", "LIMIT",	 "CALL",
	};

	for (unsigned round = 0; round < 150000; round++) {
		enum atr_sql_dialect dialect = dialects[round % N_DIALECTS];
		char sql[512], out[512];
		size_t n = 0, len;
		bool seen;

		for (unsigned i = rnd(12) + 1; i; i--) {
			const char *piece = rnd(3) ? plain[rnd(sizeof(plain) / sizeof(plain[0]))]
						   : secrets[dialect][rnd(12)];

			/* 'artists' is a name where a table is expected, for those that have it so.
			 */
			if (dialect == ANY &&
			    (strcmp(piece, "FROM") == 0 || strcmp(piece, "JOIN") == 0 ||
			     strcmp(piece, "INTO") == 0 || strcmp(piece, "UPDATE") == 0 ||
			     strcmp(piece, "DROP") == 0))
				piece = "a";
			if (dialect == MYSQL && piece[0] == '"' && piece[1] == 'n')
				piece = "`n`";
			memcpy(sql + n, piece, strlen(piece));
			n += strlen(piece);
			/* A line break alone would not end PostgreSQL's E''. */
			sql[n++] = dialect == PG && strchr(piece, 'Q') ? ',' : ' ';
		}
		n -= rnd((uint32_t)n + 1) / 2;
		len = text_of(dialect, sql, n, out, sizeof(out));
		seen = memchr(out, 'Q', len) || memchr(out, '9', len);
		len = summary_of(dialect, sql, n, out);
		seen = seen || memchr(out, 'Q', len) || memchr(out, '9', len);
		if (seen)
			printf("  in dialect %d: %.*s\n", (int)dialect, (int)n, sql);
		CHECK(!seen);
	}
}

/* A megabyte of what would be slow if a byte were looked at again and again. */
TEST(a_megabyte_of_anything_is_read_in_one_go)
{
	static const char *const pieces[] = {
		"$",
		"$a",
		"$a ",
		"$a$ $b",
		"'",
		"''",
		"\"",
		"/*",
		"*/",
		"--",
		"-- \n",
		"E'a'\n",
		"E'a' \n-- b\n",
		"(",
		")",
		"a.",
		"a . ",
		"a,",
		"FROM a /**/",
		"FROM a,",
		";",
		"x'",
		"U&\"",
		"U&",
		"WITH",
		"WITH a(",
		"WITH a AS (",
		"SELECT ",
		"e\\",
		"\xff",
		"\xe2\x82",
		"1e",
		"1.",
		"::",
		"@",
		"a",
		" ",
		"\n",
		"SELECT(",
		"FROM(",
	};
	const size_t n = 1 << 20;
	char *sql = malloc(n), *out = malloc(n), name[ATR_SQL_SUMMARY_MAX];

	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		for (size_t at = 0; at < n; at++)
			sql[at] = pieces[i][at % strlen(pieces[i])];
		for (size_t d = 0; d < N_DIALECTS; d++) {
			memcpy(sql, "SELECT 1 FROM ", i % 2 ? 14 : 0);
			CHECK(atr_sql_sanitise(dialects[d], sql, n, out, n) <= n);
			CHECK(atr_sql_summary(dialects[d], sql, n, name) <= ATR_SQL_SUMMARY_MAX);
		}
	}
	free(sql);
	free(out);
}

TEST(a_small_output_does_not_read_a_long_text_to_its_end)
{
	/* The rest is not even readable. */
	char *sql = test_edge("SELECT a, b FROM t ", 19), out[8];

	CHECK_INT(atr_sql_sanitise(PG, sql, 1 << 30, out, sizeof(out)), 8);
	CHECK_MEM(out, "SELECT a", 8);
	test_edge_free(sql, 19);
}
