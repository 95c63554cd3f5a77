/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_AUTHORITY_H
#define ATR_PRELOAD_AUTHORITY_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The part of a URL that says whom to ask, "user:password@host:port", and what of the whole may
 * be shown: neither the user nor the query, which may hold a key.  Pure.
 */

/* Is there a host, and a port that is one if any, up to `end`?  Whoever is in front. */
bool atr_authority_valid(const char *s, const char *end);

struct atr_shown {
	size_t scheme;	  /* so many bytes of the URL, "https://" */
	size_t from, len; /* and these */
};

/*
 * Of what is no URL, a password with a slash in it for one, nothing is shown in front of the last
 * '@'.  What names a socket has a path there, and no user.
 */
struct atr_shown atr_authority_shown(const char *url);

#endif
