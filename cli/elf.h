/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_CLI_ELF_H
#define ATR_CLI_ELF_H

#include <stdbool.h>
#include <stddef.h>

/* What a file is to somebody who wants to preload an object into it. */
enum atr_elf_kind {
	ATR_ELF_NONE,	    /* no ELF program, or not all of one */
	ATR_ELF_DYNAMIC,    /* the dynamic linker of this system's libc loads it */
	ATR_ELF_STATIC,	    /* nothing loads it but the kernel */
	ATR_ELF_OTHER_LIBC, /* the dynamic linker of another libc (musl, ...) loads it */
	ATR_ELF_FOREIGN,    /* made for another kind of machine, or for 32 bits here */
};

struct atr_elf {
	enum atr_elf_kind kind;
	bool go;		 /* made by the Go compiler, which calls the kernel itself */
	const char *interpreter; /* in the file's bytes, NUL-terminated; NULL: none */
};

/* Judges the len bytes of a file.  Pure: reads only them, and believes none of them. */
struct atr_elf atr_elf_judge(const void *bytes, size_t len);

/*
 * The interpreter of a script: the first word behind #! at the start of the file,
 * copied to path with a NUL; false when it is no script or path is too small.
 */
bool atr_elf_script(const void *bytes, size_t len, char *path, size_t size);

#endif
