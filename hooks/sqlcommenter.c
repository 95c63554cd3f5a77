/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A trace comment behind a statement (google.github.io/sqlcommenter/spec).
 *
 * The specification puts it behind all there is, a semicolon too.  So whatever the server
 * says about a position in the text stays true, and pg_stat_statements does not take what
 * follows a semicolon for a part of the statement.
 *
 * Whether it stands where a comment is one is not worked out beforehand: the lexer reads the
 * finished text and has to come upon it, as the only one.  And should the lexer ever be
 * wrong, nothing happens: there are no backslashes, dollars, double quotes, double hyphens or line
 * breaks in our text, its single quotes and its comment signs come in pairs, and a blank is in
 * front. A server that is inside a literal, a name or a comment before it is so behind it.
 *
 * A statement gets one if its first word is in the list below.  Not in there:
 *  - PREPARE: the text outlives the span (pg_prepared_statements, the log of each EXECUTE);
 *  - what is said about the session and the transaction, and steps of a cursor: no work of
 *    their own to be found in a log, but often and always alike, and pg_stat_statements
 *    before 16 would keep each text as a statement of its own;
 *  - what is not for the SQL parser, which alone knows comments: the replication
 *    protocol (IDENTIFY_SYSTEM, BASE_BACKUP, SHOW...) and the consoles of poolers
 *    (SHOW, SET, PAUSE, RELOAD...).
 */
#include "hooks/sqlcommenter.h"

#include <stdbool.h>
#include <string.h>

#include "hooks/sql-token.h"
#include "preload/compiler.h"
#include "preload/traceparent.h"

static bool is_listed(const char *word, size_t len)
{
	static const char list[][9] = {
		"SELECT",   "INSERT",  "UPDATE",   "DELETE",  "WITH",	 "MERGE",   "VALUES",
		"TABLE",    "EXECUTE", "CALL",	   "DO",      "COPY",	 "EXPLAIN", "DECLARE",
		"CREATE",   "ALTER",   "DROP",	   "COMMENT", "GRANT",	 "REVOKE",  "REASSIGN",
		"SECURITY", "IMPORT",  "TRUNCATE", "LOCK",    "ANALYZE", "ANALYSE", "VACUUM",
		"CLUSTER",  "REINDEX", "REFRESH",
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(list); i++)
		if (strlen(list[i]) == len && atr_sql_same_word(word, list[i], len))
			return true;
	return false;
}

/*
 * E'a' -- comment (and in the next line) 'b' is one literal with a comment in it.  One with --
 * between its quotes is taken for such: nothing is lost but a comment of ours.
 */
static bool may_hold_comment(const char *literal, size_t len)
{
	return *literal != '\'' && *literal != '$' && memmem(literal, len, "--", 2);
}

/* Is the text, as the lexer reads it, a statement of the list and the one comment at `at`? */
static bool is_well(enum atr_sql_dialect dialect, const char *sql, size_t at, size_t len)
{
	struct atr_sql_lexer lx = atr_sql_lexer(dialect, sql, len);
	bool begins = true, listed = false;

	for (size_t i = 0, end; i < len; i = end) {
		enum atr_sql_kind kind;

		end = atr_sql_token(&lx, i, &kind);
		if (kind == ATR_SQL_COMMENT)
			return listed && i == at && end == len;
		if (kind == ATR_SQL_LITERAL && may_hold_comment(sql + i, end - i))
			return false;
		if (kind == ATR_SQL_SIGN && sql[i] == ';') {
			begins = true;
		} else if (kind != ATR_SQL_BLANK && !(begins && sql[i] == '(')) {
			listed |= begins && kind == ATR_SQL_WORD && is_listed(sql + i, end - i);
			begins = false;
		}
	}
	return false;
}

static char *put_text(char *p, const char *text)
{
	size_t len = strlen(text);

	memcpy(p, text, len);
	return p + len;
}

/* RFC 3986, 2.3: these stand for themselves in every part of a URL. */
static bool is_unreserved(char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '-' ||
	       c == '.' || c == '_' || c == '~';
}

static char *put_encoded(char *p, struct atr_slice value)
{
	static const char digits[] = "0123456789ABCDEF";

	for (size_t i = 0; i < value.len; i++) {
		unsigned char c = (unsigned char)value.p[i];

		/* Two hyphens would be a comment to a server that were in a literal before ours. */
		if (is_unreserved(value.p[i]) && !(i && value.p[i] == '-' && p[-1] == '-')) {
			*p++ = value.p[i];
			continue;
		}
		*p++ = '%';
		*p++ = digits[c >> 4];
		*p++ = digits[c & 15];
	}
	return p;
}

size_t atr_sqlcommenter(enum atr_sql_dialect dialect, const char *sql, size_t len,
			const struct atr_context *context, struct atr_slice tracestate, char *to)
{
	char *p = to + len;

	memcpy(to, sql, len);
	p = put_text(p, " /*traceparent='");
	atr_traceparent_write(p, context);
	p += ATR_TRACEPARENT_LEN;
	p = put_text(p, "'");
	if (tracestate.len && tracestate.len <= ATR_SQLCOMMENTER_STATE_MAX) {
		p = put_text(p, ",tracestate='");
		p = put_encoded(p, tracestate);
		p = put_text(p, "'");
	}
	p = put_text(p, "*/");
	return is_well(dialect, to, len + 1, (size_t)(p - to)) ? (size_t)(p - to) : 0;
}
