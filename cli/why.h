/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_CLI_WHY_H
#define ATR_CLI_WHY_H

#include <stddef.h>
#include <stdint.h>

struct atr_seen;

/*
 * Why do the spans of a process not arrive?  Pure: from what was seen of it.
 *
 * The worst first, what is as it was wanted last.  With nothing wrong there is a reason, too:
 * "ok", "idle", "idle_or_unsampled", "waiting", or which part of the traces is recorded.
 */
enum atr_verdict {
	ATR_VERDICT_OK,	     /* spans arrive, or there are none */
	ATR_VERDICT_PARTLY,  /* some do not, or not yet */
	ATR_VERDICT_NONE,    /* none does */
	ATR_VERDICT_UNKNOWN, /* it cannot be seen from here */
};

struct atr_reason {
	enum atr_verdict verdict;
	const char *code; /* one word, for programs */
	char text[512];	  /* one sentence, for people */
};

#define ATR_REASONS_MAX 8

/* Returns how many, at least one.  `now`: ns since 1970. */
size_t atr_why(const struct atr_seen *s, uint64_t now,
	       struct atr_reason out[static ATR_REASONS_MAX]);

/* "3.2 s", "5 min", ...  Good until the next but one call. */
const char *atr_ago(uint64_t now, uint64_t then);

#endif
