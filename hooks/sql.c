/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQL text made safe.
 *
 * token() cuts the text into blanks, comments, words, quoted names, literals and
 * single signs, by the rules of the dialect.  The safe text is the input with
 * each literal replaced and each comment left out, copied in runs as long as
 * possible.  (The summary is made from the same tokens: sql-summary.c.)
 *
 * Where it is not clear what a piece of text is, it is a literal: what never ends
 * is one up to the end.  Every byte is looked at a bounded number of times.
 *
 * Left out: the server's settings that change the rules (PostgreSQL's
 * standard_conforming_strings = off, MySQL's ANSI_QUOTES and NO_BACKSLASH_ESCAPES),
 * what MySQL runs inside of comments, and [names in brackets], which cannot be
 * told from array subscripts.
 */
#include "hooks/sql.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "hooks/sql-token.h"
#include "preload/compiler.h"
#include "preload/utf8.h"

/* What a byte can begin.  From DOLLAR on: what a word can continue with. */
enum byte {
	SIGN,
	SPACE,
	CLOSE, /* what comes after it is no sign of a number: (a)-1 */
	PLUS_MINUS,
	DOT,
	COLON,
	SLASH,
	HASH,
	QUOTE,
	DOUBLE_QUOTE,
	BACKTICK,
	DOLLAR,
	DIGIT,
	LETTER,
};

static const uint8_t classes[256] = {
	['\t' ... '\r'] = SPACE, [' '] = SPACE,		 [')'] = CLOSE,
	[']'] = CLOSE,		 ['}'] = CLOSE,		 ['?'] = CLOSE,
	['+'] = PLUS_MINUS,	 ['-'] = PLUS_MINUS,	 ['.'] = DOT,
	[':'] = COLON,		 ['/'] = SLASH,		 ['#'] = HASH,
	['\''] = QUOTE,		 ['"'] = DOUBLE_QUOTE,	 ['`'] = BACKTICK,
	['$'] = DOLLAR,		 ['0' ... '9'] = DIGIT,	 ['A' ... 'Z'] = LETTER,
	['_'] = LETTER,		 ['a' ... 'z'] = LETTER, [0x80 ... 0xff] = LETTER,
};

/* The class of the byte at i; beyond the end, of none. */
static inline enum byte class_at(const struct atr_sql_lexer *lx, size_t i)
{
	return i < lx->len ? (enum byte)classes[(uint8_t)lx->sql[i]] : SIGN;
}

static inline bool is_at(const struct atr_sql_lexer *lx, size_t i, char c)
{
	return i < lx->len && lx->sql[i] == c;
}

static inline size_t word_end(const struct atr_sql_lexer *lx, size_t i)
{
	const char *sql = lx->sql;
	size_t len = lx->len;

	while (i < len && classes[(uint8_t)sql[i]] >= DOLLAR)
		i++;
	return i;
}

static size_t line_end(const struct atr_sql_lexer *lx, size_t i)
{
	while (i < lx->len && lx->sql[i] != '\n' &&
	       (lx->sql[i] != '\r' || lx->dialect != ATR_SQL_POSTGRESQL))
		i++;
	return i;
}

static size_t comment_end(const struct atr_sql_lexer *lx, size_t i)
{
	unsigned depth = 1;

	for (i += 2; i + 1 < lx->len; i++) {
		if (lx->sql[i] == '*' && lx->sql[i + 1] == '/') {
			i++;
			if (--depth == 0)
				return i + 1;
		} else if (lx->sql[i] == '/' && lx->sql[i + 1] == '*') {
			if (lx->dialect == ATR_SQL_POSTGRESQL) {
				i++;
				depth++;
			}
		}
	}
	return lx->len;
}

/* The end of what the quote at i opens, 0 if it has none. */
static size_t quoted_end(const struct atr_sql_lexer *lx, size_t i, bool backslash)
{
	const char *sql = lx->sql;
	char quote = sql[i++];

	for (; i < lx->len; i++) {
		if (!backslash) {
			const char *at = memchr(sql + i, quote, lx->len - i);

			if (!at)
				return 0;
			i = (size_t)(at - sql);
		}
		if (sql[i] == quote) {
			if (!is_at(lx, i + 1, quote))
				return i + 1;
			i++; /* a doubled quote stands for itself */
		} else if (backslash && sql[i] == '\\') {
			i++;
		}
	}
	return 0;
}

static size_t string_end(const struct atr_sql_lexer *lx, size_t i, bool backslash)
{
	size_t end = quoted_end(lx, i, backslash);

	return end ? end : lx->len;
}

/*
 * PostgreSQL goes on with a string after a line break, by the rules of the first
 * piece: E'a' -- comment \n 'b\'c'.  Where the next piece begins, 0 if there is none.
 */
static size_t next_piece(const struct atr_sql_lexer *lx, size_t i)
{
	bool newline = false;

	while (i < lx->len) {
		char c = lx->sql[i];

		if (c == '\n' || c == '\r')
			newline = true;
		else if (c == '\'' && newline)
			return i;
		else if (c == '-' && is_at(lx, i + 1, '-'))
			i = line_end(lx, i) - 1;
		else if (class_at(lx, i) != SPACE)
			return 0;
		i++;
	}
	return 0;
}

