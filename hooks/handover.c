/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread's context goes along to a new program as TRACEPARENT, TRACESTATE and BAGGAGE
 * of its environment.
 *
 * What the program put there itself is its own business: a TRACEPARENT that is not the
 * one this process was started with stays, and nothing is changed.  The one it was
 * started with is replaced, and what belongs to it goes with it.
 *
 * All of it is async-signal-safe and may happen in a vfork child, in memory and a thread
 * that are the parent's: no heap, no locks, nothing left behind.  An array or a string may
 * be no memory at all: then the call must say EFAULT, so it is looked at page by page.
 */
#include "hooks/handover.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "hooks/hook.h"
#include "hooks/propagator.h"
#include "preload/carrier.h"
#include "preload/life.h"
#include "preload/sampler.h"
#include "preload/sys.h"
#include "preload/text.h"
#include "preload/traceparent.h"

#define TRACEPARENT "TRACEPARENT="
#define TRACESTATE "TRACESTATE="
#define BAGGAGE "BAGGAGE="
#define PARENT "AUTOTRACE_PARENT="

#define ENTRIES_MAX 4096 /* a longer environment goes as it is */
#define VALUE_MAX 16384	 /* of a value that is read to its end */
#define OURS_MAX 4

/* ---- reading the program's memory ---- */

#define PAGE 4096u
#define NO_PAGE 1 /* is the address of none */

/* Pages known to be readable, the last of each kind. */
struct memory {
	uintptr_t array_page;
	uintptr_t string_page;
};

static bool readable(uintptr_t *known, const char *p)
{
	uintptr_t page = (uintptr_t)p & ~(uintptr_t)(PAGE - 1);
	char byte;

	if (*known == page)
		return true;
	if (!atr_sys_peek(&byte, p, 1))
		return false;
	*known = page;
	return true;
}

/* A byte of a string, or -1. */
static int byte_at(struct memory *m, const char *p)
{
	return readable(&m->string_page, p) ? (uint8_t)*p : -1;
}

static bool entry_at(struct memory *m, char *const *at, const char **ret)
{
	const char *p = (const char *)at; /* need not be aligned */

	if (!readable(&m->array_page, p) || !readable(&m->array_page, p + sizeof(*at) - 1))
		return false;
	memcpy(ret, p, sizeof(*ret));
	return true;
}

/* ---- values ---- */

#define FNV_BASIS 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u
#define TOO_LONG 1 /* the hash of no value that we know */

static uint64_t add_byte(uint64_t hash, int byte)
{
	return (hash ^ (uint64_t)byte) * FNV_PRIME;
}

/*
 * The values this process was started with, as hashes; 0: it had none.  The strings
 * themselves may be written over (a program that changes its title does).
 */
static struct {
	uint64_t traceparent;
	uint64_t baggage;
} inherited;

static uint64_t hash_of(const char *value)
{
	uint64_t hash = FNV_BASIS;

	for (; value && *value; value++)
		hash = add_byte(hash, (uint8_t)*value);
	return value ? hash : 0;
}

static void remember(void)
{
	inherited.traceparent = hash_of(getenv("TRACEPARENT"));
	inherited.baggage = hash_of(getenv("BAGGAGE"));
}

enum kind { OTHER, KIND_TRACEPARENT, KIND_TRACESTATE, KIND_BAGGAGE, KIND_PARENT, BAD };

static const struct {
	const char *name;
	enum kind kind;
} names[] = {
	{ TRACEPARENT, KIND_TRACEPARENT },
	{ TRACESTATE, KIND_TRACESTATE },
	{ BAGGAGE, KIND_BAGGAGE },
	{ PARENT, KIND_PARENT },
};

static enum kind read_value(struct memory *m, enum kind kind, const char *p, uint64_t *ret_hash)
{
	uint64_t hash = FNV_BASIS;
	int byte;

