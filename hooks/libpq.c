/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libpq: the calls that send a statement and return its result.
 *
 * They are built from those that only send and from PQgetResult(), and reach them
 * through the PLT: ATR_ENTER_LIBPQ keeps that from becoming several spans.
 */
#include "hooks/libpq.h"

#include "hooks/hook.h"
#include "hooks/pgprepared.h"
#include "preload/text.h"

static bool succeeded(const struct atr_libpq *pq, const struct pg_result *res)
{
	return res && pq->PQresultStatus(res) == ATR_PGRES_COMMAND_OK;
}

atr_export struct pg_result *PQexec(struct pg_conn *conn, const char *query)
{
	ATR_ENTER_LIBPQ(NULL, conn, PQexec, conn, query);
	ATR_LIBPQ_CALL(.kind = ATR_LIBPQ_SIMPLE, .text = query);
	query = atr_libpq_commented(&call, query);
	return atr_libpq_finish(&call, pq->PQexec(conn, query));
}

atr_export struct pg_result *PQexecParams(struct pg_conn *conn, const char *command, int n_params,
					  const unsigned *types, const char *const *values,
					  const int *lengths, const int *formats, int result_format)
{
	ATR_ENTER_LIBPQ(NULL, conn, PQexecParams, conn, command, n_params, types, values, lengths,
			formats, result_format);
	ATR_LIBPQ_CALL(.kind = n_params > 0 ? ATR_LIBPQ_PARAMS : ATR_LIBPQ_SIMPLE, .text = command);
	command = atr_libpq_commented(&call, command);
	return atr_libpq_finish(&call, pq->PQexecParams(conn, command, n_params, types, values,
							lengths, formats, result_format));
}

atr_export struct pg_result *PQprepare(struct pg_conn *conn, const char *name, const char *query,
				       int n_params, const unsigned *types)
{
	ATR_ENTER_LIBPQ(NULL, conn, PQprepare, conn, name, query, n_params, types);
	ATR_LIBPQ_CALL(.kind = ATR_LIBPQ_PREPARE, .text = query);
	struct pg_result *res = pq->PQprepare(conn, name, query, n_params, types);

	/* Kept for the executions to come; the span's own summary says that it was prepared. */
	if (call.pg && succeeded(pq, res))
		(void)atr_pgprepared_remember(call.pg, name, &call.pg->text);
	if (call.pg)
		atr_pgconn_prefix(&call.pg->text, "PREPARE");
	return atr_libpq_finish(&call, res);
}

atr_export struct pg_result *PQexecPrepared(struct pg_conn *conn, const char *name, int n_params,
					    const char *const *values, const int *lengths,
					    const int *formats, int result_format)
{
	ATR_ENTER_LIBPQ(NULL, conn, PQexecPrepared, conn, name, n_params, values, lengths, formats,
			result_format);
	ATR_LIBPQ_CALL(.kind = ATR_LIBPQ_PREPARED, .text = name);
	return atr_libpq_finish(&call, pq->PQexecPrepared(conn, name, n_params, values, lengths,
							  formats, result_format));
}

atr_export struct pg_result *PQdescribePrepared(struct pg_conn *conn, const char *name)
{
	ATR_ENTER_LIBPQ(NULL, conn, PQdescribePrepared, conn, name);
	ATR_LIBPQ_CALL(.kind = ATR_LIBPQ_PREPARED, .text = name, .word = "DESCRIBE");
	return atr_libpq_finish(&call, pq->PQdescribePrepared(conn, name));
}

atr_export struct pg_result *PQdescribePortal(struct pg_conn *conn, const char *portal)
{
	ATR_ENTER_LIBPQ(NULL, conn, PQdescribePortal, conn, portal);
	ATR_LIBPQ_CALL(.kind = ATR_LIBPQ_NONE, .word = "DESCRIBE");
	return atr_libpq_finish(&call, pq->PQdescribePortal(conn, portal));
}

atr_export struct pg_result *PQclosePrepared(struct pg_conn *conn, const char *name)
{
	ATR_ENTER_LIBPQ(NULL, conn, PQclosePrepared, conn, name);
	ATR_LIBPQ_CALL(.kind = ATR_LIBPQ_PREPARED, .text = name, .word = "CLOSE");
	struct pg_result *res = pq->PQclosePrepared(conn, name);

	if (call.pg && succeeded(pq, res))
		atr_pgprepared_forget(call.pg, atr_libpq_text(name));
	return atr_libpq_finish(&call, res);
}

atr_export struct pg_result *PQclosePortal(struct pg_conn *conn, const char *portal)
{
	ATR_ENTER_LIBPQ(NULL, conn, PQclosePortal, conn, portal);
	ATR_LIBPQ_CALL(.kind = ATR_LIBPQ_NONE, .word = "CLOSE");
	return atr_libpq_finish(&call, pq->PQclosePortal(conn, portal));
}

/* ---- functions by their number ---- */

atr_export struct pg_result *PQfn(struct pg_conn *conn, int fnid, int *result_buf, int *result_len,
				  int result_is_int, const void *args, int n_args)
{
	ATR_ENTER_LIBPQ(NULL, conn, PQfn, conn, fnid, result_buf, result_len, result_is_int, args,
			n_args);
	ATR_LIBPQ_CALL(.kind = ATR_LIBPQ_NONE, .leaves = true);
	if (call.op.recording) { /* which function it is only the server's catalogue says */
		struct atr_pgtext *t = &call.pg->text;

		call.function = true;
		t->summary_len = atr_format(t->summary, sizeof(t->summary), "%u", (unsigned)fnid);
	}
	return atr_libpq_finish(
		&call, pq->PQfn(conn, fnid, result_buf, result_len, result_is_int, args, n_args));
}
