/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_FORWARDED_H
#define ATR_HOOKS_FORWARDED_H

#include "hooks/http-url.h"
#include "hooks/http1.h"
#include "preload/slice.h"

/*
 * What the proxies before us say about the request as the client made it: the first
 * entry of Forwarded (RFC 7239), else of its forerunners X-Forwarded-*.  What makes no
 * sense there counts as not said.  Pure.
 */

/* The client's address or name, without port and brackets; empty when not said. */
struct atr_slice atr_forwarded_for(const struct atr_http_head *request);

/* Longest scheme that counts as one. */
#define ATR_SCHEME_MAX 16

/* The scheme, in any case; empty when not said. */
struct atr_slice atr_forwarded_proto(const struct atr_http_head *request);

/* The host that was asked for; false when not said. */
bool atr_forwarded_host(const struct atr_http_head *request, struct atr_http_authority *ret);

#endif
