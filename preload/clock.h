/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_CLOCK_H
#define ATR_PRELOAD_CLOCK_H

#include <stdint.h>

/* Once, from the constructor. */
void atr_clock_init(void);

/* Monotonic nanoseconds: what durations are taken with. */
uint64_t atr_now(void);

/*
 * Wall clock minus monotonic clock, in ns: added to a monotonic time it gives
 * the UTC time of a span.  Measured at start and again by the background thread,
 * so that a span's times follow a corrected clock and its duration does not.
 */
extern uint64_t atr_clock_offset;
void atr_clock_sync(void);

#endif
