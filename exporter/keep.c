/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A trace is found by the span id of its local root, which every record has.  It is
 *
 *	open	  while its root has not come; its spans are held
 *	ended	  its root has come: what ended before it in other threads may still lie
 *		  in their rings, so it is decided about a whole round later
 *	decided	  kept or dropped: remembered, for what comes late
 *
 * and it is kept at once with the first span that it is kept for.  Each state is a
 * list in the order of time, so what is given up for want of room is the oldest.  A trace
 * whose root never comes (it is another process's, or its record was lost) is given
 * up after a while.
 */
#include "exporter/keep.h"

#include <stdlib.h>
#include <string.h>

#include "preload/attr.h"
#include "preload/compiler.h"
#include "preload/stats.h"

#define HOLD_NS 300000000000u /* longest time that a trace is open */
#define BY_ROOT 4096	      /* a power of two */

enum state { UNUSED, OPEN, ENDED, KEPT, DROPPED };

struct atr_kept_trace {
	struct atr_kept_trace *prev, *next; /* in the list of its state */
	struct atr_kept_trace *chain;	    /* others of that hash */
	struct atr_kept_span *spans, **spans_end;
	uint8_t root[8];
	uint8_t state;
	const char *why;
	uint64_t *dropped; /* where its spans are counted, also those that come late */
	uint64_t since;	   /* monotonic ns */
	uint64_t round;	   /* when it ended */
};

/* ---- lists ---- */

static struct atr_kept_list *list_of(struct atr_keep *k, enum state state)
{
	switch (state) {
	case UNUSED:
		return &k->unused;
	case OPEN:
		return &k->open;
	case ENDED:
		return &k->ended;
	default:
		return &k->decided;
	}
}

static void append(struct atr_kept_list *list, struct atr_kept_trace *t)
{
	t->prev = list->last;
	t->next = NULL;
	*(list->last ? &list->last->next : &list->first) = t;
	list->last = t;
}

static void move(struct atr_keep *k, struct atr_kept_trace *t, enum state to)
{
	struct atr_kept_list *from = list_of(k, (enum state)t->state);

	*(t->prev ? &t->prev->next : &from->first) = t->next;
	*(t->next ? &t->next->prev : &from->last) = t->prev;
	t->state = (uint8_t)to;
	append(list_of(k, to), t);
}

/* ---- what becomes of a trace ---- */

static size_t size_of(const struct atr_record *r)
{
	return offsetof(struct atr_kept_span, record) + r->size;
}

/* Forgets its spans; returns how many. */
static size_t empty(struct atr_keep *k, struct atr_kept_trace *t)
{
	size_t n = 0;

	while (t->spans) {
		struct atr_kept_span *s = t->spans;

		t->spans = s->next;
		k->bytes -= size_of(&s->record);
		free(s);
		n++;
	}
	t->spans_end = &t->spans;
	return n;
}

static void drop(struct atr_keep *k, struct atr_kept_trace *t, uint64_t *counter)
{
	atr_add(counter, empty(k, t));
	t->dropped = counter;
	move(k, t, DROPPED);
}

static void keep(struct atr_keep *k, struct atr_kept_trace *t, const char *why, uint64_t now)
{
	if (k->limited && !atr_bucket_take(&k->kept, now)) {
		drop(k, t, &k->stats->keep_limited);
		return;
	}
	t->why = why;
	for (struct atr_kept_span *s = t->spans; s; s = s->next)
		s->why = why;
	if (t->spans) {
		*k->ready_end = t->spans;
		k->ready_end = t->spans_end;
	}
	t->spans = NULL;
	t->spans_end = &t->spans;
	move(k, t, KEPT);
}

/* ---- finding it ---- */

static struct atr_kept_trace **chain_of(struct atr_keep *k, const uint8_t root[static 8])
{
	uint64_t hash;

	memcpy(&hash, root, sizeof(hash)); /* ids are random */
	return &k->by_root[hash & (BY_ROOT - 1)];
}

static void forget(struct atr_keep *k, struct atr_kept_trace *t)
{
	struct atr_kept_trace **at = chain_of(k, t->root);

	while (*at != t)
		at = &(*at)->chain;
	*at = t->chain;
	move(k, t, UNUSED);
}

static bool make_traces(struct atr_keep *k)
{
	if (k->traces)
		return true;
	k->traces = calloc(ATR_KEEP_TRACES, sizeof(*k->traces));
	k->by_root = calloc(BY_ROOT, sizeof(struct atr_kept_trace *));
	if (!k->traces || !k->by_root) {
		free(k->traces);
		free(k->by_root);
		k->traces = NULL;
		k->by_root = NULL;
		return false;
	}
	for (size_t i = 0; i < ATR_KEEP_TRACES; i++)
		append(&k->unused, &k->traces[i]);
	return true;
}

/* One that is free, made free if need be: remembered ones first. */
static struct atr_kept_trace *unused(struct atr_keep *k)
{
	struct atr_kept_trace *t;

	if (!k->unused.first) {
		t = k->decided.first ? k->decided.first
		    : k->ended.first ? k->ended.first
				     : k->open.first;
		if (t->state == OPEN || t->state == ENDED)
			drop(k, t, &k->stats->keep_overflow);
		forget(k, t);
	}
	return k->unused.first;
}

static struct atr_kept_trace *trace_of(struct atr_keep *k, const uint8_t root[static 8],
				       uint64_t now)
{
	struct atr_kept_trace **chain, *t;

	if (!make_traces(k))
		return NULL;
	chain = chain_of(k, root);
	for (t = *chain; t; t = t->chain)
		if (memcmp(t->root, root, sizeof(t->root)) == 0)
			return t;
	t = unused(k);
	memcpy(t->root, root, sizeof(t->root));
	t->spans = NULL;
	t->spans_end = &t->spans;
	t->why = NULL;
	t->since = now;
	t->chain = *chain;
	*chain = t;
	move(k, t, OPEN);
	return t;
}

/* ---- from outside ---- */

void atr_keep_init(struct atr_keep *k, uint32_t most_per_second, struct atr_stats *stats)
{
	*k = (struct atr_keep){ .stats = stats, .limited = most_per_second > 0 };
	k->ready_end = &k->ready;
	atr_bucket_set(&k->kept, most_per_second);
}

static void free_spans(struct atr_kept_span *s)
{
	while (s) {
		struct atr_kept_span *next = s->next;

		free(s);
		s = next;
	}
}

void atr_keep_finish(struct atr_keep *k)
{
	for (size_t i = 0; k->traces && i < ATR_KEEP_TRACES; i++)
		free_spans(k->traces[i].spans);
	free_spans(k->ready);
	free(k->traces);
	free(k->by_root);
	*k = (struct atr_keep){ .stats = k->stats };
	k->ready_end = &k->ready;
}

/* Room for that many bytes, if what is held gives it. */
static bool make_room(struct atr_keep *k, size_t size)
{
	while (k->bytes + size > ATR_KEEP_BYTES) {
		struct atr_kept_trace *t = k->ended.first ? k->ended.first : k->open.first;

		if (!t)
			return false; /* all of it is kept, and on its way out */
		drop(k, t, &k->stats->keep_overflow);
	}
	return true;
}

static struct atr_kept_span *copy(struct atr_keep *k, const struct atr_record *r)
{
	struct atr_kept_span *s;

	if (!make_room(k, size_of(r))) {
		atr_add(&k->stats->keep_overflow, 1);
		return NULL;
	}
	s = malloc(size_of(r));
	if (!s) {
		atr_add(&k->stats->no_memory, 1);
		return NULL;
	}
	s->next = NULL;
	s->why = NULL;
	memcpy(&s->record, r, r->size);
	k->bytes += size_of(r);
	return s;
}

static void add(struct atr_keep *k, struct atr_kept_trace *t, struct atr_kept_span *s)
{
	s->why = t->why;
	if (t->state == KEPT) {
		*k->ready_end = s;
		k->ready_end = &s->next;
	} else {
		*t->spans_end = s;
		t->spans_end = &s->next;
	}
}

void atr_keep_take(struct atr_keep *k, const struct atr_record *r, uint64_t now)
{
	struct atr_kept_trace *t = trace_of(k, r->local_root, now);
	struct atr_kept_span *s;

	if (!t) {
		atr_add(&k->stats->no_memory, 1);
		return;
	}
	if (t->state == DROPPED) {
		atr_add(t->dropped, 1);
		return;
	}
	s = copy(k, r);
	/* Making room may have cost this very trace. */
	if (s && t->state == DROPPED) {
		k->bytes -= size_of(r);
		free(s);
		atr_add(t->dropped, 1);
	} else if (s) {
		add(k, t, s);
	}
	if (t->state != OPEN && t->state != ENDED)
		return;
	if (r->flags & ATR_RECORD_KEEP) {
		keep(k, t, r->flags & ATR_RECORD_ERROR ? "error" : "slow", now);
	} else if (r->flags & ATR_RECORD_ROOT && t->state == OPEN) {
		t->round = k->round;
		move(k, t, ENDED);
	}
}

void atr_keep_round(struct atr_keep *k, uint64_t now)
{
	k->round++;
	while (k->ended.first && k->ended.first->round + 2 <= k->round)
		drop(k, k->ended.first, &k->stats->unkept);
	while (k->open.first && now > k->open.first->since + HOLD_NS)
		drop(k, k->open.first, &k->stats->keep_overflow);
}

void atr_keep_end(struct atr_keep *k)
{
	while (k->ended.first)
		drop(k, k->ended.first, &k->stats->unkept);
	while (k->open.first)
		drop(k, k->open.first, &k->stats->unkept);
}

const struct atr_record *atr_keep_next(const struct atr_keep *k, const char **ret_why)
{
	if (!k->ready)
		return NULL;
	*ret_why = k->ready->why;
	return &k->ready->record;
}

void atr_keep_pop(struct atr_keep *k)
{
	struct atr_kept_span *s = k->ready;

	k->ready = s->next;
	if (!k->ready)
		k->ready_end = &k->ready;
	k->bytes -= size_of(&s->record);
	free(s);
}

size_t atr_keep_say(uint8_t to[static ATR_RECORD_SPARE], const char *why)
{
	struct atr_pb pb = { .p = to, .end = to + ATR_RECORD_SPARE };

	atr_attr_str(&pb, ATR_KEPT, why, strlen(why));
	return (size_t)(pb.p - to);
}
