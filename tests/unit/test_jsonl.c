/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/otlp.o exporter/resource.o exporter/detect.o exporter/container.o */
/* LINK: exporter/list.o exporter/buf.o exporter/line.o exporter/otlp.pb-c.o */
/* LINK: exporter/console.o exporter/otlp-json.o exporter/otlp-read.o exporter/json.o */
/* LINK: preload/sys.o preload/utf8.o -lprotobuf-c -lm */
#include "exporter/jsonl.c"

#include "exporter/otlp-read.h"
#include "tests/unit/batch_of.h"
#include "tests/unit/test.h"

/* Reads all lines back: how many, the longest, and the sum of the spans' ids. */
static struct seen {
	size_t n_lines, longest, n_spans;
	uint64_t ids;
} seen;

static void read_lines(const char *text, size_t len)
{
	const ProtobufCMessageDescriptor *type =
		&atr__otlp__export_trace_service_request__descriptor;

	seen = (struct seen){ 0 };
	while (len) {
		const char *end = memchr(text, '\n', len);
		struct atr_buf wire = { 0 };
		Atr__Otlp__ExportTraceServiceRequest *r;
		uint64_t lost = 0;

		if (!CHECK(end != NULL))
			return;
		CHECK(atr_otlp_read(&wire, type, text, (size_t)(end - text), &lost, NULL) && !lost);
		r = atr__otlp__export_trace_service_request__unpack(NULL, wire.len, wire.bytes);
		if (CHECK(r && r->n_resource_spans == 1)) {
			const Atr__Otlp__ScopeSpans *s = r->resource_spans[0]->scope_spans[0];

			for (size_t i = 0; i < s->n_spans; i++)
				seen.ids += s->spans[i]->span_id.data[7] +
					    256u * s->spans[i]->span_id.data[6];
			seen.n_spans += s->n_spans;
		}
		atr__otlp__export_trace_service_request__free_unpacked(r, NULL);
		atr_buf_free(&wire);
		seen.n_lines++;
		if ((size_t)(end - text) > seen.longest)
			seen.longest = (size_t)(end - text);
		len -= (size_t)(end + 1 - text);
		text = end + 1;
	}
}

static size_t most = SIZE_MAX;

static size_t lines_of(struct atr_form_batch *b, size_t chunk)
{
	struct atr_jsonl j = { 0 };
	uint64_t lost = 0;

	CHECK(atr_jsonl(&j, b, chunk, most, &lost));
	CHECK_INT(lost, 0);
	read_lines((const char *)j.text.bytes, j.text.len);
	CHECK_INT(atr_jsonl_fit(&j, SIZE_MAX), j.text.len);
	CHECK_INT(atr_jsonl_wrote(&j, j.text.len, b), 0);
	CHECK_INT(atr_jsonl_done(&j), b->n_spans);
	CHECK_INT(*b->delivered + *b->refused, b->n_spans);
	atr_jsonl_free(&j);
	return (size_t)*b->refused;
}

TEST(a_batch_is_as_few_lines_as_the_chunk_allows_and_every_span_is_in_one)
{
	CHECK_INT(lines_of(batch_of(1, 100, 0), SIZE_MAX / 2), 0);
	CHECK_INT(seen.n_lines, 1);
	CHECK_INT(seen.n_spans, 100);
	CHECK_INT(seen.ids, 5050);
	CHECK_INT(lines_of(batch_of(1, 100, 0), 1), 0);
	CHECK_INT(seen.n_lines, 100);
	CHECK_INT(seen.ids, 5050);
	for (size_t chunk = 2; chunk < 3000; chunk += 37) {
		CHECK_INT(lines_of(batch_of(1, 30, 0), chunk), 0);
		CHECK_INT(seen.ids, 465);
	}
	CHECK_INT(lines_of(batch_of(1, 0, 0), 100), 0);
	CHECK_INT(seen.n_lines, 0);
	batch_of_free();
}

TEST(a_line_is_longer_than_it_may_be_only_by_a_single_span)
{
	most = 3000;
	CHECK_INT(lines_of(batch_of(1, 100, 0), SIZE_MAX / 2), 0);
	CHECK(seen.longest <= 3000 && seen.n_lines < 25);
	CHECK_INT(seen.ids, 5050);
	CHECK_INT(lines_of(batch_of(1, 7, 2000), SIZE_MAX / 2), 0);
	CHECK_INT(seen.n_lines, 7);
	CHECK_INT(seen.ids, 28);
	most = SIZE_MAX;
	batch_of_free();
}

TEST(whole_lines_are_done_with_wherever_it_is_cut)
{
	struct atr_jsonl j = { 0 };
	struct atr_form_batch *b;
	size_t len = 1, half, done = 0;
	uint64_t lost = 0;

	for (size_t n = 0; n <= len; n++) {
		b = batch_of(1, 3, 0);
		atr_jsonl_reset(&j);
		CHECK(atr_jsonl(&j, b, 1, SIZE_MAX, &lost));
		len = j.text.len;
		half = atr_jsonl_wrote(&j, n, b);
		done = atr_jsonl_done(&j);
		CHECK_INT(done, *b->delivered);
		CHECK_INT(half, n - j.at);
		CHECK(!j.at || j.text.bytes[j.at - 1] == '\n');
		if (!CHECK_INT(done, j.i) || !CHECK(atr_jsonl_fit(&j, 0) > half || n == len))
			break;
	}
	CHECK_INT(done, 3);
	atr_jsonl_free(&j);
	batch_of_free();
}

