/* SPDX-License-Identifier: Apache-2.0 */
#include "hooks/pgconn.h"

#include <string.h>

#include "preload/compiler.h"
#include "preload/utf8.h"

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
	pg->parked = pg->attached = pg->in_use = false;
	pg->at_hand = 0;
	pg->attrs_len = 0;
	pg->arena_used = 0;
	memset(pg->buckets, 0, sizeof(pg->buckets));
	return pg;
}

void atr_pgconn_free(struct atr_pgconn *pg)
{
	if (pg)
		atr_pool_give(&pgconns, pg);
}

void atr_pgconn_text(struct atr_pgtext *t, enum atr_sql_dialect dialect, const char *sql,
		     bool parameterised)
{
	size_t len = sql ? strlen(sql) : 0;

	if (parameterised && atr_sql_has_parameter(dialect, sql, len))
		t->len = atr_utf8_copy(t->text, sizeof(t->text), sql, len);
	else
		t->len = atr_sql_sanitise(dialect, sql, len, t->text, sizeof(t->text));
	t->summary_len = atr_sql_summary(dialect, sql, len, t->summary);
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

/* An entry of the arena: this, then name, summary and text. */
struct entry {
	uint32_t older; /* of the same bucket: offset + 1, 0: none */
	uint16_t name_len;
	uint16_t summary_len;
	uint32_t text_len;
};

static uint32_t hash(const char *s, size_t n)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)s[i]) * 16777619u;
	return h % 64;
}

void atr_pgconn_remember(struct atr_pgconn *pg, const char *name, const struct atr_pgtext *t)
{
	size_t name_len = strnlen(name ? name : (name = ""), 1024);
	uint32_t bucket = hash(name, name_len);
	struct entry e = {
		.name_len = (uint16_t)name_len,
		.summary_len = (uint16_t)t->summary_len,
		.text_len = (uint32_t)t->len,
	};
	uint8_t *p;

	if (sizeof(e) + name_len + t->summary_len + t->len > sizeof(pg->arena) - pg->arena_used) {
		pg->arena_used = 0;
		memset(pg->buckets, 0, sizeof(pg->buckets));
	}
	e.older = pg->buckets[bucket];
	pg->buckets[bucket] = pg->arena_used + 1;
	p = pg->arena + pg->arena_used;
	memcpy(p, &e, sizeof(e));
	memcpy(p += sizeof(e), name, name_len);
	memcpy(p += name_len, t->summary, t->summary_len);
	memcpy(p += t->summary_len, t->text, t->len);
	pg->arena_used = (uint32_t)(p + t->len - pg->arena);
}

void atr_pgconn_recall(struct atr_pgconn *pg, const char *name, struct atr_pgtext *t)
{
	size_t name_len = strnlen(name ? name : (name = ""), 1024);

	for (uint32_t at = pg->buckets[hash(name, name_len)]; at;) {
		const uint8_t *p = pg->arena + at - 1;
		struct entry e;

		memcpy(&e, p, sizeof(e));
		p += sizeof(e);
		if (e.name_len == name_len && memcmp(p, name, name_len) == 0) {
			p += name_len;
			memcpy(t->summary, p, e.summary_len);
			memcpy(t->text, p + e.summary_len, e.text_len);
			t->summary_len = e.summary_len;
			t->len = e.text_len;
			return;
		}
		at = e.older;
	}
	/* Prepared by a PREPARE statement, or forgotten: its text is not known. */
	memcpy(t->summary, "EXECUTE", 7);
	t->summary_len = 7;
	t->len = 0;
}
