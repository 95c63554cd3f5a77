/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/clock.h"

#include <time.h>

#include "preload/compiler.h"

uint64_t atr_clock_offset;

static uint64_t ns(clockid_t clock)
{
	struct timespec ts = { 0 };

	(void)clock_gettime(clock, &ts); /* the vDSO: no system call */
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t atr_now(void)
{
	return ns(CLOCK_MONOTONIC);
}

void atr_clock_sync(void)
{
	atr_store(&atr_clock_offset, ns(CLOCK_REALTIME) - ns(CLOCK_MONOTONIC));
}
