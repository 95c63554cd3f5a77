/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libpq: making a connection is one CLIENT span, "connect <database>", from
 * PQconnectdb() to its return, or from PQconnectStart() to the PQconnectPoll()
 * that says how it ended.  The connects of its sockets are its children.
 */
#include <errno.h>
#include <string.h>

#include "hooks/hook.h"
#include "hooks/libpq.h"
#include "preload/stats.h"

/* Connects that are driven by PQconnectPoll(), by their PGconn. */
static struct start {
	struct pg_conn *conn; /* NULL: free */
	struct atr_op op;
} starts[256];

static struct start *start_find(struct pg_conn *conn)
{
	if (!conn)
		return NULL;
	for (size_t i = 0; i < ATR_ARRAY_LEN(starts); i++)
		if (atr_load_acquire(&starts[i].conn) == conn)
			return &starts[i];
	return NULL;
}

static void start_keep(struct pg_conn *conn, const struct atr_op *op)
{
	for (size_t i = 0; i < ATR_ARRAY_LEN(starts); i++) {
		struct pg_conn *none = NULL;

		if (!__atomic_compare_exchange_n(&starts[i].conn, &none, conn, 0, __ATOMIC_ACQ_REL,
						 __ATOMIC_RELAXED))
			continue;
		starts[i].op = *op;
		return;
	}
	atr_count(not_followed, 1);
}

static void connect_span(const struct atr_libpq *pq, struct pg_conn *conn, struct atr_op *op,
			 const char *error)
{
	int saved_errno = errno;
	const char *db = atr_libpq_text(conn && pq->PQdb ? pq->PQdb(conn) : NULL);
	char name[8 + 256] = "connect ";
	size_t n = strnlen(db, 255);
	struct atr_span span;

	memcpy(name + 8, db, n);
	if (!atr_op_end(op, &span, name, n ? 8 + n : 7)) {
		errno = saved_errno;
		return;
	}
	if (conn)
		atr_libpq_attrs(pq, conn, &span.pb);
	atr_attr_utf8(&span.pb, ATR_DB_OPERATION_NAME, "connect", 7);
	if (error)
		atr_span_error(&span, error, strlen(error));
	atr_span_commit(&span);
	errno = saved_errno;
}

static void connect_begin(struct atr_op *op)
{
	atr_real_libpq_check();
	atr_tls.connect_error = NULL;
	atr_context_touch();
	atr_op_begin(op, ATR_KIND_CLIENT);
	atr_op_enter(op);
}

/* Why the connection is bad: what the last socket said, when one did. */
static const char *connect_error(const struct atr_libpq *pq, const struct pg_conn *conn)
{
	if (conn && pq->PQstatus(conn) == ATR_PG_CONNECTION_OK)
		return NULL;
	return atr_tls.connect_error ? atr_tls.connect_error : "_OTHER";
}

static struct pg_conn *connected(const struct atr_libpq *pq, struct atr_op *op,
				 struct pg_conn *conn)
{
	atr_op_leave(op);
	connect_span(pq, conn, op, connect_error(pq, conn));
	return conn;
}

static struct pg_conn *started(const struct atr_libpq *pq, struct atr_op *op, struct pg_conn *conn)
{
	atr_op_leave(op);
	if (!conn || pq->PQstatus(conn) == ATR_PG_CONNECTION_BAD)
		connect_span(pq, conn, op, connect_error(pq, conn));
	else if (op->recording)
		start_keep(conn, op);
	return conn;
}

#define CONNECTING(op)                                           \
	__attribute__((cleanup(atr_op_leave))) struct atr_op op; \
	connect_begin(&op)

atr_export struct pg_conn *PQconnectdb(const char *conninfo)
{
	ATR_ENTER_LIBPQ(NULL, NULL, PQconnectdb, conninfo);
	CONNECTING(op);
	return connected(pq, &op, pq->PQconnectdb(conninfo));
}

atr_export struct pg_conn *PQconnectdbParams(const char *const *keywords, const char *const *values,
					     int expand_dbname)
{
	ATR_ENTER_LIBPQ(NULL, NULL, PQconnectdbParams, keywords, values, expand_dbname);
	CONNECTING(op);
	return connected(pq, &op, pq->PQconnectdbParams(keywords, values, expand_dbname));
}

atr_export struct pg_conn *PQsetdbLogin(const char *host, const char *port, const char *options,
					const char *tty, const char *db, const char *login,
					const char *password)
{
	ATR_ENTER_LIBPQ(NULL, NULL, PQsetdbLogin, host, port, options, tty, db, login, password);
	CONNECTING(op);
	return connected(pq, &op, pq->PQsetdbLogin(host, port, options, tty, db, login, password));
}

atr_export struct pg_conn *PQconnectStart(const char *conninfo)
{
	ATR_ENTER_LIBPQ(NULL, NULL, PQconnectStart, conninfo);
	CONNECTING(op);
	return started(pq, &op, pq->PQconnectStart(conninfo));
}

atr_export struct pg_conn *PQconnectStartParams(const char *const *keywords,
						const char *const *values, int expand_dbname)
{
	ATR_ENTER_LIBPQ(NULL, NULL, PQconnectStartParams, keywords, values, expand_dbname);
	CONNECTING(op);
	return started(pq, &op, pq->PQconnectStartParams(keywords, values, expand_dbname));
}

atr_export int PQconnectPoll(struct pg_conn *conn)
{
	ATR_ENTER_LIBPQ(ATR_PG_POLLING_FAILED, conn, PQconnectPoll, conn);
	struct start *s = start_find(conn);
	int ret;

	if (!s)
		return pq->PQconnectPoll(conn);
	atr_op_enter(&s->op);
	ret = pq->PQconnectPoll(conn);
	atr_op_leave(&s->op);
	if (ret == ATR_PG_POLLING_OK || ret == ATR_PG_POLLING_FAILED) {
		struct atr_op op = s->op;

		atr_store_release(&s->conn, NULL);
		connect_span(pq, conn, &op, connect_error(pq, conn));
	}
	return ret;
}

atr_export void PQreset(struct pg_conn *conn)
{
	ATR_ENTER_LIBPQ(, conn, PQreset, conn);
	CONNECTING(op);
	atr_libpq_over(atr_libpq_conn(pq, conn));
	pq->PQreset(conn);
	(void)connected(pq, &op, conn);
}

atr_export void PQfinish(struct pg_conn *conn)
{
	ATR_ENTER_LIBPQ(, conn, PQfinish, conn);
	struct start *s = start_find(conn);

	if (s) {
		struct atr_op op = s->op;

		atr_store_release(&s->conn, NULL);
		connect_span(pq, conn, &op, "cancelled");
	}
	atr_libpq_over(atr_libpq_conn(pq, conn));
	pq->PQfinish(conn);
}
