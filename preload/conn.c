/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors and the connections behind them.
 *
 * The table is a flat array of pointers; the first TABLE_FIRST descriptors lie
 * in .bss, the rest in chunks mapped when one of them becomes a socket.  An
 * entry is NULL (no socket, or not ours to know), UNKNOWN (there before us: look
 * once), or a connection.
 *
 * Entries are exchanged atomically, so whoever takes a connection out of the
 * table owns its reference.  A connection with no reference goes back to the
 * pool with a new generation.
 */
#include "preload/conn.h"

#include <string.h>

#include "preload/gate.h"
#include "preload/process.h"
#include "preload/stats.h"
#include "preload/sys.h"
#include "preload/text.h"

#define TABLE_FIRST 1024
#define CHUNK 4096
#define CHUNKS 256   /* descriptors beyond CHUNK * CHUNKS are not followed */
#define INHERITED 64 /* lowest descriptors that may have been sockets before us */

#define UNKNOWN ((struct atr_conn *)1)

static struct atr_conn *first[TABLE_FIRST];
static struct atr_conn **chunks[CHUNKS];
static uint32_t highest; /* descriptor ever entered */

static struct atr_pool conns = {
	.size = sizeof(struct atr_conn),
	.per_chunk = 64,
	.max = 65536,
};

uint32_t atr_conn_connecting;

/* ---- the table ---- */

static struct atr_conn **slot(int fd)
{
	struct atr_conn **chunk;

	if (atr_likely((unsigned)fd < TABLE_FIRST))
		return &first[fd];
	if (fd < 0 || (unsigned)fd >= CHUNK * CHUNKS)
		return NULL;
	chunk = atr_load_acquire(&chunks[fd / CHUNK]);
	return chunk ? &chunk[fd % CHUNK] : NULL;
}

static struct atr_conn **slot_make(int fd)
{
	struct atr_conn **at = slot(fd), **none = NULL, **map;

	if (at || fd < 0 || (unsigned)fd >= CHUNK * CHUNKS)
		return at;
	map = atr_sys_map(CHUNK * sizeof(*map));
	if (!map)
		return NULL;
	if (!__atomic_compare_exchange_n(&chunks[fd / CHUNK], &none, map, 0, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		atr_sys_unmap(map, CHUNK * sizeof(*map));
	return slot(fd);
}

static void conn_drop(struct atr_conn *c)
{
	int32_t left;

	if (!c || c == UNKNOWN)
		return;
	left = (int32_t)__atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL);
	if (ATR_BUG(left < 0) || left != 0)
		return;
	if (__atomic_exchange_n(&c->connecting, 0, __ATOMIC_ACQ_REL))
		__atomic_fetch_sub(&atr_conn_connecting, 1, __ATOMIC_RELAXED);
	if (c->gone)
		c->gone(c);
	__atomic_fetch_add(&c->gen, 1, __ATOMIC_RELEASE);
	atr_pool_give(&conns, c);
}

static void set(int fd, struct atr_conn *c)
{
	struct atr_conn **at = c ? slot_make(fd) : slot(fd);
	uint32_t high = atr_load(&highest);

	if (!at) {
		conn_drop(c);
		return;
	}
	while (c && (uint32_t)fd > high &&
	       !__atomic_compare_exchange_n(&highest, &high, (uint32_t)fd, 0, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED))
		;
	if (!c && !atr_load(at))
		return;
	conn_drop(__atomic_exchange_n(at, c, __ATOMIC_ACQ_REL));
}

void atr_conn_init(void)
{
	for (int fd = 0; fd < INHERITED; fd++)
		if (!first[fd])
			first[fd] = UNKNOWN;
	highest = INHERITED;
}

/* ---- what a descriptor that we did not see being made is ---- */

static int socket_option(int fd, int option)
{
	int value = 0;
	socklen_t len = sizeof(value);
	int err = (int)atr_sys(SYS_getsockopt, fd, SOL_SOCKET, option, &value, &len, 0);

	return err < 0 ? err : value;
}

static atr_noinline struct atr_conn *classify(int fd)
{
	int type = atr_sys_sandboxed() ? -1 : socket_option(fd, SO_TYPE);
	int family = type < 0 ? type : socket_option(fd, SO_DOMAIN);
	union atr_addr peer;
	socklen_t len = sizeof(peer);
	struct atr_conn *c;

	if (family != AF_INET && family != AF_INET6 && family != AF_UNIX) {
		set(fd, NULL);
		return NULL;
	}
	c = atr_conn_new(fd, family, type,
			 socket_option(fd, SO_ACCEPTCONN) > 0 ? ATR_ROLE_LISTEN : ATR_ROLE_UNKNOWN);
	if (c)
		c->inherited = true;
	if (c && atr_sys(SYS_getpeername, fd, &peer, &len, 0, 0, 0) == 0)
		atr_conn_peer(c, &peer.any, len);
	return c;
}

struct atr_conn *atr_conn_get(int fd)
{
	struct atr_conn **at = slot(fd);
	struct atr_conn *c = at ? atr_load_acquire(at) : NULL;

