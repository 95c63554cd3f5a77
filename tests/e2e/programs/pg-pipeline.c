/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pg-pipeline: pipeline mode.
 *
 * CFLAGS: -I/usr/include/postgresql */
/* LIBS: -lpq */
#include "pg.h"

static PGconn *c;

static void send(const char *sql)
{
	if (!PQsendQueryParams(c, sql, 0, NULL, NULL, NULL, NULL, 0))
		fprintf(stderr, "%s", PQerrorMessage(c));
}

static void send_with(const char *sql, const char *value)
{
	if (!PQsendQueryParams(c, sql, 1, NULL, &value, NULL, NULL, 0))
		fprintf(stderr, "%s", PQerrorMessage(c));
}

/* The results of one statement; inside a pipeline nobody knows of the transaction. */
static void one(const char *name)
{
	struct said s = { name, -1, -1, -1, NULL, NULL, NULL };
	PGresult *res;

	while ((res = PQgetResult(c))) {
		if (PQresultStatus(res) == PGRES_PIPELINE_ABORTED)
			s.error = "pipeline_aborted";
		add_result(&s, res);
		PQclear(res);
	}
	say(&s);
}

static void sync_point(void)
{
	PGresult *res = PQgetResult(c);

	if (PQresultStatus(res) != PGRES_PIPELINE_SYNC)
		fprintf(stderr, "no synchronisation: %s\n", PQresStatus(PQresultStatus(res)));
	PQclear(res);
}

static void in_order(void)
{
	send("CREATE TEMP TABLE p (a int, b text)");
	send_with("INSERT INTO p SELECT g, 'x' FROM generate_series(1, $1) g", "5");
	PQsendPrepare(c, "get", "SELECT a FROM p WHERE a < $1", 0, NULL);
	PQsendQueryPrepared(c, "get", 1, (const char *[]){ "3" }, NULL, NULL, 0);
	PQsendDescribePrepared(c, "get");
	send("UPDATE p SET b = 'y'");
	PQpipelineSync(c);
	one("CREATE TABLE p");
	one("INSERT p SELECT generate_series");
	one("PREPARE SELECT p");
	one("SELECT p");
	one("DESCRIBE SELECT p");
	one("UPDATE p");
	sync_point();
}

/* Two batches under way; the first fails in its middle, the second does not. */
static void aborted(void)
{
	send("SELECT 1 AS before");
	send("SELECT nonsense");
	send("SELECT 2 AS skipped");
	PQsendPrepare(c, "never", "SELECT 3", 0, NULL);
	PQpipelineSync(c);
	send("SELECT 4 AS after");
	PQpipelineSync(c);
	one("SELECT");
	one("SELECT");
	one("SELECT");
	one("PREPARE SELECT");
	sync_point();
	one("SELECT");
	sync_point();
	PQsendQueryPrepared(c, "never", 0, NULL, NULL, NULL, 0);
	PQpipelineSync(c);
	one("EXECUTE");
	sync_point();
	PQsendPrepare(c, "get", "SELECT 'there is one'", 0, NULL); /* so it stays what it was */
	PQpipelineSync(c);
	one("PREPARE SELECT");
	sync_point();
	PQsendQueryPrepared(c, "get", 1, (const char *[]){ "2" }, NULL, NULL, 0);
	PQpipelineSync(c);
	one("SELECT p");
	sync_point();
}

/* The results of what has been flushed, before the point is sent; single rows. */
static void flushed(void)
{
	send("SELECT a FROM p");
	PQsetSingleRowMode(c);
	PQsendFlushRequest(c);
	PQflush(c);
	send("DELETE FROM p WHERE a > 3");
	PQsendFlushRequest(c);
	PQflush(c);
	PQsetSingleRowMode(c);
	one("SELECT p");
	one("DELETE p");
	PQpipelineSync(c);
	sync_point();
}

/* Far more than one buffer holds, read while others are being sent; without blocking. */
static void many(void)
{
	int sent = 0, got = 0, busy = 0;
	char value[16];

	PQsetnonblocking(c, 1);
	while (got < 1200) {
		for (int i = 0; i < 50 && sent < 1200; i++) {
			snprintf(value, sizeof(value), "%d", ++sent);
			send_with("SELECT $1::int + 1 AS many", value);
		}
		if (sent == 1200 && !busy++)
			PQpipelineSync(c);
		PQsendFlushRequest(c);
		while (PQflush(c) > 0)
			PQconsumeInput(c);
		while (got < sent - 500 || (sent == 1200 && got < sent)) {
			one("SELECT");
			got++;
		}
	}
	sync_point();
	PQsetnonblocking(c, 0);
}

int main(void)
{
	alarm(60);
	c = dial("");
	PQsetNoticeProcessor(c, ignore, NULL);
	if (!PQenterPipelineMode(c))
		return 1;
	in_order();
	aborted();
	flushed();
	many();
	/* Not allowed here. */
	PQclear(PQexec(c, "SELECT 'refused'"));
	say_name("SELECT", "_OTHER");
	if (!PQexitPipelineMode(c))
		return 1;
	run(c, "SELECT", "SELECT 'behind it'");
	PQfinish(c);
	return 0;
}
