/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_GATE_H
#define ATR_PRELOAD_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "preload/compiler.h"

/*
 * May a hook do anything at all?  One load says so: the page it reads is wiped
 * by the kernel in a forked child (MADV_WIPEONFORK), so the same test also finds
 * out, without a system call, that this process is a new one.
 */
struct atr_gate {
	uint32_t live;
};

extern struct atr_gate *atr_gate;

/*
 * The slow side of a closed gate: before the constructor, after we were
 * disabled, or in a new child, which is then made ready.  True when live now.
 */
bool atr_gate_closed(void);

/* Closes it for this process, for good. */
void atr_gate_shut(void);

/* A bug of our own was found: counted, logged once, the gate shut; never aborts the host
 * unless AUTOTRACE_ABORT_ON_BUG says so. */
void atr_bug(const char *what, const char *file, int line) atr_noinline;
#define ATR_BUG(cond) (atr_unlikely(cond) ? (atr_bug(#cond, __FILE__, __LINE__), true) : false)

static inline bool atr_gate_open(void)
{
	return atr_likely(atr_load(&atr_gate->live)) || atr_gate_closed();
}

#endif
