/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/image.o preload/sys.o preload/peek.o preload/object.o -ldl */
#include "exporter/lines.c"

#include <stdio.h>

#include "preload/object.h"
#include "tests/unit/test.h"

static int line_inside, line_outside;

static inline __attribute__((always_inline)) uintptr_t inside(void)
{
	uintptr_t pc;

	line_inside = __LINE__ + 1;
#if defined(__x86_64__)
	__asm__ volatile("lea 0(%%rip), %0" : "=r"(pc));
#else
	__asm__ volatile("adr %0, ." : "=r"(pc));
#endif
	return pc;
}

static __attribute__((noinline)) uintptr_t outside(void)
{
	uintptr_t pc;

	line_outside = __LINE__ + 1;
	pc = (uintptr_t)__builtin_return_address(0) * 0 + inside();
	__asm__ volatile("" ::: "memory");
	return pc;
}

static __attribute__((noinline)) int plain(int n)
{
	__asm__ volatile("" ::: "memory");
	return n + 1;
}

TEST(a_line_and_the_function_that_was_inlined)
{
	struct atr_mapping map;
	struct atr_image image;
	struct atr_lines *l;
	struct atr_line_at at;
	uintptr_t pc = outside();

	atr_object_init();
	CHECK(atr_object_map(pc, &map));
	CHECK_INT(atr_image_open(&image, "/proc/self/exe"), 0);
	l = atr_lines_open(&image);
	if (!l) {
		atr_image_close(&image);
		SKIP("no libdw.so.1, or built without -g");
	}
	CHECK(atr_lines_find(l, pc - map.bias - 1, &at));
	CHECK(at.file && strstr(at.file, "tests/unit/test_lines.c"));
	CHECK(at.line >= line_inside - 4 && at.line <= line_inside + 6);
	CHECK_STR(at.function ? at.function : "", "inside");
	CHECK(at.inlined);
	CHECK_INT(plain(1), 2);
	CHECK(atr_lines_find(l, (uintptr_t)plain - map.bias, &at));
	CHECK_STR(at.function ? at.function : "", "plain");
	CHECK(!at.inlined);
	CHECK(!atr_lines_find(l, 1, &at));
	CHECK(!atr_lines_find(l, UINT64_MAX, &at));
	atr_lines_close(l);
	atr_lines_close(NULL);
	atr_image_close(&image);
}

static void *in_thread(void *arg)
{
	struct atr_image image;
	struct atr_lines *l = NULL;

	if (atr_image_open(&image, "/proc/self/exe") == 0)
		l = atr_lines_open(&image);
	*(bool *)arg = l != NULL;
	atr_lines_close(l);
	atr_image_close(&image);
	return NULL;
}

TEST(a_small_stack_is_not_given_to_libdw)
{
	bool small = true, large = false;
	pthread_attr_t attr;
	pthread_t t;

	if (!load())
		SKIP("no libdw.so.1");
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, STACK_LEAST);
	CHECK_INT(pthread_create(&t, &attr, in_thread, &small), 0);
	(void)pthread_join(t, NULL);
	CHECK(!small);
	CHECK_INT(pthread_create(&t, NULL, in_thread, &large), 0);
	(void)pthread_join(t, NULL);
	CHECK(large);
}

TEST(a_file_without_debug_information_is_not_opened)
{
	struct atr_image image;

	CHECK_INT(atr_image_open(&image, "/bin/true"), 0);
	CHECK(atr_lines_open(&image) == NULL);
	atr_image_close(&image);
}
