/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_RESOLVE_H
#define ATR_PRELOAD_RESOLVE_H

/*
 * Looks the collector up with the program's own resolver, while the background
 * thread still shares the program's descriptors: what a resolver module keeps
 * open stays valid for the program.
 *
 * *ret_resolved is "host:port:addr,addr" (CURLOPT_RESOLVE's form), NULL when the
 * host needs no look-up (a number, localhost) or has no address; then *ret_error
 * is getaddrinfo()'s text.  Both live until the next call.
 */
void atr_resolve(const char *url, const char **ret_resolved, const char **ret_error);

#endif
