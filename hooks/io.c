/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls that move bytes.
 *
 * What moved nothing is no span: EAGAIN, EINTR, a peek, the end of a stream.  A
 * call that failed is one, with its error.  Calls on a descriptor that is no
 * socket cost the look-up in atr_io_begin().
 */
#include "hooks/io.h"

#include <errno.h>
#include <string.h>

#include "hooks/errtype.h"
#include "hooks/hook.h"
#include "hooks/socket.h"
#include "preload/stats.h"
#include "preload/sys.h"

static const uint8_t kinds[] = {
	[ATR_ROLE_UNKNOWN] = ATR_KIND_INTERNAL,
	[ATR_ROLE_CLIENT] = ATR_KIND_CLIENT,
	[ATR_ROLE_SERVER] = ATR_KIND_SERVER,
	[ATR_ROLE_LISTEN] = ATR_KIND_SERVER,
};

bool atr_io_begin(struct atr_io *io, int fd, enum atr_direction direction)
{
	struct atr_conn *c = atr_conn_get(fd);
	bool spans;

	if (atr_likely(!c))
		return false;
	spans = atr_socket_spans(c);
	io->conn = c;
	io->gen = atr_load(&c->gen);
	io->fd = fd;
	io->direction = direction;
	if (c->role == ATR_ROLE_UNKNOWN && c->type == SOCK_DGRAM && !c->paired &&
	    direction == ATR_SEND)
		c->role = ATR_ROLE_CLIENT; /* it speaks first */
	io->op.recording = false;
	if (spans)
		atr_op_begin(&io->op, kinds[c->role]);
	return io->op.recording || atr_load(&c->connecting);
}

/* Is it worth a span?  A span says that bytes moved, or why they did not. */
static bool happened(const struct atr_io *io, ssize_t bytes, int err, size_t asked, int flags)
{
	if (flags & (MSG_PEEK | MSG_ERRQUEUE))
		return false;
	if (bytes < 0)
		return err != EAGAIN && err != EINTR && err != EBADF && err != EFAULT &&
		       err != ENOTSOCK && err != EINVAL;
	return bytes > 0 || (io->conn->type != SOCK_STREAM && asked > 0);
}

static void write_span(struct atr_io *io, ssize_t bytes, int err, const union atr_addr *peer,
		       socklen_t peer_len)
{
	bool sent = io->direction == ATR_SEND;
	struct atr_span span;

	if (!atr_op_end(&io->op, &span, sent ? "send" : "recv", 4))
		return;
	if (peer_len)
		atr_conn_addr_attrs(io->conn, io->fd, peer, peer_len, &span.pb);
	else
		atr_conn_attrs(io->conn, io->fd, &span.pb);
	if (bytes >= 0)
		atr_attr_int(&span.pb, sent ? ATR_BYTES_SENT : ATR_BYTES_RECEIVED, bytes);
	else
		atr_span_error(&span, atr_errtype(err), strlen(atr_errtype(err)));
	/* Closed by another thread while we wrote: the addresses may be a successor's. */
	if (atr_load_acquire(&io->conn->gen) == io->gen) {
		atr_span_commit(&span);
	} else {
		atr_span_drop(&span);
		atr_count(not_followed, 1);
	}
}

void atr_io_finish(struct atr_io *io, ssize_t bytes, int err, size_t asked, int flags,
		   const struct sockaddr *peer, socklen_t peer_len)
{
	struct atr_conn *c = io->conn;
	union atr_addr to;

	/* Closed meanwhile by another thread, and perhaps another connection now. */
	if (atr_load_acquire(&c->gen) != io->gen) {
		atr_count(not_followed, io->op.recording);
		return;
	}
	if (atr_unlikely(atr_load(&c->connecting))) {
		if (bytes > 0)
			atr_connect_done(c, 0);
		else if (bytes < 0 && err != EAGAIN && err != EINTR && err != ENOTCONN)
			atr_connect_done(c, err);
	}
	if (!happened(io, bytes, err, asked, flags)) {
		atr_op_drop(&io->op);
		return;
	}
	if (!io->op.recording)
		return;
	if (peer && peer_len && peer_len <= sizeof(to))
		memcpy(&to, peer, peer_len);
	else
		peer_len = 0;
	write_span(io, bytes, err, &to, peer_len);
}

ssize_t atr_io_end(struct atr_io *io, ssize_t ret, size_t asked, int flags)
{
	int err = errno;

	atr_io_finish(io, ret, err, asked, flags, NULL, 0);
	errno = err;
	return ret;
}

socklen_t atr_io_room(const struct atr_io *io, const socklen_t *len)
{
	socklen_t room = 0;

	if (io->conn->type == SOCK_STREAM || !io->op.recording || !len ||
	    !atr_sys_peek(&room, len, sizeof(room)))
		return 0;
	return room;
}

