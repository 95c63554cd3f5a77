/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/marks.h"

#include <errno.h>
#include <string.h>

#include "preload/sys.h"

/* Spans of one line. */
struct run {
	uint64_t at; /* the line */
	size_t len;
	size_t first, n;
	bool last;
	bool stays; /* the line has spans that will never be taken */
};

void atr_marks_begin(struct atr_marks *m, int fd)
{
	m->fd = fd;
	m->err = 0;
	m->untaken = 0;
	m->untaken_at = m->spots_of = UINT64_MAX;
	atr_buf_reset(&m->runs);
}

static struct run *runs(const struct atr_marks *m, size_t *ret_n)
{
	*ret_n = m->runs.len / sizeof(struct run);
	return (struct run *)(void *)m->runs.bytes;
}

void atr_marks_add(struct atr_marks *m, uint64_t at, size_t len, size_t first, size_t n, bool last)
{
	const struct run fresh = {
		.at = at,
		.len = len,
		.first = first,
		.n = n,
		.last = last,
		.stays = at == m->untaken_at,
	};
	size_t n_runs;
	struct run *all = runs(m, &n_runs);

	if (!n_runs || all[n_runs - 1].at != at) {
		atr_buf_add(&m->runs, &fresh, sizeof(fresh));
		return;
	}
	all[n_runs - 1].n += n;
	all[n_runs - 1].last = last;
}

/* ---- in the file ---- */

static void write_at(struct atr_marks *m, const uint8_t *bytes, size_t len, uint64_t at)
{
	while (len && !m->err) {
		long n = atr_sys(SYS_pwrite64, m->fd, bytes, len, at, 0, 0);

		if (n == -EINTR)
			continue;
		if (n <= 0) {
			m->err = n ? (int)n : -EIO;
			break;
		}
		bytes += n;
		len -= (size_t)n;
		at += (size_t)n;
	}
}

/* A limit of the file's length is met here, and not by half of what is to be blanks. */
static void try_at(struct atr_marks *m, uint64_t at)
{
	uint8_t same;
	long n = atr_sys(SYS_pread64, m->fd, &same, 1, at, 0, 0);

	if (n == 1)
		write_at(m, &same, 1, at);
	else if (!m->err)
		m->err = n ? (int)n : -EIO;
}

/* Where the spans of the line are; false: that cannot be told. */
static bool find_spots(struct atr_marks *m, const struct run *run)
{
	uint8_t *to;
	long n;

	if (m->spots_of == run->at)
		return true;
	m->spots_of = UINT64_MAX;
	atr_buf_reset(&m->text);
	to = atr_buf_reserve(&m->text, run->len);
	n = to ? atr_sys(SYS_pread64, m->fd, to, run->len, run->at, 0, 0) : -ENOMEM;
	if (n < 0 && !m->err)
		m->err = (int)n;
	if (n != (long)run->len || !atr_spots_find(&m->spots, (const char *)to, run->len))
		return false;
	m->spots_of = run->at;
	return true;
}

/* Takes the first n out of their line.  Where that cannot be done they stay in it. */
static void take_out(struct atr_marks *m, const struct run *run, size_t n)
{
	size_t first = run->first, k;
	uint32_t from, to;

	if (!find_spots(m, run))
		return;
	for (; n; n -= k, first += k) {
		k = atr_spots_take(&m->spots, first, n, &from, &to);
		if (!k)
			return;
		/* The text was looked at, and its memory is there. */
		memset(m->text.bytes, ' ', to - from);
		try_at(m, run->at + to - 1);
		write_at(m, m->text.bytes, to - from, run->at + from);
	}
}

/* ---- what is done with ---- */

static void run_done(struct atr_marks *m, struct run *run, size_t n, bool never)
{
	const bool whole = run->last && n == run->n;

	if (n && never) {
		m->untaken += !run->stays;
		m->untaken_at = run->at;
		run->stays = true;
	} else if (n && (!whole || run->stays)) {
		take_out(m, run, n);
	}
	if (whole && !run->stays)
		write_at(m, (const uint8_t *)"#", 1, run->at);
	run->first += n;
	run->n -= n;
}

void atr_marks_done(struct atr_marks *m, size_t n, bool never)
{
	size_t i = 0, n_runs;
	struct run *all = runs(m, &n_runs);

	while (i < n_runs && (n || !all[i].n)) {
		size_t k = n < all[i].n ? n : all[i].n;

		run_done(m, &all[i], k, never);
		n -= k;
		if (all[i].n)
			break;
		i++;
	}
	m->runs.len -= i * sizeof(*all);
	if (i)
		memmove(all, all + i, m->runs.len);
}

void atr_marks_finish(struct atr_marks *m)
{
	atr_buf_free(&m->runs);
	atr_buf_free(&m->text);
	atr_spots_finish(&m->spots);
}
