/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_LIBPQ_H
#define ATR_HOOKS_LIBPQ_H

#include "hooks/pgconn.h"
#include "hooks/real.h"

/* What libpq.c (statements) and libpq-connect.c (connections) share. */

static inline const char *atr_libpq_text(const char *s)
{
	return s ? s : "";
}

/* What we keep of the connection; NULL when libpq has no socket, or there is no room. */
struct atr_pgconn *atr_libpq_conn(const struct atr_libpq *pq, struct pg_conn *conn);

/* db.system.name ... network.*, constant for a connection. */
void atr_libpq_attrs(const struct atr_libpq *pq, struct pg_conn *conn, struct atr_pb *pb);

/* A statement whose results are awaited, if there is one, ends as they have said so far. */
void atr_libpq_settle(struct atr_pgconn *pg);

/*
 * The connection is about to be closed: the same, and no hook is at work with it any
 * more, though one may have been left by longjmp().
 */
void atr_libpq_over(struct atr_pgconn *pg);

#endif
