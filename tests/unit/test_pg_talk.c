/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/traceparent.o */
/* LINK: hooks/pg-span.o hooks/pgprepared-sql.o */
/* LINK: preload/sys.o preload/utf8.o preload/attr.o preload/clock.o preload/pool.o */
/* LINK: preload/context.o preload/op.o preload/sampler.o preload/text.o preload/carrier.o */
/* LINK: hooks/pg3.o hooks/pgconn.o hooks/pgprepared.o hooks/pgqueue.o */
/* LINK: hooks/sql.o hooks/sql-summary.o */
/* LINK: preload/rate.o preload/tracestate.o preload/strategy.o preload/adaptive.o */
/* LINK: preload/life.o preload/stack.o preload/cfi.o preload/object.o preload/peek.o */
/* LINK: exporter/otlp.pb-c.o -lprotobuf-c */
#include "tests/unit/fake_pg.h"

/* ---- whole conversations ---- */

static const struct {
	const char *script, *spans;
} talks[] = {
	/* simple queries */
	{ "> Q SELECT a FROM t\n< T|D|D|C SELECT 2|Z I", "SELECT t returned=2" },
	{ "> Q SELECT a FROM t\n< T|C SELECT 0|Z T", "SELECT t returned=0 tx=in_transaction" },
	{ "> Q UPDATE t SET a = 1\n< C UPDATE 7|Z I", "UPDATE t affected=7" },
	{ "> Q INSERT INTO t VALUES (1) RETURNING a\n< T|D|C INSERT 0 1|Z I",
	  "INSERT t returned=1 affected=1" },
	{ "> Q CREATE TABLE n AS SELECT 1\n< C SELECT 1|Z I", "CREATE TABLE n SELECT affected=1" },
	{ "> Q BEGIN\n< C BEGIN|Z T\n> Q COMMIT\n< C COMMIT|Z I",
	  "BEGIN tx=in_transaction\nCOMMIT" },
	{ "> Q SELECT 1; SELECT 2\n< T|D|C SELECT 1|T|D|C SELECT 1|Z I",
	  "SELECT SELECT returned=2" },
	{ "> Q \n< I|Z I", "db" },
	{ "> Q SELECT x FROM t\n< E ERROR 42703|Z E", "SELECT t code=42703 error=42703 tx=failed" },
	{ "> Q SELECT x FROM t\n< T|D|D|E ERROR 22012|Z I", "SELECT t code=22012 error=22012" },
	{ "> Q COMMIT\n< N WARNING 25P01|C COMMIT|Z I", "COMMIT code=25P01" },
	{ "> Q DROP TABLE IF EXISTS t\n< N NOTICE 00000|C DROP TABLE|Z I", "DROP TABLE t" },
	{ "> Q SELECT 1\n< A|T|S x y|N NOTICE 42P07|D|A|C SELECT 1|A|Z I\n< A|S x y",
	  "SELECT returned=1" },
	/* pipelined simple queries: nobody forbids it */
	{ "> Q SELECT a FROM t|Q DELETE FROM t\n< T|C SELECT 0|Z I|C DELETE 3|Z I",
	  "SELECT t returned=0\nDELETE t affected=3" },
	/* extended, in one go */
	{ "> P - SELECT a FROM t WHERE b = $1|B - -|D P -|E -|S\n< 1|2|T|D|C SELECT 1|Z I",
	  "SELECT t returned=1" },
	{ "> P - DELETE FROM t|B - -|E -|S\n< 1|2|C DELETE 0|Z T",
	  "DELETE t affected=0 tx=in_transaction" },
	{ "> P - SELECT x FROM t|B - -|D P -|E -|S\n< E ERROR 42703|Z I",
	  "SELECT t code=42703 error=42703" },
	{ "> P - SELECT 1/$1|B - -|D P -|E -|S\n< 1|2|T|D|E ERROR 22012|Z I",
	  "SELECT code=22012 error=22012" },
	{ "> P - SELECT 1|B - -|E -|S\n< 1|2|N WARNING 01000|D|C SELECT 1|Z I",
	  "SELECT code=01000 returned=1" },
	/* what was deferred fails behind the CommandComplete */
	{ "> P - INSERT INTO t VALUES ($1)|B - -|E -|S\n< 1|2|C INSERT 0 1|E ERROR 23503|Z I",
	  "INSERT t code=23503 error=23503 affected=1" },
	/* prepared under a name, then executed */
	{ "> P s1 SELECT a FROM t|D S s1|S\n< 1|t|T|Z I\n> B - s1|E -|S\n< 2|D|C SELECT 1|Z I",
	  "PREPARE SELECT t\nSELECT t returned=1" },
	{ "> P s1 SELECT a FROM t|D S s1|H\n< 1|t|T\n> S\n< Z I", "PREPARE SELECT t" },
	{ "> P s1 SELECT a FROM t|S\n< E ERROR 42P01|Z I",
	  "PREPARE SELECT t code=42P01 error=42P01" },
	{ "> P s1 SELECT a FROM t|P s2 DELETE FROM u|S\n< 1|1|Z I",
	  "PREPARE SELECT t\nPREPARE DELETE u" },
	{ "> P s1 SELECT a FROM t|B - s1|E -|B - s1|E -|S\n< 1|2|C SELECT 0|2|C SELECT 0|Z I",
	  "SELECT t returned=0\nSELECT t returned=0" },
	{ "> B - unknown|E -|S\n< E ERROR 26000|Z I", "EXECUTE code=26000 error=26000" },
	{ "> P s1 SELECT a FROM t|S\n< 1|Z I\n> D S s1|S\n< t|T|Z I",
	  "PREPARE SELECT t\nDESCRIBE SELECT t" },
	/* what fails to be prepared is not what the name stands for */
	{ "> P s1 SELECT a FROM t|S\n< 1|Z I\n> P s1 DELETE FROM u|S\n< E ERROR 42P05|Z I\n"
	  "> B - s1|E -|S\n< 2|C SELECT 0|Z I",
	  "PREPARE SELECT t\nPREPARE DELETE u code=42P05 error=42P05\nSELECT t returned=0" },
	{ "> P - SELECT x|B - -|E -|P s1 DELETE FROM t|S\n< E ERROR 42703|Z I\n"
	  "> B - s1|E -|S\n< E ERROR 26000|Z I",
	  "SELECT code=42703 error=42703\nPREPARE DELETE t error=pipeline_aborted\n"
	  "EXECUTE code=26000 error=26000" },
	{ "> P s1 DELETE FROM t|B - s1|E -|S\n< 1|2|E ERROR 22012|Z I\n"
	  "> B - s1|E -|S\n< 2|C DELETE 1|Z I",
	  "DELETE t code=22012 error=22012\nDELETE t affected=1" },
	/* the same by SQL */
	{ "> Q PREPARE s1 AS DELETE FROM t\n< C PREPARE|Z I\n> B - s1|E -|S\n< 2|C DELETE 1|Z I\n"
	  "> Q DEALLOCATE s1\n< C DEALLOCATE|Z I\n> B - s1|E -|S\n< E ERROR 26000|Z I",
	  "PREPARE DELETE t\nDELETE t affected=1\nDEALLOCATE\n"
	  "EXECUTE code=26000 error=26000" },
	{ "> D P c1|S\n< E ERROR 34000|Z I\n> D S s1|S\n< E ERROR 26000|Z I",
	  "DESCRIBE code=34000 error=34000\nDESCRIBE code=26000 error=26000" },
	{ "> P s1 SELECT a FROM t|S\n< 1|Z I\n> C S s1|S\n< 3|Z I\n> B - s1|E -|S\n"
	  "< E ERROR 26000|Z I",
	  "PREPARE SELECT t\nEXECUTE code=26000 error=26000" },
	{ "> P s1 SELECT a FROM t|C S s1|P s1 SELECT b FROM u|B - s1|E -|S\n"
	  "< 1|3|1|2|D|C SELECT 1|Z I",
	  "PREPARE SELECT t\nSELECT u returned=1" },
	{ "> P s1 SELECT a FROM t|S\n< 1|Z I\n> Q PREPARE s1 AS SELECT b FROM u\n"
	  "< E ERROR 42P05|Z I\n> B - s1|E -|S\n< 2|D|C SELECT 1|Z I",
	  "PREPARE SELECT t\nPREPARE SELECT u code=42P05 error=42P05\nSELECT t returned=1" },
	{ "> P s1 SELECT a FROM t|S\n< 1|Z I\n> Q BEGIN; DEALLOCATE s1; PREPARE s1 AS SELECT 1\n"
	  "< C BEGIN|C DEALLOCATE|C PREPARE|Z T\n> B - s1|E -|S\n< 2|D|C SELECT 1|Z I",
	  "PREPARE SELECT t\nBEGIN DEALLOCATE PREPARE SELECT tx=in_transaction\n"
	  "EXECUTE returned=1" },
	/* prepared without a name: one statement, however many a Sync is in between */
	{ "> P - SELECT a FROM t|S\n< 1|Z I\n> D S -|S\n< t|T|Z I\n> B - -|E -|S\n"
	  "< 2|D|C SELECT 1|Z I\n> B - -|E -|S\n< 2|D|C SELECT 1|Z I",
	  "SELECT t returned=1\nSELECT t returned=1" },
	{ "> P - SELECT a FROM t|S\n< 1|Z I\n> Q BEGIN\n< C BEGIN|Z T",
	  "PREPARE SELECT t\nBEGIN tx=in_transaction" },
	{ "> P - SELECT a FROM t|S\n< 1|Z I\n> P - DELETE FROM t|B - -|E -|S\n< 1|2|C DELETE 1|Z I",
	  "PREPARE SELECT t\nDELETE t affected=1" },
	/* pipelines */
	{ "> P - BEGIN|B - -|E -|P - SELECT a FROM t|B - -|E -|S\n"
	  "< 1|2|C BEGIN|1|2|D|C SELECT 1|Z T",
	  "BEGIN\nSELECT t returned=1 tx=in_transaction" },
	{ "> P - BEGIN|B - -|E -|P - SELECT x|B - -|E -|P - COMMIT|B - -|E -|S|Q SELECT 1\n"
	  "< 1|2|C BEGIN|E ERROR 42703|Z E|T|D|C SELECT 1|Z E",
	  "BEGIN\nSELECT code=42703 error=42703\nCOMMIT error=pipeline_aborted tx=failed\n"
	  "SELECT returned=1 tx=failed" },
	{ "> P - DELETE FROM t|B - -|E -|H\n< 1|2|C DELETE 1\n> P - SELECT 1|B - -|E -|H\n"
	  "< 1|2|D|C SELECT 1\n> S\n< Z I",
	  "DELETE t affected=1\nSELECT returned=1" },
	{ "> P - DELETE FROM t|B - -|E -|S|P - DELETE FROM u|B - -|E -|S\n"
	  "< E ERROR 42P01|Z I|1|2|C DELETE 2|Z I",
	  "DELETE t code=42P01 error=42P01\nDELETE u affected=2" },
	{ "> C S s1|P - SELECT 1|B - -|E -|C P -|S\n< 3|1|2|D|C SELECT 1|3|Z I",
	  "SELECT returned=1" },
	{ "> C S s1|P - SELECT x|B - -|E -|C P -|S\n< 3|E ERROR 42703|Z I",
	  "SELECT code=42703 error=42703" },
	{ "> S|S\n< Z I|Z I", "" },
	/* cursors */
	{ "> P - SELECT a FROM t|B c1 -|E c1|S\n< 1|2|D|D|s|Z T\n> E c1|S\n< D|C SELECT 1|Z T\n"
	  "> C P c1|S\n< 3|Z T",
	  "SELECT t returned=2 tx=in_transaction\nSELECT t returned=1 tx=in_transaction" },
	/* COPY */
	{ "> Q COPY t FROM STDIN\n< G\n> d one|d two|c\n< C COPY 2|Z I", "COPY t rows=2 bytes=6" },
	{ "> Q COPY t TO STDOUT\n< H|d one|d two|c|C COPY 2|Z I", "COPY t rows=2 bytes=6" },
	{ "> Q COPY t FROM STDIN\n< G\n> d bad|f why\n< E ERROR 57014|Z I",
	  "COPY t code=57014 error=57014 bytes=3" },
	{ "> Q COPY t FROM STDIN\n< G\n> d bad\n< E ERROR 22P02\n> d more|c\n< Z I",
	  "COPY t code=22P02 error=22P02 bytes=3" },
	/* a Sync that comes while the server copies is not answered */
	{ "> P - COPY t FROM STDIN|B - -|E -|S\n< 1|2|G\n> d one|c|S\n< C COPY 1|Z I\n"
	  "> Q SELECT 1\n< T|D|C SELECT 1|Z I",
	  "COPY t rows=1 bytes=3\nSELECT returned=1" },
	{ "> P - COPY t FROM STDIN|B - -|E -|d one|c|S\n< 1|2|G|C COPY 1|Z I",
	  "COPY t rows=1 bytes=3" },
	{ "> P - COPY t FROM STDIN|B - -|E -|S\n< 1|2|G\n> d bad|c|S\n< E ERROR 22P02|Z I",
	  "COPY t code=22P02 error=22P02 bytes=3" },
	/* functions by number */
	{ "> F\n< V|Z I", "258" },
	{ "> F\n< E ERROR 42883|Z I", "258 code=42883 error=42883" },
	/* the server ends the connection, unasked */
	{ "> Q SELECT 1\n< T|D|C SELECT 1|Z I\n< E FATAL 57P01", "SELECT returned=1" },
	{ "> X", "" },
};