TEST(what_is_no_span_is_counted_and_the_others_are_written)
{
	struct atr_form_batch *b = batch_of(1, 3, 0);
	size_t first = atr_otlp_span_field(b->spans, b->len);
	uint8_t *second = (uint8_t *)(uintptr_t)b->spans + first;

	second[2] = 0x0f; /* a wire type there is not */
	CHECK_INT(lines_of(b, 1), 1);
	CHECK_INT(seen.n_spans, 2);
	CHECK_INT(seen.ids, 4);
	/* A length beyond the end. */
	b = batch_of(1, 3, 0);
	b->len -= 1;
	CHECK_INT(lines_of(b, 1), 1);
	CHECK_INT(seen.ids, 3);
	batch_of_free();
}

TEST(standard_output_gets_lines)
{
	struct stream *s;

	fake_init();
	s = stdout_new(&fake.host);
	CHECK_INT(stream_start(s, batch_of(1, 5, 300)), ATR_DELIVERY_DONE);
	CHECK_INT(batch_of_one.delivered, 5);
	read_lines(fake.stdout_text, fake.stdout_len);
	CHECK_INT(seen.n_lines, 5); /* what the program writes has its place in between */
	CHECK(seen.longest < 4096);
	fake.stdout_error = -EAGAIN;
	CHECK_INT(stream_start(s, batch_of(6, 5, 300)), ATR_DELIVERY_FAILED);
	CHECK_INT(batch_of_one.delivered, 0);
	CHECK_STR(stream_error(s), "nobody reads it");
	fake.stdout_error = -EBADF;
	CHECK_INT(stream_start(s, batch_of(6, 5, 300)), ATR_DELIVERY_FAILED);
	CHECK_STR(stream_error(s), "it is closed, or something else is there by now");
	fake.stdout_error = -EPIPE;
	CHECK_INT(stream_start(s, batch_of(6, 5, 300)), ATR_DELIVERY_FAILED);
	CHECK_STR(stream_error(s), "Broken pipe");
	fake.stdout_error = 0;
	fake.stdout_len = 0;
	CHECK_INT(stream_start(s, batch_of(6, 5, 300)), ATR_DELIVERY_DONE);
	read_lines(fake.stdout_text, fake.stdout_len); /* nothing was written before */
	CHECK_INT(seen.n_lines, 5);
	fake.stdout_len = 0;
	CHECK_INT(stream_start(s, batch_of(6, 1, 0)), ATR_DELIVERY_DONE);
	CHECK(fake.stdout_text[0] == '{');
	CHECK_STR(stream_shown(s), "standard output");
	stream_free(s);
	batch_of_free();
}

TEST(a_reader_that_pauses_has_no_line_twice)
{
	struct stream *s;

	for (size_t takes = 1; takes < 5000; takes += 211) {
		fake_init();
		s = stdout_new(&fake.host);
		fake.stdout_takes = takes;
		CHECK_INT(stream_start(s, batch_of(1, 5, 300)), ATR_DELIVERY_BUSY);
		CHECK_INT(stream_step(s, 0, ATR_HASTE_NONE), ATR_DELIVERY_BUSY);
		CHECK(stream_due(s) > fake_now());
		fake.stdout_error = 0;
		CHECK_INT(stream_step(s, 0, ATR_HASTE_NONE), ATR_DELIVERY_DONE);
		CHECK_INT(batch_of_one.delivered, 5);
		read_lines(fake.stdout_text, fake.stdout_len);
		CHECK_INT(seen.n_spans, 5);
		CHECK_INT(seen.ids, 15);
		stream_free(s);
	}
	/* At a flush it is given up: what is whole is done with, and the rest not. */
	fake_init();
	s = stdout_new(&fake.host);
	fake.stdout_takes = 5000;
	CHECK_INT(stream_start(s, batch_of(1, 5, 300)), ATR_DELIVERY_BUSY);
	CHECK_INT(stream_step(s, 0, ATR_HASTE_FLUSH), ATR_DELIVERY_FAILED);
	CHECK_INT(batch_of_one.delivered, 2);
	CHECK_INT(stream_done(s), 2);
	fake.stdout_error = 0;
	CHECK_INT(stream_start(s, batch_of(3, 3, 300)), ATR_DELIVERY_DONE);
	CHECK_INT(batch_of_one.delivered, 3);
	CHECK(fake.stdout_text[5000] == '\n'); /* half a line is ended first */
	stream_free(s);
	batch_of_free();
}

TEST(the_console_prints_trees_or_lines_as_it_is_told)
{
	struct stream *s;

	fake_init();
	s = console_new(&fake.host);
	CHECK_INT(stream_start(s, batch_of(1, 2, 0)), ATR_DELIVERY_DONE);
	CHECK(strncmp(fake.out, "trace 0700", 10) == 0);
	CHECK(strstr(fake.out, "  shop[4711]\n") != NULL);
	CHECK_STR(stream_shown(s), "standard error");
	stream_free(s);
	fake_init();
	fake.config.console = ATR_CONSOLE_JSON;
	s = console_new(&fake.host);
	CHECK_INT(stream_start(s, batch_of(1, 2, 0)), ATR_DELIVERY_DONE);
	read_lines(fake.out, strlen(fake.out));
	CHECK_INT(seen.n_spans, 2);
	CHECK_INT(fake.stdout_len, 0);
	stream_free(s);
	batch_of_free();
}
