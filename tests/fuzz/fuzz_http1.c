/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one side of a connection sends: a response when it begins with "HTTP", else a
 * request.  Read whole, in pieces, and in pieces with the data going by unseen: all must find
 * the same.  The sizes of the pieces and what the responses answer come from the bytes.
 */
#include "hooks/http1-body.c"
#include "hooks/http1.c"

#include <stdlib.h>

#include "tests/unit/http1_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond)               \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

static void lies_in(struct atr_slice s, const char *p, size_t n)
{
	MUST(!s.p || (s.p >= p && s.len <= n && s.p + s.len <= p + n));
}

static void reader_head(const struct atr_http_head *head, const char *p, size_t n)
{
	struct atr_slice rest = head->fields, name, value;
	unsigned known_ones = 0, counted = 0;

	lies_in(head->method, p, n);
	lies_in(head->target, p, n);
	lies_in(head->fields, p, n);
	MUST(rest.p + rest.len == p + n);
	for (unsigned i = 0; i < ATR_HTTP_N_FIELDS; i++) {
		lies_in(head->value[i], p, n);
		MUST(!head->value[i].p == !head->count[i]);
		counted += head->count[i];
	}
	while (atr_http_next_field(&rest, &name, &value)) {
		enum atr_http_field k = known(name);

		lies_in(name, p, n);
		lies_in(value, p, n);
		MUST(name.len);
		if (k < ATR_HTTP_N_FIELDS && head->count[k] < UINT8_MAX)
			known_ones++;
	}
	MUST(rest.len == 0); /* all of them are good, or it would have been refused */
	for (unsigned i = 0; i < ATR_HTTP_N_FIELDS; i++)
		known_ones += head->count[i] == UINT8_MAX ? UINT8_MAX : 0;
	MUST(known_ones == counted);
	MUST(head->length <= INT64_MAX);
}

static uint32_t noise;

static uint32_t next_noise(void)
{
	noise ^= noise << 13;
	noise ^= noise >> 17;
	noise ^= noise << 5;
	return noise;
}

/* Mostly GET, for the i-th response the same in every run over the input. */
static char asked(const void *arg, unsigned i)
{
	return "GGGGGHGC"[(*(const uint32_t *)arg >> i % 16) % 8];
}

static void pieces(struct reader *r, const char *p, size_t n, uint32_t seed)
{
	noise = seed | 1;
	for (size_t at = 0; at < n;) {
		uint32_t v = next_noise();
		size_t step_n = v & 7 ? 1 + (v >> 3) % 9 : 1 + (v >> 3) % 700;
		char *copy;

		at = n - at < step_n ? n : at + step_n;
		/* Exactly as large, for the sanitizer to see the byte beyond. */
		copy = malloc(at);
		MUST(copy);
		memcpy(copy, p, at);
		reader_feed(r, copy, at);
		free(copy);
	}
}

static void same_found(const struct reader *a, const struct reader *b)
{
	MUST(a->n == b->n);
	MUST(a->refused == b->refused);
	MUST(a->in_body == b->in_body);
	MUST(a->over == b->over);
	MUST(a->refused || a->at == b->at);
	for (unsigned i = 0; i < a->n; i++) {
		const struct message *m = &a->messages[i], *w = &b->messages[i];

		MUST(m->at == w->at && m->head == w->head && m->status == w->status);
		MUST(m->minor == w->minor && m->close == w->close && m->upgrade == w->upgrade);
		MUST(m->framing == w->framing && m->method == w->method && m->target == w->target);
		MUST(m->hash == w->hash && m->done == w->done);
		MUST(m->wire == w->wire || (a->refused && i == a->n - 1));
	}
}

/* An answer stays what it is when more comes. */
static void sniff(int (*sniffs)(const char *p, size_t n), const char *p, size_t n)
{
	int before = 0;

	for (size_t i = 0; i <= n && i < 300; i++) {
		int is = sniffs(p, i);

		MUST(before == 0 || is == before);
		before = is;
	}
}

/* What is found in one go, and looking again from `scan`. */
static void head_ends(const char *p, size_t n)
{
	size_t scan = 0, empty = 0, end = 0;

	for (size_t i = 0; i <= n && i < 600; i++) {
		size_t fresh = 0, empty2 = 0, end2 = 0;
		bool is = atr_http_head_end(p, i, &scan, &empty, &end);

		MUST(is == atr_http_head_end(p, i, &fresh, &empty2, &end2));
		MUST(!is || (empty == empty2 && end == end2 && empty < i && end <= i));
		if (is && end)
			break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct reader whole, cut, skipping;
	const char *p = (const char *)data;
	uint32_t seed = (uint32_t)size * 2654435761u;

	for (size_t i = 0; i < size && i < 64; i++)
		seed = (seed ^ data[size - 1 - i]) * 16777619u;
	whole = (struct reader){ .asked = asked, .arg = &seed };
	whole.responses = size >= 4 && memcmp(p, "HTTP", 4) == 0;
	skipping = cut = whole;
	skipping.skips = true;
	reader_feed(&whole, p, size);
	pieces(&cut, p, size, seed);
	pieces(&skipping, p, size, seed * 3);
	same_found(&whole, &cut);
	same_found(&whole, &skipping);
	sniff(atr_http_sniff, p, size);
	sniff(atr_http_sniff_response, p, size);
	head_ends(p, size);
	return 0;
}
