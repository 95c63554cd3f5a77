/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/sys.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

uint64_t atr_sys_block_signals(void)
{
	/* 32 and 33: setuid() waits for every thread to answer the latter. */
	const uint64_t all = ~(1ull << (32 - 1) | 1ull << (33 - 1));
	uint64_t before = 0;

	(void)atr_sys(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, 8, 0, 0);
	return before;
}

void atr_sys_restore_signals(uint64_t mask)
{
	(void)atr_sys(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, 8, 0, 0);
}

int atr_sys_stat(int fd, const char *name, struct stat *st)
{
#ifdef SYS_newfstatat
	const long nr = SYS_newfstatat;
#else
	const long nr = SYS_fstatat;
#endif
	return (int)atr_sys(nr, fd, name, st, *name ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH, 0, 0);
}

uint64_t atr_sys_pid_namespace(void)
{
	char text[64];
	uint64_t ns = 0;
	long n = atr_sys(SYS_readlinkat, AT_FDCWD, "/proc/self/ns/pid", text, sizeof(text), 0, 0);

	for (long i = 0; i < n; i++) /* "pid:[4026531836]" */
		if (text[i] >= '0' && text[i] <= '9')
			ns = ns * 10 + (uint64_t)(text[i] - '0');
	return ns;
}

/* ThreadSanitizer must be told that memory is new, and that it is gone: what was there before, and
 * what the loader puts there behind it, is no race. */
#ifdef __SANITIZE_THREAD__
#define MAP(...) ((long)mmap(__VA_ARGS__))
#define UNMAP(p, len) ((void)munmap(p, len))
#else
#define MAP(...) atr_sys(SYS_mmap, __VA_ARGS__)
#define UNMAP(p, len) ((void)atr_sys(SYS_munmap, p, len, 0, 0, 0, 0))
#endif

void *atr_sys_map(size_t len)
{
	long p = MAP(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		     -1, 0);

	return p < 0 && p > -4096 ? NULL : (void *)p;
}

void *atr_sys_map_file(int fd, uint64_t at, size_t len, int *err)
{
	long p = MAP(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (long)at);

	if (p < 0 && p > -4096) {
		*err = (int)p;
		return NULL;
	}
	return (void *)p;
}

void atr_sys_unmap(void *p, size_t len)
{
	if (p)
		UNMAP(p, len);
}

int atr_sys_futex_wait(const uint32_t *word, uint32_t value, uint64_t timeout_ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(timeout_ns / 1000000000u),
		.tv_nsec = (long)(timeout_ns % 1000000000u),
	};

	return (int)atr_sys(SYS_futex, word, FUTEX_WAIT_PRIVATE, value,
			    timeout_ns == UINT64_MAX ? NULL : &ts, 0, 0);
}

void atr_sys_futex_wake(const uint32_t *word, int n)
{
	(void)atr_sys(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, 0, 0, 0);
}

ssize_t atr_sys_read_file(const char *path, void *buf, size_t len)
{
	int fd = atr_sys_open(path, O_RDONLY | O_CLOEXEC, 0);
	size_t have = 0;

	if (fd < 0)
		return fd;
	while (have < len) {
		ssize_t n = atr_sys_read(fd, (char *)buf + have, len - have);

		if (n == -EINTR)
			continue;
		if (n <= 0)
			break;
		have += (size_t)n;
	}
	(void)atr_sys_close(fd);
	return (ssize_t)have;
}
