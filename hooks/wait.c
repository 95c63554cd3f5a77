/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for descriptors.
 *
 * A wait that includes a listening socket, or an accepted connection that is not the one
 * being served, is a dispatch point: whatever comes next is new work, and the thread's
 * context ends.  A wait on client connections alone is in the middle of something
 * (libpq and libcurl do so) and keeps it.  An epoll instance remembers what was
 * put into it; one that we did not see being made counts as a dispatcher.
 *
 * A connection that a loop waits for is marked with it: what a thread reads from it is
 * the loop's work, under the conditions of its round (preload/context.h).
 *
 * A pending connect that is reported ready ended now, though the program asks for its
 * outcome (SO_ERROR) only later.
 */
#include "hooks/wait.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "hooks/hook.h"
#include "hooks/socket.h"
#include "preload/clock.h"
#include "preload/conn.h"
#include "preload/process.h"
#include "preload/sys.h"

int64_t atr_wait_ms(const struct timespec *timeout)
{
	struct timespec t;

	if (!timeout || !atr_sys_peek(&t, timeout, sizeof(t)) || t.tv_sec > INT32_MAX ||
	    t.tv_sec < 0)
		return -1;
	/* Any time at all is more than none. */
	return t.tv_sec * 1000 + (t.tv_nsec + 999999) / 1000000;
}

/* ---- sets of descriptors, as poll() and select() have them ---- */

struct set {
	size_t n; /* sockets among them */
	struct atr_conn *only;
	bool listening;
	bool accepted;
};

/* What brings new work: a listener, an accepted connection, another such epoll instance. */
static bool brings_work(const struct atr_conn *c)
{
	uint8_t role = atr_load(&c->role);

	return role == ATR_ROLE_LISTEN || role == ATR_ROLE_SERVER ||
	       (role == ATR_ROLE_UNKNOWN && c->inherited) ||
	       (role == ATR_ROLE_EPOLL && c->dispatches);
}

static void look(struct set *s, int fd)
{
	struct atr_conn *c = fd >= 0 ? atr_conn_known(fd) : NULL;

	if (!c)
		return;
	s->n++;
	s->only = c;
	if (atr_load(&c->role) == ATR_ROLE_LISTEN)
		s->listening = true;
	else if (brings_work(c))
		s->accepted = true;
}

/*
 * One accepted connection alone is no loop: its thread serves it, and waits because it
 * has a timeout.  If it is another than the one being served, the thread is done
 * with that.
 */
static bool dispatches(const struct set *s, size_t n_fds, int64_t timeout_ms, uint64_t began)
{
	if (!s->listening && !s->accepted)
		return false;
	if (n_fds == 1 && !s->listening) {
		if (s->only != atr_tls.context_conn)
			atr_context_finish();
		return false;
	}
	atr_context_dispatch(timeout_ms, began);
	return true;
}

static struct atr_conn *waited_for(int fd);

/* Other threads may serve it already, and wait for it. */
static void waited_by(struct atr_conn *c, const void *loop)
{
	uint8_t role = atr_load(&c->role);

	if (role < ATR_ROLE_EPOLL && role != ATR_ROLE_LISTEN && atr_load(&c->loop) != loop)
		atr_store(&c->loop, loop);
}

static void mark(int fd)
{
	struct atr_conn *c = fd >= 0 ? waited_for(fd) : NULL;

	if (c && !atr_load(&c->loop))
		waited_by(c, ATR_LOOP_POLL);
}

uint64_t atr_wait_begins(int64_t timeout_ms)
{
	return timeout_ms > 0 ? atr_now() : 0;
}

/* Looked at when it has come back: then the array is known to be memory. */
static void polled(const struct pollfd *fds, nfds_t n, int64_t timeout_ms, uint64_t began)
{
	struct set s = { 0 };

	for (nfds_t i = 0; i < n; i++)
		look(&s, fds[i].fd);
	if (!dispatches(&s, n, timeout_ms, began) || n < 2)
		return;
	for (nfds_t i = 0; i < n; i++)
		mark(fds[i].fd);
}

static void wait_select(int n, const fd_set *reads, const fd_set *writes, int64_t timeout_ms)
{
	const fd_set *const sets[] = { reads, writes };
	struct set s = { 0 };
	size_t n_fds = 0;
	fd_set copy[2];

	if (n > FD_SETSIZE)
		n = FD_SETSIZE;
	for (int i = 0; i < 2; i++)
		if (!sets[i])
			FD_ZERO(&copy[i]);
		else if (n <= 0 || !atr_sys_peek(&copy[i], sets[i], ((size_t)n + 63) / 64 * 8))
			return;
	for (int fd = 0; fd < n; fd++)
		if (FD_ISSET(fd, &copy[0]) || FD_ISSET(fd, &copy[1])) {
			n_fds++;
			look(&s, fd);
		}
	if (!dispatches(&s, n_fds, timeout_ms, atr_wait_begins(timeout_ms)) || n_fds < 2)
		return;
	for (int fd = 0; fd < n; fd++)
		if (FD_ISSET(fd, &copy[0]) || FD_ISSET(fd, &copy[1]))
			mark(fd);
}

