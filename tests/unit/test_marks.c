/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/spots.o exporter/json.o exporter/buf.o preload/sys.o preload/utf8.o */
#include "exporter/marks.c"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "preload/compiler.h"
#include "tests/unit/test.h"

/* Lines of 0 to 3 spans, each of which is a letter. */
static const char *const lines[] = { "abc", "", "d", "ef", "", "ghi" };
static const char all[] = "abcdefghi";

static char path[] = "/tmp/test_marks.XXXXXX", text[2048];

static struct atr_marks begin(void)
{
	struct atr_marks m = { 0 };
	char line[256];
	int fd;

	memcpy(path + sizeof(path) - 7, "XXXXXX", 6);
	fd = mkstemp(path);
	if (fd < 0)
		abort();
	atr_marks_begin(&m, fd);
	for (size_t i = 0; i < ATR_ARRAY_LEN(lines); i++) {
		size_t n = (size_t)snprintf(line, sizeof(line),
					    "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[");

		for (size_t k = 0; lines[i][k]; k++)
			n += (size_t)snprintf(line + n, sizeof(line) - n, "%s{\"%c\":0}",
					      k ? "," : "", lines[i][k]);
		n += (size_t)snprintf(line + n, sizeof(line) - n, "]}]}]}\n");
		CHECK_INT(write(fd, line, n), n);
	}
	return m;
}

static void end(struct atr_marks *m)
{
	atr_marks_finish(m);
	(void)close(m->fd);
	(void)unlink(path);
}

/* What would be read in the file: the letters of lines without a mark. */
static const char *left(const struct atr_marks *m)
{
	static char got[64];
	ssize_t n = pread(m->fd, text, sizeof(text) - 1, 0);
	size_t at = 0;

	text[n > 0 ? n : 0] = '\0';
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		for (const char *p = line; *line != '#' && (p = strchr(p, ':')); p++)
			if (p[1] == '0')
				got[at++] = p[-2];
	got[at] = '\0';
	return got;
}

static unsigned n_marked(const struct atr_marks *m)
{
	ssize_t n = pread(m->fd, text, sizeof(text) - 1, 0);
	unsigned marked = 0;

	for (ssize_t i = 0; i < n; i++)
		marked += text[i] == '#';
	return marked;
}

/* A batch of n spans from number `first` on, as replay.c has them line by line. */
static void add(struct atr_marks *m, size_t first, size_t n)
{
	size_t number = 0, size = 0, at = 0;

	for (size_t i = 0; i < ATR_ARRAY_LEN(lines); i++, at += size) {
		size_t k = strlen(lines[i]), from = first > number ? first - number : 0;
		size_t to = first + n > number ? first + n - number : 0;
		const bool last = to >= k && (from < k || (!k && number >= first && n));

		size = strlen("{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[]}]}]}\n") + 7 * k +
		       (k ? k - 1 : 0);
		if (from < k && to > from)
			atr_marks_add(m, at, size - 1, from, (to < k ? to : k) - from, false);
		if (last)
			atr_marks_add(m, at, size - 1, k, 0, true);
		number += k;
	}
}

/* Two batches, each done with in two steps of whatever kind. */
TEST(what_is_done_with_goes_and_what_is_never_taken_stays)
{
	for (unsigned cut = 1; cut < 9; cut++)
		for (unsigned steps = 0; steps < 81; steps++)
			for (unsigned kinds = 0; kinds < 16; kinds++) {
				const size_t first[] = { 0, cut }, n[] = { cut, 9 - cut };
				struct atr_marks m = begin();
				char want[sizeof(all)];
				unsigned untaken = 0;
				size_t at = 0;

				for (unsigned b = 0; b < 2; b++) {
					size_t k = (b ? steps / 9 : steps % 9) % (n[b] + 1);

					add(&m, first[b], n[b]);
					atr_marks_done(&m, k, kinds >> 2 * b & 1);
					atr_marks_done(&m, n[b] - k, kinds >> 2 * b & 2);
					for (size_t i = 0; i < n[b]; i++)
						if (kinds >> 2 * b & (i < k ? 1 : 2))
							want[at++] = all[first[b] + i];
				}
				want[at] = '\0';
				CHECK_STR(left(&m), want);
				for (size_t i = 0; i < ATR_ARRAY_LEN(lines); i++)
					untaken += *lines[i] && strpbrk(want, lines[i]);
				CHECK_INT(m.untaken, untaken);
				CHECK_INT(n_marked(&m), ATR_ARRAY_LEN(lines) - untaken);
				CHECK_INT(m.runs.len, 0);
				end(&m);
			}
}

TEST(what_is_not_done_with_is_there)
{
	for (size_t n = 0; n <= 9; n++) {
		struct atr_marks m = begin();

		add(&m, 0, 9);
		for (size_t i = 0; i < n; i++)
			atr_marks_done(&m, 1, false);
		CHECK_STR(left(&m), all + n);
		CHECK_INT(m.untaken, 0);
		end(&m);
	}
}

TEST(a_line_that_is_not_as_it_was_is_left_alone)
{
	struct atr_marks m = begin();

	add(&m, 0, 9);
	CHECK_INT(pwrite(m.fd, "[", 1, 0), 1);
	atr_marks_done(&m, 2, false);
	CHECK_STR(left(&m), all);
	atr_marks_done(&m, 1, false);
	CHECK_STR(left(&m), all + 3);
	end(&m);
}
