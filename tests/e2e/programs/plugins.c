/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plugins A.so B.so ...: open each RTLD_LOCAL and let it run a query; twice, in turns.
 *
 * LIBS: -ldl */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	const char *(*query[8])(const char *) = { 0 };
	char sql[100];

	for (int i = 1; i < argc && i < 8; i++) {
		void *plugin = dlopen(argv[i], RTLD_NOW | RTLD_LOCAL);

		if (!plugin) {
			fprintf(stderr, "%s\n", dlerror());
			return 1;
		}
		query[i] = dlsym(plugin, "plugin_query");
	}
	for (int round = 0; round < 2; round++)
		for (int i = 1; i < argc && i < 8; i++) {
			snprintf(sql, sizeof(sql), "SELECT '%d.%d' FROM pg_class LIMIT 1", i,
				 round);
			printf("%s\n", query[i](sql));
		}
	return 0;
}
