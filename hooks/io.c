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
#include <sys/stat.h>

#include "hooks/errtype.h"
#include "hooks/hook.h"
#include "hooks/inject.h"
#include "hooks/socket.h"
#include "hooks/talk.h"
#include "preload/config.h"
#include "preload/stats.h"
#include "preload/sys.h"

static const uint8_t kinds[] = {
	[ATR_ROLE_UNKNOWN] = ATR_KIND_INTERNAL,
	[ATR_ROLE_CLIENT] = ATR_KIND_CLIENT,
	[ATR_ROLE_SERVER] = ATR_KIND_SERVER,
	[ATR_ROLE_LISTEN] = ATR_KIND_SERVER,
};

/* What is no socket, but tells an event loop that something was handed to it. */
static bool begin_other(struct atr_conn *c, enum atr_direction direction)
{
	if (atr_load(&c->role) == ATR_ROLE_HANDS && direction == ATR_RECV)
		atr_context_handed();
	return false;
}

/* A pipe, or one end of a pair: a pool of forked processes gets its work from there. */
static bool hands(const struct atr_conn *c, int fd)
{
	struct stat st;

	if (c)
		return atr_load(&c->role) == ATR_ROLE_UNKNOWN && c->family == AF_UNIX;
	return atr_sys(SYS_fstat, fd, &st, 0, 0, 0, 0) == 0 && S_ISFIFO(st.st_mode);
}

bool atr_io_begin(struct atr_io *io, int fd, enum atr_direction direction)
{
	struct atr_conn *c = atr_conn_get(fd);
	bool spans, talks;
	uint8_t role;

	if (atr_unlikely(atr_load(&atr_context_watched)) && direction == ATR_RECV && hands(c, fd))
		atr_context_may_be_handed(fd);
	if (atr_likely(!c))
		return false;
	role = atr_load(&c->role);
	if (atr_unlikely(role >= ATR_ROLE_EPOLL))
		return begin_other(c, direction);
	spans = atr_socket_spans(c);
	talks = atr_talks(c);
	io->conn = c;
	io->gen = atr_load(&c->gen);
	io->fd = fd;
	io->direction = direction;
	io->out = (talks && direction == ATR_SEND) || c->debt_len;
	io->told = !talks && !atr_load(&c->loop);
	io->of = NULL;
	io->since = NULL;
	if (role == ATR_ROLE_UNKNOWN && c->type == SOCK_DGRAM && !c->paired &&
	    direction == ATR_SEND) {
		role = ATR_ROLE_CLIENT; /* it speaks first */
		atr_store(&c->role, role);
	}
	io->op.recording = false;
	if (spans)
		atr_op_begin_call(&io->op, kinds[role]);
	if (atr_unlikely(io->op.recording && talks)) {
		io->of = &io->of_room;
		io->of_room.valid = false;
		io->since = &io->since_room;
	}
	return io->op.recording || !io->told || atr_load(&c->connecting);
}

/* Tells whoever follows the connection.  True: it is in a protocol that is followed. */
static void tell(struct atr_io *io, ssize_t bytes, int err, const struct atr_io_call *call)
{
	struct atr_moved m = {
		.conn = io->conn,
		.fd = io->fd,
		.iov = call->flags & MSG_TRUNC && io->direction == ATR_RECV ? NULL : call->iov,
		.n_iov = call->n_iov,
		.bytes = bytes > 0 ? (uint64_t)bytes : 0,
		.err = bytes < 0 ? err : 0,
		.of = io->of,
		.since = io->since,
	};

	if (call->flags & (MSG_PEEK | MSG_ERRQUEUE) || (bytes == 0 && !call->asked))
		return;
	if (call->flags & MSG_OOB)
		m.iov = NULL; /* beside the stream: nobody can say where */
	if (!atr_conn_hold(io->conn, io->gen))
		return;
	if (io->direction == ATR_RECV)
		atr_talk_received(&m);
	else
		atr_talk_sent(&m);
	atr_conn_release(io->conn);
}

