/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_WAIT_H
#define ATR_HOOKS_WAIT_H

#include <poll.h>
#include <stdint.h>
#include <time.h>

/* A timeout that may be NULL (none), or no memory (taken for none). */
int64_t atr_wait_ms(const struct timespec *timeout);

/* When a wait begins, if that matters: monotonic ns, for atr_wait_polled(). */
uint64_t atr_wait_begins(int64_t timeout_ms);

/*
 * A poll() came back with ret.  If new work may have come, the thread is done with the
 * old (architecture: "dispatch point"); pending connects among fds may have ended.
 * timeout in ms, -1 without limit.  Returns ret, errno kept.
 */
int atr_wait_polled(const struct pollfd *fds, nfds_t n, int64_t timeout_ms, uint64_t began,
		    int ret);

#endif
