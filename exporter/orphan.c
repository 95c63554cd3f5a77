/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/orphan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "exporter/detect.h"
#include "exporter/health.h"
#include "preload/compiler.h"
#include "preload/record.h"
#include "preload/ring.h"
#include "preload/spool.h"
#include "preload/sum.h"
#include "preload/sys.h"

#define WINDOW 65536u	       /* bytes of a ring read at once; holds the longest record */
#define BATCH_BYTES (4u << 20) /* of spans in a batch, about */
#define NAMES_MAX (4u << 20)   /* bytes of names remembered by one scan */
#define LOCK_TRIES 100	       /* of 10 ms, in one scan: somebody else is sending it */

/* One entry of `moves`: a span lies in [from, end) of that ring. */
struct move {
	uint32_t ring;
	uint64_t from, end;
};

/* ---- files ---- */

static size_t read_at(int fd, void *to, size_t len, uint64_t at)
{
	size_t have = 0;

	while (have < len) {
		long n = atr_sys(SYS_pread64, fd, (char *)to + have, len - have, at + have, 0, 0);

		if (n == -EINTR)
			continue;
		if (n <= 0)
			break;
		have += (size_t)n;
	}
	return have;
}

static void close_file(struct atr_orphans *o)
{
	if (o->file >= 0)
		(void)atr_sys_close(o->file); /* the lock goes with it */
	o->file = -1;
	atr_resource_finish(&o->resource);
	atr_otlp_head_finish(&o->head);
	o->head = (struct atr_otlp_head){ 0 };
	atr_buf_reset(&o->moves);
	atr_buf_reset(&o->spans);
	o->n_spans = 0;
}

static void close_dir(struct atr_orphans *o)
{
	close_file(o);
	if (o->dir >= 0)
		(void)atr_sys_close(o->dir);
	o->dir = -1;
	atr_buf_reset(&o->names);
	atr_buf_reset(&o->order);
	o->next = 0;
}

/* Who was asked to send all has to say what was not even looked at. */
static void complain(const struct atr_orphans *o, const char *name, const char *why)
{
	if (!o->host->orphans_only)
		return;
	o->host->log(ATR_LOG_WARN, "%s%s%s: %s", o->host->spool_dir(), *name ? "/" : "", name, why);
	atr_add(&o->host->stats->left, 1);
}

static void corrupt(struct atr_orphans *o)
{
	atr_add(&o->host->stats->corrupt, 1);
}

/* ---- who has died ---- */

/* When in doubt, no. */
static bool is_dead(const struct atr_spool_name *who)
{
	char path[64], text[1024];
	ssize_t n;

	if (!who->pid || who->pid > INT32_MAX)
		return true;
	if (atr_sys(SYS_kill, who->pid, 0, 0, 0, 0, 0) == -ESRCH)
		return true;
	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)who->pid);
	n = atr_sys_read_file(path, text, sizeof(text));
	return n > 0 && !atr_spool_alive(who, text, (size_t)n);
}

static bool is_ours(const struct atr_orphans *o, const struct atr_spool_name *who)
{
	return who->ns == o->ns &&
	       (!o->host->destination || who->destination == o->host->destination);
}

static void look_at(struct atr_orphans *o, const char *name, uint64_t *used)
{
	struct atr_spool_name who;
	struct stat st;

	if (atr_sys_stat(o->dir, name, &st) == 0)
		*used += (uint64_t)st.st_blocks * 512;
	if (atr_spool_name_parse(name, &who) && is_ours(o, &who) && is_dead(&who) &&
	    o->names.len < NAMES_MAX) {
		const struct atr_orphan one = { .start = who.start, .name = o->names.len };

		atr_buf_add(&o->names, name, strlen(name) + 1);
		if (!o->names.failed)
			atr_buf_add(&o->order, &one, sizeof(one));
	}
}

static int by_age(const void *a, const void *b)
{
	uint64_t of_a = ((const struct atr_orphan *)a)->start;
	uint64_t of_b = ((const struct atr_orphan *)b)->start;

	return (of_a > of_b) - (of_a < of_b);
}

static int open_dir(const struct atr_orphans *o, const char *path)
{
	int fd = atr_sys_open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);

	if (fd < 0) {
		if (fd != -ENOENT)
			complain(o, "", strerror(-fd));
		return -1;
	}
	if (atr_spool_ours_alone(fd))
		return fd;
	complain(o, "", "it is not ours alone (mode 0700), and not looked into");
	(void)atr_sys_close(fd);
	return -1;
}

