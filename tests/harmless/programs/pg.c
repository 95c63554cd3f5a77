/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pg CASE: libpq's functions left in ways they are not meant to be left.  The server is that of the
 * environment.
 *
 * CFLAGS: -x c++ -std=c++17 -I/usr/include/postgresql */
/* LIBS: -lpq -lstdc++ -lpthread */
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdexcept>
#include <unistd.h>

static PGconn *connected()
{
	PGconn *c = PQconnectdb("");

	if (PQstatus(c) != CONNECTION_OK)
		abort();
	return c;
}

static void query(const char *when)
{
	PGconn *c = connected();
	PGresult *r = PQexec(c, "SELECT 6 * 7");

	printf("%s %s\n", when, PQgetvalue(r, 0, 0));
	PQclear(r);
	PQfinish(c);
}

struct noisy {
	~noisy()
	{
		printf("unwound\n");
	}
};

static void *sleeps(void *arg)
{
	noisy here;

	PQclear(PQexec((PGconn *)arg, "SELECT pg_sleep(20)"));
	printf("not reached\n");
	return nullptr;
}

/* pthread_cancel() in PQexec(): the poll() in there is where it takes effect. */
static void cancel()
{
	PGconn *c = connected();
	void *result = nullptr;
	pthread_t t;

	query("before");
	if (pthread_create(&t, nullptr, sleeps, c))
		abort();
	usleep(150000);
	pthread_cancel(t);
	pthread_join(t, &result);
	printf("cancelled %d\n", result == PTHREAD_CANCELED);
	query("after");
}

static void throws(void *, const char *text)
{
	throw std::runtime_error(text);
}

/* An exception of a notice processor, through libpq and us. */
static void exception()
{
	for (int i = 0; i < 3; i++) {
		PGconn *c = connected();

		PQsetNoticeProcessor(c, throws, nullptr);
		try {
			PQclear(PQexec(c, "DO $$ BEGIN RAISE NOTICE 'thrown'; END $$"));
			printf("not reached\n");
		} catch (const std::exception &e) {
			printf("caught %s", e.what());
		}
		query("after"); /* the connection is left as it is, as nothing may be done with it
				 */
	}
}

int main(int, char **argv)
{
	setvbuf(stdout, nullptr, _IOLBF, 0);
	if (!strcmp(argv[1], "cancel"))
		cancel();
	else
		exception();
	return 0;
}
