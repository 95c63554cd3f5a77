/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads being born and the process ending.
 *
 * A new thread takes over its creator's context.  Before the process ends, what is
 * recorded is sent, within AUTOTRACE_EXIT_TIMEOUT.
 *
 * That must happen before the exit handlers: the program may have an OpenSSL of
 * its own, the very one our exporter uses, and its handler leaves it unusable.
 * So exit() is a hook, and __libc_start_main(), in which a return from main ends.
 */
#include <errno.h>
#include <stdarg.h>

#include "hooks/confine.h"
#include "hooks/hook.h"
#include "hooks/libpq.h"
#include "preload/forkgate.h"
#include "preload/pool.h"
#include "preload/process.h"
#include "preload/stack.h"
#include "preload/sys.h"
#include "preload/worker.h"

/* ---- threads ---- */

struct birth {
	struct atr_pooled pooled;
	void *(*run)(void *arg);
	void *arg;
	struct atr_context context;
	bool background;
};

static struct atr_pool births = { .size = sizeof(struct birth), .per_chunk = 64, .max = 65536 };

static void *born(void *arg)
{
	struct birth *b = arg;
	void *(*run)(void *) = b->run;
	void *run_arg = b->arg;

	if (b->background)
		atr_tls.inside = ATR_IN_BACKGROUND;
	atr_tls.context = b->context;
	atr_pool_give(&births, b);
	return run(run_arg);
}

atr_export int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attr,
			      void *(*run)(void *), void *restrict arg)
{
	bool background = atr_tls.inside == ATR_IN_BACKGROUND;
	const struct atr_context *context = NULL;
	struct birth *b;
	int err;

	if (atr_unlikely(!atr_real.pthread_create))
		atr_real_init();
	/* A library's helper thread on behalf of our exporter is not the program's either. */
	if (!background && (!atr_live() || !(context = atr_context_current())))
		return atr_real.pthread_create(thread, attr, run, arg);
	b = atr_pool_take(&births);
	if (!b)
		return atr_real.pthread_create(thread, attr, run, arg);
	b->run = run;
	b->arg = arg;
	b->context.valid = false;
	if (context)
		b->context = *context;
	b->context.loop = NULL; /* a thread of its own */
	b->context.inherited = true;
	atr_context_touch();
	b->background = background;
	err = atr_real.pthread_create(thread, attr, born, b);
	if (err)
		atr_pool_give(&births, b);
	return err;
}

/* ---- processes made without fork handlers ---- */

/* No child may be born while our thread holds a lock of libc's: the child would have it for ever.
 */
static bool hold(void)
{
	int saved_errno = errno;
	bool held = atr_live() && !atr_process_foreign() && atr_worker_fork_hold();

	errno = saved_errno;
	return held;
}

static void let_go(bool held)
{
	if (held && !atr_process_foreign()) /* the child has a gate of its own */
		atr_forkgate_leave();
}

atr_export pid_t _Fork(void)
{
	bool held;
	pid_t pid;

	if (atr_unlikely(!atr_real._Fork))
		atr_real_init();
	held = hold();
	pid = atr_real._Fork();
	let_go(held);
	return pid;
}

/*
 * The calling thread is about to end by the kernel's exit(), which ends no other.  If it is the
 * program's last, ours must go as well; where it hangs, the process ends with both, for it would
 * not end at all.
 */
void atr_thread_leaving(unsigned others, int status)
{
	int saved_errno = errno;

	if (atr_live() && !atr_process_foreign() && atr_worker_threads() == others + 1) {
		atr_end();
		if (!atr_worker_leave() && atr_sys_getpid() == atr_sys_gettid() &&
		    atr_worker_two_tasks())
			(void)atr_sys(SYS_exit_group, status, 0, 0, 0, 0, 0);
	}
	errno = saved_errno;
}

struct newborn {
	int (*run)(void *arg);
	void *arg;
};

static int run_newborn(void *arg)
{
	struct newborn b = *(struct newborn *)arg;
	unsigned others = atr_worker_threads();
	int status;

	/* Those it believes to have were its parent's. */
	others = others ? others - 1 : 0;
	status = b.run(b.arg);
	atr_thread_leaving(others, status);
	return status;
}

/*
 * A process with memory of its own ends its only thread when it returns from `run`.  (One that
 * shares our memory is a thread, or like a vfork child.)
 */
atr_export int clone(int (*run)(void *), void *stack, int flags, void *arg, ...)
{
	void *more[3];
	struct newborn *b;
	va_list args;
	bool held;
	int pid;

	va_start(args, arg);
	for (int i = 0; i < 3; i++)
		more[i] = va_arg(args, void *); /* what is not there is not looked at */
	va_end(args);
	if (atr_unlikely(!atr_real.clone))
		atr_real_init();
	if (flags & CLONE_VM || !run || !stack || !atr_live())
		return atr_real.clone(run, stack, flags, arg, more[0], more[1], more[2]);
	/* Where libc puts the same two. */
	b = (struct newborn *)(((uintptr_t)stack & ~(uintptr_t)15) - 32);
	*b = (struct newborn){ run, arg };
	held = hold();
	pid = atr_real.clone(run_newborn, b, flags, b, more[0], more[1], more[2]);
	let_go(held);
	return pid;
}

/* ---- unloading ---- */

/*
 * Another object may come to where one was.  Counted even where tracing is off, for
 * gates can be opened meanwhile.
 */
atr_export int dlclose(void *handle)
{
	int ret;

	if (atr_unlikely(!atr_real.dlclose))
		atr_real_init();
	atr_stack_unloading();
	ret = atr_real.dlclose(handle);
	atr_stack_unloaded();
	return ret;
}

/* ---- the end ---- */

static void ending(void)
{
	int saved_errno = errno;

	/* A vfork child shares our memory, but it is not we who end. */
	if (atr_live() && !atr_process_foreign())
		atr_end();
	errno = saved_errno;
}

static void finishing(void)
{
	int saved_errno = errno;

	if (atr_live() && !atr_process_foreign()) {
		atr_libpq_ending();
		atr_worker_ending();
	}
	errno = saved_errno;
}

atr_export void exit(int status)
{
	if (atr_unlikely(!atr_real.exit))
		atr_real_init();
	finishing();
	atr_real.exit(status);
	__builtin_unreachable();
}

static int (*program_main)(int argc, char **argv, char **envp);

static int traced_main(int argc, char **argv, char **envp)
{
	int status = program_main(argc, argv, envp);

	finishing();
	return status;
}

atr_export int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv,
				 void (*init)(void), void (*fini)(void), void (*rtld_fini)(void),
				 void *stack_end)
{
	if (atr_unlikely(!atr_real.__libc_start_main))
		atr_real_init();
	program_main = main;
	return atr_real.__libc_start_main(traced_main, argc, argv, init, fini, rtld_fini,
					  stack_end);
}

atr_export void _exit(int status)
{
	ending();
	atr_real._exit(status);
	__builtin_unreachable();
}

atr_export void _Exit(int status)
{
	ending();
	atr_real._Exit(status);
	__builtin_unreachable();
}
