/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pg-async: connecting, waiting, cancelling, being notified, giving up.
 *
 * CFLAGS: -I/usr/include/postgresql */
/* LIBS: -lpq -lpthread */
#include "pg.h"

#include <pthread.h>

static PGconn *c;

static void poll_through(PGconn *conn, PostgresPollingStatusType (*step)(PGconn *))
{
	PostgresPollingStatusType want = PGRES_POLLING_WRITING;

	while (want != PGRES_POLLING_OK && want != PGRES_POLLING_FAILED) {
		poll(&(struct pollfd){ PQsocket(conn),
				       want == PGRES_POLLING_READING ? POLLIN : POLLOUT, 0 },
		     1, 5000);
		want = step(conn);
	}
}

static void connections(void)
{
	const char *keys[] = { "service", NULL }, *values[] = { "here", NULL };
	char two[256];
	PGconn *d;

	d = PQconnectdbParams(keys, values, 0);
	say_name("connect postgres", PQstatus(d) == CONNECTION_OK ? NULL : "?");
	run(d, "SELECT", "SELECT 'by service'");
	PQfinish(d);
	snprintf(two, sizeof(two), "host=127.0.0.1,127.0.0.1 port=1,%s", getenv("PGPORT"));
	d = dial(two); /* the first of them is not there */
	run(d, "SELECT", "SELECT 'on the second host'");
	if (!PQresetStart(d))
		return;
	poll_through(d, PQresetPoll);
	say_name("connect postgres", NULL);
	run(d, "SELECT", "SELECT 'after PQresetPoll'");
	PQfinish(d);
	printf("%d\n", PQping(""));
	say_name("ping", NULL);
	printf("%d\n",
	       PQpingParams((const char *[]){ "port", NULL }, (const char *[]){ "1", NULL }, 0));
	say_name("ping", "connection_refused");
	printf("%d\n", PQping("nonsense"));
	say_name("ping", "not_attempted");
	d = PQconnectStart("");
	say_name("connect postgres", "cancelled");
	PQfinish(d);
	d = PQconnectdb("password=SECRET1 SECRET2");
	say_name("connect", "_OTHER");
	PQfinish(d);
	d = PQconnectdb("port=1");
	say_name("connect postgres", "connection_refused");
	PQfinish(d);
}

static void *cancel_soon(void *arg)
{
	char why[256];

	usleep(500000);
	PQcancel(arg, why, sizeof(why));
	return NULL;
}

static void cancelling(void)
{
	PGcancel *cancel = PQgetCancel(c);
	pthread_t thread;
	char why[256];

	send_slow(c);
	printf("%d\n", PQcancel(cancel, why, sizeof(why)));
	rest(c, "DO");
	say_name("cancel", NULL);
	send_slow(c);
	printf("%d\n", PQrequestCancel(c));
	rest(c, "DO");
	say_name("cancel postgres", NULL);
	pthread_create(&thread, NULL, cancel_soon, cancel);
	run(c, "SELECT", "SELECT pg_sleep(30), 'by a thread'");
	pthread_join(thread, NULL);
	say_name("cancel", NULL);
	PQfreeCancel(cancel);
}

static void notifications(void)
{
	PGnotify *n;
	int got = 0;

	run(c, "LISTEN bell", "LISTEN bell");
	run(c, "NOTIFY bell", "NOTIFY bell, 'rings'");
	while (!got) {
		PQconsumeInput(c);
		while ((n = PQnotifies(c))) {
			got++;
			PQfreemem(n);
		}
	}
	run(c, "UNLISTEN", "UNLISTEN *");
	printf("%d\n", got);
}

static void *fetch(void *arg)
{
	rest(arg, "SELECT");
	return NULL;
}

static void *ask(void *arg)
{
	run(arg, "SELECT", "SELECT 'by another thread'");
	PQsendQuery(arg, "SELECT 'begun there, ended here'");
	return NULL;
}

static void threads(void)
{
	pthread_t thread;

	PQsendQuery(c, "SELECT 'begun here, ended there'");
	pthread_create(&thread, NULL, fetch, c);
	pthread_join(thread, NULL);
	pthread_create(&thread, NULL, ask, c);
	pthread_join(thread, NULL);
	rest(c, "SELECT");
}

/* The program does not fetch all there is, and goes on. */
static void leaving(void)
{
	PGresult *res;

	PQsendQuery(c, "SELECT 'its NULL is never fetched'");
	res = PQgetResult(c);
	say(&(struct said){ "SELECT", PQntuples(res), -1, -1, NULL, NULL, NULL });
	PQclear(res);
	run(c, "SELECT", "SELECT 'next'");
	PQsendQuery(c, "SELECT g FROM generate_series(1, 10000) g");
	PQsetSingleRowMode(c);
	for (int i = 0; i < 3; i++)
		PQclear(PQgetResult(c));
	say(&(struct said){ "SELECT generate_series", 3, -1, -1, NULL, "cancelled", NULL });
	run(c, "SELECT", "SELECT 'and next'");
}

int main(void)
{
	PGresult *res;
	PGconn *d;

	alarm(60);
	c = dial("");
	PQsetNoticeProcessor(c, ignore, NULL);
	connections();
	cancelling();
	notifications();
	threads();
	leaving();
	d = dial("");
	PQsendQuery(d, "SELECT pg_sleep(0.1), 'PQfinish comes first'");
	say_name("SELECT", "cancelled");
	PQfinish(d);
	d = dial("");
	PQsendQuery(d, "SELECT pg_terminate_backend(pg_backend_pid())");
	rest(d, "SELECT");
	PQclear(PQexec(d, "SELECT 'it is gone'"));
	say_name("SELECT", "connection_lost");
	/* Two that nobody ends: the process does. */
	PQsendQuery(c, "SELECT 'its result is fetched'");
	res = PQgetResult(c);
	say(&(struct said){ "SELECT", PQntuples(res), -1, -1, NULL, NULL, NULL });
	PQreset(d);
	say_name("connect postgres", NULL);
	PQsendQuery(d, "SELECT 'its result is not'");
	say_name("SELECT", "cancelled");
	fflush(stdout);
	if (getenv("LEAVE_BY__EXIT"))
		_exit(0);
	exit(0);
}
