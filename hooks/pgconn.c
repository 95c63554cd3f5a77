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
#include "hooks/pgprepared.h"
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
	atr_store(&pg->conn, NULL);
	pg->dialling = NULL;
	pg->warning[0] = pg->failure[0] = '\0';
	pg->commented = NULL;
	pg->fallback[0] = '\0';
	pg->attrs_len = 0;
	atr_pgqueue_init(&pg->queue);
	pg->prepared = NULL;
	return pg;
}

void atr_pgconn_free(struct atr_pgconn *pg)
{
	if (!pg)
		return;
	atr_pgqueue_shrink(&pg->queue);
	atr_buffer_give(pg->commented);
	atr_pgprepared_free(pg->prepared);
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
	/* Pairs with the acquire in atr_pgconn_each(), which may have it from before. */
	atr_store_release(&pg->conn, conn);
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
	atr_store(&pg->conn, NULL);
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
		if (atr_load_acquire(&pg->conn))
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
