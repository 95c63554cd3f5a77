/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The encoder on a leash, for tests/abi/test_encoder.py: lines on standard input
 * say what spans are like, what comes out is the requests that hold them.  One
 * word of a line is a letter, a number or bytes in hex ("-": none at all).
 *
 *	R key value	a resource attribute, a string; I key number: an int
 *	L attributes characters
 *			the limits
 *	S kind start end flags remote trace span parent local-root state
 *			a span begins ...
 *	s attr value	... has this string (u: known to be UTF-8), attr counted as
 *			in attr.def
 *	i attr number	... and int
 *	a key value...	... and array of strings
 *	E name error message
 *			... and ends: "kept" or "dropped" is said
 *	B bytes		a span of somebody else's, as it is on the wire
 *	Q		the request: "protobuf LENGTH", the bytes, "json LENGTH",
 *			the bytes
 */
/* LINK: exporter/limits.o exporter/otlp.o exporter/resource.o exporter/detect.o */
/* LINK: exporter/container.o exporter/list.o exporter/buf.o */
#include "preload/op.c"

#include <stdio.h>
#include <stdlib.h>

#include "exporter/limits.h"
#include "exporter/otlp.h"
#if __has_include("exporter/otlp-json.h")
#include "exporter/otlp-json.h"
#endif
/* Both the shim and the exporter have an atr_attr, of different kinds. */
#define atr_attr atr_resource_attr
#include "exporter/resource.h"
#undef atr_attr
#include "preload/text.h"
#include "tests/unit/fake_op.h"

#define WORDS_MAX 256

static char *words[WORDS_MAX];
static size_t n_words;

static void need(bool good, const char *what)
{
	if (!good) {
		fprintf(stderr, "encode: %s: %s\n", words[0], what);
		exit(1);
	}
}

/* The word's bytes, in memory of just that size. */
static struct atr_slice bytes_of(size_t i)
{
	struct atr_slice s = { NULL, 0 };
	uint8_t *to;

	need(i < n_words, "a word is missing");
	if (strcmp(words[i], "-") == 0)
		return s;
	s.len = strlen(words[i]) / 2;
	to = malloc(s.len);
	need(to || !s.len, "memory");
	need(atr_from_hex(to, words[i], s.len) == 0, "no hex");
	s.p = (const char *)to;
	return s;
}

/* The same; what is empty is somewhere, too. */
static struct atr_slice text_of(size_t i)
{
	struct atr_slice s = bytes_of(i);

	if (!s.p)
		s.p = malloc(1);
	return s;
}

static void id_of(uint8_t *to, size_t i, size_t len)
{
	struct atr_slice s = bytes_of(i);

	need(s.len == len, "an id of that length");
	memcpy(to, s.p, len);
	free((void *)s.p);
}

static long long number_of(size_t i)
{
	need(i < n_words, "a word is missing");
	return strtoll(words[i], NULL, 0);
}

static char *string_of(size_t i)
{
	struct atr_slice s = bytes_of(i);
	char *text = strndup(s.p ? s.p : "", s.len);

	free((void *)s.p);
	need(text != NULL, "memory");
	return text;
}

static struct atr_resource resource;
static struct atr_limits limits;
static struct atr_buf spans;
static struct atr_op op;

static void begin_span(void)
{
	struct atr_slice parent = bytes_of(8), state = bytes_of(10);

	memset(&op, 0, sizeof(op));
	op.kind = (uint8_t)number_of(1);
	op.start = (uint64_t)number_of(2);
	op.end = (uint64_t)number_of(3);
	op.context.flags = (uint8_t)number_of(4);
	op.parent_remote = number_of(5) != 0;
	id_of(op.context.trace_id, 6, 16);
	id_of(op.context.span_id, 7, 8);
	id_of(op.context.local_root, 9, 8);
	op.has_parent = parent.len == 8;
	if (op.has_parent)
		memcpy(op.parent_id, parent.p, 8);
	if (state.len) {
		op.context.carrier = atr_carrier_new(state, (struct atr_slice){ "", 0 });
		need(op.context.carrier != NULL, "no carrier");
		op.context.carrier_gen = op.context.carrier->gen;
	}
	op.context.valid = op.recording = true;
	op.thread_id = 77;
	free((void *)parent.p);
	free((void *)state.p);
}

/*
 * Attributes are put aside until the span ends, for its name is known then only; they
 * are what a connection keeps of its constant ones, too.
 */
static uint8_t aside[65536];
static struct atr_pb attrs = { .p = aside, .end = aside + sizeof(aside) };

