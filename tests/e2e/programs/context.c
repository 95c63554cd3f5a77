/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is whose parent: a query inside a notice processor of another query's
 * connection, and what a thread made in there does.
 *
 * CFLAGS: -I/usr/include/postgresql */
/* LIBS: -lpq -lpthread */
#include <libpq-fe.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static PGconn *outer, *inner, *threads;

static void exec(PGconn *c, const char *sql)
{
	PQclear(PQexec(c, sql));
}

static void *in_thread(void *arg)
{
	exec(threads, "SELECT thread FROM (SELECT 1 AS thread) AS in_thread");
	return NULL;
}

static void notice(void *arg, const char *message)
{
	pthread_t t;

	exec(inner, "SELECT inner_ FROM (SELECT 1 AS inner_) AS in_notice");
	pthread_create(&t, NULL, in_thread, NULL);
	pthread_join(t, NULL);
}

int main(void)
{
	pthread_t t;

	outer = PQconnectdb("");
	inner = PQconnectdb("");
	threads = PQconnectdb("");
	PQsetNoticeProcessor(outer, notice, NULL);
	exec(outer, "DO $$ BEGIN RAISE NOTICE 'now'; END $$");
	exec(outer, "SELECT 'a root again'");
	pthread_create(&t, NULL, in_thread, NULL);
	pthread_join(t, NULL);
	PQfinish(outer);
	PQfinish(inner);
	PQfinish(threads);
	return 0;
}
