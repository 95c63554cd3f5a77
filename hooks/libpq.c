/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libpq: a PostgreSQL statement is one CLIENT span, from the call that sends its
 * text to the call that hands back its result.  (Connections: libpq-connect.c.)
 *
 * A synchronous call keeps its op on the stack.  PQsendQuery() and its kin park
 * theirs in the connection; each PQgetResult() that hands out a result moves the
 * end forward, and the one that hands out NULL makes the span.  PQexec() is built
 * from those and reaches them through the PLT: ATR_ENTER_LIBPQ keeps that from
 * becoming three spans.
 *
 * What is kept per connection hangs on its socket's struct atr_conn: the parked
 * op, the constant attributes in wire form, the texts of prepared statements
 * (hooks/pgconn.c).  Semantic conventions: "PostgreSQL client operations".
 */
#include "hooks/libpq.h"

#include <errno.h>
#include <string.h>

#include "hooks/hook.h"
#include "hooks/pgconn.h"
#include "preload/clock.h"
#include "preload/conn.h"
#include "preload/stats.h"

/* ---- a statement's end ---- */

struct outcome {
	const char *sqlstate; /* NULL: none */
	const char *error;    /* error.type; NULL: success */
};

static struct outcome outcome_of(const struct atr_libpq *pq, const struct pg_conn *conn,
				 const struct pg_result *res)
{
	int status = res ? pq->PQresultStatus(res) : ATR_PGRES_FATAL_ERROR;
	struct outcome o = { NULL, NULL };

	if (res && (status == ATR_PGRES_FATAL_ERROR || status == ATR_PGRES_NONFATAL_ERROR))
		o.sqlstate = pq->PQresultErrorField(res, ATR_PG_DIAG_SQLSTATE);
	if (status == ATR_PGRES_BAD_RESPONSE)
		o.error = "bad_response";
	else if (status != ATR_PGRES_FATAL_ERROR)
		o.error = NULL;
	else if (o.sqlstate)
		o.error = o.sqlstate;
	else
		o.error =
			pq->PQstatus(conn) == ATR_PG_CONNECTION_BAD ? "connection_lost" : "_OTHER";
	return o;
}

static void statement_span(struct atr_op *op, const struct atr_pgconn *pg,
			   const struct atr_pgtext *t, const struct outcome *o)
{
	const char *name = t->summary_len ? t->summary : pg->fallback;
	struct atr_span span;

	if (!atr_op_end(op, &span, name, t->summary_len ? t->summary_len : strlen(name)))
		return;
	atr_pb_raw(&span.pb, pg->attrs, pg->attrs_len);
	if (t->len)
		atr_attr_utf8(&span.pb, ATR_DB_QUERY_TEXT, t->text, t->len);
	if (t->summary_len)
		atr_attr_utf8(&span.pb, ATR_DB_QUERY_SUMMARY, t->summary, t->summary_len);
	if (o->sqlstate)
		atr_attr_str(&span.pb, ATR_DB_RESPONSE_STATUS_CODE, o->sqlstate,
			     strlen(o->sqlstate));
	if (o->error)
		atr_span_error(&span, o->error, strlen(o->error));
	atr_span_commit(&span);
}

/* ---- the connection behind a PGconn ---- */

static void free_pgconn(void *library);

struct atr_pgconn *atr_libpq_conn(const struct atr_libpq *pq, struct pg_conn *conn)
{
	struct atr_conn *c;
	int fd = conn && pq->PQsocket ? pq->PQsocket(conn) : -1;

	c = fd >= 0 ? atr_conn_get(fd) : NULL;
	if (!c)
		return NULL;
	if (atr_unlikely(!c->library)) {
		struct atr_pgconn *pg = atr_pgconn_new();

		if (pg)
			pg->attached = true;
		c->library = pg;
		c->library_free = free_pgconn;
		c->speaker = ATR_SPEAKER_LIBPQ;
	}
	return c->library;
}

