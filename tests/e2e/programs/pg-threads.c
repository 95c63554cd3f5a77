/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pg-threads N: 16 threads, each with a connection "pgt-<i>" of its own, and on it N rounds of
 * every way to have a statement executed.
 *
 * CFLAGS: -I/usr/include/postgresql */
/* LIBS: -lpq -lpthread */
#include <libpq-fe.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int rounds;

static void drain(PGconn *c)
{
	PGresult *res;

	while ((res = PQgetResult(c)))
		PQclear(res);
}

static void one_round(PGconn *c, int thread, int round)
{
	const char *value = "7";
	char sql[128];

	snprintf(sql, sizeof(sql), "SELECT 1 AS t%d_%d", thread, round);
	PQclear(PQexec(c, sql));
	snprintf(sql, sizeof(sql), "SELECT $1::int AS p%d_%d", thread, round);
	PQclear(PQexecParams(c, sql, 1, NULL, &value, NULL, NULL, 0));
	snprintf(sql, sizeof(sql), "SELECT 1/0 AS e%d_%d", thread, round);
	PQsendQuery(c, sql);
	drain(c);
	PQclear(PQexecPrepared(c, "p", 1, &value, NULL, NULL, 0));
	PQenterPipelineMode(c);
	for (int i = 0; i < 8; i++) {
		snprintf(sql, sizeof(sql), "SELECT $1::int AS q%d_%d_%d", thread, round, i);
		PQsendQueryParams(c, sql, 1, NULL, &value, NULL, NULL, 0);
	}
	PQpipelineSync(c);
	for (int i = 0; i < 8; i++)
		drain(c);
	PQclear(PQgetResult(c));
	PQexitPipelineMode(c);
}

static void *work(void *arg)
{
	int thread = (int)(long)arg;
	char info[64];
	PGconn *c;

	snprintf(info, sizeof(info), "application_name=pgt-%d", thread);
	c = PQconnectdb(info);
	if (PQstatus(c) != CONNECTION_OK) {
		fprintf(stderr, "%s", PQerrorMessage(c));
		exit(1);
	}
	PQclear(PQprepare(c, "p", "SELECT $1::int + 1 AS prepared", 0, NULL));
	for (int i = 0; i < rounds; i++)
		one_round(c, thread, i);
	PQfinish(c);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[16];

	alarm(100);
	rounds = atoi(argv[1]);
	for (long i = 0; i < 16; i++)
		pthread_create(&threads[i], NULL, work, (void *)i);
	for (int i = 0; i < 16; i++)
		pthread_join(threads[i], NULL);
	printf("%d\n", 16 * rounds * 12);
	return 0;
}
