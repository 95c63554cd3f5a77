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

void *atr_sys_map(size_t len)
{
	long p = atr_sys(SYS_mmap, NULL, len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p < 0 && p > -4096 ? NULL : (void *)p;
}

void atr_sys_unmap(void *p, size_t len)
{
	if (p)
		(void)atr_sys(SYS_munmap, p, len, 0, 0, 0, 0);
}

#define STACK_NEAR 65536
#define PAGE 4096 /* the smallest there is: looking twice does no harm */

static bool trusting;

void atr_sys_trust_memory(void)
{
	__atomic_store_n(&trusting, true, __ATOMIC_RELAXED);
}

bool atr_sys_sandboxed(void)
{
	return __atomic_load_n(&trusting, __ATOMIC_RELAXED);
}

/* On the caller's stack, above our own frame: certainly memory. */
static bool near_stack(const void *p, size_t n, uintptr_t frame)
{
	return (uintptr_t)p - frame < STACK_NEAR && n <= STACK_NEAR - ((uintptr_t)p - frame);
}

#define UNLIKELY_WORD 0x0c1f03a9 /* found there by chance: costs some microseconds */

/* The kernel compares a word with another, and then does not wait. */
static bool readable(const void *word)
{
	const struct timespec none = { 0 };

	return atr_sys(SYS_futex, word, FUTEX_WAIT_PRIVATE, UNLIKELY_WORD, &none, 0, 0) != -EFAULT;
}

/* The kernel adds no bit to a word, and wakes those who wait for it, and who are none. */
static bool writable(const void *word)
{
	return atr_sys(SYS_futex, word, FUTEX_WAKE_OP_PRIVATE, 0, 0, word,
		       FUTEX_OP(FUTEX_OP_OR, 0, FUTEX_OP_CMP_EQ, 0)) != -EFAULT;
}

/* One word of each page, for it must be aligned. */
static bool each_page(const void *p, size_t n, bool (*is)(const void *word))
{
	uintptr_t at = (uintptr_t)p & ~(uintptr_t)3, end = (uintptr_t)p + n;

	if (end < (uintptr_t)p)
		return false;
	for (; at < end; at = (at | (PAGE - 1)) + 1)
		if (!is((const void *)at))
			return false;
	return true;
}

static bool is_memory(const void *p, size_t n, uintptr_t frame, bool (*is)(const void *word))
{
	return near_stack(p, n, frame) || atr_sys_sandboxed() || each_page(p, n, is);
}

bool atr_sys_peekv(void *to, const struct iovec *from, size_t n_from)
{
	uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
	char *p = to;

	for (size_t i = 0; i < n_from; i++) {
		if (!is_memory(from[i].iov_base, from[i].iov_len, frame, readable))
			return false;
		if (from[i].iov_len)
			memcpy(p, from[i].iov_base, from[i].iov_len);
		p += from[i].iov_len;
	}
	return true;
}

bool atr_sys_peek(void *to, const void *from, size_t n)
{
	if (!is_memory(from, n, (uintptr_t)__builtin_frame_address(0), readable))
		return false;
	if (n)
		memcpy(to, from, n);
	return true;
}

bool atr_sys_poke(void *to, const void *from, size_t n)
{
	if (!is_memory(to, n, (uintptr_t)__builtin_frame_address(0), writable))
		return false;
	if (n)
		memcpy(to, from, n);
	return true;
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
