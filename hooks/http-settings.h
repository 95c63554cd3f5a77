/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_HTTP_SETTINGS_H
#define ATR_HOOKS_HTTP_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "hooks/http-attrs.h"
#include "preload/slice.h"

/*
 * The lists among the settings of HTTP, once atr_http_attrs_init() has read them
 * out of atr_config.  Lookups are pure, from any thread.
 */

/* Items of one list; further ones are reported and left out. */
#define ATR_HTTP_LIST_MAX 64

struct atr_http_list {
	size_t n;
	struct atr_slice items[ATR_HTTP_LIST_MAX]; /* of atr_config's strings, none empty */
};

/* Longest method and route, so that both fit into the span's name. */
#define ATR_HTTP_METHOD_MAX 24
#define ATR_HTTP_ROUTE_MAX (ATR_HTTP_NAME_MAX - ATR_HTTP_METHOD_MAX - 1)

/* Longest name of a header to be captured. */
#define ATR_HTTP_HEADER_MAX 64

bool atr_http_known_method(struct atr_slice method);

/* Is `key` a query parameter whose value is not to be shown? */
bool atr_http_sensitive(struct atr_slice key);

/* The route that the path is on, as it is configured; empty when there is none. */
struct atr_slice atr_http_route(struct atr_slice path);

/* Names of the headers to be captured, in any case; the first of two that are the same counts. */
const struct atr_http_list *atr_http_captured(enum atr_kind kind, bool response);

#endif
