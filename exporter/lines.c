/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libdw by dlopen(): it is not needed to run, and few programs have debug
 * information.  Files are read, not mapped (ELF_C_READ on a descriptor).
 */
#include "exporter/lines.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "exporter/image.h"
#include "preload/compiler.h"

#define DEBUG_MAX (64u << 20) /* bytes of the sections it would read */
#define STACK_LEAST (320 * 1024)

/* As <libdw.h> and <libelf.h> have them (elfutils keeps its ABI). */
struct die {
	void *addr, *cu, *abbrev;
	long padding;
};
struct attribute {
	unsigned code, form;
	unsigned char *value;
	void *cu;
};
enum { ELF_READ = 1, DWARF_READ = 0, ELF_VERSION = 1 };
enum { TAG_SUBPROGRAM = 0x2e, TAG_INLINED = 0x1d, AT_LINKAGE_NAME = 0x6e };

static struct {
	bool tried, there;
	unsigned (*elf_version)(unsigned version);
	void *(*elf_begin)(int fd, int cmd, void *ref);
	int (*elf_end)(void *elf);
	void *(*dwarf_begin_elf)(void *elf, int cmd, void *group);
	int (*dwarf_end)(void *dwarf);
	struct die *(*dwarf_addrdie)(void *dwarf, uint64_t addr, struct die *result);
	int (*dwarf_nextcu)(void *dwarf, uint64_t off, uint64_t *next_off, size_t *header_size,
			    uint64_t *abbrev_offset, uint8_t *address_size, uint8_t *offset_size);
	struct die *(*dwarf_offdie)(void *dwarf, uint64_t offset, struct die *result);
	int (*dwarf_haspc)(struct die *die, uint64_t pc);
	void *(*dwarf_getsrc_die)(struct die *cudie, uint64_t addr);
	const char *(*dwarf_linesrc)(void *line, uint64_t *mtime, uint64_t *length);
	int (*dwarf_lineno)(void *line, int *line_number);
	int (*dwarf_getscopes)(struct die *cudie, uint64_t pc, struct die **scopes);
	int (*dwarf_tag)(struct die *die);
	const char *(*dwarf_diename)(struct die *die);
	struct attribute *(*dwarf_attr_integrate)(struct die *die, unsigned name,
						  struct attribute *result);
	const char *(*dwarf_formstring)(struct attribute *attr);
} dw;

struct atr_lines {
	void *elf, *dwarf;
};

