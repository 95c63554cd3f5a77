/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One PostgreSQL statement that a program sent with protocol code of its own, from its
 * parent to its span: the same span as libpq.c makes of one.
 */
#include "hooks/pg-statement.h"

#include <string.h>

#include "preload/sampler.h"
#include "preload/stats.h"
#include "preload/text.h"

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
	atr_op_none(&s->op);
	s->sent_in.valid = s->awaited = false;
	s->sent_in.open = NULL;
	s->text = NULL;
	s->kind = (uint8_t)kind;
	s->nameless = s->executes = false;
	s->describes_rows = s->copies_in = false;
	s->function = 0;
	s->rows = 0;
	s->outcome = atr_pgoutcome_none;
	if (parent || !atr_sampler_roots_off())
		atr_op_begin_under(&s->op, ATR_KIND_CLIENT, &origin);
	atr_op_count_live(&s->op);
	if (parent && !parent->remote) {
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

/* The summary of one, in `buf` unless it is its text's own. */
static struct atr_slice summary_of(const struct atr_pg_statement *s,
				   char buf[static ATR_SQL_SUMMARY_MAX])
{
	static const char *const words[] = {
		[ATR_PG_PREPARES] = "PREPARE",
		[ATR_PG_DESCRIBES] = "DESCRIBE",
	};
	struct atr_slice text = { NULL, 0 };
	size_t n;

	if (s->kind == ATR_PG_CALLS)
		return (struct atr_slice){ buf, atr_decimal(buf, s->function) };
	if (s->text)
		text = (struct atr_slice){ s->text->t.summary, s->text->t.summary_len };
	if (s->kind == ATR_PG_STATEMENT)
		return text.len || !s->executes ? text : ATR_SLICE("EXECUTE");
	n = strlen(words[s->kind]);
	memcpy(buf, words[s->kind], n);
	if (!text.len)
		return (struct atr_slice){ buf, n };
	buf[n++] = ' ';
	if (text.len > ATR_SQL_SUMMARY_MAX - n)
		text.len = ATR_SQL_SUMMARY_MAX - n;
	memcpy(buf + n, text.p, text.len);
	return (struct atr_slice){ buf, n + text.len };
}

static void give(struct atr_pg_statement *s)
{
	atr_pg_statement_answered(s);
	atr_op_drop(&s->op);
	atr_pg_text_release(s->text);
	s->text = NULL;
	atr_pool_give(&statements, s);
}

void atr_pg_statement_over(struct atr_pg_statement *s, const struct atr_pgconn *known,
			   struct atr_conn *c, int fd)
{
	const struct atr_pgoutcome *o = &s->outcome;
	char buf[ATR_SQL_SUMMARY_MAX];

	atr_pg_statement_answered(s);
	if (s->kind == ATR_PG_CONNECTS || s->kind == ATR_PG_CANCELS)
		atr_pg_dial_span(&s->op, known,
				 &(struct atr_pg_dial){
					 .what = s->kind == ATR_PG_CONNECTS ? "connect" : "cancel",
					 .error = o->failed ? o->sqlstate : o->error,
					 .sqlstate = o->sqlstate,
					 .message = "",
					 .db = known->fallback },
				 c, fd);
	else
		atr_pg_statement_span(
			&s->op, known,
			&(struct atr_pg_naming){ .summary = summary_of(s, buf),
						 .text = { s->text ? s->text->t.text : NULL,
							   s->text ? s->text->t.len : 0 },
						 .function = s->kind == ATR_PG_CALLS },
			o, c, fd);
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
