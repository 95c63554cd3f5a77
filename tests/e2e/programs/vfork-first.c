/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vfork-first [_exit]: the first thing a process does on a socket is done by its vfork child, as
 * when a shell says "not found" on a standard error that is a socket.  Prints its process id.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int s[2], status;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, s))
		abort();
	pid = vfork();
	if (pid == 0) {
		execl("/no/such/program", "program", (char *)NULL);
		_exit(write(s[0], "x", 1) == 1 ? 3 : 4);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 3)
		abort();
	(void)argv;
	printf("%d\n", getpid());
	(void)fflush(stdout);
	if (argc > 1)
		_exit(0);
	return 0;
}