void atr_orphans_scan(struct atr_orphans *o)
{
	const char *path = o->host->spool_dir();
	char entries[8192] __attribute__((aligned(8)));
	uint64_t used = 0;
	long n;

	close_dir(o);
	o->lock_tries = LOCK_TRIES;
	o->dir = path ? open_dir(o, path) : -1;
	if (o->dir < 0)
		return;
	while ((n = atr_sys(SYS_getdents64, o->dir, entries, sizeof(entries), 0, 0, 0)) > 0) {
		for (long at = 0; at < n;) {
			const struct atr_sys_entry *d = (const void *)(entries + at);

			if (d->name[0] != '.')
				look_at(o, d->name, &used);
			at += d->reclen;
		}
	}
	o->host->spool_used(used);
	if (o->order.len)
		qsort(o->order.bytes, o->order.len / sizeof(struct atr_orphan),
		      sizeof(struct atr_orphan), by_age);
	else
		close_dir(o);
}

bool atr_orphans_any(const struct atr_orphans *o)
{
	return o->dir >= 0;
}

/* ---- one file ---- */

/* What is known of a process that died before it knew its resource. */
static void make_resource(struct atr_resource *r, const struct atr_spool_file *f)
{
	const char *exe = f->text, *name = exe + strlen(exe) + 1, *attrs = name + strlen(name) + 1;
	const struct atr_dead dead = {
		.pid = f->pid,
		.start_ticks = f->start_time,
		.random = f->nonce,
		.exe = exe,
	};

	(void)atr_resource_of_dead(r, &dead, *attrs ? attrs : NULL, name);
}

/* Three texts, the last of which ends where they all do. */
static bool texts_sound(const struct atr_spool_file *f)
{
	unsigned n = 0;

	if (!f->text_len || f->text_len > sizeof(f->text) || f->text[f->text_len - 1])
		return false;
	for (size_t i = 0; i < f->text_len; i++)
		n += f->text[i] == '\0';
	return n == 3;
}

static bool read_resource(struct atr_orphans *o, const struct atr_spool_file *f)
{
	size_t padded = ((size_t)f->resource_len + 7) & ~(size_t)7;

	if (f->resource_len && padded <= sizeof(f->resource) &&
	    atr_sum(f->resource, padded) == f->resource_sum &&
	    atr_otlp_read_resource(&o->resource, f->resource, f->resource_len))
		return true;
	if (f->resource_len)
		corrupt(o);
	atr_resource_finish(&o->resource);
	if (!texts_sound(f))
		return false;
	make_resource(&o->resource, f);
	return true;
}

/* Its spans may have arrived the last time: they are not sent by each short program anew. */
static bool rests(const struct atr_orphans *o, const struct atr_spool_file *f)
{
	return !o->host->orphans_only &&
	       atr_spool_rests_until(f->given_up, f->n_given_up, atr_wall_clock());
}

enum head { BAD, RESTS, GOOD };

static enum head read_head(struct atr_orphans *o)
{
	struct atr_spool_file *f = malloc(sizeof(*f));
	bool good = f && read_at(o->file, f, sizeof(*f), 0) == sizeof(*f) &&
		    f->magic == ATR_SPOOL_MAGIC && f->version == ATR_SPOOL_VERSION &&
		    f->stride >= ATR_RING_DATA + ATR_RING_LEAST && f->stride <= 1u << 30 &&
		    f->n_rings && read_resource(o, f);
	bool resting = good && rests(o, f);

	if (good) {
		o->stride = f->stride;
		o->n_rings = f->n_rings < ATR_SPOOL_RINGS_MAX ? f->n_rings : ATR_SPOOL_RINGS_MAX;
		o->ring = 0;
		o->n_given_up = f->n_given_up;
	}
	free(f);
	if (resting)
		return RESTS;
	return good && atr_otlp_head_init(&o->head, &o->resource) == 0 ? GOOD : BAD;
}

static void remove_file(struct atr_orphans *o)
{
	(void)atr_sys(SYS_unlinkat, o->dir, o->file_name, 0, 0, 0, 0);
	close_file(o);
}

/* Whoever has the lock may be about to be done. */
static int lock(struct atr_orphans *o)
{
	const struct atr_host *host = o->host;
	int err;

	while ((err = (int)atr_sys(SYS_flock, o->file, LOCK_EX | LOCK_NB, 0, 0, 0, 0)) ==
		       -EWOULDBLOCK &&
	       host->orphans_only && o->lock_tries && !(host->pending() & ATR_WAKE_STOP)) {
		o->lock_tries--;
		(void)host->sleep_fds(NULL, 0, 10);
	}
	return err;
}

