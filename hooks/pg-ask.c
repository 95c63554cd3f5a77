/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a PostgreSQL client asks: which messages are one statement, and its text.
 *
 * A simple Query is one.  In the extended protocol a statement is a group: Parse, Bind,
 * Describe and Execute, as far as they are there and follow each other.  A group ends with its
 * Execute, or where another begins, or with a Sync.  One without an Execute only prepared
 * (or described).  What was prepared without a name and then, behind a Sync, is executed is
 * still one statement: clients that do not know the types of parameters work so.
 *
 * All of this runs before the bytes go out, so what is answered has always been asked.
 */
#include "hooks/pg-talk.h"
#include "hooks/pgprepared.h"

#include <string.h>

#include "hooks/talk.h"
#include "preload/clock.h"
#include "preload/config.h"
#include "preload/stats.h"

/* Where portals lie among the names of statements: no name of a client's begins so. */
#define PORTAL '\1'

static struct atr_pool items = {
	.size = (sizeof(struct atr_pg_item) + 7) & ~(size_t)7,
	.per_chunk = 256,
	.max = 262144,
};

/* ---- the queue ---- */

struct atr_pg_item *atr_pg_item_new(enum atr_pg_what what)
{
	struct atr_pg_item *item = atr_pool_take(&items);

	if (!item) {
		atr_count(no_memory, 1);
		return NULL;
	}
	atr_store(&item->next, NULL);
	item->statement = NULL;
	item->copied_before = 0;
	item->prepared = 0;
	item->asked = ATR_PG_FINAL;
	item->answered = 0;
	item->what = (uint8_t)what;
	item->failed = item->unheeded = false;
	return item;
}

void atr_pg_item_free(struct atr_pg_item *item)
{
	atr_pool_give(&items, item);
}

static uint64_t now(struct atr_pg_asking *a)
{
	if (!a->now)
		a->now = atr_now();
	return a->now;
}

static struct atr_pg_statement *new_statement(struct atr_pg_asking *a, enum atr_pg_kind kind)
{
	struct atr_pg *pg = a->pg;
	struct atr_pg_origin from = {
		.thread = pg->begun ? &pg->thread : atr_context_current(),
		.first = kind == ATR_PG_CONNECTS || kind == ATR_PG_CANCELS,
		.start = pg->begun ? pg->begun : now(a),
	};
	struct atr_pg_statement *s;

	if (atr_load(&pg->n_statements) >= ATR_PG_STATEMENTS_MAX) {
		atr_count(not_followed, 1);
		return NULL;
	}
	s = atr_pg_statement_new(a->conn, kind, &from);
	return s;
}

/* Those that are sent; the statement may be NULL. */
static struct atr_pg_item *push(struct atr_pg_asking *a, enum atr_pg_what what, uint32_t asked,
				struct atr_pg_statement *s)
{
	struct atr_pg *pg = a->pg;
	struct atr_pg_item *item =
		atr_load(&pg->n_items) < ATR_PG_QUEUE_MAX ? atr_pg_item_new(what) : NULL;

	if (!item) {
		atr_pg_statement_drop(s);
		return NULL;
	}
	item->asked = asked;
	item->statement = s;
	item->copied_before = pg->copied;
	if (s && atr_config.socket_spans == ATR_SOCKET_SPANS_ALL) {
		pg->said = s->op.context;
		pg->said_since = s->op.start;
	}
	(void)atr_add(&pg->n_statements, s != NULL);
	(void)atr_add(&pg->n_items, 1u);
	/* Pairs with the acquire in oldest(): the item is whole. */
	atr_store_release(&pg->back->next, item);
	pg->back = item;
	return item;
}

/* ---- texts and their names ---- */

static enum atr_sql_dialect dialect(const struct atr_pg *pg)
{
	return atr_load(&pg->escapes) ? ATR_SQL_POSTGRESQL_ESCAPES : ATR_SQL_POSTGRESQL;
}

/* What is left of a body is a text: false when it should end with a NUL and does not. */
static bool take_text(struct atr_slice *body, bool cut, struct atr_slice *ret)
{
	if (atr_pg3_string(body, ret))
		return true;
	*ret = *body;
	return cut && body->len;
}

static struct atr_pg_text *text_of(const struct atr_pg *pg, struct atr_slice sql, bool parameters)
{
	struct atr_pg_text *text = atr_pg_text_new();

	if (text)
		atr_pgconn_text_n(&text->t, dialect(pg), sql.p, sql.len, parameters);
	return text;
}

