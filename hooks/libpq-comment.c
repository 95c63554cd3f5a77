/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AUTOTRACE_SQLCOMMENTER: what libpq is given is a copy with the span's ids behind it.
 *
 * libpq has read the text when its call returns; so there is one buffer for a connection,
 * taken for its first statement and given back at its end.
 */
#include <string.h>

#include "hooks/buffer.h"
#include "hooks/libpq.h"
#include "hooks/propagator.h"
#include "hooks/sqlcommenter.h"
#include "preload/carrier.h"
#include "preload/config.h"
#include "preload/stats.h"

static size_t add_comment(const struct atr_context *context, enum atr_sql_dialect dialect,
			  const char *sql, size_t len, char *to)
{
	struct atr_slice state = { NULL, 0 };
	bool held = context->carrier && atr_carrier_hold(context->carrier, context->carrier_gen);
	size_t n;

	if (held)
		state = atr_carrier_tracestate(context->carrier);
	n = atr_sqlcommenter(dialect, sql, len, context, state, to);
	if (held)
		atr_carrier_release(context->carrier);
	return n;
}

const char *atr_libpq_comment(struct atr_pgconn *pg, const struct atr_op *op,
			      enum atr_sql_dialect dialect, const char *sql)
{
	size_t len, n;

	if (!atr_config.sqlcommenter || !op->context.valid || !atr_propagators.mask)
		return sql;
	len = strlen(sql);
	if (len >= ATR_BUFFER_SIZE - ATR_SQLCOMMENTER_MAX) {
		atr_count(not_commented, 1);
		return sql;
	}
	if (!pg->commented)
		pg->commented = atr_buffer_take();
	if (!pg->commented)
		return sql;
	n = add_comment(&op->context, dialect, sql, len, pg->commented);
	if (!n)
		return sql;
	pg->commented[n] = '\0';
	return pg->commented;
}
