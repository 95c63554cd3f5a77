/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AUTOTRACE_FILE: lines of OTLP JSON in a file, or in a file per process in a directory.
 *
 * Several processes may write to one file: lines are one write() with O_APPEND, which the
 * kernel does not mix with another's.  Of one that was cut short by a full disk whole lines count
 * as written, and the half one is cut off.  SIGKILL leaves it there, so whoever comes next looks at
 * the last byte and ends it first, and after his write whether that was true; what reads such files
 * skips what is no line of JSON.
 *
 * Before each write it is seen whether the file still has its name.  Who takes it away for
 * good (rotation, `autotrace drain`) renames it first and then waits for the exclusive
 * lock; who writes holds the shared one and looks at the name again when he has it.  So
 * nothing is written to a file that somebody is done with.
 *
 * Nothing here can harm the program: the descriptor is in the background thread's table, SIGXFSZ
 * of a limit is blocked there, and what cannot be written is said once and stays where it was.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "exporter/form.h"
#include "exporter/jsonl.h"
#include "exporter/resource.h"
#include "preload/host.h"
#include "preload/sys.h"

/*
 * Of protobuf in a line.  JSON has at most six times as many bytes, and readers of
 * such files (the collector's otlpjsonfile) take lines of 1 MiB.
 */
#define CHUNK (128u << 10)
#define NS_PER_MS 1000000u
#define LOCK_RETRY_NS (5 * NS_PER_MS)
#define LOCK_WAIT_NS (2000 * NS_PER_MS) /* longest that another's lock is waited for */
#define ROUNDS 8			/* the file was taken away as often, in a moment */
#define SERVICE_MAX 64			/* of a file's name */

struct file {
	const struct atr_host *host;
	bool own; /* a directory: the file is this process's alone */
	int fd;	  /* -1: not open */
	char name[PATH_MAX];
	bool down; /* it cannot be written, and that was said */
	char why[64];

	struct atr_jsonl lines; /* of the batch under way */
	struct atr_form_batch batch;
	uint64_t next, until; /* attempt, last attempt */
};

static void *file_new(const struct atr_host *host)
{
	struct file *f = calloc(1, sizeof(*f));

	if (f)
		*f = (struct file){ .host = host, .fd = -1 };
	return f;
}

/* ---- names ---- */

/* What has that name, links followed. */
static bool named(const char *path, struct stat *st)
{
	int fd = atr_sys_open(path, O_PATH | O_CLOEXEC, 0);
	bool good = fd >= 0 && atr_sys_stat(fd, "", st) == 0;

	if (fd >= 0)
		(void)atr_sys_close(fd);
	return good;
}

static bool is_directory(const char *path)
{
	struct stat st;

	if (path[strlen(path) - 1] == '/') {
		(void)atr_sys(SYS_mkdirat, AT_FDCWD, path, 0700, 0, 0, 0);
		return true;
	}
	return named(path, &st) && S_ISDIR(st.st_mode);
}

