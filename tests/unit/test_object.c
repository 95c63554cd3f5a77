/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/sys.o preload/peek.o -ldl */
#include "preload/object.c"

#include <stdio.h>

#include "tests/unit/test.h"

TEST(what_a_path_is)
{
	static const struct {
		const char *path;
		enum atr_object_class class;
	} paths[] = {
		{ "/usr/lib/x86_64-linux-gnu/libpq.so.5.15", ATR_OBJECT_LIBRARY },
		{ "/x/psycopg2_binary.libs/libpq-e8a033dd.so.5.16", ATR_OBJECT_LIBRARY },
		{ "/lib/libc.so.6", ATR_OBJECT_LIBRARY },
		{ "/lib/libc-2.31.so", ATR_OBJECT_LIBRARY },
		{ "/lib64/ld-linux-x86-64.so.2", ATR_OBJECT_LIBRARY },
		{ "/lib/libnss_files.so.2", ATR_OBJECT_LIBRARY },
		{ "linux-vdso.so.1", ATR_OBJECT_LIBRARY },
		{ "libstdc++.so.6", ATR_OBJECT_LIBRARY },
		{ "/usr/bin/python3.11", ATR_OBJECT_RUNTIME },
		{ "/usr/bin/python3", ATR_OBJECT_RUNTIME },
		{ "/usr/bin/python", ATR_OBJECT_RUNTIME },
		{ "/opt/lib/libpython3.9.so.1.0", ATR_OBJECT_RUNTIME },
		{ "/usr/lib/python3.11/lib-dynload/_ssl.cpython-311.so", ATR_OBJECT_RUNTIME },
		{ "/usr/bin/php8.2", ATR_OBJECT_RUNTIME },
		{ "/usr/sbin/php-fpm8.2", ATR_OBJECT_RUNTIME },
		{ "/usr/lib/jvm/java-17/lib/libnet.so", ATR_OBJECT_RUNTIME },
		{ "/opt/jdk/lib/server/libjvm.so", ATR_OBJECT_RUNTIME },
		{ "", ATR_OBJECT_PROGRAM },
		{ "/", ATR_OBJECT_PROGRAM },
		{ "/srv/libpq/bin/orders", ATR_OBJECT_PROGRAM },
		{ "/srv/pythonic", ATR_OBJECT_PROGRAM },
		{ "/srv/node-exporter", ATR_OBJECT_PROGRAM },
		{ "/srv/nodes", ATR_OBJECT_PROGRAM },
		{ "/srv/libpqxx-7.7.so", ATR_OBJECT_PROGRAM },
		{ "/srv/libcrm.so", ATR_OBJECT_PROGRAM },
		{ "/srv/libc", ATR_OBJECT_LIBRARY },
		{ "/srv/java-orders", ATR_OBJECT_PROGRAM },
		{ "/site-packages/psycopg2/_psycopg.cpython-311-x86_64-linux-gnu.so",
		  ATR_OBJECT_PROGRAM },
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(paths); i++)
		if (!CHECK_INT(atr_object_classify(paths[i].path), paths[i].class))
			printf("  %s\n", paths[i].path);
}

/* Of this very program, as readelf tells it. */
static void own_id(char *hex, size_t size)
{
	FILE *f = popen("readelf -n /proc/self/fd/9 9</proc/$PPID/exe 2>/dev/null |"
			" sed -n 's/.*Build ID: //p'",
			"r");

	hex[0] = '\0';
	if (f && fgets(hex, (int)size, f))
		hex[strcspn(hex, "\n")] = '\0';
	if (f)
		(void)pclose(f);
}

