/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_RETRY_H
#define ATR_EXPORTER_RETRY_H

#include <stdbool.h>
#include <stdint.h>

/* When to try again (OTLP specification, "Retryable Response Codes", "Failures").  Pure. */

#define ATR_RETRY_ATTEMPTS 5 /* for one batch, the first included */

/* Is this HTTP status one to be tried again? */
bool atr_retry_status(int status);

/*
 * Nanoseconds to wait after the attempt-th attempt (from 1): 1 s, then half as
 * much again each time, at most 5 s, a random fifth more or less.
 */
uint64_t atr_retry_backoff(unsigned attempt, uint32_t random);

#endif
