/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_HTTP_ATTRS_H
#define ATR_HOOKS_HTTP_ATTRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hooks/http1.h"
#include "preload/attr.h"
#include "preload/op.h"
#include "preload/slice.h"

/*
 * Semantic conventions 1.44 for HTTP spans (stable): what a request and a response
 * become as attributes, names and status.  Reads the settings once, in
 * atr_http_attrs_init(); after that pure, from any thread, allocates nothing.
 *
 * An attribute that does not fit any more into pb is left out whole and pb stays
 * usable (pb->overflow is never set by these).
 */

/* Known methods, routes, captured headers and sensitive query parameters, out of atr_config. */
void atr_http_attrs_init(void (*warn)(const char *line));

/* The other end, for what the head does not say. */
struct atr_http_peer {
	struct atr_slice address; /* text of the peer's IP address or socket path; may be empty */
	int port;		  /* 0: none */
	bool tls;		  /* the connection is encrypted: the scheme is https */
};

#define ATR_HTTP_NAME_MAX 192

/*
 * Attributes of a request that is known when the span starts, and the span's name
 * ("GET", "GET /users/{id}", "HTTP") into `name`, whose length is returned.  kind is
 * ATR_KIND_CLIENT or ATR_KIND_SERVER.  network.peer.* are not written here.
 */
size_t atr_http_request_attrs(struct atr_pb *pb, const struct atr_http_head *request,
			      enum atr_kind kind, const struct atr_http_peer *peer,
			      char name[static ATR_HTTP_NAME_MAX]);

/* The name alone, for those who need it before there is a span. */
size_t atr_http_span_name(const struct atr_http_head *request, enum atr_kind kind,
			  char name[static ATR_HTTP_NAME_MAX]);

/* http.response.status_code and captured response headers. */
void atr_http_response_attrs(struct atr_pb *pb, const struct atr_http_head *response,
			     enum atr_kind kind);

/*
 * error.type of a span that ended with this status: "404", "500"... in buf, or NULL where
 * the status is no error for this kind.
 */
const char *atr_http_status_error(unsigned status, enum atr_kind kind, char buf[static 8]);

/*
 * Host (without port and brackets) that a request goes to: of an absolute or authority target,
 * else Host.  Empty when neither names one.
 */
struct atr_slice atr_http_host(const struct atr_http_head *request);

/*
 * Is this host (as in Host, without a port) one that our headers may be sent to?
 * AUTOTRACE_PROPAGATE_TO and AUTOTRACE_PROPAGATE_EXCEPT: lists of `host` and `*.suffix`, compared
 * without case; `*` is every host; the deny list wins.  An empty host is in no list but `*`.
 */
bool atr_http_propagate_to(struct atr_slice host);

/* Does that depend on the host at all? */
bool atr_http_propagate_limited(void);

/* Is this a request that is no span (AUTOTRACE_IGNORE), served or sent? */
bool atr_http_ignored(const struct atr_http_head *request);

#endif
