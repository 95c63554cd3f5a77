/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines, and the two forms that are nothing but lines: standard output, which is written to
 * only because that was asked for, and the console where lines were asked for.
 */
#include "exporter/jsonl.h"

#include <stdlib.h>

#include "exporter/console.h"
#include "exporter/form.h"
#include "exporter/otlp-json.h"
#include "preload/host.h"

/* A pipe takes so much at once: what the program writes does not get in between. */
#define STREAM_CHUNK 512u

/* A run of n spans as one line; returns how many are not in it. */
static size_t put_line(struct atr_buf *out, const struct atr_form_batch *b, const uint8_t *spans,
		       size_t len, size_t n, uint64_t *lost)
{
	if (!atr_otlp_json_counted(out, b->head, spans, len, lost))
		return out->failed ? 0 : n;
	atr_buf_str(out, "\n");
	return 0;
}

size_t atr_jsonl(struct atr_buf *out, const struct atr_form_batch *b, size_t chunk, uint64_t *lost)
{
	size_t from = 0, at = 0, n = 0, bad = 0;

	while (at < b->len) {
		size_t field = atr_otlp_span_field(b->spans + at, b->len - at);

		if (field > b->len - at)
			field = b->len - at;
		if (n && at + field - from > chunk) {
			bad += put_line(out, b, b->spans + from, at - from, n, lost);
			from = at;
			n = 0;
		}
		at += field;
		n++;
	}
	return n ? bad + put_line(out, b, b->spans + from, at - from, n, lost) : bad;
}

/* ---- the forms ---- */

struct stream {
	const struct atr_host *host;
	int (*write)(const char *bytes, size_t len);
	bool json;
	bool torn; /* the last line was not written to its end */
	struct atr_console console;
	struct atr_buf text;
};

static void *stream_new(const struct atr_host *host, int (*write)(const char *, size_t), bool json)
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

/* The text of a batch, and *bad of its spans are not in it; NULL without memory. */
static const struct atr_buf *text_of(struct stream *s, const struct atr_form_batch *b, size_t *bad)
{
	uint64_t lost = 0;

	*bad = 0;
	if (!s->json) {
		atr_console_init(&s->console, b->resource);
		return atr_console_batch(&s->console, b->spans, b->len);
	}
	atr_buf_reset(&s->text);
	if (s->torn)
		atr_buf_str(&s->text, "\n");
	*bad = atr_jsonl(&s->text, b, STREAM_CHUNK, &lost);
	atr_add(&s->host->stats->fields_lost, lost);
	return s->text.failed ? NULL : &s->text;
}

static enum atr_delivery_state stream_start(void *self, const struct atr_form_batch *b)
{
	struct stream *s = self;
	size_t bad;
	const struct atr_buf *text = text_of(s, b, &bad);

	if (!text) {
		atr_add(b->no_memory, b->n_spans);
		return ATR_DELIVERY_DONE;
	}
	if (text->len && s->write((const char *)text->bytes, text->len) != 0) {
		s->torn = true;
		return ATR_DELIVERY_FAILED;
	}
	s->torn = false;
	atr_add(b->delivered, b->n_spans - bad);
	atr_add(b->refused, bad);
	return ATR_DELIVERY_DONE;
}

static const char *stream_shown(const void *self)
{
	const struct stream *s = self;

	return s->write == s->host->write_stdout ? "standard output" : "standard error";
}

static void stream_free(void *self)
{
	struct stream *s = self;

	atr_console_finish(&s->console);
	atr_buf_free(&s->text);
	free(s);
}

const struct atr_form atr_form_stdout = {
	.component = "stdout_span_exporter",
	.bit = ATR_EXPORTER_STDOUT,
	.make = stdout_new,
	.start = stream_start,
	.free = stream_free,
	.shown = stream_shown,
};

const struct atr_form atr_form_console = {
	.component = "console_span_exporter",
	.bit = ATR_EXPORTER_CONSOLE,
	.make = console_new,
	.start = stream_start,
	.free = stream_free,
	.shown = stream_shown,
};
