/* SPDX-License-Identifier: Apache-2.0 */
/*
 * churn N: N threads one after the other, ten at a time, each with a few sends; prints
 * the operations done and the memory in use at the end (MiB).
 */
/* LIBS: -lpthread */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void *work(void *arg)
{
	int pair[2];
	char b;

	(void)arg;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		abort();
	for (int i = 0; i < 10; i++)
		if (send(pair[0], "x", 1, 0) != 1 || recv(pair[1], &b, 1, 0) != 1)
			abort();
	close(pair[0]);
	close(pair[1]);
	return NULL;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) / 10 : 0;
	long pages = 0;
	FILE *f;

	for (int i = 0; i < rounds; i++) {
		pthread_t t[10];

		for (int k = 0; k < 10; k++)
			if (pthread_create(&t[k], NULL, work, NULL))
				abort();
		for (int k = 0; k < 10; k++)
			pthread_join(t[k], NULL);
	}
	f = fopen("/proc/self/statm", "r");
	if (!f || fscanf(f, "%*d %ld", &pages) != 1)
		abort();
	printf("%d %ld\n", rounds * 10 * 20, pages * sysconf(_SC_PAGESIZE) >> 20);
	return 0;
}
