/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process becoming another program, or making one: the thread's context goes
 * along in the new program's environment.
 *
 * Only the array of the call is another one, made in memory of the thread's; the process's own
 * environment and every string of the program's stay what they are.  Without a context
 * the call is made with the very arguments it came with.
 *
 * Not here: system() and popen(), which make the child inside libc (docs/design.md).
 */
#include <alloca.h>
#include <errno.h>
#include <stdarg.h>

#include "hooks/handover.h"
#include "hooks/hook.h"
#include "preload/context.h"
#include "preload/process.h"
#include "preload/sys.h"
#include "preload/worker.h"

/* ---- the call ---- */

struct call {
	/* The real call; with c->envp it is the one the program made. */
	int (*make)(const struct call *c, char *const envp[]);
	const char *path;
	char *const *argv;
	char *const *envp;
	int fd;
	int flags;
	bool spawns;
	pid_t *pid;
	const posix_spawn_file_actions_t *actions;
	const posix_spawnattr_t *attributes;
};

/*
 * Memory of the thread's: its stack may be small.  A vfork child that becomes another program
 * does not give it back, so it is taken from whom is another process.
 */
static char *take_scratch(struct atr_thread *t, uint32_t pid)
{
	if (!t || t->scratch_of == pid) /* a signal handler in the middle of an exec */
		return NULL;
	if (!t->scratch)
		t->scratch = atr_sys_map(ATR_SCRATCH_SIZE);
	if (t->scratch)
		t->scratch_of = pid;
	return t->scratch;
}

/* What Linux always takes, whatever RLIMIT_STACK is, less what it adds itself. */
#define SIZE_ALWAYS (128 * 1024 - 8192)

/* A spawn is not tried twice: what it does to files may not work again. */
static bool fits(const struct call *c, const struct atr_handover *h)
{
	size_t argv, envp;

	if (h->room * sizeof(char *) + h->text_len > ATR_SCRATCH_SIZE)
		return false;
	if (!c->spawns)
		return true;
	argv = atr_handover_size(c->argv);
	envp = atr_handover_size(c->envp);
	return argv < SIZE_ALWAYS && envp < SIZE_ALWAYS && argv + envp + h->text_len < SIZE_ALWAYS;
}

static int with_context(const struct call *c, struct atr_handover *h)
{
	struct atr_thread *t = atr_thread_self();
	char *scratch;
	bool done;
	int ret;

	if (!atr_handover_begin(h, c->envp))
		return c->make(c, c->envp);
	scratch = fits(c, h) ? take_scratch(t, (uint32_t)atr_sys_getpid()) : NULL;
	if (!scratch) {
		atr_handover_cancel(h);
		return c->make(c, c->envp);
	}
	done = atr_handover_end(h, c->envp, (char **)(void *)scratch,
				scratch + h->room * sizeof(char *));
	ret = c->make(c, done ? (char **)(void *)scratch : c->envp);
	/* It may have been our bytes that were too many. */
	if (done && !c->spawns && ret == -1 && errno == E2BIG)
		ret = c->make(c, c->envp);
	t->scratch_of = 0;
	return ret;
}

/* The flush is not a vfork child's to ask for. */
static void becoming(void)
{
	int saved_errno = errno;

	if (atr_live() && !atr_process_foreign())
		atr_worker_flush();
	errno = saved_errno;
}

/* exec: it may fail, so the thread is not stopped. */
static int become(const struct call *c)
{
	struct atr_handover h;

	becoming();
	return atr_handover_has_context(&h) ? with_context(c, &h) : c->make(c, c->envp);
}

static int spawn(const struct call *c)
{
	struct atr_handover h;

	if (!atr_handover_has_context(&h))
		return c->make(c, c->envp);
	/* To make a child is to do something about the request. */
	if (!atr_process_foreign())
		atr_context_touch();
	return with_context(c, &h);
}

/* ---- exec with an environment ---- */

static int make_execve(const struct call *c, char *const envp[])
{
	return atr_real.execve(c->path, c->argv, envp);
}

static int with_execve(const char *path, char *const argv[], char *const envp[])
{
	if (atr_unlikely(!atr_real.execve))
		atr_real_init();
	return become(&(struct call){ make_execve, .path = path, .argv = argv, .envp = envp });
}

atr_export int execve(const char *path, char *const argv[], char *const envp[])
{
	return with_execve(path, argv, envp);
}

static int make_execvpe(const struct call *c, char *const envp[])
{
	return atr_real.execvpe(c->path, c->argv, envp);
}

atr_export int execvpe(const char *file, char *const argv[], char *const envp[])
{
	if (atr_unlikely(!atr_real.execvpe))
		atr_real_init();
	return become(&(struct call){ make_execvpe, .path = file, .argv = argv, .envp = envp });
}

static int make_fexecve(const struct call *c, char *const envp[])
{
	return atr_real.fexecve(c->fd, c->argv, envp);
}

