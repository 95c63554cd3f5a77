/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PostgreSQL connections, found by their PGconn.
 *
 * The table is of fixed size, with open addressing; a connection lies within PROBES
 * slots of its place, and what is taken out leaves its slot to the next.  A PGconn is
 * used by one thread at a time, so nobody adds the same one twice.  The end of the process
 * is the one who looks at all of them, from any thread: therefore who works with one
 * says so (owner).
 */
#include "hooks/pgconn.h"

#include <string.h>

#include "hooks/buffer.h"
#include "hooks/sql-token.h"
#include "preload/compiler.h"
#include "preload/thread.h"
#include "preload/utf8.h"

#define SLOTS 8192
#define PROBES 64
#define GONE ((const void *)1) /* a slot whose connection was taken out */
#define ENDING 1	       /* owner: the process is */

static struct slot {
	const void *conn;
	struct atr_pgconn *pg;
} slots[SLOTS];

static struct atr_pool pgconns = {
	.size = sizeof(struct atr_pgconn),
	.per_chunk = 4,
	.max = 4 * ATR_POOL_CHUNKS,
};

struct atr_pgconn *atr_pgconn_new(void)
{
	struct atr_pgconn *pg = atr_pool_take(&pgconns);

	if (!pg)
		return NULL;
	pg->conn = NULL;
	pg->dialling = NULL;
	pg->warning[0] = pg->failure[0] = '\0';
	pg->commented = NULL;
	pg->fallback[0] = '\0';
	pg->attrs_len = 0;
	atr_pgqueue_init(&pg->queue);
	atr_pgconn_unprepare(pg, NULL);
	return pg;
}

void atr_pgconn_free(struct atr_pgconn *pg)
{
	if (!pg)
		return;
	atr_pgqueue_shrink(&pg->queue);
	atr_buffer_give(pg->commented);
	atr_store_release(&pg->owner, 0);
	atr_pool_give(&pgconns, pg);
}

/* ---- the table ---- */

static size_t place(const void *conn)
{
	return ((uintptr_t)conn >> 4) * 0x9e3779b97f4a7c15u >> 51; /* 13 bits: SLOTS */
}

struct atr_pgconn *atr_pgconn_find(const void *conn)
{
	size_t i = place(conn);

	for (size_t n = 0; n < PROBES; n++, i = (i + 1) % SLOTS) {
		const void *there = atr_load_acquire(&slots[i].conn);

		if (there == conn)
			return atr_load_acquire(&slots[i].pg);
		if (!there)
			break;
	}
	return NULL;
}

static bool add(const void *conn, struct atr_pgconn *pg)
{
	size_t i = place(conn);

	for (size_t n = 0; n < PROBES; n++, i = (i + 1) % SLOTS) {
		const void *there = atr_load(&slots[i].conn);

		if (there && there != GONE)
			continue;
		if (!__atomic_compare_exchange_n(&slots[i].conn, &there, conn, 0, __ATOMIC_ACQ_REL,
						 __ATOMIC_RELAXED))
			continue;
		/* Pairs with the acquire in atr_pgconn_each(). */
		atr_store_release(&slots[i].pg, pg);
		return true;
	}
	return false;
}

struct atr_pgconn *atr_pgconn_make(const void *conn)
{
	struct atr_pgconn *pg = atr_pgconn_find(conn);

	if (atr_likely(pg))
		return pg;
	pg = atr_pgconn_new();
	if (!pg)
		return NULL;
	pg->conn = conn;
	if (add(conn, pg))
		return pg;
	atr_pgconn_free(pg);
	return NULL;
}

void atr_pgconn_forget(struct atr_pgconn *pg)
{
	size_t i = place(pg->conn);

	for (size_t n = 0; n < PROBES; n++, i = (i + 1) % SLOTS) {
		if (atr_load(&slots[i].conn) != pg->conn)
			continue;
		atr_store(&slots[i].pg, NULL);
		/* Pairs with the compare-exchange in add(). */
		atr_store_release(&slots[i].conn, GONE);
		break;
	}
	pg->conn = NULL;
}

/* ---- who is at work with one ---- */