static bool gives(const char *script, const struct how *how, const char *wanted)
{
	fresh();
	played(START);
	(void)said();
	play(script, how);
	CHECK_INT(atr_stats.not_followed, 0);
	if (!CHECK(!atr_load(&pg()->lost)))
		printf("  given up: %s\n", script);
	hang_up();
	if (CHECK_STR(said(), wanted))
		return true;
	printf("  piece %zu, at %zu, short by %zu: %s\n", how->piece, how->at, how->short_by,
	       script);
	return false;
}

TEST(a_conversation_gives_its_statements)
{
	for (size_t i = 0; i < ATR_ARRAY_LEN(talks); i++)
		(void)gives(talks[i].script, &(struct how){ .piece = 0 }, talks[i].spans);
}

/* More of them than are kept until one is sent again: then what is known is forgotten. */
TEST(many_that_fail_to_be_prepared_leave_nothing_wrong)
{
	for (unsigned n = 1; n < 2 * ATR_PG_UNDO_MAX; n++) {
		char script[8192] = "> ";

		fresh();
		played(START "> P kept SELECT a FROM t|S\n< 1|Z I\n");
		for (unsigned i = 0; i < n; i++)
			strcat(script, i % 2 ? "P kept DELETE FROM u|" : "P b DELETE FROM u|");
		played(strcat(script, "S\n"));
		played("< E ERROR 42P05|Z I\n");
		(void)said();
		played("> B - kept|E -|S\n< 2|C SELECT 0|Z I\n");
		CHECK_STR(said(),
			  n > ATR_PG_UNDO_MAX ? "EXECUTE returned=0" : "SELECT t returned=0");
		played("> B - b|E -|S\n< E ERROR 26000|Z I\n");
		CHECK_STR(said(), "EXECUTE code=26000 error=26000");
	}
	fresh();
}

