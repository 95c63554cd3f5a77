/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libpq: the calls that only send, those that wait, and PQgetResult().
 *
 * In pipeline mode the results come in the order in which the statements were sent:
 * those of one statement, then NULL; a synchronisation point is one result, without a
 * NULL.  So the queue holds the points as well.
 */
#include <errno.h>

#include "hooks/hook.h"
#include "hooks/libpq.h"
#include "hooks/pgprepared.h"
#include "preload/clock.h"
#include "preload/config.h"
#include "preload/stats.h"

/* ---- sending ---- */

atr_export int PQsendQuery(struct pg_conn *conn, const char *query)
{
	ATR_ENTER_LIBPQ(0, conn, PQsendQuery, conn, query);
	ATR_LIBPQ_CALL(.kind = ATR_LIBPQ_SIMPLE, .text = query, .leaves = true);
	query = atr_libpq_commented(&call, query);
	return atr_libpq_park(&call, pq->PQsendQuery(conn, query));
}

atr_export int PQsendQueryParams(struct pg_conn *conn, const char *command, int n_params,
				 const unsigned *types, const char *const *values,
				 const int *lengths, const int *formats, int result_format)
{
	ATR_ENTER_LIBPQ(0, conn, PQsendQueryParams, conn, command, n_params, types, values, lengths,
			formats, result_format);
	ATR_LIBPQ_CALL(.kind = n_params > 0 ? ATR_LIBPQ_PARAMS : ATR_LIBPQ_SIMPLE, .text = command,
		       .leaves = true);
	command = atr_libpq_commented(&call, command);
	return atr_libpq_park(&call, pq->PQsendQueryParams(conn, command, n_params, types, values,
							   lengths, formats, result_format));
}

atr_export int PQsendPrepare(struct pg_conn *conn, const char *name, const char *query,
			     int n_params, const unsigned *types)
{
	ATR_ENTER_LIBPQ(0, conn, PQsendPrepare, conn, name, query, n_params, types);
	ATR_LIBPQ_CALL(.kind = ATR_LIBPQ_PREPARE, .text = query, .leaves = true);
	int sent = pq->PQsendPrepare(conn, name, query, n_params, types);

	/* In a pipeline it is executed before its result is there; should it fail, that is undone.
	 */
	if (call.pg && sent)
		call.prepared = atr_pgprepared_remember(call.pg, name, &call.pg->text);
	if (call.pg)
		atr_pgconn_prefix(&call.pg->text, "PREPARE");
	return atr_libpq_park(&call, sent);
}

atr_export int PQsendQueryPrepared(struct pg_conn *conn, const char *name, int n_params,
				   const char *const *values, const int *lengths,
				   const int *formats, int result_format)
{
	ATR_ENTER_LIBPQ(0, conn, PQsendQueryPrepared, conn, name, n_params, values, lengths,
			formats, result_format);
	ATR_LIBPQ_CALL(.kind = ATR_LIBPQ_PREPARED, .text = name, .leaves = true);
	return atr_libpq_park(&call, pq->PQsendQueryPrepared(conn, name, n_params, values, lengths,
							     formats, result_format));
}

atr_export int PQsendDescribePrepared(struct pg_conn *conn, const char *name)
{
	ATR_ENTER_LIBPQ(0, conn, PQsendDescribePrepared, conn, name);
	ATR_LIBPQ_CALL(.kind = ATR_LIBPQ_PREPARED, .text = name, .word = "DESCRIBE",
		       .leaves = true);
	return atr_libpq_park(&call, pq->PQsendDescribePrepared(conn, name));
}

atr_export int PQsendDescribePortal(struct pg_conn *conn, const char *portal)
{
	ATR_ENTER_LIBPQ(0, conn, PQsendDescribePortal, conn, portal);
	ATR_LIBPQ_CALL(.kind = ATR_LIBPQ_NONE, .word = "DESCRIBE", .leaves = true);
	return atr_libpq_park(&call, pq->PQsendDescribePortal(conn, portal));
}

