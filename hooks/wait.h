/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_WAIT_H
#define ATR_HOOKS_WAIT_H

#include <poll.h>

/* A poll() came back with ret; pending connects among fds may have ended.  Returns ret, errno kept.
 */
int atr_wait_ready(const struct pollfd *fds, nfds_t n, int ret);

#endif