/* Opens and locks the next file; false when there is none. */
static bool open_next(struct atr_orphans *o)
{
	const struct atr_orphan *order = (const void *)o->order.bytes;

	while (o->next < o->order.len / sizeof(*order)) {
		const char *name = (const char *)o->names.bytes + order[o->next++].name;
		enum head head;
		struct stat st;
		int err;

		(void)snprintf(o->file_name, sizeof(o->file_name), "%s", name);
		o->file = (int)atr_sys(SYS_openat, o->dir, name,
				       O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0, 0, 0);
		if (o->file < 0) {
			if (o->file != -ENOENT)
				complain(o, name, strerror(-o->file));
			continue;
		}
		err = lock(o);
		if (err) {
			complain(o, name,
				 err == -EWOULDBLOCK ? "somebody else is at it" : strerror(-err));
			close_file(o);
			continue;
		}
		/* Gone meanwhile: somebody had it, and is done. */
		if (atr_sys_stat(o->file, "", &st) != 0 || !S_ISREG(st.st_mode) ||
		    st.st_uid != geteuid() || st.st_nlink != 1) {
			close_file(o);
			continue;
		}
		head = read_head(o);
		if (head == GOOD)
			return true;
		if (head == RESTS) {
			close_file(o);
			continue;
		}
		corrupt(o);
		remove_file(o);
	}
	return false;
}

/* ---- one ring ---- */

struct reading {
	uint32_t size;
	uint64_t data; /* where its data begins in the file */
	uint64_t tail, pos, head;
	uint64_t from; /* the window holds [from, from + window.len) */
};

/* False when there is no such ring, or nothing in it that can be read. */
static bool read_ring(struct atr_orphans *o, struct reading *g)
{
	uint64_t at = ATR_SPOOL_HEADER + o->ring * o->stride;
	struct atr_ring r;

	if (read_at(o->file, &r, sizeof(r), at) != sizeof(r) || !r.magic)
		return false;
	*g = (struct reading){ .size = r.size,
			       .data = at + ATR_RING_DATA,
			       .tail = r.tail,
			       .pos = r.tail,
			       .head = r.head };
	if (r.magic != ATR_RING_MAGIC || r.version != 1 || r.size < ATR_RING_LEAST ||
	    r.size & (r.size - 1) || r.size > o->stride - ATR_RING_DATA ||
	    r.head - r.tail > r.size || (r.head | r.tail | r.shipped) % ATR_RECORD_ALIGN) {
		corrupt(o);
		return false;
	}
	/* It was killed after the last byte of a request had left, before an answer came. */
	if (r.shipped - r.tail <= r.head - r.tail)
		g->pos = r.shipped;
	atr_buf_reset(&o->window);
	return true;
}

/* Bytes from `pos` on, at least `want` of them if they are there. */
static const struct atr_record *look(struct atr_orphans *o, struct reading *g, uint64_t avail,
				     size_t want)
{
	size_t len = avail < WINDOW ? (size_t)avail : WINDOW;
	uint64_t at = g->pos - g->from; /* positions wrap, differences do not */
	uint8_t *to;

	if (at > o->window.len || o->window.len - at < want) {
		atr_buf_reset(&o->window);
		to = atr_buf_reserve(&o->window, len);
		if (!to)
			return NULL;
		o->window.len = read_at(o->file, to, len, g->data + (g->pos & (g->size - 1)));
		g->from = g->pos;
		at = 0;
		if (o->window.len < want)
			return NULL;
	}
	return (const struct atr_record *)(const void *)(o->window.bytes + at);
}

/* The next record that is whole; NULL: no more. */
static const struct atr_record *next_record(struct atr_orphans *o, struct reading *g)
{
	while (g->pos != g->head) {
		uint64_t to_end = g->size - (g->pos & (g->size - 1));
		uint64_t avail = g->head - g->pos < to_end ? g->head - g->pos : to_end;
		const struct atr_record *r;

		if (avail < sizeof(*r) && avail == to_end) {
			g->pos += avail; /* a padding too short for a header */
			continue;
		}
		r = look(o, g, avail, sizeof(*r));
		if (!r || !atr_record_sound(r, avail) ||
		    (r->span_len && r->size > ATR_RECORD_MAX)) {
			corrupt(o);
			g->pos = g->head;
			break;
		}
		if (!r->span_len) {
			g->pos += r->size;
			continue;
		}
		r = look(o, g, avail, r->size);
		if (!r) {
			corrupt(o);
			g->pos = g->head;
			break;
		}
		g->pos += r->size;
		if (atr_record_sum(r) == r->checksum)
			return r;
		corrupt(o);
	}
	return NULL;
}

