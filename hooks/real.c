/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding the real functions.
 *
 * libc: dlsym(RTLD_NEXT) in our constructor.  Before it, a raw system call
 * stands in, because dlsym() allocates and the allocator may be calling us.
 *
 * A library: what is next in the global scope serves everybody, for that is what
 * the callers would have been bound to without us.  Where the library is not in
 * the global scope (a plugin loaded RTLD_LOCAL needs it), the object that calls
 * is found by the return address, and the library is looked up in that object's
 * own scope; the answer is kept per calling object.  A tail call makes the return
 * address lie in another object: then any loaded copy of the library is taken.
 *
 * A library found so late is pinned: a pointer into it must not outlive it.
 */
#include "hooks/real.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <string.h>
#include <sys/syscall.h>

#include "preload/compiler.h"
#include "preload/log.h"
#include "preload/pool.h"
#include "preload/sys.h"
#include "preload/thread.h"

/* ---- libc ---- */

#define NONE (-1)
#define BOOT_LIBC(function, boot)                                                           \
	__attribute__((unused)) static long boot_##function(long a, long b, long c, long d, \
							    long e, long f)                 \
	{                                                                                   \
		long ret = atr_sys6(boot, a, b, c, d, e, f);                                \
                                                                                            \
		if (ret >= 0 || ret < -4095)                                                \
			return ret;                                                         \
		errno = (int)-ret;                                                          \
		return -1;                                                                  \
	}
#define BOOT_LIBPQ(function, boot)
#define HOOK(function, lib, boot) BOOT_##lib(function, boot)
#include "hooks/hooks.def"

#define FIRST_LIBC(function, boot) .function = (boot) == NONE ? NULL : (void *)boot_##function,
#define FIRST_LIBPQ(function, boot)
struct atr_real atr_real = {
#define HOOK(function, lib, boot) FIRST_##lib(function, boot)
#include "hooks/hooks.def"
};

void atr_real_init(void)
{
	static bool done;
	void *p;

	if (done)
		return;
#define FIND_LIBC(function)              \
	p = dlsym(RTLD_NEXT, #function); \
	if (p && !atr_ours(p))           \
		atr_real.function = (__typeof__(atr_real.function))p;
#define FIND_LIBPQ(function)
#define HOOK(function, lib, boot) FIND_##lib(function)
#include "hooks/hooks.def"
	done = true;
}

/* ---- libpq ---- */

/*
 * One calling object and its libpq.  Written once, before the list has it.  The
 * list begins anew when an object was unloaded: its addresses may be another's.
 */
struct caller {
	struct atr_pooled pooled;
	uintptr_t start;
	uintptr_t end;
	struct caller *next;
	struct atr_libpq libpq;
};

static struct atr_pool caller_pool = {
	.size = sizeof(struct caller),
	.per_chunk = 32,
	.max = 32 * ATR_POOL_CHUNKS,
};

static struct atr_libpq global_libpq; /* the one in the global scope */
static uint32_t have_global;
static struct caller *callers;
static unsigned long long unloaded; /* objects, when the list was begun */
static uint32_t callers_lock;

/* What dl_iterate_phdr() is asked for: the object that holds an address. */
struct search {
	uintptr_t address;
	uintptr_t start;
	uintptr_t end;
	bool found;
	char name[4096];
};

static int look_at(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct search *s = arg;
	uintptr_t low = UINTPTR_MAX, high = 0;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];

		if (ph->p_type != PT_LOAD)
			continue;
		if (info->dlpi_addr + ph->p_vaddr < low)
			low = info->dlpi_addr + ph->p_vaddr;
		if (info->dlpi_addr + ph->p_vaddr + ph->p_memsz > high)
			high = info->dlpi_addr + ph->p_vaddr + ph->p_memsz;
	}
	if (s->address < low || s->address >= high)
		return 0;
	s->start = low;
	s->end = high;
	s->found = true;
	if (info->dlpi_name && strlen(info->dlpi_name) < sizeof(s->name))
		strcpy(s->name, info->dlpi_name);
	return 1;
}

