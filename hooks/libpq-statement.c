/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libpq: a PostgreSQL statement is one CLIENT span, from the call that sends its
 * text to the call that hands back its last result.
 *
 * A synchronous call keeps its op on the stack.  One that only sends puts it into the
 * connection's queue (hooks/pgqueue.h), from which PQgetResult() takes it: each
 * result moves the end forward, and the NULL behind the last one makes the span.
 *
 * What is kept per connection is found by its PGconn (hooks/pgconn.c): it outlives the
 * socket, for results come after that is lost.  Semantic conventions: "PostgreSQL client
 * operations".
 */
#include <errno.h>
#include <string.h>

#include "hooks/hook.h"
#include "hooks/libpq-connect.h"
#include "hooks/pg-span.h"
#include "hooks/pgprepared.h"
#include "preload/clock.h"
#include "preload/config.h"
#include "preload/conn.h"
#include "preload/stats.h"

/* ---- the connection ---- */

struct atr_pgconn *atr_libpq_known(const void *conn)
{
	struct atr_pgconn *pg = conn ? atr_pgconn_find(conn) : NULL;

	return pg && atr_pgconn_hold(pg) ? pg : NULL;
}

struct atr_pgconn *atr_libpq_hold(const void *conn)
{
	/* A call without a connection is legal: it fails, and says so. */
	struct atr_pgconn *pg = conn ? atr_pgconn_make(conn) : atr_pgconn_new();

	if (!pg)
		atr_count(no_memory, 1);
	return pg && atr_pgconn_hold(pg) ? pg : NULL;
}

void atr_libpq_release(struct atr_pgconn *pg)
{
	if (pg->conn)
		atr_pgconn_release(pg);
	else
		atr_pgconn_free(pg);
}

void atr_libpq_attrs(const struct atr_libpq *pq, struct pg_conn *conn, struct atr_pb *pb)
{
	const char *db = atr_libpq_text(pq->PQdb ? pq->PQdb(conn) : NULL);
	const char *host = atr_libpq_text(pq->PQhost ? pq->PQhost(conn) : NULL);
	const char *port = atr_libpq_text(pq->PQport ? pq->PQport(conn) : NULL);
	int fd = pq->PQsocket ? pq->PQsocket(conn) : -1;
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
	if (c) {
		c->speaker = ATR_SPEAKER_LIBPQ;
		atr_conn_addr_attrs(c, fd, &c->peer, c->peer_len, pb);
	}
}

void atr_libpq_keep_attrs(const struct atr_libpq *pq, struct pg_conn *conn, struct atr_pgconn *pg)
{
	struct atr_pb pb = { .p = pg->attrs, .end = pg->attrs + sizeof(pg->attrs) };

	if (atr_likely(pg->attrs_len))
		return;
	atr_libpq_attrs(pq, conn, &pb);
	pg->attrs_len = (uint16_t)(pb.p - pg->attrs);
	strncpy(pg->fallback, atr_libpq_text(pq->PQdb ? pq->PQdb(conn) : NULL),
		sizeof(pg->fallback) - 1);
}

/* ---- a statement's end ---- */

void atr_libpq_settle_first(struct atr_pgconn *pg, const char *unfinished)
{
	struct atr_pgstmt *s = atr_pgqueue_first(&pg->queue);
	struct atr_pgoutcome *o = &s->outcome;

	if (!s->sync) {
		if (!o->complete && !o->error && !o->failed) {
			o->error = unfinished; /* its last result was never asked for */
			s->op.end = 0;
		}
		if (s->prepared && (o->error || o->failed))
			atr_pgprepared_undo(pg, s->prepared);
		atr_pg_statement_span(&s->op, pg,
				      &(struct atr_pg_naming){
					      .summary = { s->texts, s->summary_len },
					      .text = { s->texts + s->summary_len, s->text_len },
				      },
				      o, NULL, -1);
	}
	atr_pgqueue_pop(&pg->queue);
}

void atr_libpq_settle(struct atr_pgconn *pg, const char *unfinished)
{
	while (pg->queue.n)
		atr_libpq_settle_first(pg, unfinished);
	pg->queue.gap = pg->queue.gap_syncs = 0;
	pg->queue.gap_answered = false;
}

/* The op moves into the connection, until its results are fetched. */
static struct atr_pgstmt *await(struct atr_libpq_call *call)
{
	struct atr_pgconn *pg = call->pg;
	const struct atr_pgtext *t = &pg->text;
	bool told = call->op.recording;
	struct atr_pgstmt *s;