/* Takes what fits out of the ring; true when that was all there is. */
static bool take_ring(struct atr_orphans *o, size_t max)
{
	struct reading g;
	struct move m = { .ring = o->ring };
	const struct atr_record *r;
	const uint8_t *span;
	bool all = false;
	size_t len;

	if (!read_ring(o, &g))
		return true;
	m.from = g.pos;
	while (o->n_spans < max && o->spans.len < BATCH_BYTES) {
		r = next_record(o, &g);
		all = !r;
		if (all)
			break;
		m.end = g.pos;
		if (r->flags & ATR_RECORD_CANDIDATE) { /* none is in a file: not to be sent */
			atr_add(&o->host->stats->unkept, 1);
			continue;
		}
		len = r->span_len;
		span = atr_limits_apply(&o->limits, r->span, &len);
		if (span)
			atr_otlp_add_span(&o->spans, span, len);
		else
			o->spans.failed = true;
		m.end = g.pos;
		atr_buf_add(&o->moves, &m, sizeof(m));
		m.from = m.end;
		o->n_spans++;
	}
	return all;
}

/* ---- batches ---- */

size_t atr_orphans_next(struct atr_orphans *o, size_t max)
{
	while (o->dir >= 0) {
		if (o->file < 0 && !open_next(o)) {
			close_dir(o);
			break;
		}
		atr_buf_reset(&o->spans);
		atr_buf_reset(&o->moves);
		o->n_spans = 0;
		while (o->ring < o->n_rings && take_ring(o, max))
			o->ring++;
		if (o->spans.failed || o->moves.failed) {
			atr_orphans_let_go(o);
			break;
		}
		if (o->n_spans)
			return o->n_spans;
		remove_file(o);
	}
	return 0;
}

static void write_given_up(struct atr_orphans *o, uint64_t at, uint32_t n)
{
	_Static_assert(offsetof(struct atr_spool_file, n_given_up) ==
			       offsetof(struct atr_spool_file, given_up) + sizeof(at),
		       "one behind the other");
	uint8_t both[sizeof(at) + sizeof(n)];

	memcpy(both, &at, sizeof(at));
	memcpy(both + sizeof(at), &n, sizeof(n));
	(void)atr_sys(SYS_pwrite64, o->file, both, sizeof(both),
		      offsetof(struct atr_spool_file, given_up), 0, 0);
	o->n_given_up = n;
}

void atr_orphans_give_up(struct atr_orphans *o)
{
	if (o->file >= 0)
		write_given_up(o, atr_wall_clock(),
			       o->n_given_up < UINT32_MAX ? o->n_given_up + 1 : UINT32_MAX);
}

void atr_orphans_settle(struct atr_orphans *o, size_t n, enum atr_settled what)
{
	struct move *m = (struct move *)(void *)o->moves.bytes;
	const size_t n_moves = o->moves.len / sizeof(*m);
	const size_t field = what == ATR_SETTLED ? offsetof(struct atr_ring, tail)
						 : offsetof(struct atr_ring, shipped);

	if (n > n_moves)
		n = n_moves;
	for (size_t i = 0; i < n;) {
		const struct move *first = &m[i];
		uint64_t at = ATR_SPOOL_HEADER + first->ring * o->stride + field, to;

		while (i < n && m[i].ring == first->ring)
			i++;
		to = what == ATR_BACK ? first->from : m[i - 1].end;
		(void)atr_sys(SYS_pwrite64, o->file, &to, sizeof(to), at, 0, 0);
	}
	if (what != ATR_SETTLED || !n)
		return;
	if (o->n_given_up)
		write_given_up(o, 0, 0);
	o->n_spans -= n;
	o->moves.len -= n * sizeof(*m);
	memmove(m, m + n, o->moves.len);
}

void atr_orphans_skip(struct atr_orphans *o)
{
	close_file(o);
}

void atr_orphans_let_go(struct atr_orphans *o)
{
	close_dir(o);
}

void atr_orphans_init(struct atr_orphans *o, const struct atr_host *host)
{
	*o = (struct atr_orphans){
		.host = host, .ns = atr_sys_pid_namespace(), .dir = -1, .file = -1
	};
	atr_limits_init(&o->limits, host->config);
}

void atr_orphans_finish(struct atr_orphans *o)
{
	close_dir(o);
	atr_limits_finish(&o->limits);
	atr_buf_free(&o->names);
	atr_buf_free(&o->order);
	atr_buf_free(&o->window);
	atr_buf_free(&o->spans);
	atr_buf_free(&o->moves);
}
