/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_JSON_H
#define ATR_EXPORTER_JSON_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Reading JSON (RFC 8259) from front to back, for small answers of which the most is of
 * no interest.  What is malformed makes everything that follows fail, which is looked at once, at
 * the end.  Pure.
 *
 *	if (atr_json_object(&j))
 *		while (atr_json_key(&j, key, sizeof(key)))
 *			if (strcmp(key, "wanted") == 0)
 *				atr_json_number(&j, &wanted);
 *			else
 *				atr_json_skip(&j);
 */
struct atr_json {
	const char *p, *end;
	bool bad;
	bool first; /* no member or element of this object or array was seen yet */
};

void atr_json_init(struct atr_json *j, const char *text, size_t len);

/* Into an object, an array; false: the value is something else (and is skipped). */
bool atr_json_object(struct atr_json *j);
bool atr_json_array(struct atr_json *j);

/* The next member's key, cut to size; the next element.  False behind the last one, or when bad. */
bool atr_json_key(struct atr_json *j, char *key, size_t size);
bool atr_json_element(struct atr_json *j);

/* A number, a string (UTF-8, with a NUL, *ret_len bytes; false also where it does not fit). */
bool atr_json_number(struct atr_json *j, double *ret);
bool atr_json_string(struct atr_json *j, char *ret, size_t size, size_t *ret_len);

/* Whatever it is. */
void atr_json_skip(struct atr_json *j);

/* Nothing was malformed, and nothing follows. */
bool atr_json_end(struct atr_json *j);

#endif
