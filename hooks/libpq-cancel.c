/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libpq: asking the server to cancel a statement is one CLIENT span, "cancel": a
 * connection of its own is made for it.  PQcancel() is told an address only, so its span
 * does not name the database; the "socket connect" below it says which server it was.
 * It may be called in a signal handler.
 */
#include <errno.h>
#include <string.h>

#include "hooks/hook.h"
#include "hooks/libpq-connect.h"
#include "hooks/libpq.h"

atr_export int PQcancel(struct pg_cancel *cancel, char *errbuf, int errbufsize)
{
	ATR_ENTER_LIBPQ(0, NULL, PQcancel, cancel, errbuf, errbufsize);
	ATR_DIALLING(op);
	int ret = pq->PQcancel(cancel, errbuf, errbufsize);

	atr_dialled(&op, "cancel", NULL, ret ? NULL : atr_dial_error());
	return ret;
}

atr_export int PQrequestCancel(struct pg_conn *conn)
{
	ATR_ENTER_LIBPQ(0, conn, PQrequestCancel, conn);
	ATR_DIALLING(op);
	int ret = pq->PQrequestCancel(conn);
	int saved_errno = errno;
	struct atr_pgconn *pg = atr_libpq_known(conn);

	if (pg)
		atr_libpq_keep_attrs(pq, conn, pg);
	atr_dialled(&op, "cancel", pg, ret ? NULL : atr_dial_error());
	if (pg)
		atr_libpq_release(pg);
	errno = saved_errno;
	return ret;
}

/* ---- libpq 17: a cancellation is an object like a connection ---- */

atr_export struct pg_cancel_conn *PQcancelCreate(struct pg_conn *conn)
{
	ATR_ENTER_LIBPQ(NULL, conn, PQcancelCreate, conn);
	struct pg_cancel_conn *cancel = pq->PQcancelCreate(conn);
	int saved_errno = errno;
	struct atr_pgconn *of = cancel ? atr_libpq_known(conn) : NULL;
	struct atr_pgconn *pg = of ? atr_libpq_hold(cancel) : NULL;

	if (pg) {
		atr_libpq_keep_attrs(pq, conn, of);
		pg->attrs_len = of->attrs_len;
		memcpy(pg->attrs, of->attrs, of->attrs_len);
		memcpy(pg->fallback, of->fallback, sizeof(pg->fallback));
		atr_libpq_release(pg);
	}
	if (of)
		atr_libpq_release(of);
	errno = saved_errno;
	return cancel;
}

/* A cancellation has been sent, begun or refused. */
static int asked(struct atr_op *op, struct pg_cancel_conn *cancel, int ret, bool goes_on)
{
	int saved_errno = errno;
	struct atr_pgconn *pg = atr_libpq_known(cancel);

	if (ret && goes_on)
		atr_dial_on(op, "cancel", pg);
	else
		atr_dialled(op, "cancel", pg, ret ? NULL : atr_dial_error());
	if (pg)
		atr_libpq_release(pg);
	errno = saved_errno;
	return ret;
}

atr_export int PQcancelBlocking(struct pg_cancel_conn *cancel)
{
	ATR_ENTER_LIBPQ(0, cancel, PQcancelBlocking, cancel);
	ATR_DIALLING(op);
	return asked(&op, cancel, pq->PQcancelBlocking(cancel), false);
}

atr_export int PQcancelStart(struct pg_cancel_conn *cancel)
{
	ATR_ENTER_LIBPQ(0, cancel, PQcancelStart, cancel);
	ATR_DIALLING(op);
	return asked(&op, cancel, pq->PQcancelStart(cancel), true);
}

atr_export int PQcancelPoll(struct pg_cancel_conn *cancel)
{
	ATR_ENTER_LIBPQ(ATR_PG_POLLING_FAILED, cancel, PQcancelPoll, cancel);
	struct atr_pgconn *pg = atr_dial_step(cancel);
	int ret = pq->PQcancelPoll(cancel);

	atr_dial_stepped(pg, atr_dial_went(ret));
	return ret;
}

static void over(struct pg_cancel_conn *cancel, bool gone)
{
	int saved_errno = errno;
	struct atr_pgconn *pg = atr_libpq_known(cancel);

	if (pg) {
		atr_dial_given_up(pg);
		if (gone)
			atr_pgconn_forget(pg); /* releasing frees it */
		atr_libpq_release(pg);
	}
	errno = saved_errno;
}

atr_export void PQcancelReset(struct pg_cancel_conn *cancel)
{
	ATR_ENTER_LIBPQ(, cancel, PQcancelReset, cancel);
	over(cancel, false);
	pq->PQcancelReset(cancel);
}

atr_export void PQcancelFinish(struct pg_cancel_conn *cancel)
{
	ATR_ENTER_LIBPQ(, cancel, PQcancelFinish, cancel);
	over(cancel, true);
	pq->PQcancelFinish(cancel);
}
