/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_LIBPQ_API_17_H
#define ATR_HOOKS_LIBPQ_API_17_H

/* What libpq 17 has and 15 has not; hooks/libpq-api.h says the rest. */
struct pg_conn;
struct pg_result;
struct pg_cancel_conn;

enum { ATR_PGRES_TUPLES_CHUNK = 12 };

struct pg_result *PQclosePrepared(struct pg_conn *conn, const char *stmt);
struct pg_result *PQclosePortal(struct pg_conn *conn, const char *portal);
int PQsendClosePrepared(struct pg_conn *conn, const char *stmt);
int PQsendClosePortal(struct pg_conn *conn, const char *portal);
int PQsendPipelineSync(struct pg_conn *conn);
struct pg_cancel_conn *PQcancelCreate(struct pg_conn *conn);
int PQcancelBlocking(struct pg_cancel_conn *cancel);
int PQcancelStart(struct pg_cancel_conn *cancel);
int PQcancelPoll(struct pg_cancel_conn *cancel);
void PQcancelReset(struct pg_cancel_conn *cancel);
void PQcancelFinish(struct pg_cancel_conn *cancel);

#endif
