/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the programs here share.  Each is run as `program CASE`, bare and preloaded, and
 * prints what it sees: every line must be the same.
 */
#ifndef HARM_H
#define HARM_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

struct harm_case {
	const char *name;
	void (*run)(void);
};

/* What cannot be otherwise: the test is wrong, or the machine. */
#define MUST(cond)                                                                    \
	do {                                                                          \
		if (!(cond)) {                                                        \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #cond, \
				strerror(errno));                                     \
			abort();                                                      \
		}                                                                     \
	} while (0)

static UNUSED int harm_pair[2] = { -1, -1 };

/* Something that becomes spans: one byte there and back over a pair. */
static UNUSED void traffic(void)
{
	char b = 'x';

	if (harm_pair[0] < 0)
		MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, harm_pair) == 0);
	MUST(send(harm_pair[0], &b, 1, 0) == 1);
	MUST(recv(harm_pair[1], &b, 1, 0) == 1 && b == 'x');
}

/* The result of a call, with its errno. */
static UNUSED void said(const char *what, long ret)
{
	printf("%s %ld %d\n", what, ret, ret < 0 ? errno : 0);
}

static UNUSED void nap(int ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

/* The table of open descriptors: number, kind, flags. */
static UNUSED void fds(const char *when)
{
	char path[64], target[256];

	printf("%s:", when);
	for (int fd = 0; fd < 1100; fd++) {
		int flags = fcntl(fd, F_GETFD);
		ssize_t n;

		if (flags < 0)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, target, sizeof(target) - 1);
		target[n < 0 ? 0 : n] = '\0';
		target[strcspn(target, ":[")] = '\0';
		if (target[0] == '/')
			snprintf(target, sizeof(target), "file");
		printf(" %d=%s%s", fd, target, flags ? "+" : "");
	}
	printf("\n");
}

/* How a child ended. */
static UNUSED void ended(const char *what, pid_t pid)
{
	int status = -1;

	MUST(waitpid(pid, &status, 0) == pid);
	if (WIFSIGNALED(status))
		printf("%s: signal %d\n", what, WTERMSIG(status));
	else
		printf("%s: exit %d\n", what, WEXITSTATUS(status));
}

static int harm_main(int argc, char **argv, const struct harm_case *cases, size_t n)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; argc > 1 && i < n; i++)
		if (!strcmp(argv[1], cases[i].name)) {
			cases[i].run();
			return 0;
		}
	fprintf(stderr, "no such case\n");
	return 99;
}

#define HARM_MAIN(...)                                                                 \
	int main(int argc, char **argv)                                                \
	{                                                                              \
		static const struct harm_case cases[] = { __VA_ARGS__ };               \
                                                                                       \
		return harm_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0])); \
	}

#endif
