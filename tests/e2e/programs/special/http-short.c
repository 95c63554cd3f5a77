/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel with hardly any room: preloaded behind us, it lets each call on a stream
 * socket send a few bytes at most (SHORT, at most 64), and now and then none: EAGAIN where that
 * is allowed, else EINTR if SHORT_EINTR is set.  So a write is cut short at every
 * byte, also within what we insert.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* Of one thread at a time: the program under test has one. */
static uint32_t state = 1;
static bool fault; /* the last call was refused: the next one is not */

static uint32_t next(void)
{
	state = state * 1664525 + 1013904223;
	return state >> 8;
}

static bool stream(int fd)
{
	int type = 0;
	socklen_t len = sizeof(type);

	return syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 &&
	       type == SOCK_STREAM;
}

static ssize_t some(int fd, const struct msghdr *m, int flags)
{
	const char *most = getenv("SHORT");
	size_t left = 1 + next() % (most ? strtoul(most, NULL, 10) : 1), n = 0;
	bool may_block = flags & MSG_DONTWAIT || syscall(SYS_fcntl, fd, F_GETFL) & O_NONBLOCK;
	char buf[64];

	if (!fault && next() % 4 == 0 && (may_block || getenv("SHORT_EINTR"))) {
		fault = true;
		errno = may_block ? EAGAIN : EINTR;
		return -1;
	}
	fault = false;
	if (left > sizeof(buf))
		left = sizeof(buf);
	for (size_t i = 0; i < m->msg_iovlen && left; i++) {
		size_t take = m->msg_iov[i].iov_len < left ? m->msg_iov[i].iov_len : left;

		memcpy(buf + n, m->msg_iov[i].iov_base, take);
		n += take;
		left -= take;
	}
	return syscall(SYS_sendto, fd, buf, n, flags, NULL, 0);
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	return stream(fd) ? some(fd, m, flags) : syscall(SYS_sendmsg, fd, m, flags);
}

EXPORT int sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags)
{
	unsigned i;

	if (!stream(fd))
		return (int)syscall(SYS_sendmmsg, fd, m, n, flags);
	for (i = 0; i < n; i++) {
		size_t asked = 0;
		ssize_t ret = some(fd, &m[i].msg_hdr, flags);

		if (ret < 0)
			return i ? (int)i : -1;
		for (size_t k = 0; k < m[i].msg_hdr.msg_iovlen; k++)
			asked += m[i].msg_hdr.msg_iov[k].iov_len;
		m[i].msg_len = (unsigned)ret;
		if ((size_t)ret < asked)
			return (int)i + 1;
	}
	return (int)n;
}

static ssize_t one(int fd, const void *p, size_t n, int flags)
{
	struct iovec iov = { (void *)p, n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	return some(fd, &m, flags);
}

/* One exported function does not call another: that would pass through us twice. */
EXPORT ssize_t sendto(int fd, const void *p, size_t n, int flags, const struct sockaddr *to,
		      socklen_t len)
{
	return stream(fd) ? one(fd, p, n, flags) : syscall(SYS_sendto, fd, p, n, flags, to, len);
}

EXPORT ssize_t send(int fd, const void *p, size_t n, int flags)
{
	return stream(fd) ? one(fd, p, n, flags) : syscall(SYS_sendto, fd, p, n, flags, NULL, 0);
}

EXPORT ssize_t write(int fd, const void *p, size_t n)
{
	return stream(fd) ? one(fd, p, n, MSG_NOSIGNAL) : syscall(SYS_write, fd, p, n);
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int n)
{
	struct msghdr m = { .msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n };

	return stream(fd) ? some(fd, &m, MSG_NOSIGNAL) : syscall(SYS_writev, fd, iov, n);
}
