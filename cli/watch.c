/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `autotrace run` leaves behind when it becomes the program: a process that waits
 * for the program's end and then sends what it has left in the spool.
 *
 * The program keeps the process, its id, its parent and its exit status.  The one
 * that waits is no child of it (the one between has ended), of another session, and has
 * nothing open: no pipe stays open for it.  Where it would become the program's child
 * all the same, in a container as process 1 or as a reaper of orphans, there is none, nor where
 * spans are only printed: they stay for an `autotrace drain --exporter console`.
 */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "preload/config.h"

/* Nothing but the one descriptor, which is 3 then. */
static void close_others(int pidfd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)dup2(pidfd, 3);
	for (int fd = 0; fd < 3 && null >= 0; fd++)
		(void)dup2(null, fd);
	(void)close_range(4, ~0u, 0);
}

static void wait_and_drain(int pidfd)
{
	static char drain[] = "drain", same[] = "--same", name[] = "autotrace";
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	struct pollfd p = { .fd = 3, .events = POLLIN };

	if (n <= 0)
		return;
	self[n] = '\0';
	close_others(pidfd);
	/* Whoever ends a service ends all of its processes, and this one's work begins then. */
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)!chdir("/");
	while (poll(&p, 1, -1) <= 0)
		;
	(void)close(3);
	(void)unsetenv("LD_PRELOAD");
	(void)setenv("OTEL_LOG_LEVEL", "none", 1);
	(void)execv(self, (char *[]){ name, drain, same, NULL });
}

static const char *env(const char *name)
{
	return getenv(name);
}

/* The program says it. */
static void quiet(const char *line)
{
	(void)line;
}

/* What is printed would be printed to nobody. */
static bool goes_somewhere(void)
{
	static struct atr_config config;

	atr_config_read(&config, env, quiet);
	return config.file || config.exporters & (ATR_EXPORTER_OTLP | ATR_EXPORTER_ZIPKIN);
}

void atr_cli_watch(void)
{
	int reaper = 0, pidfd;
	pid_t pid;

	if (!goes_somewhere() || getpid() == 1 ||
	    prctl(PR_GET_CHILD_SUBREAPER, &reaper, 0, 0, 0) != 0 || reaper)
		return;
	pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (pidfd < 0)
		return;
	pid = fork();
	if (pid == 0) {
		if (setsid() < 0 || fork() != 0)
			_exit(0);
		wait_and_drain(pidfd);
		_exit(ATR_EXIT_OURS);
	}
	if (pid > 0)
		(void)waitpid(pid, NULL, 0);
	(void)close(pidfd);
}
