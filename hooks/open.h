/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_OPEN_H
#define ATR_HOOKS_OPEN_H

#include <stdbool.h>
#include <stdint.h>

#include "hooks/http1.h"
#include "preload/context.h"

/*
 * The requests this process is serving, findable by what they said: a proxy sends on what
 * it got, whenever its tasks run, and the head of the request it sends tells which one
 * it is for (architecture: "what the head itself says").
 *
 * Any thread may add, remove and look at once.  An entry lies in memory that is never
 * unmapped, and its context's cell says whether it was still open when it was read.
 */
#define ATR_OPEN_LINES 12 /* DISTINCT fields of http.def at most */

/* Read and written word by word: a reader may be late. */
struct atr_open_facts {
	uint64_t ids;	 /* hash of the trace and span id it came with; 0: none */
	uint64_t target; /* hash of method and target; 0: nothing tells it from others */
	uint64_t lines[ATR_OPEN_LINES]; /* hashes of its distinguishing fields; 0: absent */
	uint8_t from_trace[16], from_span[8];
	struct atr_context context;
};

struct atr_open {
	struct atr_open_facts facts;
	uint16_t slot_ids, slot_target; /* slot + 1 it lies in; 0: none */
};

/* What is kept of a request for it to be found.  from: its remote parent, may be NULL. */
void atr_open_add(struct atr_open *o, const struct atr_http_head *head,
		  const struct atr_context *from, const struct atr_context *context);
void atr_open_remove(struct atr_open *o);

enum atr_found { ATR_FOUND_NONE, ATR_FOUND_ONE, ATR_FOUND_SEVERAL };

/* The request that came with these ids. */
enum atr_found atr_open_by_ids(const struct atr_context *from, struct atr_context *ret);

/*
 * The one request with this method and target, whose distinguishing fields (at least one)
 * are all in this head too.
 */
enum atr_found atr_open_by_head(const struct atr_http_head *head, struct atr_context *ret);

#endif
