/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_LIST_H
#define ATR_EXPORTER_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * Lists in the environment: "key=value,key=value", percent-encoded.  Pure.
 */
struct atr_list_item {
	const char *key, *value; /* not NUL-terminated, blanks around them trimmed, still encoded */
	size_t key_len, value_len;
	bool has_value; /* there was a '=' */
};

/* The next item that is not blank, and *list behind it; false at the end. */
bool atr_list_next(const char **list, struct atr_list_item *item);

/*
 * Decodes %XX; dst needs len bytes.  Returns the decoded length, or -EINVAL for
 * a bad sequence or an encoded NUL.
 */
ssize_t atr_list_decode(char *dst, const char *s, size_t len);

#endif
