/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a PostgreSQL server answers, and which statement is over with it.
 *
 * Answers come in the order of what was asked (hooks/pg-ask.c).  Each message that is asked
 * in a group has one that ends it: ParseComplete, BindComplete, a RowDescription or NoData,
 * CommandComplete.  After an error there is none until the next ReadyForQuery: what was asked up
 * to that Sync was not done.  A statement whose Sync is already on its way is held until
 * the ReadyForQuery is there, for the caller waits for it, the transaction's state comes
 * with it, and what was deferred may fail only now.
 */
#include "hooks/pg-talk.h"

#include <string.h>

#include "preload/clock.h"
#include "preload/process.h"

/* ---- the queue ---- */

/* Pairs with the release in push(). */
static struct atr_pg_item *oldest(const struct atr_pg *pg)
{
	return atr_load_acquire(&pg->front->next);
}

/* It has its answer.  It stays as the queue's front, spent, until the next one goes. */
static void take_off(struct atr_pg *pg)
{
	struct atr_pg_item *spent = pg->front;

	pg->front = oldest(pg);
	(void)__atomic_fetch_sub(&pg->n_items, 1, __ATOMIC_RELAXED);
	atr_pg_item_free(spent);
}

static struct atr_pg_statement *take_statement(struct atr_pg *pg, struct atr_pg_item *item)
{
	struct atr_pg_statement *s = item->statement;

	item->statement = NULL;
	if (s)
		(void)__atomic_fetch_sub(&pg->n_statements, 1, __ATOMIC_RELAXED);
	return s;
}

static uint64_t time_now(struct atr_pg_answering *a)
{
	if (!a->now)
		a->now = atr_now();
	return a->now;
}

/* ---- a statement's end ---- */

/* What the loop that has read this may go on with. */
static void note_whose(struct atr_pg_answering *a, struct atr_pg_statement *s)
{
	const struct atr_moved *m = a->m;

	if (a->any && !atr_context_same(&a->sent_in, &s->sent_in))
		a->several = true;
	a->any = true;
	a->sent_in = s->sent_in;
	if (!a->ending) /* a child may go on with its parent's connection */
		s->op.epoch = atr_process.epoch;
	if (m->of && s->op.context.valid) {
		*m->of = s->op.context;
		*m->since = s->op.start;
	}
}

static void over(struct atr_pg_answering *a, struct atr_pg_statement *s)
{
	atr_pg_statement_over(s, a->pg->known, a->m->conn, a->m->fd);
}

static void release_held(struct atr_pg_answering *a)
{
	struct atr_pg_statement *s = a->pg->held;

	a->pg->held = NULL;
	if (s)
		over(a, s);
}

/* What was prepared without a name may go on with its execution. */
static void keep_unnamed(struct atr_pg_answering *a, struct atr_pg_statement *s)
{
	atr_pg_statement_answered(s);
	s = __atomic_exchange_n(&a->pg->unnamed, s, __ATOMIC_ACQ_REL);
	if (s)
		over(a, s);
}

static bool complete(const struct atr_pg_item *item)
{
	/* Pairs with the release in end_group(). */
	uint32_t asked = atr_load_acquire(&item->asked);

	return (asked & ATR_PG_FINAL) && item->answered == (asked & ~ATR_PG_FINAL);
}

/* The oldest, a group, has all its answers, or will get none. */
static void group_over(struct atr_pg_answering *a, struct atr_pg_item *item)
{
	struct atr_pg_item *next = atr_load_acquire(&item->next);
	struct atr_pg_statement *s = take_statement(a->pg, item);

	take_off(a->pg);
	release_held(a);
	if (!s)
		return;
	note_whose(a, s);
	atr_pg_statement_answered(s);
	if (s->kind == ATR_PG_PREPARES && s->nameless && !atr_pg_has_failed(s))
		keep_unnamed(a, s);
	else if (next && next->what == ATR_PG_SYNC && !next->unheeded)
		a->pg->held = s;
	else
		over(a, s);
}

