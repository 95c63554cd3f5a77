/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_LIBPQ_H
#define ATR_HOOKS_LIBPQ_H

#include "hooks/pgconn.h"
#include "hooks/real.h"

/* What the files libpq*.c share: a statement from its call to its span. */

static inline const char *atr_libpq_text(const char *s)
{
	return s ? s : "";
}

/*
 * What we keep of the connection, held by the calling thread until it is released; NULL
 * when nothing is, or it is not to be touched.  _hold() makes it when there is nothing.
 */
struct atr_pgconn *atr_libpq_known(const void *conn);
struct atr_pgconn *atr_libpq_hold(const void *conn);
void atr_libpq_release(struct atr_pgconn *pg);

/* db.system.name ... network.*, constant for a connection. */
void atr_libpq_attrs(const struct atr_libpq *pq, struct pg_conn *conn, struct atr_pb *pb);

/* Makes them, if that is still to be done. */
void atr_libpq_keep_attrs(const struct atr_libpq *pq, struct pg_conn *conn, struct atr_pgconn *pg);

/* ---- a call that is a statement, or sends one ---- */

enum atr_libpq_kind {
	ATR_LIBPQ_SIMPLE,   /* a text; literals are masked */
	ATR_LIBPQ_PARAMS,   /* the same with parameters ($1): as it is */
	ATR_LIBPQ_PREPARE,  /* the same; kept under its name, whether sampled or not */
	ATR_LIBPQ_PREPARED, /* the name of a prepared statement */
	ATR_LIBPQ_NONE,	    /* neither */
};

struct atr_libpq_call {
	const struct atr_libpq *pq;
	struct pg_conn *conn;
	struct atr_pgconn *pg; /* NULL: not followed */
	const char *sql;       /* that may be about prepared statements; or NULL */
	uint32_t prepared;     /* what was remembered */
	bool function;	       /* the summary is the name of a function that is called */
	struct atr_op op;
};

/*
 * The op of one call, the thread's context until the hook ends or is left.  `word` is
 * put in front of the summary.  leaves: statements under way are left alone, by a call
 * that only sends or one that libpq refuses meanwhile; the others make it forget them.
 */
struct atr_libpq_say {
	enum atr_libpq_kind kind;
	const char *text;
	const char *word; /* or NULL */
	bool leaves;
};

void atr_libpq_begin(struct atr_libpq_call *call, const struct atr_libpq *pq, struct pg_conn *conn,
		     const struct atr_libpq_say *say);
void atr_libpq_unwind(struct atr_libpq_call *call);

/* In a hook, behind ATR_ENTER_LIBPQ: DECLARES `call`, which begins. */
#define ATR_LIBPQ_CALL(...)                                                    \
	__attribute__((cleanup(atr_libpq_unwind))) struct atr_libpq_call call; \
	atr_libpq_begin(&call, pq, conn, &(struct atr_libpq_say){ __VA_ARGS__ })

/*
 * AUTOTRACE_SQLCOMMENTER: the text with the span's ids behind it, good until the next call
 * with the connection; otherwise sql itself.  (libpq-comment.c)
 */
const char *atr_libpq_comment(struct atr_pgconn *pg, const struct atr_op *op,
			      enum atr_sql_dialect dialect, const char *sql);
const char *atr_libpq_commented(struct atr_libpq_call *call, const char *sql);

/* The call has returned its result: the span ends, or a COPY begins. */
struct pg_result *atr_libpq_finish(struct atr_libpq_call *call, struct pg_result *res);

/* The call has returned something else that says how it went. */
void atr_libpq_end(struct atr_libpq_call *call, bool ok);

/* The call has sent it (or 0: it has not): the results are awaited. */
int atr_libpq_park(struct atr_libpq_call *call, int sent);

/* ---- what results say (libpq-result.c) ---- */

void atr_libpq_copy_state(char to[static 6], const char *sqlstate);

/* error.type of an error that the server did not tell. */
const char *atr_libpq_client_error(const struct atr_libpq *pq, const struct pg_conn *conn);

/* What a result says.  It is none of the last one when more are to follow. */
void atr_libpq_note(const struct atr_libpq *pq, struct pg_conn *conn, struct atr_pgconn *pg,
		    struct atr_pgoutcome *o, struct pg_result *res);

/* Also what is said about the transaction, now that the server has said it. */
void atr_libpq_note_transaction(const struct atr_libpq *pq, const struct pg_conn *conn,
				struct atr_pgoutcome *o);

/* ---- what was sent ---- */

/* The oldest statement ends as its results have said so far. */
void atr_libpq_settle_first(struct atr_pgconn *pg, const char *unfinished);

/* All of them; unfinished: the error.type of those that are. */
void atr_libpq_settle(struct atr_pgconn *pg, const char *unfinished);

bool atr_libpq_pipelining(const struct atr_libpq *pq, const struct pg_conn *conn);

/* The end of the process: statements whose results are still awaited. */
void atr_libpq_ending(void);

#endif
