/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What _FORTIFY_SOURCE makes of recv, recvfrom, read, poll and ppoll when the
 * size of the buffer is known: glibc's *_chk functions, which check and then call
 * inside libc, where we would not see it.
 */
#include <errno.h>

#include "hooks/hook.h"
#include "hooks/io.h"
#include "hooks/wait.h"

atr_export ssize_t __recv_chk(int fd, void *buf, size_t len, size_t buf_size, int flags)
{
	ATR_ENTER(__recv_chk, fd, buf, len, buf_size, flags);
	struct atr_io io;

	if (!atr_io_begin(&io, fd, ATR_RECV))
		return atr_real.__recv_chk(fd, buf, len, buf_size, flags);
	return atr_io_end(
		&io, atr_real.__recv_chk(fd, buf, len, buf_size, flags),
		ATR_CALL(.iov = ATR_PIECE(buf, len), .n_iov = 1, .asked = len, .flags = flags));
}

atr_export ssize_t __recvfrom_chk(int fd, void *restrict buf, size_t len, size_t buf_size,
				  int flags, struct sockaddr *restrict addr,
				  socklen_t *restrict addr_len)
{
	ATR_ENTER(__recvfrom_chk, fd, buf, len, buf_size, flags, addr, addr_len);
	struct atr_io io;
	socklen_t room;

	if (!atr_io_begin(&io, fd, ATR_RECV))
		return atr_real.__recvfrom_chk(fd, buf, len, buf_size, flags, addr, addr_len);
	room = addr ? atr_io_room(&io, addr_len) : 0;
	return atr_io_received_from(
		&io, atr_real.__recvfrom_chk(fd, buf, len, buf_size, flags, addr, addr_len), buf,
		len, flags, room, addr, addr_len);
}

atr_export ssize_t __read_chk(int fd, void *buf, size_t len, size_t buf_size)
{
	ATR_ENTER(__read_chk, fd, buf, len, buf_size);
	struct atr_io io;

	if (!atr_io_begin(&io, fd, ATR_RECV))
		return atr_real.__read_chk(fd, buf, len, buf_size);
	return atr_io_end(
		&io, atr_real.__read_chk(fd, buf, len, buf_size),
		ATR_CALL(.iov = ATR_PIECE(buf, len), .n_iov = 1, .asked = len, .flags = 0));
}

atr_export int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t size)
{
	ATR_ENTER(__poll_chk, fds, n, timeout, size);
	uint64_t began = atr_wait_begins(timeout);

	return atr_wait_polled(fds, n, timeout, began, atr_real.__poll_chk(fds, n, timeout, size));
}

atr_export int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout,
			   const sigset_t *mask, size_t size)
{
	ATR_ENTER(__ppoll_chk, fds, n, timeout, mask, size);
	int64_t ms = atr_wait_ms(timeout);
	uint64_t began = atr_wait_begins(ms);

	return atr_wait_polled(fds, n, ms, began,
			       atr_real.__ppoll_chk(fds, n, timeout, mask, size));
}
