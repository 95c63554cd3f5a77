/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_ADAPTIVE_H
#define ATR_PRELOAD_ADAPTIVE_H

#include <stdint.h>

struct atr_rate;

/*
 * A sampling rate that is steered to a number of traces per second, by whichever
 * thread begins a trace when it is time to look (AUTOTRACE_TARGET_TRACES_PER_SECOND).
 */
void atr_adaptive_init(double per_second, double most_ratio);

/* A trace begins at `now` (monotonic ns): the rate that decides.  Never NULL after init. */
const struct atr_rate *atr_adaptive_rate(uint64_t now);

/* And it is sampled. */
void atr_adaptive_sampled(void);

/* In a forked child: whoever was steering is not here. */
void atr_adaptive_forked(void);

#endif