static void put_name(char to[static ATR_PG_NAME_MAX], struct atr_slice name)
{
	size_t n = name.len < ATR_PG_NAME_MAX - 1 ? name.len : ATR_PG_NAME_MAX - 1;

	if (n)
		memcpy(to, name.p, n);
	to[n] = '\0';
}

/* A longer name than there is room for is none that we know. */
static bool is_name(const char *kept, struct atr_slice name)
{
	return name.len < ATR_PG_NAME_MAX - 1 && atr_slice_is(name, kept);
}

static void replace(struct atr_pg_text **kept, struct atr_pg_text *text)
{
	atr_pg_text_release(*kept);
	*kept = atr_pg_text_hold(text);
}

/* The name of a portal among those of statements. */
static const char *key(char to[static ATR_PG_NAME_MAX], struct atr_slice name, bool portal)
{
	char *at = to;

	if (portal)
		*at++ = PORTAL;
	if (name.len > ATR_PG_NAME_MAX - 2)
		name.len = ATR_PG_NAME_MAX - 2;
	if (name.len)
		memcpy(at, name.p, name.len);
	at[name.len] = '\0';
	return to;
}

/* What failed to be prepared is not what its name stands for. */
static void undo_failed(struct atr_pg *pg)
{
	/* Pairs with the release in note_unprepared(). */
	uint32_t n = atr_load_acquire(&pg->n_undo);

	if (atr_likely(n == pg->n_undone))
		return;
	if (n - pg->n_undone > ATR_PG_UNDO_MAX)
		atr_pgprepared_forget(pg->known, NULL);
	else
		for (uint32_t i = pg->n_undone; i != n; i++)
			atr_pgprepared_undo(pg->known, atr_load(&pg->undo[i % ATR_PG_UNDO_MAX]));
	pg->n_undone = n;
	replace(&pg->recent, NULL);
}

/* A handle for undoing it; 0: it has no name, or is not remembered. */
static uint32_t remember(struct atr_pg *pg, struct atr_slice name, bool portal,
			 struct atr_pg_text *text)
{
	char buf[ATR_PG_NAME_MAX];

	if (!name.len) {
		replace(portal ? &pg->nameless_bound : &pg->nameless, text);
		return 0;
	}
	if (!text)
		return 0;
	undo_failed(pg);
	if (is_name(pg->recent_name, name))
		replace(&pg->recent, NULL);
	return atr_pgprepared_remember(pg->known, key(buf, name, portal), &text->t);
}

/* The caller has a reference. */
static struct atr_pg_text *recall(struct atr_pg *pg, struct atr_slice name, bool portal)
{
	struct atr_pg_text *text = portal ? pg->nameless_bound : pg->nameless;
	char buf[ATR_PG_NAME_MAX];

	if (!name.len && text)
		return atr_pg_text_hold(text);
	undo_failed(pg);
	if (!portal && pg->recent && is_name(pg->recent_name, name))
		return atr_pg_text_hold(pg->recent);
	text = atr_pg_text_new();
	if (!text)
		return NULL;
	(void)atr_pgprepared_recall(pg->known, key(buf, name, portal), &text->t);
	if (!portal) {
		replace(&pg->recent, text);
		put_name(pg->recent_name, name);
	}
	return text;
}

/* ---- groups ---- */

static void end_group(struct atr_pg *pg)
{
	struct atr_pg_item *item = pg->open;

	pg->open = NULL;
	pg->has_bind = false;
	if (item) /* Pairs with the acquire in atr_pg_answer(): its statement is as it stays. */
		atr_store_release(&item->asked, item->asked | ATR_PG_FINAL);
}

static bool begin_group(struct atr_pg_asking *a, struct atr_pg_statement *s)
{
	a->pg->open = push(a, ATR_PG_GROUP, 1, s);
	return a->pg->open != NULL;
}

static void ask_more(struct atr_pg *pg)
{
	atr_store_release(&pg->open->asked, pg->open->asked + 1);
}

void atr_pg_ask_end(struct atr_pg *pg, struct atr_conn *c)
{
	struct atr_pg_statement *s = __atomic_exchange_n(&pg->unnamed, NULL, __ATOMIC_ACQ_REL);

	if (s)
		atr_pg_statement_over(s, pg->known, c, -1);
}

