/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libpq: making a connection is one CLIENT span, "connect <database>", from
 * PQconnectdb() to its return, or from PQconnectStart() to the PQconnectPoll()
 * that says how it ended: names, sockets, TLS, GSS and authentication, of as many hosts
 * as are tried.  The connects of its sockets are its children.  PQping() is one as well.
 *
 * The status description is libpq's message when no server was reached: then the
 * server had no part in it.
 */
#include "hooks/libpq-connect.h"

#include <errno.h>
#include <string.h>

#include "hooks/hook.h"
#include "hooks/pg-span.h"
#include "hooks/pgprepared.h"
#include "preload/clock.h"

/* ---- the op ---- */

void atr_dial_begin(struct atr_op *op)
{
	atr_real_libpq_check();
	atr_tls.connect_error = NULL;
	atr_tls.connect_reached = false;
	atr_context_touch();
	atr_op_begin(op, ATR_KIND_CLIENT);
	atr_op_count_live(op);
	atr_op_enter(op);
}

const char *atr_dial_error(void)
{
	return atr_tls.connect_error ? atr_tls.connect_error : "_OTHER";
}

void atr_dialled(struct atr_op *op, const char *what, const struct atr_pgconn *pg,
		 const char *error)
{
	int saved_errno = errno;

	atr_op_leave(op);
	atr_pg_dial_span(
		op, pg,
		&(struct atr_pg_dial){
			.what = what, .error = error, .message = "", .db = pg ? pg->fallback : "" },
		NULL, -1);
	errno = saved_errno;
}

/* ---- what is driven by a ...Poll() ---- */

void atr_dial_on(struct atr_op *op, const char *what, struct atr_pgconn *pg)
{
	atr_op_leave(op);
	if (!pg || !op->recording)
		return;
	atr_op_copy(&pg->connect_op, op);
	pg->dialling = what;
}

struct atr_pgconn *atr_dial_step(const void *conn)
{
	struct atr_pgconn *pg = atr_libpq_known(conn);

	if (pg && !pg->dialling) {
		atr_libpq_release(pg);
		return NULL;
	}
	if (pg)
		atr_op_enter(&pg->connect_op);
	return pg;
}

static void end_dialling(struct atr_pgconn *pg, const char *error)
{
	const char *what = pg->dialling;
	struct atr_op op;

	atr_op_copy(&op, &pg->connect_op);
	pg->dialling = NULL;
	atr_dialled(&op, what, pg, error);
}

void atr_dial_stepped(struct atr_pgconn *pg, enum atr_dial ret)
{
	int saved_errno = errno;

	if (!pg)
		return;
	atr_op_leave(&pg->connect_op);
	if (ret != ATR_DIAL_GOES_ON)
		end_dialling(pg, ret == ATR_DIAL_DONE ? NULL : atr_dial_error());
	atr_libpq_release(pg);
	errno = saved_errno;
}

void atr_dial_given_up(struct atr_pgconn *pg)
{
	if (pg->dialling)
		end_dialling(pg, "cancelled");
}

/* ---- connections ---- */

/* A PGconn is new, or has a new socket: nothing of what was kept under it holds. */
static struct atr_pgconn *renew(struct pg_conn *conn)
{
	struct atr_pgconn *pg = atr_libpq_hold(conn);

	if (!pg)
		return NULL;
	atr_dial_given_up(pg);
	atr_libpq_settle(pg, "cancelled");
	atr_pgqueue_shrink(&pg->queue);
	atr_pgprepared_forget(pg, NULL);
	pg->attrs_len = 0;
	return pg;
}

static bool is_good(const struct atr_libpq *pq, const struct pg_conn *conn)
{
	return pq->PQstatus(conn) == ATR_PG_CONNECTION_OK;
}

/* The call that makes it all at once has returned. */
static struct pg_conn *connected(const struct atr_libpq *pq, struct atr_op *op,
				 struct pg_conn *conn)
{
	int saved_errno = errno;
	struct atr_pgconn *pg = conn ? renew(conn) : NULL;
	bool good = conn && is_good(pq, conn);
	bool reached = atr_tls.connect_reached || !atr_tls.connect_error;

	atr_op_leave(op);
	if (pg && op->recording)
		atr_libpq_keep_attrs(pq, conn, pg);
	atr_pg_dial_span(op, pg,
			 &(struct atr_pg_dial){
				 .what = "connect",
				 .error = good ? NULL : atr_dial_error(),
				 .message = good || reached || !conn || !pq->PQerrorMessage
						    ? ""
						    : atr_libpq_text(pq->PQerrorMessage(conn)),
				 .db = conn && pq->PQdb ? atr_libpq_text(pq->PQdb(conn)) : "",
			 },
			 NULL, -1);
	if (pg) {
		if (!good)
			pg->attrs_len = 0;
		atr_libpq_release(pg);
	}
	errno = saved_errno;
	return conn;
}

/* The call that begins it has. */
static void started(const struct atr_libpq *pq, struct atr_op *op, struct pg_conn *conn)
{
	int saved_errno = errno;
	struct atr_pgconn *pg;

	if (!conn || pq->PQstatus(conn) == ATR_PG_CONNECTION_BAD) {
		(void)connected(pq, op, conn);
		return;
	}
	pg = renew(conn);
	atr_dial_on(op, "connect", pg);
	if (pg)
		atr_libpq_release(pg);
	errno = saved_errno;
}

atr_export struct pg_conn *PQconnectdb(const char *conninfo)
{
	ATR_ENTER_LIBPQ(NULL, NULL, PQconnectdb, conninfo);
	ATR_DIALLING(op);
	return connected(pq, &op, pq->PQconnectdb(conninfo));
}

