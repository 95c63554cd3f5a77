/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_PROXIED_H
#define ATR_HOOKS_PROXIED_H

#include <stddef.h>

#include "preload/text.h"

/*
 * The PROXY protocol (haproxy's proxy-protocol.txt, versions 1 and 2): what a load balancer says
 * of the real client before the first byte of the protocol proper.
 */
#define ATR_PROXIED_MAX 107 /* of a line of version 1; version 2 may be longer */

/*
 * How long the header at the beginning of [p, p + n) is; 0: there is none, or not the whole of
 * it.  client: the address that it names, of *len characters, 0 when it names none.
 */
size_t atr_proxied(const char *p, size_t n, char client[static ATR_ADDR_TEXT_MAX], size_t *len);

#endif
