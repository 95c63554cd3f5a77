/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_PG_SPAN_H
#define ATR_HOOKS_PG_SPAN_H

#include "hooks/pgconn.h"
#include "preload/conn.h"

/*
 * The spans of PostgreSQL, the same whether libpq's calls were seen (libpq-*.c) or the bytes
 * of a program's own protocol code (pg-*.c).  Semantic conventions: "PostgreSQL client operations".
 */

/* What a span says of the statement itself. */
struct atr_pg_naming {
	struct atr_slice summary; /* len 0: none; the span is named after the database */
	struct atr_slice text;	  /* len 0: not known */
	bool function;		  /* the summary is what a function that is called is named */
};

/* Ends the op, at op->end or now.  c: attributes that `pg` does not have; NULL: none. */
void atr_pg_statement_span(struct atr_op *op, const struct atr_pgconn *pg,
			   const struct atr_pg_naming *what, const struct atr_pgoutcome *o,
			   struct atr_conn *c, int fd);

/* A connection that was made or not: "connect db", "cancel db", "ping". */
struct atr_pg_dial {
	const char *what;     /* db.operation.name */
	const char *error;    /* error.type; NULL: none */
	const char *sqlstate; /* NULL: none */
	/* libpq's; "" when it may hold something of a server's, or of the connection string. */
	const char *message;
	const char *db; /* "": not known */
};

/* The same of one that was dialled; pg: NULL when nothing is known of it. */
void atr_pg_dial_span(struct atr_op *op, const struct atr_pgconn *pg, const struct atr_pg_dial *d,
		      struct atr_conn *c, int fd);

/* A sum that begins at -1, not known. */
static inline void atr_pg_add(int64_t *sum, uint64_t n)
{
	*sum = (int64_t)((*sum < 0 ? 0 : (uint64_t)*sum) + n);
}

#endif
