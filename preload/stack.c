/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walking the calling thread's stack.
 *
 * How to come from a return address to the frame before is looked up in a table
 * that all threads share, 16 bytes per return address: a few nanoseconds.  What is
 * not in it is found out from the object's unwind information (cfi.c) and put there.
 * An entry is two words, the first the address exclusive-or the second, so that half
 * of another thread's or a signal handler's writing is not taken for an entry.
 * Entries from before an object was unloaded do not count.
 *
 * Memory is read only where it is memory: between our own frame and the top of
 * the thread's stack, once the pages in between have been seen to be readable.  A
 * stack that is not connected with the thread's own (an alternate signal stack,
 * a coroutine's) is looked at page by page, every time.
 *
 * The walk ends where there is no unwind information: code made at run time, a signal's
 * frame.  It does not guess.
 */
#include "preload/stack.h"

#include <stdbool.h>
#include <string.h>
#include <sys/auxv.h>

#include "preload/cfi.h"
#include "preload/compiler.h"
#include "preload/object.h"
#include "preload/process.h"
#include "preload/sys.h"
#include "preload/thread.h"

#define PAGE 4096
#define OWN_MAX (256 * 1024)	/* that far from what is known a thread's own stack is looked for */
#define FOREIGN_MAX (64 * 1024) /* and that much of another one */
#define STEPS_MAX 64
#define PC_MASK (((uint64_t)1 << ATR_ADDR_BITS) - 1)

/* ---- rules, packed ---- */

/*
 * 3 bits base, 2 class, 2 fp_rule, 20 cfa, 12 fp, 12 ra, 12 object.  Offsets are in
 * words.  0 is no rule.
 */
struct step {
	struct atr_cfi cfi;
	uint8_t class;
	unsigned object;
};

static bool fits(int32_t v, unsigned bits)
{
	return v % 8 == 0 && v / 8 >= -(1 << (bits - 1)) && v / 8 < 1 << (bits - 1);
}

static uint64_t pack_offset(int32_t v, unsigned bits)
{
	return (uint64_t)(v / 8) & (((uint64_t)1 << bits) - 1);
}

static int32_t unpack_offset(uint64_t v, unsigned bits)
{
	return (int32_t)((int64_t)(v << (64 - bits)) >> (64 - bits)) * 8;
}

static uint64_t pack(const struct step *s)
{
	_Static_assert(ATR_OBJECTS_MAX <= 1 << 12, "an index has 12 bits");
	return (uint64_t)s->cfi.base << 60 | (uint64_t)s->class << 58 |
	       (uint64_t)s->cfi.fp_rule << 56 | pack_offset(s->cfi.cfa, 20) << 36 |
	       pack_offset(s->cfi.fp, 12) << 24 | pack_offset(s->cfi.ra, 12) << 12 | s->object;
}

static struct step unpack(uint64_t v)
{
	return (struct step){
		.cfi = { .base = v >> 60 & 7,
			 .fp_rule = v >> 56 & 3,
			 .cfa = unpack_offset(v >> 36, 20),
			 .fp = unpack_offset(v >> 24, 12),
			 .ra = unpack_offset(v >> 12, 12) },
		.class = v >> 58 & 3,
		.object = v & 0xfff,
	};
}

/* ---- the table ---- */

#define ENTRIES 4096

static struct entry {
	uint64_t key; /* (address | generation << 48) ^ step */
	uint64_t step;
} entries[ENTRIES];

/* Objects unloaded so far, and in the low byte how many are just being unloaded. */
static uint32_t unloads;
#define UNLOADING 0xffu

static struct entry *entry_of(uintptr_t pc)
{
	return &entries[pc * 0x9e3779b97f4a7c15u >> 52];
}

static uint64_t key_of(uintptr_t pc, uint32_t generation)
{
	return (pc & PC_MASK) | (uint64_t)(generation >> 8) << ATR_ADDR_BITS;
}

void atr_stack_unloading(void)
{
	__atomic_fetch_add(&unloads, 1, __ATOMIC_ACQ_REL);
}

