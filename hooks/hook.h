/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_HOOK_H
#define ATR_HOOKS_HOOK_H

#include "hooks/pgconn.h"
#include "hooks/real.h"
#include "preload/compiler.h"
#include "preload/gate.h"
#include "preload/thread.h"

/*
 * All the macro there is.  A hook is an ordinary function that begins with one
 * of these; `grep -n ^atr_export` over the hook files is the list of what we do to a program.
 */

/* clang-format off */
/* Masks: the libraries a thread is inside, one bit per LIB row. */
enum {
#define LIB(name, soname) ATR_LIB_##name,
#include "hooks/hooks.def"
};
enum {
#define LIB(name, soname) ATR_IN_##name = 1 << ATR_LIB_##name,
#include "hooks/hooks.def"
};
/* clang-format on */

/*
 * May this call be looked at?  Not when it comes from within our own code.  A library
 * call that was left by longjmp() or an exception is noticed here.
 */
static inline bool atr_live(void)
{
	return atr_gate_open() &&
	       (atr_likely(!atr_tls.inside) || !atr_thread_inside(__builtin_frame_address(0)));
}

/*
 * A libc hook: RETURNS what the real function returns when there is nothing to
 * do.  Nothing is held across the real call: programs siglongjmp() out of it.
 */
#define ATR_ENTER(name, ...)              \
	if (atr_unlikely(!atr_real.name)) \
		atr_real_init();          \
	if (atr_unlikely(!atr_live()))    \
	return atr_real.name(__VA_ARGS__)

/*
 * Is this libpq calling itself?  It does so through the PLT, and the return address
 * lies in it.  A callback of the program (a notice processor) that queries another
 * connection is a call of the program's own; one about the same connection can
 * only come after libpq was left.
 *
 * Where libpq was entered past us (by what dlsym() said) all there is to be seen is what it
 * calls itself.  A connection that was made so is left to its bytes (pg-talk.c).
 */
static inline bool atr_libpq_itself(const struct atr_libpq *pq, const void *object,
				    const void *caller)
{
	/* A tail call of its leaves the return address of a hook of ours that called it. */
	bool from_itself = (uintptr_t)caller - pq->start < pq->end - pq->start || atr_ours(caller);

	if (atr_likely(!(atr_tls.inside & ATR_IN_LIBPQ)))
		return atr_unlikely(from_itself) && !(object && atr_pgconn_find(object));
	if (from_itself)
		return true;
	if (object && object == atr_tls.library_object)
		atr_thread_abandon();
	return false;
}

struct atr_outer {
	uint32_t inside;
	const void *object;
	const void *frame;
};

static inline struct atr_outer atr_library_enter(uint32_t mask, const void *object,
						 const void *frame)
{
	struct atr_outer outer = {
		.inside = atr_tls.inside,
		.object = atr_tls.library_object,
		.frame = atr_tls.library_frame,
	};

	atr_tls.inside |= mask;
	atr_tls.library_object = object;
	atr_tls.library_frame = frame;
	return outer;
}

static inline void atr_library_leave(const struct atr_outer *outer)
{
	atr_tls.inside = outer->inside;
	atr_tls.library_object = outer->object;
	atr_tls.library_frame = outer->frame;
}

/*
 * A libpq hook: DECLARES `pq`, the real library; RETURNS what it returns when
 * libpq is calling itself; otherwise holds the mask until the hook ends.
 * `object` is the connection.
 */
#define ATR_ENTER_LIBPQ(none, object, name, ...)                                         \
	const struct atr_libpq *pq = atr_real_libpq(__builtin_return_address(0));        \
	const void *atr_frame = __builtin_frame_address(0);                              \
	if (atr_unlikely(!pq->name))                                                     \
		return none;                                                             \
	if (atr_unlikely(!atr_live()))                                                   \
		return pq->name(__VA_ARGS__);                                            \
	if (atr_unlikely(atr_libpq_itself(pq, object, __builtin_return_address(0))))     \
		return pq->name(__VA_ARGS__);                                            \
	__attribute__((cleanup(atr_library_leave), unused)) struct atr_outer atr_outer = \
		atr_library_enter(ATR_IN_LIBPQ, object, atr_frame)

#endif
