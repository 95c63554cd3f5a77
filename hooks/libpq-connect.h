/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_LIBPQ_CONNECT_H
#define ATR_HOOKS_LIBPQ_CONNECT_H

#include "hooks/libpq.h"

/*
 * A connection being made, for statements or to cancel one: a CLIENT span, from the call
 * that begins it to the one that says how it ended.
 */

/* DECLARES `op`, which begins; the thread's context until the hook ends or is left. */
#define ATR_DIALLING(op)                                         \
	__attribute__((cleanup(atr_op_leave))) struct atr_op op; \
	atr_dial_begin(&op)

void atr_dial_begin(struct atr_op *op);

/* error.type of what failed: what the last socket said, when one did. */
const char *atr_dial_error(void);

/* It has ended; pg: for the attributes, or NULL.  error: NULL when it went well. */
void atr_dialled(struct atr_op *op, const char *what, const struct atr_pgconn *pg,
		 const char *error);

/* It goes on, driven by a ...Poll(): the op is kept there. */
void atr_dial_on(struct atr_op *op, const char *what, struct atr_pgconn *pg);

/* Around a ...Poll(); NULL when nothing is known of it. */
enum atr_dial { ATR_DIAL_GOES_ON, ATR_DIAL_DONE, ATR_DIAL_FAILED };

/* What the ...Poll() has returned. */
static inline enum atr_dial atr_dial_went(int ret)
{
	return ret == ATR_PG_POLLING_OK	      ? ATR_DIAL_DONE
	       : ret == ATR_PG_POLLING_FAILED ? ATR_DIAL_FAILED
					      : ATR_DIAL_GOES_ON;
}

struct atr_pgconn *atr_dial_step(const void *conn);

void atr_dial_stepped(struct atr_pgconn *pg, enum atr_dial ret);

/* The program has not waited for its end. */
void atr_dial_given_up(struct atr_pgconn *pg);

#endif
