/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/forkgate.h"

#include "preload/clock.h"
#include "preload/compiler.h"
#include "preload/sys.h"

static uint32_t gate; /* 0 free, 1 taken, 2 taken and waited for: a futex */

bool atr_forkgate_take(uint64_t wait_ns)
{
	uint64_t until = atr_now() + wait_ns;
	uint32_t free = 0;

	if (__atomic_compare_exchange_n(&gate, &free, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return true;
	while (__atomic_exchange_n(&gate, 2, __ATOMIC_ACQUIRE) != 0) {
		uint64_t now = atr_now();

		if (now >= until)
			return false;
		(void)atr_sys_futex_wait(&gate, 2, until - now);
	}
	return true;
}

void atr_forkgate_leave(void)
{
	if (__atomic_exchange_n(&gate, 0, __ATOMIC_RELEASE) == 2)
		atr_sys_futex_wake(&gate, 1);
}

void atr_forkgate_forked(void)
{
	gate = 0;
}
