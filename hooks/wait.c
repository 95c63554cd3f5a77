/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for descriptors.  A pending connect that is reported ready ended now,
 * though the program asks for its outcome (SO_ERROR) only later.
 */
#include "hooks/wait.h"

#include <errno.h>

#include "hooks/hook.h"
#include "hooks/socket.h"

int atr_wait_ready(const struct pollfd *fds, nfds_t n, int ret)
{
	int err = errno;

	if (atr_likely(ret <= 0 || !atr_load(&atr_conn_connecting)))
		return ret;
	for (nfds_t i = 0; i < n; i++) {
		struct atr_conn *c;

		if (fds[i].revents & (POLLOUT | POLLERR | POLLHUP) && (c = atr_conn_get(fds[i].fd)))
			atr_connect_ready(c);
	}
	errno = err;
	return ret;
}

atr_export int poll(struct pollfd *fds, nfds_t n, int timeout)
{
	ATR_ENTER(poll, fds, n, timeout);
	return atr_wait_ready(fds, n, atr_real.poll(fds, n, timeout));
}

atr_export int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout,
		     const sigset_t *mask)
{
	ATR_ENTER(ppoll, fds, n, timeout, mask);
	return atr_wait_ready(fds, n, atr_real.ppoll(fds, n, timeout, mask));
}