bool atr_pgconn_hold(struct atr_pgconn *pg)
{
	uintptr_t was = atr_load(&pg->owner);

	do {
		if (was == ENDING)
			return false;
	} while (!__atomic_compare_exchange_n(&pg->owner, &was, (uintptr_t)&atr_tls, 0,
					      __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
	return true;
}

void atr_pgconn_release(struct atr_pgconn *pg)
{
	atr_store_release(&pg->owner, 0);
}

void atr_pgconn_each(void (*call)(struct atr_pgconn *pg))
{
	for (size_t i = 0; i < SLOTS; i++) {
		struct atr_pgconn *pg = atr_load_acquire(&slots[i].pg);
		uintptr_t nobody = 0;

		if (!pg || !__atomic_compare_exchange_n(&pg->owner, &nobody, ENDING, 0,
							__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			continue;
		if (pg->conn)
			call(pg);
		atr_pgconn_release(pg);
	}
}

/* ---- a statement's text ---- */

void atr_pgconn_text_n(struct atr_pgtext *t, enum atr_sql_dialect dialect, const char *sql,
		       size_t len, bool parameterised)
{
	if (parameterised && atr_sql_has_parameter(dialect, sql, len))
		t->len = atr_utf8_copy(t->text, sizeof(t->text), sql, len);
	else
		t->len = atr_sql_sanitise(dialect, sql, len, t->text, sizeof(t->text));
	t->summary_len = atr_sql_summary(dialect, sql, len, t->summary);
}

void atr_pgconn_text(struct atr_pgtext *t, enum atr_sql_dialect dialect, const char *sql,
		     bool parameterised)
{
	atr_pgconn_text_n(t, dialect, sql, sql ? strlen(sql) : 0, parameterised);
}

void atr_pgconn_prefix(struct atr_pgtext *t, const char *word)
{
	size_t n = strlen(word);

	if (!t->summary_len) {
		memcpy(t->summary, word, n);
		t->summary_len = n;
		return;
	}
	if (n + 1 + t->summary_len > ATR_SQL_SUMMARY_MAX)
		t->summary_len = ATR_SQL_SUMMARY_MAX - n - 1;
	memmove(t->summary + n + 1, t->summary, t->summary_len);
	memcpy(t->summary, word, n);
	t->summary[n] = ' ';
	t->summary_len += n + 1;
}

/* ---- prepared statements ---- */

/* An entry of the arena: this, then name, summary and text. */
struct entry {
	uint32_t older; /* of the same bucket: offset + 1, 0: none */
	uint16_t name_len;
	uint16_t summary_len;
	uint16_t text_len;
	uint16_t dead;
};

_Static_assert(ATR_VALUE_MAX <= UINT16_MAX, "a text's length has 16 bits");

#define NAME_MAX_BYTES 1024 /* longer than any the server takes */

static uint32_t hash(const char *s, size_t n)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)s[i]) * 16777619u;
	return h % 64;
}

static void forget_all(struct atr_pgconn *pg)
{
	pg->arena_used = 0;
	memset(pg->buckets, 0, sizeof(pg->buckets));
}

static struct entry entry_at(const struct atr_pgconn *pg, uint32_t at)
{
	struct entry e;

	memcpy(&e, pg->arena + at, sizeof(e));
	return e;
}

static uint32_t size_of(const struct entry *e)
{
	return (uint32_t)sizeof(*e) + e->name_len + e->summary_len + e->text_len;
}

static uint32_t find(const struct atr_pgconn *pg, struct atr_slice name, struct entry *e);
static void bury(struct atr_pgconn *pg, uint32_t at);

/* Buries what has a newer one of its name; returns the bytes of what counts. */
static uint32_t bury_old(struct atr_pgconn *pg)
{
	uint32_t live = 0;
	struct entry e, newest;

	for (uint32_t at = 0; at < pg->arena_used; at += size_of(&e)) {
		const char *name = (const char *)pg->arena + at + sizeof(e);

		e = entry_at(pg, at);
		if (e.dead)
			continue;
		if (find(pg, (struct atr_slice){ name, e.name_len }, &newest) == at + 1)
			live += size_of(&e);
		else
			bury(pg, at + 1);
	}
	return live;
}

/* What still counts moves together, but for the oldest of it: a half is free then. */
static void make_room(struct atr_pgconn *pg)
{
	uint32_t live = bury_old(pg), used = pg->arena_used, n;
	struct entry e;

	forget_all(pg);
	for (uint32_t at = 0; at < used; at += n) {
		uint8_t *to = pg->arena + pg->arena_used;
		uint32_t bucket;

		e = entry_at(pg, at);
		n = size_of(&e);
		if (e.dead)
			continue;
		if (live > sizeof(pg->arena) / 2) {
			live -= n;
			continue;
		}
		memmove(to, pg->arena + at, n);
		bucket = hash((const char *)to + sizeof(e), e.name_len);
		e.older = pg->buckets[bucket];
		memcpy(to, &e, sizeof(e));
		pg->buckets[bucket] = pg->arena_used + 1;
		pg->arena_used += n;
	}
}

static uint32_t remember(struct atr_pgconn *pg, struct atr_slice name, const struct atr_pgtext *t)
{
	uint32_t bucket = hash(name.p, name.len);
	struct entry e = {
		.name_len = (uint16_t)name.len,
		.summary_len = (uint16_t)t->summary_len,
		.text_len = (uint16_t)t->len,
	};
	uint32_t handle;
	uint8_t *p;

	if (size_of(&e) > sizeof(pg->arena) - pg->arena_used)
		make_room(pg);
	e.older = pg->buckets[bucket];
	pg->buckets[bucket] = handle = pg->arena_used + 1;
	p = pg->arena + pg->arena_used;
	memcpy(p, &e, sizeof(e));
	memcpy(p += sizeof(e), name.p, name.len);
	memcpy(p += name.len, t->summary, t->summary_len);
	memcpy(p += t->summary_len, t->text, t->len);
	pg->arena_used = (uint32_t)(p + t->len - pg->arena);
	return handle;
}

/* The newest entry of this name; its bytes behind it.  0: there is none. */
static uint32_t find(const struct atr_pgconn *pg, struct atr_slice name, struct entry *e)
{
	for (uint32_t at = pg->buckets[hash(name.p, name.len)]; at; at = e->older) {
		const uint8_t *p = pg->arena + at - 1;

		memcpy(e, p, sizeof(*e));
		if (!e->dead && e->name_len == name.len &&
		    memcmp(p + sizeof(*e), name.p, name.len) == 0)
			return at;
	}
	return 0;
}

static void bury(struct atr_pgconn *pg, uint32_t at)
{
	struct entry e;

	memcpy(&e, pg->arena + at - 1, sizeof(e));
	e.dead = 1;
	memcpy(pg->arena + at - 1, &e, sizeof(e));
}

static void unprepare(struct atr_pgconn *pg, struct atr_slice name)
{
	struct entry e;

	for (uint32_t at; (at = find(pg, name, &e));)
		bury(pg, at);
}

static struct atr_slice slice_of(const char *name)
{
	return (struct atr_slice){ name ? name : "", name ? strnlen(name, NAME_MAX_BYTES) : 0 };
}

uint32_t atr_pgconn_remember(struct atr_pgconn *pg, const char *name, const struct atr_pgtext *t)
{
	return remember(pg, slice_of(name), t);
}

void atr_pgconn_undo(struct atr_pgconn *pg, uint32_t handle)
{
	/* It may lie elsewhere by now; then at worst a text is not known. */
	for (size_t i = 0; handle && i < ATR_ARRAY_LEN(pg->buckets); i++) {
		struct entry e;

		for (uint32_t at = pg->buckets[i]; at; at = e.older) {
			memcpy(&e, pg->arena + at - 1, sizeof(e));
			if (at != handle)
				continue;
			bury(pg, at);
			return;
		}
	}
}

bool atr_pgconn_recall(struct atr_pgconn *pg, const char *name, struct atr_pgtext *t)
{
	struct atr_slice s = slice_of(name);
	struct entry e;
	uint32_t at = find(pg, s, &e);
	const uint8_t *p;

	if (!at) {
		/* Prepared where we did not see it, or forgotten. */
		t->summary_len = t->len = 0;
		return false;
	}
	p = pg->arena + at - 1 + sizeof(e) + e.name_len;
	memcpy(t->summary, p, e.summary_len);
	memcpy(t->text, p + e.summary_len, e.text_len);
	t->summary_len = e.summary_len;
	t->len = e.text_len;
	return true;
}

void atr_pgconn_unprepare(struct atr_pgconn *pg, const char *name)
{
	if (name)
		unprepare(pg, slice_of(name));
	else
		forget_all(pg);
}

/* ---- the same by SQL ---- */

static bool is_word(struct atr_slice s, const char *word)
{
	return s.len == strlen(word) && atr_sql_same_word(s.p, word, s.len);
}

/* The next token that is no blank and no comment; an empty one at the end. */
static struct atr_slice next(struct atr_sql_lexer *lx, size_t *i, enum atr_sql_kind *kind)
{
	*kind = ATR_SQL_BLANK;
	while (*i < lx->len) {
		size_t end = atr_sql_token(lx, *i, kind);
		struct atr_slice s = { lx->sql + *i, end - *i };

		*i = end;
		if (*kind != ATR_SQL_BLANK && *kind != ATR_SQL_COMMENT)
			return s;
	}
	return (struct atr_slice){ lx->sql + lx->len, 0 };
}

/* A name as the server keeps it: in lower case, or as it stands between quotes. */
static struct atr_slice name_of(struct atr_slice s, enum atr_sql_kind kind,
				char to[static NAME_MAX_BYTES])
{
	size_t n = 0;

	if (kind == ATR_SQL_QUOTED) {
		for (size_t i = 1; i + 1 < s.len && n < NAME_MAX_BYTES; i++) {
			to[n++] = s.p[i];
			i += s.p[i] == '"'; /* doubled */
		}
	} else {
		for (; n < s.len && n < NAME_MAX_BYTES; n++)
			to[n] = s.p[n] >= 'A' && s.p[n] <= 'Z' ? (char)(s.p[n] | 0x20) : s.p[n];
	}
	return (struct atr_slice){ to, n };
}

bool atr_pgconn_has_several(const char *sql)
{
	const char *at = strchr(sql, ';');

	return at && at[1 + strspn(at + 1, "; \n\t\r")];
}

bool atr_pgconn_is_about_prepared(const char *sql)
{
	if (!sql)
		return false;
	while (*sql == ' ' || *sql == '\n' || *sql == '\t' || *sql == '\r')
		sql++;
	if (*sql == '/' || *sql == '-')
		return true; /* behind a comment: perhaps */
	return ((*sql | 0x20) == 'p' && (sql[1] | 0x20) == 'r') ||
	       ((*sql | 0x20) == 'd' && ((sql[1] | 0x20) == 'e' || (sql[1] | 0x20) == 'i')) ||
	       atr_pgconn_has_several(sql);
}

/* A text with what it says about prepared statements. */
struct reading {
	struct atr_pgconn *pg;
	struct atr_sql_lexer lx;
	enum atr_sql_dialect dialect;
	size_t i;
	bool certain;
	uint32_t handle; /* what was remembered last */
};

static bool is_sign(struct atr_slice s, enum atr_sql_kind kind, char sign)
{
	return kind == ATR_SQL_SIGN && s.len == 1 && *s.p == sign;
}

/* Like next(); the semicolon is not taken, and an empty one comes instead. */
static struct atr_slice next_in(struct reading *r, enum atr_sql_kind *kind)
{
	size_t at = r->i;
	struct atr_slice s = next(&r->lx, &r->i, kind);

	if (is_sign(s, *kind, ';')) {
		r->i = at;
		s.len = 0;
		*kind = ATR_SQL_BLANK;
	}
	return s;
}

/* Its semicolon, or where the text ends; what comes next is the next statement's. */
static const char *end_of_statement(struct reading *r)
{
	enum atr_sql_kind kind;
	unsigned depth = 0;

	for (;;) {
		struct atr_slice s = next(&r->lx, &r->i, &kind);

		if (!s.len || (is_sign(s, kind, ';') && !depth))
			return s.p;
		depth += is_sign(s, kind, '(');
		depth -= is_sign(s, kind, ')') && depth;
	}
}

/* Behind PREPARE name: the types of its parameters, AS, and the statement. */
static void prepare(struct reading *r, struct atr_slice name)
{
	enum atr_sql_kind kind;
	unsigned depth = 0;
	struct atr_slice s;

	if (!r->certain) {
		unprepare(r->pg, name);
		return;
	}
	while ((s = next_in(r, &kind)).len) {
		depth += is_sign(s, kind, '(');
		depth -= is_sign(s, kind, ')') && depth;
		if (depth || kind != ATR_SQL_WORD || !is_word(s, "as"))
			continue;
		s = next_in(r, &kind);
		s.len = (size_t)(end_of_statement(r) - s.p);
		r->i = (size_t)(s.p + s.len - r->lx.sql);
		atr_pgconn_text_n(&r->pg->text, r->dialect, s.p, s.len, true);
		r->handle = remember(r->pg, name, &r->pg->text);
		return;
	}
}

static void read_statement(struct reading *r)
{
	enum atr_sql_kind kind;
	struct atr_slice verb = next_in(r, &kind), object = next_in(r, &kind);
	char name[NAME_MAX_BYTES];

	if (is_word(verb, "discard")) {
		if (is_word(object, "all"))
			forget_all(r->pg);
	} else if (is_word(verb, "deallocate")) {
		if (is_word(object, "prepare"))
			object = next_in(r, &kind);
		if (kind == ATR_SQL_WORD && is_word(object, "all"))
			forget_all(r->pg);
		else
			unprepare(r->pg, name_of(object, kind, name));
	} else if (is_word(verb, "prepare") && !is_word(object, "transaction")) {
		prepare(r, name_of(object, kind, name));
	}
	(void)end_of_statement(r);
}

uint32_t atr_pgconn_prepared_by(struct atr_pgconn *pg, enum atr_sql_dialect dialect,
				const char *sql, bool certain)
{
	struct reading r = {
		.pg = pg,
		.lx = atr_sql_lexer(dialect, sql, strlen(sql)),
		.dialect = dialect,
		.certain = certain,
	};

	while (r.i < r.lx.len)
		read_statement(&r);
	return r.handle;
}