/* Is it worth a span?  A span says that bytes moved, or why they did not. */
static bool happened(const struct atr_io *io, ssize_t bytes, int err,
		     const struct atr_io_call *call)
{
	if (call->flags & (MSG_PEEK | MSG_ERRQUEUE))
		return false;
	if (bytes < 0)
		return err != EAGAIN && err != EINTR && err != EBADF && err != EFAULT &&
		       err != ENOTSOCK && err != EINVAL;
	return bytes > 0 || (io->conn->type != SOCK_STREAM && call->asked > 0);
}

static void write_span(struct atr_io *io, ssize_t bytes, int err, const union atr_addr *peer,
		       socklen_t peer_len)
{
	bool sent = io->direction == ATR_SEND;
	struct atr_span span;

	if (!atr_op_end(&io->op, &span, sent ? "send" : "recv", 4))
		return;
	if (!sent && io->op.kind != ATR_KIND_CLIENT)
		atr_span_waited(&span);
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

/* The raw span of a call on a connection whose protocol is known: under the protocol's. */
static void place(struct atr_io *io)
{
	const struct atr_conn *c = io->conn;

	/* While the protocol cannot be told yet it is shown: that may never be. */
	if (c->speaker != ATR_SPEAKER_PROTOCOL)
		return;
	if (atr_config.socket_spans != ATR_SOCKET_SPANS_ALL)
		atr_op_drop(&io->op);
	else if (io->of && io->of->valid)
		atr_op_move_under(&io->op, io->of, *io->since);
}

void atr_io_finish(struct atr_io *io, ssize_t bytes, int err, const struct atr_io_call *call)
{
	struct atr_conn *c = io->conn;
	socklen_t peer_len = 0;
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
	if (!io->told)
		tell(io, bytes, err, call);
	if (bytes > 0 && io->direction == ATR_SEND && c->speaker == ATR_SPEAKER_PROGRAM)
		atr_context_touch();
	if (!io->op.recording)
		return;
	if (!happened(io, bytes, err, call)) {
		atr_op_drop(&io->op);
		return;
	}
	place(io);
	if (call->peer && call->peer_len && call->peer_len <= sizeof(to)) {
		memcpy(&to, call->peer, call->peer_len);
		peer_len = call->peer_len;
	}
	write_span(io, bytes, err, &to, peer_len);
}

ssize_t atr_io_end(struct atr_io *io, ssize_t ret, const struct atr_io_call *call)
{
	int err = errno;

	atr_io_finish(io, ret, err, call);
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

/*
 * A sending hook, whose real function's CALL is the last argument: made by
 * atr_inject() where something is to be added, else as the program made it.
 */
#define SEND(io, vec, n_vec, msghdr, flag, n_asked, real_call)                          \
	do {                                                                            \
		const struct atr_sending sending = { vec, n_vec, msghdr, flag };        \
		const struct atr_io_call call = { vec, n_vec, n_asked, flag, NULL, 0 }; \
		ssize_t ret;                                                            \
                                                                                        \
		if (atr_inject(&(io), &sending, &ret)) {                                \
			(io).told = true;                                               \
			return atr_io_end(&(io), ret, &call);                           \
		}                                                                       \
		return atr_io_end(&(io), real_call, &call);                             \
	} while (0)

atr_export ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	ATR_ENTER(send, fd, buf, len, flags);
	struct atr_io io;

	if (!atr_io_begin(&io, fd, ATR_SEND))
		return atr_real.send(fd, buf, len, flags);
	SEND(io, ATR_PIECE(buf, len), 1, NULL, flags, len, atr_real.send(fd, buf, len, flags));
}

atr_export ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	ATR_ENTER(recv, fd, buf, len, flags);
	struct atr_io io;

	if (!atr_io_begin(&io, fd, ATR_RECV))
		return atr_real.recv(fd, buf, len, flags);
	return atr_io_end(
		&io, atr_real.recv(fd, buf, len, flags),
		ATR_CALL(.iov = ATR_PIECE(buf, len), .n_iov = 1, .asked = len, .flags = flags));
}

atr_export ssize_t write(int fd, const void *buf, size_t len)
{
	ATR_ENTER(write, fd, buf, len);
	struct atr_io io;

	if (!atr_io_begin(&io, fd, ATR_SEND))
		return atr_real.write(fd, buf, len);
	SEND(io, ATR_PIECE(buf, len), 1, NULL, 0, len, atr_real.write(fd, buf, len));
}

