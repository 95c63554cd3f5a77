/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/clock.h"

#include <dlfcn.h>
#include <time.h>

#include "preload/compiler.h"

uint64_t atr_clock_offset;

static __typeof__(clock_gettime) *get_time = clock_gettime;

/*
 * Another preload (libfaketime) may have another idea of the time, or make it stand still; then
 * no deadline of ours would ever come.
 */
void atr_clock_init(void)
{
	void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
	void *p = libc ? dlsym(libc, "clock_gettime") : NULL;

	if (p)
		get_time = (__typeof__(get_time))p;
	atr_clock_sync();
}

static uint64_t ns(clockid_t clock)
{
	struct timespec ts = { 0 };

	(void)get_time(clock, &ts); /* the vDSO: no system call */
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
