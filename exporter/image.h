/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_IMAGE_H
#define ATR_EXPORTER_IMAGE_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * An ELF file of this machine's kind, on disk or unpacked in memory.  Read, never
 * mapped: a file that is cut off while it is mapped would be the end of the process.
 * Whatever it holds, nothing is read outside of it.
 */
struct atr_image {
	int fd;		/* -1: in memory */
	uint8_t *bytes; /* then, its own */
	uint64_t size;
	Elf64_Shdr *sections;
	size_t n_sections;
	char *names; /* of sections, ending in NUL */
	size_t names_len;
};

/* 0, or -errno (-ENOEXEC: it is no such file); *image may be closed in any case. */
int atr_image_open(struct atr_image *image, const char *path);

/* Takes bytes over, even when it fails. */
int atr_image_memory(struct atr_image *image, uint8_t *bytes, size_t len);

void atr_image_close(struct atr_image *image);

/* NULL: it has none with contents. */
const Elf64_Shdr *atr_image_section(const struct atr_image *image, const char *name);

/* All bytes, or false. */
bool atr_image_read(const struct atr_image *image, uint64_t at, void *to, size_t len);

/* A section's bytes and a NUL behind them, to be freed; NULL: longer than max, or no memory. */
uint8_t *atr_image_load(const struct atr_image *image, const Elf64_Shdr *section, size_t max);

/* Its length, 0: it has none. */
size_t atr_image_build_id(const struct atr_image *image, uint8_t *id, size_t max);

#endif