void atr_libpq_attrs(const struct atr_libpq *pq, struct pg_conn *conn, struct atr_pb *pb)
{
	const char *db = atr_libpq_text(pq->PQdb ? pq->PQdb(conn) : NULL);
	const char *host = atr_libpq_text(pq->PQhost ? pq->PQhost(conn) : NULL);
	const char *port = atr_libpq_text(pq->PQport ? pq->PQport(conn) : NULL);
	int fd = pq->PQsocket(conn);
	struct atr_conn *c = fd >= 0 ? atr_conn_get(fd) : NULL;
	char path[ATR_PEER_TEXT_MAX];

	atr_attr_utf8(pb, ATR_DB_SYSTEM_NAME, "postgresql", 10);
	if (*db)
		atr_attr_str(pb, ATR_DB_NAMESPACE, db, strlen(db));
	if (*host == '/' && c) /* a directory of sockets: the socket itself says more */
		atr_attr_str(pb, ATR_SERVER_ADDRESS, path, atr_conn_peer_text(c, path));
	else if (*host)
		atr_attr_str(pb, ATR_SERVER_ADDRESS, host, strlen(host));
	/* Semantic conventions: only a port that is not the system's default. */
	if (*host && *host != '/' && *port && strcmp(port, "5432") != 0)
		atr_attr_int(pb, ATR_SERVER_PORT, atoi(port));
	if (c)
		atr_conn_addr_attrs(c, fd, &c->peer, c->peer_len, pb);
}

static void make_attrs(const struct atr_libpq *pq, struct pg_conn *conn, struct atr_pgconn *pg)
{
	struct atr_pb pb = { .p = pg->attrs, .end = pg->attrs + sizeof(pg->attrs) };

	const char *db = atr_libpq_text(pq->PQdb ? pq->PQdb(conn) : NULL);

	atr_libpq_attrs(pq, conn, &pb);
	pg->attrs_len = (uint16_t)(pb.p - pg->attrs);
	strncpy(pg->fallback, *db ? db : "postgresql", sizeof(pg->fallback) - 1);
}

/* ---- parked statements ---- */

void atr_libpq_settle(struct atr_pgconn *pg)
{
	struct outcome o = { NULL, NULL };

	if (!pg || !pg->parked)
		return;
	if (pg->sqlstate[0])
		o.sqlstate = pg->sqlstate;
	o.error = pg->error;
	if (!pg->op.end && !o.error)
		o.error = "cancelled"; /* no result was ever asked for */
	pg->parked = false;
	statement_span(&pg->op, pg, atr_pgconn_awaited(pg), &o);
}

void atr_libpq_over(struct atr_pgconn *pg)
{
	atr_libpq_settle(pg);
	if (pg)
		pg->in_use = false;
}

/* The op moves into the connection, until its results are fetched. */
static void await(struct atr_pgconn *pg, const struct atr_op *op)
{
	atr_libpq_settle(pg); /* libpq took a new one: the one before is over */
	pg->op = *op;
	pg->error = NULL;
	pg->sqlstate[0] = '\0';
	pg->at_hand = !pg->at_hand;
	pg->parked = true;
}

/* The connection is gone.  While a hook is still at work the struct outlives it. */
static void free_pgconn(void *library)
{
	struct atr_pgconn *pg = library;

	pg->attached = false;
	if (pg->in_use)
		return;
	atr_libpq_settle(pg);
	atr_pgconn_free(pg);
}

/* ---- a statement's beginning ---- */

enum text {
	TEXT_SIMPLE,   /* literals are masked */
	TEXT_PARAMS,   /* with $1: as it is */
	TEXT_PREPARE,  /* the same; kept under its name, whether sampled or not */
	TEXT_PREPARED, /* the text is the one kept under this name */
};

/* Old programs switch standard_conforming_strings off: then \' does not end a literal. */
static enum atr_sql_dialect dialect_of(const struct atr_libpq *pq, const struct pg_conn *conn,
				       const char *text)
{
	const char *standard;

	if (atr_likely(!text || !strchr(text, '\\')) || !pq->PQparameterStatus)
		return ATR_SQL_POSTGRESQL;
	standard = pq->PQparameterStatus(conn, "standard_conforming_strings");
	return standard && strcmp(standard, "off") == 0 ? ATR_SQL_POSTGRESQL_ESCAPES
							: ATR_SQL_POSTGRESQL;
}

static bool pipelining(const struct atr_libpq *pq, const struct pg_conn *conn)
{
	return pq->PQpipelineStatus && pq->PQpipelineStatus(conn) != ATR_PG_PIPELINE_OFF;
}

/* sent: the call only sends; its results are fetched by PQgetResult(). */
static struct atr_pgconn *statement(const struct atr_libpq *pq, struct pg_conn *conn,
				    struct atr_op *op, enum text kind, const char *text, bool sent)
{
	struct atr_pgconn *pg = atr_libpq_conn(pq, conn);
	struct atr_pgtext *t;