atr_export ssize_t read(int fd, void *buf, size_t len)
{
	ATR_ENTER(read, fd, buf, len);
	struct atr_io io;

	if (!atr_io_begin(&io, fd, ATR_RECV))
		return atr_real.read(fd, buf, len);
	return atr_io_end(
		&io, atr_real.read(fd, buf, len),
		ATR_CALL(.iov = ATR_PIECE(buf, len), .n_iov = 1, .asked = len, .flags = 0));
}

atr_export ssize_t writev(int fd, const struct iovec *iov, int n)
{
	ATR_ENTER(writev, fd, iov, n);
	struct atr_io io;

	if (!atr_io_begin(&io, fd, ATR_SEND))
		return atr_real.writev(fd, iov, n);
	SEND(io, iov, n > 0 ? (size_t)n : 0, NULL, 0, 1, atr_real.writev(fd, iov, n));
}

atr_export ssize_t readv(int fd, const struct iovec *iov, int n)
{
	ATR_ENTER(readv, fd, iov, n);
	struct atr_io io;

	if (!atr_io_begin(&io, fd, ATR_RECV))
		return atr_real.readv(fd, iov, n);
	return atr_io_end(&io, atr_real.readv(fd, iov, n),
			  ATR_CALL(.iov = iov, .n_iov = n > 0 ? (size_t)n : 0, .asked = 1));
}

/* ---- with an address ---- */

/* TCP Fast Open: connects with the first bytes. */
static void fast_open(int fd, int flags)
{
	struct atr_conn *c = flags & MSG_FASTOPEN ? atr_conn_get(fd) : NULL;

	if (c && atr_load(&c->role) == ATR_ROLE_UNKNOWN && !c->paired && !c->inherited)
		atr_store(&c->role, ATR_ROLE_CLIENT);
}

atr_export ssize_t sendto(int fd, const void *buf, size_t len, int flags,
			  const struct sockaddr *addr, socklen_t addr_len)
{
	ATR_ENTER(sendto, fd, buf, len, flags, addr, addr_len);
	struct atr_io_call call = { ATR_PIECE(buf, len), 1, len, flags, NULL, 0 };
	const struct msghdr to = { .msg_name = (void *)(uintptr_t)addr, .msg_namelen = addr_len };
	const struct atr_sending sending = { ATR_PIECE(buf, len), 1, &to, flags };
	struct atr_io io;
	ssize_t ret;

	fast_open(fd, flags);
	if (!atr_io_begin(&io, fd, ATR_SEND))
		return atr_real.sendto(fd, buf, len, flags, addr, addr_len);
	if (atr_inject(&io, &sending, &ret)) {
		io.told = true;
		return atr_io_end(&io, ret, &call);
	}
	ret = atr_real.sendto(fd, buf, len, flags, addr, addr_len);
	/* A stream takes no notice of the address; after an error it may be unreadable. */
	if (ret >= 0 && io.conn->type != SOCK_STREAM) {
		call.peer = addr;
		call.peer_len = addr_len;
	}
	return atr_io_end(&io, ret, &call);
}

ssize_t atr_io_received_from(struct atr_io *io, ssize_t ret, void *buf, size_t len, int flags,
			     socklen_t room, const struct sockaddr *addr, const socklen_t *addr_len)
{
	struct atr_io_call call = { ATR_PIECE(buf, len), 1, len, flags, NULL, 0 };

	if (ret >= 0 && room && *addr_len <= room) {
		call.peer = addr;
		call.peer_len = *addr_len;
	}
	return atr_io_end(io, ret, &call);
}

atr_export ssize_t recvfrom(int fd, void *restrict buf, size_t len, int flags,
			    struct sockaddr *restrict addr, socklen_t *restrict addr_len)
{
	ATR_ENTER(recvfrom, fd, buf, len, flags, addr, addr_len);
	struct atr_io io;
	socklen_t room;

