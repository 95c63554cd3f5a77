/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/elf.c"

#include "tests/unit/test.h"

#define GLIBC "/lib64/ld-linux-x86-64.so.2"
#define MUSL "/lib/ld-musl-x86_64.so.1"

/* A program as short as one can be: header, a program header of each kind, what they point to. */
struct image {
	ElfW(Ehdr) head;
	ElfW(Phdr) ph[3];
	struct {
		ElfW(Nhdr) head;
		char owner[4], text[8];
	} notes[2];
	char interpreter[32];
};

static struct image image(const char *interpreter, bool go)
{
	struct image im = {
		.head = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, CLASS, DATA, 1 },
			  .e_type = ET_DYN,
			  .e_machine = MACHINE,
			  .e_phoff = offsetof(struct image, ph),
			  .e_phentsize = sizeof(ElfW(Phdr)),
			  .e_phnum = 3 },
		.ph = { { .p_type = PT_LOAD },
			{ .p_type = PT_NOTE,
			  .p_offset = offsetof(struct image, notes),
			  .p_filesz = sizeof(im.notes) } },
		.notes = { { { 4, 8, 3 }, "GNU", "abcdefg" },
			   { { 4, 8, go ? 4 : 1 }, "Go", "abcdefg" } },
	};

	if (interpreter) {
		im.ph[2] = (ElfW(Phdr)){ .p_type = PT_INTERP,
					 .p_offset = offsetof(struct image, interpreter),
					 .p_filesz = strlen(interpreter) + 1 };
		strcpy(im.interpreter, interpreter);
	}
	return im;
}

static struct atr_elf judged(const void *bytes, size_t len)
{
	void *edge = test_edge(bytes, len);
	struct atr_elf elf = atr_elf_judge(edge, len);

	if (elf.interpreter) /* within the bytes */
		CHECK(strlen(elf.interpreter) < len);
	elf.interpreter = NULL;
	test_edge_free(edge, len);
	return elf;
}

TEST(this_test_is_a_dynamic_program)
{
	static char bytes[1 << 16];
	FILE *f = fopen("/proc/self/exe", "r");
	size_t n = fread(bytes, 1, sizeof(bytes), f);
	struct atr_elf elf = atr_elf_judge(bytes, n);

	(void)fclose(f);
	CHECK_INT(elf.kind, ATR_ELF_DYNAMIC);
	CHECK(!elf.go);
	CHECK(elf.interpreter && strstr(elf.interpreter, "ld"));
}

TEST(the_interpreter_says_which_libc_a_program_has)
{
	static const struct {
		const char *interpreter;
		enum atr_elf_kind kind;
	} cases[] = {
		{ GLIBC, ATR_ELF_DYNAMIC },
		{ "/lib/ld-linux-aarch64.so.1", ATR_ELF_DYNAMIC },
		{ "/nix/store/x-glibc/lib/ld.so", ATR_ELF_DYNAMIC },
		{ MUSL, ATR_ELF_OTHER_LIBC },
		{ "ld-musl-x86_64.so.1", ATR_ELF_OTHER_LIBC },
		{ "/lib/ld-uClibc.so.0", ATR_ELF_OTHER_LIBC },
		{ "/system/bin/linker64", ATR_ELF_OTHER_LIBC },
		{ "/ld-musl/ld-linux.so.2", ATR_ELF_DYNAMIC },
		{ NULL, ATR_ELF_STATIC },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct image im = image(cases[i].interpreter, false);

		CHECK_INT(judged(&im, sizeof(im)).kind, cases[i].kind);
	}
}

TEST(a_go_program_is_known_by_its_note)
{
	struct image im = image(NULL, true);

	CHECK(judged(&im, sizeof(im)).go);
	CHECK_INT(judged(&im, sizeof(im)).kind, ATR_ELF_STATIC);
	im = image(GLIBC, true);
	CHECK(judged(&im, sizeof(im)).go);
	CHECK_INT(judged(&im, sizeof(im)).kind, ATR_ELF_DYNAMIC);
	im = image(NULL, false);
	CHECK(!judged(&im, sizeof(im)).go);
}