	op->recording = op->entered = false;
	if (!pg)
		pg = atr_pgconn_new(); /* the connection is lost: this call will fail, and say so */
	if (!pg) {
		atr_count(no_memory, 1);
		return NULL;
	}
	pg->in_use = true;
	if (!sent)
		atr_libpq_settle(pg); /* libpq forgets an unfinished one now, too */
	atr_context_touch();
	atr_op_begin(op, ATR_KIND_CLIENT);
	if (sent && op->recording && pipelining(pq, conn)) {
		atr_op_drop(op);
		atr_count(not_followed, 1);
	}
	if (!op->recording && kind != TEXT_PREPARE)
		return pg;
	if (atr_unlikely(!pg->attrs_len))
		make_attrs(pq, conn, pg);
	t = atr_pgconn_at_hand(pg);
	if (kind == TEXT_PREPARED)
		atr_pgconn_recall(pg, text, t);
	else
		atr_pgconn_text(t, dialect_of(pq, conn, text), text, kind != TEXT_SIMPLE);
	return pg;
}

/* The op of one call, the thread's context until the hook ends. */
#define STATEMENT(pg, op, kind, text, sent)                                 \
	__attribute__((cleanup(atr_op_leave))) struct atr_op op;            \
	struct atr_pgconn *pg = statement(pq, conn, &op, kind, text, sent); \
	atr_op_enter(&op)

/* The hook is done with it; when the connection went meanwhile, so does this. */
static void release(struct atr_pgconn *pg)
{
	pg->in_use = false;
	if (!pg->attached)
		free_pgconn(pg);
}

static void end_now(const struct atr_libpq *pq, struct pg_conn *conn, struct atr_pgconn *pg,
		    struct atr_op *op, struct pg_result *res)
{
	struct outcome o;

	if (!op->recording)
		return;
	o = outcome_of(pq, conn, res);
	statement_span(op, pg, atr_pgconn_at_hand(pg), &o);
}

/* A COPY has only begun: how it went is in the results that follow. */
static bool copying(const struct atr_libpq *pq, const struct pg_result *res)
{
	int status = res ? pq->PQresultStatus(res) : ATR_PGRES_FATAL_ERROR;

	return status == ATR_PGRES_COPY_IN || status == ATR_PGRES_COPY_OUT ||
	       status == ATR_PGRES_COPY_BOTH;
}

static struct pg_result *finish(const struct atr_libpq *pq, struct pg_conn *conn,
				struct atr_pgconn *pg, struct atr_op *op, struct pg_result *res)
{
	int saved_errno = errno;

	atr_op_leave(op);
	if (pg && op->recording && copying(pq, res)) {
		op->end = atr_now();
		await(pg, op);
	} else if (pg) {
		end_now(pq, conn, pg, op, res);
	}
	if (pg)
		release(pg);
	errno = saved_errno;
	return res;
}

/* The statement is on its way; or ends here, when it could not be sent. */
static int park(const struct atr_libpq *pq, struct pg_conn *conn, struct atr_pgconn *pg,
		struct atr_op *op, int sent)
{
	int saved_errno = errno;

	atr_op_leave(op);
	if (pg && sent && op->recording)
		await(pg, op);
	else if (pg)
		end_now(pq, conn, pg, op, NULL);
	if (pg)
		release(pg);
	errno = saved_errno;
	return sent;
}

/* Kept for the executions to come; the span's own summary says that it was prepared. */
static void prepared(struct atr_pgconn *pg, const char *name, bool ok)
{
	if (!pg)
		return;
	if (ok)
		atr_pgconn_remember(pg, name, atr_pgconn_at_hand(pg));
	atr_pgconn_prefix(atr_pgconn_at_hand(pg), "PREPARE");
}

/* ---- statements ---- */

atr_export struct pg_result *PQexec(struct pg_conn *conn, const char *query)
{
	ATR_ENTER_LIBPQ(NULL, conn, PQexec, conn, query);
	STATEMENT(pg, op, TEXT_SIMPLE, query, false);
	return finish(pq, conn, pg, &op, pq->PQexec(conn, query));
}

atr_export struct pg_result *PQexecParams(struct pg_conn *conn, const char *command, int n_params,
					  const unsigned *types, const char *const *values,
					  const int *lengths, const int *formats, int result_format)
{
	ATR_ENTER_LIBPQ(NULL, conn, PQexecParams, conn, command, n_params, types, values, lengths,
			formats, result_format);
	STATEMENT(pg, op, n_params > 0 ? TEXT_PARAMS : TEXT_SIMPLE, command, false);
	return finish(pq, conn, pg, &op,
		      pq->PQexecParams(conn, command, n_params, types, values, lengths, formats,
				       result_format));
}

