/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that gives up rights: seccomp, namespaces, users, capabilities.
 *
 * All of these are the calling thread's.  Bare, the caller is often the only thread there
 * is, so with our thread beside it a call could fail (namespaces), kill the process later
 * (a filter for all threads; libc, when setuid() has not the same answer in each), or leave
 * rights where the program believes there are none any more.  So before such a call our thread
 * ends, and the next record starts another, which has what the caller has by then; except for
 * seccomp, in which nothing more is touched.
 *
 * Only noticed: every call is made as it came.  What comes by another way than libc's functions,
 * syscall() included, is not seen.
 */
#include "hooks/confine.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <stdarg.h>

#include "hooks/hook.h"
#include "preload/process.h"
#include "preload/status.h"
#include "preload/sys.h"
#include "preload/worker.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
#ifndef SYS_landlock_restrict_self
#define SYS_landlock_restrict_self 446
#endif

/* ---- the thread, sent away ---- */

/* A server may change its rights for each request: then our thread keeps what it has. */
#define TIMES_MAX 16

static uint32_t times;
static bool differs; /* our thread may have other rights than the caller */

static bool ours_to_care(void)
{
	return atr_live() && !atr_process_foreign();
}

/* True: there is no thread of ours until call_back(). */
static bool send_away(void)
{
	int saved_errno = errno;
	bool away = ours_to_care() && atr_worker_pause();

	errno = saved_errno;
	return away;
}

static void call_back(bool away)
{
	if (away)
		atr_worker_resume();
}

/* Rights that libc changes in this thread only. */
static bool send_away_for_rights(void)
{
	if (!ours_to_care())
		return false;
	if (__atomic_fetch_add(&times, 1, __ATOMIC_RELAXED) < TIMES_MAX)
		return send_away();
	atr_store(&differs, true);
	return false;
}

/* libc has all threads do it, and ends the process where they disagree. */
static bool send_away_if_differs(void)
{
	if (atr_likely(!atr_load(&differs)) || !send_away())
		return false;
	atr_store(&differs, false);
	return true;
}

/* ---- seccomp ---- */

/*
 * What our thread does might be forbidden in there, and in the strict mode even reading the
 * clock.  What is recorded is sent, the thread ends, and nothing more is touched.
 */
static void sandboxed(void)
{
	int saved_errno = errno;

	if (ours_to_care()) {
		atr_status_tracing(ATR_TRACING_SANDBOX);
		atr_end();
		(void)atr_worker_leave();
		atr_gate_shut();
	}
	errno = saved_errno;
}

/* Without a filter it is a question: is there such a thing? */
static bool enters_seccomp(unsigned long mode, unsigned long filter)
{
	return mode == SECCOMP_MODE_STRICT || (mode == SECCOMP_MODE_FILTER && filter);
}

/* ---- prctl() ---- */

static bool before_prctl(unsigned long option, unsigned long a, unsigned long b)
{
	switch (option) {
	case PR_SET_NO_NEW_PRIVS:
		atr_sys_sandbox(); /* what comes before a filter, as a rule */
		return false;
	case PR_SET_SECCOMP:
		if (enters_seccomp(a, b))
			sandboxed();
		return false;
	case PR_SET_KEEPCAPS:
	case PR_SET_SECUREBITS:
	case PR_CAPBSET_DROP:
	case PR_CAP_AMBIENT:
		return send_away_for_rights();
	default:
		return false;
	}
}

atr_export int prctl(int option, ...)
{
	unsigned long a[4];
	va_list args;
	bool away;
	int ret;

	va_start(args, option);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(args, unsigned long); /* what is not there is not looked at */
	va_end(args);
	if (atr_unlikely(!atr_real.prctl))
		atr_real_init();
	away = before_prctl((unsigned long)option, a[0], a[1]);
	ret = atr_real.prctl(option, a[0], a[1], a[2], a[3]);
	call_back(away);
	return ret;
}

/* ---- namespaces ---- */

/* With one of these a second thread is an error, or the caller's root is not its own. */
static bool wants_one_thread(int flags)
{
	return flags & (CLONE_NEWUSER | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM);
}

static bool joins_as_one(int type)
{
	return !type || type & (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWTIME);
}

#define AROUND(name, before, ...)                 \
	do {                                      \
		bool away;                        \
		int ret;                          \
                                                  \
		if (atr_unlikely(!atr_real.name)) \
			atr_real_init();          \
		away = before;                    \
		ret = atr_real.name(__VA_ARGS__); \
		call_back(away);                  \
		return ret;                       \
	} while (0)

atr_export int unshare(int flags)
{
	AROUND(unshare, wants_one_thread(flags) && send_away(), flags);
}

atr_export int setns(int fd, int type)
{
	AROUND(setns, joins_as_one(type) && send_away(), fd, type);
}

/* A daemon may be in its jail before it has done anything for us to see. */
atr_export int chroot(const char *path)
{
	int saved_errno = errno;

	if (atr_unlikely(!atr_real.chroot))
		atr_real_init();
	if (ours_to_care())
		atr_worker_load();
	errno = saved_errno;
	return atr_real.chroot(path);
}

/* ---- users and capabilities ---- */

atr_export int capset(struct __user_cap_header_struct *header,
		      const struct __user_cap_data_struct *data)
{
	AROUND(capset, send_away_for_rights(), header, data);
}

atr_export int setuid(uid_t uid)
{
	AROUND(setuid, send_away_if_differs(), uid);
}

atr_export int setgid(gid_t gid)
{
	AROUND(setgid, send_away_if_differs(), gid);
}