static size_t escape_string_end(const struct atr_sql_lexer *lx, size_t i)
{
	size_t end;

	do {
		end = string_end(lx, i, true);
		i = next_piece(lx, end);
	} while (i);
	return end;
}

/* $$...$$ or $tag$...$tag$ at i; 0 if there is no such literal. */
static size_t dollar_end(const struct atr_sql_lexer *lx, size_t i)
{
	size_t tag = i + 1, n;

	if (class_at(lx, tag) != DIGIT)
		while (class_at(lx, tag) > DOLLAR)
			tag++;
	if (!is_at(lx, tag, '$'))
		return 0;
	n = ++tag - i;
	/* A tag holds no $ between its ends, so that no byte is compared twice. */
	for (size_t at = tag; lx->len - at >= n; at++) {
		const char *found = memchr(lx->sql + at, '$', lx->len - at - n + 1);

		if (!found)
			break;
		at = (size_t)(found - lx->sql);
		if (memcmp(found, lx->sql + i, n) == 0)
			return at + n;
	}
	return lx->len;
}

/* Digits and all that clings to them: 12.34e-56, 0xDEAD, 1_000; better too much than too little. */
static size_t number_end(const struct atr_sql_lexer *lx, size_t i)
{
	bool hex = is_at(lx, i, '0') && (is_at(lx, i + 1, 'x') || is_at(lx, i + 1, 'X'));
	bool postgresql = lx->dialect == ATR_SQL_POSTGRESQL;

	for (;; i++) {
		enum byte c = class_at(lx, i);

		if (c > DOLLAR || c == DOT || (c == DOLLAR && !postgresql))
			continue;
		if ((lx->sql[i - 1] | 0x20) == 'e' && !hex) {
			if (c == PLUS_MINUS && class_at(lx, i + 1) == DIGIT)
				continue;
			if (c == QUOTE && postgresql) /* 1E'': a number, then a string */
				return escape_string_end(lx, i);
		}
		return i;
	}
}

/* A number can begin at i; a dot or a sign directly behind a name belongs to that. */
static bool number_at(const struct atr_sql_lexer *lx, size_t i)
{
	if (i == lx->operand && i)
		return false;
	if (class_at(lx, i) == PLUS_MINUS)
		i++;
	if (class_at(lx, i) == DOT)
		i++;
	return class_at(lx, i) == DIGIT;
}

/* The word from i to end is TRUE or FALSE, and not the name of something. */
static bool boolean_at(const struct atr_sql_lexer *lx, size_t i, size_t end)
{
	if (end - i == 4 ? !atr_sql_same_word(lx->sql + i, "TRUE", 4)
			 : !atr_sql_same_word(lx->sql + i, "FALSE", 5))
		return false;
	return !i || !memchr(".:@", lx->sql[i - 1], 3);
}

/* The single letter at i, directly before a quote or &: is it part of a literal?  Its end, or 0. */
static size_t prefixed_end(const struct atr_sql_lexer *lx, size_t i, enum atr_sql_kind *kind)
{
	size_t end;

	if (is_at(lx, i + 1, '\'')) {
		switch (lx->sql[i] | 0x20) {
		case 'e':
			if (lx->dialect == ATR_SQL_POSTGRESQL)
				return escape_string_end(lx, i + 1);
			return 0;
		case 'b':
		case 'n':
		case 'x':
			return string_end(lx, i + 1, lx->escapes);
		default:
			return 0;
		}
	}
	if ((lx->sql[i] | 0x20) != 'u' || lx->dialect == ATR_SQL_MYSQL)
		return 0;
	if (is_at(lx, i + 2, '\''))
		return string_end(lx, i + 2, false);
	if (!is_at(lx, i + 2, '"'))
		return 0;
	end = quoted_end(lx, i + 2, false);
	if (end)
		*kind = ATR_SQL_QUOTED;
	return end ? end : lx->len;
}

static inline size_t word(struct atr_sql_lexer *lx, size_t i, enum atr_sql_kind *kind)
{
	size_t end = word_end(lx, i + 1), n = end - i;

	if (n == 1 && (is_at(lx, end, '\'') || is_at(lx, end, '&'))) {
		size_t literal;

		*kind = ATR_SQL_LITERAL;
		literal = prefixed_end(lx, i, kind);
		if (literal)
			return literal;
	}
	*kind = n - 4 <= 1 && boolean_at(lx, i, end) ? ATR_SQL_LITERAL : ATR_SQL_WORD;
	lx->operand = end;
	return end;
}

/* A name in quotes; one that never ends is taken for a literal. */
static size_t quoted_name(struct atr_sql_lexer *lx, size_t i, enum atr_sql_kind *kind)
{
	size_t end = quoted_end(lx, i, false);

	*kind = end ? ATR_SQL_QUOTED : ATR_SQL_LITERAL;
	lx->operand = end;
	return end ? end : lx->len;
}

