/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pg-reload global|local N PLUGIN: N times, the plugin is opened, runs a query and is closed;
 * what it brought is not to come to the same place again.  Says each answer that is not
 * the one before.
 *
 * pg-reload turns A B: A, opened RTLD_LOCAL, and B, RTLD_GLOBAL, call in turns.
 */
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef const char *answers(const char *sql);

static void *open_plugin(const char *path, int flag, answers **query)
{
	void *plugin = dlopen(path, RTLD_NOW | flag);

	if (!plugin) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	*query = (answers *)dlsym(plugin, "plugin_query");
	return plugin;
}

static int is_libpq(struct dl_phdr_info *info, size_t size, void *at)
{
	(void)size;
	if (!strstr(info->dlpi_name, "libpq.so"))
		return 0;
	*(void **)at = (void *)info->dlpi_addr;
	return 1;
}

static int reload(int flag, int n, const char *path)
{
	char last[200] = "";

	for (int i = 0; i < n; i++) {
		void *at = NULL;
		answers *query;
		void *plugin = open_plugin(path, flag, &query);
		const char *answer = query("SELECT 'well'");

		if (strcmp(answer, last) != 0)
			printf("%s\n", answer);
		snprintf(last, sizeof(last), "%s", answer);
		fflush(stdout);
		dl_iterate_phdr(is_libpq, &at);
		dlclose(plugin);
		if (at && i < 8)
			mmap(at, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	}
	return 0;
}

static int turns(const char *first, const char *second)
{
	answers *a, *b;

	(void)open_plugin(first, RTLD_LOCAL, &a);
	printf("%s ", a("SELECT 1"));
	(void)open_plugin(second, RTLD_GLOBAL, &b);
	printf("%s ", b("SELECT 2"));
	printf("%s ", a("SELECT 3"));
	printf("%s\n", b("SELECT 4"));
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	if (strcmp(argv[1], "turns") == 0)
		return turns(argv[2], argv[3]);
	return reload(strcmp(argv[1], "global") ? RTLD_LOCAL : RTLD_GLOBAL, atoi(argv[2]), argv[3]);
}