TEST(wherever_it_is_split_it_gives_the_same)
{
	for (size_t i = 0; i < ATR_ARRAY_LEN(talks); i++) {
		bool same = true;

		for (size_t piece = 1; same && piece < 12; piece++)
			same = gives(talks[i].script, &(struct how){ .piece = piece },
				     talks[i].spans);
		for (size_t at = 1; same && at < 120; at++)
			same = gives(talks[i].script, &(struct how){ .at = at }, talks[i].spans);
	}
}

TEST(what_the_kernel_does_not_take_is_sent_again_and_counts_once)
{
	for (size_t i = 0; i < ATR_ARRAY_LEN(talks); i++) {
		bool same = true;

		for (size_t n = 1; same && n < 60; n++)
			same = gives(talks[i].script, &(struct how){ .short_by = n },
				     talks[i].spans);
	}
}

/* ---- how it begins ---- */

TEST(connecting_is_a_span_up_to_the_first_ready)
{
	static const struct {
		const char *script, *name, *error;
	} starts[] = {
		{ "> 0 db\n< R|S a b|K|Z I", "connect db", "" },
		{ "> 0 db\n< R\n> p md5secret\n< R|K|Z I", "connect db", "" },
		{ "> 0 ssl\n< ! N\n> 0 db\n< R|v|K|Z I", "connect db", "" },
		{ "> 0 db\n< E FATAL 3D000", "connect db", "3D000" },
		{ "> 0 db\n< R\n> p wrong\n< E FATAL 28P01", "connect db", "28P01" },
		{ "> 0 db\n< N WARNING 01000|R|K|Z I", "connect db", "" },
		{ "> 0 ssl\n< E FATAL 0A000", "connect", "0A000" },
		{ "> 0 db", "connect db", "cancelled" },
		{ "> 0 cancel", "cancel", "" },
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(starts); i++) {
		for (size_t piece = 0; piece < 10; piece++) {
			fresh();
			play(starts[i].script, &(struct how){ .piece = piece });
			hang_up();
			if (!CHECK_INT(n_spans, 1)) {
				printf("  piece %zu: %s\n", piece, starts[i].script);
				continue;
			}
			CHECK_STR(spans[0]->name, starts[i].name);
			CHECK_STR(text_attr(spans[0], "error.type"), starts[i].error);
			CHECK_STR(text_attr(spans[0], "db.operation.name"),
				  i == ATR_ARRAY_LEN(starts) - 1 ? "cancel" : "connect");
			CHECK(!attr(spans[0], "db.response.status_code") || *starts[i].error);
			CHECK_INT(atr_stats.not_followed, 0);
		}
	}
}

