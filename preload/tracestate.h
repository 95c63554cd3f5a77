/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_TRACESTATE_H
#define ATR_PRELOAD_TRACESTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/slice.h"

/*
 * OpenTelemetry's own member of a tracestate, "ot=th:c;rv:6e6d1a75832a2f" (specification,
 * "TraceState: OpenTelemetry probability sampling").  The tracestate is one that has been
 * checked against its grammar: members joined by commas.  Pure.
 */
struct atr_ot {
	bool has_th;
	bool has_rv;
	uint64_t th; /* the threshold the trace was sampled with */
	uint64_t rv; /* random bits that stand in place of the trace id's */
};

void atr_ot_read(struct atr_slice tracestate, struct atr_ot *ret);

/*
 * In place, in `room` bytes: th becomes this threshold, or goes where it is
 * ATR_RATE_NEVER.  What else the member says stays, rv above all; a member that is changed comes
 * first; where a 33rd would be one too many, or the room ends, the last ones go.  Returns the
 * length, 0 where nothing is left.
 */
size_t atr_ot_set(char *tracestate, size_t len, size_t room, uint64_t threshold);

#endif
