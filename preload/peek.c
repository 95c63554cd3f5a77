/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of the program's that may be none.  (A file of its own: the exporter has sys.c too,
 * and is to need no thread-local memory.)
 */
#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <time.h>

#include "preload/compiler.h"
#include "preload/sys.h"

#define STACK_NEAR 65536
#define PAGE 4096 /* the smallest there is: looking twice does no harm */

static bool trusting, sandbox;

void atr_sys_trust_memory(void)
{
	atr_store(&trusting, true);
}

void atr_sys_sandbox(void)
{
	atr_store(&trusting, true);
	atr_store(&sandbox, true);
}

bool atr_sys_sandboxed(void)
{
	return atr_load(&sandbox);
}

#define UNLIKELY_WORD 0x0c1f03a9 /* found there by chance: costs some microseconds */

/* The kernel compares a word with another, and then does not wait. */
static bool readable(const void *word)
{
	const struct timespec none = { 0 };

	return atr_sys(SYS_futex, word, FUTEX_WAIT_PRIVATE, UNLIKELY_WORD, &none, 0, 0) != -EFAULT;
}

bool atr_sys_ask(const void *word)
{
	return !atr_load(&trusting) && readable(word);
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

/*
 * Of this thread's stack, what was looked at: number of the first page, and of pages in the
 * lower 16 bits.  One word: a signal handler has its own idea of it, perhaps on another stack.
 */
static __thread uint64_t stack_seen;

static bool stack_was_seen(uintptr_t frame, uintptr_t end)
{
	uintptr_t from = (uintptr_t)(stack_seen >> 16) * PAGE;

	return frame >= from && end <= from + (stack_seen & 0xffff) * PAGE;
}

static void see_stack(uintptr_t frame, uintptr_t end)
{
	uint64_t from = frame / PAGE, to = (end - 1) / PAGE + 1;
	uint64_t old_from = stack_seen >> 16, old_to = old_from + (stack_seen & 0xffff);

	if (from <= old_to && old_from <= to) { /* both are memory, and touch each other */
		from = old_from < from ? old_from : from;
		to = old_to > to ? old_to : to;
	}
	if (to - from <= 0xffff)
		stack_seen = from << 16 | (to - from);
}

/*
 * On the caller's stack, above our own frame: looked at once, for what is above a frame
 * stays where it is.  (A call may be given more bytes than there are.)
 */
static bool on_stack(const void *p, size_t n, uintptr_t frame)
{
	uintptr_t end = (uintptr_t)p + n;

	if ((uintptr_t)p - frame >= STACK_NEAR || n > STACK_NEAR - ((uintptr_t)p - frame))
		return false;
	if (atr_likely(end <= (frame | (PAGE - 1)) + 1 || stack_was_seen(frame, end)))
		return true;
	if (!each_page((const void *)frame, end - frame, readable))
		return false;
	see_stack(frame, end);
	return true;
}

static bool is_memory(const void *p, size_t n, uintptr_t frame, bool (*is)(const void *word))
{
	return atr_load(&trusting) || on_stack(p, n, frame) || each_page(p, n, is);
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