TEST(a_statement_carries_what_is_known_of_its_connection)
{
	fresh();
	played(START "> Q SELECT a FROM t WHERE b = 'secret'\n< T|C SELECT 0|Z I");
	if (!CHECK_INT(n_spans, 2))
		return;
	for (unsigned i = 0; i < 2; i++) {
		CHECK_STR(text_attr(spans[i], "db.system.name"), "postgresql");
		CHECK_STR(text_attr(spans[i], "db.namespace"), "db");
		CHECK_STR(text_attr(spans[i], "server.address"), "192.0.2.7");
		CHECK_INT(attr(spans[i], "server.port")->int_value, 5433);
		CHECK_STR(text_attr(spans[i], "network.transport"), "tcp");
	}
	CHECK_STR(text_attr(spans[1], "db.query.text"), "SELECT a FROM t WHERE b = ?");
	CHECK_STR(text_attr(spans[1], "db.query.summary"), "SELECT t");
	CHECK(!attr(spans[1], "db.operation.name"));
	/* From its first byte sent to its last received. */
	CHECK(spans[1]->start_time_unix_nano >= spans[0]->end_time_unix_nano);
}

TEST(backslashes_escape_only_where_the_server_says_so)
{
	fresh();
	played(START "> Q SELECT '\\', secret'\n< T|C SELECT 0|Z I");
	CHECK_STR(text_attr(spans[1], "db.query.text"), "SELECT ?, secret?");
	fresh();
	played(START "> Q SET x = off\n< S standard_conforming_strings off|C SET|Z I\n"
		     "> Q SELECT '\\', secret'\n< T|C SELECT 0|Z I");
	CHECK_STR(text_attr(spans[2], "db.query.text"), "SELECT ?");
}

