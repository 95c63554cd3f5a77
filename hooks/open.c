/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two small open-addressed tables of pointers, by ids and by target.  An entry lies at
 * most PROBES slots behind its hash, so a look-up reads that many, whatever was
 * removed meanwhile.  Where there is no room left near a hash an entry is not kept,
 * and while there are such, nothing is found: a twin might be among them.
 */
#include "hooks/open.h"

#include <string.h>

#include "preload/compiler.h"

#define SLOTS 4096u
#define PROBES 32u

struct table {
	struct atr_open *slots[SLOTS];
	uint32_t left_out; /* entries that found no slot */
};

static struct table by_ids, by_target;

#define LEFT_OUT 0xffffu

static uint64_t mix(uint64_t h)
{
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93u;
	h ^= h >> 32;
	return h;
}

static uint64_t hash(uint64_t h, const void *bytes, size_t n)
{
	const uint8_t *p = bytes;

	h ^= n * 0x9e3779b97f4a7c15u;
	for (; n >= 8; p += 8, n -= 8) {
		uint64_t w;

		memcpy(&w, p, 8);
		h = mix(h ^ w);
	}
	if (n) {
		uint64_t w = 0;

		memcpy(&w, p, n);
		h = mix(h ^ w);
	}
	return h ? h : 1;
}

static uint64_t hash_ids(const uint8_t *trace_id, const uint8_t *span_id)
{
	return hash(hash(1, trace_id, 16), span_id, 8);
}

static uint64_t hash_target(const struct atr_http_head *head)
{
	return hash(hash(2, head->method.p, head->method.len), head->target.p, head->target.len);
}

/* Hashes of the distinguishing fields, in the order of http.def; false when there is none. */
static bool hash_lines(const struct atr_http_head *head, uint64_t lines[ATR_OPEN_LINES])
{
	unsigned n = 0;
	bool any = false;

	for (enum atr_http_field f = 0; f < ATR_HTTP_N_FIELDS && n < ATR_OPEN_LINES; f++) {
		if (!atr_http_field_distinct(f))
			continue;
		lines[n] = head->count[f] ? hash(3 + f, head->value[f].p, head->value[f].len) : 0;
		any |= lines[n++] != 0;
	}
	while (n < ATR_OPEN_LINES)
		lines[n++] = 0;
	return any;
}

static uint16_t put(struct table *t, uint64_t h, struct atr_open *o)
{
	for (uint32_t i = 0; i < PROBES; i++) {
		uint32_t at = ((uint32_t)h + i) % SLOTS;
		struct atr_open *none = NULL;

		/* Pairs with the acquire in look-ups: the entry is whole. */
		if (!atr_load(&t->slots[at]) &&
		    __atomic_compare_exchange_n(&t->slots[at], &none, o, 0, __ATOMIC_RELEASE,
						__ATOMIC_RELAXED))
			return (uint16_t)(at + 1);
	}
	(void)atr_add(&t->left_out, 1);
	return LEFT_OUT;
}

static void take_out(struct table *t, uint16_t *slot)
{
	if (*slot == LEFT_OUT)
		(void)__atomic_fetch_sub(&t->left_out, 1, __ATOMIC_RELAXED);
	else if (*slot)
		atr_store(&t->slots[*slot - 1], NULL);
	*slot = 0;
}

/* A look-up may still be at an entry that is made anew: no torn words, and the context's cell
 * says in the end whether it was what was looked for. */
#define WORDS (sizeof(struct atr_open_facts) / sizeof(uint64_t))
_Static_assert(sizeof(struct atr_open_facts) % sizeof(uint64_t) == 0, "whole words");

static void load_facts(struct atr_open_facts *to, const struct atr_open_facts *from)
{
	uint64_t words[WORDS] = { 0 };

	for (size_t i = 0; i < WORDS; i++)
		words[i] = atr_load((const uint64_t *)(const void *)from + i);
	memcpy(to, words, sizeof(*to));
}

static void store_facts(struct atr_open_facts *to, const struct atr_open_facts *from)
{
	uint64_t words[WORDS] = { 0 };

	memcpy(words, from, sizeof(*from));
	for (size_t i = 0; i < WORDS; i++)
		atr_store((uint64_t *)(void *)to + i, words[i]);
}

void atr_open_add(struct atr_open *o, const struct atr_http_head *head,
		  const struct atr_context *from, const struct atr_context *context)
{
	struct atr_open_facts f = { .context = *context };

	if (from) {
		memcpy(f.from_trace, from->trace_id, 16);
		memcpy(f.from_span, from->span_id, 8);
		f.ids = hash_ids(from->trace_id, from->span_id);
	}
	if (hash_lines(head, f.lines))
		f.target = hash_target(head);
	store_facts(&o->facts, &f);
	o->slot_ids = f.ids ? put(&by_ids, f.ids, o) : 0;
	o->slot_target = f.target ? put(&by_target, f.target, o) : 0;
}

void atr_open_remove(struct atr_open *o)
{
	take_out(&by_ids, &o->slot_ids);
	take_out(&by_target, &o->slot_target);
}

/* Goes through the candidates of a hash; `fits` looks closer. */
static enum atr_found find(const struct table *t, uint64_t h,
			   bool (*fits)(const struct atr_open_facts *f, uint64_t h,
					const void *arg),
			   const void *arg, struct atr_context *ret)
{
	enum atr_found found = ATR_FOUND_NONE;
	struct atr_open_facts f;

	for (uint32_t i = 0; i < PROBES; i++) {
		const struct atr_open *o = atr_load_acquire(&t->slots[((uint32_t)h + i) % SLOTS]);

		if (!o || (atr_load(&o->facts.ids) != h && atr_load(&o->facts.target) != h))
			continue;
		load_facts(&f, &o->facts);
		if (!fits(&f, h, arg) || !f.context.open || !atr_context_usable(&f.context))
			continue;
		if (found)
			return ATR_FOUND_SEVERAL;
		found = ATR_FOUND_ONE;
		*ret = f.context;
	}
	return found && atr_load(&t->left_out) ? ATR_FOUND_SEVERAL : found;
}

static bool same_ids(const struct atr_open_facts *f, uint64_t h, const void *arg)
{
	const struct atr_context *from = arg;

	return f->ids == h && memcmp(f->from_trace, from->trace_id, 16) == 0 &&
	       memcmp(f->from_span, from->span_id, 8) == 0;
}

enum atr_found atr_open_by_ids(const struct atr_context *from, struct atr_context *ret)
{
	return find(&by_ids, hash_ids(from->trace_id, from->span_id), same_ids, from, ret);
}

static bool same_lines(const struct atr_open_facts *f, uint64_t h, const void *arg)
{
	const uint64_t *lines = arg;

	if (f->target != h)
		return false;
	for (unsigned i = 0; i < ATR_OPEN_LINES; i++)
		if (f->lines[i] && f->lines[i] != lines[i])
			return false;
	return true;
}

enum atr_found atr_open_by_head(const struct atr_http_head *head, struct atr_context *ret)
{
	uint64_t lines[ATR_OPEN_LINES];

	if (!hash_lines(head, lines))
		return ATR_FOUND_NONE;
	return find(&by_target, hash_target(head), same_lines, lines, ret);
}
