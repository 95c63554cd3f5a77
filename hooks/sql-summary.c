/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The summary of an SQL text: its operations and their targets, in their order.
 *
 * A reader of tokens that knows some hundred words (sql.def), where in a statement
 * tables are named, and the nesting of parentheses.  It is no parser of SQL and
 * needs no valid text; what it does not know it passes over.  SELECT is an
 * operation wherever it stands, INSERT, UPDATE and the like only where a statement
 * begins (FOR UPDATE, ON CONFLICT DO UPDATE).
 *
 * A name that is bound to be different each time (a cursor, a savepoint, a prepared
 * statement) is no target: summaries name spans, and there must be few of them.
 */
#include "hooks/sql.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "hooks/sql-token.h"
#include "preload/utf8.h"

/* What a word does as the first of a statement, and elsewhere: see sql.def. */
enum first {
	NONE,
	QUERY,
	INSERT,
	UPDATE,
	DELETE,
	MERGE,
	WITH,
	NAME,
	NAMES,
	EXECUTE,
	DDL,
	GRANT,
	WRAPPER,
	ALONE,
};
enum elsewhere {
	OBJECT = 1 << 0,
	BODY = 1 << 1,
	NAMELESS = 1 << 2,
	ENDS = 1 << 3,
	/* Also what summary.expect says: which words may stand before the name. */
	IN_FROM = 1 << 4,
	IN_DML = 1 << 5,
	IN_NAME = 1 << 6,
	IN_INTO = 1 << 7,
	IN_CTE = 1 << 8, /* and the name is that of a common table expression */
	IN_GRANT = 1 << 9,
	IN_NOTHING = 1 << 10, /* no word has it: the next one is the name */
};

/* Keywords by number; FIRST_X is that of the first with X. */
enum {
#define LETTER(letter) FIRST_##letter, REWIND_##letter = FIRST_##letter - 1,
#define KEYWORD(word, first, elsewhere) KW_##word,
#include "hooks/sql.def"
	NO_KEYWORD,
	/* Not words, but what may stand before one. */
	START_OF_TEXT,
	OPEN,
	GLUE, /* . : @: the word behind it is a name */
};

static const struct keyword {
	char word[14];
	uint8_t len;
	uint8_t first;
	uint16_t elsewhere;
} keywords[NO_KEYWORD + 1] = {
#define KEYWORD(word, first, elsewhere) { #word, sizeof(#word) - 1, first, elsewhere },
#include "hooks/sql.def"
};

/* clang-format off */
/* By letter, A = 1: the first of its keywords, and a bit for each length they have. */
static const uint8_t letter_first[] = {
	0,
#define LETTER(letter) FIRST_##letter,
#include "hooks/sql.def"
	NO_KEYWORD,
};
static const uint16_t letter_lengths[32] = {
	0
#define LETTER(letter) , 0
#define KEYWORD(word, first, elsewhere) | 1 << (sizeof(#word) - 1)
#include "hooks/sql.def"
};
/* clang-format on */

/* The keyword that the n bytes at s are, or NO_KEYWORD; most words are none by their length. */
static unsigned keyword(const char *s, size_t n)
{
	unsigned letter = (uint8_t)s[0] & 0x1f;

	if (n > 15 || !(letter_lengths[letter] >> n & 1))
		return NO_KEYWORD;
	for (unsigned k = letter_first[letter]; k < letter_first[letter + 1]; k++)
		if (keywords[k].len == n && atr_sql_same_word(s, keywords[k].word, n))
			return k;
	return NO_KEYWORD;
}

/* What is open in one level of parentheses. */
enum {
	IN_TABLES = 1 << 0,	/* a list of tables: a comma brings the next */
	BEFORE_FROM = 1 << 1,	/* FROM begins such a list */
	BEFORE_USING = 1 << 2,	/* so does USING */
	IN_WITH = 1 << 3,	/* a comma brings the next name, a statement follows */
	BEFORE_SOURCE = 1 << 4, /* INSERT: a SELECT may follow, with WITH before it */
	MAY_BEGIN = 1 << 5,	/* a statement, if one is there at all */
	HAS_STATEMENT = 1 << 6,
};

struct level {
	uint8_t open;
	uint16_t expect; /* to be taken up again behind the parenthesis */
};

/* Deeper ones share the last level: a wrong target, never more. */
#define MAX_LEVELS 32
/* Further names of common table expressions are taken for tables. */
#define MAX_CTES 16

struct name {
	const char *s;
	size_t len;
};

