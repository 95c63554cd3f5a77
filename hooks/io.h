/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_IO_H
#define ATR_HOOKS_IO_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "preload/conn.h"

/*
 * A call that moves bytes over a socket: whoever follows the connection's protocol is
 * told, and it is a `send` or `recv` span where AUTOTRACE_SOCKET_SPANS wants one.
 *
 *	struct atr_io io;
 *	if (!atr_io_begin(&io, fd, ATR_RECV))
 *		return atr_real.recv(fd, ...);
 *	return atr_io_end(&io, atr_real.recv(fd, ...), &moved);
 */
enum atr_direction { ATR_SEND, ATR_RECV };

struct atr_io {
	struct atr_conn *conn;
	uint32_t gen;
	int fd;
	enum atr_direction direction;
	bool out;  /* something may be added to what is sent (hooks/inject.h) */
	bool told; /* the protocol has been */
	struct atr_op op;
	/* Where the protocol says whose bytes they were; only for AUTOTRACE_SOCKET_SPANS=all. */
	struct atr_context *of;
	uint64_t *since;
	struct atr_context of_room;
	uint64_t since_room;
};

/* What a call asked for and got. */
struct atr_io_call {
	const struct iovec *iov; /* the memory it was about; NULL: none that we see */
	size_t n_iov;
	size_t asked; /* bytes; 0: nothing can have moved */
	int flags;    /* of send() and recv() */
	/* A datagram's peer; NULL: the connection's. */
	const struct sockaddr *peer;
	socklen_t peer_len;
};

/* False: no socket, or nothing to do about it; the call is made without us. */
bool atr_io_begin(struct atr_io *io, int fd, enum atr_direction direction);

/* ret and errno are the real call's; both are returned as they are. */
ssize_t atr_io_end(struct atr_io *io, ssize_t ret, const struct atr_io_call *call);

/* The same where the bytes are not what the call returns; errno is the caller's matter. */
void atr_io_finish(struct atr_io *io, ssize_t bytes, int err, const struct atr_io_call *call);

/* recvfrom() has returned; room is what atr_io_room() said before. */
ssize_t atr_io_received_from(struct atr_io *io, ssize_t ret, void *buf, size_t len, int flags,
			     socklen_t room, const struct sockaddr *addr,
			     const socklen_t *addr_len);

/* One piece of memory, and the description of a call: for the hooks. */
#define ATR_PIECE(buf, len) (&(struct iovec){ (void *)(uintptr_t)(buf), (len) })
#define ATR_CALL(...) (&(struct atr_io_call){ __VA_ARGS__ })

/*
 * The room a datagram's sender is to be put in, as the program says before the
 * call: the kernel writes the whole length whatever the room.  0: not known.
 */
socklen_t atr_io_room(const struct atr_io *io, const socklen_t *len);

#endif
