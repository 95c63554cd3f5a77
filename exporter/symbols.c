/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of functions, sorted by address, made from an object's symbols.
 *
 * An object that was stripped may carry a reduced symbol table, compressed by xz, in
 * .gnu_debugdata (Fedora and its kin), or its debug information may be installed
 * beside it (Debian's -dbgsym packages).  liblzma is loaded when it is first needed.
 */
#include "exporter/symbols.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exporter/image.h"
#include "preload/compiler.h"
#include "preload/object.h"

#define TABLE_MAX (256u << 20) /* bytes of one symbol table or its names */
#define UNPACKED_MAX (64u << 20)
#define DEBUG_DIR "/usr/lib/debug"
#define UNSIZED_MAX 65536 /* a function without a size (assembler) ends here at the latest */

struct atr_function {
	uint64_t at;
	uint64_t size;
	uint32_t name; /* in names */
	bool global;
};

/* ---- files ---- */

static bool same_file(const struct atr_image *image, const struct atr_object *object)
{
	uint8_t id[ATR_BUILD_ID_MAX];
	size_t n = atr_image_build_id(image, id, sizeof(id));

	return n == object->id_len && memcmp(id, object->id, n) == 0;
}

int atr_symbols_open(struct atr_image *image, const struct atr_object *object)
{
	int err = -ENOENT;

	*image = (struct atr_image){ .fd = -1 };
	/* Also when it was deleted or replaced; not when the loader was called by name. */
	if (object->main) {
		err = atr_image_open(image, "/proc/self/exe");
		if (!err && same_file(image, object))
			return 0;
		atr_image_close(image);
	}
	if (object->path[0] == '/')
		err = atr_image_open(image, object->path);
	if (!err && !same_file(image, object))
		err = -ESTALE;
	if (err)
		atr_image_close(image);
	return err;
}

static int open_debug_path(struct atr_image *debug, const char *path,
			   const struct atr_object *object)
{
	int err = atr_image_open(debug, path);

	if (!err && object->id_len && !same_file(debug, object))
		err = -ESTALE;
	if (err)
		atr_image_close(debug);
	return err;
}

static int open_by_build_id(struct atr_image *debug, const struct atr_object *object)
{
	char path[sizeof(DEBUG_DIR) + 2 * ATR_BUILD_ID_MAX + 32];
	int n = snprintf(path, sizeof(path), DEBUG_DIR "/.build-id/%02x/", object->id[0]);

	if (object->id_len < 2)
		return -ENOENT;
	for (unsigned i = 1; i < object->id_len; i++)
		n += snprintf(path + n, sizeof(path) - (size_t)n, "%02x", object->id[i]);
	(void)snprintf(path + n, sizeof(path) - (size_t)n, ".debug");
	return open_debug_path(debug, path, object);
}

/* Beside the object, in .debug/ beside it, or below DEBUG_DIR. */
static int open_by_link(struct atr_image *debug, const struct atr_image *image,
			const struct atr_object *object)
{
	static const char *const forms[] = { "%.*s/%s", "%.*s/.debug/%s", DEBUG_DIR "%.*s/%s" };
	const Elf64_Shdr *s = atr_image_section(image, ".gnu_debuglink");
	const char *slash = strrchr(object->path, '/');
	char name[256], path[ATR_OBJECT_PATH + sizeof(name) + 32];
	size_t len = s && s->sh_size < sizeof(name) ? s->sh_size : 0;
	int err = -ENOENT;

	if (!len || !slash || !atr_image_read(image, s->sh_offset, name, len))
		return -ENOENT;
	name[len] = '\0';
	if (!name[0] || strchr(name, '/'))
		return -ENOENT;
	for (size_t i = 0; err && i < ATR_ARRAY_LEN(forms); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		(void)snprintf(path, sizeof(path), forms[i], (int)(slash - object->path),
			       object->path, name);
#pragma GCC diagnostic pop
		if (strcmp(path, object->path) != 0)
			err = open_debug_path(debug, path, object);
	}
	return err;
}

int atr_symbols_open_debug(struct atr_image *debug, const struct atr_image *image,
			   const struct atr_object *object)
{
	*debug = (struct atr_image){ .fd = -1 };
	if (open_by_build_id(debug, object) == 0)
		return 0;
	return open_by_link(debug, image, object);
}

/* ---- .gnu_debugdata ---- */

typedef int lzma_decode_fn(uint64_t *memlimit, uint32_t flags, const void *allocator,
			   const uint8_t *in, size_t *in_pos, size_t in_size, uint8_t *out,
			   size_t *out_pos, size_t out_size);

static lzma_decode_fn *decoder(void)
{
	static lzma_decode_fn *decode;
	static bool tried;
	void *handle;

	if (tried)
		return decode;
	tried = true;
	handle = dlopen("liblzma.so.5", RTLD_NOW | RTLD_LOCAL);
	if (handle)
		*(void **)&decode = dlsym(handle, "lzma_stream_buffer_decode");
	return decode;
}

#define LZMA_BUF_ERROR 10

/* Unpacks into ever larger room. */
static uint8_t *unpack(const uint8_t *in, size_t in_len, size_t *ret_len)
{
	lzma_decode_fn *decode = decoder();

	if (!decode)
		return NULL;
	for (size_t room = in_len * 8 + 65536; room <= UNPACKED_MAX; room *= 2) {
		uint64_t memlimit = UNPACKED_MAX;
		size_t in_pos = 0, out_pos = 0;
		uint8_t *out = malloc(room);
		int ret;

		if (!out)
			return NULL;
		ret = decode(&memlimit, 0, NULL, in, &in_pos, in_len, out, &out_pos, room);
		if (ret == 0) {
			*ret_len = out_pos;
			return out;
		}
		free(out);
		if (ret != LZMA_BUF_ERROR)
			return NULL;
	}
	return NULL;
}

static int open_debugdata(struct atr_image *inner, const struct atr_image *image)
{
	const Elf64_Shdr *s = atr_image_section(image, ".gnu_debugdata");
	uint8_t *packed = s ? atr_image_load(image, s, UNPACKED_MAX) : NULL;
	uint8_t *bytes;
	size_t len;

	*inner = (struct atr_image){ .fd = -1 };
	if (!packed)
		return -ENOENT;
	bytes = unpack(packed, s->sh_size, &len);
	free(packed);
	return bytes ? atr_image_memory(inner, bytes, len) : -ENOENT;
}

/* ---- the table ---- */

static bool add(struct atr_symbols *s, const struct atr_function *f)
{
	if (s->n == s->room) {
		size_t room = s->room ? s->room * 2 : 256;
		void *p = realloc(s->functions, room * sizeof(*s->functions));

		if (!p)
			return false;
		s->functions = p;
		s->room = room;
	}
	s->functions[s->n++] = *f;
	return true;
}

/* Names of one table are put behind those of the tables before; returns where. */
static bool add_names(struct atr_symbols *s, const uint8_t *names, size_t len, uint32_t *ret_base)
{
	char *p;

	if (s->names_len + len + 1 > TABLE_MAX)
		return false;
	p = realloc(s->names, s->names_len + len + 1);
	if (!p)
		return false;
	*ret_base = (uint32_t)s->names_len;
	memcpy(p + s->names_len, names, len);
	p[s->names_len + len] = '\0';
	s->names = p;
	s->names_len += len + 1;
	return true;
}

static bool is_function(const Elf64_Sym *sym)
{
	unsigned type = ELF64_ST_TYPE(sym->st_info);

	return (type == STT_FUNC || type == STT_GNU_IFUNC) && sym->st_shndx != SHN_UNDEF &&
	       sym->st_value;
}

static void add_table(struct atr_symbols *s, const struct atr_image *image, const Elf64_Shdr *table)
{
	const Elf64_Shdr *strings =
		table->sh_link < image->n_sections ? &image->sections[table->sh_link] : NULL;
	uint8_t *names = strings ? atr_image_load(image, strings, TABLE_MAX) : NULL;
	Elf64_Sym *symbols = (Elf64_Sym *)(void *)atr_image_load(image, table, TABLE_MAX);
	uint32_t base;

	if (names && symbols && add_names(s, names, strings->sh_size, &base))
		for (size_t i = 0; i < table->sh_size / sizeof(*symbols); i++) {
			const Elf64_Sym *sym = &symbols[i];
			const struct atr_function f = {
				.at = sym->st_value,
				.size = sym->st_size,
				.name = base + sym->st_name,
				.global = ELF64_ST_BIND(sym->st_info) != STB_LOCAL,
			};

			if (!is_function(sym) || sym->st_name >= strings->sh_size ||
			    !names[sym->st_name])
				continue;
			if (!add(s, &f))
				break;
		}
	free(names);
	free(symbols);
}

/* True when the image has a full table. */
static bool add_symtab(struct atr_symbols *s, const struct atr_image *image)
{
	const Elf64_Shdr *table = atr_image_section(image, ".symtab");

	if (!table)
		return false;
	add_table(s, image, table);
	return true;
}

/* By address; of several names of one function the one that others use is last. */
static int by_address(const void *a, const void *b)
{
	const struct atr_function *x = a, *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	if ((x->size != 0) != (y->size != 0))
		return x->size ? 1 : -1;
	if (x->global != y->global)
		return x->global ? 1 : -1;
	return (x->name < y->name) - (x->name > y->name);
}

void atr_symbols_read(struct atr_symbols *s, const struct atr_image *image,
		      const struct atr_image *debug)
{
	const Elf64_Shdr *dynamic = atr_image_section(image, ".dynsym");
	struct atr_image inner;

	*s = (struct atr_symbols){ 0 };
	if (!add_symtab(s, image) && (!debug || !add_symtab(s, debug)) &&
	    open_debugdata(&inner, image) == 0) {
		(void)add_symtab(s, &inner);
		atr_image_close(&inner);
	}
	if (dynamic)
		add_table(s, image, dynamic);
	if (s->n)
		qsort(s->functions, s->n, sizeof(*s->functions), by_address);
}

void atr_symbols_finish(struct atr_symbols *s)
{
	free(s->functions);
	free(s->names);
	*s = (struct atr_symbols){ 0 };
}

const char *atr_symbols_find(const struct atr_symbols *s, uint64_t address, uint64_t *ret_offset)
{
	size_t lo = 0, hi = s->n;
	const struct atr_function *f;

	while (lo < hi) { /* the last one that begins at or before it is below hi */
		size_t mid = lo + (hi - lo) / 2;

		if (s->functions[mid].at <= address)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo)
		return NULL;
	f = &s->functions[lo - 1];
	if (address - f->at >= (f->size ? f->size : UNSIZED_MAX))
		return NULL;
	*ret_offset = address - f->at;
	return s->names + f->name;
}
