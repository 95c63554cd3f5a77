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
 * own scope; the answer is kept per calling object, also when a library gets into
 * the global scope later.  A tail call makes the return address lie in another object:
 * then any loaded copy of the library is taken.
 *
 * A library is pinned: a pointer into it must not outlive it.  No lock is held across the
 * loader's: whose constructor calls us holds that.
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

/* The libpqs that were found.  Each is pinned, so there are few, and none is forgotten. */
struct library {
	struct atr_pooled pooled;
	struct library *next;
	struct atr_libpq libpq;
};

static struct atr_pool library_pool = {
	.size = sizeof(struct library),
	.per_chunk = 4,
	.max = 4 * ATR_POOL_CHUNKS,
};

static struct library *libraries;
static const struct atr_libpq *global_libpq; /* the one in the global scope; NULL: none yet */

/*
 * Objects that call, and whose libpq they do: only while or where none is in the global
 * scope.  One writes at a time, and the version is odd meanwhile.
 */
#define CALLERS 256

static struct caller {
	uintptr_t start;
	uintptr_t end;
	uint32_t name; /* a hash */
	const struct atr_libpq *libpq;
} callers[CALLERS];

static uint32_t n_callers, version, writing;
static unsigned long long unloaded; /* objects, when all callers were there */

/* What dl_iterate_phdr() is asked for: the object that holds an address. */
struct search {
	uintptr_t address;
	uintptr_t start;
	uintptr_t end;
	bool found;
	const char *name; /* good while the object is there */
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
	s->name = info->dlpi_name ? info->dlpi_name : "";
	return 1;
}

/* False: none of the names is there. */
static bool fill(struct atr_libpq *libpq, void *handle)
{
	struct search self = { .name = "" };
	bool any = false;
	void *p;

#undef FIND_LIBC
#undef FIND_LIBPQ
#define FIND_LIBC(function)
#define FIND_LIBPQ(function)                                                   \
	p = dlsym(handle, #function);                                          \
	libpq->function = atr_ours(p) ? NULL : (__typeof__(libpq->function))p; \
	any |= libpq->function != NULL;
#define HOOK(function, lib, boot) FIND_##lib(function)
#define CALL(function, lib) FIND_##lib(function)
#include "hooks/hooks.def"
	self.address = (uintptr_t)libpq->PQexec;
	(void)dl_iterate_phdr(look_at, &self);
	libpq->start = self.start;
	libpq->end = self.end;
	return any;
}

/* We keep pointers into it. */
static void pin(const struct atr_libpq *libpq)
{
	Dl_info info;

	if (libpq->PQexec && dladdr((const void *)libpq->PQexec, &info) && info.dli_fname)
		(void)dlopen(info.dli_fname, RTLD_NOLOAD | RTLD_LAZY);
}

/*
 * The library as object `path` sees it.  "" is the program: it sees the global
 * scope only.  The library is pinned; the object that calls is not, so that its
 * dlclose() is what it was.
 */
static bool fill_from(struct atr_libpq *libpq, const char *path)
{
	void *handle = path[0] ? dlopen(path, RTLD_NOLOAD | RTLD_LAZY) : NULL;
	bool any;

	if (!handle)
		return false;
	any = fill(libpq, handle);
	pin(libpq);
	(void)atr_real.dlclose(handle);
	return any;
}

#define ANY_MAX 1024

static int try_any(struct dl_phdr_info *info, size_t size, void *path)
{
	const char *name = info->dlpi_name ? info->dlpi_name : "";
	const char *base = strrchr(name, '/');

	(void)size;
	base = base ? base + 1 : name;
	if (strncmp(base, "libpq", 5) != 0 || strlen(name) >= ANY_MAX)
		return 0;
	strcpy(path, name);
	return 1;
}

/* The libpq in some loaded object's scope, when the caller's own has none. */
static atr_noinline bool fill_from_any(struct atr_libpq *libpq)
{
	char path[ANY_MAX] = "";

	(void)dl_iterate_phdr(try_any, path);
	return fill_from(libpq, path);
}

/* Where it stays.  Two threads may keep the same one; that is no harm.  NULL: no memory. */
static const struct atr_libpq *keep(const struct atr_libpq *found)
{
	struct library *l;

	for (l = atr_load_acquire(&libraries); l; l = l->next)
		if (memcmp(&l->libpq, found, sizeof(*found)) == 0)
			return &l->libpq;
	l = atr_pool_take(&library_pool);
	if (!l)
		return NULL;
	l->libpq = *found;
	l->next = atr_load(&libraries);
	/* Pairs with the acquires: it is whole. */
	while (!__atomic_compare_exchange_n(&libraries, &l->next, l, 0, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED))
		continue;
	return &l->libpq;
}

/* ---- who calls ---- */

static uint32_t hash(const char *name)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	while (*name)
		h = (h ^ (uint8_t)*name++) * 16777619u;
	return h;
}

/* Whoever sees one of these sees that a change has begun: pairs with the acquires in look_up(). */
static void put(uint32_t i, const struct caller *c)
{
	atr_store_release(&callers[i].start, c->start);
	atr_store_release(&callers[i].end, c->end);
	atr_store_release(&callers[i].name, c->name);
	atr_store_release(&callers[i].libpq, c->libpq);
}

static void change_begin(void)
{
	(void)__atomic_fetch_add(&version, 1, __ATOMIC_ACQ_REL);
}

static void change_end(void)
{
	(void)__atomic_fetch_add(&version, 1, __ATOMIC_RELEASE);
}

