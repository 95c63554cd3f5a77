/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_HTTP_URL_H
#define ATR_HOOKS_HTTP_URL_H

#include <stdbool.h>
#include <stddef.h>

#include "hooks/http1.h"
#include "preload/slice.h"

/*
 * Request targets and authorities (RFC 9112 3.2, RFC 3986), and URLs made of them
 * that hold no secrets.  Pure.
 */

static inline char atr_http_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* The same but for the case of ASCII letters? */
bool atr_http_same_word(struct atr_slice a, struct atr_slice b);

struct atr_http_authority {
	struct atr_slice host; /* without the brackets of an IPv6 address */
	int port;	       /* 0: not given */
};

/*
 * [user@]host[:port]; false when it is none, and then *ret is empty: no host, characters that
 * no host has, a port that is no number.
 */
bool atr_http_authority(struct atr_slice text, struct atr_http_authority *ret);

/* Could it be a scheme (RFC 3986 3.1)? */
bool atr_http_scheme(struct atr_slice s);

/* The port of http, https, ws or wss in lower case; 0 for any other. */
int atr_http_default_port(struct atr_slice scheme);

/* Parts of a request target.  What it does not have is empty, and p is NULL. */
struct atr_http_target {
	struct atr_slice scheme;    /* of the absolute form: "http://host/path" */
	struct atr_slice authority; /* of that and of CONNECT's "host:port" */
	struct atr_slice path;
	struct atr_slice query;	   /* without '?' */
	struct atr_slice fragment; /* without '#'; not to be sent, but some do */
};

struct atr_http_target atr_http_target(const struct atr_http_head *request);

/* Longest URL, path or query in an attribute, in bytes; longer ones are cut. */
#define ATR_HTTP_URL_MAX 2048

/* Text under construction.  What is too long is cut, the length stays the buffer's. */
struct atr_http_text {
	size_t len;
	char text[ATR_HTTP_URL_MAX + 4]; /* a few more, so that the cut finds the character's end */
};

void atr_http_put(struct atr_http_text *to, struct atr_slice s);
/* user:password@ becomes REDACTED:REDACTED@. */
void atr_http_put_authority(struct atr_http_text *to, struct atr_slice authority);
/* Values of sensitive parameters become REDACTED. */
void atr_http_put_query(struct atr_http_text *to, struct atr_slice query);

#endif
