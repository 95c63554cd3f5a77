/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_PROTOCOL_H
#define ATR_HOOKS_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "preload/conn.h"
#include "preload/slice.h"

/*
 * What a protocol that is followed on the wire has to offer.  A new one is a file
 * of its own in hooks/, one of these structs, and a row in hooks/talk.c.
 *
 * Any thread may call, two at once: one that sends and one that receives.  Nothing
 * here may wait, allocate from the program's heap, or fail: a protocol that does
 * not understand what it sees gives up for good and lets everything pass.
 */

/* Bytes that have moved. */
struct atr_moved {
	struct atr_conn *conn;
	int fd;
	const struct iovec *iov; /* NULL: not seen (sendfile, splice, a discarding recv) */
	size_t n_iov;
	uint64_t bytes; /* 0: nothing moved; then err says why, or 0 for the end of the stream */
	int err;
	/* Out: the context of the operation they belong to; left alone when there is none. */
	struct atr_context *of;
	uint64_t *since; /* out: when it began */
};

/* ---- what is added to bytes that are about to be sent ---- */

#define ATR_INSERTS_MAX 8

struct atr_insert {
	size_t at;		  /* before this one of the program's bytes */
	struct atr_slice text[2]; /* ours */
	/* The program's bytes [from, at) go out as these instead; NULL: as they are. */
	char *copy;
	size_t from;
	/* Of which [whole_from, whole_to) differs, if not 0: it goes whole, as a text does. */
	size_t whole_from, whole_to;
};

struct atr_plan {
	size_t cut; /* how many of the program's bytes the plan is about */
	unsigned n;
	struct atr_insert insert[ATR_INSERTS_MAX];
	_Alignas(8) char own[256]; /* the protocol's */
};

struct atr_source; /* the program's bytes before the call (hooks/inject.h) */

struct atr_protocol {
	const char *name;
	/* Could the first bytes of a connection be these?  -1 no, 0 perhaps, 1 yes. */
	int (*sniff)(const char *p, size_t n);
	/* State for a new connection; client: this side asks.  NULL: no memory, or not this side's.
	 */
	void *(*begin)(struct atr_conn *c, bool client);
	void (*received)(void *talk, const struct atr_moved *m);
	/* Without a plan, or with one: then whether all of the last text, or some, went. */
	void (*sent)(void *talk, const struct atr_moved *m);
	/*
	 * Looks at bytes before they are sent: true when sent_planned() wants to be called
	 * after the call, however it ended.
	 */
	bool (*plan)(void *talk, struct atr_conn *c, struct atr_source *source,
		     struct atr_plan *plan);
	/*
	 * m->bytes of the program's (<= plan->cut) went out, and `begun` of plan->insert[]
	 * were begun, the last of them perhaps not to its end.
	 */
	void (*sent_planned)(void *talk, const struct atr_moved *m, struct atr_plan *plan,
			     unsigned begun);
	/* shutdown(SHUT_WR): nothing more will be sent. */
	void (*shut)(void *talk, struct atr_conn *c, int fd);
	/* The connection is gone: no other call is under way or will come.  Gives talk back. */
	void (*end)(void *talk, struct atr_conn *c);
};

extern const struct atr_protocol atr_http_protocol; /* hooks/http.c */
extern const struct atr_protocol atr_pg_protocol;   /* hooks/pg-talk.c */

#endif
