/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/sys.o preload/peek.o preload/object.o */
/* LINK: -ldl */
#include "preload/cfi.c"

#include <dlfcn.h>
#include <stdio.h>

#include "preload/object.h"
#include "tests/unit/test.h"

static struct atr_mapping map_of(const char *symbol)
{
	struct atr_mapping map = { 0 };

	atr_object_init();
	CHECK(atr_object_map((uintptr_t)dlsym(RTLD_DEFAULT, symbol), &map));
	return map;
}

static struct atr_cfi at(const struct atr_mapping *map, uintptr_t pc)
{
	struct atr_cfi rule;

	atr_cfi_find(&rule, map->eh_frame_hdr, map->start, map->end, pc);
	return rule;
}

static int known(const struct atr_mapping *map, uintptr_t from, uintptr_t to)
{
	int n = 0;

	for (uintptr_t pc = from; pc < to; pc++)
		n += at(map, pc).base != ATR_CFI_NONE;
	return n;
}

TEST(nearly_all_of_libc_has_rules_and_they_are_sane)
{
	struct atr_mapping map = map_of("qsort");
	unsigned n = 0, none = 0;

	for (uintptr_t pc = (uintptr_t)dlsym(RTLD_DEFAULT, "qsort"), i = 0; i < 20000;
	     i++, pc += 7) {
		struct atr_cfi c = at(&map, pc);

		n++;
		if (c.base == ATR_CFI_NONE) {
			none++;
			continue;
		}
#if defined(__x86_64__)
		CHECK_INT(c.ra, -8);
		CHECK(c.base != ATR_CFI_SP || (c.cfa >= 8 && c.cfa % 8 == 0));
#endif
	}
	CHECK(none * 5 < n);
}

#if defined(__x86_64__)
TEST(the_first_instruction_of_a_function_has_pushed_nothing)
{
	struct atr_mapping map = map_of("qsort");
	struct atr_cfi c = at(&map, (uintptr_t)dlsym(RTLD_DEFAULT, "qsort") + 1);

	CHECK_INT(c.base, ATR_CFI_SP);
	CHECK_INT(c.cfa, 8);
	CHECK_INT(c.ra, -8);
	CHECK_INT(c.fp_rule, ATR_CFI_FP_SAME);
}
#endif

TEST(outside_and_without_a_table_there_is_none)
{
	struct atr_mapping map = map_of("qsort");
	uintptr_t pc = (uintptr_t)dlsym(RTLD_DEFAULT, "qsort") + 1;
	struct atr_cfi c;

	CHECK(at(&map, pc).base != ATR_CFI_NONE);
	CHECK_INT(at(&map, map.start).base, ATR_CFI_NONE);
	CHECK_INT(at(&map, map.end + 1).base, ATR_CFI_NONE);
	CHECK_INT(at(&map, 0).base, ATR_CFI_NONE);
	atr_cfi_find(&c, 0, map.start, map.end, pc);
	CHECK_INT(c.base, ATR_CFI_NONE);
	atr_cfi_find(&c, map.end - 2, map.start, map.end, pc);
	CHECK_INT(c.base, ATR_CFI_NONE);
	atr_cfi_find(&c, map.start, map.start, map.end, pc); /* an ELF header is no table */
	CHECK_INT(c.base, ATR_CFI_NONE);
}

/* The unwind information of this program, moved to memory of our own and spoilt. */
struct copy {
	uint8_t *p;
	size_t len;
	struct atr_mapping map;
};

static struct copy copied(void)
{
	struct atr_mapping map;
	struct copy c = { 0 };
	int fd;

	atr_object_init();
	CHECK(atr_object_map((uintptr_t)known, &map));
	c.len = (map.end - map.start + 4095) & ~(size_t)4095;
	c.p = mmap(NULL, c.len + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(mprotect(c.p + c.len, 4096, PROT_NONE) == 0);
	/* There may be holes between segments, and a sanitizer's between variables. */
	fd = open("/proc/self/mem", O_RDONLY);
	for (size_t i = 0; i < c.len; i += 4096)
		(void)!pread(fd, c.p + i, 4096, (off_t)(map.start + i));
	(void)close(fd);
	c.map = map;
	c.map.start = (uintptr_t)c.p;
	c.map.end = c.map.start + c.len;
	c.map.eh_frame_hdr += c.map.start - map.start;
	c.map.bias = map.start;
	return c;
}

TEST(spoilt_information_neither_faults_nor_goes_on_for_ever)
{
	struct copy c = copied();
	uintptr_t pc = c.map.start + ((uintptr_t)known - c.map.bias);
	uint8_t *hdr = (uint8_t *)c.map.eh_frame_hdr;
	size_t len = c.len - (size_t)(hdr - c.p) < 12000 ? c.len - (size_t)(hdr - c.p) : 12000;
	uint64_t seed = 42;
	int good = known(&c.map, pc, pc + 64), bad = 0;

	CHECK(good > 50);
	for (unsigned round = 0; round < 3000; round++) {
		uint8_t was[8];
		size_t where[8];

		for (int i = 0; i < 8; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			where[i] = (seed >> 20) % len;
			was[i] = hdr[where[i]];
			hdr[where[i]] = (uint8_t)(seed >> 56);
		}
		bad += known(&c.map, pc, pc + 8) < 8;
		for (int i = 7; i >= 0; i--)
			hdr[where[i]] = was[i];
	}
	CHECK(bad > 0);
	CHECK_INT(known(&c.map, pc, pc + 64), good);
	(void)munmap(c.p, c.len + 4096);
}

TEST(cut_off_information_does_not_fault)
{
	struct copy c = copied();
	uintptr_t pc = c.map.start + ((uintptr_t)known - c.map.bias), end = c.map.end;

	for (uintptr_t cut = c.map.eh_frame_hdr; cut < c.map.eh_frame_hdr + 600; cut++) {
		c.map.end = cut;
		(void)at(&c.map, pc + 1);
	}
	c.map.end = end;
	/* Pages of it that cannot be read. */
	CHECK(mprotect(c.p, c.len, PROT_NONE) == 0);
	CHECK_INT(at(&c.map, pc + 1).base, ATR_CFI_NONE);
	(void)munmap(c.p, c.len + 4096);
}
