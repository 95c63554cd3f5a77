/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_WAIT_H
#define ATR_HOOKS_WAIT_H

#include <poll.h>
#include <stdint.h>
#include <time.h>

/*
 * A thread is about to wait for these: if new work may come, it is done with the old
 * (architecture: "dispatch point").  timeout in ms, -1 without limit.
 */
void atr_wait_poll(const struct pollfd *fds, nfds_t n, int64_t timeout_ms);

/* A timeout that may be NULL (none), or no memory (taken for none). */
int64_t atr_wait_ms(const struct timespec *timeout);

/* A poll() came back with ret; pending connects among fds may have ended.  Returns ret, errno kept.
 */
int atr_wait_ready(const struct pollfd *fds, nfds_t n, int ret);

#endif