	for (size_t i = 0; (byte = byte_at(m, p + i)) > 0; i++) {
		hash = add_byte(hash, byte);
		if (i == VALUE_MAX) {
			hash = TOO_LONG;
			break;
		}
	}
	*ret_hash = hash;
	return byte < 0 ? BAD : kind;
}

static enum kind classify(struct memory *m, const char *entry, uint64_t *ret_hash)
{
	int byte = byte_at(m, entry);

	if (byte < 0)
		return BAD;
	if (atr_likely(byte != 'T' && byte != 'B' && byte != 'A'))
		return OTHER;
	for (size_t i = 0; i < ATR_ARRAY_LEN(names); i++) {
		const char *name = names[i].name, *p = entry;

		while (*name && (byte = byte_at(m, p)) == *name) {
			name++;
			p++;
		}
		if (byte < 0)
			return BAD;
		if (!*name)
			return read_value(m, names[i].kind, p, ret_hash);
	}
	return OTHER;
}

/* ---- a new environment ---- */

static bool find_context(struct atr_context *ret)
{
	const struct atr_context *c = atr_context_current(), *at_fork = &atr_context_at_fork;

	/* Has the thread come to anything else since? */
	if (!c && atr_context_usable(at_fork) && atr_context_same(&atr_tls.context, at_fork) &&
	    atr_tls.context.inherited == at_fork->inherited)
		c = at_fork;
	if (c)
		*ret = *c;
	return c != NULL;
}

static void forking(void)
{
	if (atr_live())
		atr_context_forking();
}

static void forked(void)
{
	if (atr_live())
		atr_context_forked();
	else
		atr_context_at_fork.valid = false;
}

__attribute__((constructor)) static void start(void)
{
	remember();
	(void)pthread_atfork(forking, NULL, forked);
}

bool atr_handover_has_context(struct atr_handover *h)
{
	return atr_live() && !atr_sampler_passive &&
	       atr_propagators.mask & ATR_PROPAGATE_TRACECONTEXT && find_context(&h->context);
}

/* Where the new program could not learn of its end, the context is not handed on. */
static bool put_life(struct atr_handover *h)
{
	struct atr_cell *cell = h->context.open;

	if (!cell || !atr_life_begin(cell))
		return false;
	atr_to_hex(h->life, h->context.span_id, sizeof(h->context.span_id));
	h->life[16] = '-';
	h->life_len = 17 + atr_life_text(cell, h->life + 17);
	return atr_context_usable(&h->context); /* it was that span's, not a later one's */
}

/* Counts the entries; false when the array cannot be read, or must not be changed. */
static bool survey(struct atr_handover *h, char *const envp[])
{
	struct memory m = { NO_PAGE, NO_PAGE };
	const char *entry;
	uint64_t hash;

	if (!envp)
		return false; /* Linux takes that for an empty one */
	h->own_baggage = !(atr_propagators.mask & ATR_PROPAGATE_BAGGAGE);
	for (h->n = 0; entry_at(&m, envp + h->n, &entry) && h->n <= ENTRIES_MAX; h->n++) {
		if (!entry)
			return true;
		switch (classify(&m, entry, &hash)) {
		case KIND_TRACEPARENT:
			if (hash != inherited.traceparent)
				return false;
			break;
		case KIND_BAGGAGE:
			h->own_baggage |= hash != inherited.baggage;
			break;
		case BAD:
			return false;
		case KIND_TRACESTATE:
		case KIND_PARENT:
		case OTHER:
			break;
		}
	}
	return false;
}

static void hold_carrier(struct atr_handover *h)
{
	struct atr_carrier *c = h->context.carrier;

	h->tracestate = h->baggage = (struct atr_slice){ NULL, 0 };
	h->carrier = c && atr_carrier_hold(c, h->context.carrier_gen) ? c : NULL;
	if (!h->carrier)
		return;
	h->tracestate = atr_carrier_tracestate(c);
	if (!h->own_baggage)
		h->baggage = atr_carrier_baggage(c);
}