static void attribute(void)
{
	struct atr_slice values[WORDS_MAX], key;
	enum atr_attr attr = (enum atr_attr)number_of(1);

	need(*words[0] == 'a' || attr < ATR_N_ATTRS, "no such attribute");
	if (*words[0] == 'i') {
		atr_attr_int(&attrs, attr, number_of(2));
		return;
	}
	for (size_t i = 0; i + 2 < n_words; i++)
		values[i] = text_of(i + 2);
	if (*words[0] == 'a') {
		key = bytes_of(1);
		atr_attr_strs(&attrs, key, values, n_words - 2);
		free((void *)key.p);
	} else if (*words[0] == 's') {
		atr_attr_str(&attrs, attr, values[0].p, values[0].len);
	} else {
		atr_attr_utf8(&attrs, attr, values[0].p, values[0].len);
	}
	for (size_t i = 0; i + 2 < n_words; i++)
		free((void *)values[i].p);
}

static void add_span(const uint8_t *span, size_t len)
{
	const uint8_t *as_it_may_be = atr_limits_apply(&limits, span, &len);

	need(as_it_may_be != NULL, "memory");
	atr_otlp_add_span(&spans, as_it_may_be, len);
}

static void end_span(void)
{
	struct atr_slice name = text_of(1), error = bytes_of(2), message = bytes_of(3);
	struct atr_span span;

	committed = NULL;
	need(!attrs.overflow, "too many attributes for this driver");
	need(atr_op_end(&op, &span, name.p, name.len), "it does not end");
	atr_pb_raw(&span.pb, aside, (size_t)(attrs.p - aside));
	if (error.p)
		atr_span_error(&span, error.p, error.len);
	if (message.p)
		atr_span_explain(&span, message.p, message.len);
	atr_span_commit(&span);
	if (committed)
		add_span(committed->span, committed->span_len);
	puts(committed ? "kept" : "dropped");
	atr_carrier_release(op.context.carrier);
	attrs.p = aside;
	free((void *)name.p);
	free((void *)error.p);
	free((void *)message.p);
}

static void say(const char *what, const struct atr_buf *buf)
{
	need(!buf->failed, "memory");
	printf("%s %zu\n", what, buf->len);
	(void)fwrite(buf->bytes, 1, buf->len, stdout);
	(void)fflush(stdout);
}

static void request(void)
{
	struct atr_buf text = { 0 };
	struct atr_otlp_head head;

	need(!resource.failed && atr_otlp_head_init(&head, &resource) == 0, "memory");
	atr_otlp_request(&text, &head, spans.bytes, spans.len);
	say("protobuf", &text);
	atr_buf_reset(&text);
#ifdef ATR_EXPORTER_OTLP_JSON_H
	need(atr_otlp_json(&text, &head, spans.bytes, spans.len), "no JSON is made of it");
#endif
	say("json", &text);
	atr_buf_free(&text);
	atr_otlp_head_finish(&head);
	atr_resource_finish(&resource);
	atr_buf_reset(&spans);
}

static void resource_attribute(void)
{
	char *key = string_of(1);
	struct atr_slice value = { NULL, 0 };

	if (*words[0] == 'I') {
		atr_resource_set_int(&resource, key, number_of(2));
	} else {
		value = text_of(2);
		atr_resource_set(&resource, key, value.p, value.len);
	}
	free(key);
	free((void *)value.p);
}

static void raw(void)
{
	struct atr_slice span = bytes_of(1);

	add_span((const uint8_t *)span.p, span.len);
	free((void *)span.p);
}

static void line(void)
{
	const struct atr_config config = {
		.span_attribute_count = *words[0] == 'L' ? (unsigned)number_of(1) : 0,
		.span_attribute_length = *words[0] == 'L' ? (unsigned)number_of(2) : 0,
	};

	switch (*words[0]) {
	case 'R':
	case 'I':
		resource_attribute();
		break;
	case 'L':
		atr_limits_finish(&limits);
		atr_limits_init(&limits, &config);
		break;
	case 'S':
		begin_span();
		break;
	case 's':
	case 'u':
	case 'i':
	case 'a':
		attribute();
		break;
	case 'E':
		end_span();
		break;
	case 'B':
		raw();
		break;
	case 'Q':
		request();
		break;
	default:
		need(false, "what is that?");
	}
}

int main(void)
{
	char *text = NULL;
	size_t size = 0;

	atr_config.stacktrace = ATR_STACKTRACE_OFF;
	while (getline(&text, &size, stdin) > 0) {
		char *save = NULL;

		n_words = 0;
		for (char *w = strtok_r(text, " \n", &save); w && n_words < WORDS_MAX;
		     w = strtok_r(NULL, " \n", &save))
			words[n_words++] = w;
		if (n_words)
			line();
	}
	free(text);
	atr_limits_finish(&limits);
	atr_buf_free(&spans);
	return 0;
}
