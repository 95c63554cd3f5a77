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

/* Does the text take parameters?  A `$1` inside a literal makes us wrong only
 * for texts that are sent through the parameter calls anyway. */
static bool has_parameter(const char *sql, size_t len)
{
	const char *p = sql, *end = sql + len;

	while ((p = memchr(p, '$', (size_t)(end - p))) && p + 1 < end) {
		if (p[1] >= '1' && p[1] <= '9')
			return true;
		p++;
	}
	return false;
}

void atr_pgconn_text(struct atr_pgconn *pg, const char *sql, bool parameterised)
{
	size_t len = sql ? strlen(sql) : 0;

	if (parameterised && has_parameter(sql, len))
		pg->text_len = atr_utf8_copy(pg->text, sizeof(pg->text), sql, len);
	else
		pg->text_len =
			atr_sql_sanitise(ATR_SQL_POSTGRESQL, sql, len, pg->text, sizeof(pg->text));
	pg->summary_len = atr_sql_summary(ATR_SQL_POSTGRESQL, sql, len, pg->summary);
}

void atr_pgconn_prefix(struct atr_pgconn *pg, const char *word)
{
	size_t n = strlen(word);

	if (!pg->summary_len) {
		memcpy(pg->summary, word, n);
		pg->summary_len = n;
		return;
	}
	if (n + 1 + pg->summary_len > ATR_SQL_SUMMARY_MAX)
		pg->summary_len = ATR_SQL_SUMMARY_MAX - n - 1;
	memmove(pg->summary + n + 1, pg->summary, pg->summary_len);
	memcpy(pg->summary, word, n);
	pg->summary[n] = ' ';
	pg->summary_len += n + 1;
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

void atr_pgconn_remember(struct atr_pgconn *pg, const char *name, const char *sql)
{
	size_t name_len = strnlen(name ? name : (name = ""), 1024);
	uint32_t bucket = hash(name, name_len);
	struct entry e;
	size_t need;
	uint8_t *p;

	atr_pgconn_text(pg, sql, true);
	e = (struct entry){
		.name_len = (uint16_t)name_len,
		.summary_len = (uint16_t)pg->summary_len,
		.text_len = (uint32_t)pg->text_len,
	};
	need = sizeof(e) + name_len + pg->summary_len + pg->text_len;
	if (need > sizeof(pg->arena) - pg->arena_used) {
		pg->arena_used = 0;
		memset(pg->buckets, 0, sizeof(pg->buckets));
	}
	e.older = pg->buckets[bucket];
	pg->buckets[bucket] = pg->arena_used + 1;
	p = pg->arena + pg->arena_used;
	memcpy(p, &e, sizeof(e));
	memcpy(p += sizeof(e), name, name_len);
	memcpy(p += name_len, pg->summary, pg->summary_len);
	memcpy(p + pg->summary_len, pg->text, pg->text_len);
	pg->arena_used += (uint32_t)need;
	atr_pgconn_prefix(pg, "PREPARE");
}

void atr_pgconn_recall(struct atr_pgconn *pg, const char *name)
{
	size_t name_len = strnlen(name ? name : (name = ""), 1024);

	for (uint32_t at = pg->buckets[hash(name, name_len)]; at;) {
		const uint8_t *p = pg->arena + at - 1;
		struct entry e;

		memcpy(&e, p, sizeof(e));
		p += sizeof(e);
		if (e.name_len == name_len && memcmp(p, name, name_len) == 0) {
			p += name_len;
			memcpy(pg->summary, p, e.summary_len);
			memcpy(pg->text, p + e.summary_len, e.text_len);
			pg->summary_len = e.summary_len;
			pg->text_len = e.text_len;
			return;
		}
		at = e.older;
	}
	/* Prepared by a PREPARE statement, or forgotten: its text is not known. */
	memcpy(pg->summary, "EXECUTE", 7);
	pg->summary_len = 7;
	pg->text_len = 0;
}
