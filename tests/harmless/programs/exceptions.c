/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exceptions CASE: C++ exceptions across our frames: out of a thread's function, main, and hooks
 * that were called by libraries; pthread_cancel() as an unwind that runs destructors.
 *
 * CFLAGS: -x c++ -std=c++17 */
/* LIBS: -lstdc++ -lpthread */
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <stdexcept>
#include <sys/socket.h>
#include <unistd.h>

static int p[2];

static void traffic()
{
	char b;

	if (!p[1] && socketpair(AF_UNIX, SOCK_STREAM, 0, p))
		abort();
	if (send(p[0], "x", 1, 0) != 1 || recv(p[1], &b, 1, 0) != 1)
		abort();
}

struct noisy {
	const char *name;
	~noisy()
	{
		traffic();
		printf("~%s\n", name);
	}
};

static void throws(int n)
{
	noisy here = { "frame" };

	traffic();
	if (!n)
		throw std::runtime_error("thrown");
	throws(n - 1);
}

static void *catches(void *)
{
	for (int i = 0; i < 3; i++)
		try {
			throws(3);
		} catch (const std::exception &e) {
			traffic();
			printf("caught %s\n", e.what());
		}
	return nullptr;
}

static void *blocks(void *)
{
	noisy here = { "cancelled" };
	char b;

	(void)!recv(p[1], &b, 1, 0);
	return nullptr;
}

static void *exits(void *)
{
	noisy here = { "exited" };

	pthread_exit(nullptr);
}

static void *escapes(void *)
{
	throws(1);
	return nullptr;
}

static void run(void *(*what)(void *), bool cancel)
{
	pthread_t t;

	traffic();
	if (pthread_create(&t, nullptr, what, nullptr))
		abort();
	if (cancel) {
		usleep(30000);
		pthread_cancel(t);
	}
	pthread_join(t, nullptr);
	traffic();
}

int main(int, char **argv)
{
	setvbuf(stdout, nullptr, _IOLBF, 0);
	if (!strcmp(argv[1], "caught")) {
		catches(nullptr);
		run(catches, false);
		run(blocks, true);
		run(exits, false);
		return 0;
	}
	if (!strcmp(argv[1], "thread"))
		run(escapes, false); /* std::terminate() */
	traffic();
	throws(2); /* the same, out of main */
	return 0;
}
