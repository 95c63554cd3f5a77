/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One PostgreSQL statement that a program sent with protocol code of its own, from its
 * parent to its span: the same span as libpq.c makes of one.
 */
#include "hooks/pg-statement.h"

#include <string.h>

#include "preload/sampler.h"
#include "preload/stats.h"

static struct atr_pool statements = {
	.size = (sizeof(struct atr_pg_statement) + 7) & ~(size_t)7,
	.per_chunk = 64,
	.max = 65536,
};

/* Only pages that were written to are memory. */
static struct atr_pool texts = {
	.size = (sizeof(struct atr_pg_text) + 7) & ~(size_t)7,
	.per_chunk = 16,
	.max = 16384,
};

/* ---- texts ---- */

struct atr_pg_text *atr_pg_text_new(void)
{
	struct atr_pg_text *text = atr_pool_take(&texts);

	if (!text) {
		atr_count(no_memory, 1);
		return NULL;
	}
	atr_store(&text->refs, 1u);
	text->t.len = text->t.summary_len = 0;
	return text;
}

struct atr_pg_text *atr_pg_text_hold(struct atr_pg_text *text)
{
	if (text)
		(void)atr_add(&text->refs, 1u);
	return text;
}

void atr_pg_text_release(struct atr_pg_text *text)
{
	if (text && __atomic_sub_fetch(&text->refs, 1, __ATOMIC_ACQ_REL) == 0)
		atr_pool_give(&texts, text);
}

/* ---- the beginning ---- */

/*
 * As for a request (http-request.c): in a loop what a new connection was made in says it, in a
 * thread what the thread does.
 */
static const struct atr_context *whose(const struct atr_conn *c, const struct atr_pg_origin *from)
{
	const struct atr_context *connected = from->first ? &c->context : NULL;
	const struct atr_context *parent = from->thread, *other = connected;

	if (atr_context_loop(atr_load(&c->loop))) {
		parent = connected;
		other = from->thread;
	}
	/* A loop writes a new connection's first bytes when it is there: begun before. */
	if (parent != connected || !parent || !atr_context_usable(parent))
		atr_context_touch();
	if (parent && atr_context_usable(parent))
		return parent;
	if (other && atr_context_usable(other))
		return other;
	return atr_context_process.valid ? &atr_context_process : NULL;
}

void atr_pg_statement_await(struct atr_pg_statement *s)
{
	if (s->awaited || !s->sent_in.open || !atr_context_usable(&s->sent_in))
		return;
	(void)atr_add(&s->sent_in.open->waiting, 1u);
	s->awaited = true;
}

void atr_pg_statement_answered(struct atr_pg_statement *s)
{
	if (s->awaited && atr_context_usable(&s->sent_in))
		(void)__atomic_fetch_sub(&s->sent_in.open->waiting, 1, __ATOMIC_RELAXED);
	s->awaited = false;
}

struct atr_pg_statement *atr_pg_statement_new(struct atr_conn *c, enum atr_pg_kind kind,
					      const struct atr_pg_origin *from)
{
	const struct atr_context *parent = whose(c, from);
	struct atr_op_origin origin = { .parent = parent, .start = from->start };
	struct atr_pg_statement *s = atr_pool_take(&statements);

	if (!s) {
		atr_count(no_memory, 1);
		return NULL;
	}
	s->op.recording = s->op.context.valid = s->op.entered = false;
	s->sent_in.valid = s->awaited = false;
	s->sent_in.open = NULL;
	s->text = NULL;
	s->kind = (uint8_t)kind;
	s->nameless = false;
	s->has_returned = s->has_affected = s->describes_rows = false;
	s->copies_in = s->copies_out = false;
	s->status = 0;
	s->sqlstate[0] = '\0';
	s->error = NULL;
	s->rows = s->returned = s->affected = s->copied = 0;
	if (parent || !atr_sampler_roots_off())
		atr_op_begin_under(&s->op, ATR_KIND_CLIENT, &origin);
	if (parent) {
		s->sent_in = *parent;
		atr_pg_statement_await(s);
	}
	return s;
}

/* ---- the end ---- */

void atr_pg_attrs(struct atr_pgconn *known, struct atr_conn *c, struct atr_slice database)
{
	struct atr_pb pb = { .p = known->attrs, .end = known->attrs + sizeof(known->attrs) };
	bool local = c->family == AF_UNIX;
	char text[ATR_PEER_TEXT_MAX];
	int port;
	size_t n = atr_conn_peer_address(c, text, &port);
	size_t len = database.len < sizeof(known->fallback) - 1 ? database.len
								: sizeof(known->fallback) - 1;

	if (len)
		memcpy(known->fallback, database.p, len);
	known->fallback[len] = '\0';
	atr_attr_utf8(&pb, ATR_DB_SYSTEM_NAME, "postgresql", 10);
	if (database.len)
		atr_attr_str(&pb, ATR_DB_NAMESPACE, database.p,
			     database.len < 255 ? database.len : 255);
	if (n) {
		atr_attr_str(&pb, ATR_SERVER_ADDRESS, text, n);
		/* Semantic conventions: only a port that is not the system's default. */
		if (port > 0 && port != 5432)
			atr_attr_int(&pb, ATR_SERVER_PORT, port);
	}
	atr_attr_utf8(&pb, ATR_NETWORK_TRANSPORT, local ? "unix" : "tcp", local ? 4 : 3);
	if (!local && n)
		atr_attr_utf8(&pb, ATR_NETWORK_TYPE, memchr(text, ':', n) ? "ipv6" : "ipv4", 4);
	known->attrs_len = (uint16_t)(pb.p - known->attrs);
}

