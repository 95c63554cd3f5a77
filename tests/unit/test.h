/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_TEST_H
#define ATR_TEST_H

/*
 * A unit test is a .c file that includes the .c it tests, then has TEST blocks:
 *
 *	#include "hooks/sql.c"
 *	#include "tests/unit/test.h"
 *
 *	TEST(a_number_becomes_a_question_mark)
 *	{
 *		CHECK_STR(sanitised("SELECT 1"), "SELECT ?");
 *	}
 *
 * Every TEST registers itself; main() is here.  A failed CHECK is printed and
 * counted and the test goes on; the last line is "N passed, N failed, N skipped",
 * counted in tests.  A test that ran no CHECK has failed: it asserts nothing.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct test {
	const char *name;
	void (*run)(void);
	struct test *next;
};

static struct test *test_list, **test_tail = &test_list;
static unsigned test_checks, test_failures;
static bool test_skipped;

#define TEST(id)                                                          \
	static void test_##id(void);                                      \
	__attribute__((constructor)) static void test_add_##id(void)      \
	{                                                                 \
		static struct test t = { .name = #id, .run = test_##id }; \
		*test_tail = &t;                                          \
		test_tail = &t.next;                                      \
	}                                                                 \
	static void test_##id(void)

#define CHECK(cond) test_check((cond), #cond, __FILE__, __LINE__)
#define CHECK_INT(a, b) test_check_int((long long)(a), (long long)(b), #a, __FILE__, __LINE__)
#define CHECK_STR(a, b) test_check_str((a), (b), #a, __FILE__, __LINE__)
#define CHECK_MEM(a, b, n) test_check_mem((a), (b), (n), #a, __FILE__, __LINE__)
#define SKIP(why)                               \
	do {                                    \
		printf("  skipped: %s\n", why); \
		test_skipped = true;            \
		return;                         \
	} while (0)

static inline bool test_check(bool ok, const char *what, const char *file, int line)
{
	test_checks++;
	if (!ok) {
		test_failures++;
		printf("  %s:%d: not true: %s\n", file, line, what);
	}
	return ok;
}

static inline bool test_check_int(long long a, long long b, const char *what, const char *file,
				  int line)
{
	test_checks++;
	if (a != b) {
		test_failures++;
		printf("  %s:%d: %s is %lld, not %lld\n", file, line, what, a, b);
	}
	return a == b;
}

static inline bool test_check_str(const char *a, const char *b, const char *what, const char *file,
				  int line)
{
	bool ok = a && b ? strcmp(a, b) == 0 : a == b;

	test_checks++;
	if (!ok) {
		test_failures++;
		printf("  %s:%d: %s is\n    \"%s\", not\n    \"%s\"\n", file, line, what,
		       a ? a : "(null)", b ? b : "(null)");
	}
	return ok;
}

static inline bool test_check_mem(const void *a, const void *b, size_t n, const char *what,
				  const char *file, int line)
{
	bool ok = memcmp(a, b, n) == 0;

	test_checks++;
	if (!ok) {
		test_failures++;
		printf("  %s:%d: %s differs\n   ", file, line, what);
		for (size_t i = 0; i < n; i++)
			printf(" %02x", ((const uint8_t *)a)[i]);
		printf(" not\n   ");
		for (size_t i = 0; i < n; i++)
			printf(" %02x", ((const uint8_t *)b)[i]);
		printf("\n");
	}
	return ok;
}

/*
 * A copy of n bytes whose end lies at an unreadable page: one byte read too far
 * is a crash.  Freed with test_edge_free().
 */
static inline void *test_edge(const void *bytes, size_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t room = (n + page - 1) / page * page + page;
	uint8_t *map = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED || mprotect(map + room - page, page, PROT_NONE) != 0)
		abort();
	if (bytes)
		memcpy(map + room - page - n, bytes, n);
	return map + room - page - n;
}

static inline void test_edge_free(void *edge, size_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t room = (n + page - 1) / page * page + page;

	(void)munmap((uint8_t *)edge + n + page - room, room);
}

int main(int argc, char **argv)
{
	unsigned passed = 0, failed = 0, skipped = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (struct test *t = test_list; t; t = t->next) {
		if (argc > 1 && !strstr(t->name, argv[1]))
			continue;
		test_checks = test_failures = 0;
		test_skipped = false;
		alarm(120); /* no test may hang */
		t->run();
		alarm(0);
		if (test_skipped) {
			skipped++;
		} else if (test_failures || !test_checks) {
			failed++;
			printf("FAILED %s%s\n", t->name, test_checks ? "" : " (checks nothing)");
		} else {
			passed++;
		}
	}
	printf("%u passed, %u failed, %u skipped\n", passed, failed, skipped);
	return failed != 0;
}

#endif
