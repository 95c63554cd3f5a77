/* SPDX-License-Identifier: Apache-2.0 */
#include "hooks/pgprepared.h"

#include <string.h>

#define BUCKETS 256
#define BYTES (512 * 1024) /* of which only what was written to is memory */

struct atr_pgprepared {
	struct atr_pooled pooled;
	uint32_t used;
	uint32_t buckets[BUCKETS]; /* offset + 1 of the newest entry */
	uint8_t arena[BYTES - (2 + BUCKETS) * sizeof(uint32_t) - sizeof(struct atr_pooled)];
};

static struct atr_pool pool = {
	.size = sizeof(struct atr_pgprepared),
	.per_chunk = 1,
	.max = ATR_POOL_CHUNKS,
};

/* An entry of the arena: this, then name, summary and text. */
struct entry {
	uint32_t older; /* of the same bucket: offset + 1, 0: none */
	uint16_t name_len;
	uint16_t summary_len;
	uint16_t text_len;
	uint16_t dead;
};

_Static_assert(ATR_VALUE_MAX <= UINT16_MAX, "a text's length has 16 bits");

static uint32_t hash(const char *s, size_t n)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)s[i]) * 16777619u;
	return h % BUCKETS;
}

static struct entry entry_at(const struct atr_pgprepared *of, uint32_t at)
{
	struct entry e;

	memcpy(&e, of->arena + at, sizeof(e));
	return e;
}

static uint32_t size_of(const struct entry *e)
{
	return (uint32_t)sizeof(*e) + e->name_len + e->summary_len + e->text_len;
}

static void forget_all(struct atr_pgprepared *of)
{
	of->used = 0;
	memset(of->buckets, 0, sizeof(of->buckets));
}

/* The newest entry of this name, offset + 1; its bytes behind it.  0: there is none. */
static uint32_t find(const struct atr_pgprepared *of, struct atr_slice name, struct entry *e)
{
	for (uint32_t at = of->buckets[hash(name.p, name.len)]; at; at = e->older) {
		*e = entry_at(of, at - 1);
		if (!e->dead && e->name_len == name.len &&
		    memcmp(of->arena + at - 1 + sizeof(*e), name.p, name.len) == 0)
			return at;
	}
	return 0;
}

static void bury(struct atr_pgprepared *of, uint32_t at)
{
	struct entry e = entry_at(of, at - 1);

	e.dead = 1;
	memcpy(of->arena + at - 1, &e, sizeof(e));
}

/* Buries what has a newer one of its name; returns the bytes of what counts. */
static uint32_t bury_old(struct atr_pgprepared *of)
{
	uint32_t live = 0;
	struct entry e, newest;

	for (uint32_t at = 0; at < of->used; at += size_of(&e)) {
		const char *name = (const char *)of->arena + at + sizeof(e);

		e = entry_at(of, at);
		if (e.dead)
			continue;
		if (find(of, (struct atr_slice){ name, e.name_len }, &newest) == at + 1)
			live += size_of(&e);
		else
			bury(of, at + 1);
	}
	return live;
}

/* What still counts moves together, but for the oldest of it: a half is free then. */
static void make_room(struct atr_pgprepared *of)
{
	uint32_t live = bury_old(of), used = of->used, n;
	struct entry e;

	forget_all(of);
	for (uint32_t at = 0; at < used; at += n) {
		uint8_t *to = of->arena + of->used;
		uint32_t bucket;

		e = entry_at(of, at);
		n = size_of(&e);
		if (e.dead)
			continue;
		if (live > sizeof(of->arena) / 2) {
			live -= n;
			continue;
		}
		memmove(to, of->arena + at, n);
		bucket = hash((const char *)to + sizeof(e), e.name_len);
		e.older = of->buckets[bucket];
		memcpy(to, &e, sizeof(e));
		of->buckets[bucket] = of->used + 1;
		of->used += n;
	}
}

static struct atr_slice slice_of(const char *name)
{
	return (struct atr_slice){ name ? name : "",
				   name ? strnlen(name, ATR_PGPREPARED_NAME_MAX) : 0 };
}

uint32_t atr_pgprepared_remember(struct atr_pgconn *pg, const char *name,
				 const struct atr_pgtext *t)
{
	struct atr_pgprepared *of = pg->prepared;
	struct atr_slice s = slice_of(name);
	struct entry e = {
		.name_len = (uint16_t)s.len,
		.summary_len = (uint16_t)t->summary_len,
		.text_len = (uint16_t)t->len,
	};
	uint32_t bucket = hash(s.p, s.len), handle;
	uint8_t *p;

	if (!of) {
		of = pg->prepared = atr_pool_take(&pool);
		if (!of)
			return 0;
		forget_all(of);
	}
	if (size_of(&e) > sizeof(of->arena) - of->used)
		make_room(of);
	e.older = of->buckets[bucket];
	of->buckets[bucket] = handle = of->used + 1;
	p = of->arena + of->used;
	memcpy(p, &e, sizeof(e));
	memcpy(p += sizeof(e), s.p, s.len);
	memcpy(p += s.len, t->summary, t->summary_len);
	memcpy(p += t->summary_len, t->text, t->len);
	of->used += size_of(&e);
	return handle;
}

void atr_pgprepared_undo(struct atr_pgconn *pg, uint32_t handle)
{
	struct atr_pgprepared *of = pg->prepared;

	/* It may lie elsewhere by now; then at worst a text is not known. */
	for (size_t i = 0; of && handle && i < BUCKETS; i++) {
		for (uint32_t at = of->buckets[i]; at; at = entry_at(of, at - 1).older) {
			if (at != handle)
				continue;
			bury(of, at);
			return;
		}
	}
}

bool atr_pgprepared_recall(const struct atr_pgconn *pg, const char *name, struct atr_pgtext *t)
{
	const struct atr_pgprepared *of = pg->prepared;
	struct entry e;
	uint32_t at = of ? find(of, slice_of(name), &e) : 0;
	const uint8_t *p;

	if (!at) { /* prepared where we did not see it, or forgotten */
		t->summary_len = t->len = 0;
		return false;
	}
	p = of->arena + at - 1 + sizeof(e) + e.name_len;
	memcpy(t->summary, p, e.summary_len);
	memcpy(t->text, p + e.summary_len, e.text_len);
	t->summary_len = e.summary_len;
	t->len = e.text_len;
	return true;
}

void atr_pgprepared_forget(struct atr_pgconn *pg, const char *name)
{
	struct atr_pgprepared *of = pg->prepared;
	struct atr_slice s = slice_of(name);
	struct entry e;

	if (!of)
		return;
	if (!name)
		forget_all(of);
	else
		for (uint32_t at; (at = find(of, s, &e));)
			bury(of, at);
}

void atr_pgprepared_free(struct atr_pgprepared *of)
{
	if (of)
		atr_pool_give(&pool, of);
}