	if (atr_unlikely(c == UNKNOWN))
		return classify(fd);
	return c;
}

struct atr_conn *atr_conn_known(int fd)
{
	struct atr_conn **at = slot(fd);
	struct atr_conn *c = at ? atr_load_acquire(at) : NULL;

	return c == UNKNOWN ? NULL : c;
}

static struct atr_conn *make(int fd, int family, int type, enum atr_role role)
{
	struct atr_conn *c = atr_pool_take(&conns);

	if (!c) {
		atr_count(no_memory, 1);
		set(fd, NULL);
		return NULL;
	}
	c->family = (uint8_t)family;
	c->type = (uint8_t)(type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC));
	atr_store(&c->role, (uint8_t)role);
	c->speaker = ATR_SPEAKER_PROGRAM;
	c->paired = c->inherited = c->dispatches = c->shared = c->proxied = false;
	c->client_len = 0;
	c->heard = 0;
	c->connecting = c->connected = c->accepting = 0;
	c->attrs_state = 0;
	c->peer_len = c->local_len = 0;
	c->connect_op.recording = false;
	c->context.valid = false;
	c->context_claim = 0;
	c->loop = NULL;
	c->protocol = NULL;
	c->talk = NULL;
	c->debt = NULL;
	c->debt_len = 0;
	c->gone = NULL;
	/* Pairs with the acquire in hold(): whoever gets a reference sees the rest. */
	atr_store_release(&c->refs, 1u);
	set(fd, c);
	return c;
}

struct atr_conn *atr_conn_new(int fd, int family, int type, enum atr_role role)
{
	if (family != AF_INET && family != AF_INET6 && family != AF_UNIX) {
		set(fd, NULL);
		return NULL;
	}
	return make(fd, family, type, role);
}

struct atr_conn *atr_conn_new_other(int fd, enum atr_role role)
{
	return make(fd, AF_UNSPEC, 0, role);
}

