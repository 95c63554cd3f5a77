/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_SYS_H
#define ATR_PRELOAD_SYS_H

/*
 * Raw system calls: what all our own code uses instead of libc's functions of
 * the same name, which we interpose.  They return -errno, never touch errno, are
 * safe in signal handlers, and are no cancellation points.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>

struct iovec;
struct pollfd;
struct timespec;

#if defined(__x86_64__)
static inline long atr_sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
static inline long atr_sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "atr_sys6: no system call sequence for this machine yet"
#endif

#define ATR_SYS_ARG(x) ((long)(x))
#define atr_sys(nr, a, b, c, d, e, f)                                                  \
	atr_sys6((nr), ATR_SYS_ARG(a), ATR_SYS_ARG(b), ATR_SYS_ARG(c), ATR_SYS_ARG(d), \
		 ATR_SYS_ARG(e), ATR_SYS_ARG(f))

static inline int atr_sys_open(const char *path, int flags, int mode)
{
	return (int)atr_sys(SYS_openat, AT_FDCWD, path, flags, mode, 0, 0);
}

static inline int atr_sys_close(int fd)
{
	return (int)atr_sys(SYS_close, fd, 0, 0, 0, 0, 0);
}

static inline ssize_t atr_sys_read(int fd, void *buf, size_t len)
{
	return atr_sys(SYS_read, fd, buf, len, 0, 0, 0);
}

static inline ssize_t atr_sys_write(int fd, const void *buf, size_t len)
{
	return atr_sys(SYS_write, fd, buf, len, 0, 0, 0);
}

static inline int atr_sys_getpid(void)
{
	return (int)atr_sys(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

static inline int atr_sys_gettid(void)
{
	return (int)atr_sys(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

static inline ssize_t atr_sys_getrandom(void *buf, size_t len, unsigned flags)
{
	return atr_sys(SYS_getrandom, buf, len, flags, 0, 0, 0);
}

static inline int atr_sys_ppoll(struct pollfd *fds, unsigned n, const struct timespec *timeout)
{
	return (int)atr_sys(SYS_ppoll, fds, n, timeout, 0, 0, 0);
}

/* Of what `name` is in the directory fd, no link followed; "": of fd itself.  0 or -errno. */
struct stat;
int atr_sys_stat(int fd, const char *name, struct stat *st);

/* One of SYS_getdents64. */
struct atr_sys_entry {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

/* The number of this process's pid namespace; 0: not known. */
uint64_t atr_sys_pid_namespace(void);

/* All signals of this thread, but for glibc's own two; returns the mask as it was. */
uint64_t atr_sys_block_signals(void);
void atr_sys_restore_signals(uint64_t mask);

/* NULL when it fails. */
void *atr_sys_map(size_t len);
/* A part of a file, shared; NULL and -errno in *err when it fails. */
void *atr_sys_map_file(int fd, uint64_t at, size_t len, int *err);
void atr_sys_unmap(void *p, size_t len);

/* futex(2) on a private word; timeout_ns relative, UINT64_MAX for none. */
int atr_sys_futex_wait(const uint32_t *word, uint32_t value, uint64_t timeout_ns);
void atr_sys_futex_wake(const uint32_t *word, int n);

/*
 * Reads memory the program gave to a call we have not made yet: it may be no
 * memory at all, and then the call must say EFAULT, not we crash.  True when all
 * n bytes were read.  Free for what lies on the caller's stack; else a system call for each
 * page, of the kind that every lock makes.  (What another thread unmaps between that call
 * and our reading is a fault where bare would say EFAULT, or send what is there by then.)
 */
bool atr_sys_peek(void *to, const void *from, size_t n);

/*
 * Is a word of four bytes at this aligned address memory?  The kernel is asked, wherever it
 * is; false where it may not be asked: in a sandbox, under valgrind.
 */
bool atr_sys_ask(const void *word);

/* From now on the program's pointers are trusted. */
void atr_sys_trust_memory(void);

/*
 * The same, for such a call may be deadly in a sandbox (seccomp), and so may others that the
 * program does not make.
 */
void atr_sys_sandbox(void);
bool atr_sys_sandboxed(void);

/* The other way round: writes to memory of the program's that may be none. */
bool atr_sys_poke(void *to, const void *from, size_t n);

/* The same from several pieces, one after the other. */
bool atr_sys_peekv(void *to, const struct iovec *from, size_t n_from);

/* The whole of a small file; returns its length or -errno.  Not NUL-terminated. */
ssize_t atr_sys_read_file(const char *path, void *buf, size_t len);

#endif
