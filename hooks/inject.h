/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_INJECT_H
#define ATR_HOOKS_INJECT_H

#include <stdbool.h>
#include <sys/socket.h>

#include "hooks/io.h"
#include "hooks/protocol.h"

/*
 * Sending more than the program asked for, and telling it only of its own bytes.
 *
 * The program's bytes are read before the kernel does, so reading must not crash
 * where the call would only have said EFAULT: everything goes through
 * atr_source_peek().
 */
struct atr_source {
	const struct iovec *iov; /* our own copy of the program's array */
	size_t n_iov;
	size_t total; /* bytes in all of them */
};

/* Copies n of the program's bytes from `at` on; false when they cannot be read. */
bool atr_source_peek(const struct atr_source *source, size_t at, void *to, size_t n);

/* What the program asked for, in the widest form: sendmsg()'s. */
struct atr_sending {
	const struct iovec *iov;
	size_t n_iov;
	const struct msghdr *msg; /* for name and control; NULL: none */
	int flags;
};

/*
 * May these bytes need something added or want to be followed?  If so the call is
 * made here: true, and *ret and errno are what the program is to see.  False: the hook
 * makes its own call and ends it as ever.
 */
bool atr_inject(struct atr_io *io, const struct atr_sending *what, ssize_t *ret);

/* Bytes of ours that must go before the program's next, where it does not send() them.  flags
 * of its call: MSG_NOSIGNAL, MSG_DONTWAIT.  True: they went.  False: *ret and errno are set. */
bool atr_inject_settle(struct atr_io *io, int flags, ssize_t *ret);

#endif
