/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This process's spool file.
 *
 * Files are made, opened and mapped aside (preload/aside.h), so that no descriptor is
 * ever in the program's table.  Two threads that need the file at the same time both
 * make one, and the second one's goes again: nobody waits.
 *
 * The directory must be ours alone (type, owner, mode 0700), and is reached without
 * following a link of anybody's.  Blocks are allocated before they are written to: a full disk
 * is an error here, never a SIGBUS there.  A limit on file sizes (RLIMIT_FSIZE) is
 * one more error; its signal is blocked, and gone with the thread it was for.
 *
 * Where there is no file there is a reason, said once, and rings are in memory.
 */
#include "preload/spool.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "preload/aside.h"
#include "preload/compiler.h"
#include "preload/config.h"
#include "preload/log.h"
#include "preload/process.h"
#include "preload/ring.h"
#include "preload/spoolname.h"
#include "preload/sum.h"
#include "preload/sys.h"
#include "preload/text.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define PAGE 4096
#define FILE_LEAST (ATR_SPOOL_HEADER + ATR_RING_DATA + ATR_RING_CHUNK)
#define BASES 3

static char bases[BASES][256]; /* where the directory may be; "": no more */
static uint32_t destination;

static struct atr_spool_file *spool; /* mapped; NULL: there is none (yet) */
static char dir[320], path[sizeof(dir) + ATR_SPOOL_NAME_MAX];
static dev_t dev;
static ino_t ino;
static uint32_t publishing; /* a thread is about to set all this */
static uint32_t refused;    /* errno: there will be none */
static bool by_bits;	    /* the kernel can allocate what is mapped: MADV_POPULATE_WRITE */
static bool said;	    /* and that was said, by us or a process that we descend from */
static uint32_t full;	    /* all files together are at their limit */

/* ---- settings ---- */

static void add_base(size_t i, const char *name)
{
	if (name && name[0] == '/' && strlen(name) < sizeof(bases[i]))
		memcpy(bases[i], name, strlen(name) + 1);
}

void atr_spool_init(const char *(*env)(const char *name))
{
	const struct atr_config *c = &atr_config;

	memset(bases, 0, sizeof(bases));
	if (c->spool_dir) {
		add_base(0, c->spool_dir);
	} else {
		add_base(0, env("XDG_RUNTIME_DIR"));
		add_base(1, "/dev/shm");
		add_base(2, "/tmp");
	}
	destination = atr_spool_destination(c);
	if (!c->spool_max_bytes)
		atr_spool_off();
}

void atr_spool_off(void)
{
	refused = ECANCELED;
}

/* ---- aside ---- */

_Static_assert(sizeof(struct atr_spool_file) == ATR_SPOOL_HEADER,
	       "the header is as long as it says");

/* What a thread wants made, and what came of it. */
struct making {
	struct atr_spool_file *file; /* in: ours, NULL: make one.  out: the one made */
	uint32_t size;		     /* of the ring's data */
	uint32_t index;		     /* in: of the ring, when the file is there */
	uint64_t stride;
	struct atr_ring *ring; /* out */
	int err;
	int dir_fd;
	dev_t dev;
	ino_t ino;
	char dir[sizeof(dir)], name[ATR_SPOOL_NAME_MAX];
};

static void *map(int fd, uint64_t at, size_t len, int *err)
{
	void *p = atr_sys_map_file(fd, at, len, err);

	/* A child's mapping would be the same memory, not a copy of it. */
	if (p)
		(void)atr_sys(SYS_madvise, p, len, MADV_DONTFORK, 0, 0, 0);
	return p;
}

static int allocate(int fd, uint64_t at, uint64_t len)
{
	return (int)atr_sys(SYS_fallocate, fd, 0, at, len, 0, 0);
}

bool atr_spool_populate(void *p, size_t len)
{
	if (atr_load(&full))
		return false;
	return atr_sys(SYS_madvise, p, len, MADV_POPULATE_WRITE, 0, 0, 0) == 0;
}

bool atr_spool_trim(void *p, size_t len)
{
	return atr_load(&by_bits) && atr_sys(SYS_madvise, p, len, MADV_REMOVE, 0, 0, 0) == 0;
}

