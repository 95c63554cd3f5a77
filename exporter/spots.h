/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_SPOTS_H
#define ATR_EXPORTER_SPOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exporter/buf.h"

/*
 * Where the spans of a line of OTLP JSON are, in the order in which exporter/otlp-read.c reads
 * them, and which bytes are to be blanks for some of them to be there no more.  What is left is
 * JSON again, as long as it was.  Pure.
 */
struct atr_spot {
	uint32_t from, to;   /* of the line: the span */
	uint32_t begin, end; /* the inside of the array that it is in */
	bool gone;
};

struct atr_spots {
	struct atr_buf all; /* struct atr_spot */
};

/* False: there is no memory, or something is nested more deeply than json.c skips. */
bool atr_spots_find(struct atr_spots *s, const char *line, size_t len);

/*
 * Takes spans from `first` on out of the array that this one is in, `n` at most, and none of them
 * twice; those behind are still there.  Returns how many, and the bytes [*from, *to).
 */
size_t atr_spots_take(struct atr_spots *s, size_t first, size_t n, uint32_t *from, uint32_t *to);

void atr_spots_finish(struct atr_spots *s);

#endif
