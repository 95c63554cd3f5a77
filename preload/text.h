/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_TEXT_H
#define ATR_PRELOAD_TEXT_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/compiler.h"

/*
 * Text without stdio and without the locale: signal safe, allocates nothing.
 * Pure.
 */

/*
 * snprintf() for %s %.*s %c %d %i %u %x %p with the length modifiers h, hh, l, ll and z,
 * and %%; widths are read and ignored.  Always terminates; returns the length
 * written, without the NUL (so a cut text is as long as the buffer allows).
 */
size_t atr_format(char *buf, size_t size, const char *fmt, ...) atr_printf(3, 4);
size_t atr_vformat(char *buf, size_t size, const char *fmt, va_list args) atr_printf(3, 0);

/* Decimal digits of v; returns their number, at most 20.  No NUL. */
size_t atr_decimal(char *buf, uint64_t v);

/* Dotted or colon form of an address in network order (RFC 5952 for IPv6; a
 * v4-mapped one is written as IPv4).  Returns the length, no NUL. */
#define ATR_ADDR_TEXT_MAX 46
size_t atr_ipv4_text(char buf[static ATR_ADDR_TEXT_MAX], const uint8_t addr[static 4]);
size_t atr_ipv6_text(char buf[static ATR_ADDR_TEXT_MAX], const uint8_t addr[static 16]);

/* Lower-case hex, both ways; from_hex takes lower case only and returns 0 or -1. */
void atr_to_hex(char *buf, const uint8_t *bytes, size_t n);
int atr_from_hex(uint8_t *bytes, const char *hex, size_t n);

#endif