/* ---- what is not followed ---- */

TEST(encryption_that_is_granted_ends_it)
{
	fresh();
	played("> 0 ssl\n< ! S");
	CHECK_INT(conn.speaker, ATR_SPEAKER_PROGRAM);
	CHECK_INT(atr_stats.not_followed, 1);
	CHECK_INT(in_use(&statements), 0);
	call_send("\x16\3\1\2\0\1", 6, 6, 0);
	call_recv("\x16\3\1\2\0\1", 6);
	hang_up();
	CHECK_INT(n_spans, 0);
}

TEST(what_is_libpqs_is_left_to_it)
{
	fresh();
	played(START "> Q SELECT 1");
	(void)said();
	conn.speaker = ATR_SPEAKER_LIBPQ;
	played("< T|D|C SELECT 1|Z I\n> Q SELECT 2\n< T|D|C SELECT 1|Z I");
	hang_up();
	CHECK_STR(said(), "");
	/* Nor is it begun when libpq sends the first byte, nor on a server's side. */
	atr_tls.inside = ATR_IN_LIBPQ;
	CHECK(!conn.protocol || !atr_pg_protocol.begin(&conn, true));
	atr_tls.inside = 0;
	CHECK(!atr_pg_protocol.begin(&conn, false));
}

static const char *const nonsense[] = {
	"> Q SELECT 1\n< 1",
	"> Q SELECT 1\n< Z Q",
	"> Q SELECT 1\n< x",
	"> Q SELECT 1\n< K",
	"> Q SELECT 1\n< T|Z I|Z I",
	"> S\n< C SELECT 1",
	"< T",
	"< Z I",
	"> H\n< D",
	"> P - SELECT 1|B - -|E -|S\n< 1|2|Z I",
	"> P - SELECT 1|B - -|E -|S\n< 1|2|C SELECT 1|1",
	"> P - SELECT 1|B - -|E -|S\n< E ERROR 42601|1",
	"> C S a|S\n< 1",
	"> C S a|S\n< Z I",
	"> ?",
	"> 0 db",
	"> P - SELECT 1|H\n< 1|1",
};

TEST(nonsense_is_given_up_for_good)
{
	for (size_t i = 0; i < ATR_ARRAY_LEN(nonsense); i++) {
		fresh();
		played(START);
		(void)said();
		played(nonsense[i]);
		if (!CHECK(atr_load(&pg()->lost)))
			printf("  %s\n", nonsense[i]);
		(void)said();
		played("> Q SELECT 1\n< T|D|C SELECT 1|Z I");
		hang_up();
		CHECK_STR(said(), "");
	}
}

TEST(a_query_without_its_end_is_nonsense)
{
	fresh();
	played(START);
	call_send("Q\0\0\0\7abc", 8, 8, 0);
	CHECK(atr_load(&pg()->lost));
}

TEST(bytes_that_go_by_unseen_are_fine_in_data_only)
{
	struct atr_moved m = { .conn = &conn, .fd = 3, .bytes = 5 };

	fresh();
	played(START "> Q COPY t FROM STDIN\n< G");
	call_send("d\0\0\0\16abc", 8, 8, 0);
	conn.protocol->sent(conn.talk, &m); /* sendfile() */
	CHECK(!atr_load(&pg()->lost));
	call_send("xy", 2, 2, 0);
	played("> c\n< C COPY 1|Z I");
	(void)said();
	CHECK(!atr_load(&pg()->lost));
	conn.protocol->sent(conn.talk, &m);
	CHECK(atr_load(&pg()->lost));
	fresh();
	played(START "> Q SELECT 1");
	conn.protocol->received(conn.talk, &m); /* recv() with MSG_TRUNC */
	CHECK(atr_load(&pg()->lost));
}

TEST(memory_that_cannot_be_read_is_the_kernels_to_find)
{
	fresh();
	played(START);
	(void)said();
	unreadable = true;
	call_send("Q\0\0\0\15SELECT 1", 14, 0, EFAULT);
	CHECK(!atr_load(&pg()->lost));
	CHECK_INT(n_spans, 0);
	unreadable = false;
	played("> Q SELECT 1\n< T|D|C SELECT 1|Z I");
	CHECK_STR(said(), "SELECT returned=1");
}

