/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread like a vfork child: CLONE_VFORK stops the caller until it has ended, so
 * that it may use the caller's stack and thread-local data, and being a thread
 * (CLONE_THREAD) it is no child that anybody could wait for.  Its first act is to get a
 * descriptor table of its own with nothing in it; nothing of the program's is
 * copied, so no close() of another thread is put off by it.
 *
 * What the program can see of it: one more entry in /proc/self/task for 30 us.
 */
#include "preload/aside.h"

#include <sched.h>
#include <stdint.h>

#include "preload/compiler.h"
#include "preload/sys.h"

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2
#endif

struct aside {
	void (*run)(void *arg);
	void *arg;
	bool ran;
};

/* Before Linux 5.9 the table is copied; what is in it is let go when the thread ends. */
static atr_noinline void begin(struct aside *a)
{
	if (atr_sys(SYS_close_range, 0, ~0u, CLOSE_RANGE_UNSHARE, 0, 0, 0) != 0 &&
	    atr_sys(SYS_unshare, CLONE_FILES, 0, 0, 0, 0, 0) != 0)
		return;
	a->run(a->arg);
	a->ran = true;
}

/*
 * No more than the call and the branch: both sides of it run in this one frame, so the
 * compiler must have nothing to keep there.
 */
static atr_noinline long split(struct aside *a)
{
	const long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
			   CLONE_SYSVSEM | CLONE_VFORK;
	long tid = atr_sys(SYS_clone, flags, 0, 0, 0, 0, 0);

	if (tid == 0) {
		begin(a);
		for (;;)
			(void)atr_sys(SYS_exit, 0, 0, 0, 0, 0, 0);
	}
	return tid;
}

bool atr_aside(void (*run)(void *arg), void *arg)
{
	struct aside a = { .run = run, .arg = arg };
	uint64_t signals = atr_sys_block_signals();
	long tid = split(&a);

	atr_sys_restore_signals(signals);
	return tid > 0 && a.ran;
}