atr_export int seteuid(uid_t uid)
{
	AROUND(seteuid, send_away_if_differs(), uid);
}

atr_export int setegid(gid_t gid)
{
	AROUND(setegid, send_away_if_differs(), gid);
}

atr_export int setreuid(uid_t real, uid_t effective)
{
	AROUND(setreuid, send_away_if_differs(), real, effective);
}

atr_export int setregid(gid_t real, gid_t effective)
{
	AROUND(setregid, send_away_if_differs(), real, effective);
}

atr_export int setresuid(uid_t real, uid_t effective, uid_t saved)
{
	AROUND(setresuid, send_away_if_differs(), real, effective, saved);
}

atr_export int setresgid(gid_t real, gid_t effective, gid_t saved)
{
	AROUND(setresgid, send_away_if_differs(), real, effective, saved);
}

atr_export int setgroups(size_t n, const gid_t *groups)
{
	AROUND(setgroups, send_away_if_differs(), n, groups);
}

atr_export int initgroups(const char *user, gid_t group)
{
	AROUND(initgroups, send_away_if_differs(), user, group);
}

/* ---- syscall() ---- */

/*
 * Whoever uses it may expect anything of it (a child on another stack comes back through
 * it), so for all numbers but these it is a jump to libc's, made without a frame.
 */
__attribute__((used, visibility("hidden"))) const uint8_t atr_syscall_watched[512] = {
	[SYS_prctl] = 1,
	[SYS_seccomp] = 1,
	[SYS_unshare] = 1,
	[SYS_setns] = 1,
	[SYS_capset] = 1,
	[SYS_setuid] = 1,
	[SYS_setgid] = 1,
	[SYS_setreuid] = 1,
	[SYS_setregid] = 1,
	[SYS_setresuid] = 1,
	[SYS_setresgid] = 1,
	[SYS_setgroups] = 1,
	[SYS_landlock_restrict_self] = 1,
	[SYS_exit] = 1, /* of a thread */
};

/* libc's; NULL before the constructor. */
__attribute__((used, visibility("hidden"))) __typeof__(syscall) *atr_syscall_real;

void atr_confine_init(void)
{
	atr_syscall_real = atr_real.syscall;
}

static bool before_syscall(long number, long a, long b, long c)
{
	switch (number) {
	case SYS_seccomp:
		if (a == SECCOMP_SET_MODE_STRICT
			    ? !b && !c
			    : enters_seccomp(SECCOMP_MODE_FILTER, (unsigned long)c) &&
				      a == SECCOMP_SET_MODE_FILTER)
			sandboxed();
		return false;
	case SYS_prctl:
		return before_prctl((unsigned long)a, (unsigned long)b, (unsigned long)c);
	case SYS_unshare:
		return wants_one_thread((int)a) && send_away();
	case SYS_setns:
		return joins_as_one((int)b) && send_away();
	case SYS_exit:
		atr_thread_leaving(0, (int)a);
		return false;
	default:
		return send_away_for_rights();
	}
}

static long make_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	long ret;

	if (atr_likely(atr_syscall_real))
		return atr_syscall_real(number, a, b, c, d, e, f);
	ret = atr_sys6(number, a, b, c, d, e, f);
	if (ret >= 0 || ret < -4095)
		return ret;
	errno = (int)-ret;
	return -1;
}

/* Jumped to with the arguments as they came, the last one where the caller put it. */
long atr_syscall_slow(long number, long a, long b, long c, long d, long e, long f);

__attribute__((used, visibility("hidden"))) long atr_syscall_slow(long number, long a, long b,
								  long c, long d, long e, long f)
{
	bool away = number >= 0 && number < (long)sizeof(atr_syscall_watched) &&
		    atr_syscall_watched[number] && before_syscall(number, a, b, c);
	long ret = make_syscall(number, a, b, c, d, e, f);

	call_back(away);
	return ret;
}

/* clang-format off */
#if defined(__x86_64__)
__asm__(".text\n"
	".globl syscall\n"
	".type syscall, @function\n"
	"syscall:\n"
	".cfi_startproc\n"
	"	endbr64\n"
	"	cmpq $512, %rdi\n"
	"	jae 1f\n"
	"	leaq atr_syscall_watched(%rip), %r11\n"
	"	cmpb $0, (%r11,%rdi)\n"
	"	jne 2f\n"
	"1:	movq atr_syscall_real(%rip), %r11\n"
	"	testq %r11, %r11\n"
	"	je 2f\n"
	"	jmp *%r11\n"
	"2:	jmp atr_syscall_slow\n"
	".cfi_endproc\n"
	".size syscall, .-syscall\n");
#elif defined(__aarch64__)
__asm__(".text\n"
	".globl syscall\n"
	".type syscall, %function\n"
	"syscall:\n"
	".cfi_startproc\n"
	"	hint #34\n"
	"	cmp x0, #512\n"
	"	b.hs 1f\n"
	"	adrp x16, atr_syscall_watched\n"
	"	add x16, x16, :lo12:atr_syscall_watched\n"
	"	ldrb w16, [x16, x0]\n"
	"	cbnz w16, 2f\n"
	"1:	adrp x16, atr_syscall_real\n"
	"	ldr x16, [x16, :lo12:atr_syscall_real]\n"
	"	cbz x16, 2f\n"
	"	br x16\n"
	"2:	b atr_syscall_slow\n"
	".cfi_endproc\n"
	".size syscall, .-syscall\n");
#endif
/* clang-format on */