bool atr_conn_hold(struct atr_conn *c, uint32_t gen)
{
	uint32_t refs = atr_load(&c->refs);

	do {
		if (!refs || atr_load(&c->gen) != gen)
			return false;
	} while (!__atomic_compare_exchange_n(&c->refs, &refs, refs + 1, 0, __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
	if (atr_load_acquire(&c->gen) == gen)
		return true;
	conn_drop(c);
	return false;
}

void atr_conn_release(struct atr_conn *c)
{
	conn_drop(c);
}

/* One more reference to what *at says; false when it is no longer there. */
static bool hold(struct atr_conn *c, struct atr_conn **at)
{
	uint32_t refs = atr_load(&c->refs);

	do {
		if (!refs)
			return false;
	} while (!__atomic_compare_exchange_n(&c->refs, &refs, refs + 1, 0, __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
	if (atr_load_acquire(at) == c)
		return true;
	conn_drop(c);
	return false;
}

void atr_conn_dup(int fd, int new_fd)
{
	struct atr_conn **at = slot(fd);
	struct atr_conn *c = at ? atr_load_acquire(at) : NULL;

	struct atr_conn **to = slot(new_fd);

	if (fd == new_fd || (!c && (!to || !atr_load(to))))
		return;
	if (atr_process_foreign())
		return; /* a vfork child arranges its own descriptors */
	if (c && c != UNKNOWN && !hold(c, at))
		c = NULL; /* closed by another thread at this moment */
	set(new_fd, c);
}

void atr_conn_close(int fd)
{
	struct atr_conn **at = slot(fd);

	/* A vfork child closes its own descriptors, with our memory. */
	if (!at || !atr_load(at) || atr_process_foreign())
		return;
	set(fd, NULL);
}

void atr_conn_close_range(unsigned from, unsigned to)
{
	uint32_t high = atr_load(&highest);

	if (from > to || from > high || atr_process_foreign())
		return;
	for (unsigned fd = from; fd <= to && fd <= high; fd++)
		set((int)fd, NULL);
}

void atr_conn_unknown(int fd)
{
	if (!atr_process_foreign())
		set(fd, UNKNOWN);
}

void atr_conn_unknown_range(unsigned from, unsigned to)
{
	uint32_t high = atr_load(&highest);

	for (unsigned fd = from; fd <= to && fd <= high; fd++)
		atr_conn_unknown((int)fd);
}

void atr_conn_peer(struct atr_conn *c, const struct sockaddr *addr, socklen_t len)
{
	if (!addr || len < (socklen_t)sizeof(addr->sa_family) || len > (socklen_t)sizeof(c->peer))
		return;
	/* Pairs with peer_copy(): who reads meanwhile sees that it did. */
	__atomic_fetch_add(&c->peer_seq, 1, __ATOMIC_ACQ_REL);
	memcpy(&c->peer, addr, len);
	c->peer_len = len;
	__atomic_fetch_add(&c->peer_seq, 1, __ATOMIC_ACQ_REL);
}

void atr_conn_peer_changed(struct atr_conn *c)
{
	__atomic_fetch_add(&c->peer_seq, 1, __ATOMIC_ACQ_REL);
	c->peer_len = 0;
	__atomic_fetch_add(&c->peer_seq, 1, __ATOMIC_ACQ_REL);
	atr_conn_attrs_changed(c);
}

void atr_conn_attrs_changed(struct atr_conn *c)
{
	/* Never kept again: another thread may be at the old bytes. */
	atr_store(&c->attrs_state, atr_load(&c->attrs_state) ? 3u : 0u);
}

/* The peer as it is now; 0 when it is not known, or changes at this moment. */
static socklen_t peer_copy(struct atr_conn *c, union atr_addr *ret)
{
	uint32_t seq = atr_load_acquire(&c->peer_seq);
	socklen_t len = c->peer_len;

	if (seq % 2 || len > sizeof(*ret))
		return 0;
	memcpy(ret, &c->peer, len);
	/* Adding nothing, for the release: the copy was read before the count is. */
	return __atomic_fetch_add(&c->peer_seq, 0, __ATOMIC_ACQ_REL) == seq ? len : 0;
}

/* ---- addresses as attributes ---- */

struct addr_text {
	char text[ATR_PEER_TEXT_MAX];
	size_t len;
	int port; /* -1: has none */
	bool v6;
};

static bool addr_text(const union atr_addr *a, socklen_t len, struct addr_text *ret)
{
	size_t path = offsetof(struct sockaddr_un, sun_path);

	*ret = (struct addr_text){ .port = -1 };
	if (len < (socklen_t)sizeof(a->any.sa_family))
		return false;
	switch (a->any.sa_family) {
	case AF_INET:
		ret->len = atr_ipv4_text(ret->text, (const uint8_t *)&a->in.sin_addr);
		ret->port = ntohs(a->in.sin_port);
		return true;
	case AF_INET6:
		ret->len = atr_ipv6_text(ret->text, a->in6.sin6_addr.s6_addr);
		ret->port = ntohs(a->in6.sin6_port);
		ret->v6 = memchr(ret->text, ':', ret->len) != NULL; /* else a v4-mapped one */
		return true;
	case AF_UNIX:
		if (len <= path)
			return false; /* unnamed */
		ret->len = len - path;
		memcpy(ret->text, a->un.sun_path, ret->len);
		if (ret->text[0] == '\0')
			ret->text[0] = '@'; /* abstract: any bytes, no end but its length */
		else
			ret->len = strnlen(ret->text, ret->len);
		return ret->len > 0;
	default:
		return false;
	}
}

static void put_addr(struct atr_pb *pb, const struct addr_text *t, enum atr_attr address,
		     enum atr_attr port)
{
	atr_attr_str(pb, address, t->text, t->len);
	if (t->port > 0)
		atr_attr_int(pb, port, t->port);
}

/* server.* are the ends of the server: the peer of a client, ourselves otherwise. */
static void put_server(const struct atr_conn *c, const struct addr_text *peer, struct atr_pb *pb)
{
	struct addr_text local;

	if (c->speaker != ATR_SPEAKER_PROGRAM)
		return; /* its library knows the name that was asked for */
	if (atr_load(&c->role) == ATR_ROLE_CLIENT && peer->len)
		put_addr(pb, peer, ATR_SERVER_ADDRESS, ATR_SERVER_PORT);
	else if (atr_load(&c->role) == ATR_ROLE_SERVER &&
		 addr_text(&c->local, c->local_len, &local))
		put_addr(pb, &local, ATR_SERVER_ADDRESS, ATR_SERVER_PORT);
}

static void put_kind(const struct atr_conn *c, const struct addr_text *t, struct atr_pb *pb)
{
	const char *transport = c->family == AF_UNIX	? "unix"
				: c->type == SOCK_DGRAM ? "udp"
							: "tcp";
	bool v6 = t ? t->v6 : c->family == AF_INET6;

	atr_attr_utf8(pb, ATR_NETWORK_TRANSPORT, transport, strlen(transport));
	if (c->family != AF_UNIX)
		atr_attr_utf8(pb, ATR_NETWORK_TYPE, v6 ? "ipv6" : "ipv4", 4);
}

/* Our own end of an accepted connection, or of a datagram socket that was bound. */
static void find_local(struct atr_conn *c, int fd)
{
	socklen_t len = sizeof(c->local);

	if (atr_sys(SYS_getsockname, fd, &c->local, &len, 0, 0, 0) == 0 && len <= sizeof(c->local))
		c->local_len = len;
}

void atr_conn_addr_attrs(struct atr_conn *c, int fd, const union atr_addr *peer, socklen_t len,
			 struct atr_pb *pb)
{
	struct addr_text t;
	bool known = addr_text(peer, len, &t);

	if (atr_load(&c->role) == ATR_ROLE_SERVER && c->speaker == ATR_SPEAKER_PROGRAM &&
	    !c->local_len && fd >= 0)
		find_local(c, fd);
	if (c->speaker != ATR_SPEAKER_PROTOCOL) /* its conventions do not want it */
		put_kind(c, known ? &t : NULL, pb);
	if (known)
		put_addr(pb, &t, ATR_NETWORK_PEER_ADDRESS, ATR_NETWORK_PEER_PORT);
	put_server(c, &t, pb);
}

void atr_conn_attrs(struct atr_conn *c, int fd, struct atr_pb *pb)
{
	union atr_addr peer;
	uint32_t none = 0;
	socklen_t len;

	/* Pairs with the release below. */
	if (atr_likely(atr_load_acquire(&c->attrs_state) == 2)) {
		atr_pb_raw(pb, c->attrs, c->attrs_len);
		return;
	}
	len = peer_copy(c, &peer);
	if ((len || atr_load(&c->role) == ATR_ROLE_SERVER) && fd >= 0 &&
	    __atomic_compare_exchange_n(&c->attrs_state, &none, 1, 0, __ATOMIC_ACQUIRE,
					__ATOMIC_RELAXED)) {
		struct atr_pb own = { .p = c->attrs, .end = c->attrs + sizeof(c->attrs) };

		atr_conn_addr_attrs(c, fd, &peer, len, &own);
		c->attrs_len = own.overflow ? 0 : (uint16_t)(own.p - c->attrs);
		none = 1; /* unless the peer has changed meanwhile */
		(void)__atomic_compare_exchange_n(&c->attrs_state, &none, own.overflow ? 3 : 2, 0,
						  __ATOMIC_RELEASE, __ATOMIC_RELAXED);
	}
	atr_conn_addr_attrs(c, fd, &peer, len, pb);
}

size_t atr_conn_peer_text(struct atr_conn *c, char buf[static ATR_PEER_TEXT_MAX])
{
	union atr_addr peer;
	struct addr_text t;
	size_t n = 0;

	if (!addr_text(&peer, peer_copy(c, &peer), &t))
		return 0;
	if (t.v6)
		buf[n++] = '[';
	memcpy(buf + n, t.text, t.len);
	n += t.len;
	if (t.v6)
		buf[n++] = ']';
	if (t.port >= 0) {
		buf[n++] = ':';
		n += atr_decimal(buf + n, (unsigned)t.port);
	}
	return n;
}

size_t atr_conn_peer_address(struct atr_conn *c, char buf[static ATR_PEER_TEXT_MAX], int *port)
{
	union atr_addr peer;
	struct addr_text t;

	*port = 0;
	if (!addr_text(&peer, peer_copy(c, &peer), &t))
		return 0;
	if (t.port > 0)
		*port = t.port;
	memcpy(buf, t.text, t.len);
	return t.len;
}
