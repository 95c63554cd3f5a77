/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets being made, connected, accepted.
 *
 * A connect is an INTERNAL span, "socket connect <peer>".  A non-blocking one
 * waits in its connection (connect_op) until the program learns how it ended:
 * SO_ERROR is read, a poll() reports the descriptor, connect() is called again,
 * or the first byte moves.
 *
 * An accept is a SERVER span where nothing better is known of the connection: it waits
 * in it (accept_op) until its first bytes say whether a protocol is spoken.
 */
#include "hooks/socket.h"

#include <errno.h>
#include <string.h>

#include "hooks/errtype.h"
#include "hooks/hook.h"
#include "hooks/talk.h"
#include "preload/clock.h"
#include "preload/config.h"
#include "preload/process.h"
#include "preload/sys.h"

bool atr_socket_spans(const struct atr_conn *c)
{
	if (atr_config.socket_spans == ATR_SOCKET_SPANS_AUTO)
		return c->speaker == ATR_SPEAKER_PROGRAM;
	return atr_config.socket_spans == ATR_SOCKET_SPANS_ALL;
}

/* ---- connect ---- */

static void connect_span(struct atr_conn *c, struct atr_op *op, int err)
{
	char name[16 + ATR_PEER_TEXT_MAX] = "socket connect ";
	size_t n = strlen(name);
	struct atr_span span;

	if (err && err != ATR_CONNECT_CANCELLED)
		atr_tls.connect_error = atr_errtype(err);
	atr_tls.connect_reached |= !err;
	n += atr_conn_peer_text(c, name + n);
	if (name[n - 1] == ' ')
		n--; /* the peer is not known */
	if (!atr_op_end(op, &span, name, n))
		return;
	atr_conn_addr_attrs(c, -1, &c->peer, c->peer_len, &span.pb);
	if (err) {
		const char *type = err == ATR_CONNECT_CANCELLED ? "cancelled" : atr_errtype(err);

		atr_span_error(&span, type, strlen(type));
	}
	atr_span_commit(&span);
}

void atr_connect_done(struct atr_conn *c, int err)
{
	int saved_errno = errno;

	/* Whoever clears it owns the op. */
	if (__atomic_exchange_n(&c->connecting, 0, __ATOMIC_ACQ_REL)) {
		__atomic_fetch_sub(&atr_conn_connecting, 1, __ATOMIC_RELAXED);
		atr_store(&c->connected, !err);
		connect_span(c, &c->connect_op, err);
	}
	errno = saved_errno;
}

void atr_connect_ready(struct atr_conn *c)
{
	if (atr_load(&c->connecting) && !c->connect_op.end)
		c->connect_op.end = atr_now();
}

void atr_connect_check(struct atr_conn *c, int fd)
{
	union atr_addr peer;
	socklen_t len = sizeof(peer);

	/* SO_ERROR was 0: established, or still on its way. */
	if (atr_sys(SYS_getpeername, fd, &peer, &len, 0, 0, 0) == 0)
		atr_connect_done(c, 0);
}

static bool is_stream(const struct atr_conn *c)
{
	return c->type != SOCK_DGRAM;
}

/* The first connect() on a stream socket. */
static int connect_first(struct atr_conn *c, int fd, const struct sockaddr *addr, socklen_t len)
{
	bool spans = atr_config.socket_spans != ATR_SOCKET_SPANS_NONE;
	const struct atr_context *context = atr_context_current();
	struct atr_op op;
	int ret, err;

	if (context)
		c->context = *context;
	atr_context_touch();
	op.recording = false;
	op.end = 0;
	if (spans)
		atr_op_begin_call(&op, ATR_KIND_INTERNAL);
	ret = atr_real.connect(fd, addr, len);
	err = ret < 0 ? errno : 0;
	/* Only now is it known that the address can be read. */
	if (err != EFAULT && err != EBADF && err != ENOTSOCK && err != EISCONN && err != EALREADY) {
		atr_store(&c->role, ATR_ROLE_CLIENT);
		atr_conn_peer_changed(c);
		atr_conn_peer(c, addr, len);
		if (err == EINPROGRESS || err == EINTR) {
			c->connect_op = op;
			atr_store_release(&c->connecting, 1);
			__atomic_fetch_add(&atr_conn_connecting, 1, __ATOMIC_RELAXED);
		} else if (err != EAGAIN) { /* EAGAIN: a unix socket's queue is full, try again */
			atr_store(&c->connected, !err);
			connect_span(c, &op, err);
		}
	}
	if (ret < 0)
		errno = err;
	return ret;
}

