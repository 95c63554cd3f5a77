/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_TRACEPARENT_H
#define ATR_PRELOAD_TRACEPARENT_H

#include "preload/context.h"
#include "preload/slice.h"

/*
 * Reads a traceparent (W3C Trace Context Level 2, section 3.2) into a remote context
 * without a carrier; false when it is none.  White space around it is allowed.
 */
bool atr_traceparent_parse(struct atr_context *context, struct atr_slice traceparent);

/* The other way round: version 00, lower case, no NUL. */
#define ATR_TRACEPARENT_LEN 55
void atr_traceparent_write(char buf[static ATR_TRACEPARENT_LEN], const struct atr_context *context);

#endif