atr_export int fexecve(int fd, char *const argv[], char *const envp[])
{
	if (atr_unlikely(!atr_real.fexecve))
		atr_real_init();
	return become(&(struct call){ make_fexecve, .fd = fd, .argv = argv, .envp = envp });
}

static int make_execveat(const struct call *c, char *const envp[])
{
	return atr_real.execveat(c->fd, c->path, c->argv, envp, c->flags);
}

atr_export int execveat(int fd, const char *path, char *const argv[], char *const envp[], int flags)
{
	if (atr_unlikely(!atr_real.execveat))
		atr_real_init();
	return become(&(struct call){ make_execveat, .fd = fd, .path = path, .argv = argv,
				      .envp = envp, .flags = flags });
}

/* ---- exec with the process's environment: its twin only where that is changed ---- */

static int make_execv(const struct call *c, char *const envp[])
{
	return envp == c->envp ? atr_real.execv(c->path, c->argv)
			       : atr_real.execve(c->path, c->argv, envp);
}

static int with_execv(const char *path, char *const argv[])
{
	if (atr_unlikely(!atr_real.execv))
		atr_real_init();
	return become(&(struct call){ make_execv, .path = path, .argv = argv, .envp = environ });
}

atr_export int execv(const char *path, char *const argv[])
{
	return with_execv(path, argv);
}

static int make_execvp(const struct call *c, char *const envp[])
{
	return envp == c->envp ? atr_real.execvp(c->path, c->argv)
			       : atr_real.execvpe(c->path, c->argv, envp);
}

static int with_execvp(const char *file, char *const argv[])
{
	if (atr_unlikely(!atr_real.execvp))
		atr_real_init();
	return become(&(struct call){ make_execvp, .path = file, .argv = argv, .envp = environ });
}

atr_export int execvp(const char *file, char *const argv[])
{
	return with_execvp(file, argv);
}

/*
 * The variadic ones become their array twins: the arguments are counted, then
 * listed on the stack.  execl() is async-signal-safe, and so must we be.
 */
#define EXEC_LIST(arg, list, ...)                                            \
	do {                                                                 \
		size_t count = 0;                                            \
		va_list args;                                                \
                                                                             \
		va_start(args, arg);                                         \
		for (const char *a = arg; a; a = va_arg(args, const char *)) \
			count++;                                             \
		va_end(args);                                                \
		(list) = alloca((count + 1) * sizeof(*(list)));              \
		va_start(args, arg);                                         \
		(list)[0] = (char *)(uintptr_t)(arg);                        \
		for (size_t i = 1; i <= count; i++)                          \
			(list)[i] = va_arg(args, char *);                    \
		__VA_ARGS__                                                  \
		va_end(args);                                                \
	} while (0)

atr_export int execl(const char *path, const char *arg, ...)
{
	char **list;

	EXEC_LIST(arg, list, );
	return with_execv(path, list);
}

atr_export int execlp(const char *file, const char *arg, ...)
{
	char **list;

	EXEC_LIST(arg, list, );
	return with_execvp(file, list);
}

atr_export int execle(const char *path, const char *arg, ...)
{
	char *const *envp;
	char **list;

	EXEC_LIST(arg, list, envp = va_arg(args, char *const *););
	return with_execve(path, list, envp);
}

/* ---- spawn: returns an error's number ---- */

static int make_posix_spawn(const struct call *c, char *const envp[])
{
	return atr_real.posix_spawn(c->pid, c->path, c->actions, c->attributes, c->argv, envp);
}

atr_export int posix_spawn(pid_t *restrict pid, const char *restrict path,
			   const posix_spawn_file_actions_t *restrict actions,
			   const posix_spawnattr_t *restrict attributes, char *const argv[restrict],
			   char *const envp[restrict])
{
	if (atr_unlikely(!atr_real.posix_spawn))
		atr_real_init();
	return spawn(&(struct call){ make_posix_spawn, .spawns = true, .pid = pid, .path = path,
				     .actions = actions, .attributes = attributes, .argv = argv,
				     .envp = envp });
}

static int make_posix_spawnp(const struct call *c, char *const envp[])
{
	return atr_real.posix_spawnp(c->pid, c->path, c->actions, c->attributes, c->argv, envp);
}

atr_export int posix_spawnp(pid_t *restrict pid, const char *restrict file,
			    const posix_spawn_file_actions_t *restrict actions,
			    const posix_spawnattr_t *restrict attributes,
			    char *const argv[restrict], char *const envp[restrict])
{
	if (atr_unlikely(!atr_real.posix_spawnp))
		atr_real_init();
	return spawn(&(struct call){ make_posix_spawnp, .spawns = true, .pid = pid, .path = file,
				     .actions = actions, .attributes = attributes, .argv = argv,
				     .envp = envp });
}
