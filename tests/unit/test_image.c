/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/sys.o */
#include "exporter/image.c"
#include "tests/unit/test.h"

static uint8_t *whole(const char *path, size_t *ret_len)
{
	FILE *f = fopen(path, "rb");
	uint8_t *p;
	long n;

	if (!f)
		abort();
	(void)fseek(f, 0, SEEK_END);
	n = ftell(f);
	rewind(f);
	p = malloc((size_t)n);
	if (!p || fread(p, 1, (size_t)n, f) != (size_t)n)
		abort();
	(void)fclose(f);
	*ret_len = (size_t)n;
	return p;
}

TEST(this_program_has_its_sections)
{
	struct atr_image image;
	const Elf64_Shdr *s;
	uint8_t id[20], *text;

	CHECK_INT(atr_image_open(&image, "/proc/self/exe"), 0);
	s = atr_image_section(&image, ".symtab");
	if (!CHECK(s != NULL))
		return;
	CHECK_INT(s->sh_size % sizeof(Elf64_Sym), 0);
	CHECK(atr_image_section(&image, ".nosuch") == NULL);
	CHECK(atr_image_section(&image, ".bss") == NULL);
	CHECK_INT(atr_image_build_id(&image, id, sizeof(id)), 20);
	CHECK_INT(atr_image_build_id(&image, id, 19), 0);
	s = atr_image_section(&image, ".interp");
	text = s ? atr_image_load(&image, s, 4096) : NULL;
	CHECK(text && text[0] == '/' && strlen((char *)text) == s->sh_size - 1);
	CHECK(s && atr_image_load(&image, s, s->sh_size - 1) == NULL);
	free(text);
	atr_image_close(&image);
	atr_image_close(&image);
}

TEST(what_is_no_elf_file_is_refused)
{
	struct atr_image image;

	CHECK_INT(atr_image_open(&image, "/no/such/file"), -ENOENT);
	atr_image_close(&image);
	CHECK_INT(atr_image_open(&image, "/dev/zero"), -ENOEXEC);
	atr_image_close(&image);
	CHECK_INT(atr_image_open(&image, "/etc/passwd"), -ENOEXEC);
	atr_image_close(&image);
	CHECK_INT(atr_image_open(&image, "/"), -ENOEXEC);
	atr_image_close(&image);
	CHECK_INT(atr_image_memory(&image, calloc(1, 100), 100), -ENOEXEC);
	atr_image_close(&image);
}

/* Everything one can ask of an image. */
static void ask(const uint8_t *bytes, size_t len)
{
	static const char *const names[] = { ".symtab", ".dynsym", ".interp", ".gnu_debuglink" };
	uint8_t *copy = malloc(len ? len : 1), id[20];
	struct atr_image image;

	memcpy(copy, bytes, len);
	if (atr_image_memory(&image, copy, len) == 0)
		for (int i = 0; i < 4; i++) {
			const Elf64_Shdr *s = atr_image_section(&image, names[i]);

			if (s)
				free(atr_image_load(&image, s, 1u << 24));
			(void)atr_image_build_id(&image, id, sizeof(id));
		}
	atr_image_close(&image);
}

TEST(a_spoilt_or_cut_file_is_read_within_its_bounds)
{
	size_t len, sections;
	uint8_t *bytes = whole("/proc/self/exe", &len);
	uint64_t seed = 1;
	Elf64_Ehdr eh;

	memcpy(&eh, bytes, sizeof(eh));
	sections = eh.e_shoff;
	for (unsigned round = 0; round < 400; round++) {
		uint8_t was, *at;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		at = seed >> 63 ? bytes + (seed >> 20) % sizeof(eh)
				: bytes + sections + (seed >> 20) % (len - sections);
		was = *at;
		*at = (uint8_t)(seed >> 50);
		ask(bytes, len);
		*at = was;
	}
	for (size_t cut = 0; cut < 200; cut++) {
		ask(bytes, cut);
		ask(bytes, len - cut);
	}
	free(bytes);
	CHECK(true);
}