struct summary {
	struct atr_sql_lexer lx;
	size_t at; /* where the next token begins */
	char *text;
	size_t len;
	unsigned prev;	 /* keyword number of the last token, or OPEN... */
	unsigned expect; /* IN_...: a target comes next; 0: none */
	unsigned ddl;	 /* keyword number: its object comes next; else NO_KEYWORD */
	bool start;	 /* a statement begins here */
	bool nested;	 /* ... or after words that are none of ours */
	bool ignore;	 /* nothing more to be had up to the next ; */
	bool grant;	 /* ... or ON */
	bool body;	 /* the next name is that of a routine, its statements follow */
	bool full;
	unsigned depth, n_ctes;
	struct level *levels;
	struct name *ctes;
};

static inline struct level *level(struct summary *su)
{
	return &su->levels[su->depth < MAX_LEVELS ? su->depth : MAX_LEVELS - 1];
}

/* Appends s, after a blank if it begins a word of the summary. */
static void append(struct summary *su, bool blank, const char *s, size_t n)
{
	blank = blank && su->len;
	if (su->full || n + blank > ATR_SQL_SUMMARY_MAX - su->len) {
		su->full = true;
		return;
	}
	if (blank)
		su->text[su->len++] = ' ';
	su->len += atr_utf8_copy(su->text + su->len, n, s, n);
}

/* Compares without quotes and without case, as far as ASCII goes. */
static bool is_cte(const struct summary *su, struct name name)
{
	for (unsigned i = 0; i < su->n_ctes; i++)
		if (su->ctes[i].len == name.len &&
		    atr_sql_same_word(su->ctes[i].s, name.s, name.len))
			return true;
	return false;
}

static struct name unquoted(const struct summary *su, size_t start, size_t end)
{
	const char *s = su->lx.sql;

	if (s[end - 1] == '"' || s[end - 1] == '`') {
		end--;
		while (s[start] != s[end])
			start++; /* U&" */
		start++;
	}
	return (struct name){ s + start, end - start };
}

/* The next token that is neither blank nor comment; false at the end of the text. */
static inline bool next(struct summary *su, size_t *start, enum atr_sql_kind *kind)
{
	size_t at = su->at;

	for (;;) {
		while (at < su->lx.len && su->lx.sql[at] == ' ')
			at++; /* most tokens are followed by one: spare them the call */
		*start = at;
		if (at == su->lx.len)
			break;
		at = atr_sql_token(&su->lx, at, kind);
		if (*kind > ATR_SQL_COMMENT)
			break;
	}
	su->at = at;
	return *start < su->lx.len;
}

/* Behind a name: is it qualified further?  Then the next part begins at su->at. */
static bool next_part(struct summary *su)
{
	size_t start, at = su->at, operand = su->lx.operand;
	enum atr_sql_kind kind;

	if (at < su->lx.len && memchr("),;(", su->lx.sql[at], 4))
		return false; /* as most often */
	if (next(su, &start, &kind) && kind == ATR_SQL_SIGN && su->lx.sql[start] == '.')
		return true;
	su->lx.operand = operand;
	su->at = at;
	return false;
}

/* A target, or the first part of one, lies from start to su->at. */
static void target(struct summary *su, size_t start)
{
	struct name first = unquoted(su, start, su->at);
	size_t len = su->len, end = su->at;
	bool cte = su->expect == IN_CTE, qualified = false;
	const char *sql = su->lx.sql;

	su->expect = 0;
	if (!cte)
		append(su, true, sql + start, end - start);
	while (next_part(su)) {
		enum atr_sql_kind kind;

		qualified = true;
		end = su->at;
		if (!next(su, &start, &kind) || (kind != ATR_SQL_WORD && kind != ATR_SQL_QUOTED)) {
			su->at = end;
			break;
		}
		append(su, false, ".", 1);
		append(su, false, sql + start, su->at - start);
	}
	if (cte) {
		if (su->n_ctes < MAX_CTES)
			su->ctes[su->n_ctes++] = first;
	} else if (su->full || (!qualified && su->n_ctes && is_cte(su, first))) {
		su->len = len;
	}
	if (su->body) {
		su->body = false;
		su->ignore = true;
		/* PostgreSQL's bodies are literals; others hold statements with ; */
		su->full = su->full || su->lx.dialect != ATR_SQL_POSTGRESQL;
	}
}

static void operation(struct summary *su, size_t start)
{
	append(su, true, su->lx.sql + start, su->at - start);
	su->start = false;
	su->expect = 0;
	level(su)->open = HAS_STATEMENT;
}

