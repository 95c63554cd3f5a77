/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_OBJECT_H
#define ATR_PRELOAD_OBJECT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The objects that code addresses lay in when they were captured: executable,
 * libraries, plugins, also those that are unloaded by now.  An entry is written
 * once and stays; its index is part of an address in a record.
 */

/* Whose code it is, when a call site is looked for (object.def). */
enum atr_object_class {
	ATR_OBJECT_PROGRAM,
	ATR_OBJECT_LIBRARY, /* its caller is asked for */
	ATR_OBJECT_RUNTIME, /* of a language: nothing behind it can be named */
	ATR_OBJECT_OURS,
};

#define ATR_OBJECTS_MAX 1024
#define ATR_OBJECT_PATH 512
#define ATR_BUILD_ID_MAX 20

struct atr_object {
	uint32_t ready; /* the rest is written */
	uint8_t class;	/* enum atr_object_class */
	uint8_t id_len; /* of its build id; 0: it has none */
	bool main;	/* the executable: /proc/self/exe, whatever its path means by now */
	uint8_t id[ATR_BUILD_ID_MAX];
	uintptr_t start, end; /* where it lay */
	uintptr_t bias;	      /* its addresses minus those in its file */
	char path[ATR_OBJECT_PATH];
};

/* Where the loader says that an address lies. */
struct atr_mapping {
	uintptr_t start, end, bias;
	uintptr_t eh_frame_hdr; /* PT_GNU_EH_FRAME; 0: it has none */
	const char *name;	/* the loader's: "" is the executable */
};

/* Once, from the constructor: asks whether the loader can be asked without a lock. */
void atr_object_init(void);

/* False where no object is: code made at run time, or nothing. */
bool atr_object_map(uintptr_t pc, struct atr_mapping *map);

/* Its entry's index, made when it has none; 0: there are too many. */
unsigned atr_object_index(const struct atr_mapping *map);

/* NULL for 0 and for what is not there. */
const struct atr_object *atr_object(unsigned index);

/* What object.def says about a path.  Pure. */
enum atr_object_class atr_object_classify(const char *path);

#endif
