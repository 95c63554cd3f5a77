/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_LINE_H
#define ATR_EXPORTER_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exporter/buf.h"
#include "exporter/otlp.pb-c.h"

/*
 * One span as one line of text.  Pure.  Names and values come from the network:
 * they are escaped, and cut.
 */

/* Kind, name, duration, peer, attributes, status; of a root also a parent that is elsewhere. */
void atr_line_span(struct atr_buf *out, const Atr__Otlp__Span *span, bool root);

void atr_line_hex(struct atr_buf *out, const uint8_t *bytes, size_t len);

#endif
