/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_SAMPLER_H
#define ATR_PRELOAD_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include "preload/config.h"
#include "preload/context.h"

/* Head sampling (OpenTelemetry specification, "Sampling"; trace SDK). */
void atr_sampler_init(enum atr_SAMPLER sampler, double ratio);

/* Is a span of this trace id sampled?  parent is NULL for a root. */
bool atr_sampler_decide(const struct atr_context *parent, const uint8_t trace_id[static 16]);

/* True when no root is ever sampled, so that a root need not even get an id. */
bool atr_sampler_roots_off(void);

#endif