/* The $ at i: a literal, or the start of $1 or of a word. */
static size_t dollar(struct atr_sql_lexer *lx, size_t i, enum atr_sql_kind *kind)
{
	size_t end = lx->dialect == ATR_SQL_POSTGRESQL ? dollar_end(lx, i) : 0;

	if (end) {
		*kind = ATR_SQL_LITERAL;
		return end;
	}
	*kind = ATR_SQL_SIGN;
	end = i + 1;
	if (lx->dialect != ATR_SQL_POSTGRESQL)
		return lx->operand = word_end(lx, end);
	while (class_at(lx, end) == DIGIT)
		end++;
	return lx->operand = end;
}

/* :1 is a parameter where it cannot be the end of a slice. */
static size_t colon(struct atr_sql_lexer *lx, size_t i)
{
	size_t end = i + 1;

	if (is_at(lx, end, ':'))
		return end + 1;
	if (lx->dialect != ATR_SQL_POSTGRESQL &&
	    (!i || class_at(lx, i - 1) == SPACE || memchr("(,=<>", lx->sql[i - 1], 5))) {
		while (class_at(lx, end) == DIGIT)
			end++;
		if (end > i + 1)
			lx->operand = end;
	}
	return end;
}

/* MySQL takes -- for a comment only before a blank: 5--1 is 6. */
static bool line_comment_at(const struct atr_sql_lexer *lx, size_t i)
{
	if (!is_at(lx, i, '-') || !is_at(lx, i + 1, '-'))
		return false;
	return lx->dialect != ATR_SQL_MYSQL || i + 2 >= lx->len || (uint8_t)lx->sql[i + 2] <= ' ';
}

/* atr_sql_token().  Inlined by force: 1.4 -> 0.9 ns per byte of
 * text. */
static inline __attribute__((always_inline)) size_t token(struct atr_sql_lexer *lx, size_t i,
							  enum atr_sql_kind *kind)
{
	bool mysql = lx->dialect == ATR_SQL_MYSQL;

	*kind = ATR_SQL_SIGN;
	switch (class_at(lx, i)) {
	case SPACE:
		*kind = ATR_SQL_BLANK;
		do
			i++;
		while (class_at(lx, i) == SPACE);
		return i;
	case LETTER:
		return word(lx, i, kind);
	case DIGIT:
		*kind = ATR_SQL_LITERAL;
		return number_end(lx, i);
	case QUOTE:
		*kind = ATR_SQL_LITERAL;
		return string_end(lx, i, lx->escapes);
	case DOUBLE_QUOTE:
		if (!mysql)
			return quoted_name(lx, i, kind);
		*kind = ATR_SQL_LITERAL;
		return string_end(lx, i, true);
	case BACKTICK:
		if (lx->dialect == ATR_SQL_POSTGRESQL)
			break; /* an operator */
		return quoted_name(lx, i, kind);
	case DOLLAR:
		return dollar(lx, i, kind);
	case COLON:
		return colon(lx, i);
	case PLUS_MINUS:
		if (line_comment_at(lx, i)) {
			*kind = ATR_SQL_COMMENT;
			return line_end(lx, i);
		}
		/* fall through */
	case DOT:
		if (!number_at(lx, i))
			break;
		*kind = ATR_SQL_LITERAL;
		return number_end(lx, i + 1);
	case SLASH:
		if (!is_at(lx, i + 1, '*'))
			break;
		*kind = ATR_SQL_COMMENT;
		return comment_end(lx, i);
	case HASH:
		if (!mysql)
			break;
		*kind = ATR_SQL_COMMENT;
		return line_end(lx, i);
	case CLOSE:
		lx->operand = i + 1;
		break;
	case SIGN:
		break;
	}
	return i + 1;
}

size_t atr_sql_token(struct atr_sql_lexer *lx, size_t i, enum atr_sql_kind *ret_kind)
{
	return token(lx, i, ret_kind);
}

size_t atr_sql_sanitise(enum atr_sql_dialect dialect, const char *sql, size_t len, char *text,
			size_t text_size)
{
	struct atr_sql_lexer lx = atr_sql_lexer(dialect, sql, len);
	size_t from = 0, i = 0, out = 0;

	/* sql[from..i) is still to be copied; a copy is as long as what is copied, or cut. */
	while (i < len && i - from < text_size - out) {
		enum atr_sql_kind kind;
		size_t end = token(&lx, i, &kind);

		if (kind == ATR_SQL_LITERAL || kind == ATR_SQL_COMMENT) {
			out += atr_utf8_copy(text + out, text_size - out, sql + from, i - from);
			if (kind == ATR_SQL_LITERAL)
				text[out++] = '?';
			from = end;
		}
		i = end;
	}
	return out + atr_utf8_copy(text + out, text_size - out, sql + from, i - from);
}

bool atr_sql_has_parameter(enum atr_sql_dialect dialect, const char *sql, size_t len)
{
	struct atr_sql_lexer lx = atr_sql_lexer(dialect, sql, len);
	enum atr_sql_kind kind;

	for (size_t i = 0, end; i < len; i = end) {
		end = token(&lx, i, &kind);
		if (kind == ATR_SQL_SIGN && sql[i] == '$' && end > i + 1)
			return true;
	}
	return false;
}
