/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pg-odd NAME: uses of libpq off the main road.
 *
 *	busy	a second PQsendQuery while the first is under way is refused
 *	copy	a COPY that fails only when its data is there
 *	secrets	literals that look like parameters, and backslashes in literals
 *	pipeline	five statements sent before the first result is fetched
 *	refused	functions called while a statement is under way
 *	named	prepared statements that change their text behind PQprepare's back
 *	jump	calls that are left by longjmp() out of a notice processor
 *	async	100 connections begun by PQconnectStart at the same time
 *
 * CFLAGS: -I/usr/include/postgresql */
/* LIBS: -lpq */
#include <libpq-fe.h>
#include <poll.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static PGconn *c;

static int drain(void)
{
	PGresult *res;
	int n = 0;

	while ((res = PQgetResult(c))) {
		n++;
		PQclear(res);
	}
	return n;
}

static void run(const char *sql)
{
	PQclear(PQexec(c, sql));
}

static void busy(void)
{
	printf("%d ", PQsendQuery(c, "SELECT 1, pg_sleep(0.2)"));
	printf("%d ", PQsendQuery(c, "SELECT 2 FROM pg_class"));
	printf("%d\n", drain());
}

static void copy(void)
{
	run("CREATE TEMP TABLE numbers(a int)");
	run("COPY numbers FROM STDIN");
	usleep(200000);
	PQputCopyData(c, "not a number\n", 13);
	PQputCopyEnd(c, NULL);
	printf("%d\n", drain());
}

static void secrets(void)
{
	PQclear(PQexecParams(c, "SELECT '$1$salt$SECRET1', 'SECRET2'", 0, NULL, NULL, NULL, NULL,
			     0));
	PQclear(PQprepare(c, "p", "SELECT '$2y$10$SECRET3'", 0, NULL));
	PQclear(PQexecPrepared(c, "p", 0, NULL, NULL, NULL, 0));
	run("SET standard_conforming_strings=off");
	run("SET escape_string_warning=off");
	run("SELECT 'a\\' x', 'SECRET4', 'b'");
	PQsetClientEncoding(c, "SJIS"); /* the second byte of this character is a backslash */
	run("SELECT E'\x95\x5c', 'SECRET5', E'\x95\x5c'");
}

static void refused(void)
{
	PGresult *res;
	int value, len;

	run("CREATE TEMP TABLE numbers(a int)");
	printf("%d ", lo_tell(c, 1)); /* the first call asks which functions there are */
	PQsendQuery(c, "SELECT 1 FROM pg_class LIMIT 3");
	res = PQfn(c, 1258, &value, &len, 1, NULL, 0);
	printf("%s ", PQresStatus(PQresultStatus(res)));
	PQclear(res);
	drain();
	run("COPY numbers FROM STDIN");
	printf("%d ", lo_tell(c, 1));
	PQputCopyData(c, "7\n", 2);
	PQputCopyEnd(c, NULL);
	printf("%d\n", drain());
}

static void execute(const char *name)
{
	PGresult *res = PQexecPrepared(c, name, 0, NULL, NULL, NULL, 0);

	printf("%s ", PQgetvalue(res, 0, 0));
	PQclear(res);
}

static void named(void)
{
	run("CREATE TEMP TABLE told(t text)");
	run("PREPARE a AS SELECT 'a' FROM pg_am; INSERT INTO told VALUES ('$1 SECRET')");
	execute("a");
	PQclear(PQprepare(c, "b", "SELECT 'b'", 0, NULL));
	run("BEGIN; DEALLOCATE b; PREPARE b AS SELECT 'new' FROM pg_class; COMMIT; SELECT 1");
	execute("b");
	PQclear(PQprepare(c, "d", "SELECT 'd' FROM pg_type", 0, NULL));
	PQsendQuery(c, "PREPARE d AS SELECT 'e' FROM pg_proc"); /* there is one */
	drain();
	execute("d");
	run("DEALLOCATE d; SELECT 1/0");
	run("SELECT 1; PREPARE d AS SELECT 'f' FROM pg_proc; SELECT 1/0");
	execute("d");
	printf("\n");
}

static void pipeline(void)
{
	int ok = 0;
	PGresult *res;

	PQenterPipelineMode(c);
	for (int i = 0; i < 5; i++)
		PQsendQueryParams(c, "SELECT 1", 0, NULL, NULL, NULL, NULL, 0);
	PQpipelineSync(c);
	for (int i = 0; i < 5; i++) {
		res = PQgetResult(c);
		ok += PQresultStatus(res) == PGRES_TUPLES_OK;
		PQclear(res);
		PQclear(PQgetResult(c));
	}
	PQclear(PQgetResult(c));
	PQexitPipelineMode(c);
	run("SELECT 'after'");
	printf("%d\n", ok);
}

static jmp_buf out;

static void jump_out(void *none, const char *message)
{
	(void)none;
	(void)message;
	longjmp(out, 1);
}

static void jump(void)
{
	static volatile int n;

	for (n = 0; n < 3; n++) {
		PGconn *left = PQconnectdb("");

		PQsetNoticeProcessor(left, jump_out, NULL);
		if (!setjmp(out))
			PQclear(PQexec(left, "DO $$BEGIN RAISE WARNING 'w'; END$$"));
	}
	run("SELECT 'after'");
	printf("%d\n", n);
}

static void async(void)
{
	static PGconn *all[100];
	int ended = 0, good = 0;

	for (int i = 0; i < 100; i++)
		all[i] = PQconnectStart("");
	while (ended < 100) {
		ended = good = 0;
		for (int i = 0; i < 100; i++) {
			ConnStatusType status = PQstatus(all[i]);

			if (status != CONNECTION_OK && status != CONNECTION_BAD)
				(void)PQconnectPoll(all[i]);
			status = PQstatus(all[i]);
			ended += status == CONNECTION_OK || status == CONNECTION_BAD;
			good += status == CONNECTION_OK;
		}
		usleep(1000);
	}
	for (int i = 0; i < 100; i++)
		PQfinish(all[i]);
	printf("%d\n", good);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} all[] = { { "busy", busy },	{ "copy", copy },	{ "secrets", secrets },
		    { "named", named }, { "refused", refused }, { "pipeline", pipeline },
		    { "jump", jump },	{ "async", async } };

	alarm(30);
	c = PQconnectdb("");
	for (unsigned i = 0; argc > 1 && i < sizeof(all) / sizeof(all[0]); i++)
		if (!strcmp(argv[1], all[i].name))
			all[i].run();
	PQfinish(c);
	return 0;
}