atr_export int PQsendClosePrepared(struct pg_conn *conn, const char *name)
{
	ATR_ENTER_LIBPQ(0, conn, PQsendClosePrepared, conn, name);
	ATR_LIBPQ_CALL(.kind = ATR_LIBPQ_PREPARED, .text = name, .word = "CLOSE", .leaves = true);
	int sent = pq->PQsendClosePrepared(conn, name);

	if (call.pg && sent)
		atr_pgprepared_forget(call.pg, atr_libpq_text(name));
	return atr_libpq_park(&call, sent);
}

atr_export int PQsendClosePortal(struct pg_conn *conn, const char *portal)
{
	ATR_ENTER_LIBPQ(0, conn, PQsendClosePortal, conn, portal);
	ATR_LIBPQ_CALL(.kind = ATR_LIBPQ_NONE, .word = "CLOSE", .leaves = true);
	return atr_libpq_park(&call, pq->PQsendClosePortal(conn, portal));
}

/* ---- what is awaited ---- */

/*
 * A call that waits, reads or writes for the oldest statement: below it are the raw
 * socket spans, where they are wanted; else there is nothing to be done.
 */
struct waiting {
	struct atr_pgconn *pg;
	struct atr_pgstmt *first; /* NULL: nothing is awaited */
};

static struct waiting wait_begin(const struct pg_conn *conn)
{
	struct waiting w = { NULL, NULL };

	if (atr_likely(atr_config.socket_spans != ATR_SOCKET_SPANS_ALL))
		return w;
	w.pg = atr_libpq_known(conn);
	w.first = w.pg ? atr_pgqueue_first(&w.pg->queue) : NULL;
	if (w.first)
		atr_op_enter(&w.first->op);
	return w;
}

static void wait_end(struct waiting *w)
{
	if (w->first)
		atr_op_leave(&w->first->op);
	if (w->pg)
		atr_libpq_release(w->pg);
}

#define WAITING(conn) \
	__attribute__((cleanup(wait_end), unused)) struct waiting waiting = wait_begin(conn)

/* They call nothing of the program's: without raw spans libpq need not be entered. */
#define PASS_UNLESS_RAW(name, none)                                                        \
	if (atr_likely(atr_config.socket_spans != ATR_SOCKET_SPANS_ALL)) {                 \
		const struct atr_libpq *lib = atr_real_libpq(__builtin_return_address(0)); \
		return atr_likely(lib->name) ? lib->name(conn) : (none);                   \
	}

atr_export int PQconsumeInput(struct pg_conn *conn)
{
	PASS_UNLESS_RAW(PQconsumeInput, 0)
	ATR_ENTER_LIBPQ(0, conn, PQconsumeInput, conn);
	WAITING(conn);
	return pq->PQconsumeInput(conn);
}

atr_export int PQflush(struct pg_conn *conn)
{
	PASS_UNLESS_RAW(PQflush, -1)
	ATR_ENTER_LIBPQ(-1, conn, PQflush, conn);
	WAITING(conn);
	return pq->PQflush(conn);
}

/* It reads what has come: the program's notice processor may be called. */
atr_export int PQisBusy(struct pg_conn *conn)
{
	ATR_ENTER_LIBPQ(0, conn, PQisBusy, conn);
	WAITING(conn);
	return pq->PQisBusy(conn);
}

/* ---- pipelines ---- */

static int synced(const struct pg_conn *conn, struct waiting *w, int sent)
{
	int saved_errno = errno;
	struct atr_pgconn *pg;
	struct atr_pgstmt *s;

	wait_end(w);
	pg = sent ? atr_libpq_known(conn) : NULL;
	if (pg) {
		s = atr_pgqueue_push(&pg->queue, 0, true);
		if (s)
			atr_op_none(&s->op);
		atr_libpq_release(pg);
	}
	errno = saved_errno;
	return sent;
}

