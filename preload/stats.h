/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_STATS_H
#define ATR_PRELOAD_STATS_H

#include <stdint.h>

#include "preload/compiler.h"

/* Added to with atr_count(), from any thread. */
struct atr_stats {
#define COUNTER(name, doc) uint64_t name;
#include "preload/stats.def"
};

extern struct atr_stats atr_stats;

#define atr_count(name, n) ((void)atr_add(&atr_stats.name, (uint64_t)(n)))

#endif