	s = atr_pgqueue_push(&pg->queue, told ? t->summary_len + t->len : 0, false);
	if (!s) {
		atr_count(not_followed, told);
		return NULL;
	}
	atr_op_copy(&s->op, &call->op);
	s->outcome = atr_pgoutcome_none;
	s->prepared = call->prepared;
	s->summary_len = told ? (uint16_t)t->summary_len : 0;
	s->text_len = told ? (uint32_t)t->len : 0;
	if (told) {
		memcpy(s->texts, t->summary, t->summary_len);
		memcpy(s->texts + t->summary_len, t->text, t->len);
	}
	return s;
}

/* ---- a statement's beginning ---- */

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

/*
 * In these encodings, which only a client can have, a backslash may be the second half of a
 * character: where a literal ends is not to be seen without reading all characters.
 */
static bool unreadable(const struct atr_libpq *pq, const struct pg_conn *conn, const char *text)
{
	static const char encodings[][15] = { "SJIS", "SHIFT_JIS_2004", "BIG5", "GBK",
					      "UHC",  "GB18030",	"JOHAB" };
	const char *in;

	if (atr_likely(!text || !strchr(text, '\\')) || !pq->PQparameterStatus)
		return false;
	in = pq->PQparameterStatus(conn, "client_encoding");
	for (size_t i = 0; in && i < ATR_ARRAY_LEN(encodings); i++)
		if (strcmp(in, encodings[i]) == 0)
			return true;
	return false;
}

bool atr_libpq_pipelining(const struct atr_libpq *pq, const struct pg_conn *conn)
{
	return pq->PQpipelineStatus && pq->PQpipelineStatus(conn) != ATR_PG_PIPELINE_OFF;
}

const char *atr_libpq_commented(struct atr_libpq_call *call, const char *sql)
{
	if (atr_likely(!atr_config.sqlcommenter) || !call->pg || !sql ||
	    unreadable(call->pq, call->conn, sql))
		return sql;
	return atr_libpq_comment(call->pg, &call->op, dialect_of(call->pq, call->conn, sql), sql);
}

static void make_text(struct atr_libpq_call *call, const struct atr_libpq_say *say)
{
	struct atr_pgtext *t = &call->pg->text;

	switch (say->kind) {
	case ATR_LIBPQ_PREPARED:
		if (!atr_pgprepared_recall(call->pg, say->text, t) && !say->word)
			atr_pgconn_prefix(t, "EXECUTE");
		break;
	case ATR_LIBPQ_NONE:
		t->len = t->summary_len = 0;
		break;
	default:
		t->len = t->summary_len = 0;
		if (unreadable(call->pq, call->conn, say->text))
			break;
		atr_pgconn_text(t, dialect_of(call->pq, call->conn, say->text), say->text,
				say->kind != ATR_LIBPQ_SIMPLE);
	}
	if (say->word)
		atr_pgconn_prefix(t, say->word);
}

void atr_libpq_begin(struct atr_libpq_call *call, const struct atr_libpq *pq, struct pg_conn *conn,
		     const struct atr_libpq_say *say)
{
	struct atr_pgconn *pg = atr_libpq_hold(conn);

	call->pq = pq;
	call->conn = conn;
	call->pg = pg;
	call->sql = NULL;
	call->prepared = 0;
	call->function = false;
	atr_op_none(&call->op);
	if (!pg)
		return;
	/* libpq forgets an unfinished one now, too; in a pipeline it refuses the call. */
	if (!say->leaves && pg->queue.n && !atr_libpq_pipelining(pq, conn))
		atr_libpq_settle(pg, "cancelled");
	if (!pg->queue.n)
		pg->warning[0] = '\0';
	pg->failure[0] = '\0';
	atr_context_touch();
	atr_op_begin(&call->op, ATR_KIND_CLIENT);
	atr_op_count_live(&call->op);
	if (say->kind <= ATR_LIBPQ_PARAMS && atr_pgprepared_is_meant(say->text))
		call->sql = say->text;
	if (call->op.recording)
		atr_libpq_keep_attrs(pq, conn, pg);
	if (call->op.recording || say->kind == ATR_LIBPQ_PREPARE)
		make_text(call, say);
	atr_op_enter(&call->op);
}

void atr_libpq_unwind(struct atr_libpq_call *call)
{
	atr_op_leave(&call->op);
	atr_op_drop(&call->op);
	if (call->pg)
		atr_libpq_release(call->pg);
	call->pg = NULL;
}