void atr_stack_unloaded(void)
{
	uint32_t now = atr_load(&unloads), then;

	do
		then = now & UNLOADING ? now + UNLOADING : now + UNLOADING + 1;
	while (!__atomic_compare_exchange_n(&unloads, &now, then, 1, __ATOMIC_ACQ_REL,
					    __ATOMIC_RELAXED));
	/* 16 bits of the count are in a key: before one comes again, all are forgotten. */
	if ((then >> 8 & 0xffff) == 0)
		for (size_t i = 0; i < ENTRIES; i++)
			atr_store(&entries[i].key, 0);
}

void atr_stack_forked(void)
{
	if (atr_load(&unloads) & UNLOADING)
		atr_store(&unloads, (atr_load(&unloads) | UNLOADING) + 1);
}

/* ---- a step ---- */

static bool have_objects;
static uintptr_t main_top; /* of the initial thread's stack */

void atr_stack_init(void)
{
	atr_object_init();
	have_objects = true;
	main_top = getauxval(AT_EXECFN) & ~(uintptr_t)7;
}

/* From the object's own information; false where pc is in none. */
static atr_noinline bool find_step(uintptr_t pc, struct step *ret)
{
	struct atr_mapping map;
	const struct atr_object *o;

	if (!atr_object_map(pc - 1, &map))
		return false;
	*ret = (struct step){ .object = atr_object_index(&map) };
	o = atr_object(ret->object);
	ret->class = o ? o->class : ATR_OBJECT_RUNTIME; /* not to be named: the search ends */
	atr_cfi_find(&ret->cfi, map.eh_frame_hdr, map.start, map.end, pc);
	if (!fits(ret->cfi.cfa, 20) || !fits(ret->cfi.fp, 12) || !fits(ret->cfi.ra, 12))
		ret->cfi = (struct atr_cfi){ .base = ATR_CFI_NONE };
	return true;
}

/* False: no object is there. */
static bool step_at(uintptr_t pc, struct step *ret)
{
	uint32_t generation = atr_load_acquire(&unloads);
	struct entry *e = entry_of(pc);
	uint64_t key = atr_load(&e->key), packed = atr_load(&e->step);

	if (atr_likely(packed && (key ^ packed) == key_of(pc, generation) &&
		       !(generation & UNLOADING))) {
		*ret = unpack(packed);
		return true;
	}
	if (!find_step(pc, ret))
		return false;
	if (!(generation & UNLOADING)) {
		packed = pack(ret);
		atr_store(&e->key, key_of(pc, generation) ^ packed);
		atr_store(&e->step, packed);
	}
	return true;
}

/* ---- memory ---- */

struct walk {
	uintptr_t pc, sp, fp; /* of the frame that is looked at: just after the call */
	uintptr_t low;	      /* of our own frame: everything is above */
	uintptr_t high;	      /* memory ends here, or is not known from here on */
	uintptr_t highest;    /* where asking for more ends */
};

/* Whole pages are asked for, [from, to). */
static bool readable(uintptr_t from, uintptr_t to)
{
	for (uintptr_t at = from & ~(uintptr_t)(PAGE - 1); at < to; at += PAGE)
		if (!atr_sys_ask((const void *)at))
			return false;
	return true;
}

/* The top of the stack that the thread began on, if that can be this one. */
static uintptr_t own_top(uintptr_t sp)
{
	const struct atr_thread *t = atr_tls.thread;
	uintptr_t top = main_top;
	int tid = t && t->epoch == atr_process.epoch ? (int)t->tid : atr_sys_gettid();

	/* A thread's static TLS lies at the top of its stack (glibc), main's does not. */
	if (tid != atr_process.pid)
		top = (uintptr_t)&atr_tls;
	return top > sp && top - sp <= OWN_MAX ? top : 0;
}

static atr_noinline void find_stack(struct walk *w)
{
	struct atr_tls *t = &atr_tls;
	uintptr_t low = w->low & ~(uintptr_t)(PAGE - 1), known, top;

	if (t->stack_top && low < t->stack_low && t->stack_low - low <= OWN_MAX) {
		known = t->stack_low;
		top = t->stack_top;
	} else {
		known = top = own_top(low);
	}
	if (top && readable(low, known)) {
		/* A handler may come or leave by siglongjmp() in between: then nothing is known.
		 * One that writes too has the same top. */
		atr_store(&t->stack_top, 0);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		atr_store(&t->stack_low, low);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		atr_store(&t->stack_top, top);
		w->high = w->highest = top;
		return;
	}
	w->high = low + PAGE;
	w->highest = low + FOREIGN_MAX;
}

