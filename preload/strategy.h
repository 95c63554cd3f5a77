/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_STRATEGY_H
#define ATR_PRELOAD_STRATEGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/slice.h"

struct atr_told;

/* Operations with a ratio of their own; further ones get the others'. */
#define ATR_STRATEGY_OPERATIONS 256

struct atr_strategy_operation {
	struct atr_slice name; /* of the local root's span */
	double ratio;
};

/* What a Jaeger backend wants of this service (jaeger-idl, sampling.proto). */
struct atr_strategy {
	double ratio;	   /* of all operations that are not listed */
	double per_second; /* at most that many traces, whatever the ratio; < 0: no limit */
	double lower;	   /* of each operation at least that many traces per second; 0: none */
	size_t n_operations;
	struct atr_strategy_operation operations[ATR_STRATEGY_OPERATIONS];
};

/* From the background thread, or before there are others. */
void atr_strategy_use(const struct atr_strategy *s);

/* Does the decision depend on the operation's name? */
bool atr_strategy_wants_name(void);

/*
 * Is this trace sampled?  *ret_told: by which rate, where the probability is known.  From any
 * thread.
 */
bool atr_strategy_decide(uint64_t randomness, struct atr_slice name, uint64_t now,
			 struct atr_told *ret_told);

#endif
