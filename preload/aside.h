/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_ASIDE_H
#define ATR_PRELOAD_ASIDE_H

#include <stdbool.h>

/*
 * Runs run(arg) with a descriptor table of its own, which is empty and gone
 * afterwards: for what cannot be done without opening a file, from a thread of
 * the program.  The caller waits for it.
 *
 * run() has the caller's stack and thread-local data, all signals blocked, and
 * makes raw system calls only.  False: it was not run, the kernel refuses.
 */
bool atr_aside(void (*run)(void *arg), void *arg);

#endif
