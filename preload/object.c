/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects are found by _dl_find_object() (glibc 2.35): no lock, safe in a signal
 * handler and in a forked child, where dl_iterate_phdr() is none of these.
 *
 * An object is known again by its place, its path and its build id.  One that was
 * unloaded and another at the same place are two entries.  Two threads that see an
 * object at the same time may make two entries of it, which does no harm.
 */
#include "preload/object.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <string.h>

#include "preload/compiler.h"
#include "preload/sys.h"

/* struct dl_find_object of <dlfcn.h>, which older headers do not have. */
struct found {
	unsigned long long flags;
	void *start, *end;
	struct link_map *map;
	void *eh_frame_hdr;
	unsigned long long reserved[7];
};

static int (*find)(void *pc, struct found *found);

static struct atr_object objects[ATR_OBJECTS_MAX]; /* [0] is nobody's */
static uint32_t n_objects = 1;

void atr_object_init(void)
{
	*(void **)&find = dlsym(RTLD_DEFAULT, "_dl_find_object");
}

bool atr_object_map(uintptr_t pc, struct atr_mapping *map)
{
	struct found found;

	if (!find || find((void *)pc, &found) != 0)
		return false;
	*map = (struct atr_mapping){
		.start = (uintptr_t)found.start,
		.end = (uintptr_t)found.end,
		.bias = found.map->l_addr,
		.eh_frame_hdr = (uintptr_t)found.eh_frame_hdr,
		.name = found.map->l_name ? found.map->l_name : "",
	};
	return true;
}

/* ---- whose it is ---- */

static const struct row {
	const char *text;
	uint8_t class;
	bool inside;
} rows[] = {
#define LIBRARY(name) { name, ATR_OBJECT_LIBRARY, false },
#define RUNTIME(name) { name, ATR_OBJECT_RUNTIME, false },
#define INSIDE(part, class) { part, ATR_OBJECT_##class, true },
#include "preload/object.def"
};

/* What may follow a name: a version, and .so with what comes behind it. */
static bool version(const char *s)
{
	if (strncmp(s, ".so", 3) == 0 || !*s)
		return true;
	if (*s == '-' && strstr(s, ".so"))
		return true;
	s += strspn(s, "0123456789.-_");
	return !*s || strncmp(s, "so", 2) == 0;
}

enum atr_object_class atr_object_classify(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;

	for (size_t i = 0; i < ATR_ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];
		size_t n = strlen(r->text);

		if (r->inside ? strstr(path, r->text) != NULL
			      : strncmp(name, r->text, n) == 0 &&
					(r->text[n - 1] == '_' || version(name + n)))
			return r->class;
	}
	return ATR_OBJECT_PROGRAM;
}

/* ---- entries ---- */

/* The note "GNU", type 3, among n bytes of notes at `at`. */
static unsigned find_note(uintptr_t at, size_t n, uint8_t *id)
{
	while (n >= sizeof(Elf64_Nhdr) + 4) {
		struct {
			Elf64_Nhdr h;
			char name[4];
		} note;
		size_t len;

		if (!atr_sys_peek(&note, (const void *)at, sizeof(note)))
			return 0;
		if (note.h.n_namesz > n || note.h.n_descsz > n)
			return 0;
		if (note.h.n_type == NT_GNU_BUILD_ID && note.h.n_namesz == 4 &&
		    memcmp(note.name, "GNU", 4) == 0 && note.h.n_descsz <= ATR_BUILD_ID_MAX &&
		    atr_sys_peek(id, (const void *)(at + sizeof(note)), note.h.n_descsz))
			return note.h.n_descsz;
		len = sizeof(note.h) + ((note.h.n_namesz + 3) & ~3u) +
		      ((note.h.n_descsz + 3) & ~3u);
		if (len > n)
			return 0;
		at += len;
		n -= len;
	}
	return 0;
}

/* From the headers in memory; returns the length, 0 when it has none. */
static unsigned build_id(const struct atr_mapping *map, uint8_t *id)
{
	Elf64_Ehdr eh;
	Elf64_Phdr ph;

	if (!atr_sys_peek(&eh, (const void *)map->start, sizeof(eh)) ||
	    memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 || eh.e_phentsize != sizeof(ph))
		return 0;
	for (unsigned i = 0; i < eh.e_phnum && i < 64; i++) {
		uintptr_t at = map->start + eh.e_phoff + i * sizeof(ph);
		unsigned len;

		if (!atr_sys_peek(&ph, (const void *)at, sizeof(ph)))
			return 0;
		if (ph.p_type != PT_NOTE)
			continue;
		len = find_note(map->bias + ph.p_vaddr, ph.p_memsz, id);
		if (len)
			return len;
	}
	return 0;
}

/* The loader's name as a path that still means the same after a chdir(). */
static void copy_path(struct atr_object *o, const char *name)
{
	size_t len = strlen(name), at = 0;
	long n;

	if (!*name) {
		o->main = true;
		n = atr_sys(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", o->path,
			    sizeof(o->path) - 1, 0, 0);
		o->path[n > 0 ? n : 0] = '\0';
		return;
	}
	if (name[0] != '/' && strchr(name, '/')) {
		n = atr_sys(SYS_getcwd, o->path, sizeof(o->path) - 1, 0, 0, 0, 0);
		if (n > 1 && o->path[0] == '/') {
			at = (size_t)n;
			o->path[at - 1] = '/';
		}
	}
	if (at + len < sizeof(o->path))
		memcpy(o->path + at, name, len + 1);
	else
		o->path[0] = '\0';
}

static bool same_path(const struct atr_object *o, const char *name)
{
	size_t n = strlen(name), have;

	if (!*name || o->main)
		return !*name && o->main;
	if (name[0] == '/')
		return strcmp(o->path, name) == 0 || (!o->path[0] && n >= sizeof(o->path));
	have = strlen(o->path);
	return have >= n && strcmp(o->path + have - n, name) == 0;
}

static bool same(const struct atr_object *o, const struct atr_mapping *map, const uint8_t *id,
		 unsigned id_len)
{
	return atr_load_acquire(&o->ready) && o->start == map->start && o->end == map->end &&
	       o->bias == map->bias && o->id_len == id_len && memcmp(o->id, id, id_len) == 0 &&
	       same_path(o, map->name);
}

unsigned atr_object_index(const struct atr_mapping *map)
{
	uint32_t n = atr_load(&n_objects), i;
	uint8_t id[ATR_BUILD_ID_MAX];
	unsigned id_len = build_id(map, id);
	struct atr_object *o;

	for (i = 1; i < n && i < ATR_OBJECTS_MAX; i++)
		if (same(&objects[i], map, id, id_len))
			return i;
	if (n >= ATR_OBJECTS_MAX)
		return 0;
	i = __atomic_fetch_add(&n_objects, 1, __ATOMIC_RELAXED);
	if (i >= ATR_OBJECTS_MAX)
		return 0;
	o = &objects[i];
	o->start = map->start;
	o->end = map->end;
	o->bias = map->bias;
	o->id_len = (uint8_t)id_len;
	memcpy(o->id, id, id_len);
	copy_path(o, map->name);
	o->class = map->start == (uintptr_t)&__ehdr_start ? ATR_OBJECT_OURS
							  : atr_object_classify(o->path);
	/* Pairs with the acquire in same() and atr_object(). */
	atr_store_release(&o->ready, 1);
	return i;
}

const struct atr_object *atr_object(unsigned index)
{
	if (!index || index >= ATR_OBJECTS_MAX || !atr_load_acquire(&objects[index].ready))
		return NULL;
	return &objects[index];
}