static bool parse(struct atr_pg_asking *a, struct atr_slice body, bool cut)
{
	struct atr_pg *pg = a->pg;
	struct atr_pg_statement *s;
	struct atr_pg_text *text;
	struct atr_slice name, sql;
	uint32_t handle;

	if (!atr_pg3_string(&body, &name) || !take_text(&body, cut, &sql))
		return false;
	end_group(pg);
	if (!name.len)
		atr_pg_ask_end(pg, a->conn);
	s = new_statement(a, ATR_PG_PREPARES);
	text = name.len || (s && s->op.recording) ? text_of(pg, sql, true) : NULL;
	handle = remember(pg, name, false, text);
	if (s) {
		s->nameless = !name.len;
		s->text = atr_pg_text_hold(text);
	}
	atr_pg_text_release(text);
	put_name(pg->name, name);
	if (!begin_group(a, s))
		return false;
	pg->open->prepared = handle;
	return true;
}

/* Opens a group about a statement that was prepared, or bound to a portal, before. */
static bool reopen(struct atr_pg_asking *a, enum atr_pg_kind kind, bool unnamed,
		   struct atr_pg_text *text)
{
	struct atr_pg_statement *s = NULL;

	if (unnamed)
		s = __atomic_exchange_n(&a->pg->unnamed, NULL, __ATOMIC_ACQ_REL);
	if (s) { /* it goes on */
		s->op.end = 0;
		atr_pg_statement_await(s);
	} else {
		s = new_statement(a, kind);
		if (s) {
			s->text = atr_pg_text_hold(text);
			s->executes = kind == ATR_PG_STATEMENT;
		}
	}
	return begin_group(a, s);
}

static bool bind_to(struct atr_pg_asking *a, struct atr_slice body)
{
	struct atr_pg *pg = a->pg;
	struct atr_slice portal, name;
	struct atr_pg_text *text;
	bool ok = true;

	if (!atr_pg3_string(&body, &portal) || !atr_pg3_string(&body, &name))
		return false;
	text = recall(pg, name, false);
	(void)remember(pg, portal, true, text);
	if (pg->open && !pg->has_bind && is_name(pg->name, name)) {
		ask_more(pg);
	} else {
		end_group(pg);
		ok = reopen(a, ATR_PG_STATEMENT, !name.len, text);
		put_name(pg->name, name);
	}
	atr_pg_text_release(text);
	put_name(pg->portal, portal);
	pg->has_bind = true;
	return ok;
}

static bool describe(struct atr_pg_asking *a, struct atr_slice body)
{
	struct atr_pg *pg = a->pg;
	bool portal, ok;
	struct atr_pg_text *text;
	struct atr_slice name;

	if (!body.len) /* there was no memory for it */
		return false;
	portal = *body.p++ == 'P';
	body.len--;
	if (!atr_pg3_string(&body, &name))
		return false;
	if (pg->open) {
		ask_more(pg);
		return true;
	}
	text = recall(pg, name, portal);
	ok = reopen(a, ATR_PG_DESCRIBES, !portal && !name.len, text);
	atr_pg_text_release(text);
	put_name(portal ? pg->portal : pg->name, name);
	pg->has_bind = portal;
	return ok;
}

static bool execute(struct atr_pg_asking *a, struct atr_slice body)
{
	struct atr_pg *pg = a->pg;
	struct atr_slice portal;
	struct atr_pg_text *text;
	bool ok = true;

	if (!atr_pg3_string(&body, &portal))
		return false;
	if (pg->open && pg->has_bind && is_name(pg->portal, portal)) {
		if (pg->open->statement)
			pg->open->statement->kind = ATR_PG_STATEMENT;
		ask_more(pg);
	} else {
		end_group(pg);
		text = recall(pg, portal, true);
		ok = reopen(a, ATR_PG_STATEMENT, false, text);
		atr_pg_text_release(text);
	}
	if (pg->open)
		pg->open->copied_before = pg->copied;
	end_group(pg);
	return ok;
}

static bool close_name(struct atr_pg_asking *a, struct atr_slice body)
{
	struct atr_slice name;
	char buf[ATR_PG_NAME_MAX];

	if (body.len && *body.p++ == 'S') {
		body.len--;
		if (!atr_pg3_string(&body, &name))
			return false;
		undo_failed(a->pg);
		atr_pgprepared_forget(a->pg->known, key(buf, name, false));
		replace(&a->pg->recent, NULL);
	}
	if (!a->pg->open)
		return push(a, ATR_PG_SILENT, 1 | ATR_PG_FINAL, NULL) != NULL;
	ask_more(a->pg);
	return true;
}

