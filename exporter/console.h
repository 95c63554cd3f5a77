/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_CONSOLE_H
#define ATR_EXPORTER_CONSOLE_H

#include <stddef.h>
#include <stdint.h>

#include "exporter/buf.h"

struct atr_resource;

/*
 * Spans for people: one tree per trace, children below their parents in the order
 * they started.
 *
 *	trace 0af7651916cd43dd8448eb211c80319c  shop[4711]
 *	└─ SERVER GET  12.3 ms  10.0.0.7:51044
 *	   ├─ CLIENT SELECT orders  1.20 ms  db:5432  db.query.text="SELECT ..."
 *	   └─ CLIENT GET  9.41 ms  stock:80  error.type="503"  ERROR
 */
struct atr_console {
	struct atr_buf who;  /* "shop[4711]" */
	struct atr_buf text; /* of the last batch */
};

/* Whose spans come next; may be called again. */
void atr_console_init(struct atr_console *c, const struct atr_resource *r);
void atr_console_finish(struct atr_console *c);

/* The text of a batch of ScopeSpans fields, good until the next call; NULL without memory. */
const struct atr_buf *atr_console_batch(struct atr_console *c, const uint8_t *spans, size_t len);

#endif
