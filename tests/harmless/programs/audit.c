/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An LD_AUDIT object that looks at every symbol that is bound.
 *
 * CFLAGS: -shared -fPIC */
#include <link.h>
#include <stdint.h>

static unsigned long bound;

unsigned la_version(unsigned version)
{
	return version;
}

unsigned la_objopen(struct link_map *map, Lmid_t lmid, uintptr_t *cookie)
{
	(void)map;
	(void)lmid;
	(void)cookie;
	return LA_FLG_BINDTO | LA_FLG_BINDFROM;
}

uintptr_t la_symbind64(Elf64_Sym *sym, unsigned index, uintptr_t *from, uintptr_t *to,
		       unsigned *flags, const char *name)
{
	(void)index;
	(void)from;
	(void)to;
	(void)flags;
	(void)name;
	bound++;
	return sym->st_value;
}
