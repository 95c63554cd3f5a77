/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doomed HOW COUNTS N [THREADS]: N sends of a datagram by each thread, counted in the shared file
 * COUNTS before and after each (two words of 64 bits), then an end of that kind.
 * N = 0: sends until it is killed.
 *
 * LIBS: -lpthread */
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t *counts; /* begun, ended */
static long n;

static void sends(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int to = socket(AF_INET, SOCK_DGRAM, 0), s = socket(AF_INET, SOCK_DGRAM, 0);

	if (bind(to, (void *)&at, len) || getsockname(to, (void *)&at, &len))
		err(99, "bind");
	for (long i = 0; !n || i < n; i++) {
		__atomic_fetch_add(&counts[0], 1, __ATOMIC_SEQ_CST);
		if (sendto(s, "x", 1, 0, (void *)&at, len) != 1)
			err(99, "sendto");
		__atomic_fetch_add(&counts[1], 1, __ATOMIC_SEQ_CST);
		if (!n)
			usleep(300);
	}
	close(s);
	close(to);
}

static void *thread(void *arg)
{
	sends();
	return arg;
}

static void children(long how_many)
{
	for (long i = 0; i < how_many; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			sends();
			_exit(0);
		}
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			err(99, "fork");
	}
}

int main(int argc, char **argv)
{
	const char *how = argv[1];
	int fd = open(argv[2], O_RDWR), n_threads = argc > 4 ? atoi(argv[4]) : 1;
	pthread_t t[64];

	counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (counts == MAP_FAILED)
		err(99, "%s", argv[2]);
	close(fd);
	n = atol(argv[3]);
	setvbuf(stdout, NULL, _IONBF, 0);
	if (!strcmp(how, "children")) {
		long all = n;

		n = 1;
		children(all);
		return 7;
	}
	for (int i = 1; i < n_threads && i < 64; i++)
		if (pthread_create(&t[i], NULL, thread, NULL))
			err(99, "pthread_create");
	sends();
	for (int i = 1; i < n_threads && i < 64; i++)
		pthread_join(t[i], NULL);
	printf("%s\n", how);
	if (!strcmp(how, "exit"))
		exit(7);
	if (!strcmp(how, "_exit"))
		_exit(7);
	if (!strcmp(how, "quick_exit"))
		quick_exit(7);
	if (!strcmp(how, "exit_group"))
		syscall(SYS_exit_group, 7);
	if (!strcmp(how, "abort"))
		abort();
	if (!strcmp(how, "SIGSEGV"))
		kill(getpid(), SIGSEGV);
	if (!strcmp(how, "SIGTERM"))
		raise(SIGTERM);
	if (!strcmp(how, "SIGKILL"))
		raise(SIGKILL);
	if (!strcmp(how, "exec"))
		execl("/bin/sh", "sh", "-c", "exit 7", (char *)NULL);
	if (!strcmp(how, "orphan")) { /* the parent goes first */
		if (fork())
			_exit(7);
		setsid(); /* the tests end our group with us */
		usleep(100000);
		sends();
		syscall(SYS_exit_group, 7);
	}
	return 7;
}
