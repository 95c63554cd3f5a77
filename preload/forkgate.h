/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_FORKGATE_H
#define ATR_PRELOAD_FORKGATE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The fork gate: held by the background thread whenever it is inside a library
 * (libcurl, OpenSSL, malloc), and taken around fork(), so that no child is born
 * with a library's lock in a held state.  A lock whose wait is bounded.
 */

/* False when it could not be had within wait_ns. */
bool atr_forkgate_take(uint64_t wait_ns);
void atr_forkgate_leave(void);

/* In the child: whoever held it is not here. */
void atr_forkgate_forked(void);

#endif
