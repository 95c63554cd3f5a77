/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_SAMPLER_H
#define ATR_PRELOAD_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include "preload/config.h"
#include "preload/context.h"

/*
 * Head sampling (OpenTelemetry specification, "Sampling"; trace SDK).  recorded: does
 * anybody take the spans?  If not, decisions are made all the same, for they are
 * handed on to the next service.
 */
void atr_sampler_init(enum atr_SAMPLER sampler, double ratio, bool recorded);

/* Is a span of this trace id sampled?  parent is NULL for a root. */
bool atr_sampler_decide(const struct atr_context *parent, const uint8_t trace_id[static 16]);

/* True when no root is ever recorded, so that one that nobody is told of needs no id. */
bool atr_sampler_roots_off(void);

/* Is a sampled span to be recorded? */
extern bool atr_sampler_recorded;

/*
 * No span is made at all, and a context that came is handed on as it is
 * (OpenTelemetry specification, "Propagators in the absence of an SDK").
 */
extern bool atr_sampler_passive;

#endif