static void with(struct summary *su)
{
	level(su)->open |= IN_WITH;
	su->start = false;
	su->expect = IN_CTE;
}

/* The keyword k, the first of a statement. */
static void statement(struct summary *su, unsigned k, size_t start)
{
	enum first first = (enum first)keywords[k].first;
	struct level *l = level(su);

	if (first == WITH) {
		with(su);
		return;
	}
	if (first == NONE || (su->nested && first > MERGE)) {
		su->ignore = !su->nested;
		return;
	}
	operation(su, start);
	switch (first) {
	case QUERY:
		l->open |= BEFORE_FROM;
		break;
	case INSERT:
		l->open |= BEFORE_SOURCE;
		su->expect = IN_DML;
		break;
	case UPDATE:
		l->open |= IN_TABLES | BEFORE_FROM;
		su->expect = IN_DML;
		break;
	case DELETE:
		l->open |= BEFORE_FROM | BEFORE_USING;
		break;
	case MERGE:
		l->open |= BEFORE_USING;
		su->expect = IN_DML;
		break;
	case NAMES:
		l->open |= IN_TABLES;
		su->expect = IN_NAME;
		break;
	case NAME:
		su->expect = k == KW_SHOW ? IN_NOTHING : IN_NAME;
		break;
	case EXECUTE:
		if (su->lx.dialect == ATR_SQL_OTHER)
			su->expect = IN_NAME;
		break;
	case DDL:
		su->ddl = k;
		break;
	case GRANT:
		su->ignore = su->grant = true;
		break;
	case WRAPPER:
		su->start = su->nested = true;
		break;
	case NONE:
	case WITH:
	case ALONE:
		break;
	}
}

/* CREATE, ALTER, DROP...: the object is the first word that names a kind of one. */
static void object(struct summary *su, unsigned k, size_t start)
{
	if (!(keywords[k].elsewhere & OBJECT))
		return;
	append(su, true, su->lx.sql + start, su->at - start);
	if (!(keywords[k].elsewhere & NAMELESS))
		su->expect = IN_NAME;
	if (su->ddl == KW_DROP)
		level(su)->open |= IN_TABLES;
	su->body = su->ddl == KW_CREATE && keywords[k].elsewhere & BODY;
	su->ddl = NO_KEYWORD;
}

/* Where a target is expected: is k a word that may stand before it? */
static bool before_target(struct summary *su, unsigned k)
{
	if (su->prev == KW_OR && su->expect == IN_DML) /* INSERT OR REPLACE */
		return true;
	if (su->expect == IN_GRANT && keywords[k].elsewhere & OBJECT)
		return true;
	if (!(keywords[k].elsewhere & su->expect))
		return false;
	if (k == KW_INTO)
		su->expect = IN_FROM;
	return true;
}

/* Any other word, in the middle of a statement. */
static void clause(struct summary *su, unsigned k)
{
	struct level *l = level(su);

	switch (k) {
	case KW_FROM:
		if (su->prev == KW_DISTINCT) /* IS DISTINCT FROM */
			return;
		if (l->open & BEFORE_FROM) {
			l->open = (l->open & ~BEFORE_FROM) | IN_TABLES;
			su->expect = IN_FROM;
		} else {
			l->open &= ~IN_TABLES;
		}
		return;
	case KW_USING:
		if (l->open & BEFORE_USING) {
			l->open = (l->open & ~BEFORE_USING) | IN_TABLES;
			su->expect = IN_FROM;
		}
		return;
	case KW_STRAIGHT_JOIN:
		if (!(l->open & IN_TABLES)) /* SELECT STRAIGHT_JOIN ... FROM */
			return;
		/* fall through */
	case KW_JOIN:
		l->open &= ~BEFORE_USING;
		su->expect = IN_FROM;
		return;
	case KW_INTO: /* SELECT ... INTO: a new table, in MySQL variables */
		if (l->open & BEFORE_FROM && su->lx.dialect != ATR_SQL_MYSQL)
			su->expect = IN_INTO;
		l->open &= ~IN_TABLES;
		return;
	case KW_WITH:
		if (su->prev == OPEN || su->prev == KW_AS || l->open & BEFORE_SOURCE)
			with(su);
		return;
	default:
		if (keywords[k].elsewhere & ENDS)
			l->open &= ~IN_TABLES;
	}
}

