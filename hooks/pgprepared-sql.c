/* SPDX-License-Identifier: Apache-2.0 */
/* PREPARE, DEALLOCATE and DISCARD, wherever they stand in a text. */
#include "hooks/pgprepared.h"
#include "hooks/sql-token.h"

#include <string.h>

#define NAME_ROOM (ATR_PGPREPARED_NAME_MAX + 1)

static bool is_word(struct atr_slice s, const char *word)
{
	return s.len == strlen(word) && atr_sql_same_word(s.p, word, s.len);
}

/* The next token that is no blank and no comment; an empty one at the end. */
static struct atr_slice next(struct atr_sql_lexer *lx, size_t *i, enum atr_sql_kind *kind)
{
	*kind = ATR_SQL_BLANK;
	while (*i < lx->len) {
		size_t end = atr_sql_token(lx, *i, kind);
		struct atr_slice s = { lx->sql + *i, end - *i };

		*i = end;
		if (*kind != ATR_SQL_BLANK && *kind != ATR_SQL_COMMENT)
			return s;
	}
	return (struct atr_slice){ lx->sql + lx->len, 0 };
}

/* A name as the server keeps it: in lower case, or as it stands between quotes. */
static const char *name_of(struct atr_slice s, enum atr_sql_kind kind, char to[static NAME_ROOM])
{
	size_t n = 0;

	if (kind == ATR_SQL_QUOTED) {
		for (size_t i = 1; i + 1 < s.len && n < ATR_PGPREPARED_NAME_MAX; i++) {
			to[n++] = s.p[i];
			i += s.p[i] == '"'; /* doubled */
		}
	} else {
		for (; n < s.len && n < ATR_PGPREPARED_NAME_MAX; n++)
			to[n] = s.p[n] >= 'A' && s.p[n] <= 'Z' ? (char)(s.p[n] | 0x20) : s.p[n];
	}
	to[n] = '\0';
	return to;
}

bool atr_pgprepared_has_several(const char *sql)
{
	const char *at = strchr(sql, ';');

	return at && at[1 + strspn(at + 1, "; \n\t\r")];
}

bool atr_pgprepared_is_meant(const char *sql)
{
	if (!sql)
		return false;
	while (*sql == ' ' || *sql == '\n' || *sql == '\t' || *sql == '\r')
		sql++;
	if (*sql == '/' || *sql == '-')
		return true; /* behind a comment: perhaps */
	return ((*sql | 0x20) == 'p' && (sql[1] | 0x20) == 'r') ||
	       ((*sql | 0x20) == 'd' && ((sql[1] | 0x20) == 'e' || (sql[1] | 0x20) == 'i')) ||
	       atr_pgprepared_has_several(sql);
}

/* A text with what it says about prepared statements. */
struct reading {
	struct atr_pgconn *pg;
	struct atr_sql_lexer lx;
	enum atr_sql_dialect dialect;
	size_t i;
	bool certain;
	uint32_t handle; /* what was remembered last */
};

static bool is_sign(struct atr_slice s, enum atr_sql_kind kind, char sign)
{
	return kind == ATR_SQL_SIGN && s.len == 1 && *s.p == sign;
}

/* Like next(); the semicolon is not taken, and an empty one comes instead. */
static struct atr_slice next_in(struct reading *r, enum atr_sql_kind *kind)
{
	size_t at = r->i;
	struct atr_slice s = next(&r->lx, &r->i, kind);

	if (is_sign(s, *kind, ';')) {
		r->i = at;
		s.len = 0;
		*kind = ATR_SQL_BLANK;
	}
	return s;
}

/* Its semicolon, or where the text ends; what comes next is the next statement's. */
static const char *end_of_statement(struct reading *r)
{
	enum atr_sql_kind kind;
	unsigned depth = 0;

	for (;;) {
		struct atr_slice s = next(&r->lx, &r->i, &kind);

		if (!s.len || (is_sign(s, kind, ';') && !depth))
			return s.p;
		depth += is_sign(s, kind, '(');
		depth -= is_sign(s, kind, ')') && depth;
	}
}

/* Behind PREPARE name: the types of its parameters, AS, and the statement. */
static void prepare(struct reading *r, const char *name)
{
	enum atr_sql_kind kind;
	unsigned depth = 0;
	struct atr_slice s;

	if (!r->certain) {
		atr_pgprepared_forget(r->pg, name);
		return;
	}
	while ((s = next_in(r, &kind)).len) {
		depth += is_sign(s, kind, '(');
		depth -= is_sign(s, kind, ')') && depth;
		if (depth || kind != ATR_SQL_WORD || !is_word(s, "as"))
			continue;
		s = next_in(r, &kind);
		s.len = (size_t)(end_of_statement(r) - s.p);
		r->i = (size_t)(s.p + s.len - r->lx.sql);
		atr_pgconn_text_n(&r->pg->text, r->dialect, s.p, s.len, true);
		r->handle = atr_pgprepared_remember(r->pg, name, &r->pg->text);
		return;
	}
}

static void read_statement(struct reading *r)
{
	enum atr_sql_kind kind;
	struct atr_slice verb = next_in(r, &kind), object = next_in(r, &kind);
	char name[NAME_ROOM];

	if (is_word(verb, "discard")) {
		if (is_word(object, "all"))
			atr_pgprepared_forget(r->pg, NULL);
	} else if (is_word(verb, "deallocate")) {
		if (is_word(object, "prepare"))
			object = next_in(r, &kind);
		if (kind == ATR_SQL_WORD && is_word(object, "all"))
			atr_pgprepared_forget(r->pg, NULL);
		else
			atr_pgprepared_forget(r->pg, name_of(object, kind, name));
	} else if (is_word(verb, "prepare") && !is_word(object, "transaction")) {
		prepare(r, name_of(object, kind, name));
	}
	(void)end_of_statement(r);
}

uint32_t atr_pgprepared_by_sql(struct atr_pgconn *pg, enum atr_sql_dialect dialect, const char *sql,
			       bool certain)
{
	struct reading r = {
		.pg = pg,
		.lx = atr_sql_lexer(dialect, sql, strlen(sql)),
		.dialect = dialect,
		.certain = certain,
	};

	while (r.i < r.lx.len)
		read_statement(&r);
	return r.handle;
}