/* What goes with MSG_ZEROCOPY, or urgently, is looked at when it has gone. */
TEST(bytes_that_were_not_looked_at_before_are_afterwards)
{
	fresh();
	played(START);
	(void)said();
	n_wire = 0;
	put_all(true, "P - SELECT a FROM t|B - -|E -|S");
	for (size_t cut = 1; cut < n_wire; cut++) {
		struct iovec v[2] = { { wire, cut }, { wire + cut, n_wire - cut } };
		struct atr_moved m = {
			.conn = &conn, .fd = 3, .iov = v, .n_iov = 2, .bytes = n_wire
		};
		size_t n = n_wire;

		conn.protocol->sent(conn.talk, &m);
		played("< 1|2|D|C SELECT 1|Z I");
		CHECK_STR(said(), "SELECT t returned=1");
		put_all(true, "P - SELECT a FROM t|B - -|E -|S");
		CHECK_INT(n_wire, n);
	}
}

/* ---- how it ends ---- */

TEST(what_is_open_when_the_connection_ends_says_why)
{
	static const struct {
		const char *script;
		int end; /* 0: the stream's; > 0: an errno; < 0: the program closes */
		const char *spans;
	} ends[] = {
		{ "> Q SELECT 1", 0, "SELECT error=connection_lost" },
		{ "> Q SELECT 1", ECONNRESET, "SELECT error=connection_lost" },
		{ "> Q SELECT 1", -1, "SELECT error=cancelled" },
		{ "> Q SELECT 1\n< E FATAL 57P01", 0, "SELECT code=57P01 error=57P01" },
		{ "> Q SELECT 1\n< T|D|D", 0, "SELECT error=connection_lost" },
		{ "> P - SELECT 1|B - -|E -|P - DELETE FROM t|B - -|E -|S\n< 1|2|D|C SELECT 1", 0,
		  "SELECT returned=1\nDELETE t error=connection_lost" },
		{ "> P - SELECT 1|B - -|E -|S\n< 1|2|C SELECT 0", 0, "SELECT returned=0" },
		{ "> P s SELECT 1", -1, "PREPARE SELECT error=cancelled" },
		{ "> P - SELECT 1|S\n< 1|Z I", -1, "PREPARE SELECT" },
		{ "> S", 0, "" },
		{ "> X", 0, "" },
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(ends); i++) {
		fresh();
		played(START);
		(void)said();
		played(ends[i].script);
		if (ends[i].end >= 0)
			call_recv_nothing(ends[i].end);
		if (ends[i].end >= 0 && i < 5)
			CHECK_INT(n_spans, 1); /* at once */
		hang_up();
		CHECK_STR(said(), ends[i].spans);
		CHECK_INT(atr_stats.not_followed, 0);
	}
}

/* ---- limits ---- */

TEST(more_than_can_be_followed_is_counted_and_the_rest_stays_right)
{
	static const char one[] = "> B - s|E -";
	unsigned n = ATR_PG_STATEMENTS_MAX + 100;

	fresh();
	played(START "> P s INSERT INTO t VALUES ($1)|S\n< 1|Z I");
	(void)said();
	for (unsigned i = 0; i < n; i++)
		played(one);
	played("> S|Q SELECT 1");
	CHECK_INT(in_use(&texts), 1); /* of all of them */
	for (unsigned i = 0; i < n; i++)
		played("< 2|C INSERT 0 1");
	CHECK_INT(n_spans, ATR_PG_STATEMENTS_MAX);
	CHECK_INT(atr_stats.not_followed, 101);
	(void)said();
	played("< Z I|T|D|C SELECT 1|Z I\n> Q SELECT 1\n< T|D|C SELECT 1|Z I");
	CHECK_STR(said(), "SELECT returned=1");
	/* Beyond the other limit it is given up. */
	for (unsigned i = 0; i <= ATR_PG_QUEUE_MAX && !atr_load(&pg()->lost); i++)
		played("> S");
	CHECK(atr_load(&pg()->lost));
}

TEST(a_long_text_is_cut_and_its_statement_followed)
{
	static char text[200000];
	size_t n = sizeof("SELECT a FROM t -- ") - 1;

	fresh();
	played(START);
	(void)said();
	memset(text, 'x', sizeof(text) - 1);
	memcpy(text, "SELECT a FROM t -- ", n);
	n_wire = 0;
	begin_message('Q');
	put(text, sizeof(text));
	end_message();
	for (size_t piece = 0; piece < 3; piece++) {
		move_line(true, &(struct how){ .piece = piece == 1 ? 7000 : 0,
					       .short_by = piece == 2 ? 100000 : 0 });
		{
			static char kept[sizeof(wire)];
			size_t len = n_wire;

			memcpy(kept, wire, len);
			played("< T|D|C SELECT 1|Z I");
			memcpy(wire, kept, len);
			n_wire = len;
		}
		CHECK_STR(said(), "SELECT t returned=1");
	}
}

