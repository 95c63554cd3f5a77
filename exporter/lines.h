/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_LINES_H
#define ATR_EXPORTER_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct atr_image;

/*
 * Source lines from debug information (DWARF), read by libdw (elfutils) where that
 * is installed: loaded when there is first something for it to read.
 */
struct atr_lines; /* of one file, open */

/* NULL: no debug information, more of it than we read, no libdw, or too small a stack for it. */
struct atr_lines *atr_lines_open(const struct atr_image *image);
void atr_lines_close(struct atr_lines *lines);

/*
 * What lies at an address.  The strings live until the close; function may be NULL
 * (else it is a mangled name, or that of a C function; that of an inlined one too).
 * False: nothing is known.
 */
struct atr_line_at {
	const char *file;
	int line;
	const char *function;
	bool inlined; /* into the one that has the symbol */
};
bool atr_lines_find(struct atr_lines *lines, uint64_t address, struct atr_line_at *ret);

#endif
