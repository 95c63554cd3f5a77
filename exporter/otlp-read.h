/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_OTLP_READ_H
#define ATR_EXPORTER_OTLP_READ_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exporter/buf.h"

/*
 * OTLP's protobuf form from OTLP/JSON: what otlp-json.c writes, and what others write by
 * the same rules.  Pure; the text may be anybody's.
 *
 * Appends the message that the text is.  *lost is increased for every member that is no
 * field of it, or none of its kind; *wrong, unless NULL, for those among them that should be a
 * text (ids and names are) and are none.  False: it is no JSON object, or nested too deeply; out is
 * as it was, but perhaps `failed` for want of memory.
 */
bool atr_otlp_read(struct atr_buf *out, const ProtobufCMessageDescriptor *type, const char *text,
		   size_t len, uint64_t *lost, uint64_t *wrong);

#endif
