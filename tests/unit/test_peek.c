/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/peek.c"

#include <signal.h>

#include "tests/unit/test.h"

/* Three pages: one that may be written, one that may be read, none. */
static char *pages(void)
{
	char *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(p, 'x', 3 * PAGE);
	CHECK(!mprotect(p + PAGE, PAGE, PROT_READ) && !mprotect(p + 2 * PAGE, PAGE, PROT_NONE));
	return p;
}

static char to[20 * PAGE];

/* What the compiler is not to know. */
static void *volatile nowhere[] = { NULL, (void *)1, (void *)(UINTPTR_MAX - 2),
				    (void *)UINTPTR_MAX };
static volatile size_t too_much = SIZE_MAX;

TEST(what_may_be_read_is_read_and_nothing_else)
{
	char *p = pages();

	CHECK(atr_sys_peek(to, p, 2 * PAGE));
	CHECK_MEM(to, p, 2 * PAGE);
	CHECK(!atr_sys_peek(to, p, 2 * PAGE + 1));
	CHECK(!atr_sys_peek(to, p, 3 * PAGE));
	for (size_t n = 1; n < 9; n++) {
		CHECK(atr_sys_peek(to, p + 2 * PAGE - n, n));
		CHECK(!atr_sys_peek(to, p + 2 * PAGE - n, n + 1));
		CHECK(!atr_sys_peek(to, p + 2 * PAGE + n, 1));
	}
	for (size_t i = 0; i < ATR_ARRAY_LEN(nowhere); i++)
		CHECK(!atr_sys_peek(to, nowhere[i], 1));
	CHECK(!atr_sys_peek(to, p, too_much));
	CHECK(atr_sys_peek(to, nowhere[0], 0));
	CHECK(!munmap(p, 3 * PAGE));
	CHECK(!atr_sys_peek(to, p, 1));
}

TEST(what_may_be_written_is_written_and_nothing_else)
{
	char *p = pages();

	CHECK(atr_sys_poke(p + PAGE - 4, "abcd", 4));
	CHECK_MEM(p + PAGE - 4, "abcdx", 5);
	CHECK(!atr_sys_poke(p + PAGE - 3, "abcd", 4));
	CHECK_MEM(p + PAGE - 4, "abcdx", 5);
	CHECK(!atr_sys_poke(p + PAGE, "abcd", 4));
	CHECK(!atr_sys_poke(p + 2 * PAGE, "abcd", 4));
	CHECK(!atr_sys_poke(nowhere[0], "abcd", 4));
	CHECK(!munmap(p, 3 * PAGE));
}

TEST(pieces_are_put_together)
{
	char *p = pages(), on_stack[3] = "abc";
	struct iovec v[] = { { on_stack, 3 }, { NULL, 0 }, { p, 2 }, { p + 2 * PAGE - 1, 1 } };

	CHECK(atr_sys_peekv(to, v, 4));
	CHECK_MEM(to, "abcxxx", 6);
	v[3].iov_len = 2;
	CHECK(!atr_sys_peekv(to, v, 4));
	CHECK(atr_sys_peekv(to, v, 3));
	CHECK(!munmap(p, 3 * PAGE));
}

/* A file that is shorter than its mapping: reading there is SIGBUS. */
TEST(memory_behind_the_end_of_a_file_is_none)
{
	char name[] = "/tmp/atr-test-sys.XXXXXX";
	int fd = mkstemp(name);
	char *p;

	CHECK(fd >= 0 && !unlink(name) && write(fd, "abcd", 4) == 4);
	p = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	CHECK(atr_sys_peek(to, p, PAGE));
	CHECK_MEM(to, "abcd", 5);
	CHECK(!atr_sys_peek(to, p + PAGE, 1));
	CHECK(!munmap(p, 2 * PAGE) && !close(fd));
}

TEST(the_word_that_is_compared_may_be_there)
{
	uint32_t *word = (uint32_t *)(void *)pages(), read = 0;

	*word = UNLIKELY_WORD;
	CHECK(atr_sys_peek(&read, word, sizeof(read)));
	CHECK(read == UNLIKELY_WORD);
	CHECK(!munmap(word, 3 * PAGE));
}

TEST(in_a_sandbox_nothing_is_asked)
{
	char *p = pages();

	atr_sys_sandbox();
	CHECK(atr_sys_sandboxed());
	CHECK(atr_sys_peek(to, p, 4) && atr_sys_poke(p, "abcd", 4));
	trusting = false;
	CHECK_MEM(p, "abcdx", 5);
	CHECK(!munmap(p, 3 * PAGE));
}

/* A stack of two pages with nothing above it. */
static char *small_stack;
static bool small_ok[4];

/* Not inlined: it goes by its own frame. */
static bool (*volatile peek)(void *to, const void *from, size_t n) = atr_sys_peek;

static void on_small_stack(int signal)
{
	char buffer[3 * PAGE];

	(void)signal;
	memset(buffer, 'y', sizeof(buffer));
	small_ok[0] = peek(to, buffer, sizeof(buffer));
	small_ok[1] = peek(to, buffer, (size_t)(small_stack + 16 * PAGE - buffer));
	small_ok[2] = !peek(to, buffer, (size_t)(small_stack + 16 * PAGE - buffer) + 1);
	small_ok[3] = stack_was_seen((uintptr_t)buffer, (uintptr_t)small_stack + 16 * PAGE);
}

TEST(more_than_the_stack_has_is_no_memory)
{
	struct sigaction act = { .sa_handler = on_small_stack, .sa_flags = SA_ONSTACK };
	stack_t stack = { .ss_size = 16 * PAGE };

#if defined(__SANITIZE_ADDRESS__)
	SKIP("AddressSanitizer minds reading on behind the buffer");
#endif

	small_stack =
		mmap(NULL, 17 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(small_stack != MAP_FAILED && !mprotect(small_stack + 16 * PAGE, PAGE, PROT_NONE));
	stack.ss_sp = small_stack;
	CHECK(!sigaltstack(&stack, NULL) && !sigaction(SIGUSR1, &act, NULL) && !raise(SIGUSR1));
	for (int i = 0; i < 4; i++)
		CHECK_INT(i * small_ok[i], i);
}
