/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_IO_H
#define ATR_HOOKS_IO_H

#include <stdbool.h>
#include <sys/socket.h>

#include "preload/conn.h"

/*
 * A call that moves bytes over a socket: a `send` or `recv` span where
 * AUTOTRACE_SOCKET_SPANS wants one.
 *
 *	struct atr_io io;
 *	if (!atr_io_begin(&io, fd, ATR_SEND))
 *		return atr_real.send(fd, ...);
 *	return atr_io_end(&io, atr_real.send(fd, ...), len, flags);
 */
enum atr_direction { ATR_SEND, ATR_RECV };

struct atr_io {
	struct atr_conn *conn;
	uint32_t gen;
	int fd;
	enum atr_direction direction;
	struct atr_op op;
};

/* False: no socket, or nothing to record about it; the call is made without us. */
bool atr_io_begin(struct atr_io *io, int fd, enum atr_direction direction);

/*
 * ret and errno are the real call's; both are returned as they are.  asked is
 * how many bytes the program asked to move.
 */
ssize_t atr_io_end(struct atr_io *io, ssize_t ret, size_t asked, int flags);

/*
 * The room a datagram's sender is to be put in, as the program says before the
 * call: the kernel writes the whole length whatever the room.  0: not known.
 */
socklen_t atr_io_room(const struct atr_io *io, const socklen_t *len);

/* The same with the peer of a datagram (NULL: the connection's) and the bytes apart from ret. */
void atr_io_finish(struct atr_io *io, ssize_t bytes, int err, size_t asked, int flags,
		   const struct sockaddr *peer, socklen_t peer_len);

#endif