/* connect() again while the first is on its way: it tells how far it is. */
static int connect_again(struct atr_conn *c, int fd, const struct sockaddr *addr, socklen_t len)
{
	int ret = atr_real.connect(fd, addr, len);
	int err = ret < 0 ? errno : 0;

	if (err != EALREADY && err != EINTR && err != EFAULT)
		atr_connect_done(c, err == EISCONN ? 0 : err);
	return ret;
}

/* A datagram socket's default peer: nothing goes over the network. */
static int connect_datagram(struct atr_conn *c, int fd, const struct sockaddr *addr, socklen_t len)
{
	int ret = atr_real.connect(fd, addr, len);
	int err = errno;

	if (ret == 0) {
		if (atr_load(&c->role) == ATR_ROLE_UNKNOWN)
			atr_store(&c->role, ATR_ROLE_CLIENT);
		atr_conn_peer_changed(c);
		if (addr->sa_family != AF_UNSPEC)
			atr_conn_peer(c, addr, len);
	}
	errno = err;
	return ret;
}

/* Connected already: the call only says so; or, with AF_UNSPEC, undoes it. */
static int connect_connected(struct atr_conn *c, int fd, const struct sockaddr *addr, socklen_t len)
{
	int ret = atr_real.connect(fd, addr, len);

	if (ret == 0 && addr->sa_family == AF_UNSPEC) {
		atr_conn_peer_changed(c);
		atr_store(&c->connected, 0);
	}
	return ret;
}

atr_export int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	ATR_ENTER(connect, fd, addr, len);
	struct atr_conn *c = atr_conn_get(fd);

	if (!c)
		return atr_real.connect(fd, addr, len);
	if (is_stream(c) && atr_load(&c->connected))
		return connect_connected(c, fd, addr, len);
	if (!is_stream(c))
		return connect_datagram(c, fd, addr, len);
	return atr_load(&c->connecting) ? connect_again(c, fd, addr, len)
					: connect_first(c, fd, addr, len);
}

atr_export int getsockopt(int fd, int level, int option, void *restrict value,
			  socklen_t *restrict len)
{
	ATR_ENTER(getsockopt, fd, level, option, value, len);
	int ret = atr_real.getsockopt(fd, level, option, value, len);
	struct atr_conn *c;

	/* A loop that asks how a connect ended goes on with what it was for. */
	if (ret == 0 && level == SOL_SOCKET && option == SO_ERROR && atr_tls.round.loops &&
	    (c = atr_conn_get(fd)) && atr_load(&c->loop) && atr_load(&c->role) == ATR_ROLE_CLIENT &&
	    !c->protocol)
		atr_talk_raw(c, false);
	if (ret == 0 && level == SOL_SOCKET && option == SO_ERROR && *len == sizeof(int) &&
	    atr_load(&atr_conn_connecting) && (c = atr_conn_get(fd)) && atr_load(&c->connecting)) {
		int err;

		memcpy(&err, value, sizeof(err));
		if (err)
			atr_connect_done(c, err);
		else
			atr_connect_check(c, fd);
	}
	return ret;
}

atr_export int shutdown(int fd, int how)
{
	ATR_ENTER(shutdown, fd, how);
	struct atr_conn *c = atr_conn_get(fd);

	int ret, err;

	if (c && atr_load(&c->connecting))
		atr_connect_done(c, ATR_CONNECT_CANCELLED);
	ret = atr_real.shutdown(fd, how);
	err = errno;
	if (ret == 0 && how != SHUT_RD && c && c->protocol)
		atr_talk_shut(c, fd);
	errno = err;
	return ret;
}

/* ---- sockets being made ---- */

static void made(int fd, int family, int type, bool paired)
{
	int saved_errno = errno;
	/* A vfork child's descriptors are not ours. */
	struct atr_conn *c =
		atr_process_foreign() ? NULL : atr_conn_new(fd, family, type, ATR_ROLE_UNKNOWN);

	if (c)
		c->paired = paired;
	if (c && atr_tls.inside & ATR_IN_LIBPQ)
		c->speaker = ATR_SPEAKER_LIBPQ;
	errno = saved_errno;
}

atr_export int socket(int domain, int type, int protocol)
{
	ATR_ENTER(socket, domain, type, protocol);
	int fd = atr_real.socket(domain, type, protocol);

	if (fd >= 0)
		made(fd, domain, type, false);
	return fd;
}

atr_export int socketpair(int domain, int type, int protocol, int fds[2])
{
	ATR_ENTER(socketpair, domain, type, protocol, fds);
	int ret = atr_real.socketpair(domain, type, protocol, fds);

	if (ret == 0) {
		made(fds[0], domain, type, true);
		made(fds[1], domain, type, true);
	}
	return ret;
}

