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

/*
 * What we keep of one PostgreSQL connection.  Used by one thread at a time, as
 * the PGconn itself.  From a pool of our own: nothing comes from the program's heap.
 */
struct atr_pgconn {
	struct atr_pooled pooled;

	/* The statement at hand: its text and summary, ready for the span. */
	size_t text_len;
	size_t summary_len;
	char text[ATR_VALUE_MAX];
	char summary[ATR_SQL_SUMMARY_MAX + 16];

	/* One that was sent and whose results are awaited. */
	bool parked;
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

/*
 * Makes text and summary of a statement.  Literals are masked, unless
 * parameterised says that the text comes with parameters and it really has some
 * ($1): such a text stays as it is.  A text with no operation in it has no summary.
 */
void atr_pgconn_text(struct atr_pgconn *pg, const char *sql, bool parameterised);

/* Puts a word in front of the summary. */
void atr_pgconn_prefix(struct atr_pgconn *pg, const char *word);

/* A prepared statement: its text under its name; and that text made the one at hand. */
void atr_pgconn_remember(struct atr_pgconn *pg, const char *name, const char *sql);
void atr_pgconn_recall(struct atr_pgconn *pg, const char *name);

#endif