TEST(an_object_is_one_entry_with_its_path_and_build_id)
{
	struct atr_mapping map, libc;
	const struct atr_object *o;
	char id[64] = "", wanted[64], exe[512];
	unsigned i;
	ssize_t n;

	atr_object_init();
	CHECK(atr_object_map((uintptr_t)atr_object_init, &map));
	i = atr_object_index(&map);
	CHECK(i > 0);
	CHECK_INT(atr_object_index(&map), i);
	o = atr_object(i);
	CHECK_INT(o->class, ATR_OBJECT_OURS);
	CHECK(o->main);
	n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	exe[n > 0 ? n : 0] = '\0';
	CHECK_STR(o->path, exe);
	CHECK_INT(o->bias, (uintptr_t)&__ehdr_start);
	own_id(wanted, sizeof(wanted));
	for (unsigned j = 0; j < o->id_len; j++)
		(void)sprintf(id + 2 * j, "%02x", o->id[j]);
	CHECK_STR(id, wanted);

	CHECK(atr_object_map((uintptr_t)dlsym(RTLD_DEFAULT, "qsort"), &libc));
	CHECK(atr_object_index(&libc) != i);
	CHECK_INT(atr_object(atr_object_index(&libc))->class, ATR_OBJECT_LIBRARY);
	CHECK(libc.eh_frame_hdr > libc.start && libc.eh_frame_hdr < libc.end);
}

TEST(what_is_no_object_is_none)
{
	struct atr_mapping map;
	char *heap = malloc(10);

	atr_object_init();
	CHECK(!atr_object_map((uintptr_t)heap, &map));
	CHECK(!atr_object_map(0, &map));
	CHECK(!atr_object_map(UINTPTR_MAX, &map));
	CHECK(atr_object(0) == NULL);
	CHECK(atr_object(ATR_OBJECTS_MAX - 1) == NULL);
	CHECK(atr_object(ATR_OBJECTS_MAX) == NULL);
	CHECK(atr_object(~0u) == NULL);
	free(heap);
}

TEST(another_object_at_the_same_place_is_another)
{
	struct atr_mapping map;
	unsigned i, j;

	atr_object_init();
	CHECK(atr_object_map((uintptr_t)dlsym(RTLD_DEFAULT, "qsort"), &map));
	i = atr_object_index(&map);
	map.name = "/another/path.so";
	j = atr_object_index(&map);
	CHECK(i != j);
	CHECK_INT(atr_object_index(&map), j);
	CHECK_STR(atr_object(j)->path, "/another/path.so");
	map.name = "./relative.so";
	i = atr_object_index(&map);
	CHECK(atr_object(i)->path[0] == '/');
	CHECK(strstr(atr_object(i)->path, "/./relative.so") != NULL);
	CHECK_INT(atr_object_index(&map), i);
}

TEST(headers_that_are_no_memory_or_nonsense_have_no_build_id)
{
	uint8_t id[ATR_BUILD_ID_MAX], *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
						   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct atr_mapping map = { .start = 4096, .end = 8192, .name = "/x" }, real;

	atr_object_init();
	CHECK_INT(build_id(&map, id), 0);
	CHECK(atr_object_map((uintptr_t)dlsym(RTLD_DEFAULT, "qsort"), &real));
	CHECK(build_id(&real, id) > 0);
	CHECK(mprotect(page + 4096, 4096, PROT_NONE) == 0);
	/* The first page of a real one, each byte spoilt in turn; what follows is not there. */
	for (unsigned i = 0; i < 1024; i++) {
		memcpy(page, (const void *)real.start, 4096);
		page[i] ^= 0xff;
		map = (struct atr_mapping){ .start = (uintptr_t)page,
					    .end = (uintptr_t)page + 8192,
					    .bias = (uintptr_t)page };
		(void)build_id(&map, id);
	}
	CHECK_INT(munmap(page, 8192), 0);
}

TEST(when_there_are_too_many_there_is_no_index)
{
	struct atr_mapping map = { .name = "/x.so" };

	for (uintptr_t i = 0; i < ATR_OBJECTS_MAX + 10; i++) {
		map.start = 4096 * (i + 1);
		map.end = map.start + 4096;
		(void)atr_object_index(&map);
	}
	map.start = 1u << 30;
	CHECK_INT(atr_object_index(&map), 0);
	CHECK(atr_object(ATR_OBJECTS_MAX - 1) != NULL);
}
