/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_SYMBOLS_H
#define ATR_EXPORTER_SYMBOLS_H

#include <stddef.h>
#include <stdint.h>

struct atr_image;
struct atr_object;

/*
 * The functions of one object by address.  From .symtab, where the object's file
 * has one; else from the one in .gnu_debugdata or in a separate file of debug
 * information, and from .dynsym.
 */
struct atr_symbols {
	struct atr_function *functions; /* by address */
	size_t n, room;
	char *names;
	size_t names_len;
};

/* Opens the file an object was loaded from; 0, or -errno: it is not there, or is another one. */
int atr_symbols_open(struct atr_image *image, const struct atr_object *object);

/* Opens the separate file with its debug information (build id, .gnu_debuglink); 0 or -errno. */
int atr_symbols_open_debug(struct atr_image *debug, const struct atr_image *image,
			   const struct atr_object *object);

/* Empty when there is nothing to be had. */
void atr_symbols_read(struct atr_symbols *s, const struct atr_image *image,
		      const struct atr_image *debug);
void atr_symbols_finish(struct atr_symbols *s);

/* The function that has the address in it, NULL: none that is known; *ret_offset into it. */
const char *atr_symbols_find(const struct atr_symbols *s, uint64_t address, uint64_t *ret_offset);

#endif