static bool word(struct walk *w, uintptr_t at, uintptr_t *ret)
{
	if (at < w->low || at % sizeof(*ret))
		return false;
	while (atr_unlikely(at >= w->high - 7)) {
		if (w->high >= w->highest || !readable(w->high, w->high + PAGE))
			return false;
		w->high += PAGE;
	}
	memcpy(ret, (const void *)at, sizeof(*ret));
	return true;
}

/* ---- the walk ---- */

/* To the caller of the frame; false where there is no way on. */
static bool up(struct walk *w, const struct atr_cfi *c)
{
	uintptr_t cfa = c->base == ATR_CFI_SP ? w->sp : w->fp, fp = w->fp;

	if (c->base == ATR_CFI_NONE)
		return false;
	cfa += (uintptr_t)(intptr_t)c->cfa;
	if (c->base == ATR_CFI_FP_DEREF && !word(w, cfa, &cfa))
		return false;
	if (cfa <= w->sp) /* the stack grows down: no walk goes round */
		return false;
	if (!word(w, cfa + (uintptr_t)(intptr_t)c->ra, &w->pc))
		return false;
	if (c->fp_rule == ATR_CFI_FP_AT_CFA && !word(w, cfa + (uintptr_t)(intptr_t)c->fp, &fp))
		return false;
	if (c->fp_rule == ATR_CFI_FP_AT_FP && !word(w, fp + (uintptr_t)(intptr_t)c->fp, &fp))
		return false;
#if defined(__aarch64__)
	w->pc &= PC_MASK; /* a return address may be signed */
#endif
	w->fp = fp;
	w->sp = cfa;
	return w->pc != 0;
}

/* Begins at the caller of the function that says so. */
#define WALK_BEGIN()                                                  \
	{                                                             \
		.pc = (uintptr_t)__builtin_return_address(0),         \
		.sp = (uintptr_t)__builtin_dwarf_cfa(),               \
		.fp = *(const uintptr_t *)__builtin_frame_address(0), \
		.low = (uintptr_t)__builtin_frame_address(0),         \
	}

static bool walk_begin(struct walk *w)
{
	struct atr_tls *t = &atr_tls;

	if (!have_objects)
		return false;
	w->high = w->highest = atr_load(&t->stack_top);
	if (atr_unlikely(w->low >= w->high || w->low < atr_load(&t->stack_low)))
		find_stack(w);
	return true;
}

static uint64_t address(const struct step *s, uintptr_t pc)
{
	const struct atr_object *o = atr_object(s->object);

	return o ? (uint64_t)s->object << ATR_ADDR_BITS | ((pc - o->bias) & PC_MASK) : pc & PC_MASK;
}

__attribute__((noinline)) uint64_t atr_stack_site(void)
{
	struct walk w = WALK_BEGIN();
	struct step s;

	if (!walk_begin(&w))
		return 0;
	for (unsigned i = 0; i < STEPS_MAX; i++) {
		if (!step_at(w.pc, &s))
			return 0;
		if (s.class == ATR_OBJECT_PROGRAM)
			return address(&s, w.pc);
		if (s.class == ATR_OBJECT_RUNTIME || !up(&w, &s.cfi))
			return 0;
	}
	return 0;
}

__attribute__((noinline)) unsigned atr_stack_trace(uint64_t addrs[static ATR_STACK_MAX])
{
	struct walk w = WALK_BEGIN();
	unsigned n = 0;
	struct step s;

	if (!walk_begin(&w))
		return 0;
	for (unsigned i = 0; i < STEPS_MAX && n < ATR_STACK_MAX; i++) {
		if (!step_at(w.pc, &s)) {
			addrs[n++] = w.pc & PC_MASK;
			break;
		}
		if (s.class != ATR_OBJECT_OURS)
			addrs[n++] = address(&s, w.pc);
		if (!up(&w, &s.cfi))
			break;
	}
	return n;
}
