/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_CONN_H
#define ATR_PRELOAD_CONN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "preload/op.h"
#include "preload/pool.h"
#include "preload/text.h"

/*
 * What we know of a socket.  Descriptors that are dup()s of each other share
 * one.  Found by descriptor with one look-up and without a lock; the memory is
 * never unmapped, so a call that was blocked while another thread closed the
 * descriptor finds a changed generation, not a bad pointer.
 */
union atr_addr {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

enum atr_role {
	ATR_ROLE_UNKNOWN, /* a socketpair, or inherited */
	ATR_ROLE_CLIENT,  /* connected by this process, or datagrams it began */
	ATR_ROLE_SERVER,  /* accepted, or datagrams on a bound socket */
	ATR_ROLE_LISTEN,
	ATR_ROLE_EPOLL, /* no socket: an epoll instance */
	ATR_ROLE_HANDS, /* no socket, but a loop waits for it: a pipe, an eventfd, a timer */
};

/* Who speaks on the connection, as far as known. */
enum atr_speaker {
	ATR_SPEAKER_PROGRAM,  /* in no protocol that we know, or not known yet */
	ATR_SPEAKER_LIBPQ,    /* a library whose calls we hook */
	ATR_SPEAKER_PROTOCOL, /* in one that we follow (hooks/talk.h) */
};

struct atr_protocol;

struct atr_conn {
	struct atr_pooled pooled;
	uint32_t gen;	/* changes when the connection is gone */
	uint32_t refs;	/* descriptors */
	uint8_t family; /* AF_INET, AF_INET6, AF_UNIX */
	uint8_t type;	/* SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET */
	uint8_t role;
	uint8_t speaker;
	bool paired;	      /* one end of a socketpair() */
	bool inherited;	      /* it was there before us, or came from another process */
	bool dispatches;      /* an epoll instance: new work may come through it */
	uint8_t heard;	      /* the protocol is: 0 nothing was said, 1 undecided, 2 decided */
	uint32_t accepting;   /* accept_op waits for the protocol to be known */
	const void *loop;     /* who waits for it: an epoll instance, or ATR_LOOP_POLL */
	uint32_t connecting;  /* a connect is on its way; connect_op waits for its outcome */
	uint32_t connected;   /* a stream's connect has succeeded */
	uint32_t attrs_state; /* of attrs[]: 0 none, 1 being written, 2 ready, 3 not kept */
	uint32_t peer_seq;    /* odd while the peer is being written */
	uint16_t attrs_len;
	socklen_t peer_len; /* 0: not known */
	union atr_addr peer;
	socklen_t local_len;
	union atr_addr local;	    /* of an accepted connection, found when it is first wanted */
	struct atr_op connect_op;   /* and accept_op: a connection is made but once */
	struct atr_context context; /* that it was connected in; later, that it was written in */
	uint32_t context_claim;	    /* who has it may read and write it */
	bool shared;		    /* was written in several contexts */
	bool proxied;		    /* it began with a header of the PROXY protocol, */
	uint8_t client_len;	    /* which names the client behind the proxy; 0: it does not */
	char client[ATR_ADDR_TEXT_MAX];
	const struct atr_protocol *protocol;
	void *talk; /* the protocol's state */
	char *debt; /* bytes of ours to be sent before the program's next (hooks/inject.c) */
	uint32_t debt_at, debt_len;
	void (*gone)(struct atr_conn *c); /* called once, when no descriptor is left */
	uint8_t attrs[512];		  /* network.* and server.*, encoded */
};

#define ATR_LOOP_POLL ((const void *)1)

void atr_conn_init(void);

/*
 * The connection of a descriptor; NULL for anything that is no socket of ours.
 * A descriptor that was there before us is looked at once, with one system call.
 */
struct atr_conn *atr_conn_get(int fd);

/* The same without the look: NULL as well for a descriptor nobody has used yet. */
struct atr_conn *atr_conn_known(int fd);

/* A new connection for a descriptor just made; what it had before is dropped.  NULL: no memory. */
struct atr_conn *atr_conn_new(int fd, int family, int type, enum atr_role role);

/* The same for a descriptor that is no socket: ATR_ROLE_EPOLL or ATR_ROLE_HANDS. */
struct atr_conn *atr_conn_new_other(int fd, enum atr_role role);

/*
 * Keeps the connection from being given back while it is looked at; false when it is not
 * that of this generation any more.  Never held across a call of the program's.
 */
bool atr_conn_hold(struct atr_conn *c, uint32_t gen);
void atr_conn_release(struct atr_conn *c);

/* new_fd is a duplicate of fd now. */
void atr_conn_dup(int fd, int new_fd);

/* The descriptor, or all from first to last, are being closed. */
void atr_conn_close(int fd);
void atr_conn_close_range(unsigned first, unsigned last);

/* The descriptor, or each of these, came from elsewhere (SCM_RIGHTS): look when it is used. */
void atr_conn_unknown(int fd);
void atr_conn_unknown_range(unsigned first, unsigned last);

/* Remembers the peer; an address longer than ours or of length 0 is not known. */
void atr_conn_peer(struct atr_conn *c, const struct sockaddr *addr, socklen_t len);

/* The peer is another one, or none: what was encoded of it is not used any more. */
void atr_conn_peer_changed(struct atr_conn *c);

/* What atr_conn_attrs() writes is another from now on. */
void atr_conn_attrs_changed(struct atr_conn *c);

/* network.* and server.* of the connection, into a span.  fd is one of its descriptors,
 * -1 when there is none at hand. */
void atr_conn_attrs(struct atr_conn *c, int fd, struct atr_pb *pb);

/* The same with another peer: a datagram's. */
void atr_conn_addr_attrs(struct atr_conn *c, int fd, const union atr_addr *peer, socklen_t len,
			 struct atr_pb *pb);

/* "127.0.0.1:80", "[::1]:80", "/path" or "@abstract"; returns its length. */
#define ATR_PEER_TEXT_MAX 128
size_t atr_conn_peer_text(struct atr_conn *c, char buf[static ATR_PEER_TEXT_MAX]);

/* The address alone, and its port (0: none). */
size_t atr_conn_peer_address(struct atr_conn *c, char buf[static ATR_PEER_TEXT_MAX], int *port);

/* Connections whose connect() is on its way, so that a poll() need only look when there are any. */
extern uint32_t atr_conn_connecting;

#endif
