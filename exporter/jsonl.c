/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines, and the two forms that are nothing but lines: standard output, which is written to
 * only because that was asked for, and the console where lines were asked for.
 */
#include "exporter/jsonl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exporter/console.h"
#include "exporter/form.h"
#include "exporter/otlp-json.h"
#include "preload/host.h"

/* A pipe takes so much at once: what the program writes does not get in between. */
#define STREAM_CHUNK 512u
#define PAUSE_NS 10000000u /* between two attempts at a reader that pauses */

void atr_jsonl_reset(struct atr_jsonl *j)
{
	atr_buf_reset(&j->text);
	atr_buf_reset(&j->lines);
	j->written = j->at = j->i = j->done = 0;
}

void atr_jsonl_free(struct atr_jsonl *j)
{
	atr_buf_free(&j->text);
	atr_buf_free(&j->lines);
}

/* ---- lines ---- */

/* A run of n spans as one line, in halves where that is too long. */
static void put_lines(struct atr_jsonl *j, const struct atr_form_batch *b, const uint8_t *spans,
		      size_t len, size_t n, size_t most, uint64_t *lost)
{
	struct atr_jsonl_line line = { .n_spans = n };
	size_t before = j->text.len, first = 0;
	uint64_t lost_before = *lost;

	if (atr_otlp_json_counted(&j->text, b->head, spans, len, lost))
		atr_buf_str(&j->text, "\n");
	else
		line.n_bad = n;
	if (j->text.len - before <= most || n == 1) {
		line.end = j->text.len;
		atr_buf_add(&j->lines, &line, sizeof(line));
		return;
	}
	j->text.len = before;
	*lost = lost_before;
	for (size_t i = 0; i < n / 2; i++)
		first += atr_otlp_span_field(spans + first, len - first);
	put_lines(j, b, spans, first, n / 2, most, lost);
	put_lines(j, b, spans + first, len - first, n - n / 2, most, lost);
}

bool atr_jsonl(struct atr_jsonl *j, const struct atr_form_batch *b, size_t chunk, size_t most,
	       uint64_t *lost)
{
	size_t from = 0, at = 0, n = 0;

	while (at < b->len) {
		size_t field = atr_otlp_span_field(b->spans + at, b->len - at);

		if (field > b->len - at)
			field = b->len - at;
		if (n && at + field - from > chunk) {
			put_lines(j, b, b->spans + from, at - from, n, most, lost);
			from = at;
			n = 0;
		}
		at += field;
		n++;
	}
	if (n)
		put_lines(j, b, b->spans + from, at - from, n, most, lost);
	return !j->text.failed && !j->lines.failed;
}

/* ---- how far they are written ---- */

static const struct atr_jsonl_line *line_at(const struct atr_jsonl *j, size_t i)
{
	const struct atr_jsonl_line *lines = (const void *)j->lines.bytes;

	return i < j->lines.len / sizeof(*lines) ? &lines[i] : NULL;
}

size_t atr_jsonl_fit(const struct atr_jsonl *j, size_t room)
{
	const struct atr_jsonl_line *line;
	size_t len = 0;

	for (size_t i = j->i; (line = line_at(j, i)); i++) {
		if (len && line->end - j->at > room)
			break;
		len = line->end - j->at;
	}
	return len;
}

size_t atr_jsonl_wrote(struct atr_jsonl *j, size_t n, const struct atr_form_batch *b)
{
	const struct atr_jsonl_line *line;

	j->written += n;
	while ((line = line_at(j, j->i)) && line->end <= j->written) {
		atr_add(b->delivered, line->n_spans - line->n_bad);
		atr_add(b->refused, line->n_bad);
		j->done += line->n_spans;
		j->at = line->end;
		j->i++;
	}
	return j->written - j->at;
}

size_t atr_jsonl_done(struct atr_jsonl *j)
{
	size_t n = j->done;

	j->done = 0;
	return n;
}

/* ---- the forms ---- */

struct stream {
	const struct atr_host *host;
	long (*write)(const char *bytes, size_t len);
	bool json;
	bool torn; /* the last line was not written to its end */
	struct atr_console console;
	struct atr_jsonl lines;

	struct atr_form_batch batch;
	const struct atr_buf *text; /* of it */
	size_t at;		    /* of its bytes are written */
	uint64_t next;		    /* attempt */
	char why[64];		    /* it could not be written */
};

static void *stream_new(const struct atr_host *host, long (*write)(const char *, size_t), bool json)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (s)
		*s = (struct stream){ .host = host, .write = write, .json = json };
	return s;
}