static size_t iov_bytes(const struct iovec *iov, size_t n)
{
	size_t bytes = 0;

	for (size_t i = 0; i < n; i++)
		bytes += iov[i].iov_len;
	return bytes;
}

/* ---- plain ---- */

atr_export ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	ATR_ENTER(send, fd, buf, len, flags);
	struct atr_io io;

	if (!atr_io_begin(&io, fd, ATR_SEND))
		return atr_real.send(fd, buf, len, flags);
	return atr_io_end(&io, atr_real.send(fd, buf, len, flags), len, flags);
}

atr_export ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	ATR_ENTER(recv, fd, buf, len, flags);
	struct atr_io io;

	if (!atr_io_begin(&io, fd, ATR_RECV))
		return atr_real.recv(fd, buf, len, flags);
	return atr_io_end(&io, atr_real.recv(fd, buf, len, flags), len, flags);
}

atr_export ssize_t write(int fd, const void *buf, size_t len)
{
	ATR_ENTER(write, fd, buf, len);
	struct atr_io io;

	if (!atr_io_begin(&io, fd, ATR_SEND))
		return atr_real.write(fd, buf, len);
	return atr_io_end(&io, atr_real.write(fd, buf, len), len, 0);
}

atr_export ssize_t read(int fd, void *buf, size_t len)
{
	ATR_ENTER(read, fd, buf, len);
	struct atr_io io;

	if (!atr_io_begin(&io, fd, ATR_RECV))
		return atr_real.read(fd, buf, len);
	return atr_io_end(&io, atr_real.read(fd, buf, len), len, 0);
}

atr_export ssize_t writev(int fd, const struct iovec *iov, int n)
{
	ATR_ENTER(writev, fd, iov, n);
	struct atr_io io;

	if (!atr_io_begin(&io, fd, ATR_SEND))
		return atr_real.writev(fd, iov, n);
	return atr_io_end(&io, atr_real.writev(fd, iov, n), 1, 0);
}

atr_export ssize_t readv(int fd, const struct iovec *iov, int n)
{
	ATR_ENTER(readv, fd, iov, n);
	struct atr_io io;

	if (!atr_io_begin(&io, fd, ATR_RECV))
		return atr_real.readv(fd, iov, n);
	return atr_io_end(&io, atr_real.readv(fd, iov, n), 1, 0);
}

/* ---- with an address ---- */

atr_export ssize_t sendto(int fd, const void *buf, size_t len, int flags,
			  const struct sockaddr *addr, socklen_t addr_len)
{
	ATR_ENTER(sendto, fd, buf, len, flags, addr, addr_len);
	struct atr_io io;
	ssize_t ret;
	int err;

	if (!atr_io_begin(&io, fd, ATR_SEND))
		return atr_real.sendto(fd, buf, len, flags, addr, addr_len);
	ret = atr_real.sendto(fd, buf, len, flags, addr, addr_len);
	err = errno;
	/* A stream takes no notice of the address; after an error it may be unreadable. */
	if (ret < 0 || io.conn->type == SOCK_STREAM)
		addr = NULL;
	atr_io_finish(&io, ret, err, len, flags, addr, addr_len);
	errno = err;
	return ret;
}

atr_export ssize_t recvfrom(int fd, void *restrict buf, size_t len, int flags,
			    struct sockaddr *restrict addr, socklen_t *restrict addr_len)
{
	ATR_ENTER(recvfrom, fd, buf, len, flags, addr, addr_len);
	struct atr_io io;
	socklen_t room;
	ssize_t ret;
	int err;

	if (!atr_io_begin(&io, fd, ATR_RECV))
		return atr_real.recvfrom(fd, buf, len, flags, addr, addr_len);
	room = addr ? atr_io_room(&io, addr_len) : 0;
	ret = atr_real.recvfrom(fd, buf, len, flags, addr, addr_len);
	err = errno;
	if (ret >= 0 && room && *addr_len <= room)
		atr_io_finish(&io, ret, err, len, flags, addr, *addr_len);
	else
		atr_io_finish(&io, ret, err, len, flags, NULL, 0);
	errno = err;
	return ret;
}

/* ---- messages ---- */

/* The name of a message that was sent, or received into `room` bytes. */
static const struct sockaddr *msg_name(const struct atr_io *io, const struct msghdr *msg,
				       socklen_t room)
{
	if (io->conn->type == SOCK_STREAM || !msg->msg_name || msg->msg_namelen > room)
		return NULL;
	return msg->msg_name;
}

static void finish_msg(struct atr_io *io, const struct msghdr *msg, socklen_t room, ssize_t bytes,
		       int err, int flags)
{
	const struct sockaddr *name = bytes >= 0 ? msg_name(io, msg, room) : NULL;

	atr_io_finish(io, bytes, err, bytes >= 0 ? iov_bytes(msg->msg_iov, msg->msg_iovlen) : 1,
		      flags, name, name ? msg->msg_namelen : 0);
}

