/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/sys.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
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

/* 0: not known yet; -1: the program's pointers are trusted; else our process id. */
static int peeker;

void atr_sys_trust_memory(void)
{
	__atomic_store_n(&peeker, -1, __ATOMIC_RELAXED);
}

bool atr_sys_sandboxed(void)
{
	return __atomic_load_n(&peeker, __ATOMIC_RELAXED) < 0;
}

void atr_sys_forked(void)
{
	if (__atomic_load_n(&peeker, __ATOMIC_RELAXED) > 0)
		__atomic_store_n(&peeker, atr_sys_getpid(), __ATOMIC_RELAXED);
}

/* Is there a filter on our system calls?  Read, not asked for: reading is allowed. */
static bool sandboxed(void)
{
	char status[4096];
	ssize_t n = atr_sys_read_file("/proc/self/status", status, sizeof(status) - 1);
	const char *line;

	if (n <= 0)
		return false;
	status[n] = '\0';
	line = strstr(status, "\nSeccomp:\t");
	return line && line[10] != '0';
}

/* -1: none. */
static int peek_pid(void)
{
	int pid = __atomic_load_n(&peeker, __ATOMIC_RELAXED);

	if (!pid) {
		pid = sandboxed() ? -1 : atr_sys_getpid();
		__atomic_store_n(&peeker, pid, __ATOMIC_RELAXED);
	}
	return pid;
}

/* On the caller's stack, above our own frame: certainly memory. */
static bool near_stack(const void *p, size_t n, uintptr_t frame)
{
	return (uintptr_t)p - frame < STACK_NEAR && n <= STACK_NEAR - ((uintptr_t)p - frame);
}

static void copy_pieces(char *to, const struct iovec *from, size_t n_from)
{
	for (size_t i = 0; i < n_from; i++) {
		memcpy(to, from[i].iov_base, from[i].iov_len);
		to += from[i].iov_len;
	}
}

bool atr_sys_peekv(void *to, const struct iovec *from, size_t n_from)
{
	uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
	struct iovec local = { .iov_base = to };
	bool near = true;
	long ret;
	int pid;

	for (size_t i = 0; i < n_from; i++) {
		local.iov_len += from[i].iov_len;
		near = near && near_stack(from[i].iov_base, from[i].iov_len, frame);
	}
	pid = near ? -1 : peek_pid();
	if (pid < 0) {
		copy_pieces(to, from, n_from);
		return true;
	}
	ret = atr_sys(SYS_process_vm_readv, pid, &local, 1, from, n_from, 0);
	if (ret == -ENOSYS || ret == -EPERM) { /* a sandbox: then the program must be trusted */
		copy_pieces(to, from, n_from);
		return true;
	}
	return ret == (long)local.iov_len;
}

bool atr_sys_peek(void *to, const void *from, size_t n)
{
	struct iovec piece = { .iov_base = (void *)(uintptr_t)from, .iov_len = n };
	uintptr_t frame = (uintptr_t)__builtin_frame_address(0);

	if (near_stack(from, n, frame)) {
		memcpy(to, from, n);
		return true;
	}
	return atr_sys_peekv(to, &piece, 1);
}

bool atr_sys_poke(void *to, const void *from, size_t n)
{
	struct iovec local = { .iov_base = (void *)(uintptr_t)from, .iov_len = n };
	struct iovec remote = { .iov_base = to, .iov_len = n };
	int pid = near_stack(to, n, (uintptr_t)__builtin_frame_address(0)) ? -1 : peek_pid();
	long ret;

	if (pid < 0) {
		memcpy(to, from, n);
		return true;
	}
	ret = atr_sys(SYS_process_vm_writev, pid, &local, 1, &remote, 1, 0);
	if (ret == -ENOSYS || ret == -EPERM) {
		memcpy(to, from, n);
		return true;
	}
	return ret == (long)n;
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
