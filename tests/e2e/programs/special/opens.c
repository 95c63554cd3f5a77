/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens plugins by a bare name, which only the RUNPATH of the caller finds, and says whose
 * function a plugin finds that both it and the program have.  -DPHP: looks like PHP.
 */
#include <dlfcn.h>
#include <stdio.h>

const char *whose(void);
const char *whose(void)
{
	return "the program's";
}

#ifdef PHP
int php_load_extension(void);
int php_load_extension(void)
{
	return 0;
}
#endif

static void open_it(const char *name, int mode)
{
	void *plugin = dlopen(name, mode);
	const char *(*found)(void) = plugin ? (const char *(*)(void))dlsym(plugin, "found") : NULL;

	printf("%s %d: %s\n", name, mode, found ? found() : plugin ? "no function" : dlerror());
}

int main(void)
{
	open_it("opened.so", RTLD_NOW | RTLD_LOCAL);
	open_it("opened-deep.so", RTLD_NOW | RTLD_GLOBAL | RTLD_DEEPBIND);
	open_it("opened-nowhere.so", RTLD_LAZY);
	open_it("opened.so", RTLD_NOLOAD | RTLD_NOW);
	open_it("opened.so", 0); /* not a mode */
	printf("%d\n", dlopen(NULL, RTLD_NOW) == dlopen(NULL, RTLD_LAZY | RTLD_DEEPBIND));
	return 0;
}