static bool end_batch(struct atr_pg_asking *a)
{
	end_group(a->pg);
	return push(a, ATR_PG_SYNC, ATR_PG_FINAL, NULL) != NULL;
}

/* ---- the rest ---- */

static bool query(struct atr_pg_asking *a, struct atr_slice body, bool cut)
{
	struct atr_pg_statement *s;
	struct atr_pg_item *item;
	struct atr_slice sql;
	uint32_t prepared = 0;

	if (!take_text(&body, cut, &sql))
		return false;
	end_group(a->pg);
	atr_pg_ask_end(a->pg, a->conn);
	s = new_statement(a, ATR_PG_STATEMENT);
	if (s && s->op.recording)
		s->text = text_of(a->pg, sql, false);
	if (!cut && atr_pgprepared_is_meant(sql.p)) {
		undo_failed(a->pg);
		prepared = atr_pgprepared_by_sql(a->pg->known, dialect(a->pg), sql.p,
						 !atr_pgprepared_has_several(sql.p));
		replace(&a->pg->recent, NULL);
	}
	item = push(a, ATR_PG_QUERY, ATR_PG_FINAL, s);
	if (item)
		item->prepared = prepared;
	return item != NULL;
}

static bool call(struct atr_pg_asking *a, struct atr_slice body)
{
	struct atr_pg_statement *s;

	end_group(a->pg);
	s = new_statement(a, ATR_PG_CALLS);
	if (s && body.len >= 4)
		s->function = atr_pg3_number(body.p);
	return push(a, ATR_PG_QUERY, ATR_PG_FINAL, s) != NULL;
}

/* From here on it is known what is spoken. */
static void recognised(struct atr_conn *c)
{
	c->heard = ATR_HEARD_ALL;
	if (c->speaker == ATR_SPEAKER_PROTOCOL)
		return;
	c->speaker = ATR_SPEAKER_PROTOCOL;
	atr_conn_attrs_changed(c);
}

/* The first of its connection: the span of connecting begins with it, however it goes on. */
static bool connecting(struct atr_pg_asking *a)
{
	struct atr_pg *pg = a->pg;

	if (pg->connects)
		return true; /* it was refused encryption */
	pg->connects = true;
	return push(a, ATR_PG_CONNECT, ATR_PG_FINAL, new_statement(a, ATR_PG_CONNECTS)) != NULL;
}

static bool begin_talk(struct atr_pg_asking *a, struct atr_slice body)
{
	struct atr_pg *pg = a->pg;
	struct atr_pg3_start start;

	switch (atr_pg3_first(body, &start)) {
	case ATR_PG3_ENCRYPT:
		recognised(a->conn);
		(void)atr_add(&pg->singles, 1u);
		return connecting(a);
	case ATR_PG3_START:
		recognised(a->conn);
		atr_pg_attrs(pg->known, a->conn, start.database.len ? start.database : start.user);
		if (!connecting(a))
			return false;
		pg->ask.untyped = false;
		return true;
	case ATR_PG3_CANCEL:
		recognised(a->conn);
		atr_pg_attrs(pg->known, a->conn, (struct atr_slice){ NULL, 0 });
		return !pg->connects && push(a, ATR_PG_CANCEL, ATR_PG_FINAL,
					     new_statement(a, ATR_PG_CANCELS)) != NULL;
	default:
		return false;
	}
}

bool atr_pg_ask(struct atr_pg_asking *a, const struct atr_pg3_message *m)
{
	struct atr_pg *pg = a->pg;
	bool cut = m->body.len < m->len;

	switch (m->type) {
	case 0:
		return begin_talk(a, m->body);
	case 'Q':
		return query(a, m->body, cut);
	case 'P':
		return parse(a, m->body, cut);
	case 'B':
		return bind_to(a, m->body);
	case 'D':
		return describe(a, m->body);
	case 'E':
		return execute(a, m->body);
	case 'C':
		return close_name(a, m->body);
	case 'S':
		return end_batch(a);
	case 'F':
		return call(a, m->body);
	case 'd':
		atr_store(&pg->copied, pg->copied + m->len);
		return true;
	case 'c':
	case 'f':
		return push(a, ATR_PG_COPY_END, ATR_PG_FINAL, NULL) != NULL;
	case 'X':
		atr_pg_ask_end(pg, a->conn);
		return true;
	default: /* Flush, passwords */
		return true;
	}
}
