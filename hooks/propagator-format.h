/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_PROPAGATOR_FORMAT_H
#define ATR_HOOKS_PROPAGATOR_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hooks/http1.h"
#include "hooks/propagator.h"
#include "preload/context.h"
#include "preload/slice.h"

/*
 * The formats in which a span's ids travel.  Pure: nothing here looks at the settings.
 * `propagator` is one of enum atr_propagator; baggage has no ids.
 */

static inline struct atr_slice atr_slice_part(struct atr_slice s, size_t from, size_t to)
{
	return (struct atr_slice){ s.p + from, to - from };
}

/*
 * Hex digits of either case into n bytes, left-padded.  False when there are none, too
 * many or other bytes, and when all of them are 0.
 */
bool atr_format_id(uint8_t *ret, size_t n, struct atr_slice digits);

enum atr_found {
	ATR_FOUND_NOTHING,
	ATR_FOUND_STATE, /* B3's sampling state alone: flags and debug */
	ATR_FOUND_IDS,	 /* a remote context that is valid */
};

/* *ret is written to only if something is found. */
enum atr_found atr_format_read(uint8_t propagator, const struct atr_http_head *head,
			       struct atr_context *ret);

/* Writes the format's lines to p if the head has none of them; returns their end. */
char *atr_format_put(char *p, uint8_t propagator, const struct atr_context *context,
		     const struct atr_http_head *head);

/* 32 digits; returns their end. */
char *atr_format_put_trace_id(char *p, const struct atr_context *context);

/* See atr_propagators_replace(). */
void atr_format_replace(uint8_t propagator, char *copy, const struct atr_http_head *head,
			const struct atr_context *from, const struct atr_context *to);

#endif
