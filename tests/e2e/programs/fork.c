/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork MODE PORT: the parent works, forks, both work, the child ends by _exit or exit.
 * Prints the pids of both, parent first.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int port;

static int dial(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int s = socket(AF_INET, SOCK_STREAM, 0);

	if (connect(s, (void *)&at, sizeof(at)))
		abort();
	return s;
}

static void round_trip(int s, int bytes)
{
	char buf[100] = { 0 };

	if (send(s, buf, bytes, 0) != bytes || recv(s, buf, bytes, MSG_WAITALL) != bytes)
		abort();
}

int main(int argc, char **argv)
{
	const char *mode = argv[1];
	int s, status;
	pid_t pid;

	port = atoi(argv[2]);
	s = dial();
	if (strcmp(mode, "cold"))
		round_trip(s, 1);
	if (!strcmp(mode, "child"))
		return 3;
	pid = !strcmp(mode, "vfork") ? vfork() : fork();
	if (pid == 0) {
		if (!strcmp(mode, "vfork"))
			_exit(3);
		if (!strcmp(mode, "silent"))
			_exit(3);
		if (!strcmp(mode, "exec"))
			execl(argv[0], argv[0], "child", argv[2], (char *)NULL);
		round_trip(s, 2); /* the inherited connection: child's span, same peer */
		round_trip(dial(), 3);
		if (!strcmp(mode, "_exit"))
			_exit(3);
		exit(3);
	}
	if (waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != 3)
		abort();
	round_trip(s, 4);
	printf("%d %d\n", getpid(), pid);
	return 0;
}
