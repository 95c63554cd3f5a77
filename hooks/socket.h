/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_SOCKET_H
#define ATR_HOOKS_SOCKET_H

#include <stdbool.h>

#include "preload/compiler.h"
#include "preload/conn.h"

/* Are single socket calls on it spans, as AUTOTRACE_SOCKET_SPANS says? */
bool atr_socket_spans(const struct atr_conn *c);

/* The program closed the socket before the outcome was known. */
#define ATR_CONNECT_CANCELLED (-1)

/* A connect that was on its way has come to its end: err is an errno, 0 for success. */
void atr_connect_done(struct atr_conn *c, int err);

/*
 * The program may have learned how a pending connect ended: by SO_ERROR, by
 * poll(), by a call that succeeded.  Asks the kernel.  errno is kept.
 */
void atr_connect_check(struct atr_conn *c, int fd);

/*
 * What an accepted connection is for is known, or it is closed: its accept() is a span
 * of its own, or none.  fd is -1 when there is none any more.
 */
void atr_accept_done(struct atr_conn *c, int fd, bool span);

/* A descriptor with a pending connect was reported ready: that is when it ended. */
void atr_connect_ready(struct atr_conn *c);

#endif