	if (!atr_io_begin(&io, fd, ATR_RECV))
		return atr_real.recvfrom(fd, buf, len, flags, addr, addr_len);
	room = addr ? atr_io_room(&io, addr_len) : 0;
	return atr_io_received_from(&io, atr_real.recvfrom(fd, buf, len, flags, addr, addr_len),
				    buf, len, flags, room, addr, addr_len);
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

static ssize_t end_msg(struct atr_io *io, const struct msghdr *msg, socklen_t room, ssize_t ret,
		       int flags)
{
	struct atr_io_call call = { .asked = 1, .flags = flags };

	if (ret >= 0) { /* so it could be read */
		call.iov = msg->msg_iov;
		call.n_iov = msg->msg_iovlen;
		call.asked = iov_bytes(call.iov, call.n_iov);
		call.peer = msg_name(io, msg, room);
		call.peer_len = call.peer ? msg->msg_namelen : 0;
	}
	return atr_io_end(io, ret, &call);
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

/* True: the message was sent here; *ret is what sendmsg() returns. */
static bool inject_msg(struct atr_io *io, const struct msghdr *msg, int flags, ssize_t *ret)
{
	struct msghdr copy;
	struct atr_sending sending = { .msg = &copy, .flags = flags };

	if (!io->out || !atr_sys_peek(&copy, msg, sizeof(copy)))
		return false;
	sending.iov = copy.msg_iov;
	sending.n_iov = copy.msg_iovlen;
	if (!atr_inject(io, &sending, ret))
		return false;
	io->told = true;
	return true;
}

atr_export ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	ATR_ENTER(sendmsg, fd, msg, flags);
	struct atr_io io;
	ssize_t ret;

	fast_open(fd, flags);
	if (!atr_io_begin(&io, fd, ATR_SEND))
		return atr_real.sendmsg(fd, msg, flags);
	if (!inject_msg(&io, msg, flags, &ret))
		ret = atr_real.sendmsg(fd, msg, flags);
	return end_msg(&io, msg, UINT32_MAX, ret, flags);
}

atr_export ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	ATR_ENTER(recvmsg, fd, msg, flags);
	struct atr_io io;
	bool ours = atr_io_begin(&io, fd, ATR_RECV);
	socklen_t room = ours ? atr_io_room(&io, &msg->msg_namelen) : 0;
	ssize_t ret = atr_real.recvmsg(fd, msg, flags);
	int err = errno;

	if (ret >= 0)
		received_fds(msg);
	errno = err;
	return ours ? end_msg(&io, msg, room, ret, flags) : ret;
}

static ssize_t mmsg_bytes(const struct mmsghdr *msgs, int n)
{
	ssize_t bytes = n < 0 ? -1 : 0;

	for (int i = 0; i < n; i++)
		bytes += msgs[i].msg_len;
	return bytes;
}

/* One call, one span: the bytes of all its messages, the peer of the first. */
static int end_mmsg(struct atr_io *io, const struct mmsghdr *msgs, socklen_t room, int n, int flags)
{
	int err = errno;
	struct atr_io_call call = { .asked = n > 0, .flags = flags };

	/* On a stream the messages are one stretch of bytes after the other. */
	for (int i = 0; i < n && !io->told; i++) {
		const struct msghdr *m = &msgs[i].msg_hdr;

		tell(io, msgs[i].msg_len, 0,
		     ATR_CALL(.iov = m->msg_iov, .n_iov = m->msg_iovlen, .asked = msgs[i].msg_len,
			      .flags = flags));
	}
	if (n > 0) {
		io->told = true;
		call.peer = msg_name(io, &msgs->msg_hdr, room);
		call.peer_len = call.peer ? msgs->msg_hdr.msg_namelen : 0;
	}
	atr_io_finish(io, mmsg_bytes(msgs, n), err, &call);
	errno = err;
	return n;
}

/*
 * One message after the other, as the kernel does it: what was sent in part ends the
 * call.  The array may be no memory, then or now.
 */
