/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first byte chooses the rules for backslashes, the second how much of what follows is
 * the tracestate; the rest is SQL.  What comes out is what went in and a comment; and a scanner
 * that shares nothing with ours, written after "Lexical Structure" in PostgreSQL's
 * manual, finds the comment there, no other, and nothing left open.
 */
#include "hooks/sql.c"
#include "hooks/sqlcommenter.c"
#include "preload/text.c"
#include "preload/traceparent.c"
#include "preload/utf8.c"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct found {
	bool open;     /* something has no end */
	bool rejected; /* every server refuses it, wherever it ends */
	unsigned n;    /* comments */
	size_t from, to;
};

struct text {
	const char *p;
	size_t len;
};

static int at(struct text t, size_t i)
{
	return i < t.len ? (unsigned char)t.p[i] : -1;
}

static bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static bool starts_name(int c)
{
	return c >= 128 || c == '_' || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

static bool in_name(int c)
{
	return starts_name(c) || c == '$' || is_digit(c);
}

static size_t block(struct text t, size_t i, struct found *f)
{
	size_t depth = 0, from = i;

	do {
		if (at(t, i) == '/' && at(t, i + 1) == '*') {
			depth++;
			i += 2;
		} else if (at(t, i) == '*' && at(t, i + 1) == '/') {
			depth--;
			i += 2;
		} else {
			i++;
		}
	} while (depth && i < t.len);
	f->open |= depth > 0;
	f->n++;
	f->from = from;
	f->to = i;
	return i;
}

static size_t line(struct text t, size_t i, struct found *f)
{
	f->n++;
	f->from = i;
	while (at(t, i) >= 0 && at(t, i) != '\n' && at(t, i) != '\r')
		i++;
	f->to = i;
	return i;
}

static bool is_blank(int c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Behind a string that ended at i: the quote that goes on with it, or 0. */
static size_t goes_on(struct text t, size_t i, struct found *f)
{
	struct found between = { .n = 0 };
	bool newline = false;

	for (;; i++) {
		int c = at(t, i);

		newline |= c == '\n' || c == '\r';
		if (c == '-' && at(t, i + 1) == '-')
			i = line(t, i, &between) - 1;
		else if (!is_blank(c))
			break;
	}
	if (at(t, i) != '\'' || !newline)
		return 0;
	f->n += between.n;
	return i;
}

static size_t quoted(struct text t, size_t i, bool backslash, struct found *f)
{
	int quote = at(t, i);

	for (i++; i < t.len; i++) {
		if (backslash && at(t, i) == '\\') {
			i++;
		} else if (at(t, i) == quote) {
			size_t more;

			if (at(t, i + 1) == quote) {
				i++;
				continue;
			}
			more = quote == '\'' ? goes_on(t, i + 1, f) : 0;
			if (!more)
				return i + 1;
			i = more;
		}
	}
	f->open = true;
	return t.len;
}

/* B'01' and X'0F': anything else in them is refused. */
static size_t bits(struct text t, size_t i, struct found *f)
{
	size_t end = quoted(t, i, false, f);

	f->rejected |= memchr(t.p + i, '\\', end - i) != NULL;
	return end;
}

static size_t dollar_or_parameter(struct text t, size_t i, struct found *f)
{
	size_t end = i + 1, n;

	if (is_digit(at(t, end))) {
		while (is_digit(at(t, end)))
			end++;
		return end;
	}
	while (in_name(at(t, end)) && at(t, end) != '$')
		end++;
	if (at(t, end) != '$')
		return i + 1;
	n = end + 1 - i;
	for (size_t j = end + 1; j + n <= t.len; j++)
		if (memcmp(t.p + j, t.p + i, n) == 0)
			return j + n;
	f->open = true;
	return t.len;
}

/* What clings to it is refused since 15; two dots are, by the grammar. */
static size_t number(struct text t, size_t i, struct found *f)
{
	size_t from;

	while (is_digit(at(t, i)))
		i++;
	i += at(t, i) == '.';
	while (is_digit(at(t, i)))
		i++;
	from = i;
	if ((at(t, i) | 32) == 'e') {
		i += 1 + (at(t, i + 1) == '+' || at(t, i + 1) == '-');
		if (!is_digit(at(t, i)))
			i = from;
		while (is_digit(at(t, i)))
			i++;
	}
	f->rejected |= starts_name(at(t, i)) || at(t, i) == '.';
	return i;
}

static struct found scan(struct text t, bool old_rules)
{
	struct found f = { .n = 0 };

	for (size_t i = 0; i < t.len;) {
		int c = at(t, i), next = at(t, i + 1);

		if (c == '-' && next == '-') {
			i = line(t, i, &f);
		} else if (c == '/' && next == '*') {
			i = block(t, i, &f);
		} else if (c == '\'') {
			i = quoted(t, i, old_rules, &f);
		} else if (c == '"') {
			i = quoted(t, i, false, &f);
		} else if (c == '$') {
			i = dollar_or_parameter(t, i, &f);
		} else if (is_digit(c) || (c == '.' && is_digit(next))) {
			i = number(t, i, &f);
		} else if (starts_name(c)) {
			size_t from = i;

			while (in_name(at(t, i)))
				i++;
			if (i - from == 1 && at(t, i) == '\'' && (c | 32) == 'e')
				i = quoted(t, i, true, &f);
			else if (i - from == 1 && at(t, i) == '\'' && strchr("bBxX", c))
				i = bits(t, i, &f);
			else if (i - from == 1 && (c | 32) == 'u' && at(t, i) == '&' &&
				 (at(t, i + 1) == '\'' || at(t, i + 1) == '"'))
				i = quoted(t, i + 1, false, &f);
		} else {
			i++;
		}
	}
	return f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct atr_context context = { .flags = ATR_FLAG_SAMPLED, .valid = true };
	enum atr_sql_dialect dialect;
	struct atr_slice state;
	struct found f;
	char *sql, *text;
	size_t n;

	if (size < 2)
		return 0;
	dialect = data[0] % 2 ? ATR_SQL_POSTGRESQL_ESCAPES : ATR_SQL_POSTGRESQL;
	state.p = (const char *)data + 2;
	state.len = data[1] < size - 2 ? data[1] : size - 2;
	size -= 2 + state.len;
	sql = malloc(size + !size);
	memcpy(sql, state.p + state.len, size);
	text = malloc(size + ATR_SQLCOMMENTER_MAX);

	n = atr_sqlcommenter(dialect, sql, size, &context, state, text);
	if (n) {
		if (n < size + 70 || n > size + ATR_SQLCOMMENTER_MAX ||
		    memcmp(text, sql, size) != 0 || text[size] != ' ')
			abort();
		f = scan((struct text){ text, n }, data[0] % 2);
		if (!f.rejected && (f.open || f.n != 1 || f.from != size + 1 || f.to != n))
			abort();
		/* Of what the server does refuse, nothing either is cut off, or let through. */
		if (scan((struct text){ sql, size }, data[0] % 2).open != f.open)
			abort();
	}
	free(sql);
	free(text);
	return 0;
}
