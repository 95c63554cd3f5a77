/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that has functions of its own by the names of libc's, and exports them: an allocator,
 * and read() and write() that are something else altogether.
 *
 * CFLAGS: -rdynamic -fno-builtin */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static char heap[64 << 20] __attribute__((aligned(16)));
static size_t used;
static int reads, writes;

void *malloc(size_t n)
{
	size_t at = __atomic_fetch_add(&used, ((n + 15) & ~(size_t)15) + 16, __ATOMIC_RELAXED);

	*(size_t *)(heap + at) = n;
	return heap + at + 16;
}

void free(void *p)
{
	(void)p;
}

void *calloc(size_t n, size_t size)
{
	return malloc(n * size); /* never used before, so zero */
}

void *realloc(void *p, size_t n)
{
	void *q = malloc(n);

	if (p) {
		size_t had = *(size_t *)((char *)p - 16);

		memcpy(q, p, had < n ? had : n);
	}
	return q;
}

ssize_t read(int fd, void *buf, size_t n)
{
	(void)fd;
	(void)buf;
	reads++;
	return (ssize_t)n;
}

ssize_t write(int fd, const void *buf, size_t n)
{
	(void)fd;
	(void)buf;
	writes++;
	return (ssize_t)n;
}

/* The name of a hook as data. */
int splice = 42;

int main(void)
{
	int p[2];
	char b[4];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, p))
		return 1;
	for (int i = 0; i < 50; i++)
		if (send(p[0], "x", 1, 0) != 1 || recv(p[1], b, 1, 0) != 1)
			return 2;
	usleep(100000);
	pid = fork();
	if (!pid) {
		(void)!send(p[0], "x", 1, 0);
		_exit(5);
	}
	waitpid(pid, NULL, 0);
	printf("%d %d %d\n", reads, writes, splice);
	return 0;
}
