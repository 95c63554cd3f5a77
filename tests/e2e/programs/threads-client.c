/* SPDX-License-Identifier: Apache-2.0 */
/*
 * threads-client pg N M           N threads, each M PQexec on a connection of its own
 * threads-client echo N M PORT    N threads, each M echo round trips of 8 bytes
 * threads-client each N M PORT    the same, with a connection (and a thread) per round trip
 *
 * Prints how many operations succeeded, as the threads themselves counted them.
 *
 * CFLAGS: -I/usr/include/postgresql */
/* LIBS: -lpq -lpthread */
#include <arpa/inet.h>
#include <libpq-fe.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int rounds, port;
static long connects, queries, sends, receives, failures;

#define COUNT(what) __atomic_add_fetch(&(what), 1, __ATOMIC_RELAXED)

static void *pg(void *arg)
{
	PGconn *c = PQconnectdb("");

	if (PQstatus(c) != CONNECTION_OK) {
		fprintf(stderr, "%s", PQerrorMessage(c));
		COUNT(failures);
		return NULL;
	}
	COUNT(connects);
	for (int i = 0; i < rounds; i++) {
		PGresult *res = PQexec(c, "SELECT 1");

		if (PQresultStatus(res) == PGRES_TUPLES_OK)
			COUNT(queries);
		else
			COUNT(failures);
		PQclear(res);
	}
	PQfinish(c);
	return NULL;
}

static int dial(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int s = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	if (connect(s, (void *)&at, sizeof(at)) == 0)
		COUNT(connects);
	else
		COUNT(failures);
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return s;
}

static void round_trip(int s)
{
	char buf[8];

	if (send(s, "12345678", 8, MSG_NOSIGNAL) == 8)
		COUNT(sends);
	else
		COUNT(failures);
	for (int got = 0; got < 8;) {
		ssize_t n = recv(s, buf, sizeof(buf), 0);

		if (n <= 0) {
			COUNT(failures);
			break;
		}
		got += n;
		COUNT(receives);
	}
}

static void *echo(void *arg)
{
	int s = dial();

	for (int i = 0; i < rounds; i++)
		round_trip(s);
	close(s);
	return NULL;
}

static void *one(void *arg)
{
	int s = dial();

	round_trip(s);
	close(s);
	return NULL;
}

static void *each(void *arg)
{
	for (int i = 0; i < rounds; i++) {
		pthread_t t;

		if (pthread_create(&t, NULL, one, NULL) == 0)
			pthread_join(t, NULL);
		else
			COUNT(failures);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int n = atoi(argv[2]);
	pthread_t threads[n];

	rounds = atoi(argv[3]);
	port = argc > 4 ? atoi(argv[4]) : 0;
	for (int i = 0; i < n; i++)
		pthread_create(&threads[i], NULL,
			       !strcmp(argv[1], "pg")	  ? pg
			       : !strcmp(argv[1], "echo") ? echo
							  : each,
			       NULL);
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	printf("{\"connects\": %ld, \"queries\": %ld, \"sends\": %ld, \"receives\": %ld, "
	       "\"failures\": %ld}\n",
	       connects, queries, sends, receives, failures);
	return failures != 0;
}
