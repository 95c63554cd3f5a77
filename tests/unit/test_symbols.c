/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/image.o preload/sys.o preload/peek.o preload/object.o -ldl */
#include "exporter/symbols.c"

#include <link.h>

#include "tests/unit/test.h"

static __attribute__((noinline)) int a_static_function(int n)
{
	__asm__ volatile("" ::: "memory");
	return n * 3 + 1;
}

static const struct atr_object *own_object(void)
{
	struct atr_mapping map;

	atr_object_init();
	CHECK(atr_object_map((uintptr_t)a_static_function, &map));
	return atr_object(atr_object_index(&map));
}

TEST(a_static_function_is_found_by_each_of_its_addresses)
{
	const struct atr_object *o = own_object();
	uint64_t at = (uintptr_t)a_static_function - o->bias, offset;
	struct atr_symbols s;
	struct atr_image image;
	const char *name;

	CHECK_INT(a_static_function(2), 7);
	CHECK_INT(atr_symbols_open(&image, o), 0);
	atr_symbols_read(&s, &image, NULL);
	for (unsigned i = 0; i < 4; i++) {
		name = atr_symbols_find(&s, at + i, &offset);
		CHECK_STR(name ? name : "", "a_static_function");
		CHECK_INT(offset, i);
	}
	CHECK(atr_symbols_find(&s, 0, &offset) == NULL);
	CHECK(atr_symbols_find(&s, UINT64_MAX, &offset) == NULL);
	for (size_t i = 1; i < s.n; i++)
		if (s.functions[i - 1].at > s.functions[i].at)
			CHECK(false);
	atr_symbols_finish(&s);
	atr_image_close(&image);
}

TEST(of_several_names_the_global_one_counts)
{
	struct atr_function f[] = {
		{ .at = 16, .size = 8, .name = 0, .global = true },
		{ .at = 16, .size = 8, .name = 4 },
		{ .at = 16, .size = 0, .name = 8, .global = true },
		{ .at = 64, .size = 0, .name = 12 },
	};
	char names[] = "one\0two\0six\0ten";
	struct atr_symbols s = { .functions = f, .n = 4, .names = names };
	uint64_t offset;

	qsort(f, 4, sizeof(f[0]), by_address);
	CHECK_STR(atr_symbols_find(&s, 20, &offset), "one");
	CHECK(atr_symbols_find(&s, 24, &offset) == NULL);
	CHECK(atr_symbols_find(&s, 15, &offset) == NULL);
	CHECK_STR(atr_symbols_find(&s, 100, &offset), "ten");
	CHECK(atr_symbols_find(&s, 64 + UNSIZED_MAX, &offset) == NULL);
}

TEST(another_build_is_not_read)
{
	struct atr_object o = *own_object();
	struct atr_image image;

	CHECK_INT(atr_symbols_open(&image, &o), 0);
	atr_image_close(&image);
	o.id[3] ^= 1;
	CHECK(atr_symbols_open(&image, &o) < 0);
	o.id[3] ^= 1;
	o.main = false;
	CHECK_INT(atr_symbols_open(&image, &o), 0);
	atr_image_close(&image);
	(void)snprintf(o.path, sizeof(o.path), "%s", "/etc/passwd");
	CHECK(atr_symbols_open(&image, &o) < 0);
	(void)snprintf(o.path, sizeof(o.path), "%s", "relative");
	CHECK(atr_symbols_open(&image, &o) < 0);
}

/* By this test's own compression: what is unpacked is what was packed. */
TEST(debugdata_is_unpacked_and_nonsense_is_not)
{
	typedef int encode_fn(uint32_t preset, int check, const void *allocator, const uint8_t *in,
			      size_t in_size, uint8_t *out, size_t *out_pos, size_t out_size);
	static uint8_t in[1 << 20], out[1 << 20];
	void *lzma = dlopen("liblzma.so.5", RTLD_NOW);
	size_t n = 0, len = 0;
	encode_fn *encode;
	uint8_t *back;

	if (!lzma)
		SKIP("no liblzma.so.5");
	*(void **)&encode = dlsym(lzma, "lzma_easy_buffer_encode");
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i / 5000);
	CHECK_INT(encode(6, 1, NULL, in, sizeof(in), out, &n, sizeof(out)), 0);
	back = unpack(out, n, &len);
	CHECK(back && len == sizeof(in) && memcmp(back, in, len) == 0);
	free(back);
	CHECK(unpack(out, n / 2, &len) == NULL);
	CHECK(unpack(in, 1000, &len) == NULL);
	for (size_t i = 0; i < n; i += 3) {
		out[i] ^= 0x55;
		free(unpack(out, n, &len));
		out[i] ^= 0x55;
	}
}

TEST(spoilt_tables_are_read_within_their_bounds)
{
	const struct atr_object *o = own_object();
	struct atr_image image, spoilt;
	uint64_t seed = 1, offset;
	uint8_t *bytes;

	CHECK_INT(atr_symbols_open(&image, o), 0);
	for (unsigned round = 0; round < 60; round++) {
		struct atr_symbols s;
		const Elf64_Shdr *t;

		bytes = malloc(image.size);
		CHECK(bytes && atr_image_read(&image, 0, bytes, image.size));
		t = atr_image_section(&image, round % 2 ? ".symtab" : ".dynsym");
		for (int i = 0; i < 40; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			bytes[t->sh_offset + (seed >> 20) % t->sh_size] = (uint8_t)(seed >> 50);
		}
		for (int i = 0; i < 2; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			bytes[image.size - 1 - (seed >> 20) % 1500] = (uint8_t)(seed >> 50);
		}
		if (atr_image_memory(&spoilt, bytes, image.size) == 0) {
			atr_symbols_read(&s, &spoilt, NULL);
			for (uint64_t at = 0; at < 70000; at += 61)
				(void)atr_symbols_find(&s, at, &offset);
			atr_symbols_finish(&s);
		}
		atr_image_close(&spoilt);
	}
	atr_image_close(&image);
}