/* When somebody else is at it, it is looked up again the next time. */
static void add_caller(const struct caller *c)
{
	uint32_t n;

	if (__atomic_exchange_n(&writing, 1, __ATOMIC_ACQUIRE))
		return;
	n = atr_load(&n_callers);
	change_begin();
	put(n < CALLERS ? n : version % CALLERS, c);
	if (n < CALLERS)
		atr_store_release(&n_callers, n + 1);
	change_end();
	atr_store_release(&writing, 0u);
}

static const struct atr_libpq *look_up(const void *address)
{
	for (uint32_t i = 0, n = atr_load_acquire(&n_callers); i < n; i++) {
		uintptr_t start = atr_load_acquire(&callers[i].start);
		uintptr_t end = atr_load_acquire(&callers[i].end);

		if ((uintptr_t)address - start < end - start)
			return atr_load_acquire(&callers[i].libpq);
	}
	return NULL;
}

/* NULL: not known. */
static const struct atr_libpq *known(const void *address)
{
	/* In a forked child whoever was at it may be gone. */
	for (int tries = 0; tries < 1000; tries++) {
		/* Pairs with the release in change_end(). */
		uint32_t v = atr_load_acquire(&version);
		const struct atr_libpq *libpq = look_up(address);

		if (v % 2 == 0 && atr_load(&version) == v)
			return libpq;
	}
	return NULL;
}

static const struct atr_libpq *in_global_scope(void)
{
	const struct atr_libpq *libpq = atr_load_acquire(&global_libpq);
	struct atr_libpq found = { .start = 0 };

	if (libpq)
		return libpq;
	(void)fill(&found, RTLD_NEXT);
	if (!found.PQexec)
		return NULL;
	pin(&found);
	libpq = keep(&found);
	/* Pairs with the acquire in atr_real_libpq(). */
	atr_store_release(&global_libpq, libpq);
	return libpq;
}

static const struct atr_libpq *in_scope_of(const void *address)
{
	struct search s = { .address = (uintptr_t)address, .name = "" };
	struct atr_libpq found = { .start = 0 };
	struct caller c;

	(void)dl_iterate_phdr(look_at, &s);
	if (!fill_from(&found, s.name) && !fill_from_any(&found))
		return NULL;
	atr_debug(ATR_DEBUG_REAL, "libpq for %s found", s.name);
	c = (struct caller){ s.start, s.end, hash(s.name), keep(&found) };
	if (s.found && c.libpq)
		add_caller(&c);
	return c.libpq;
}

static atr_noinline const struct atr_libpq *find(const void *address)
{
	static const struct atr_libpq none;
	const struct atr_libpq *ret;
	/* No handler may leave us by siglongjmp() in the middle of it. */
	uint64_t signals = atr_sys_block_signals();
	uint32_t was = atr_self_enter();
	int saved_errno = errno;

	ret = in_global_scope();
	if (!ret)
		ret = in_scope_of(address);
	(void)dlerror(); /* ours, not the program's to find */
	atr_self_leave(was);
	atr_sys_restore_signals(signals);
	errno = saved_errno;
	return ret ? ret : &none;
}

void *atr_real_next(const char *name, const void *caller)
{
	struct search s = { .address = (uintptr_t)caller, .name = "" };
	uint32_t was = atr_self_enter();
	void *p = dlsym(RTLD_NEXT, name), *handle = NULL;

	if (!p || atr_ours(p)) {
		(void)dl_iterate_phdr(look_at, &s);
		handle = s.name[0] ? dlopen(s.name, RTLD_NOLOAD | RTLD_LAZY) : NULL;
		p = handle ? dlsym(handle, name) : NULL;
	}
	if (handle)
		(void)atr_real.dlclose(handle);
	(void)dlerror();
	atr_self_leave(was);
	return atr_ours(p) ? NULL : p;
}

static int count_unloaded(struct dl_phdr_info *info, size_t size, void *ret)
{
	(void)size;
	*(unsigned long long *)ret = info->dlpi_subs;
	return 1;
}

static bool is_there(const struct caller *c)
{
	struct search s = { .address = c->start, .name = "" };

	(void)dl_iterate_phdr(look_at, &s);
	return s.found && s.start == c->start && s.end == c->end && hash(s.name) == c->name;
}

static void forget_unloaded(void)
{
	struct caller c;

	for (uint32_t i = atr_load(&n_callers); i-- > 0;) {
		uint32_t last = atr_load(&n_callers) - 1;

		if (is_there(&callers[i]))
			continue;
		c = callers[last];
		change_begin();
		put(i, &c);
		atr_store_release(&n_callers, last);
		change_end();
	}
}

void atr_real_libpq_check(void)
{
	unsigned long long now = 0;
	uint64_t signals;

	if (!atr_load(&n_callers))
		return;
	(void)dl_iterate_phdr(count_unloaded, &now);
	if (now == atr_load(&unloaded))
		return;
	signals = atr_sys_block_signals();
	if (!__atomic_exchange_n(&writing, 1, __ATOMIC_ACQUIRE)) {
		forget_unloaded();
		atr_store(&unloaded, now);
		atr_store_release(&writing, 0u);
	}
	atr_sys_restore_signals(signals);
}

void atr_real_forked(void)
{
	if (!atr_load(&writing))
		return;
	/* By a thread that is not here; what it left is not to be relied on. */
	atr_store(&n_callers, 0u);
	atr_store(&version, (atr_load(&version) | 1) + 1);
	atr_store(&writing, 0u);
}

const struct atr_libpq *atr_real_libpq(const void *caller)
{
	const struct atr_libpq *libpq;

	/* Who was bound to another one before stays with it. */
	if (atr_unlikely(atr_load(&n_callers)) && (libpq = known(caller)))
		return libpq;
	libpq = atr_load_acquire(&global_libpq);
	return atr_likely(libpq) ? libpq : find(caller);
}
