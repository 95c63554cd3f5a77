/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_MARKS_H
#define ATR_EXPORTER_MARKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exporter/buf.h"
#include "exporter/spots.h"

/*
 * Which spans of which lines of a file are in a batch, and marks in the file for those that are
 * done with: a line that was taken has a '#' for its first byte, of one that was taken in
 * part those spans are overwritten by blanks, at once.  What the collector will never take stays,
 * as it was written.  A mark that cannot be written is none: that line comes again.
 */
struct atr_marks {
	int fd;
	int err;	     /* why one could not be written, -errno; 0: all were */
	struct atr_buf runs; /* of spans of one line each, as far as they are not done with */
	uint64_t untaken;    /* lines with spans that will never be taken */
	uint64_t untaken_at; /* the last one of them; UINT64_MAX: none */

	struct atr_spots spots;
	uint64_t spots_of;   /* which line; UINT64_MAX: none */
	struct atr_buf text; /* of that line */
};

/* Another file; nothing of it is in a batch. */
void atr_marks_begin(struct atr_marks *m, int fd);

/*
 * The batch has n more spans, `first` and those behind it, of the line that lies at [at, at + len)
 * in the file.  last: nothing of that line comes behind them; n may be 0 then.
 */
void atr_marks_add(struct atr_marks *m, uint64_t at, size_t len, size_t first, size_t n, bool last);

/* The collector has the first n spans of what is left of the batch, or will take them never.  With
 * n = 0 lines without spans are done with. */
void atr_marks_done(struct atr_marks *m, size_t n, bool never);

/* There was no memory to know all that: the batch is not to be sent. */
static inline bool atr_marks_failed(const struct atr_marks *m)
{
	return m->runs.failed;
}

void atr_marks_finish(struct atr_marks *m);

#endif
