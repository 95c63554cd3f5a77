/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one side of a PostgreSQL connection sends: a client's first bytes, its messages, or a
 * server's answers, by the first byte of the input.  Read whole, in pieces, and in pieces with
 * what nobody wants going by unseen: all must find the same messages.
 */
#include "hooks/pg3.c"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond)               \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

struct found {
	size_t n;
	uint64_t sum;
	bool refused;
};

static char keep_room[ATR_PG3_ASK_MAX];

static char *room(void)
{
	return keep_room;
}

static void add(struct found *f, const void *p, size_t n)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < n; i++)
		f->sum = (f->sum ^ b[i]) * 1099511628211u;
}

/* What it says lies within it. */
static void look(struct atr_pg3 *r, struct found *f, const struct atr_pg3_message *m)
{
	const char *end = m->body.len ? m->body.p + m->body.len : m->body.p;
	struct atr_slice rest = m->body, s;
	struct atr_pg3_start start;
	char state[6];
	uint64_t rows;

	MUST(m->body.len <= m->len);
	f->n++;
	add(f, &m->type, 1);
	add(f, &m->len, sizeof(m->len));
	add(f, m->body.p, m->body.len);
	while (atr_pg3_string(&rest, &s))
		MUST(s.p >= m->body.p && s.p + s.len < end && rest.p + rest.len == end);
	if (atr_pg3_sqlstate(m->body, state))
		MUST(strlen(state) == 5);
	(void)atr_pg3_is_warning(m->body);
	(void)atr_pg3_tag(m->body, &rows);
	if (!m->type && !r->answers) {
		enum atr_pg3_first is = atr_pg3_first(m->body, &start);

		if (is == ATR_PG3_START) {
			MUST(start.user.p >= m->body.p && start.user.p + start.user.len < end);
			r->untyped = false;
		}
	}
}

/* Exactly as large as it is, for the sanitizer to see the byte beyond. */
static void piece(struct atr_pg3 *r, struct found *f, const uint8_t *data, size_t n)
{
	char *copy = malloc(n ? n : 1);
	const char *p = copy;

	MUST(copy);
	memcpy(copy, data, n);
	while (n && !f->refused) {
		struct atr_pg3_message m;
		ssize_t used = atr_pg3_next(r, p, n, &m);

		f->refused = used < 0;
		if (used < 0)
			break;
		MUST(used > 0 && (size_t)used <= n);
		MUST(r->kept <= r->want && r->want <= ATR_PG3_ASK_MAX && r->left <= r->len);
		MUST(!r->answers || r->want <= ATR_PG3_ANSWER_MAX);
		if (m.whole)
			look(r, f, &m);
		p += used;
		n -= (size_t)used;
	}
	free(copy);
}

static struct found read_all(uint8_t which, const uint8_t *data, size_t size, uint32_t noise,
			     bool skips)
{
	struct atr_pg3 r = { .answers = which % 3 == 0, .untyped = which % 3 == 1, .room = room };
	struct found f = { .n = 0 };

	for (size_t at = 0; at < size && !f.refused;) {
		size_t n = noise ? 1 + noise % 7 : size, skip = atr_pg3_skippable(&r);

		n = n < size - at ? n : size - at;
		if (skips && skip) {
			n = skip < size - at ? skip : size - at;
			atr_pg3_skip(&r, (uint32_t)n);
		} else {
			piece(&r, &f, data + at, n);
		}
		at += n;
		noise = noise ? noise * 1664525u + 1013904223u | 1 : 0;
	}
	return f;
}

static void same(struct found a, struct found b)
{
	MUST(a.n == b.n && a.sum == b.sum && a.refused == b.refused);
}

/* An answer stays what it is when more comes. */
static void sniff(const char *p, size_t n)
{
	int before = 0;

	for (size_t i = 0; i <= n && i < 32; i++) {
		int is = atr_pg3_sniff(p, i);

		MUST(before == 0 || is == before);
		before = is;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct found whole;
	uint32_t noise = (uint32_t)size * 2654435761u | 1;

	if (!size)
		return 0;
	whole = read_all(*data, data + 1, size - 1, 0, false);
	same(whole, read_all(*data, data + 1, size - 1, noise, false));
	same(whole, read_all(*data, data + 1, size - 1, noise ^ 0x5a5a5a, true));
	sniff((const char *)data + 1, size - 1);
	return 0;
}
