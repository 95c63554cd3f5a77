/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_RESOLVE_H
#define ATR_PRELOAD_RESOLVE_H

struct atr_addresses;

/*
 * Looks a host up, in the background thread's own descriptor table: libcurl
 * would do it on a thread of its own.  (What getaddrinfo() opens for seconds while
 * a name server does not answer must not be in the program's table.)
 *
 * `url` may be without a scheme: "host:port".  `port` is the one it has if it names
 * none; NULL: that of its scheme.
 */
void atr_resolve(const char *url, const char *port, struct atr_addresses *ret);

#endif
