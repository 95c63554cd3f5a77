/* SPDX-License-Identifier: Apache-2.0 */
/*
 * C++ names are taken apart by the program's own C++ runtime: a program that has
 * such functions has it loaded as a rule.  Where it is not to be found they stay as
 * they are.
 */
#include "exporter/demangle.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef char *demangle_fn(const char *name, char *buf, size_t *len, int *status);

static demangle_fn *find(void)
{
	static const char *const libraries[] = { "libstdc++.so.6", "libc++abi.so.1" };
	demangle_fn *f;
	void *handle;

	*(void **)&f = dlsym(RTLD_DEFAULT, "__cxa_demangle");
	for (int i = 0; !f && i < 2; i++) {
		/* Only if it is there already; kept from then on. */
		handle = dlopen(libraries[i], RTLD_NOLOAD | RTLD_LAZY | RTLD_LOCAL);
		if (handle)
			*(void **)&f = dlsym(handle, "__cxa_demangle");
	}
	return f;
}

/* The '(' that belongs to the last ')' at or before p; NULL: none. */
static char *opening(char *begin, char *p)
{
	int depth = 0;

	while (p > begin && *p != ')')
		p--;
	for (; p > begin; p--) {
		depth += *p == ')';
		depth -= *p == '(';
		if (!depth)
			return p;
	}
	return NULL;
}

/* Behind "void " of a template's instance: the last blank outside of all brackets. */
static char *behind_type(char *name)
{
	char *at = name;
	int depth = 0;

	for (char *p = name; *p; p++) {
		if (strncmp(p, "operator", 8) == 0)
			break; /* "operator new", "operator<" */
		depth += *p == '<' || *p == '(' || *p == '[' || *p == '{';
		depth -= *p == '>' || *p == ')' || *p == ']' || *p == '}';
		if (*p == ' ' && !depth)
			at = p + 1;
	}
	return at;
}

/* "ns::f(int) const [clone .x]" becomes "ns::f". */
static void without_arguments(char *name)
{
	char *end = strstr(name, " [clone"), *open, *from;

	if (end)
		*end = '\0';
	open = *name ? opening(name, name + strlen(name) - 1) : NULL;
	/* A name may end in "{lambda(int)#1}::operator()" and have more behind it. */
	if (open && open > name && strncmp(open - 1, "}", 1) != 0)
		*open = '\0';
	from = behind_type(name);
	memmove(name, from, strlen(from) + 1);
}

char *atr_demangle(const char *symbol)
{
	demangle_fn *demangle = symbol[0] == '_' && symbol[1] == 'Z' ? find() : NULL;
	char *name = demangle ? demangle(symbol, NULL, NULL, NULL) : NULL, *dot;

	if (name) {
		without_arguments(name);
		return name;
	}
	name = strdup(symbol);
	dot = name && *name ? strchr(name + 1, '.') : NULL;
	if (dot)
		*dot = '\0';
	return name;
}