atr_export struct pg_result *PQprepare(struct pg_conn *conn, const char *name, const char *query,
				       int n_params, const unsigned *types)
{
	ATR_ENTER_LIBPQ(NULL, conn, PQprepare, conn, name, query, n_params, types);
	STATEMENT(pg, op, TEXT_PREPARE, query, false);
	struct pg_result *res = pq->PQprepare(conn, name, query, n_params, types);

	prepared(pg, name, res && pq->PQresultStatus(res) == ATR_PGRES_COMMAND_OK);
	return finish(pq, conn, pg, &op, res);
}

atr_export struct pg_result *PQexecPrepared(struct pg_conn *conn, const char *name, int n_params,
					    const char *const *values, const int *lengths,
					    const int *formats, int result_format)
{
	ATR_ENTER_LIBPQ(NULL, conn, PQexecPrepared, conn, name, n_params, values, lengths, formats,
			result_format);
	STATEMENT(pg, op, TEXT_PREPARED, name, false);
	return finish(
		pq, conn, pg, &op,
		pq->PQexecPrepared(conn, name, n_params, values, lengths, formats, result_format));
}

atr_export int PQsendQuery(struct pg_conn *conn, const char *query)
{
	ATR_ENTER_LIBPQ(0, conn, PQsendQuery, conn, query);
	STATEMENT(pg, op, TEXT_SIMPLE, query, true);
	return park(pq, conn, pg, &op, pq->PQsendQuery(conn, query));
}

atr_export int PQsendQueryParams(struct pg_conn *conn, const char *command, int n_params,
				 const unsigned *types, const char *const *values,
				 const int *lengths, const int *formats, int result_format)
{
	ATR_ENTER_LIBPQ(0, conn, PQsendQueryParams, conn, command, n_params, types, values, lengths,
			formats, result_format);
	STATEMENT(pg, op, n_params > 0 ? TEXT_PARAMS : TEXT_SIMPLE, command, true);
	return park(pq, conn, pg, &op,
		    pq->PQsendQueryParams(conn, command, n_params, types, values, lengths, formats,
					  result_format));
}

atr_export int PQsendPrepare(struct pg_conn *conn, const char *name, const char *query,
			     int n_params, const unsigned *types)
{
	ATR_ENTER_LIBPQ(0, conn, PQsendPrepare, conn, name, query, n_params, types);
	STATEMENT(pg, op, TEXT_PREPARE, query, true);
	int sent = pq->PQsendPrepare(conn, name, query, n_params, types);

	/* Should it fail later, no PQsendQueryPrepared() of it succeeds either. */
	prepared(pg, name, sent);
	return park(pq, conn, pg, &op, sent);
}

atr_export int PQsendQueryPrepared(struct pg_conn *conn, const char *name, int n_params,
				   const char *const *values, const int *lengths,
				   const int *formats, int result_format)
{
	ATR_ENTER_LIBPQ(0, conn, PQsendQueryPrepared, conn, name, n_params, values, lengths,
			formats, result_format);
	STATEMENT(pg, op, TEXT_PREPARED, name, true);
	return park(pq, conn, pg, &op,
		    pq->PQsendQueryPrepared(conn, name, n_params, values, lengths, formats,
					    result_format));
}

/* A result was handed out: so far the statement has lasted. */
static void note_result(struct atr_pgconn *pg, const struct outcome *o)
{
	pg->op.end = atr_now();
	if (o->sqlstate) {
		strncpy(pg->sqlstate, o->sqlstate, sizeof(pg->sqlstate) - 1);
		pg->sqlstate[sizeof(pg->sqlstate) - 1] = '\0';
	}
	if (o->error)
		pg->error = o->error == o->sqlstate ? pg->sqlstate : o->error; /* ours lives */
}

atr_export struct pg_result *PQgetResult(struct pg_conn *conn)
{
	ATR_ENTER_LIBPQ(NULL, conn, PQgetResult, conn);
	struct atr_pgconn *pg = atr_libpq_conn(pq, conn);
	struct pg_result *res;

	int saved_errno;

	if (!pg || !pg->parked)
		return pq->PQgetResult(conn);
	pg->in_use = true;
	atr_op_enter(&pg->op);
	res = pq->PQgetResult(conn);
	saved_errno = errno;
	atr_op_leave(&pg->op);
	if (res) {
		struct outcome o = outcome_of(pq, conn, res);

		note_result(pg, &o);
	} else {
		atr_libpq_settle(pg);
	}
	release(pg);
	errno = saved_errno;
	return res;
}
