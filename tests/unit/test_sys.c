/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/sys.c"

#include "tests/unit/test.h"

/* Three pages: one that may be written, one that may be read, none. */
static char *pages(void)
{
	char *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(p, 'x', 3 * PAGE);
	CHECK(!mprotect(p + PAGE, PAGE, PROT_READ) && !mprotect(p + 2 * PAGE, PAGE, PROT_NONE));
	return p;
}

static char to[3 * PAGE];

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
	CHECK(!atr_sys_peek(to, NULL, 1));
	CHECK(!atr_sys_peek(to, (void *)1, 1));
	CHECK(!atr_sys_peek(to, (void *)UINTPTR_MAX, 1));
	CHECK(!atr_sys_peek(to, (void *)(UINTPTR_MAX - 2), 1));
	CHECK(!atr_sys_peek(to, p, SIZE_MAX));
	CHECK(atr_sys_peek(to, NULL, 0));
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
	CHECK(!atr_sys_poke(NULL, "abcd", 4));
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

	trusting = true;
	CHECK(atr_sys_sandboxed());
	CHECK(atr_sys_peek(to, p, 4) && atr_sys_poke(p, "abcd", 4));
	trusting = false;
	CHECK_MEM(p, "abcdx", 5);
	CHECK(!munmap(p, 3 * PAGE));
}
