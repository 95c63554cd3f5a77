/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_PGQUEUE_H
#define ATR_HOOKS_PGQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hooks/sql.h"
#include "preload/attr.h"
#include "preload/op.h"

/*
 * The statements of one connection that were sent and whose results are awaited, in
 * order: one as a rule, many in pipeline mode.  Used by one thread at a time.
 */

/* What the results of a statement have said so far. */
struct atr_pgoutcome {
	char sqlstate[6];     /* "": none */
	bool answered;	      /* there was a result, */
	bool complete;	      /* and one that says how a command ended */
	bool failed;	      /* error.type is the SQLSTATE, */
	const char *error;    /* or this, if not NULL */
	const char *status;   /* of the transaction; NULL: there is none, or not known */
	int64_t returned;     /* rows; -1: nothing that has rows */
	int64_t affected;     /* the same */
	int64_t copied_rows;  /* -1: not known */
	int64_t copied_bytes; /* -1: no COPY */
};

extern const struct atr_pgoutcome atr_pgoutcome_none; /* so far (hooks/pg-span.c) */

struct atr_pgstmt {
	uint32_t size; /* all of it, in the queue; 0: the queue goes on at its beginning */
	uint32_t text_len;
	uint16_t summary_len;
	bool sync;	   /* no statement, but a pipeline's synchronisation point */
	uint32_t prepared; /* what it prepared (atr_pgconn_remember()); 0: nothing */
	struct atr_op op;
	struct atr_pgoutcome outcome;
	char texts[]; /* summary, text */
};

/* Enough for one statement, however long; more are in memory from a pool. */
#define ATR_PGQUEUE_OWN (sizeof(struct atr_pgstmt) + ATR_VALUE_MAX + ATR_SQL_SUMMARY_MAX + 64)
#define ATR_PGQUEUE_LARGE (4 * 1024 * 1024)

struct atr_pgqueue {
	struct atr_pglarge *large; /* NULL: own[] is used */
	uint32_t n, head, tail;
	/* Behind the last one: statements and synchronisation points there was no room for. */
	uint32_t gap, gap_syncs;
	bool gap_answered;
	_Alignas(8) uint8_t own[ATR_PGQUEUE_OWN & ~(size_t)7];
};

/* Empty, and nothing else is kept. */
void atr_pgqueue_init(struct atr_pgqueue *q);

/* Gives the large memory back; the queue is to be empty. */
void atr_pgqueue_shrink(struct atr_pgqueue *q);

/* The oldest; NULL when there is none, or only the gap. */
struct atr_pgstmt *atr_pgqueue_first(struct atr_pgqueue *q);

/*
 * A new one at the end, its texts and everything else still to be written; NULL
 * when there is no room: then it is in the gap, and has no span.
 */
struct atr_pgstmt *atr_pgqueue_push(struct atr_pgqueue *q, size_t texts_len, bool sync);

/* The oldest is done with. */
void atr_pgqueue_pop(struct atr_pgqueue *q);

#endif
