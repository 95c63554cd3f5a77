/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_PGCONN_H
#define ATR_HOOKS_PGCONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
 * What we keep of one PostgreSQL connection.  Used by one thread at a time, as
 * the PGconn itself.  From a pool of our own: nothing comes from the program's heap.
 */
struct atr_pgconn {
	struct atr_pooled pooled;

	/* The statement at hand, and the one that was sent and whose results are awaited. */
	struct atr_pgtext texts[2];
	uint8_t at_hand; /* which of them */
	bool parked;	 /* there is one awaited */
	char sqlstate[6];
	const char *error; /* error.type so far; NULL: none */
	struct atr_op op;

	bool attached; /* hangs on a connection, which frees it */
	bool in_use;   /* a hook is at work with it: not to be freed now */

	char fallback[64];  /* the name of a span without summary: the database */
	uint16_t attrs_len; /* constant attributes in wire form; 0: not made yet */
	uint8_t attrs[1024];

	/* Prepared statements: name -> text, in an arena that is forgotten whole when full. */
	uint32_t buckets[64]; /* offset + 1 of the newest entry */
	uint32_t arena_used;
	uint8_t arena[128 * 1024];
};

/* NULL when there is no room. */
struct atr_pgconn *atr_pgconn_new(void);
void atr_pgconn_free(struct atr_pgconn *pg);

/* The statement at hand; and the one awaited. */
static inline struct atr_pgtext *atr_pgconn_at_hand(struct atr_pgconn *pg)
{
	return &pg->texts[pg->at_hand];
}

static inline struct atr_pgtext *atr_pgconn_awaited(struct atr_pgconn *pg)
{
	return &pg->texts[!pg->at_hand];
}

/*
 * Makes text and summary of a statement, in a PostgreSQL dialect.  Literals are
 * masked, unless parameterised says that the text comes with parameters and it
 * really has some ($1): such a text stays as it is.  A text with no operation in
 * it has no summary.
 */
void atr_pgconn_text(struct atr_pgtext *t, enum atr_sql_dialect dialect, const char *sql,
		     bool parameterised);

/* Puts a word in front of the summary. */
void atr_pgconn_prefix(struct atr_pgtext *t, const char *word);

/* A prepared statement: its text under its name; and that text fetched. */
void atr_pgconn_remember(struct atr_pgconn *pg, const char *name, const struct atr_pgtext *t);
void atr_pgconn_recall(struct atr_pgconn *pg, const char *name, struct atr_pgtext *t);

#endif
