/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_PGCONN_H
#define ATR_HOOKS_PGCONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hooks/pgqueue.h"
#include "hooks/sql.h"
#include "preload/attr.h"
#include "preload/op.h"
#include "preload/pool.h"

/* A statement's text and summary, ready for the span. */
struct atr_pgtext {
	size_t len;
	size_t summary_len; /* 0: none */
	char text[ATR_VALUE_MAX];
	char summary[ATR_SQL_SUMMARY_MAX + 16];
};

/*
 * What we keep of one PostgreSQL connection, found by its PGconn (or its PGcancelConn).
 * Used by one thread at a time, as that itself.  From a pool of our own: nothing
 * comes from the program's heap.
 */
struct atr_pgconn {
	struct atr_pooled pooled;
	const void *conn; /* NULL: in no table, the pg of one call */
	uintptr_t owner;  /* who is at work with it; 0: nobody */

	struct atr_pgtext text;	  /* of the statement at hand */
	struct atr_pgqueue queue; /* those that were sent and whose results are awaited */
	char warning[6];	  /* SQLSTATE of the last one the server gave; "": none */
	char failure[6];	  /* the same of an error */

	const char *dialling; /* what connect_op is: "connect", "cancel"; NULL: not under way */
	struct atr_op connect_op;

	char *commented; /* a buffer for texts with a comment of ours; NULL: not taken yet */

	char fallback[64];  /* the name of a span without summary: the database; or "" */
	uint16_t attrs_len; /* constant attributes in wire form; 0: not made yet */
	uint8_t attrs[1024];

	struct atr_pgprepared *prepared; /* NULL: nothing was (hooks/pgprepared.h) */
};

/* One that is in no table; NULL when there is no room. */
struct atr_pgconn *atr_pgconn_new(void);
void atr_pgconn_free(struct atr_pgconn *pg);

/*
 * The one of this connection: NULL when there is none; or made when there is none, and
 * NULL when there is no room.  forget: takes it out of the table, does not free it.
 */
struct atr_pgconn *atr_pgconn_find(const void *conn);
struct atr_pgconn *atr_pgconn_make(const void *conn);
void atr_pgconn_forget(struct atr_pgconn *pg);

/*
 * The calling thread is at work with it.  False: the process is ending and has come
 * to it already.  A thread that was at work with it and never said that it is not any
 * more has left by longjmp(): two at a time there are none.
 */
bool atr_pgconn_hold(struct atr_pgconn *pg);
void atr_pgconn_release(struct atr_pgconn *pg);

/* At the end of the process: each one that nobody is at work with, held for the call. */
void atr_pgconn_each(void (*call)(struct atr_pgconn *pg));

/*
 * Makes text and summary of a statement, in a PostgreSQL dialect.  Literals are
 * masked, unless parameterised says that the text comes with parameters and it
 * really has some ($1): such a text stays as it is.  A text with no operation in
 * it has no summary.
 */
void atr_pgconn_text(struct atr_pgtext *t, enum atr_sql_dialect dialect, const char *sql,
		     bool parameterised);

/* The same of a text whose length is known. */
void atr_pgconn_text_n(struct atr_pgtext *t, enum atr_sql_dialect dialect, const char *sql,
		       size_t len, bool parameterised);

/* Puts a word in front of the summary. */
void atr_pgconn_prefix(struct atr_pgtext *t, const char *word);

#endif