/* Groups that were complete before it was known, and what has no answer. */
static void settle(struct atr_pg_answering *a)
{
	struct atr_pg_item *item;

	while ((item = oldest(a->pg)) != NULL) {
		if (item->what == ATR_PG_COPY_END || (item->what == ATR_PG_SYNC && item->unheeded))
			take_off(a->pg);
		else if (item->what == ATR_PG_GROUP && !item->failed && complete(item))
			group_over(a, item);
		else
			break;
	}
}

static const char *status_text(char status)
{
	return status == 'T' ? "in_transaction" : status == 'E' ? "failed" : NULL;
}

/* One that ends with a ReadyForQuery. */
static void ready_over(struct atr_pg_answering *a, struct atr_pg_item *item, char status)
{
	struct atr_pg_statement *s = take_statement(a->pg, item);

	take_off(a->pg);
	if (!s)
		return;
	note_whose(a, s);
	s->op.end = time_now(a);
	s->outcome.status = status_text(status);
	over(a, s);
}

/* The sender has remembered a text for a name that still has another, or none. */
static void note_unprepared(struct atr_pg *pg, const struct atr_pg_item *item)
{
	uint32_t n = pg->n_undo;

	if (!item->prepared)
		return;
	atr_store(&pg->undo[n % ATR_PG_UNDO_MAX], item->prepared);
	/* Pairs with the acquire in undo_failed(). */
	atr_store_release(&pg->n_undo, n + 1);
}

/* Something failed before it, up to the Sync behind it. */
static void abort_item(struct atr_pg_answering *a, struct atr_pg_item *item)
{
	struct atr_pg_statement *s = item->statement;

	if (!item->failed)
		note_unprepared(a->pg, item);

	if (s && !atr_pg_has_failed(s)) {
		s->outcome.error = "pipeline_aborted";
		s->op.end = time_now(a);
	}
	group_over(a, item);
}

static bool ready(struct atr_pg_answering *a, char status)
{
	struct atr_pg *pg = a->pg;
	struct atr_pg_item *item;

	if (status != 'I' && status != 'T' && status != 'E')
		return false;
	for (;;) {
		settle(a);
		item = oldest(pg);
		if (!item || !(atr_load_acquire(&item->asked) & ATR_PG_FINAL))
			return false;
		if (!pg->skipping || item->what == ATR_PG_SYNC)
			break;
		abort_item(a, item);
	}
	if (item->what != ATR_PG_SYNC && item->what != ATR_PG_QUERY && item->what != ATR_PG_CONNECT)
		return false;
	pg->skipping = false;
	a->complete = true;
	if (pg->held) {
		pg->held->op.end = time_now(a);
		pg->held->outcome.status = status_text(status);
		release_held(a);
	}
	ready_over(a, item, status);
	return true;
}

/* ---- what a statement is answered ---- */

/* How much of the data has been sent so far. */
static void count_copied(const struct atr_pg *pg, const struct atr_pg_item *item)
{
	struct atr_pg_statement *s = item->statement;

	if (s && s->copies_in)
		s->outcome.copied_bytes = (int64_t)(atr_load(&pg->copied) - item->copied_before);
}

static bool failed(struct atr_pg_answering *a, struct atr_slice body)
{
	struct atr_pg *pg = a->pg;
	struct atr_pg_item *item = oldest(pg);
	struct atr_pg_statement *s = item ? item->statement : NULL;
	bool held = pg->held && (!item || item->what == ATR_PG_SYNC);

	if (held)
		s = pg->held;
	if (s) {
		s->outcome.failed = atr_pg3_sqlstate(body, s->outcome.sqlstate);
		if (!s->outcome.failed) {
			s->outcome.sqlstate[0] = '\0';
			s->outcome.error = "_OTHER";
		}
		s->op.end = time_now(a);
	}
	if (!item)
		return true; /* the server ends the connection, and says why */
	count_copied(pg, item);
	if (item->what == ATR_PG_GROUP || item->what == ATR_PG_SILENT) {
		if (!item->answered) /* of a group it is the first thing that is done */
			note_unprepared(pg, item);
		item->failed = true;
		pg->skipping = true;
	} else if (item->what == ATR_PG_QUERY) {
		note_unprepared(pg, item);
	} else if (item->what == ATR_PG_CONNECT) {
		s = take_statement(pg, item);
		take_off(pg);
		if (s) {
			note_whose(a, s);
			over(a, s);
		}
		a->complete = true;
	}
	return item->what != ATR_PG_CANCEL;
}