TEST(another_machine_class_or_byte_order_is_foreign)
{
	struct image im = image(GLIBC, false);

	im.head.e_machine = EM_SPARC;
	CHECK_INT(judged(&im, sizeof(im)).kind, ATR_ELF_FOREIGN);
	im = image(GLIBC, false);
	im.head.e_ident[EI_CLASS] = CLASS == ELFCLASS64 ? ELFCLASS32 : ELFCLASS64;
	CHECK_INT(judged(&im, sizeof(im)).kind, ATR_ELF_FOREIGN);
	im = image(GLIBC, false);
	im.head.e_ident[EI_DATA] = DATA == ELFDATA2LSB ? ELFDATA2MSB : ELFDATA2LSB;
	CHECK_INT(judged(&im, sizeof(im)).kind, ATR_ELF_FOREIGN);
}

TEST(what_is_no_program_is_none)
{
	struct image im = image(GLIBC, false);

	CHECK_INT(judged("", 0).kind, ATR_ELF_NONE);
	CHECK_INT(judged("#!/bin/sh\necho x; echo y; echo z\n", 33).kind, ATR_ELF_NONE);
	im.head.e_type = ET_REL;
	CHECK_INT(judged(&im, sizeof(im)).kind, ATR_ELF_NONE);
	im = image(GLIBC, false);
	im.head.e_phentsize = 1;
	CHECK_INT(judged(&im, sizeof(im)).kind, ATR_ELF_NONE);
	im = image(GLIBC, false);
	im.ph[2].p_filesz--; /* the NUL is missing */
	CHECK_INT(judged(&im, sizeof(im)).kind, ATR_ELF_NONE);
	im = image(GLIBC, false);
	im.ph[2].p_offset = ~0ull;
	CHECK_INT(judged(&im, sizeof(im)).kind, ATR_ELF_NONE);
	im = image(GLIBC, false);
	im.head.e_phoff = ~0ull - 8;
	CHECK_INT(judged(&im, sizeof(im)).kind, ATR_ELF_NONE);
}

TEST(a_file_that_ends_too_early_is_none_and_nothing_behind_it_is_read)
{
	struct image im = image(GLIBC, true);
	size_t whole = offsetof(struct image, interpreter) + sizeof(GLIBC);

	for (size_t n = 0; n < whole; n++)
		CHECK_INT(judged(&im, n).kind, ATR_ELF_NONE);
	CHECK_INT(judged(&im, whole).kind, ATR_ELF_DYNAMIC);
}

TEST(no_damaged_byte_makes_it_read_elsewhere)
{
	struct image im = image(MUSL, true);

	for (size_t at = 0; at < sizeof(im); at++)
		for (unsigned v = 0; v < 256; v += at % 8 ? 51 : 1) {
			struct image bad = im;

			((uint8_t *)&bad)[at] = (uint8_t)v;
			CHECK(judged(&bad, sizeof(bad)).kind <= ATR_ELF_FOREIGN);
		}
}

TEST(a_script_names_its_interpreter)
{
	static const struct {
		const char *text, *path;
	} cases[] = {
		{ "#!/bin/sh\n", "/bin/sh" },
		{ "#! \t/usr/bin/env python3\n", "/usr/bin/env" },
		{ "#!/bin/sh", "/bin/sh" },
		{ "#!x -e", "x" },
		{ "#!\n/bin/sh\n", NULL },
		{ "#!", NULL },
		{ "#", NULL },
		{ "", NULL },
		{ "# !/bin/sh", NULL },
		{ "#!/far/too/long/for/it\n", NULL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t n = strlen(cases[i].text);
		char *edge = test_edge(cases[i].text, n);
		char path[16] = "unchanged";

		CHECK_INT(atr_elf_script(edge, n, path, sizeof(path)), cases[i].path != NULL);
		CHECK_STR(path, cases[i].path ? cases[i].path : "unchanged");
		test_edge_free(edge, n);
	}
}
