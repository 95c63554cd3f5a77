/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every libpq call we hook.  Prints one JSON line per operation that must be a
 * span: what was really sent, and what really came back.
 *
 * CFLAGS: -I/usr/include/postgresql */
/* LIBS: -lpq */
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void json(const char *s)
{
	putchar('"');
	for (; *s; s++)
		if (*s == '\n')
			printf("\\n");
		else if (*s == '"' || *s == '\\')
			printf("\\%c", *s);
		else
			putchar(*s);
	putchar('"');
}

/* parameterised: the text is as the program sent it. */
static void did(const char *call, const char *sql, int as_is, const char *sqlstate)
{
	printf("{\"call\": \"%s\", \"as_is\": %s, \"sqlstate\": ", call, as_is ? "true" : "false");
	if (sqlstate)
		json(sqlstate);
	else
		printf("null");
	printf(", \"sql\": ");
	json(sql);
	printf("}\n");
}

static void finish(PGresult *res, const char *call, const char *sql, int as_is)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

	if (!state && PQresultStatus(res) == PGRES_FATAL_ERROR)
		state = ""; /* the server had no say in it */
	did(call, sql, as_is, state);
	PQclear(res);
}

static void connected(PGconn *c, const char *call)
{
	did(call, "connect", 0, PQstatus(c) == CONNECTION_OK ? NULL : "failed");
}

static void exec(PGconn *c, const char *sql)
{
	finish(PQexec(c, sql), "PQexec", sql, 0);
}

/* The asynchronous way, with the waiting done by us. */
static void results(PGconn *c, const char *call, const char *sql, int as_is)
{
	PGresult *res, *last = NULL;

	do {
		while (PQisBusy(c)) {
			poll(&(struct pollfd){ PQsocket(c), POLLIN, 0 }, 1, 1000);
			if (!PQconsumeInput(c))
				break;
		}
		res = PQgetResult(c);
		if (res && last)
			PQclear(last);
		if (res)
			last = res;
	} while (res);
	if (last)
		finish(last, call, sql, as_is);
}

static void poll_through(PGconn *c, PostgresPollingStatusType (*step)(PGconn *))
{
	PostgresPollingStatusType want = PGRES_POLLING_WRITING;

	while (want != PGRES_POLLING_OK && want != PGRES_POLLING_FAILED) {
		poll(&(struct pollfd){ PQsocket(c),
				       want == PGRES_POLLING_READING ? POLLIN : POLLOUT, 0 },
		     1, 1000);
		want = step(c);
	}
}

static void quiet(void *arg, const char *message)
{
}

int main(void)
{
	const char *db = getenv("PGDATABASE"), *host = getenv("PGHOST"), *port = getenv("PGPORT");
	const char *keys[] = { "host", "dbname", NULL }, *values[] = { host, db, NULL };
	const char *params[] = { "42", "it's" };
	const char *sql;
	char *line;
	PGconn *c, *d;

	c = PQconnectdb("");
	connected(c, "PQconnectdb");
	if (PQstatus(c) != CONNECTION_OK) {
		fprintf(stderr, "%s", PQerrorMessage(c));
		return 1;
	}
	PQsetNoticeProcessor(c, quiet, NULL);
	exec(c, "SELECT 1");
	exec(c, "CREATE TEMP TABLE songs (id int, name varchar(255))");
	exec(c, "INSERT INTO songs VALUES (7, 'a secret')");
	exec(c, "SELECT name FROM songs WHERE id = 7 AND name <> 'x'");
	exec(c, "SELECT * FROM nowhere WHERE id = 1");
	exec(c, "SELECT 1/0");
	exec(c, "not sql at all");
	exec(c, "SELECT 1; SELECT 2");
	exec(c, "");
	sql = "SELECT $1::int + 1, $2::text";
	finish(PQexecParams(c, sql, 2, NULL, params, NULL, NULL, 0), "PQexecParams", sql, 1);
	finish(PQexecParams(c, "SELECT $1::int", 1, NULL, params + 1, NULL, NULL, 0),
	       "PQexecParams", "SELECT $1::int", 1);
	sql = "SELECT name FROM songs WHERE id = $1";
	finish(PQprepare(c, "by id", sql, 1, NULL), "PQprepare", sql, 1);
	finish(PQexecPrepared(c, "by id", 1, params, NULL, NULL, 0), "PQexecPrepared", sql, 1);
	finish(PQexecPrepared(c, "by id", 1, params, NULL, NULL, 0), "PQexecPrepared", sql, 1);
	finish(PQexecPrepared(c, "never prepared", 0, NULL, NULL, NULL, 0), "PQexecPrepared", "",
	       1);

	sql = "SELECT 1 AS a; SELECT 2 AS b";
	PQsendQuery(c, sql);
	results(c, "PQsendQuery", sql, 0);
	sql = "SELECT * FROM generate_series(1, 20)";
	PQsendQuery(c, sql);
	PQsetSingleRowMode(c);
	results(c, "PQsendQuery", sql, 0);
	sql = "SELECT missing";
	PQsendQuery(c, sql);
	results(c, "PQsendQuery", sql, 0);
	sql = "SELECT $1::int AS p";
	PQsendQueryParams(c, sql, 1, NULL, params, NULL, NULL, 0);
	results(c, "PQsendQueryParams", sql, 1);
	sql = "SELECT $1::int AS q";
	PQsendPrepare(c, "q", sql, 1, NULL);
	results(c, "PQsendPrepare", sql, 1);
	PQsendQueryPrepared(c, "q", 1, params, NULL, NULL, 0);
	results(c, "PQsendQueryPrepared", sql, 1);

	sql = "COPY songs TO STDOUT";
	finish(PQexec(c, sql), "PQexec", sql, 0);
	while (PQgetCopyData(c, &line, 0) > 0)
		PQfreemem(line);
	PQclear(PQgetResult(c)); /* the end of the copy: not an operation of its own */
	exec(c, "SELECT 'after copy'");

	PQreset(c);
	connected(c, "PQreset");
	exec(c, "SELECT 'after reset'");

	d = PQconnectdbParams(keys, values, 0);
	connected(d, "PQconnectdbParams");
	exec(d, "SELECT 'd'");
	PQfinish(d);
	d = PQsetdbLogin(host, port, NULL, NULL, db, NULL, NULL);
	connected(d, "PQsetdbLogin");
	exec(d, "SELECT 'e'");
	PQfinish(d);
	d = PQconnectStart("");
	poll_through(d, PQconnectPoll);
	connected(d, "PQconnectStart");
	exec(d, "SELECT 'f'");
	PQfinish(d);
	d = PQconnectStartParams(keys, values, 0);
	poll_through(d, PQconnectPoll);
	connected(d, "PQconnectStartParams");
	exec(d, "SELECT 'g'");
	/* the server ends this one's session: an error without a result of the server's own */
	exec(d, "SELECT pg_terminate_backend(pg_backend_pid())");
	sql = "SELECT 'on a dead connection'";
	PQclear(PQexec(d, sql));
	did("PQexec", sql, 0, "");
	PQfinish(d);

	d = PQconnectdb("port=1 connect_timeout=2");
	connected(d, "PQconnectdb");
	PQfinish(d);
	d = PQconnectdb("dbname=not_there");
	connected(d, "PQconnectdb");
	PQfinish(d);
	PQfinish(c);
	sql = "SELECT 'no connection'"; /* legal, and it fails */
	PQclear(PQexec(NULL, sql));
	did("PQexec of NULL", sql, 0, "");
	return 0;
}
