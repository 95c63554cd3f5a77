/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A spool file, as `autotrace status` looks at it: what its process says of itself, and
 * what is in its rings.  The process may be writing to it; nothing in it is believed.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/seen.h"
#include "preload/record.h"
#include "preload/ring.h"
#include "preload/spool.h"

#define WAIT_NS 500000000u	 /* for pages that are being written, by one command */
#define FILE_MAX (64u << 20)	 /* bytes of a file's rings looked at to count what is in them */
#define COMMAND_MAX (256u << 20) /* bytes of all files' */
#define HEAD_COST 1024		 /* bytes that could be read instead of one ring's head */
#define WINDOW 65536u		 /* bytes read at once */

static bool read_at(int fd, void *to, size_t len, uint64_t at)
{
	return pread(fd, to, len, (off_t)at) == (ssize_t)len;
}

/* Anybody may leave files, and as many as they like: what one takes, another one lacks. */
static bool take(uint64_t *budget, uint64_t bytes)
{
	static uint64_t taken; /* by this command */

	if (bytes > *budget || bytes > COMMAND_MAX - taken)
		return false;
	*budget -= bytes;
	taken += bytes;
	return true;
}

/* Records between its tail and its head, as far as they can be followed, and as may be looked at.
 * What was never written to has no blocks: the file may end before. */
static void count_records(struct atr_seen *s, int fd, uint64_t data, const struct atr_ring *ring,
			  uint64_t *budget)
{
	static uint8_t window[WINDOW] __attribute__((aligned(8)));
	uint64_t pos = ring->tail, from = 0, end = 0; /* the window is of [from, end) */

	while (pos != ring->head) {
		uint64_t at = pos & (ring->size - 1), avail = ring->head - pos;
		const struct atr_record *r;

		if (avail > ring->size - at)
			avail = ring->size - at;
		if (avail < sizeof(*r) && avail == ring->size - at) {
			pos += avail;
			continue;
		}
		if (at < from || at + sizeof(*r) > end) {
			size_t len = avail < WINDOW ? (size_t)avail : WINDOW;
			ssize_t n;

			if (!take(budget, len)) {
				s->uncounted = true;
				break;
			}
			n = pread(fd, window, len, (off_t)(data + at));
			from = at;
			end = at + (n > 0 ? (size_t)n : 0);
		}
		r = (const void *)(window + (at - from));
		if (at + sizeof(*r) > end || !atr_record_sound(r, avail))
			break;
		pos += r->size;
		s->waiting += r->span_len != 0;
	}
}

static void look_at_ring(struct atr_seen *s, int fd, uint64_t at, uint64_t stride, uint64_t *budget)
{
	struct atr_ring r;
	uint64_t used;

	if (!read_at(fd, &r, sizeof(r), at) || r.magic != ATR_RING_MAGIC ||
	    r.size < ATR_RING_LEAST || r.size & (r.size - 1) || r.size > stride - ATR_RING_DATA)
		return;
	s->n_rings++;
	s->ring_bytes += r.size;
	s->written += r.written;
	used = r.head - r.tail;
	if (used > r.size || (r.head | r.tail) % ATR_RECORD_ALIGN)
		return;
	if (!s->fullest_bytes || used * s->fullest_bytes > s->used_bytes * r.size) {
		s->used_bytes = used;
		s->fullest_bytes = r.size;
	}
	if (used)
		count_records(s, fd, at + ATR_RING_DATA, &r, budget);
}

/* A moment for a page that is being written; false: they have taken too long, all together. */
static bool wait_a_moment(void)
{
	static uint64_t waited; /* ns */
	struct timespec from, to;

	if (waited >= WAIT_NS)
		return false;
	(void)clock_gettime(CLOCK_MONOTONIC, &from);
	(void)usleep(1000);
	(void)clock_gettime(CLOCK_MONOTONIC, &to);
	waited += (uint64_t)(to.tv_sec - from.tv_sec) * 1000000000u + (uint64_t)to.tv_nsec -
		  (uint64_t)from.tv_nsec;
	return true;
}

/* The page, read until it was not being written, or else as it is; a process that was killed in
 * the middle leaves it so for good. */
static bool read_status(int fd, bool alive, struct atr_status *to)
{
	const uint64_t at = offsetof(struct atr_spool_file, status);
	uint32_t after = 0;

	for (int i = 0; i < 100; i++) {
		if (!read_at(fd, to, sizeof(*to), at) ||
		    !read_at(fd, &after, sizeof(after), at + offsetof(struct atr_status, change)))
			return false;
		if (!(to->change & 1) && to->change == after)
			break;
		if (!alive || !wait_a_moment())
			break;
	}
	to->names[sizeof(to->names) - 1] = '\0';
	to->settings[sizeof(to->settings) - 1] = '\0';
	to->strategy[sizeof(to->strategy) - 1] = '\0';
	to->health.error[sizeof(to->health.error) - 1] = '\0';
	to->health.endpoint[sizeof(to->health.endpoint) - 1] = '\0';
	return to->version == ATR_STATUS_VERSION && to->n_counters <= ATR_STATUS_COUNTERS;
}

/* What it was, where /proc does not say it any more. */
static void read_program(struct atr_seen *s, int fd)
{
	char exe[1024];
	const char *name;

	if (s->exe[0] || !read_at(fd, exe, sizeof(exe), offsetof(struct atr_spool_file, text)))
		return;
	exe[sizeof(exe) - 1] = '\0';
	name = strrchr(exe, '/');
	(void)snprintf(s->exe, sizeof(s->exe), "%s", exe);
	if (!s->name[0] && name)
		(void)snprintf(s->name, sizeof(s->name), "%.63s", name + 1);
}

bool atr_seen_file(struct atr_seen *s, int fd)
{
	uint64_t magic, stride, given_up, budget = FILE_MAX;
	uint32_t version, n_rings, n_given_up;
	struct stat st;

#define READ(field) read_at(fd, &field, sizeof(field), offsetof(struct atr_spool_file, field))
	if (!READ(magic) || magic != ATR_SPOOL_MAGIC || !READ(version) ||
	    version != ATR_SPOOL_VERSION || !READ(stride) || !READ(n_rings) || !READ(given_up) ||
	    !READ(n_given_up) || stride < ATR_RING_DATA + ATR_RING_LEAST || stride > 1u << 30 ||
	    fstat(fd, &st) != 0)
		return false;
#undef READ
	s->bytes = (uint64_t)st.st_blocks * 512;
	s->given_up = given_up;
	s->n_given_up = n_given_up;
	s->told = read_status(fd, s->exists && !s->zombie, &s->status);
	read_program(s, fd);
	for (uint32_t i = 0; i < n_rings && i < ATR_SPOOL_RINGS_MAX; i++) {
		uint64_t at = ATR_SPOOL_HEADER + i * stride;

		if (at >= (uint64_t)st.st_size)
			break;
		if (!take(&budget, HEAD_COST)) {
			s->uncounted = true;
			break;
		}
		look_at_ring(s, fd, at, stride, &budget);
	}
	return true;
}

uint64_t atr_seen_counter(const struct atr_seen *s, const char *name)
{
	const char *p = s->status.names;
	size_t n = strlen(name);

	for (uint32_t i = 0; s->told && i < s->status.n_counters && *p; i++) {
		size_t len = strcspn(p, " ");

		if (len == n && memcmp(p, name, n) == 0)
			return s->status.counters[i];
		p += len + (p[len] == ' ');
	}
	return 0;
}
