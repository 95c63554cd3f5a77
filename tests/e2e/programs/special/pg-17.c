/* SPDX-License-Identifier: Apache-2.0 */
/* pg-17: what libpq 17 has and 15 has not. */
#include "../pg.h"

/* Debian's header is older than the library this is linked with. */
typedef struct pg_cancel_conn PGcancelConn;
PGresult *PQclosePrepared(PGconn *conn, const char *stmt);
PGresult *PQclosePortal(PGconn *conn, const char *portal);
int PQsendClosePrepared(PGconn *conn, const char *stmt);
int PQsendClosePortal(PGconn *conn, const char *portal);
int PQsendPipelineSync(PGconn *conn);
int PQsetChunkedRowsMode(PGconn *conn, int rows);
PGcancelConn *PQcancelCreate(PGconn *conn);
int PQcancelBlocking(PGcancelConn *cancel);
int PQcancelStart(PGcancelConn *cancel);
PostgresPollingStatusType PQcancelPoll(PGcancelConn *cancel);
int PQcancelSocket(const PGcancelConn *cancel);
void PQcancelReset(PGcancelConn *cancel);
void PQcancelFinish(PGcancelConn *cancel);

static PGconn *c;

static void closing(void)
{
	done(c, "PREPARE SELECT pg_class",
	     PQprepare(c, "q", "SELECT relname FROM pg_class WHERE oid = $1", 0, NULL));
	done(c, "CLOSE SELECT pg_class", PQclosePrepared(c, "q"));
	done(c, "EXECUTE", PQexecPrepared(c, "q", 1, (const char *[]){ "1" }, NULL, NULL, 0));
	done(c, "PREPARE SELECT pg_class",
	     PQprepare(c, "q", "SELECT relname FROM pg_class WHERE oid = $1", 0, NULL));
	PQsendClosePrepared(c, "q");
	rest(c, "CLOSE SELECT pg_class");
	run(c, "BEGIN", "BEGIN");
	run(c, "DECLARE SELECT pg_class", "DECLARE cur CURSOR FOR SELECT oid FROM pg_class");
	done(c, "CLOSE", PQclosePortal(c, "cur"));
	PQsendClosePortal(c, "cur"); /* that there is none is no error */
	rest(c, "CLOSE");
	run(c, "COMMIT", "COMMIT");
}

static void chunks(void)
{
	struct said s = { "SELECT generate_series", 0, -1, -1, NULL, NULL, NULL };
	int results = 0;
	PGresult *res;

	PQsendQuery(c, "SELECT g FROM generate_series(1, 250) g");
	PQsetChunkedRowsMode(c, 100);
	while ((res = PQgetResult(c))) {
		results++;
		s.returned += PQntuples(res);
		PQclear(res);
	}
	say(&s);
	printf("%d\n", results);
}

static void one(void)
{
	struct said s = { "SELECT", -1, -1, -1, NULL, NULL, NULL };
	PGresult *res;

	while ((res = PQgetResult(c))) {
		add_result(&s, res);
		PQclear(res);
	}
	say(&s);
}

static void pipeline(void)
{
	PQenterPipelineMode(c);
	for (int i = 0; i < 3; i++) {
		PQsendQueryParams(c, i == 1 ? "SELECT wrong" : "SELECT 1", 0, NULL, NULL, NULL,
				  NULL, 0);
		PQsendPipelineSync(c);
	}
	PQflush(c);
	for (int i = 0; i < 3; i++) {
		one();
		PQclear(PQgetResult(c)); /* the point */
	}
	printf("%d\n", PQexitPipelineMode(c));
}

static void cancelling(void)
{
	PGcancelConn *cancel = PQcancelCreate(c);
	PostgresPollingStatusType want;

	send_slow(c);
	printf("%d\n", PQcancelBlocking(cancel));
	rest(c, "DO");
	say_name("cancel postgres", NULL);
	PQcancelReset(cancel);
	send_slow(c);
	printf("%d\n", PQcancelStart(cancel));
	do {
		want = PQcancelPoll(cancel);
		poll(&(struct pollfd){ PQcancelSocket(cancel),
				       want == PGRES_POLLING_READING ? POLLIN : POLLOUT, 0 },
		     1, want == PGRES_POLLING_OK ? 0 : 1000);
	} while (want != PGRES_POLLING_OK && want != PGRES_POLLING_FAILED);
	rest(c, "DO");
	say_name("cancel postgres", NULL);
	PQcancelReset(cancel);
	PQsendQuery(c, "SELECT 'before it is cancelled'");
	rest(c, "SELECT");
	PQcancelStart(cancel);
	say_name("cancel postgres", "cancelled"); /* nobody waits for its end */
	PQcancelFinish(cancel);
}

int main(void)
{
	alarm(60);
	c = dial("");
	PQsetNoticeProcessor(c, ignore, NULL);
	closing();
	chunks();
	pipeline();
	cancelling();
	PQfinish(c);
	return 0;
}
