/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libpq: what results say about the statement they belong to.
 *
 * Warnings reach the program by its notice processor, not by a result, and of an error in a
 * large object no result is handed out.  But libpq asks each of them for its severity when
 * it comes, through the PLT: there the SQLSTATE is read, and nothing is installed.
 */
#include <string.h>

#include "hooks/hook.h"
#include "hooks/libpq.h"
#include "hooks/pg-span.h"
#include "hooks/pg3.h"

static void note_tag(const struct atr_libpq *pq, struct atr_pgoutcome *o, struct pg_result *res,
		     bool has_rows)
{
	const char *tag = atr_libpq_text(pq->PQcmdStatus ? pq->PQcmdStatus(res) : NULL);
	uint64_t n;

	switch (atr_pg3_tag((struct atr_slice){ tag, strlen(tag) + 1 }, &n)) {
	case ATR_PG3_SELECTED:
		if (!has_rows) /* into a new table */
			atr_pg_add(&o->affected, n);
		break;
	case ATR_PG3_CHANGED:
		atr_pg_add(&o->affected, n);
		break;
	case ATR_PG3_COPIED:
		atr_pg_add(&o->copied_rows, n);
		break;
	default:
		break;
	}
}

void atr_libpq_copy_state(char to[static 6], const char *sqlstate)
{
	size_t n = strnlen(sqlstate, 5);

	memcpy(to, sqlstate, n);
	to[n] = '\0';
}

/* Of an error that the server did not tell. */
const char *atr_libpq_client_error(const struct atr_libpq *pq, const struct pg_conn *conn)
{
	return pq->PQstatus(conn) == ATR_PG_CONNECTION_BAD ? "connection_lost" : "_OTHER";
}

static void note_failure(const struct atr_libpq *pq, const struct pg_conn *conn,
			 struct atr_pgoutcome *o, const struct pg_result *res)
{
	const char *sqlstate = res ? pq->PQresultErrorField(res, ATR_PG_DIAG_SQLSTATE) : NULL;

	if (sqlstate) {
		o->failed = true;
		atr_libpq_copy_state(o->sqlstate, sqlstate);
	} else if (!o->failed) /* else it is what comes of that */
		o->error = atr_libpq_client_error(pq, conn);
}

void atr_libpq_note(const struct atr_libpq *pq, struct pg_conn *conn, struct atr_pgconn *pg,
		    struct atr_pgoutcome *o, struct pg_result *res)
{
	int status = res ? pq->PQresultStatus(res) : ATR_PGRES_FATAL_ERROR;

	o->answered = o->complete = true;
	switch (status) {
	case ATR_PGRES_SINGLE_TUPLE:
	case ATR_PGRES_TUPLES_CHUNK:
		o->complete = false;
		atr_pg_add(&o->returned, (uint64_t)pq->PQntuples(res));
		break;
	case ATR_PGRES_TUPLES_OK:
		atr_pg_add(&o->returned, (uint64_t)pq->PQntuples(res));
		note_tag(pq, o, res, true); /* ... RETURNING */
		break;
	case ATR_PGRES_COMMAND_OK:
		note_tag(pq, o, res, false);
		break;
	case ATR_PGRES_COPY_IN:
	case ATR_PGRES_COPY_OUT:
	case ATR_PGRES_COPY_BOTH:
		o->complete = false;
		atr_pg_add(&o->copied_bytes, 0);
		break;
	case ATR_PGRES_PIPELINE_ABORTED:
		o->error = "pipeline_aborted";
		break;
	case ATR_PGRES_BAD_RESPONSE:
		o->error = "bad_response";
		break;
	case ATR_PGRES_FATAL_ERROR:
		note_failure(pq, conn, o, res);
		break;
	default:
		break;
	}
	if (pg->warning[0] && !o->sqlstate[0])
		atr_libpq_copy_state(o->sqlstate, pg->warning);
	pg->warning[0] = '\0';
}

void atr_libpq_note_transaction(const struct atr_libpq *pq, const struct pg_conn *conn,
				struct atr_pgoutcome *o)
{
	int status = pq->PQtransactionStatus ? pq->PQtransactionStatus(conn) : 0;

	o->status = status == ATR_PG_TRANS_INTRANS   ? "in_transaction"
		    : status == ATR_PG_TRANS_INERROR ? "failed"
						     : NULL;
}

/*
 * libpq makes the text of an error or a notice when it comes, and for that it asks for the
 * fields; so does a notice receiver of the program's.
 */
static void note_message(const struct atr_libpq *pq, const struct pg_result *res)
{
	const void *conn = atr_tls.library_object;
	struct atr_pgconn *pg = conn ? atr_pgconn_find(conn) : NULL;
	int status = pg ? pq->PQresultStatus(res) : ATR_PGRES_EMPTY_QUERY;
	const char *severity, *sqlstate;

	if (status != ATR_PGRES_NONFATAL_ERROR && status != ATR_PGRES_FATAL_ERROR)
		return;
	sqlstate = pq->PQresultErrorField(res, ATR_PG_DIAG_SQLSTATE);
	if (!sqlstate)
		return;
	if (status == ATR_PGRES_FATAL_ERROR) {
		atr_libpq_copy_state(pg->failure, sqlstate);
		return;
	}
	severity = pq->PQresultErrorField(res, ATR_PG_DIAG_SEVERITY_NONLOCALIZED);
	if (severity && strcmp(severity, "WARNING") == 0)
		atr_libpq_copy_state(pg->warning, sqlstate);
}

atr_export char *PQresultErrorField(const struct pg_result *res, int fieldcode)
{
	const struct atr_libpq *pq = atr_real_libpq(__builtin_return_address(0));

	if (atr_unlikely(!pq->PQresultErrorField))
		return NULL;
	if (atr_tls.inside & ATR_IN_LIBPQ && fieldcode == ATR_PG_DIAG_SEVERITY && res && atr_live())
		note_message(pq, res);
	return pq->PQresultErrorField(res, fieldcode);
}