atr_export int PQpipelineSync(struct pg_conn *conn)
{
	ATR_ENTER_LIBPQ(0, conn, PQpipelineSync, conn);
	struct waiting w = wait_begin(conn);

	return synced(conn, &w, pq->PQpipelineSync(conn));
}

atr_export int PQsendPipelineSync(struct pg_conn *conn)
{
	ATR_ENTER_LIBPQ(0, conn, PQsendPipelineSync, conn);
	struct waiting w = wait_begin(conn);

	return synced(conn, &w, pq->PQsendPipelineSync(conn));
}

atr_export int PQexitPipelineMode(struct pg_conn *conn)
{
	ATR_ENTER_LIBPQ(0, conn, PQexitPipelineMode, conn);
	int ret = pq->PQexitPipelineMode(conn);
	int saved_errno = errno;
	struct atr_pgconn *pg = ret ? atr_libpq_known(conn) : NULL;

	if (pg) {
		atr_libpq_settle(pg, "cancelled"); /* nothing is awaited any more */
		atr_pgqueue_shrink(&pg->queue);
		atr_libpq_release(pg);
	}
	errno = saved_errno;
	return ret;
}

/* The server has come to a synchronisation point; what was sent before it is over. */
static void passed_sync(struct atr_pgconn *pg)
{
	struct atr_pgqueue *q = &pg->queue;
	struct atr_pgstmt *s;

	while ((s = atr_pgqueue_first(q))) {
		bool sync = s->sync;

		atr_libpq_settle_first(pg, "_OTHER");
		if (sync)
			return;
	}
	q->gap_syncs -= q->gap_syncs > 0;
}

/* A result was handed out. */
static void got(const struct atr_libpq *pq, struct pg_conn *conn, struct atr_pgconn *pg,
		struct pg_result *res)
{
	struct atr_pgstmt *s = atr_pgqueue_first(&pg->queue);

	if (pq->PQresultStatus(res) == ATR_PGRES_PIPELINE_SYNC) {
		passed_sync(pg);
	} else if (s && !s->sync) {
		atr_libpq_note(pq, conn, pg, &s->outcome, res);
		if (s->outcome.complete)
			s->op.end = atr_now(); /* so far it has lasted */
	} else if (!s) {
		pg->queue.gap_answered = true;
	}
}

/* NULL was: the statement that had results has no more. */
static void got_all(const struct atr_libpq *pq, struct pg_conn *conn, struct atr_pgconn *pg)
{
	struct atr_pgqueue *q = &pg->queue;
	struct atr_pgstmt *s = atr_pgqueue_first(q);

	if (!s) {
		q->gap -= q->gap && q->gap_answered;
		q->gap_answered = false;
	} else if (!s->sync && (s->outcome.answered || !atr_libpq_pipelining(pq, conn))) {
		atr_libpq_note_transaction(pq, conn, &s->outcome);
		atr_libpq_settle_first(pg, "cancelled");
	}
}

atr_export struct pg_result *PQgetResult(struct pg_conn *conn)
{
	ATR_ENTER_LIBPQ(NULL, conn, PQgetResult, conn);
	struct atr_pgconn *pg = atr_libpq_known(conn);
	struct atr_pgstmt *s = pg ? atr_pgqueue_first(&pg->queue) : NULL;
	struct pg_result *res;
	int saved_errno;

	if (!pg || (!s && !pg->queue.gap && !pg->queue.gap_syncs)) {
		if (pg)
			atr_libpq_release(pg);
		return pq->PQgetResult(conn);
	}
	if (s)
		atr_op_enter(&s->op);
	res = pq->PQgetResult(conn);
	saved_errno = errno;
	if (s)
		atr_op_leave(&s->op);
	if (res)
		got(pq, conn, pg, res);
	else
		got_all(pq, conn, pg);
	atr_libpq_release(pg);
	errno = saved_errno;
	return res;
}
