/* SPDX-License-Identifier: Apache-2.0 */
/*
 * threads N: N threads, all alive, have each sent and received 100 bytes over a pair of theirs.
 * Prints the process's resident memory and what of it is shared with files, in kB, now and a
 * second later.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static pthread_barrier_t done;

static void *work(void *none)
{
	char c = 'x';
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		exit(1);
	for (int i = 0; i < 100; i++)
		if (send(pair[0], &c, 1, 0) != 1 || recv(pair[1], &c, 1, 0) != 1)
			exit(1);
	close(pair[0]);
	close(pair[1]);
	pthread_barrier_wait(&done); /* all have worked */
	pthread_barrier_wait(&done); /* and may go */
	return none;
}

static void say(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	long all = 0, shared = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmRSS: %ld", &all) != 1 &&
		    sscanf(line, "RssShmem: %ld", &shared) != 1)
			continue;
	if (f)
		fclose(f);
	printf("%ld %ld\n", all, shared);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	unsigned n = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
	pthread_attr_t small;
	pthread_t thread;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 256 * 1024);
	pthread_barrier_init(&done, NULL, n + 1);
	for (unsigned i = 0; i < n; i++)
		if (pthread_create(&thread, &small, work, NULL) || pthread_detach(thread))
			return 1;
	pthread_barrier_wait(&done);
	say();
	sleep(1);
	say();
	pthread_barrier_wait(&done);
	return 0;
}