TEST(without_memory_nothing_is_followed_and_nothing_breaks)
{
	struct atr_pool *pools[] = { &items, &statements, &texts, &buffers };

	for (size_t i = 0; i < ATR_ARRAY_LEN(pools); i++) {
		struct atr_pool keep_pool;

		fresh();
		played(START);
		(void)said();
		keep_pool = *pools[i];
		pools[i]->max = 0;
		pools[i]->free = 0;
		played("> P s SELECT a FROM t|B - s|E -|S\n< 1|2|C SELECT 0|Z I\n> Q SELECT 1\n"
		       "< T|D|C SELECT 1|Z I");
		for (const char *type = "DCEPBQ"; *type; type++) { /* in pieces: all are kept */
			n_wire = 0;
			begin_message(*type);
			put("S\0p\0\0\0\0\0", 8);
			end_message();
			move_line(true, &(struct how){ .piece = 1 });
		}
		pools[i]->max = keep_pool.max;
		if (pools[i]->free >> 32 == 0)
			pools[i]->free = keep_pool.free;
		hang_up();
		(void)said();
		fresh();
		*pools[i] = keep_pool;
	}
	CHECK(true);
}

/* ---- whose work it is ---- */

static struct atr_cell cells[2];

/* Something the thread does; it begins to. */
static void work_on(unsigned i, const void *loop)
{
	struct atr_context c = { .valid = true, .flags = ATR_FLAG_SAMPLED, .open = &cells[i] };

	memset(c.trace_id, (int)(0x10 + i), sizeof(c.trace_id));
	memset(c.span_id, (int)(0x20 + i), sizeof(c.span_id));
	c.gen = cells[i].gen;
	atr_context_enter(&c, loop, true);
}

/* The parents of all statements so far: the numbers of what they were done for, "-" for none. */
static const char *parents(void)
{
	static char text[64];
	size_t n = 0;

	for (unsigned i = 0; i < n_spans; i++) {
		const ProtobufCBinaryData *id = &spans[i]->parent_span_id;

		text[n++] = id->len ? (char)('0' + id->data[0] - 0x20) : '-';
	}
	text[n] = '\0';
	(void)said();
	return text;
}

TEST(the_parent_is_what_the_thread_was_in_at_the_first_byte)
{
	fresh();
	played(START "> Q SELECT 1\n< C SELECT 0|Z I");
	work_on(0, NULL);
	played("> Q SELECT 1");
	work_on(1, NULL);
	played("< C SELECT 0|Z I\n> P - SELECT 1|B - -|E -|S\n< 1|2|C SELECT 0|Z I");
	CHECK_STR(parents(), "--01");
	/* In pieces: the first counts. */
	for (size_t piece = 1; piece < 20; piece++) {
		n_wire = 0;
		put_all(true, "Q SELECT 1");
		work_on(0, NULL);
		call_send(wire, piece < n_wire ? piece : n_wire, piece < n_wire ? piece : n_wire,
			  0);
		work_on(1, NULL);
		if (piece < n_wire)
			call_send(wire + piece, n_wire - piece, n_wire - piece, 0);
		played("< C SELECT 0|Z I");
		CHECK_STR(parents(), "0");
	}
	CHECK_INT(cells[0].waiting + cells[1].waiting, 0);
}

TEST(a_loop_that_reads_an_answer_goes_on_with_what_was_asked_for)
{
	static const int loop;
	const struct atr_context *now;

	fresh();
	atr_context_dispatch(-1, atr_now());
	work_on(0, &loop);
	conn.loop = &loop;
	conn.context = atr_tls.context; /* it was connected here */
	atr_context_touch();
	atr_context_dispatch(-1, atr_now());
	CHECK(!atr_context_current());
	played("> 0 db");
	atr_context_dispatch(-1, atr_now());
	CHECK_INT(cells[0].waiting, 1);
	played("< R");
	now = atr_context_current();
	CHECK(now && now->open == &cells[0]);
	atr_context_dispatch(-1, atr_now());
	played("< K|Z I");
	now = atr_context_current();
	CHECK(now && now->open == &cells[0]);
	CHECK_INT(cells[0].waiting, 0);
	played("> Q SELECT 1");
	atr_context_dispatch(-1, atr_now());
	work_on(1, &loop);
	played("> Q SELECT 2");
	atr_context_dispatch(-1, atr_now());
	CHECK_INT(cells[0].waiting + cells[1].waiting, 2);
	played("< C SELECT 0|Z I");
	now = atr_context_current();
	CHECK(now && now->open == &cells[0]);
	atr_context_touch();
	atr_context_dispatch(-1, atr_now());
	played("< C SELECT 0|Z I");
	now = atr_context_current();
	CHECK(now && now->open == &cells[1]);
	atr_context_touch();
	/* The answers of several in one read: who knows. */
	atr_context_dispatch(-1, atr_now());
	work_on(0, &loop);
	played("> Q SELECT 1");
	work_on(1, &loop);
	played("> Q SELECT 2");
	atr_context_dispatch(-1, atr_now());
	played("< C SELECT 0|Z I|C SELECT 0|Z I");
	CHECK(!atr_context_current());
	CHECK_STR(parents(), "00101");
}

