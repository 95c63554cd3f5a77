/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libpq: COPY.  Its data goes by in calls of their own, its results come after it; all of
 * it is one statement, which counts the bytes.  The rows are what the server says at
 * the end.  PQputline(), PQputnbytes() and PQgetline() are built from the calls here and
 * reach them through the PLT.
 */
#include <errno.h>

#include "hooks/hook.h"
#include "hooks/libpq.h"
#include "preload/clock.h"
#include "preload/config.h"

/* A call that moves data of the COPY that is under way. */
struct copy {
	struct atr_pgconn *pg;
	struct atr_pgstmt *s; /* NULL: none is */
};

static struct copy copy_begin(const struct pg_conn *conn)
{
	struct copy c = { .pg = atr_libpq_known(conn) };

	c.s = c.pg ? atr_pgqueue_first(&c.pg->queue) : NULL;
	if (c.s && c.s->outcome.copied_bytes < 0)
		c.s = NULL;
	if (c.s && atr_unlikely(atr_config.socket_spans == ATR_SOCKET_SPANS_ALL))
		atr_op_enter(&c.s->op);
	return c;
}

static void copy_end(struct copy *c)
{
	if (c->s)
		atr_op_leave(&c->s->op);
	if (c->pg)
		atr_libpq_release(c->pg);
}

#define COPYING(conn) __attribute__((cleanup(copy_end), unused)) struct copy copy = copy_begin(conn)

static void moved(const struct copy *c, int n_bytes)
{
	if (c->s && n_bytes > 0)
		c->s->outcome.copied_bytes += n_bytes;
}

atr_export int PQputCopyData(struct pg_conn *conn, const char *buffer, int n_bytes)
{
	ATR_ENTER_LIBPQ(-1, conn, PQputCopyData, conn, buffer, n_bytes);
	COPYING(conn);
	int ret = pq->PQputCopyData(conn, buffer, n_bytes);

	if (ret == 1)
		moved(&copy, n_bytes);
	return ret;
}

atr_export int PQputCopyEnd(struct pg_conn *conn, const char *errormsg)
{
	ATR_ENTER_LIBPQ(-1, conn, PQputCopyEnd, conn, errormsg);
	COPYING(conn);
	return pq->PQputCopyEnd(conn, errormsg);
}

atr_export int PQgetCopyData(struct pg_conn *conn, char **buffer, int async)
{
	ATR_ENTER_LIBPQ(-2, conn, PQgetCopyData, conn, buffer, async);
	COPYING(conn);
	int ret = pq->PQgetCopyData(conn, buffer, async);

	moved(&copy, ret);
	return ret;
}

atr_export int PQgetlineAsync(struct pg_conn *conn, char *buffer, int bufsize)
{
	ATR_ENTER_LIBPQ(-1, conn, PQgetlineAsync, conn, buffer, bufsize);
	COPYING(conn);
	int ret = pq->PQgetlineAsync(conn, buffer, bufsize);

	moved(&copy, ret);
	return ret;
}

/*
 * The result is fetched inside, by PQgetResult() through the PLT, and not handed out: so
 * libpq is not entered here, and that call is taken for the program's.
 */
atr_export int PQendcopy(struct pg_conn *conn)
{
	const struct atr_libpq *pq = atr_real_libpq(__builtin_return_address(0));
	struct atr_pgconn *pg;
	struct atr_pgstmt *s;
	int ret, saved_errno;

	if (atr_unlikely(!pq->PQendcopy))
		return 1;
	ret = pq->PQendcopy(conn);
	saved_errno = errno;
	if (atr_unlikely(!atr_live()) || !(pg = atr_libpq_known(conn)))
		return ret;
	s = atr_pgqueue_first(&pg->queue);
	if (s && s->outcome.copied_bytes >= 0 && (ret == 0 || s->outcome.complete)) {
		s->outcome.complete = true;
		s->op.end = atr_now();
		atr_libpq_note_transaction(pq, conn, &s->outcome);
		atr_libpq_settle_first(pg, "_OTHER");
	}
	atr_libpq_release(pg);
	errno = saved_errno;
	return ret;
}
