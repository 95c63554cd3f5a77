/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_RESOLVE_H
#define ATR_PRELOAD_RESOLVE_H

/*
 * Looks the collector up, in the background thread's own descriptor table: libcurl
 * would do it on a thread of its own.  (What getaddrinfo() opens for seconds while
 * a name server does not answer must not be in the program's table.)
 *
 * *ret_resolved is "host:port:addr,addr" (CURLOPT_RESOLVE's form), NULL when the
 * host needs no look-up (a number, localhost) or has no address; then *ret_error
 * is getaddrinfo()'s text.  Both live until the
 * call after next.
 */
void atr_resolve(const char *url, const char **ret_resolved, const char **ret_error);

/* The same for any other URL; the answer is good until the next call. */
const char *atr_resolve_other(const char *url, const char **ret_error);

#endif
