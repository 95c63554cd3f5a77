/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "preload/sys.h"

#define SECTIONS_MAX 4096
#define NAMES_MAX (1u << 20)

bool atr_image_read(const struct atr_image *image, uint64_t at, void *to, size_t len)
{
	char *p = to;

	if (at > image->size || len > image->size - at)
		return false;
	if (image->fd < 0) {
		memcpy(to, image->bytes + at, len);
		return true;
	}
	while (len) {
		long n = atr_sys(SYS_pread64, image->fd, p, len, at, 0, 0);

		if (n == -EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return true;
}

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
#endif

static int read_sections(struct atr_image *image)
{
	Elf64_Ehdr eh;
	const Elf64_Shdr *names;

	if (!atr_image_read(image, 0, &eh, sizeof(eh)) ||
	    memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 || eh.e_ident[EI_CLASS] != ELFCLASS64 ||
	    eh.e_ident[EI_DATA] != ELFDATA2LSB || eh.e_machine != MACHINE)
		return -ENOEXEC;
	if (!eh.e_shnum || eh.e_shnum > SECTIONS_MAX || eh.e_shentsize != sizeof(Elf64_Shdr) ||
	    eh.e_shstrndx >= eh.e_shnum)
		return -ENOEXEC;
	image->sections = calloc(eh.e_shnum, sizeof(Elf64_Shdr));
	if (!image->sections)
		return -ENOMEM;
	if (!atr_image_read(image, eh.e_shoff, image->sections, eh.e_shnum * sizeof(Elf64_Shdr)))
		return -ENOEXEC;
	names = &image->sections[eh.e_shstrndx];
	image->names = (char *)atr_image_load(image, names, NAMES_MAX);
	if (!image->names)
		return -ENOEXEC;
	image->names_len = names->sh_size;
	image->n_sections = eh.e_shnum;
	return 0;
}

int atr_image_open(struct atr_image *image, const char *path)
{
	struct stat st;
	int err;

	*image = (struct atr_image){ .fd = -1 };
	image->fd = atr_sys_open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
	if (image->fd < 0) {
		err = image->fd;
		image->fd = -1;
		return err;
	}
	if (atr_sys_stat(image->fd, "", &st) != 0 || !S_ISREG(st.st_mode))
		return -ENOEXEC;
	image->size = (uint64_t)st.st_size;
	return read_sections(image);
}

int atr_image_memory(struct atr_image *image, uint8_t *bytes, size_t len)
{
	*image = (struct atr_image){ .fd = -1, .bytes = bytes, .size = len };
	return read_sections(image);
}

void atr_image_close(struct atr_image *image)
{
	if (image->fd >= 0)
		(void)atr_sys_close(image->fd);
	free(image->bytes);
	free(image->sections);
	free(image->names);
	*image = (struct atr_image){ .fd = -1 };
}

const Elf64_Shdr *atr_image_section(const struct atr_image *image, const char *name)
{
	for (size_t i = 0; i < image->n_sections; i++) {
		const Elf64_Shdr *s = &image->sections[i];

		if (s->sh_type != SHT_NOBITS && s->sh_size && s->sh_name < image->names_len &&
		    strcmp(image->names + s->sh_name, name) == 0)
			return s;
	}
	return NULL;
}

uint8_t *atr_image_load(const struct atr_image *image, const Elf64_Shdr *section, size_t max)
{
	uint8_t *p;

	if (section->sh_type == SHT_NOBITS || section->sh_size > max ||
	    section->sh_offset > image->size || section->sh_size > image->size - section->sh_offset)
		return NULL;
	p = malloc(section->sh_size + 1);
	if (!p)
		return NULL;
	if (!atr_image_read(image, section->sh_offset, p, section->sh_size)) {
		free(p);
		return NULL;
	}
	p[section->sh_size] = '\0';
	return p;
}

size_t atr_image_build_id(const struct atr_image *image, uint8_t *id, size_t max)
{
	const Elf64_Shdr *s = atr_image_section(image, ".note.gnu.build-id");
	struct {
		Elf64_Nhdr h;
		char name[4];
	} note;

	if (!s || s->sh_size < sizeof(note) ||
	    !atr_image_read(image, s->sh_offset, &note, sizeof(note)) ||
	    note.h.n_type != NT_GNU_BUILD_ID || note.h.n_namesz != 4 || note.h.n_descsz > max ||
	    note.h.n_descsz > s->sh_size - sizeof(note) ||
	    !atr_image_read(image, s->sh_offset + sizeof(note), id, note.h.n_descsz))
		return 0;
	return note.h.n_descsz;
}