static void word_in_summary(struct summary *su, size_t start, enum atr_sql_kind kind)
{
	unsigned k = NO_KEYWORD;

	if (kind == ATR_SQL_WORD && su->prev != GLUE)
		k = keyword(su->lx.sql + start, su->at - start);
	if (su->ignore) {
		if (su->grant && k == KW_ON) {
			su->ignore = su->grant = false;
			su->expect = IN_GRANT;
			level(su)->open |= IN_TABLES;
		}
	} else if (su->ddl != NO_KEYWORD) {
		object(su, k, start);
	} else if (su->start) {
		statement(su, k, start);
	} else if (k == KW_SELECT || (k == KW_VALUES && su->prev == OPEN)) {
		su->expect = 0;
		level(su)->open &= ~IN_TABLES;
		if (k == KW_SELECT)
			statement(su, k, start);
	} else if (k == KW_WITH && su->prev == OPEN) {
		with(su);
	} else if (su->expect) {
		if (!before_target(su, k))
			target(su, start);
	} else if (level(su)->open & IN_WITH && keywords[k].first >= QUERY &&
		   keywords[k].first <= MERGE) {
		statement(su, k, start);
	} else {
		clause(su, k);
	}
	su->prev = k;
}

static void open_level(struct summary *su)
{
	struct level inner = { 0 };

	if (su->expect == IN_FROM) /* FROM (a JOIN b): the list goes on */
		inner.open = IN_TABLES;
	else
		inner.expect = (uint16_t)su->expect;
	if (level(su)->open & IN_WITH ? su->prev == KW_AS || su->prev == KW_MATERIALIZED
				      : su->expect == IN_NAME) { /* COPY (INSERT ...) */
		inner.open |= MAY_BEGIN;
		su->start = su->nested = true;
	}
	if (inner.expect)
		su->expect = 0;
	su->depth++;
	*level(su) = inner;
	su->prev = OPEN;
}

static void close_level(struct summary *su)
{
	const struct level *inner = level(su);

	su->expect = inner->open & HAS_STATEMENT ? 0 : inner->expect;
	if (inner->open & MAY_BEGIN)
		su->start = su->nested = false;
	if (su->depth)
		su->depth--;
}

static void comma(struct summary *su)
{
	unsigned open = level(su)->open;

	su->expect = open & IN_WITH ? IN_CTE : open & IN_TABLES ? IN_FROM : 0;
}

static void end_statement(struct summary *su)
{
	su->depth = 0;
	*level(su) = (struct level){ 0 };
	su->start = true;
	su->nested = su->ignore = su->grant = su->body = false;
	su->expect = 0;
	su->ddl = NO_KEYWORD;
	su->n_ctes = 0;
}

static void sign_in_summary(struct summary *su, char c)
{
	if (c == '(') {
		open_level(su);
		return;
	}
	su->prev = NO_KEYWORD;
	switch (c) {
	case ')':
		close_level(su);
		return;
	case ',':
		comma(su);
		return;
	case ';':
		end_statement(su);
		return;
	case '.':
	case ':':
	case '@':
		su->prev = GLUE;
		/* fall through */
	default:
		su->expect = 0;
	}
}

/* Some databases take 'artists' for a name where a table is expected; PostgreSQL and MySQL do not.
 */
static void literal_in_summary(struct summary *su, size_t start)
{
	if (su->expect == IN_FROM && su->lx.dialect == ATR_SQL_OTHER && su->at - start > 1 &&
	    su->lx.sql[start] == '\'' && su->lx.sql[su->at - 1] == '\'')
		append(su, true, su->lx.sql + start, su->at - start);
	su->expect = 0;
	su->prev = NO_KEYWORD;
	if (su->start && !su->nested)
		su->ignore = true;
}

size_t atr_sql_summary(enum atr_sql_dialect dialect, const char *sql, size_t len,
		       char summary[static ATR_SQL_SUMMARY_MAX])
{
	struct level levels[MAX_LEVELS]; /* written as they are opened */
	struct name ctes[MAX_CTES];
	struct summary su = {
		.lx = atr_sql_lexer(dialect, sql, len),
		.text = summary,
		.prev = START_OF_TEXT,
		.levels = levels,
		.ctes = ctes,
	};
	size_t start;
	enum atr_sql_kind kind;

	end_statement(&su);
	while (!su.full && next(&su, &start, &kind)) {
		switch (kind) {
		case ATR_SQL_WORD:
		case ATR_SQL_QUOTED:
			word_in_summary(&su, start, kind);
			break;
		case ATR_SQL_LITERAL:
			literal_in_summary(&su, start);
			break;
		default:
			sign_in_summary(&su, sql[start]);
		}
	}
	return su.len;
}