static void warned(struct atr_pg_answering *a, struct atr_slice body)
{
	struct atr_pg_item *item = oldest(a->pg);
	struct atr_pg_statement *s = item ? item->statement : NULL;
	char state[6];

	if (s && s->kind != ATR_PG_CONNECTS && !atr_pg_has_failed(s) && atr_pg3_is_warning(body) &&
	    atr_pg3_sqlstate(body, state))
		memcpy(s->outcome.sqlstate, state, sizeof(state));
}

static void parameter(struct atr_pg *pg, struct atr_slice body)
{
	struct atr_slice name, value;

	if (atr_pg3_string(&body, &name) && atr_pg3_string(&body, &value) &&
	    atr_slice_is(name, "standard_conforming_strings"))
		atr_store(&pg->escapes, (uint32_t)atr_slice_is(value, "off"));
}

/* A command is complete: what its tag says of rows, beside those that came. */
static void command(struct atr_pg_answering *a, const struct atr_pg_item *item,
		    struct atr_slice tag)
{
	struct atr_pg_statement *s = item->statement;
	struct atr_pgoutcome *o;
	uint64_t n;

	if (!s)
		return;
	o = &s->outcome;
	switch (atr_pg3_tag(tag, &n)) {
	case ATR_PG3_CHANGED:
		atr_pg_add(&o->affected, n);
		break;
	case ATR_PG3_SELECTED:
		if (s->describes_rows || s->rows || !n)
			atr_pg_add(&o->returned, 0);
		else /* into a new table */
			atr_pg_add(&o->affected, n);
		break;
	case ATR_PG3_COPIED:
		atr_pg_add(&o->copied_rows, n);
		break;
	default:
		break;
	}
	if (s->describes_rows || s->rows)
		atr_pg_add(&o->returned, s->rows);
	s->rows = 0;
	s->describes_rows = false;
	count_copied(a->pg, item);
}

/* The server reads data now: each Sync that came before their end is not heeded. */
static void copies(struct atr_pg_item *item, uint8_t type)
{
	if (item->statement) {
		item->statement->copies_in = type != 'H';
		atr_pg_add(&item->statement->outcome.copied_bytes, 0);
	}
	if (type == 'H' || item->what != ATR_PG_GROUP)
		return;
	for (item = atr_load_acquire(&item->next); item && item->what != ATR_PG_COPY_END;
	     item = atr_load_acquire(&item->next))
		item->unheeded |= item->what == ATR_PG_SYNC;
}

/* In a group: this ends what one message has asked for. */
static bool ends_one(struct atr_pg_answering *a, struct atr_pg_item *item)
{
	item->answered++;
	if (item->answered > (atr_load_acquire(&item->asked) & ~ATR_PG_FINAL))
		return false;
	if (item->statement)
		item->statement->op.end = time_now(a);
	settle(a);
	return true;
}

static bool in_group(struct atr_pg_answering *a, struct atr_pg_item *item,
		     const struct atr_pg3_message *m)
{
	switch (m->type) {
	case 'C':
		command(a, item, m->body);
		return ends_one(a, item);
	case 's': /* some rows, more with another Execute */
		if (item->statement) {
			atr_pg_add(&item->statement->outcome.returned, item->statement->rows);
			item->statement->rows = 0;
		}
		return ends_one(a, item);
	case 'T':
		if (item->statement)
			item->statement->describes_rows = true;
		return ends_one(a, item);
	case '1':
	case '2':
	case '3':
	case 'I':
	case 'n':
		return ends_one(a, item);
	case 't':
		return true;
	default:
		return false;
	}
}

