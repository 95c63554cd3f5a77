/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pg-session: transactions, warnings, statements prepared by SQL.
 *
 * CFLAGS: -I/usr/include/postgresql */
/* LIBS: -lpq */
#include "pg.h"

static PGconn *c;

static void transactions(void)
{
	run(c, "BEGIN", "BEGIN");
	run(c, "CREATE TABLE t", "CREATE TEMP TABLE t (a int PRIMARY KEY, b text)");
	run(c, "SAVEPOINT", "SAVEPOINT s");
	run(c, "INSERT t", "INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'z')");
	run(c, "INSERT t", "INSERT INTO t VALUES (1, 'x')");
	run(c, "SELECT", "SELECT 'ignored'");
	run(c, "ROLLBACK", "ROLLBACK TO s");
	run(c, "INSERT t", "INSERT INTO t VALUES (4, 'x') RETURNING a");
	run(c, "COMMIT", "COMMIT");
	run(c, "UPDATE t", "UPDATE t SET b = 'w'");
	run(c, "MERGE t t", "MERGE INTO t USING t AS u ON u.a = t.a WHEN MATCHED THEN DELETE");
	run(c, "INSERT t INSERT t DELETE t",
	    "INSERT INTO t VALUES (9, 'x'); INSERT INTO t VALUES (8, 'x'); DELETE FROM t");
	PQsendQuery(c, "INSERT INTO t VALUES (1, 'x'); INSERT INTO t VALUES (2, 'y')");
	rest(c, "INSERT t INSERT t");
	PQsendQuery(c, "BEGIN; SELECT * FROM t");
	rest(c, "BEGIN SELECT t");
	run(c, "DELETE t", "DELETE FROM t");
	run(c, "SELECT", "SELECT 1/0");
	run(c, "ROLLBACK", "ROLLBACK");
}

/* The name, and the SQLSTATE of the warning. */
static void warned(const char *name, const char *sql, const char *state, int sent)
{
	struct said s = { name, -1, -1, -1, state, "", NULL };

	if (sent) {
		PQsendQuery(c, sql);
		while (PQisBusy(c)) {
			poll(&(struct pollfd){ PQsocket(c), POLLIN, 0 }, 1, 1000);
			PQconsumeInput(c);
		}
		PQclear(PQgetResult(c));
		PQclear(PQgetResult(c));
	} else {
		PQclear(PQexec(c, sql));
	}
	say(&s);
}

static void receive(void *arg, const PGresult *res)
{
	++*(int *)arg;
	if (!PQresultErrorField(res, PG_DIAG_SEVERITY))
		fprintf(stderr, "no severity\n");
}

static void warnings(void)
{
	static const char raise[] =
		"DO $$BEGIN RAISE WARNING 'a row says %', 'SECRET' USING ERRCODE = '01008'; END$$";
	int n = 0;

	warned("DO", raise, "01008", 0);
	warned("DO", raise, "01008", 1);
	warned("ROLLBACK", "ROLLBACK", "25P01", 0);
	/* no warning, but a notice */
	run(c, "DROP TABLE nowhere", "DROP TABLE IF EXISTS nowhere");
	run(c, "DO", "DO $$BEGIN RAISE NOTICE 'x' USING ERRCODE = '01008'; END$$");
	run(c, "SELECT", "SELECT 'nothing of it is left'");
	/* a warning and then an error */
	run(c, "DO", "DO $$BEGIN RAISE WARNING 'x'; RAISE EXCEPTION 'SECRET'; END$$");
	PQsetNoticeReceiver(c, receive, &n);
	warned("DO", raise, "01008", 0);
	printf("received %d\n", n);
}

static void prepared(void)
{
	const char *value = "1";

	run(c, "PREPARE SELECT pg_class",
	    "PREPARE Q (oid) AS SELECT relname FROM pg_class WHERE oid = $1");
	done(c, "SELECT pg_class", PQexecPrepared(c, "q", 1, &value, NULL, NULL, 0));
	run(c, "EXECUTE", "EXECUTE q (5)");
	run(c, "DEALLOCATE", "DEALLOCATE q");
	done(c, "EXECUTE", PQexecPrepared(c, "q", 1, &value, NULL, NULL, 0));
	done(c, "PREPARE SELECT pg_type",
	     PQprepare(c, "r", "SELECT typname FROM pg_type WHERE oid = $1", 0, NULL));
	done(c, "SELECT pg_type", PQexecPrepared(c, "r", 1, &value, NULL, NULL, 0));
	done(c, "PREPARE SELECT", PQprepare(c, "r", "SELECT 'another'", 0, NULL));
	done(c, "SELECT pg_type", PQexecPrepared(c, "r", 1, &value, NULL, NULL, 0));
	PQsendPrepare(c, "r", "SELECT 'another'", 0, NULL);
	rest(c, "PREPARE SELECT");
	done(c, "SELECT pg_type", PQexecPrepared(c, "r", 1, &value, NULL, NULL, 0));
	run(c, "DISCARD", "DISCARD ALL");
	done(c, "EXECUTE", PQexecPrepared(c, "r", 1, &value, NULL, NULL, 0));
}

int main(void)
{
	alarm(60);
	c = dial("");
	PQsetNoticeProcessor(c, ignore, NULL);
	transactions();
	warnings();
	prepared();
	PQfinish(c);
	return 0;
}
