/* SPDX-License-Identifier: Apache-2.0 */
#include "hooks/talk.h"

#include "hooks/buffer.h"
#include "hooks/inject.h"
#include "hooks/proxied.h"
#include "hooks/socket.h"
#include "preload/thread.h"

/* Every protocol that is followed on the wire, in the order they are asked. */
static const struct atr_protocol *const protocols[] = {
	&atr_http_protocol,
	&atr_pg_protocol,
};

/* Long enough for every protocol to say no to what is not its own. */
#define FIRST_BYTES 128
_Static_assert(FIRST_BYTES > ATR_PROXIED_MAX, "and for what a load balancer says first");

/*
 * The first bytes, from the side that asks.  A protocol that cannot tell yet begins as well,
 * and says for itself when it knows (c->heard).
 */
static void listen_to(struct atr_conn *c, const char *p, size_t n, bool client)
{
	for (size_t i = 0; i < ATR_ARRAY_LEN(protocols); i++) {
		int fits = protocols[i]->sniff(p, n);

		if (fits < 0)
			continue;
		c->talk = protocols[i]->begin(c, client);
		if (!c->talk)
			break;
		c->gone = atr_talk_gone;
		c->heard = fits ? ATR_HEARD_ALL : ATR_HEARD_SOME;
		if (fits) {
			c->speaker = ATR_SPEAKER_PROTOCOL;
			atr_conn_attrs_changed(c); /* the span of its accept() may have them */
		}
		atr_store_release(&c->protocol, protocols[i]);
		return;
	}
	c->heard = ATR_HEARD_ALL;
}

/*
 * Does this side ask, by what it did first?  Only where it is known what the connection
 * is: this process connected it, or accepted it; or it is a network connection that was
 * handed to it, and that it reads (inetd, SCM_RIGHTS).  Pairs and pipes between
 * processes carry requests as data.
 */
static bool asks(const struct atr_conn *c, bool sends)
{
	uint8_t role = atr_load(&c->role);

	if (sends)
		return role == ATR_ROLE_CLIENT;
	return role == ATR_ROLE_SERVER ||
	       (role == ATR_ROLE_UNKNOWN && c->inherited && c->family != AF_UNIX);
}

/* How long the header is that a load balancer puts before everything else. */
static size_t proxied(struct atr_conn *c, const char *p, size_t n)
{
	size_t len, header;

	if (c->proxied)
		return 0;
	header = atr_proxied(p, n, c->client, &len);
	if (header) {
		c->proxied = true;
		c->client_len = (uint8_t)len;
	}
	return header;
}

static size_t first_piece(const struct atr_moved *m)
{
	return m->iov->iov_len < m->bytes ? m->iov->iov_len : m->bytes;
}

/* Steps over it; false when nothing is behind it yet, or it is not seen. */
static bool behind_header(struct atr_moved *m, struct iovec *rest, size_t header)
{
	m->bytes -= header;
	if (header < m->iov->iov_len) {
		if (m->n_iov > 1 && m->bytes) /* (nobody is known who does so) */
			m->conn->heard = ATR_HEARD_ALL;
		*rest = (struct iovec){ (char *)m->iov->iov_base + header,
					m->iov->iov_len - header };
		m->iov = rest;
	} else {
		m->iov++;
		m->n_iov--;
	}
	return m->bytes && m->conn->heard != ATR_HEARD_ALL;
}

/* True when there is a protocol to be told. */
static bool heard(struct atr_moved *m, struct iovec *rest, bool sent)
{
	struct atr_conn *c = m->conn;
	size_t header;

	if (c->protocol)
		return true;
	if (c->heard == ATR_HEARD_ALL || !m->bytes)
		return false;
	if (!m->iov || !m->n_iov || !asks(c, sent)) {
		c->heard = ATR_HEARD_ALL;
		return false;
	}
	header = proxied(c, m->iov->iov_base, first_piece(m));
	if (header && !behind_header(m, rest, header))
		return false;
	listen_to(c, m->iov->iov_base, first_piece(m), sent);
	return c->protocol != NULL;
}

/* Whether its accept() was a span of its own is known now. */
static void settle_accept(const struct atr_moved *m)
{
	struct atr_conn *c = m->conn;

	if (atr_unlikely(atr_load(&c->accepting)) && c->heard == ATR_HEARD_ALL)
		atr_accept_done(c, m->fd, c->speaker == ATR_SPEAKER_PROGRAM);
}

void atr_talk_received(const struct atr_moved *moved)
{
	struct atr_moved behind = *moved, *m = &behind;
	struct iovec rest;

	if (heard(m, &rest, false))
		m->conn->protocol->received(m->conn->talk, m);
	else if (m->bytes)
		atr_talk_raw(m->conn, false);
	settle_accept(m);
}

void atr_talk_sent(const struct atr_moved *moved)
{
	struct atr_moved behind = *moved, *m = &behind;
	struct iovec rest;

	if (heard(m, &rest, true))
		m->conn->protocol->sent(m->conn->talk, m);
	else if (m->bytes)
		atr_talk_raw(m->conn, true);
	settle_accept(m);
}

void atr_talk_listen(struct atr_conn *c, struct atr_source *source)
{
	char first[FIRST_BYTES], client[ATR_ADDR_TEXT_MAX];
	size_t len, n = source->total < sizeof(first) ? source->total : sizeof(first);

	if (!n)
		return;
	if (!asks(c, true))
		c->heard = ATR_HEARD_ALL;
	else if (atr_source_peek(source, 0, first, n) &&
		 atr_proxied(first, n, client, &len) != source->total)
		listen_to(c, first, n, true); /* else the request is still to come */
}

void atr_talk_raw(struct atr_conn *c, bool sent)
{
	const void *loop = atr_context_loop(atr_load(&c->loop));
	const struct atr_context *now;

	if (atr_likely(!loop) || atr_load(&c->role) == ATR_ROLE_SERVER)
		return;
	if (__atomic_exchange_n(&c->context_claim, 1, __ATOMIC_ACQUIRE))
		return;
	if (sent) {
		now = atr_context_current();
		if (now && !atr_context_same(now, &c->context))
			c->shared = true;
		atr_context_touch();
	} else {
		atr_context_enter(c->shared ? NULL : &c->context, loop, false);
	}
	atr_store_release(&c->context_claim, 0u);
}

void atr_talk_shut(struct atr_conn *c, int fd)
{
	uint32_t gen = atr_load(&c->gen);

	if (!atr_conn_hold(c, gen))
		return;
	if (c->protocol)
		c->protocol->shut(c->talk, c, fd);
	atr_conn_release(c);
}

void atr_talk_gone(struct atr_conn *c)
{
	const struct atr_protocol *protocol = c->protocol;

	if (atr_load(&c->accepting))
		atr_accept_done(c, -1, c->speaker == ATR_SPEAKER_PROGRAM);
	if (protocol) {
		c->protocol = NULL;
		protocol->end(c->talk, c);
		c->talk = NULL;
	}
	atr_buffer_give(c->debt);
	c->debt = NULL;
	c->debt_len = 0;
}