static bool in_query(struct atr_pg_answering *a, const struct atr_pg_item *item,
		     const struct atr_pg3_message *m)
{
	switch (m->type) {
	case 'C':
		command(a, item, m->body);
		return true;
	case 'T':
		if (item->statement)
			item->statement->describes_rows = true;
		return true;
	case 'I':
	case 'V':
		return true;
	default:
		return false;
	}
}

static bool in_statement(struct atr_pg_answering *a, struct atr_pg_item *item,
			 const struct atr_pg3_message *m)
{
	struct atr_pg_statement *s = item->statement;

	switch (m->type) {
	case 'D':
		if (s)
			s->rows++;
		return true;
	case 'd':
		if (s && !s->copies_in)
			atr_pg_add(&s->outcome.copied_bytes, m->len);
		return true;
	case 'c':
		return true;
	case 'G':
	case 'H':
	case 'W':
		copies(item, m->type);
		return true;
	default:
		return item->what == ATR_PG_GROUP ? in_group(a, item, m) : in_query(a, item, m);
	}
}

/* What only answers something that was asked. */
static bool answer_to(struct atr_pg_answering *a, struct atr_pg_item *item,
		      const struct atr_pg3_message *m)
{
	switch (item->what) {
	case ATR_PG_CONNECT:
		return m->type == 'R' || m->type == 'K' || m->type == 'v';
	case ATR_PG_SILENT:
		if (m->type != '3')
			return false;
		take_off(a->pg);
		return true;
	case ATR_PG_QUERY:
	case ATR_PG_GROUP:
		return in_statement(a, item, m);
	default:
		return false;
	}
}

bool atr_pg_answer(struct atr_pg_answering *a, const struct atr_pg3_message *m)
{
	struct atr_pg_item *item;

	switch (m->type) {
	case 'A': /* notifications, and parameters that change: at any time */
		return true;
	case 'S':
		parameter(a->pg, m->body);
		return true;
	case 'N':
		warned(a, m->body);
		return true;
	case 'Z':
		return m->body.len && ready(a, m->body.p[0]);
	case 'E':
		settle(a);
		return failed(a, m->body);
	default:
		if (a->pg->skipping)
			return false;
		settle(a);
		item = oldest(a->pg);
		return item && answer_to(a, item, m);
	}
}

/* ---- the end of all ---- */

void atr_pg_answer_end(struct atr_pg_answering *a, const char *why)
{
	struct atr_pg *pg = a->pg;
	struct atr_pg_item *item;
	struct atr_pg_statement *s;

	settle(a);
	release_held(a);
	for (item = oldest(pg); item; item = oldest(pg)) {
		if (!(atr_load_acquire(&item->asked) & ATR_PG_FINAL))
			return; /* may still be added to */
		s = take_statement(pg, item);
		take_off(pg);
		if (!s)
			continue;
		note_whose(a, s);
		if (!atr_pg_has_failed(s)) {
			s->op.end = time_now(a);
			if (s->kind != ATR_PG_CANCELS)
				s->outcome.error = why;
		}
		over(a, s);
	}
}

void atr_pg_answer_drop(struct atr_pg *pg)
{
	struct atr_pg_item *item;

	atr_pg_statement_drop(pg->held);
	pg->held = NULL;
	for (item = oldest(pg); item; item = oldest(pg)) {
		if (!(atr_load_acquire(&item->asked) & ATR_PG_FINAL))
			return; /* the sender may be at it */
		atr_pg_statement_drop(take_statement(pg, item));
		take_off(pg);
	}
}

void atr_pg_answer_free(struct atr_pg *pg)
{
	struct atr_pg_item *item, *next;

	atr_pg_statement_drop(pg->held);
	pg->held = NULL;
	for (item = pg->front; item; item = next) {
		next = atr_load(&item->next);
		atr_pg_statement_drop(item->statement);
		atr_pg_item_free(item);
	}
	pg->front = pg->back = NULL;
}