/* Descriptors that came over a unix socket: they may be sockets. */
static void received_fds(struct msghdr *msg)
{
	if (!msg->msg_control || !msg->msg_controllen)
		return;
	for (struct cmsghdr *m = CMSG_FIRSTHDR(msg); m; m = CMSG_NXTHDR(msg, m)) {
		size_t n = (m->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (m->cmsg_level != SOL_SOCKET || m->cmsg_type != SCM_RIGHTS ||
		    m->cmsg_len < CMSG_LEN(0))
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(m) + i * sizeof(fd), sizeof(fd));
			atr_conn_unknown(fd);
		}
	}
}

atr_export ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	ATR_ENTER(sendmsg, fd, msg, flags);
	struct atr_io io;
	ssize_t ret;
	int err;

	if (!atr_io_begin(&io, fd, ATR_SEND))
		return atr_real.sendmsg(fd, msg, flags);
	ret = atr_real.sendmsg(fd, msg, flags);
	err = errno;
	finish_msg(&io, msg, UINT32_MAX, ret, err, flags);
	errno = err;
	return ret;
}

atr_export ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	ATR_ENTER(recvmsg, fd, msg, flags);
	struct atr_io io;
	bool spans = atr_io_begin(&io, fd, ATR_RECV);
	socklen_t room = spans ? atr_io_room(&io, &msg->msg_namelen) : 0;
	ssize_t ret = atr_real.recvmsg(fd, msg, flags);
	int err = errno;

	if (ret >= 0)
		received_fds(msg);
	if (spans)
		finish_msg(&io, msg, room, ret, err, flags);
	errno = err;
	return ret;
}

static ssize_t mmsg_bytes(const struct mmsghdr *msgs, int n)
{
	ssize_t bytes = n < 0 ? -1 : 0;

	for (int i = 0; i < n; i++)
		bytes += msgs[i].msg_len;
	return bytes;
}

/* One call, one span: the bytes of all its messages, the peer of the first. */
static void finish_mmsg(struct atr_io *io, const struct mmsghdr *msgs, socklen_t room, int n,
			int err, int flags)
{
	const struct sockaddr *name = n > 0 ? msg_name(io, &msgs->msg_hdr, room) : NULL;

	atr_io_finish(io, mmsg_bytes(msgs, n), err, n > 0, flags, name,
		      name ? msgs->msg_hdr.msg_namelen : 0);
}

atr_export int sendmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags)
{
	ATR_ENTER(sendmmsg, fd, msgs, n, flags);
	struct atr_io io;
	int ret, err;

	if (!atr_io_begin(&io, fd, ATR_SEND))
		return atr_real.sendmmsg(fd, msgs, n, flags);
	ret = atr_real.sendmmsg(fd, msgs, n, flags);
	err = errno;
	finish_mmsg(&io, msgs, UINT32_MAX, ret, err, flags);
	errno = err;
	return ret;
}

atr_export int recvmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags,
			struct timespec *timeout)
{
	ATR_ENTER(recvmmsg, fd, msgs, n, flags, timeout);
	struct atr_io io;
	bool spans = atr_io_begin(&io, fd, ATR_RECV);
	socklen_t room = spans && n ? atr_io_room(&io, &msgs->msg_hdr.msg_namelen) : 0;
	int ret = atr_real.recvmmsg(fd, msgs, n, flags, timeout);
	int err = errno;

	for (int i = 0; i < ret; i++)
		received_fds(&msgs[i].msg_hdr);
	if (spans)
		finish_mmsg(&io, msgs, room, ret, err, flags);
	errno = err;
	return ret;
}

/* ---- between descriptors ---- */

atr_export ssize_t sendfile(int out, int in, off_t *offset, size_t n)
{
	ATR_ENTER(sendfile, out, in, offset, n);
	struct atr_io io;

	if (!atr_io_begin(&io, out, ATR_SEND))
		return atr_real.sendfile(out, in, offset, n);
	return atr_io_end(&io, atr_real.sendfile(out, in, offset, n), n, 0);
}

atr_export ssize_t sendfile64(int out, int in, off64_t *offset, size_t n)
{
	ATR_ENTER(sendfile64, out, in, offset, n);
	struct atr_io io;

	if (!atr_io_begin(&io, out, ATR_SEND))
		return atr_real.sendfile64(out, in, offset, n);
	return atr_io_end(&io, atr_real.sendfile64(out, in, offset, n), n, 0);
}

atr_export ssize_t splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t n,
			  unsigned flags)
{
	ATR_ENTER(splice, in, in_offset, out, out_offset, n, flags);
	struct atr_io io;

	/* One end is a pipe, so only the other can be a socket. */
	if (!atr_io_begin(&io, out, ATR_SEND) && !atr_io_begin(&io, in, ATR_RECV))
		return atr_real.splice(in, in_offset, out, out_offset, n, flags);
	return atr_io_end(&io, atr_real.splice(in, in_offset, out, out_offset, n, flags), n, 0);
}
