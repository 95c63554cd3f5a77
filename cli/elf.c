/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is a file a program that LD_PRELOAD reaches?
 *
 * The program headers say: PT_INTERP names the dynamic linker, and a program
 * without one is static.  The section headers are not needed (strip -s removes
 * them).  Every offset and size is checked against the length of the file.
 */
#include "cli/elf.h"

#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
#elif defined(__i386__)
#define MACHINE EM_386
#elif defined(__riscv)
#define MACHINE EM_RISCV
#elif defined(__powerpc64__)
#define MACHINE EM_PPC64
#elif defined(__s390x__)
#define MACHINE EM_S390
#else
#error "which machine is this?"
#endif

#define CLASS (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32)
#define DATA (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB)

/* Dynamic linkers that cannot load an object linked against glibc. */
static const char *const other_linkers[] = { "ld-musl", "ld-uClibc", "ld64-uClibc", "linker" };

struct file {
	const uint8_t *bytes;
	size_t len;
};

/* The n bytes at offset, NULL if the file does not hold them all. */
static const uint8_t *part(struct file file, uint64_t offset, uint64_t n)
{
	if (offset > file.len || n > file.len - offset)
		return NULL;
	return file.bytes + offset;
}

static bool is_other_linker(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;

	for (size_t i = 0; i < sizeof(other_linkers) / sizeof(other_linkers[0]); i++)
		if (strncmp(name, other_linkers[i], strlen(other_linkers[i])) == 0)
			return true;
	return false;
}

/* Go leaves its build id in a note: owner "Go", type 4. */
static bool is_go_note(struct file file, const ElfW(Phdr) * ph)
{
	uint64_t at = ph->p_offset, left = ph->p_filesz;
	ElfW(Nhdr) note;

	while (left >= sizeof(note)) {
		const uint8_t *p = part(file, at, sizeof(note));
		uint64_t n;

		if (!p)
			return false;
		memcpy(&note, p, sizeof(note));
		n = sizeof(note) + (((uint64_t)note.n_namesz + 3) & ~3ull) +
		    (((uint64_t)note.n_descsz + 3) & ~3ull);
		p = part(file, at + sizeof(note), 4);
		if (p && note.n_namesz == 4 && note.n_type == 4 && memcmp(p, "Go\0", 4) == 0)
			return true;
		if (n > left)
			return false;
		at += n;
		left -= n;
	}
	return false;
}

struct atr_elf atr_elf_judge(const void *bytes, size_t len)
{
	const struct atr_elf none = { .kind = ATR_ELF_NONE };
	struct file file = { bytes, len };
	struct atr_elf elf = { .kind = ATR_ELF_STATIC };
	ElfW(Ehdr) head;

	if (len < EI_NIDENT + 4 || memcmp(bytes, ELFMAG, SELFMAG) != 0)
		return none;
	/* The fields up to the machine lie at the same place in every class. */
	memcpy(&head, bytes, EI_NIDENT + 4);
	if (head.e_ident[EI_CLASS] != CLASS || head.e_ident[EI_DATA] != DATA ||
	    head.e_machine != MACHINE)
		return (struct atr_elf){ .kind = ATR_ELF_FOREIGN };
	if (len < sizeof(head))
		return none;
	memcpy(&head, bytes, sizeof(head));
	if ((head.e_type != ET_EXEC && head.e_type != ET_DYN) ||
	    head.e_phentsize != sizeof(ElfW(Phdr)))
		return none;

	for (unsigned i = 0; i < head.e_phnum; i++) {
		const uint8_t *p = part(file, head.e_phoff, (i + 1ull) * sizeof(ElfW(Phdr)));
		ElfW(Phdr) ph;

		if (!p)
			return none;
		memcpy(&ph, p + i * sizeof(ph), sizeof(ph));
		if (ph.p_type == PT_NOTE && is_go_note(file, &ph))
			elf.go = true;
		if (ph.p_type != PT_INTERP || elf.interpreter)
			continue; /* the first one counts */
		p = part(file, ph.p_offset, ph.p_filesz);
		if (!p || !ph.p_filesz || p[ph.p_filesz - 1])
			return none;
		elf.interpreter = (const char *)p;
		elf.kind = is_other_linker(elf.interpreter) ? ATR_ELF_OTHER_LIBC : ATR_ELF_DYNAMIC;
	}
	return elf;
}

bool atr_elf_script(const void *bytes, size_t len, char *path, size_t size)
{
	const char *s = bytes;
	size_t start = 2, end;

	if (len < 2 || s[0] != '#' || s[1] != '!')
		return false;
	while (start < len && (s[start] == ' ' || s[start] == '\t'))
		start++;
	for (end = start; end < len && s[end]; end++)
		if (s[end] == ' ' || s[end] == '\t' || s[end] == '\n')
			break;
	if (end == start || end - start >= size)
		return false;
	memcpy(path, s + start, end - start);
	path[end - start] = '\0';
	return true;
}