#define NAME_MAX_LEN 272

/* Its name, and what of it is the summary. */
static size_t name_of(const struct atr_pg_statement *s, const struct atr_pgconn *known,
		      char name[static NAME_MAX_LEN], size_t *summary)
{
	static const char *const words[] = {
		[ATR_PG_STATEMENT] = "",	 [ATR_PG_PREPARES] = "PREPARE",
		[ATR_PG_DESCRIBES] = "DESCRIBE", [ATR_PG_CALLS] = "function call",
		[ATR_PG_CONNECTS] = "connect",	 [ATR_PG_CANCELS] = "cancel",
	};
	const char *word = words[s->kind], *rest = known->fallback;
	bool of_text = s->kind <= ATR_PG_DESCRIBES;
	size_t n = strlen(word), len = strlen(rest);

	if (of_text && s->text && s->text->t.summary_len) {
		rest = s->text->t.summary;
		len = s->text->t.summary_len;
	} else if (of_text) { /* nothing in it that could be an operation */
		rest = n ? "" : *rest ? rest : "postgresql";
		len = strlen(rest);
		of_text = n > 0;
	}
	memcpy(name, word, n);
	if (n && len)
		name[n++] = ' ';
	if (len > ATR_SQL_SUMMARY_MAX - n)
		len = ATR_SQL_SUMMARY_MAX - n;
	memcpy(name + n, rest, len);
	*summary = of_text ? n + len : 0;
	return n + len;
}

static const char *status_text(char status)
{
	return status == 'T' ? "in_transaction" : status == 'E' ? "failed" : NULL;
}

static void operation(const struct atr_pg_statement *s, struct atr_pb *pb)
{
	if (s->kind == ATR_PG_CONNECTS)
		atr_attr_utf8(pb, ATR_DB_OPERATION_NAME, "connect", 7);
	else if (s->kind == ATR_PG_CANCELS)
		atr_attr_utf8(pb, ATR_DB_OPERATION_NAME, "cancel", 6);
	else if (s->kind == ATR_PG_CALLS)
		atr_attr_utf8(pb, ATR_DB_OPERATION_NAME, "function call", 13);
}

static void result(const struct atr_pg_statement *s, struct atr_span *span)
{
	const char *status = status_text(s->status);

	if (s->sqlstate[0])
		atr_attr_utf8(&span->pb, ATR_DB_RESPONSE_STATUS_CODE, s->sqlstate, 5);
	if (s->has_returned)
		atr_attr_int(&span->pb, ATR_DB_RESPONSE_RETURNED_ROWS, (int64_t)s->returned);
	if (s->has_affected)
		atr_attr_int(&span->pb, ATR_DB_RESPONSE_AFFECTED_ROWS, (int64_t)s->affected);
	if (s->copies_in || s->copies_out)
		atr_attr_int(&span->pb, s->copies_in ? ATR_BYTES_SENT : ATR_BYTES_RECEIVED,
			     (int64_t)s->copied);
	if (status)
		atr_attr_utf8(&span->pb, ATR_DB_TRANSACTION_STATUS, status, strlen(status));
	if (s->error)
		atr_span_error(span, s->error, strlen(s->error));
}

static void give(struct atr_pg_statement *s)
{
	atr_pg_statement_answered(s);
	atr_pg_text_release(s->text);
	s->text = NULL;
	atr_pool_give(&statements, s);
}

void atr_pg_statement_over(struct atr_pg_statement *s, const struct atr_pgconn *known,
			   struct atr_conn *c, int fd)
{
	char name[NAME_MAX_LEN];
	struct atr_span span;
	size_t n, summary;

	atr_pg_statement_answered(s);
	n = name_of(s, known, name, &summary);
	if (atr_op_end(&s->op, &span, name, n)) {
		atr_pb_raw(&span.pb, known->attrs, known->attrs_len);
		atr_conn_attrs(c, fd, &span.pb);
		operation(s, &span.pb);
		if (s->text && s->text->t.len)
			atr_attr_utf8(&span.pb, ATR_DB_QUERY_TEXT, s->text->t.text, s->text->t.len);
		if (summary)
			atr_attr_utf8(&span.pb, ATR_DB_QUERY_SUMMARY, name, summary);
		result(s, &span);
		atr_span_commit(&span);
	}
	give(s);
}

void atr_pg_statement_drop(struct atr_pg_statement *s)
{
	if (!s)
		return;
	atr_count(not_followed, s->op.recording);
	atr_op_drop(&s->op);
	give(s);
}