int atr_wait_polled(const struct pollfd *fds, nfds_t n, int64_t timeout_ms, uint64_t began, int ret)
{
	int err = errno;

	if (ret >= 0)
		polled(fds, n, timeout_ms, began);
	for (nfds_t i = 0; ret > 0 && atr_load(&atr_conn_connecting) && i < n; i++) {
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
	uint64_t began = atr_wait_begins(timeout);

	return atr_wait_polled(fds, n, timeout, began, atr_real.poll(fds, n, timeout));
}

atr_export int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout,
		     const sigset_t *mask)
{
	ATR_ENTER(ppoll, fds, n, timeout, mask);
	int64_t ms = atr_wait_ms(timeout);
	uint64_t began = atr_wait_begins(ms);

	return atr_wait_polled(fds, n, ms, began, atr_real.ppoll(fds, n, timeout, mask));
}

atr_export int select(int n, fd_set *restrict reads, fd_set *restrict writes,
		      fd_set *restrict errors, struct timeval *restrict timeout)
{
	ATR_ENTER(select, n, reads, writes, errors, timeout);
	struct timeval t;
	int64_t ms = -1;

	if (timeout && atr_sys_peek(&t, timeout, sizeof(t)) && t.tv_sec >= 0 &&
	    t.tv_sec < INT32_MAX)
		ms = t.tv_sec * 1000 + (t.tv_usec + 999) / 1000;
	wait_select(n, reads, writes, ms);
	return atr_real.select(n, reads, writes, errors, timeout);
}

atr_export int pselect(int n, fd_set *restrict reads, fd_set *restrict writes,
		       fd_set *restrict errors, const struct timespec *restrict timeout,
		       const sigset_t *restrict mask)
{
	ATR_ENTER(pselect, n, reads, writes, errors, timeout, mask);
	wait_select(n, reads, writes, atr_wait_ms(timeout));
	return atr_real.pselect(n, reads, writes, errors, timeout, mask);
}

/* ---- epoll ---- */

static int made(int fd, enum atr_role role)
{
	int err = errno;

	if (fd >= 0 && !atr_process_foreign())
		(void)atr_conn_new_other(fd, role);
	errno = err;
	return fd;
}

atr_export int epoll_create(int size)
{
	ATR_ENTER(epoll_create, size);
	return made(atr_real.epoll_create(size), ATR_ROLE_EPOLL);
}

atr_export int epoll_create1(int flags)
{
	ATR_ENTER(epoll_create1, flags);
	return made(atr_real.epoll_create1(flags), ATR_ROLE_EPOLL);
}

/* What is no socket hands something over when it is read: from another thread, or a timer. */
static struct atr_conn *waited_for(int fd)
{
	struct atr_conn *c = atr_conn_get(fd);

	return c || atr_process_foreign() ? c : atr_conn_new_other(fd, ATR_ROLE_HANDS);
}

atr_export int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	ATR_ENTER(epoll_ctl, epfd, op, fd, event);
	int ret = atr_real.epoll_ctl(epfd, op, fd, event);
	int err = errno;
	struct atr_conn *ep, *c;

	if (ret == 0 && op != EPOLL_CTL_DEL && (c = waited_for(fd))) {
		ep = atr_conn_known(epfd);
		waited_by(c, ep ? (const void *)ep : ATR_LOOP_POLL);
		if (ep && !ep->dispatches && brings_work(c))
			ep->dispatches = true;
	}
	errno = err;
	return ret;
}

static void wait_epoll(int epfd, int64_t timeout_ms)
{
	const struct atr_conn *ep = atr_conn_known(epfd);

	/* The loop that entered the context comes round, whatever it waits for. */
	if (!ep || atr_load(&ep->role) != ATR_ROLE_EPOLL || ep->dispatches ||
	    ep == atr_tls.context.loop)
		atr_context_dispatch(timeout_ms, atr_wait_begins(timeout_ms));
}

atr_export int epoll_wait(int epfd, struct epoll_event *events, int n, int timeout)
{
	ATR_ENTER(epoll_wait, epfd, events, n, timeout);
	wait_epoll(epfd, timeout);
	return atr_real.epoll_wait(epfd, events, n, timeout);
}

atr_export int epoll_pwait(int epfd, struct epoll_event *events, int n, int timeout,
			   const sigset_t *mask)
{
	ATR_ENTER(epoll_pwait, epfd, events, n, timeout, mask);
	wait_epoll(epfd, timeout);
	return atr_real.epoll_pwait(epfd, events, n, timeout, mask);
}

atr_export int epoll_pwait2(int epfd, struct epoll_event *events, int n,
			    const struct timespec *timeout, const sigset_t *mask)
{
	ATR_ENTER(epoll_pwait2, epfd, events, n, timeout, mask);
	wait_epoll(epfd, atr_wait_ms(timeout));
	return atr_real.epoll_pwait2(epfd, events, n, timeout, mask);
}