static void fill(struct atr_libpq *libpq, void *handle)
{
	struct search self = { .name = "" };
	void *p;

#undef FIND_LIBC
#undef FIND_LIBPQ
#define FIND_LIBC(function)
#define FIND_LIBPQ(function)          \
	p = dlsym(handle, #function); \
	libpq->function = atr_ours(p) ? NULL : (__typeof__(libpq->function))p;
#define HOOK(function, lib, boot) FIND_##lib(function)
#define CALL(function, lib) FIND_##lib(function)
#include "hooks/hooks.def"
	self.address = (uintptr_t)libpq->PQexec;
	(void)dl_iterate_phdr(look_at, &self);
	libpq->start = self.start;
	libpq->end = self.end;
}

/*
 * The library as object `path` sees it.  "" is the program: it sees the global
 * scope only.  The library is pinned, for we keep pointers into it; the object
 * that calls is not, so that its dlclose() is what it was.
 */
static bool fill_from(struct atr_libpq *libpq, const char *path)
{
	void *handle = path[0] ? dlopen(path, RTLD_NOLOAD | RTLD_LAZY) : NULL;
	Dl_info info;

	if (!handle)
		return false;
	fill(libpq, handle);
	if (libpq->PQexec && dladdr((const void *)libpq->PQexec, &info) && info.dli_fname)
		(void)dlopen(info.dli_fname, RTLD_NOLOAD | RTLD_LAZY);
	(void)atr_real.dlclose(handle);
	return libpq->PQexec != NULL;
}

static int try_any(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct search *s = arg;
	const char *name = info->dlpi_name ? info->dlpi_name : "";
	const char *base = strrchr(name, '/');

	(void)size;
	base = base ? base + 1 : name;
	if (strncmp(base, "libpq", 5) != 0 || strlen(name) >= sizeof(s->name))
		return 0;
	strcpy(s->name, name);
	return 1;
}

/* The libpq in some loaded object's scope, when the caller's own has none. */
static bool fill_from_any(struct atr_libpq *libpq, struct search *s)
{
	s->name[0] = '\0';
	(void)dl_iterate_phdr(try_any, s);
	return fill_from(libpq, s->name);
}

/* Looked up for this caller; added to the list. */
static const struct atr_libpq *add_caller(struct search *s)
{
	static const struct atr_libpq none;
	struct caller *c;

	(void)dl_iterate_phdr(look_at, s);
	c = s->found ? atr_pool_take(&caller_pool) : NULL;
	if (!c)
		return &none;
	c->start = s->start;
	c->end = s->end;
	if (!fill_from(&c->libpq, s->name) && !fill_from_any(&c->libpq, s)) {
		atr_pool_give(&caller_pool, c);
		return &none;
	}
	atr_debug(ATR_DEBUG_REAL, "libpq for %s found", s->name);
	c->next = callers;
	/* Pairs with the acquire in atr_real_libpq(). */
	atr_store_release(&callers, c);
	return &c->libpq;
}

static atr_noinline const struct atr_libpq *find(const void *address)
{
	struct search s = { .address = (uintptr_t)address, .name = "" };
	const struct atr_libpq *ret = &global_libpq;
	/* No handler may leave us by siglongjmp() with the lock held. */
	uint64_t signals = atr_sys_block_signals();
	uint32_t was = atr_self_enter();
	int saved_errno = errno;

	while (__atomic_exchange_n(&callers_lock, 1, __ATOMIC_ACQUIRE))
		(void)atr_sys(SYS_sched_yield, 0, 0, 0, 0, 0, 0); /* once per calling object */
	if (!atr_load(&have_global)) {
		fill(&global_libpq, RTLD_NEXT);
		if (global_libpq.PQexec)
			atr_store_release(&have_global, 1);
	}
	if (!atr_load(&have_global))
		ret = add_caller(&s);
	__atomic_store_n(&callers_lock, 0, __ATOMIC_RELEASE);
	(void)dlerror(); /* ours, not the program's to find */
	atr_self_leave(was);
	atr_sys_restore_signals(signals);
	errno = saved_errno;
	return ret;
}

void *atr_real_next(const char *name)
{
	uint32_t was = atr_self_enter();
	void *p = dlsym(RTLD_NEXT, name);

	atr_self_leave(was);
	return atr_ours(p) ? NULL : p;
}

static int count_unloaded(struct dl_phdr_info *info, size_t size, void *ret)
{
	(void)size;
	*(unsigned long long *)ret = info->dlpi_subs;
	return 1;
}

void atr_real_libpq_check(void)
{
	unsigned long long now = 0;

	if (atr_load(&have_global))
		return;
	(void)dl_iterate_phdr(count_unloaded, &now);
	if (__atomic_exchange_n(&unloaded, now, __ATOMIC_RELAXED) != now)
		atr_store_release(&callers, NULL); /* the entries stay: others may be at them */
}

const struct atr_libpq *atr_real_libpq(const void *caller)
{
	if (atr_likely(atr_load_acquire(&have_global)))
		return &global_libpq;
	for (const struct caller *c = atr_load_acquire(&callers); c; c = c->next)
		if ((uintptr_t)caller - c->start < c->end - c->start)
			return &c->libpq;
	return find(caller);
}