static void *stdout_new(const struct atr_host *host)
{
	return stream_new(host, host->write_stdout, true);
}

static void *console_new(const struct atr_host *host)
{
	return stream_new(host, host->write_stderr, host->config->console == ATR_CONSOLE_JSON);
}

/* The text of a batch; NULL without memory. */
static const struct atr_buf *text_of(struct stream *s, const struct atr_form_batch *b)
{
	uint64_t lost = 0;
	bool good;

	if (!s->json) {
		atr_console_init(&s->console, b->resource);
		return atr_console_batch(&s->console, b->spans, b->len);
	}
	atr_jsonl_reset(&s->lines);
	if (s->torn)
		atr_buf_str(&s->lines.text, "\n");
	good = atr_jsonl(&s->lines, b, STREAM_CHUNK, SIZE_MAX, &lost);
	atr_add(&s->host->stats->fields_lost, lost);
	return good ? &s->lines.text : NULL;
}

static void wrote(struct stream *s, size_t n)
{
	s->at += n;
	if (s->json)
		s->torn = atr_jsonl_wrote(&s->lines, n, &s->batch) > 0;
	else if (s->at == s->text->len)
		atr_add(s->batch.delivered, s->batch.n_spans);
}

static enum atr_delivery_state failed(struct stream *s, long err)
{
	const char *why = err == -EBADF	   ? "it is closed, or something else is there by now"
			  : err == -EAGAIN ? "nobody reads it"
					   : strerror((int)-err);

	(void)snprintf(s->why, sizeof(s->why), "%s", why);
	return ATR_DELIVERY_FAILED;
}

/*
 * A reader that pauses in the middle of a batch is waited for, and written on for where it paused:
 * given up and begun again, it would have the first half twice.  So only a flush gives up; lines
 * that are whole by then are done with, of trees none is.
 */
static enum atr_delivery_state stream_step(void *self, uint64_t until,
					   enum atr_delivery_haste haste)
{
	struct stream *s = self;
	size_t left = s->text->len - s->at;
	long n = left ? s->write((const char *)s->text->bytes + s->at, left) : 0;

	(void)until;
	if (n >= 0)
		wrote(s, (size_t)n);
	if (s->at == s->text->len)
		return ATR_DELIVERY_DONE;
	s->next = s->host->now() + (n > 0 ? 0 : PAUSE_NS);
	if (n > 0 || (n == -EAGAIN && s->at && haste == ATR_HASTE_NONE))
		return ATR_DELIVERY_BUSY;
	return failed(s, n);
}

static enum atr_delivery_state stream_start(void *self, const struct atr_form_batch *b)
{
	struct stream *s = self;

	s->batch = *b;
	s->at = 0;
	s->why[0] = '\0';
	s->text = text_of(s, b);
	if (s->text)
		return stream_step(s, 0, ATR_HASTE_NONE);
	atr_add(b->no_memory, b->n_spans);
	return ATR_DELIVERY_DONE;
}

static size_t stream_done(void *self)
{
	return atr_jsonl_done(&((struct stream *)self)->lines);
}

static uint64_t stream_due(const void *self)
{
	return ((const struct stream *)self)->next;
}

static void stream_hurry(void *self)
{
	((struct stream *)self)->next = 0;
}

static void stream_cancel(void *self)
{
	(void)self;
}

static const char *stream_shown(const void *self)
{
	const struct stream *s = self;

	return s->write == s->host->write_stdout ? "standard output" : "standard error";
}

static const char *stream_error(const void *self)
{
	return ((const struct stream *)self)->why;
}

static void stream_free(void *self)
{
	struct stream *s = self;

	atr_console_finish(&s->console);
	atr_jsonl_free(&s->lines);
	free(s);
}

const struct atr_form atr_form_stdout = {
	.component = "stdout_span_exporter",
	.bit = ATR_EXPORTER_STDOUT,
	.make = stdout_new,
	.start = stream_start,
	.step = stream_step,
	.done = stream_done,
	.due = stream_due,
	.hurry = stream_hurry,
	.cancel = stream_cancel,
	.free = stream_free,
	.shown = stream_shown,
	.error = stream_error,
};

const struct atr_form atr_form_console = {
	.component = "console_span_exporter",
	.bit = ATR_EXPORTER_CONSOLE,
	.make = console_new,
	.start = stream_start,
	.step = stream_step,
	.done = stream_done,
	.due = stream_due,
	.hurry = stream_hurry,
	.cancel = stream_cancel,
	.free = stream_free,
	.shown = stream_shown,
	.error = stream_error,
};