/* The service's name as far as it can stand in a file's. */
static void put_service(char to[static SERVICE_MAX + 1], const struct atr_resource *r)
{
	static const char good[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
	const struct atr_attr *attr = atr_resource_get(r, "service.name");
	const char *name = attr && attr->text ? attr->text : "unknown";
	size_t n = 0;

	for (; n < SERVICE_MAX && name[n]; n++)
		to[n] = strchr(good, name[n]) && (n || name[n] != '.') ? name[n] : '_';
	to[n] = '\0';
}

/* Containers that share the directory have the same pids: a random number tells them apart. */
static bool choose_name(struct file *f)
{
	const char *path = f->host->config->file;
	const char *slash = path[strlen(path) - 1] == '/' ? "" : "/";
	char service[SERVICE_MAX + 1];
	uint32_t nonce = 0;
	int n;

	if (f->name[0])
		return true;
	f->own = is_directory(path);
	if (f->own) {
		put_service(service, f->batch.resource);
		(void)atr_sys_getrandom(&nonce, sizeof(nonce), 0);
		n = snprintf(f->name, sizeof(f->name), "%s%s%s-%d-%08x.jsonl", path, slash, service,
			     atr_sys_getpid(), nonce);
	} else {
		n = snprintf(f->name, sizeof(f->name), "%s", path);
	}
	/* Room for the number of a rotated one. */
	if (n > 0 && (size_t)n + 8 < sizeof(f->name))
		return true;
	f->name[0] = '\0';
	return false;
}

/* ---- the file ---- */

static void close_file(struct file *f)
{
	if (f->fd >= 0)
		(void)atr_sys_close(f->fd); /* the lock goes with it */
	f->fd = -1;
}

/* Opens it if it is not open.  0 or -errno. */
static int open_file(struct file *f)
{
	struct stat st;

	if (!choose_name(f))
		return -ENAMETOOLONG;
	if (f->fd >= 0)
		return 0;
	/* Neither a pipe without a reader nor a terminal may hold us up. */
	f->fd = atr_sys_open(f->name,
			     O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
	if (f->fd < 0) {
		int err = f->fd;

		f->fd = -1;
		if (f->own) /* the directory may be made again, and a file is not what it was */
			(void)is_directory(f->host->config->file);
		return err;
	}
	if (atr_sys_stat(f->fd, "", &st) == 0 && S_ISREG(st.st_mode))
		return 0;
	close_file(f);
	return -EINVAL;
}

/* Is what is open still what has the name? */
static bool has_name(const struct file *f, struct stat *st)
{
	struct stat other;

	return atr_sys_stat(f->fd, "", st) == 0 && named(f->name, &other) &&
	       other.st_dev == st->st_dev && other.st_ino == st->st_ino;
}

static long lock(const struct file *f, int how)
{
	return atr_sys(SYS_flock, f->fd, how | LOCK_NB, 0, 0, 0, 0);
}

/* f -> f.1 -> f.2 -> ..., and the last one goes.  False: somebody writes to it just now. */
static bool rotate(struct file *f)
{
	char from[sizeof(f->name) + 16], to[sizeof(f->name) + 16];
	struct stat st;

	if (lock(f, LOCK_EX) != 0)
		return false;
	if (!has_name(f, &st))
		return true; /* somebody else did */
	for (unsigned i = f->host->config->file_max_files; i-- > 0;) {
		(void)snprintf(to, sizeof(to), "%s.%u", f->name, i + 1);
		(void)snprintf(from, sizeof(from), i ? "%s.%u" : "%s", f->name, i);
		if (i + 1 == f->host->config->file_max_files)
			(void)atr_sys(SYS_unlinkat, AT_FDCWD, from, 0, 0, 0, 0);
		else
			(void)atr_sys(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0, 0);
	}
	return !has_name(f, &st);
}

static bool begins_line(const struct file *f, const struct stat *st)
{
	char last = '\n';

	return !st->st_size ||
	       (atr_sys(SYS_pread64, f->fd, &last, 1, st->st_size - 1, 0, 0) == 1 && last == '\n');
}

/*
 * A write ended early, behind so much of a line: that goes, if it is still the end.  Why, the next
 * byte is told; if there is room by now, a newline is nothing but the end of that half line.
 * -errno, -EAGAIN: there is room.
 */
static int cut(struct file *f, size_t half)
{
	long end = atr_sys(SYS_lseek, f->fd, 0, SEEK_CUR, 0, 0, 0), n;
	struct stat st;
	const bool last = (f->own || lock(f, LOCK_EX) == 0) && atr_sys_stat(f->fd, "", &st) == 0 &&
			  st.st_size == end;

	n = atr_sys_write(f->fd, "\n", 1);
	if (last && (half || n > 0))
		(void)atr_sys(SYS_ftruncate, f->fd, end - (long)half, 0, 0, 0, 0);
	return n < 0 ? (int)n : -EAGAIN;
}

/*
 * Somebody was killed in the middle of a line between our look at its end and our write: what
 * we have just written goes on where that ends, and our first line is lost in it.
 */
static bool is_glued(const struct file *f, long len)
{
	long end = atr_sys(SYS_lseek, f->fd, 0, SEEK_CUR, 0, 0, 0);
	char before = '\n';

	return !f->own && end > len &&
	       atr_sys(SYS_pread64, f->fd, &before, 1, end - len - 1, 0, 0) == 1 && before != '\n';
}

/* Lines, as many as there is room for, in one write.  0 or -errno. */
static int append(struct file *f, const struct stat *st, uint64_t room)
{
	uint8_t *from = f->lines.text.bytes + f->lines.at;
	struct iovec parts[2] = { { (void *)(uintptr_t) "\n", begins_line(f, st) ? 0 : 1 },
				  { from, atr_jsonl_fit(&f->lines, room) } };
	const size_t ends = parts[0].iov_len, len = ends + parts[1].iov_len;
	long n = atr_sys(SYS_writev, f->fd, parts, 2, 0, 0, 0);
	size_t half;

	if (n < 0)
		return (int)n;
	if (!ends && (size_t)n == len && is_glued(f, n))
		(void)atr_sys_write(f->fd, from, atr_jsonl_fit(&f->lines, 0));
	half = atr_jsonl_wrote(&f->lines, (size_t)n > ends ? (size_t)n - ends : 0, &f->batch);
	if ((size_t)n == len)
		return 0;
	f->lines.written = f->lines.at;
	return cut(f, half);
}

/* Is there room for what comes next?  An empty file has. */
static bool has_room(const struct file *f, const struct stat *st)
{
	return !st->st_size || (uint64_t)st->st_size + atr_jsonl_fit(&f->lines, 0) <=
				       f->host->config->file_max_bytes;
}

/* 0 when all lines are written, -EAGAIN: somebody has the lock, or -errno. */
static int attempt(struct file *f)
{
	const uint64_t most = f->host->config->file_max_bytes;
	/* Where it has failed before, nobody shall write behind half a line of ours. */
	const int how = f->down && !f->own ? LOCK_EX : LOCK_SH;
	struct stat st;
	bool rotated = false;
	int err;

	for (unsigned i = 0; i < ROUNDS && atr_jsonl_fit(&f->lines, 0); i++) {
		err = open_file(f);
		if (err)
			return err;
		if (!has_name(f, &st)) {
			close_file(f);
			continue;
		}
		if (lock(f, how) != 0)
			return -EAGAIN;
		if (!has_name(f, &st)) {
			close_file(f);
			continue;
		}
		if (!rotated && !has_room(f, &st)) {
			rotated = true;
			if (rotate(f)) {
				close_file(f);
				continue;
			}
			if (lock(f, how) != 0 || !has_name(f, &st))
				return -EAGAIN;
			/* Another time, but not for ever. */
			if ((uint64_t)st.st_size > 2 * most)
				return -EFBIG;
		}
		err = append(f, &st, (uint64_t)st.st_size < most ? most - (uint64_t)st.st_size : 0);
		(void)lock(f, LOCK_UN);
		if (err)
			return err;
		rotated = false;
		i = 0;
	}
	return atr_jsonl_fit(&f->lines, 0) ? -EAGAIN : 0;
}

/* ---- the form ---- */

static void failed(struct file *f, int err)
{
	char shown[300];

	(void)snprintf(f->why, sizeof(f->why), "it cannot be written: %s",
		       err == -EINVAL	? "it is no regular file"
		       : err == -EAGAIN ? "somebody has it locked"
					: strerror(-err));
	if (f->down)
		return;
	f->down = true;
	(void)atr_escape(shown, sizeof(shown), f->name, strlen(f->name));
	f->host->log(ATR_LOG_WARN, "AUTOTRACE_FILE: %s cannot be written (error %d)",
		     f->name[0] ? shown : f->host->config->file, -err);
}

static void works(struct file *f)
{
	if (f->down)
		f->host->log(ATR_LOG_INFO, "AUTOTRACE_FILE: %s can be written again", f->name);
	f->down = false;
}

static enum atr_delivery_state file_step(void *self, uint64_t until, enum atr_delivery_haste haste)
{
	struct file *f = self;
	uint64_t now = f->host->now();
	int err;

	(void)until;
	(void)haste;
	if (now < f->next)
		return ATR_DELIVERY_BUSY;
	err = attempt(f);
	if (err == -EAGAIN && now < f->until) {
		f->next = now + LOCK_RETRY_NS;
		return ATR_DELIVERY_BUSY;
	}
	if (err) {
		failed(f, err);
		close_file(f); /* perhaps it is another one by then */
		return ATR_DELIVERY_FAILED;
	}
	works(f);
	(void)atr_jsonl_wrote(&f->lines, 0,
			      &f->batch); /* spans behind the last line that are none */
	return ATR_DELIVERY_DONE;
}

static enum atr_delivery_state file_start(void *self, const struct atr_form_batch *b)
{
	struct file *f = self;
	uint64_t lost = 0;

	f->batch = *b;
	f->why[0] = '\0';
	atr_jsonl_reset(&f->lines);
	if (!atr_jsonl(&f->lines, b, CHUNK, f->host->config->file_max_bytes, &lost)) {
		atr_add(b->no_memory, b->n_spans);
		return ATR_DELIVERY_DONE;
	}
	atr_add(&f->host->stats->fields_lost, lost);
	f->next = f->host->now();
	f->until = f->next + LOCK_WAIT_NS;
	return file_step(f, 0, ATR_HASTE_NONE);
}

static uint64_t file_due(const void *self)
{
	return ((const struct file *)self)->next;
}

static void file_hurry(void *self)
{
	((struct file *)self)->next = 0;
}

static size_t file_done(void *self)
{
	return atr_jsonl_done(&((struct file *)self)->lines);
}

static void file_cancel(void *self)
{
	(void)self;
}

static const char *file_shown(const void *self)
{
	const struct file *f = self;

	return f->name[0] ? f->name : f->host->config->file;
}

static const char *file_error(const void *self)
{
	return ((const struct file *)self)->why;
}

static void file_free(void *self)
{
	struct file *f = self;

	close_file(f);
	atr_jsonl_free(&f->lines);
	free(f);
}

const struct atr_form atr_form_file = {
	.component = "file_span_exporter",
	.collects = true,
	.make = file_new,
	.start = file_start,
	.step = file_step,
	.due = file_due,
	.hurry = file_hurry,
	.cancel = file_cancel,
	.done = file_done,
	.free = file_free,
	.shown = file_shown,
	.error = file_error,
};