atr_export int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	ATR_ENTER(bind, fd, addr, len);
	int ret = atr_real.bind(fd, addr, len);
	int err = errno;
	struct atr_conn *c;

	/* A bound datagram socket waits for others; a bound stream may still connect. */
	if (ret == 0 && (c = atr_conn_get(fd)) && !is_stream(c) &&
	    atr_load(&c->role) == ATR_ROLE_UNKNOWN)
		atr_store(&c->role, ATR_ROLE_SERVER);
	errno = err;
	return ret;
}

atr_export int listen(int fd, int backlog)
{
	ATR_ENTER(listen, fd, backlog);
	int ret = atr_real.listen(fd, backlog);
	int err = errno;
	struct atr_conn *c;

	if (ret == 0 && (c = atr_conn_get(fd)))
		atr_store(&c->role, ATR_ROLE_LISTEN);
	errno = err;
	return ret;
}

/* ---- accept ---- */

struct accepting {
	struct atr_op op;
	union atr_addr peer; /* ours, for a program that does not ask for the address */
	socklen_t peer_len;
};

static void accept_begin(struct accepting *a)
{
	a->op.recording = false;
	a->peer_len = sizeof(a->peer);
	atr_context_finish(); /* whoever waits for new work is done with the old */
	if (atr_config.socket_spans != ATR_SOCKET_SPANS_NONE)
		atr_op_begin_call(&a->op, ATR_KIND_SERVER);
}

static void accept_span(struct atr_op *op, struct atr_conn *c, int fd, const char *error)
{
	struct atr_span span;

	if (!atr_op_end(op, &span, "accept", 6))
		return;
	atr_span_waited(&span);
	if (c)
		atr_conn_attrs(c, fd, &span.pb);
	if (error)
		atr_span_error(&span, error, strlen(error));
	atr_span_commit(&span);
}

void atr_accept_done(struct atr_conn *c, int fd, bool span)
{
	/* Whoever clears it owns the op. */
	if (__atomic_exchange_n(&c->accepting, 0, __ATOMIC_ACQ_REL) && span)
		accept_span(&c->connect_op, c, fd, NULL);
}

/* The peer may be gone already: then its address is not known, and the family the listener's. */
static struct atr_conn *accepted(struct accepting *a, int listen_fd, int fd)
{
	const struct atr_conn *listener = atr_conn_get(listen_fd);
	socklen_t room = sizeof(a->peer);
	struct atr_conn *c;

	if (!a->peer_len && atr_sys(SYS_getpeername, fd, &a->peer, &room, 0, 0, 0) == 0)
		a->peer_len = room;
	if ((!a->peer_len && !listener) || atr_process_foreign())
		return NULL;
	c = atr_conn_new(fd, a->peer_len ? a->peer.any.sa_family : listener->family,
			 listener ? listener->type : SOCK_STREAM, ATR_ROLE_SERVER);
	if (c)
		atr_conn_peer(c, &a->peer.any, a->peer_len);
	return c;
}

static int accept_end(struct accepting *a, int listen_fd, int fd)
{
	int err = errno;
	struct atr_conn *c = fd >= 0 ? accepted(a, listen_fd, fd) : NULL;

	if (c && a->op.recording && is_stream(c) &&
	    atr_config.socket_spans == ATR_SOCKET_SPANS_AUTO) {
		c->connect_op = a->op;
		c->connect_op.end = atr_now();
		c->gone = atr_talk_gone;
		atr_store_release(&c->accepting, 1);
	} else if (fd >= 0) {
		accept_span(&a->op, c, fd, NULL);
	} else if (err != EAGAIN && err != EINTR && err != EFAULT && err != EBADF &&
		   err != ENOTSOCK && err != EINVAL) {
		accept_span(&a->op, NULL, -1, atr_errtype(err));
	}
	errno = err;
	return fd;
}

atr_export int accept4(int fd, struct sockaddr *restrict addr, socklen_t *restrict len, int flags)
{
	ATR_ENTER(accept4, fd, addr, len, flags);
	struct accepting a;
	int ret;

	accept_begin(&a);
	/* The program's own buffer may be too short, or no memory at all: not looked at. */
	ret = addr ? atr_real.accept4(fd, addr, len, flags)
		   : atr_real.accept4(fd, &a.peer.any, &a.peer_len, flags);
	if (addr)
		a.peer_len = 0;
	return accept_end(&a, fd, ret);
}

atr_export int accept(int fd, struct sockaddr *restrict addr, socklen_t *restrict len)
{
	ATR_ENTER(accept, fd, addr, len);
	struct accepting a;
	int ret;

	accept_begin(&a);
	ret = addr ? atr_real.accept(fd, addr, len) : atr_real.accept(fd, &a.peer.any, &a.peer_len);
	if (addr)
		a.peer_len = 0;
	return accept_end(&a, fd, ret);
}
