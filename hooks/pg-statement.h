/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_PG_STATEMENT_H
#define ATR_HOOKS_PG_STATEMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "hooks/pg-span.h"
#include "preload/conn.h"
#include "preload/op.h"
#include "preload/pool.h"

/* A statement's text and summary, shared by all that execute it. */
struct atr_pg_text {
	struct atr_pooled pooled;
	uint32_t refs;
	struct atr_pgtext t;
};

struct atr_pg_text *atr_pg_text_new(void); /* NULL: no memory */
struct atr_pg_text *atr_pg_text_hold(struct atr_pg_text *text);
void atr_pg_text_release(struct atr_pg_text *text); /* NULL is allowed */

/* What a statement's span is about. */
enum atr_pg_kind {
	ATR_PG_STATEMENT,
	ATR_PG_PREPARES, /* a Parse alone */
	ATR_PG_DESCRIBES,
	ATR_PG_CALLS, /* a function, by its number */
	ATR_PG_CONNECTS,
	ATR_PG_CANCELS,
};

/*
 * A statement that was sent over the wire, and what became of it.  Made by the thread that
 * sends; its result is noted by the one that receives.
 */
struct atr_pg_statement {
	struct atr_pooled pooled;
	struct atr_op op;
	struct atr_context sent_in; /* whose work it is; valid or not */
	struct atr_pg_text *text;   /* NULL: none */
	uint8_t kind;
	bool nameless; /* prepared without a name */
	bool executes; /* what was prepared before; its text may not be known */
	bool awaited;  /* counted in its parent's cell */
	bool describes_rows, copies_in;
	uint32_t function; /* its number */
	uint64_t rows;	   /* of the command at hand */
	struct atr_pgoutcome outcome;
};

static inline bool atr_pg_has_failed(const struct atr_pg_statement *s)
{
	return s->outcome.failed || s->outcome.error;
}

/* Where one belongs. */
struct atr_pg_origin {
	const struct atr_context *thread; /* what the thread was in at its first byte; or NULL */
	bool first;			  /* of its connection */
	uint64_t start;			  /* monotonic ns */
};

/* One that is about to be sent: opens its op.  NULL: no memory (counted). */
struct atr_pg_statement *atr_pg_statement_new(struct atr_conn *c, enum atr_pg_kind kind,
					      const struct atr_pg_origin *from);

/* It has its answer; one that was only prepared may be awaited again when it is executed. */
void atr_pg_statement_answered(struct atr_pg_statement *s);
void atr_pg_statement_await(struct atr_pg_statement *s);

/* Its span ends at op.end, and it is given back. */
void atr_pg_statement_over(struct atr_pg_statement *s, const struct atr_pgconn *known,
			   struct atr_conn *c, int fd);

/* Given back without a span; counted when it would have been one.  NULL is allowed. */
void atr_pg_statement_drop(struct atr_pg_statement *s);

/* The connection's constant attributes, made when its database is known. */
void atr_pg_attrs(struct atr_pgconn *known, struct atr_conn *c, struct atr_slice database);

#endif