atr_export struct pg_conn *PQconnectdbParams(const char *const *keywords, const char *const *values,
					     int expand_dbname)
{
	ATR_ENTER_LIBPQ(NULL, NULL, PQconnectdbParams, keywords, values, expand_dbname);
	ATR_DIALLING(op);
	return connected(pq, &op, pq->PQconnectdbParams(keywords, values, expand_dbname));
}

atr_export struct pg_conn *PQsetdbLogin(const char *host, const char *port, const char *options,
					const char *tty, const char *db, const char *login,
					const char *password)
{
	ATR_ENTER_LIBPQ(NULL, NULL, PQsetdbLogin, host, port, options, tty, db, login, password);
	ATR_DIALLING(op);
	return connected(pq, &op, pq->PQsetdbLogin(host, port, options, tty, db, login, password));
}

atr_export struct pg_conn *PQconnectStart(const char *conninfo)
{
	ATR_ENTER_LIBPQ(NULL, NULL, PQconnectStart, conninfo);
	ATR_DIALLING(op);
	struct pg_conn *conn = pq->PQconnectStart(conninfo);

	started(pq, &op, conn);
	return conn;
}

atr_export struct pg_conn *PQconnectStartParams(const char *const *keywords,
						const char *const *values, int expand_dbname)
{
	ATR_ENTER_LIBPQ(NULL, NULL, PQconnectStartParams, keywords, values, expand_dbname);
	ATR_DIALLING(op);
	struct pg_conn *conn = pq->PQconnectStartParams(keywords, values, expand_dbname);

	started(pq, &op, conn);
	return conn;
}

/* PQconnectPoll() or PQresetPoll() has returned. */
static int polled(const struct atr_libpq *pq, struct pg_conn *conn, struct atr_pgconn *pg, int ret)
{
	int saved_errno = errno;
	enum atr_dial went = atr_dial_went(ret);

	if (pg && went != ATR_DIAL_GOES_ON)
		atr_libpq_keep_attrs(pq, conn, pg);
	atr_dial_stepped(pg, went);
	errno = saved_errno;
	return ret;
}

atr_export int PQconnectPoll(struct pg_conn *conn)
{
	ATR_ENTER_LIBPQ(ATR_PG_POLLING_FAILED, conn, PQconnectPoll, conn);
	struct atr_pgconn *pg = atr_dial_step(conn);

	return polled(pq, conn, pg, pq->PQconnectPoll(conn));
}

atr_export int PQresetPoll(struct pg_conn *conn)
{
	ATR_ENTER_LIBPQ(ATR_PG_POLLING_FAILED, conn, PQresetPoll, conn);
	struct atr_pgconn *pg = atr_dial_step(conn);

	return polled(pq, conn, pg, pq->PQresetPoll(conn));
}

/* The connection is about to be closed: what is still awaited is over. */
static void close_begin(const struct atr_libpq *pq, struct pg_conn *conn, bool forget)
{
	int saved_errno = errno;
	struct atr_pgconn *pg = atr_libpq_known(conn);

	if (pg) {
		if (pg->dialling)
			atr_libpq_keep_attrs(pq, conn, pg);
		atr_dial_given_up(pg);
		atr_libpq_settle(pg, is_good(pq, conn) ? "cancelled" : "connection_lost");
		if (forget)
			atr_pgconn_forget(pg); /* releasing frees it */
		atr_libpq_release(pg);
	}
	errno = saved_errno;
}

atr_export void PQreset(struct pg_conn *conn)
{
	ATR_ENTER_LIBPQ(, conn, PQreset, conn);
	ATR_DIALLING(op);
	close_begin(pq, conn, false);
	pq->PQreset(conn);
	(void)connected(pq, &op, conn);
}

atr_export int PQresetStart(struct pg_conn *conn)
{
	ATR_ENTER_LIBPQ(0, conn, PQresetStart, conn);
	ATR_DIALLING(op);
	int ret;

	close_begin(pq, conn, false);
	ret = pq->PQresetStart(conn);
	started(pq, &op, conn);
	return ret;
}

atr_export void PQfinish(struct pg_conn *conn)
{
	ATR_ENTER_LIBPQ(, conn, PQfinish, conn);
	close_begin(pq, conn, true);
	pq->PQfinish(conn);
}

/* ---- is it there? ---- */

static int pinged(struct atr_op *op, int ret)
{
	static const char *const errors[] = {
		[ATR_PG_PING_OK] = NULL,
		[ATR_PG_PING_REJECT] = "rejected",
		[ATR_PG_PING_NO_RESPONSE] = "no_response",
		[ATR_PG_PING_NO_ATTEMPT] = "not_attempted",
	};
	const char *error = (unsigned)ret < ATR_ARRAY_LEN(errors) ? errors[ret] : "_OTHER";

	if (ret == ATR_PG_PING_NO_RESPONSE && atr_tls.connect_error)
		error = atr_tls.connect_error;
	atr_dialled(op, "ping", NULL, error);
	return ret;
}

atr_export int PQping(const char *conninfo)
{
	ATR_ENTER_LIBPQ(ATR_PG_PING_NO_ATTEMPT, NULL, PQping, conninfo);
	ATR_DIALLING(op);
	return pinged(&op, pq->PQping(conninfo));
}

atr_export int PQpingParams(const char *const *keywords, const char *const *values,
			    int expand_dbname)
{
	ATR_ENTER_LIBPQ(ATR_PG_PING_NO_ATTEMPT, NULL, PQpingParams, keywords, values,
			expand_dbname);
	ATR_DIALLING(op);
	return pinged(&op, pq->PQpingParams(keywords, values, expand_dbname));
}
