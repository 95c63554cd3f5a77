/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn-loop N PRELOAD: N times fork and exec of /bin/true with LD_PRELOAD=PRELOAD
 * ("" for none) in the child's environment; prints programs per second.
 */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	int n = atoi(argv[1]), status;
	double start;
	pid_t pid;

	if (*argv[2])
		setenv("LD_PRELOAD", argv[2], 1); /* for the children; we were started without */
	start = now();
	for (int i = 0; i < n; i++)
		if (posix_spawn(&pid, "/bin/true", NULL, NULL, (char *[]){ "true", NULL },
				environ) ||
		    waitpid(pid, &status, 0) != pid || status)
			return 1;
	printf("%.2f\n", n / (now() - start));
	return 0;
}