/* Maps ring number `index`; on a kernel that cannot do it bit by bit all of it is allocated. */
static struct atr_ring *map_ring(struct making *m, int fd, uint32_t index)
{
	uint64_t at = ATR_SPOOL_HEADER + (uint64_t)index * m->stride;
	size_t len = ATR_RING_DATA + m->size;
	struct atr_ring *ring;

	/* The file gets its length: never shorter, whoever makes another ring just now. */
	m->err = allocate(fd, at + len - PAGE, PAGE);
	if (m->err)
		return NULL;
	ring = map(fd, at, len, &m->err);
	if (!ring)
		return NULL;
	m->err = (int)atr_sys(SYS_madvise, ring, ATR_RING_DATA + ATR_RING_CHUNK,
			      MADV_POPULATE_WRITE, 0, 0, 0);
	if (m->err == 0) {
		ring->ready = ATR_RING_CHUNK;
		atr_store(&by_bits, true);
		return ring;
	}
	if (m->err == -EINVAL)
		m->err = allocate(fd, at, len);
	if (m->err == 0) {
		ring->ready = m->size;
		return ring;
	}
	atr_sys_unmap(ring, len);
	return NULL;
}

/* ---- the directory ---- */

/* Opens <base>/autotrace-<uid>, made if need be; -errno. */
static int open_dir(struct making *m, const char *base)
{
	long uid = atr_sys(SYS_geteuid, 0, 0, 0, 0, 0, 0);
	int fd;

	(void)atr_format(m->dir, sizeof(m->dir), "%s/autotrace-%u", base, (unsigned)uid);
	fd = (int)atr_sys(SYS_mkdirat, AT_FDCWD, m->dir, 0700, 0, 0, 0);
	if (fd < 0 && fd != -EEXIST)
		return fd;
	fd = atr_sys_open(m->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	if (atr_spool_ours_alone(fd))
		return fd;
	(void)atr_sys_close(fd);
	return -EPERM;
}

#define SCRATCH 32768

/* Bytes that all files there take up, counted as far as `enough`. */
static uint64_t used_bytes(int fd, uint64_t enough)
{
	char *scratch = atr_sys_map(SCRATCH);
	uint64_t all = 0;
	struct stat st;
	long n;

	if (!scratch)
		return 0;
	while (all < enough && (n = atr_sys(SYS_getdents64, fd, scratch, SCRATCH, 0, 0, 0)) > 0) {
		for (long at = 0; at < n;) {
			const struct atr_sys_entry *d = (const void *)(scratch + at);

			if (d->name[0] != '.' && atr_sys_stat(fd, d->name, &st) == 0)
				all += (uint64_t)st.st_blocks * 512;
			at += d->reclen;
		}
	}
	atr_sys_unmap(scratch, SCRATCH);
	return all;
}

/* ---- the file ---- */

static void identify(struct atr_spool_name *who, uint64_t nonce)
{
	char text[1024];
	struct atr_spool_stat st;
	ssize_t n = atr_sys_read_file("/proc/self/stat", text, sizeof(text));

	*who = (struct atr_spool_name){
		.ns = atr_sys_pid_namespace(),
		.pid = (uint64_t)atr_process.pid,
		.destination = destination,
		.nonce = nonce,
	};
	/* A /proc of another pid namespace tells of others. */
	if (n > 0 && atr_spool_stat_parse(text, (size_t)n, &st) && st.pid == who->pid) {
		who->start = st.start;
		who->image = st.image;
	}
}

/* The three texts; a list of attributes that does not fit is left out. */
static uint32_t put_texts(char text[static ATR_SPOOL_TEXT])
{
	const char *name = atr_config.service_name ? atr_config.service_name : "";
	const char *attrs = atr_config.resource_attributes ? atr_config.resource_attributes : "";
	long exe = atr_sys(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", text, 1024, 0, 0);
	size_t n = exe > 0 && exe < 1024 ? (size_t)exe : 0;

	text[n++] = '\0';
	n += atr_format(text + n, 1024, "%s", name) + 1;
	if (strlen(attrs) >= ATR_SPOOL_TEXT - n)
		attrs = "";
	memcpy(text + n, attrs, strlen(attrs) + 1);
	return (uint32_t)(n + strlen(attrs) + 1);
}

static int make_file(struct making *m, int *ret_fd)
{
	struct atr_spool_name who;
	struct atr_spool_file *f;
	uint64_t nonce[2];
	int fd, err = 0;
	struct stat st;

	if (used_bytes(m->dir_fd, atr_config.spool_max_bytes) + FILE_LEAST >
	    atr_config.spool_max_bytes)
		return -EDQUOT;
	if (atr_sys_getrandom(nonce, sizeof(nonce), 0) != (ssize_t)sizeof(nonce))
		return -ENOSYS;
	identify(&who, nonce[0]);
	atr_spool_name_text(m->name, &who);
	fd = (int)atr_sys(SYS_openat, m->dir_fd, m->name,
			  O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600, 0, 0);
	if (fd < 0)
		return fd;
	if (atr_sys_stat(fd, "", &st) < 0)
		err = -EIO;
	if (!err)
		err = allocate(fd, 0, ATR_SPOOL_HEADER);
	f = err ? NULL : map(fd, 0, ATR_SPOOL_HEADER, &err);
	if (!f) {
		(void)atr_sys_close(fd);
		(void)atr_sys(SYS_unlinkat, m->dir_fd, m->name, 0, 0, 0, 0);
		return err;
	}
	f->version = ATR_SPOOL_VERSION;
	f->pid = (uint32_t)atr_process.pid;
	f->start_time = who.start;
	f->stride = m->stride;
	f->n_rings = 1;
	f->text_len = put_texts(f->text);
	memcpy(f->nonce, nonce, sizeof(nonce));
	atr_status_begin(&f->status);
	m->dev = st.st_dev;
	m->ino = st.st_ino;
	m->file = f;
	*ret_fd = fd;
	return 0;
}

static void make_both(void *arg)
{
	struct making *m = arg;
	int fd = -1;

	/* A vfork child has our memory and is somebody else. */
	m->err = -ENOTSUP;
	if (atr_process_foreign())
		return;
	m->err = -ENOENT;
	for (size_t i = 0; i < BASES; i++) {
		m->dir_fd = bases[i][0] ? open_dir(m, bases[i]) : -ENOENT;
		if (m->dir_fd < 0) {
			if (bases[i][0])
				m->err = m->dir_fd;
			continue;
		}
		m->err = make_file(m, &fd);
		if (m->err == -EDQUOT)
			return;
		if (m->err != 0)
			continue;
		m->ring = map_ring(m, fd, 0);
		if (m->ring)
			return;
		atr_sys_unmap(m->file, ATR_SPOOL_HEADER);
		m->file = NULL;
		(void)atr_sys(SYS_unlinkat, m->dir_fd, m->name, 0, 0, 0, 0);
	}
}

static void make_ring(void *arg)
{
	struct making *m = arg;
	struct stat st;
	int fd = atr_sys_open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0);

	m->err = fd;
	if (fd < 0)
		return;
	m->err = -ESTALE;
	if (atr_sys_stat(fd, "", &st) == 0 && st.st_dev == dev && st.st_ino == ino)
		m->ring = map_ring(m, fd, m->index);
}

/* ---- what the rest of us calls ---- */

static void say_refused(int err)
{
	uint32_t was = 0;

	if (!__atomic_compare_exchange_n(&refused, &was, (uint32_t)-err, 0, __ATOMIC_RELAXED,
					 __ATOMIC_RELAXED) ||
	    said)
		return;
	said = true;
	if (err == -EDQUOT)
		atr_log(ATR_LOG_WARN,
			"the spool is full (AUTOTRACE_SPOOL_MAX_BYTES=%u): spans are kept in "
			"memory, a killed process loses them",
			atr_config.spool_max_bytes);
	else
		atr_log(ATR_LOG_WARN,
			"no spool file in %s (error %d): spans are kept in memory, a killed "
			"process "
			"loses them",
			bases[0][0] ? bases[0] : bases[1], -err);
}

/* True when it is ours now; false when another thread was first. */
static bool publish(struct making *m)
{
	struct atr_spool_file *none = NULL;
	uint32_t nobody = 0;

	if (!__atomic_compare_exchange_n(&publishing, &nobody, 1, 0, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED))
		return false;
	if (atr_load(&spool)) {
		atr_store(&publishing, 0);
		return false;
	}
	memcpy(dir, m->dir, sizeof(dir));
	(void)atr_format(path, sizeof(path), "%s/%s", m->dir, m->name);
	dev = m->dev;
	ino = m->ino;
	atr_ring_init(m->ring, m->size);
	atr_store_release(&m->file->magic, ATR_SPOOL_MAGIC);
	/* Pairs with the acquire in atr_spool_ring(): its path is there. */
	(void)__atomic_compare_exchange_n(&spool, &none, m->file, 0, __ATOMIC_RELEASE,
					  __ATOMIC_RELAXED);
	atr_store_release(&publishing, 0);
	return true;
}

static struct atr_ring *first_ring(struct making *m)
{
	char name[sizeof(path)];

	if (!atr_aside(make_both, m))
		m->err = -ENOSYS;
	if (!m->ring) {
		if (m->err != -ENOTSUP)
			say_refused(m->err);
		return NULL;
	}
	if (publish(m))
		return m->ring;
	(void)atr_format(name, sizeof(name), "%s/%s", m->dir, m->name);
	(void)atr_sys(SYS_unlinkat, AT_FDCWD, name, 0, 0, 0, 0);
	atr_sys_unmap(m->ring, ATR_RING_DATA + m->size);
	atr_sys_unmap(m->file, ATR_SPOOL_HEADER);
	m->ring = NULL;
	return NULL;
}

/* The longest ring there may be, and its header. */
static uint64_t stride(void)
{
	uint64_t size = ATR_RING_LEAST;

	while (size < atr_config.ring_size)
		size *= 2;
	return ATR_RING_DATA + size;
}

struct atr_ring *atr_spool_ring(uint32_t size)
{
	/* Pairs with the release in publish(). */
	struct atr_spool_file *file = atr_load_acquire(&spool);
	struct making m = { .size = size };

	if (atr_load(&refused) || atr_sys_sandboxed())
		return NULL;
	if (!file) {
		m.stride = stride();
		if (first_ring(&m))
			return m.ring;
		file = atr_load_acquire(&spool);
		if (!file)
			return NULL;
		m = (struct making){ .size = size };
	}
	if (atr_load(&full))
		return NULL;
	m.file = file;
	m.stride = file->stride;
	m.index = atr_add(&file->n_rings, 1);
	if (m.index >= ATR_SPOOL_RINGS_MAX || !atr_aside(make_ring, &m) || !m.ring)
		return NULL;
	atr_ring_init(m.ring, size);
	return m.ring;
}

void atr_spool_resource(const uint8_t *bytes, size_t len)
{
	struct atr_spool_file *file = atr_load_acquire(&spool);
	size_t padded = (len + 7) & ~(size_t)7;

	if (!file || !len || padded > sizeof(file->resource))
		return;
	memcpy(file->resource, bytes, len);
	file->resource_sum = atr_sum(file->resource, padded);
	/* Whoever reads it reads it from the file, when we are dead. */
	atr_store_release(&file->resource_len, (uint32_t)len);
}

void atr_spool_used(uint64_t bytes)
{
	atr_store(&full, bytes >= atr_config.spool_max_bytes);
}

bool atr_spool_full(void)
{
	return atr_load(&full);
}

struct atr_status *atr_spool_status(void)
{
	struct atr_spool_file *file = atr_load_acquire(&spool);

	return file ? &file->status : NULL;
}

const char *atr_spool_dir(void)
{
	return atr_load_acquire(&spool) ? dir : NULL;
}

void atr_spool_remove(void)
{
	if (atr_load_acquire(&spool))
		(void)atr_sys(SYS_unlinkat, AT_FDCWD, path, 0, 0, 0, 0);
}

void atr_spool_forked(void)
{
	spool = NULL;
	publishing = full = 0;
	/* There may be room by now. */
	if (refused == EDQUOT || refused == ENOSPC)
		refused = 0;
}