static bool load(void)
{
	static const struct {
		const char *name;
		void *to; /* a pointer to a function pointer */
	} wanted[] = {
#define WANT(f) { #f, &dw.f }
		WANT(elf_version),	    WANT(elf_begin),	    WANT(elf_end),
		WANT(dwarf_begin_elf),	    WANT(dwarf_end),	    WANT(dwarf_addrdie),
		WANT(dwarf_nextcu),	    WANT(dwarf_offdie),	    WANT(dwarf_haspc),
		WANT(dwarf_getsrc_die),	    WANT(dwarf_linesrc),    WANT(dwarf_lineno),
		WANT(dwarf_getscopes),	    WANT(dwarf_tag),	    WANT(dwarf_diename),
		WANT(dwarf_attr_integrate), WANT(dwarf_formstring),
#undef WANT
	};
	void *libdw, *p;

	if (dw.tried)
		return dw.there;
	dw.tried = true;
	libdw = dlopen("libdw.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!libdw)
		return false;
	for (size_t i = 0; i < ATR_ARRAY_LEN(wanted); i++) {
		p = dlsym(libdw, wanted[i].name); /* libelf's too: libdw needs it */
		if (!p)
			return false;
		memcpy(wanted[i].to, &p, sizeof(p));
	}
	dw.there = dw.elf_version(ELF_VERSION) != 0;
	return dw.there;
}

static bool worth_it(const struct atr_image *image)
{
	uint64_t sum = 0;

	if (image->fd < 0 ||
	    (!atr_image_section(image, ".debug_line") && !atr_image_section(image, ".zdebug_line")))
		return false;
	for (size_t i = 0; i < image->n_sections; i++) {
		const Elf64_Shdr *s = &image->sections[i];

		if (s->sh_type != SHT_NOBITS && s->sh_name < image->names_len &&
		    strncmp(image->names + s->sh_name, ".debug_", 7) == 0)
			sum += s->sh_size < DEBUG_MAX ? s->sh_size : DEBUG_MAX;
	}
	return sum < DEBUG_MAX;
}

/* One function of libdw alone takes 152 KiB; a program's thread-local data may leave less. */
static bool stack_is_large(void)
{
	uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
	pthread_attr_t attr;
	void *lowest = NULL;
	size_t size = 0;

	if (pthread_getattr_np(pthread_self(), &attr) != 0)
		return false;
	(void)pthread_attr_getstack(&attr, &lowest, &size);
	(void)pthread_attr_destroy(&attr);
	return lowest && frame > (uintptr_t)lowest && frame - (uintptr_t)lowest >= STACK_LEAST;
}

struct atr_lines *atr_lines_open(const struct atr_image *image)
{
	struct atr_lines *l;

	if (!worth_it(image) || !stack_is_large() || !load())
		return NULL;
	l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->elf = dw.elf_begin(image->fd, ELF_READ, NULL);
	l->dwarf = l->elf ? dw.dwarf_begin_elf(l->elf, DWARF_READ, NULL) : NULL;
	if (l->dwarf)
		return l;
	atr_lines_close(l);
	return NULL;
}

void atr_lines_close(struct atr_lines *lines)
{
	if (!lines)
		return;
	if (lines->dwarf)
		(void)dw.dwarf_end(lines->dwarf);
	if (lines->elf)
		(void)dw.elf_end(lines->elf);
	free(lines);
}

/* The unit that has the address in it, by the index (.debug_aranges) or one after the other. */
static bool find_unit(struct atr_lines *l, uint64_t address, struct die *ret)
{
	uint64_t off = 0, next;
	size_t header;

	if (dw.dwarf_addrdie(l->dwarf, address, ret))
		return true;
	for (; dw.dwarf_nextcu(l->dwarf, off, &next, &header, NULL, NULL, NULL) == 0; off = next)
		if (dw.dwarf_offdie(l->dwarf, off + header, ret) &&
		    dw.dwarf_haspc(ret, address) > 0)
			return true;
	return false;
}

/* The innermost function, inlined ones count. */
static const char *function_at(struct die *unit, uint64_t address, bool *ret_inlined)
{
	struct die *scopes = NULL;
	const char *name = NULL;
	int n = dw.dwarf_getscopes(unit, address, &scopes);

	for (int i = 0; i < n; i++) {
		int tag = dw.dwarf_tag(&scopes[i]);
		struct attribute attr;

		if (tag != TAG_SUBPROGRAM && tag != TAG_INLINED)
			continue;
		*ret_inlined = tag == TAG_INLINED;
		if (dw.dwarf_attr_integrate(&scopes[i], AT_LINKAGE_NAME, &attr))
			name = dw.dwarf_formstring(&attr);
		if (!name)
			name = dw.dwarf_diename(&scopes[i]);
		break;
	}
	free(scopes);
	return name;
}

bool atr_lines_find(struct atr_lines *lines, uint64_t address, struct atr_line_at *ret)
{
	struct die unit;
	void *line;

	*ret = (struct atr_line_at){ 0 };
	if (!find_unit(lines, address, &unit))
		return false;
	line = dw.dwarf_getsrc_die(&unit, address);
	if (line) {
		ret->file = dw.dwarf_linesrc(line, NULL, NULL);
		if (dw.dwarf_lineno(line, &ret->line) != 0)
			ret->line = 0;
	}
	ret->function = function_at(&unit, address, &ret->inlined);
	return ret->file || ret->function;
}
