/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_SQL_TOKEN_H
#define ATR_HOOKS_SQL_TOKEN_H

#include <stdbool.h>
#include <stddef.h>

#include "hooks/sql.h"

/* SQL text cut into tokens, for the safe text and for the summary. */
enum atr_sql_kind {
	ATR_SQL_BLANK,
	ATR_SQL_COMMENT,
	ATR_SQL_WORD,
	ATR_SQL_QUOTED, /* a name in quotes */
	ATR_SQL_LITERAL,
	ATR_SQL_SIGN,
};

/* Made by atr_sql_lexer(). */
struct atr_sql_lexer {
	enum atr_sql_dialect dialect; /* never ATR_SQL_POSTGRESQL_ESCAPES: that is PostgreSQL and */
	bool escapes;		      /* a backslash in '...' takes the next character with it */
	const char *sql;
	size_t len;
	size_t operand; /* end of the last name, parameter or closing bracket */
};

static inline struct atr_sql_lexer atr_sql_lexer(enum atr_sql_dialect dialect, const char *sql,
						 size_t len)
{
	bool pg_escapes = dialect == ATR_SQL_POSTGRESQL_ESCAPES;

	return (struct atr_sql_lexer){
		.dialect = pg_escapes ? ATR_SQL_POSTGRESQL : dialect,
		.escapes = pg_escapes || dialect == ATR_SQL_MYSQL,
		.sql = sql,
		.len = len,
	};
}

/* The token at i < len, the end of the one before: its kind, and where it ends. */
size_t atr_sql_token(struct atr_sql_lexer *lx, size_t i, enum atr_sql_kind *ret_kind);

/* s, n letters, is `word`, in any case. */
static inline bool atr_sql_same_word(const char *s, const char *word, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((s[i] | 0x20) != (word[i] | 0x20))
			return false;
	return true;
}

#endif