static int send_each(struct atr_io *io, struct mmsghdr *msgs, unsigned n, int flags)
{
	unsigned i;

	for (i = 0; i < n; i++) {
		struct mmsghdr m;
		ssize_t ret;

		if (!atr_sys_peek(&m, &msgs[i], sizeof(m))) {
			errno = EFAULT;
			return i ? (int)i : -1;
		}
		if (!inject_msg(io, &m.msg_hdr, flags, &ret)) {
			ret = atr_real.sendmsg(io->fd, &m.msg_hdr, flags);
			if (ret >= 0)
				tell(io, ret, 0,
				     ATR_CALL(.iov = m.msg_hdr.msg_iov,
					      .n_iov = m.msg_hdr.msg_iovlen, .asked = (size_t)ret,
					      .flags = flags));
		}
		if (ret < 0)
			return i ? (int)i : -1;
		m.msg_len = (unsigned)ret;
		if (!atr_sys_poke(&msgs[i].msg_len, &m.msg_len, sizeof(m.msg_len))) {
			errno = EFAULT;
			return i ? (int)i : -1;
		}
		/* Closed by another thread: the number may be another file's by now. */
		if (atr_load_acquire(&io->conn->gen) != io->gen ||
		    (size_t)ret < iov_bytes(m.msg_hdr.msg_iov, m.msg_hdr.msg_iovlen))
			return (int)i + 1;
	}
	return (int)n;
}

atr_export int sendmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags)
{
	ATR_ENTER(sendmmsg, fd, msgs, n, flags);
	struct atr_io io;
	int ret;

	if (!atr_io_begin(&io, fd, ATR_SEND))
		return atr_real.sendmmsg(fd, msgs, n, flags);
	if (!io.out)
		return end_mmsg(&io, msgs, UINT32_MAX, atr_real.sendmmsg(fd, msgs, n, flags),
				flags);
	ret = send_each(&io, msgs, n < UIO_MAXIOV ? n : UIO_MAXIOV, flags);
	io.told = true;
	return end_mmsg(&io, msgs, UINT32_MAX, ret, flags);
}

atr_export int recvmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags,
			struct timespec *timeout)
{
	ATR_ENTER(recvmmsg, fd, msgs, n, flags, timeout);
	struct atr_io io;
	bool ours = atr_io_begin(&io, fd, ATR_RECV);
	socklen_t room = ours && n ? atr_io_room(&io, &msgs->msg_hdr.msg_namelen) : 0;
	int ret = atr_real.recvmmsg(fd, msgs, n, flags, timeout);
	int err = errno;

	for (int i = 0; i < ret; i++)
		received_fds(&msgs[i].msg_hdr);
	errno = err;
	return ours ? end_mmsg(&io, msgs, room, ret, flags) : ret;
}

/* ---- between descriptors ---- */

#define SENDFILE(name, offset_type)                                                              \
	atr_export ssize_t name(int out, int in, offset_type *offset, size_t n)                  \
	{                                                                                        \
		ATR_ENTER(name, out, in, offset, n);                                             \
		struct atr_io io;                                                                \
		ssize_t ret;                                                                     \
                                                                                                 \
		if (!atr_io_begin(&io, out, ATR_SEND))                                           \
			return atr_real.name(out, in, offset, n);                                \
		if (io.out && !atr_inject_settle(&io, 0, &ret))                                  \
			return ret;                                                              \
		return atr_io_end(&io, atr_real.name(out, in, offset, n), ATR_CALL(.asked = n)); \
	}

SENDFILE(sendfile, off_t)
SENDFILE(sendfile64, off64_t)
#undef SENDFILE

atr_export ssize_t splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t n,
			  unsigned flags)
{
	ATR_ENTER(splice, in, in_offset, out, out_offset, n, flags);
	struct atr_io io;
	ssize_t ret;

	/* One end is a pipe, so only the other can be a socket. */
	if (!atr_io_begin(&io, out, ATR_SEND) && !atr_io_begin(&io, in, ATR_RECV))
		return atr_real.splice(in, in_offset, out, out_offset, n, flags);
	if (io.out && !atr_inject_settle(&io, flags & SPLICE_F_NONBLOCK ? MSG_DONTWAIT : 0, &ret))
		return ret;
	return atr_io_end(&io, atr_real.splice(in, in_offset, out, out_offset, n, flags),
			  ATR_CALL(.asked = n));
}
