/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin that calls from a static function; NAME is the function's. */
#include <stdio.h>
#include <sys/socket.h>

static __attribute__((noinline, noclone)) void NAME(int fd)
{
#ifdef QUIET
	send(fd, "p", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
#else
	printf("%s %s %d\n", __func__, __FILE__, __LINE__), fflush(stdout), send(fd, "p", 1, 0);
#endif
	__asm__ volatile("" ::: "memory");
}

void plugin_entry(int fd)
{
	NAME(fd);
	__asm__ volatile("" ::: "memory");
}