/* ---- the call has returned ---- */

static void end_span(struct atr_libpq_call *call, struct atr_pgoutcome *o)
{
	const struct atr_pgtext *t = &call->pg->text;

	atr_libpq_note_transaction(call->pq, call->conn, o);
	atr_pg_statement_span(&call->op, call->pg,
			      &(struct atr_pg_naming){
				      .summary = { t->summary, t->summary_len },
				      .text = { t->text, t->len },
				      .function = call->function,
			      },
			      o, NULL, -1);
}

static void end_now(struct atr_libpq_call *call, struct pg_result *res)
{
	struct atr_pgoutcome o = atr_pgoutcome_none;

	if (!call->op.recording)
		return;
	atr_libpq_note(call->pq, call->conn, call->pg, &o, res);
	end_span(call, &o);
}

void atr_libpq_end(struct atr_libpq_call *call, bool ok)
{
	int saved_errno = errno;
	struct atr_pgoutcome o = atr_pgoutcome_none;

	atr_op_leave(&call->op);
	if (call->op.recording) {
		const char *failure = call->pg->failure;

		o.failed = !ok && failure[0];
		if (o.failed)
			atr_libpq_copy_state(o.sqlstate, failure);
		else if (!ok)
			o.error = atr_libpq_client_error(call->pq, call->conn);
		end_span(call, &o);
	}
	atr_libpq_unwind(call);
	errno = saved_errno;
}

/* PREPARE, DEALLOCATE and DISCARD as SQL, now that the text of their span is not needed. */
static uint32_t note_prepared(struct atr_libpq_call *call, bool certain)
{
	return atr_pgprepared_by_sql(call->pg, dialect_of(call->pq, call->conn, call->sql),
				     call->sql,
				     certain && !unreadable(call->pq, call->conn, call->sql));
}

/* Of several statements that failed, the first ones may have gone well. */
static void note_result(struct atr_libpq_call *call, const struct pg_result *res)
{
	int status = res ? call->pq->PQresultStatus(res) : ATR_PGRES_FATAL_ERROR;

	if (status == ATR_PGRES_COMMAND_OK || status == ATR_PGRES_TUPLES_OK)
		(void)note_prepared(call, true);
	else if (atr_pgprepared_has_several(call->sql))
		(void)note_prepared(call, false);
}

/* A COPY has only begun: how it went is in the results that follow. */
static bool copying(const struct atr_libpq *pq, const struct pg_result *res)
{
	int status = res ? pq->PQresultStatus(res) : ATR_PGRES_FATAL_ERROR;

	return status == ATR_PGRES_COPY_IN || status == ATR_PGRES_COPY_OUT ||
	       status == ATR_PGRES_COPY_BOTH;
}

struct pg_result *atr_libpq_finish(struct atr_libpq_call *call, struct pg_result *res)
{
	int saved_errno = errno;

	atr_op_leave(&call->op);
	if (call->pg && call->op.recording && copying(call->pq, res)) {
		struct atr_pgstmt *s = await(call);

		if (s)
			atr_libpq_note(call->pq, call->conn, call->pg, &s->outcome, res);
	} else if (call->pg) {
		end_now(call, res);
	}
	if (call->pg && call->sql)
		note_result(call, res);
	atr_libpq_unwind(call);
	errno = saved_errno;
	return res;
}

int atr_libpq_park(struct atr_libpq_call *call, int sent)
{
	int saved_errno = errno;
	struct atr_pgconn *pg = call->pg;
	struct atr_pgstmt *s = NULL;

	atr_op_leave(&call->op);
	if (pg && sent) {
		bool pipelining = atr_libpq_pipelining(call->pq, call->conn);

		if (!pipelining)
			atr_libpq_settle(pg, "cancelled"); /* it took a new one: this is over */
		if (call->op.recording || pipelining)
			s = await(call);
		if (call->sql) { /* whether it goes well is seen only of one that is awaited */
			bool certain = s && !atr_pgprepared_has_several(call->sql);
			uint32_t prepared = note_prepared(call, certain);

			if (s)
				s->prepared = prepared;
		}
	} else if (pg) {
		end_now(call, NULL);
	}
	atr_libpq_unwind(call);
	errno = saved_errno;
	return sent;
}

/* ---- the end of the process ---- */

static void ending(struct atr_pgconn *pg)
{
	atr_dial_given_up(pg);
	atr_libpq_settle(pg, "cancelled");
}

void atr_libpq_ending(void)
{
	atr_pgconn_each(ending);
}
