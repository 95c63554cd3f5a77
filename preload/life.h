/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_LIFE_H
#define ATR_PRELOAD_LIFE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/slice.h"

struct atr_cell;

/*
 * Whether a span is still open, for processes other than the one it is open in: a child of
 * fork() has a copy of all cells, and a program that was started has none.
 *
 * The spans that a child may have as its parent get a word in a System V segment, which has
 * neither a descriptor nor a name in the file system, is inherited by fork(), and can be attached
 * by its number after exec.  It goes with the last process that has it.
 *
 * Async-signal-safe, and usable in a vfork child.
 */

/*
 * Gives the cell of an open span a word, if it has none.  False: there is no shared memory, or
 * the span is another process's.
 */
bool atr_life_begin(struct atr_cell *cell);

/* The span is over, in all processes; or only in this one, a forked child that leaves it open. */
void atr_life_end(struct atr_cell *cell, bool everywhere);

/*
 * The word as text, for the environment of a program that is started: "<segment>-<word>-<gen>".
 * Returns its length, without a NUL.
 */
#define ATR_LIFE_TEXT_MAX 40
size_t atr_life_text(const struct atr_cell *cell, char buf[static ATR_LIFE_TEXT_MAX]);

/*
 * Attaches the segment that such a text names: the cell is open for as long as the span is
 * that it was made for.  False when the text is none; a segment that is gone is a span that is
 * over.
 */
bool atr_life_attach(struct atr_cell *cell, struct atr_slice text);

#endif
