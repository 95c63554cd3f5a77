/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_SQLCOMMENTER_H
#define ATR_HOOKS_SQLCOMMENTER_H

#include <stddef.h>

#include "hooks/sql.h"
#include "preload/context.h"
#include "preload/slice.h"

/*
 * A span's ids in a comment behind a statement, for the database's log to show: a blank,
 * then between comment signs traceparent='00-<trace>-<span>-01' and, where there is
 * one, ,tracestate='a%3Db', as the sqlcommenter specification has it.  Pure: no state, no
 * allocation, linear time, any bytes.
 */

/* A tracestate that is longer is left out (W3C Trace Context 3.3.1.5: at least this much). */
#define ATR_SQLCOMMENTER_STATE_MAX 512

/* Room for the comment with the blank before it. */
#define ATR_SQLCOMMENTER_MAX (128 + 3 * ATR_SQLCOMMENTER_STATE_MAX)

/*
 * Writes sql (len bytes), a blank and the comment to `to`, which has room for len +
 * ATR_SQLCOMMENTER_MAX; returns how many bytes that are, no terminating NUL.
 *
 * 0: the text is to be left alone.  It has a comment; or ends in the middle of a literal
 * or a name; or holds no statement that gets one (docs/design.md).  Of several statements the
 * text has one comment, at the end of all.
 */
size_t atr_sqlcommenter(enum atr_sql_dialect dialect, const char *sql, size_t len,
			const struct atr_context *context, struct atr_slice tracestate, char *to);

#endif
