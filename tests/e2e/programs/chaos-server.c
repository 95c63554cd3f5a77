/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chaos-server FILE PROCESSES THREADS: an HTTP server whose processes may be killed at any time.
 * Prints its port.  A process that dies is replaced; when standard input ends, so does it all.
 *
 * GET /op/<n> is answered by 204.  Byte n of FILE, which all processes share, is set to 1 before
 * the first byte of the answer and to 2 when the last was written.
 *
 * LIBS: -lpthread */
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESSES_MAX 16

static volatile unsigned char *done;
static long n_ops;
static int listener;

static void serve(int s)
{
	static const char answer[] = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
	char request[4096], *end;
	size_t have = 0;
	ssize_t n;
	long op;

	for (;;) {
		n = recv(s, request + have, sizeof(request) - 1 - have, 0);
		if (n <= 0)
			return;
		have += (size_t)n;
		request[have] = '\0';
		if (strstr(request, "\r\n\r\n"))
			break;
	}
	if (strncmp(request, "GET /op/", 8) != 0)
		return;
	op = strtol(request + 8, &end, 10);
	if (op < 0 || op >= n_ops || *end != ' ')
		return;
	done[op] = 1;
	if (send(s, answer, sizeof(answer) - 1, MSG_NOSIGNAL) == sizeof(answer) - 1)
		done[op] = 2;
}

static void *worker(void *arg)
{
	for (;;) {
		int s = accept(listener, NULL, NULL);

		if (s < 0)
			return arg;
		serve(s);
		close(s);
	}
}

static void process(int threads)
{
	pthread_t thread;

	/* None stays behind when the first process is killed by the test's end. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 1; i < threads; i++)
		if (pthread_create(&thread, NULL, worker, NULL))
			err(99, "pthread_create");
	worker(NULL);
	_exit(0);
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd, processes, threads, on = 1;
	pid_t pids[PROCESSES_MAX] = { 0 };
	socklen_t len = sizeof(at);
	struct stat st;

	if (argc != 4 || (processes = atoi(argv[2])) > PROCESSES_MAX)
		return 99;
	threads = atoi(argv[3]);
	fd = open(argv[1], O_RDWR);
	if (fd < 0 || fstat(fd, &st))
		err(99, "%s", argv[1]);
	n_ops = st.st_size;
	done = mmap(NULL, (size_t)n_ops, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (done == MAP_FAILED || bind(listener, (void *)&at, len) || listen(listener, 64) ||
	    getsockname(listener, (void *)&at, &len))
		err(99, "listen");
	printf("%d\n", ntohs(at.sin_port));
	fflush(stdout);
	for (;;) {
		struct pollfd in = { .fd = 0, .events = POLLIN };
		pid_t gone;

		for (int i = 0; i < processes; i++)
			if (!pids[i] && !(pids[i] = fork()))
				process(threads);
		if (poll(&in, 1, 20) > 0)
			break;
		while ((gone = waitpid(-1, NULL, WNOHANG)) > 0)
			for (int i = 0; i < processes; i++)
				if (pids[i] == gone)
					pids[i] = 0;
	}
	for (int i = 0; i < processes; i++)
		if (pids[i])
			kill(pids[i], SIGTERM);
	while (wait(NULL) > 0)
		continue;
	return 0;
}
