/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_PGPREPARED_H
#define ATR_HOOKS_PGPREPARED_H

#include <stdbool.h>
#include <stdint.h>

#include "hooks/pgconn.h"

/*
 * What was prepared on a connection: texts by their names.  The memory is taken when there is
 * something to remember, from a pool of our own; when it is full the oldest are forgotten.
 */

/*
 * A text under its name; returns a handle for undoing that, should the statement fail, or 0.
 * Then that text fetched, empty when it is not known; and forgotten, with NULL all of them.
 */
uint32_t atr_pgprepared_remember(struct atr_pgconn *pg, const char *name,
				 const struct atr_pgtext *t);
void atr_pgprepared_undo(struct atr_pgconn *pg, uint32_t handle);
bool atr_pgprepared_recall(const struct atr_pgconn *pg, const char *name, struct atr_pgtext *t);
void atr_pgprepared_forget(struct atr_pgconn *pg, const char *name);

/* NULL is allowed. */
void atr_pgprepared_free(struct atr_pgprepared *of);

/*
 * Statements that have succeeded, or are expected to: PREPARE, DEALLOCATE and DISCARD do to
 * the prepared statements what the calls do.  Not certain: some of them may have
 * succeeded, so nothing is known any more of those that they name.  Returns what was remembered
 * last, as atr_pgprepared_remember() does.  Spoils pg->text.  (pgprepared-sql.c)
 */
bool atr_pgprepared_is_meant(const char *sql);
bool atr_pgprepared_has_several(const char *sql); /* perhaps: a literal may be taken for two */
uint32_t atr_pgprepared_by_sql(struct atr_pgconn *pg, enum atr_sql_dialect dialect, const char *sql,
			       bool certain);

#define ATR_PGPREPARED_NAME_MAX 1024 /* longer than any the server takes */

#endif
