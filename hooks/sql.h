/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_SQL_H
#define ATR_HOOKS_SQL_H

#include <stdbool.h>
#include <stddef.h>

/*
 * SQL text made safe and short.  Pure: no state, no allocation, linear time, any
 * bytes in, valid UTF-8 out.  (Semantic conventions 1.44, "Sanitization of
 * db.query.text" and "Generating a summary of the query".)
 */

enum atr_sql_dialect {
	ATR_SQL_OTHER,	    /* the common ground: '...' literals, "..." and `...` identifiers */
	ATR_SQL_POSTGRESQL, /* and E'', U&'', B'', X'', $tag$, nested comments, ::casts, $1 */
	ATR_SQL_POSTGRESQL_ESCAPES, /* the same with standard_conforming_strings = off */
	ATR_SQL_MYSQL,		    /* and backslash escapes, "..." literals, # comments */
};

/* Longest summary in bytes (semantic conventions: 255 characters). */
#define ATR_SQL_SUMMARY_MAX 255

/*
 * Writes `sql` (len bytes) to `text` with every literal replaced by `?` and
 * comments removed, cut at a character boundary to text_size bytes, and returns
 * how many bytes were written; no terminating NUL.
 */
size_t atr_sql_sanitise(enum atr_sql_dialect dialect, const char *sql, size_t len, char *text,
			size_t text_size);

/*
 * Writes the summary, "{operation} {target} {operation} {target} ...", cut
 * between words to ATR_SQL_SUMMARY_MAX bytes; returns its length, 0 when the
 * text begins with nothing that could be an operation.
 */
size_t atr_sql_summary(enum atr_sql_dialect dialect, const char *sql, size_t len,
		       char summary[static ATR_SQL_SUMMARY_MAX]);

/*
 * Does the text take numbered parameters, $1?  (In a literal there is none.)
 */
bool atr_sql_has_parameter(enum atr_sql_dialect dialect, const char *sql, size_t len);

#endif