/* NAME=VALUE at *to, which moves on; NULL when there is no value. */
static char *put_entry(char **to, const char *name, struct atr_slice value)
{
	size_t len = strlen(name);
	char *entry = *to;

	if (!value.len)
		return NULL;
	memcpy(entry, name, len);
	memcpy(entry + len, value.p, value.len);
	entry[len + value.len] = '\0';
	*to = entry + len + value.len + 1;
	return entry;
}

/* ours[] in the order of their kinds; NULL where there is none. */
static void write_ours(const struct atr_handover *h, char *ours[OURS_MAX], char *text)
{
	char traceparent[ATR_TRACEPARENT_LEN];

	atr_traceparent_write(traceparent, &h->context);
	ours[0] = put_entry(&text, TRACEPARENT,
			    (struct atr_slice){ traceparent, sizeof(traceparent) });
	ours[1] = put_entry(&text, TRACESTATE, h->tracestate);
	ours[2] = put_entry(&text, BAGGAGE, h->baggage);
	ours[3] = put_entry(&text, PARENT, (struct atr_slice){ h->life, h->life_len });
}

/* Has an entry its place taken by ours (if there is one), or does it stay? */
static bool goes(const struct atr_handover *h, enum kind kind)
{
	switch (kind) {
	case KIND_TRACEPARENT:
	case KIND_TRACESTATE: /* of another trace, or of none */
	case KIND_PARENT:
		return true;
	case KIND_BAGGAGE: /* gives way to the request's, or goes with the trace it came with */
		return !h->own_baggage && (h->baggage.len || inherited.traceparent);
	default:
		return false;
	}
}

static bool rewrite(const struct atr_handover *h, char *const envp[], char *array[], char *text)
{
	struct memory m = { NO_PAGE, NO_PAGE };
	char *ours[OURS_MAX];
	const char *entry;
	uint64_t hash;
	size_t n = 0;

	write_ours(h, ours, text);
	for (size_t i = 0; i < h->n; i++) {
		enum kind kind;

		if (!entry_at(&m, envp + i, &entry))
			return false;
		if (!entry)
			break; /* another thread is at it */
		kind = classify(&m, entry, &hash);
		if (!goes(h, kind)) {
			array[n++] = (char *)(uintptr_t)entry;
			continue;
		}
		if (ours[kind - KIND_TRACEPARENT]) {
			array[n++] = ours[kind - KIND_TRACEPARENT];
			ours[kind - KIND_TRACEPARENT] = NULL; /* a second one only goes */
		}
	}
	for (size_t i = 0; i < OURS_MAX; i++)
		if (ours[i])
			array[n++] = ours[i];
	array[n] = NULL;
	return true;
}

size_t atr_handover_size(char *const array[])
{
	struct memory m = { NO_PAGE, NO_PAGE };
	size_t size = sizeof(*array);
	const char *entry;
	int byte;

	for (size_t n = 0; n <= ENTRIES_MAX; n++) {
		if (!entry_at(&m, array + n, &entry))
			return SIZE_MAX;
		if (!entry)
			return size;
		size += sizeof(*array);
		do {
			byte = byte_at(&m, entry++);
			size++;
		} while (byte > 0);
		if (byte < 0)
			return SIZE_MAX;
	}
	return SIZE_MAX;
}

bool atr_handover_begin(struct atr_handover *h, char *const envp[])
{
	if (!survey(h, envp) || !put_life(h))
		return false;
	hold_carrier(h);
	h->room = h->n + OURS_MAX + 1;
	h->text_len = sizeof(TRACEPARENT) + ATR_TRACEPARENT_LEN + sizeof(TRACESTATE) +
		      h->tracestate.len + sizeof(BAGGAGE) + h->baggage.len + sizeof(PARENT) +
		      h->life_len;
	return true;
}

bool atr_handover_end(struct atr_handover *h, char *const envp[], char *array[], char *text)
{
	bool done = rewrite(h, envp, array, text);

	atr_carrier_release(h->carrier);
	return done;
}

void atr_handover_cancel(struct atr_handover *h)
{
	atr_carrier_release(h->carrier);
}
