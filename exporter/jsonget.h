/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_JSONGET_H
#define ATR_EXPORTER_JSONGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * One value out of a JSON text: what a collector says in an answer.  Pure.
 *
 * The text is not checked as a whole: what cannot be followed up to the value gives
 * nothing.
 */
struct atr_jsonget {
	const char *at; /* the value's text, a string with its quotes */
	size_t len;
};

/* The member `key` of the object in *in; false when there is none. */
bool atr_jsonget(struct atr_jsonget *ret, const struct atr_jsonget *in, const char *key);

/* A whole number, plain or in quotes (as 64-bit ones are); 0 for anything else. */
uint64_t atr_jsonget_number(const struct atr_jsonget *value);

/* A string as UTF-8, cut to size - 1 bytes and NUL-terminated; "" for anything else. */
void atr_jsonget_text(char *dst, size_t size, const struct atr_jsonget *value);

#endif
