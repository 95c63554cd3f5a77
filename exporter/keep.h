/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_KEEP_H
#define ATR_EXPORTER_KEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/bucket.h"
#include "preload/record.h"

struct atr_stats;

/*
 * Spans of traces that were not sampled, held back until it is known whether their
 * trace is kept: what this process has of a trace, from the local root on, is kept whole
 * when one span of it failed or was slow (AUTOTRACE_KEEP_ERRORS, AUTOTRACE_KEEP_SLOW_MS), else
 * dropped whole.  Pure but for malloc().
 */
#define ATR_KEEP_BYTES (8u << 20) /* most that is held */
#define ATR_KEEP_TRACES 4096	  /* most traces that are remembered */

struct atr_kept_span {
	struct atr_kept_span *next;
	const char *why; /* "error" or "slow", once it is kept */
	struct atr_record record;
};

struct atr_kept_trace;

struct atr_kept_list {
	struct atr_kept_trace *first, *last;
};

struct atr_keep {
	struct atr_stats *stats;
	struct atr_bucket kept; /* traces per second */
	bool limited;
	uint64_t round;			 /* how often all rings were seen empty */
	size_t bytes;			 /* of all spans here */
	struct atr_kept_trace *traces;	 /* ATR_KEEP_TRACES of them; NULL: not needed yet */
	struct atr_kept_trace **by_root; /* heads of their chains */
	struct atr_kept_list unused, open, ended, decided;
	struct atr_kept_span *ready, **ready_end; /* kept, in order */
};

/* most_per_second: traces that may be kept; 0: no limit. */
void atr_keep_init(struct atr_keep *k, uint32_t most_per_second, struct atr_stats *stats);
void atr_keep_finish(struct atr_keep *k);

/* A record with ATR_RECORD_CANDIDATE, of which a copy is held.  now: monotonic ns. */
void atr_keep_take(struct atr_keep *k, const struct atr_record *r, uint64_t now);

/*
 * All rings were seen to be empty.  Of a trace whose root had come before the round that
 * ends now, all others have: it is decided about.
 */
void atr_keep_round(struct atr_keep *k, uint64_t now);

/* The process ends: what nothing is to be kept for is dropped. */
void atr_keep_end(struct atr_keep *k);

/* The next record that is kept, and why; NULL: there is none now.  It stays until the pop, which is
 * not to be waited for: it is as unsafe here as what is undecided. */
const struct atr_record *atr_keep_next(const struct atr_keep *k, const char **ret_why);
void atr_keep_pop(struct atr_keep *k);

/* The attribute that says why a span is kept, as a field of the span; its length. */
size_t atr_keep_say(uint8_t to[static ATR_RECORD_SPARE], const char *why);

#endif
