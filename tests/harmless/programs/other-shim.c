/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Another LD_PRELOAD object that interposes what we do: counts the calls that reach it, and says
 * so at the end.  Calls of ours would be counted too.
 *
 * CFLAGS: -shared -fPIC */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

static int n_connect, n_send, n_recv, n_close, n_read, n_write, n_socket;

#define NEXT(name)                              \
	static __typeof__(name) *real;          \
                                                \
	if (!real)                              \
		real = dlsym(RTLD_NEXT, #name); \
	__atomic_fetch_add(&n_##name, 1, __ATOMIC_RELAXED)

int connect(int fd, const struct sockaddr *to, socklen_t len)
{
	NEXT(connect);
	return real(fd, to, len);
}

int socket(int domain, int type, int protocol)
{
	NEXT(socket);
	return real(domain, type, protocol);
}

ssize_t send(int fd, const void *buf, size_t n, int flags)
{
	NEXT(send);
	return real(fd, buf, n, flags);
}

ssize_t recv(int fd, void *buf, size_t n, int flags)
{
	NEXT(recv);
	return real(fd, buf, n, flags);
}

ssize_t read(int fd, void *buf, size_t n)
{
	NEXT(read);
	return real(fd, buf, n);
}

ssize_t write(int fd, const void *buf, size_t n)
{
	NEXT(write);
	return real(fd, buf, n);
}

int close(int fd)
{
	NEXT(close);
	return real(fd);
}

__attribute__((destructor)) static void tell(void)
{
	char line[200];
	int n = snprintf(line, sizeof(line),
			 "connect %d send %d recv %d close %d read %d write %d socket %d\n",
			 n_connect, n_send, n_recv, n_close, n_read, n_write, n_socket);
	ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");

	(void)!real(2, line, (size_t)n);
}