TEST(an_unsampled_statement_is_no_span_but_is_followed)
{
	fresh();
	atr_sampler_init(ATR_SAMPLER_ALWAYS_OFF, 0, true);
	played(START "> P s SELECT a FROM t|S\n< 1|Z I");
	atr_sampler_init(ATR_SAMPLER_ALWAYS_ON, 1, true);
	played("> B - s|E -|S\n< 2|D|C SELECT 1|Z I");
	CHECK_STR(said(), "SELECT t returned=1");
}

TEST(raw_spans_belong_under_the_statement)
{
	struct atr_context of = { .valid = false };
	uint64_t since = 0;
	struct iovec v;
	struct atr_moved m = {
		.conn = &conn, .fd = 3, .iov = &v, .n_iov = 1, .of = &of, .since = &since
	};

	fresh();
	atr_config.socket_spans = ATR_SOCKET_SPANS_ALL;
	played(START);
	(void)said();
	n_wire = 0;
	put_all(true, "Q SELECT 1");
	v = (struct iovec){ wire, m.bytes = n_wire };
	conn.protocol->sent(conn.talk, &m);
	CHECK(of.valid && since);
	of.valid = false;
	put_all(false, "C SELECT 0|Z I");
	v = (struct iovec){ wire, m.bytes = n_wire };
	conn.protocol->received(conn.talk, &m);
	CHECK_INT(n_spans, 1);
	CHECK(of.valid && memcmp(spans[0]->span_id.data, of.span_id, 8) == 0);
}

/* ---- a thread that sends beside one that receives ---- */

#define ROUNDS 4000

static char round_asks[256], round_answers[256];
static size_t n_round_asks, n_round_answers;
static uint32_t rounds_sent;

static void *sender(void *arg)
{
	struct iovec v = { round_asks, n_round_asks };
	struct atr_source source = { .iov = &v, .n_iov = 1, .total = n_round_asks };
	struct atr_moved m = {
		.conn = &conn, .fd = 3, .iov = &v, .n_iov = 1, .bytes = n_round_asks
	};
	struct atr_plan none = { .n = 0 };

	(void)arg;
	atr_tls.thread = &threads[1];
	for (unsigned i = 0; i < ROUNDS; i++) {
		/* Few enough are ahead for each to be followed. */
		while (atr_load(&pg()->n_statements) > 64)
			usleep(1);
		if (conn.protocol->plan(conn.talk, &conn, &source, &none))
			abort();
		atr_store_release(&rounds_sent, i + 1);
		conn.protocol->sent(conn.talk, &m); /* the answer may be there already */
	}
	return NULL;
}

TEST(one_thread_sends_while_another_receives)
{
	static const char asks[] = "P - SELECT a FROM t|B - -|E -|S|Q DELETE FROM u|B - gone|E -|S";
	static const char answers[] = "1|2|D|C SELECT 1|Z I|C DELETE 3|Z I|E ERROR 26000|Z I";
	pthread_t thread;

	fresh();
	played(START);
	(void)said();
	put_all(true, asks);
	memcpy(round_asks, wire, n_round_asks = n_wire);
	put_all(false, answers);
	memcpy(round_answers, wire, n_round_answers = n_wire);
	rounds_sent = 0;
	if (!CHECK(pthread_create(&thread, NULL, sender, NULL) == 0))
		return;
	for (unsigned i = 0; i < ROUNDS; i++) {
		while (atr_load_acquire(&rounds_sent) <= i)
			usleep(1);
		call_recv(round_answers, n_round_answers);
		if (i % 1000 == 999) {
			CHECK_INT(n_spans, 3000);
			(void)said();
		}
	}
	pthread_join(thread, NULL);
	CHECK(!atr_load(&pg()->lost));
	CHECK_INT(atr_stats.not_followed, 0);
}

TEST(two_threads_in_one_direction_end_it)
{
	struct atr_source source = { .total = 0 };
	struct atr_plan none = { .n = 0 };

	fresh();
	played(START);
	(void)said();
	CHECK(claim(&pg()->asking));
	CHECK(!conn.protocol->plan(conn.talk, &conn, &source, &none));
	leave(&pg()->asking);
	CHECK(atr_load(&pg()->lost));
	fresh();
	played(START "> Q SELECT 1");
	CHECK(claim(&pg()->answering));
	call_recv("C", 1);
	leave(&pg()->answering);
	CHECK(atr_load(&pg()->lost));
	(void)said();
	hang_up();
	CHECK_STR(said(), "");
	CHECK_INT(atr_stats.not_followed, 1);
}
