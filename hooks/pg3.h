/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_PG3_H
#define ATR_HOOKS_PG3_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "preload/slice.h"

/*
 * PostgreSQL's protocol, version 3: where its messages begin and end, and what those say that
 * we look at.  Pure: bytes in, in pieces of any size, messages out.  Rows, data of
 * COPY and passwords are stepped over; of nothing more than `want` bytes are kept.
 */

/* Most that is wanted of a message that is asked (a text), and of an answer. */
#define ATR_PG3_ASK_MAX 65535
#define ATR_PG3_ANSWER_MAX 512

/* One direction of a connection. */
struct atr_pg3 {
	bool answers; /* what the server says */
	bool untyped; /* the next message has no type: a client's first ones */
	bool in_body;
	uint8_t n_head; /* bytes of head[] that are here */
	uint8_t head[5];
	uint32_t len;	     /* of the body */
	uint32_t left;	     /* of it, still to come */
	uint32_t want;	     /* of its first bytes */
	uint32_t kept;	     /* of these, in keep */
	char *keep;	     /* for a message in pieces: room for all that can be wanted; or NULL */
	char *(*room)(void); /* where keep comes from when it is first needed */
};

struct atr_pg3_message {
	bool whole;   /* there is one */
	uint8_t type; /* 0: without a type */
	uint32_t len; /* of its body */
	/* The first bytes of its body, all that are wanted; fewer when there was no memory. */
	struct atr_slice body;
};

/*
 * Looks at [p, p + n), at most to the end of one message.  Returns how many bytes belong to
 * it; m->whole when it ends with them: m->body is good until the next call.  -1: this is
 * not the protocol.
 */
ssize_t atr_pg3_next(struct atr_pg3 *r, const char *p, size_t n, struct atr_pg3_message *m);

/* Bytes that come next and that nobody wants, all but the message's last; and that they did. */
uint32_t atr_pg3_skippable(const struct atr_pg3 *r);
void atr_pg3_skip(struct atr_pg3 *r, uint32_t n);

/* Could a client's first bytes be these?  -1 no, 0 perhaps, 1 yes. */
int atr_pg3_sniff(const char *p, size_t n);

/* ---- what messages say ---- */

enum atr_pg3_first { ATR_PG3_BAD, ATR_PG3_START, ATR_PG3_ENCRYPT, ATR_PG3_CANCEL };

struct atr_pg3_start {
	struct atr_slice user, database; /* p is NULL: not given */
};

/* A message without a type. */
enum atr_pg3_first atr_pg3_first(struct atr_slice body, struct atr_pg3_start *start);

/* Four bytes, the highest first. */
uint32_t atr_pg3_number(const char *p);

/* Takes a string off the front, which a NUL ends; false when there is none. */
bool atr_pg3_string(struct atr_slice *rest, struct atr_slice *ret);

/* The SQLSTATE of an ErrorResponse or a NoticeResponse; false when it has none. */
bool atr_pg3_sqlstate(struct atr_slice body, char ret[static 6]);

/* Is that NoticeResponse a warning? */
bool atr_pg3_is_warning(struct atr_slice body);

/* What a CommandComplete says of rows. */
enum atr_pg3_rows {
	ATR_PG3_NO_ROWS,  /* nothing */
	ATR_PG3_CHANGED,  /* so many were written */
	ATR_PG3_SELECTED, /* so many were found: they came back, or went into a new table */
	ATR_PG3_COPIED,
};

enum atr_pg3_rows atr_pg3_tag(struct atr_slice body, uint64_t *rows);

#endif
