/* SPDX-License-Identifier: Apache-2.0 */
/*
 * company CASE: a program that does a little of everything, to be run beside allocators, other
 * shims and tools.
 *
 * LIBS: -lpthread */
#include "harm.h"

#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>

static struct sockaddr_in at;

static void *serves(void *arg)
{
	int s = (int)(long)arg;

	for (int i = 0; i < 12; i++) {
		int c = accept(s, NULL, NULL);
		char b[64];
		ssize_t n;

		MUST(c >= 0);
		while ((n = read(c, b, sizeof(b))) > 0)
			MUST(write(c, b, (size_t)n) == n);
		close(c);
	}
	return NULL;
}

static void *calls(void *arg)
{
	char *p = NULL, b[64];

	for (int i = 0; i < 3; i++) {
		int s = socket(AF_INET, SOCK_STREAM, 0);

		MUST(connect(s, (void *)&at, sizeof(at)) == 0);
		for (int n = 1; n < 20; n++) {
			p = realloc(p, (size_t)n * 1000);
			memset(p, n, (size_t)n * 1000);
			MUST(send(s, "hello", 5, 0) == 5);
			MUST(recv(s, b, sizeof(b), 0) == 5);
		}
		close(s);
	}
	free(p);
	return arg;
}

static void plain(void)
{
	socklen_t len = sizeof(at);
	struct addrinfo *list, hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM };
	pthread_t server, t[4];
	pid_t pid;
	int s = socket(AF_INET, SOCK_STREAM, 0);

	traffic();
	at = (struct sockaddr_in){ .sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	MUST(bind(s, (void *)&at, sizeof(at)) == 0 && listen(s, 8) == 0);
	MUST(getsockname(s, (void *)&at, &len) == 0);
	MUST(pthread_create(&server, NULL, serves, (void *)(long)s) == 0);
	for (int i = 0; i < 4; i++)
		MUST(pthread_create(&t[i], NULL, calls, NULL) == 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	pthread_join(server, NULL);
	said("localhost", getaddrinfo("localhost", "80", &hints, &list));
	freeaddrinfo(list);
	pid = fork();
	if (!pid) {
		traffic();
		free(malloc(100000));
		_exit(4);
	}
	ended("child", pid);
	said("system", WEXITSTATUS(system("exit 3")));
	printf("done\n");
}

/* With files and children left out: where nothing may be written or made. */
static void quiet(void)
{
	for (int i = 0; i < 20; i++)
		traffic();
	nap(50);
	traffic();
	printf("done\n");
}

HARM_MAIN({ "plain", plain }, { "quiet", quiet })
