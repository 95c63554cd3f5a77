/* SPDX-License-Identifier: Apache-2.0 */
#include "hooks/proxied.h"

#include <stdint.h>
#include <string.h>

#include "preload/slice.h"

/* ---- version 1: "PROXY TCP4 192.0.2.1 192.0.2.9 50123 80\r\n", or UNKNOWN and anything ---- */

static struct atr_slice word(const char **p, const char *end)
{
	const char *from = *p;

	while (*p < end && **p != ' ')
		++*p;
	return (struct atr_slice){ from, (size_t)(*p - from) };
}

static bool is_address(struct atr_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!memchr("0123456789abcdefABCDEF:.", s.p[i], 24))
			return false;
	return s.len > 1 && s.len < ATR_ADDR_TEXT_MAX;
}

static size_t version_1(const char *p, size_t n, char *client, size_t *len)
{
	const char *lf = memchr(p, '\n', n < ATR_PROXIED_MAX ? n : ATR_PROXIED_MAX);
	const char *at = p + 6, *end = lf ? lf - 1 : p;
	struct atr_slice family, source;

	if (!lf || *end != '\r')
		return 0;
	family = word(&at, end);
	at += at < end;
	source = word(&at, end);
	if ((atr_slice_is(family, "TCP4") || atr_slice_is(family, "TCP6")) && is_address(source)) {
		memcpy(client, source.p, source.len);
		*len = source.len;
	} else if (!atr_slice_is(family, "UNKNOWN")) {
		return 0;
	}
	return (size_t)(lf + 1 - p);
}

/* ---- version 2: signature, version and command, family, length of what follows ---- */

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define SIGNATURE_LEN 12
#define FIXED 16

static size_t version_2(const char *p, size_t n, char *client, size_t *len)
{
	const uint8_t *u = (const uint8_t *)p;
	size_t rest = n < FIXED ? 0 : (size_t)u[14] << 8 | u[15];

	if (n < FIXED || u[12] >> 4 != 2 || (u[12] & 15) > 1 || n - FIXED < rest)
		return 0;
	/* LOCAL is the balancer itself: it looks whether we are well. */
	if ((u[12] & 15) == 1 && u[13] >> 4 == 1 && rest >= 12)
		*len = atr_ipv4_text(client, u + FIXED);
	else if ((u[12] & 15) == 1 && u[13] >> 4 == 2 && rest >= 36)
		*len = atr_ipv6_text(client, u + FIXED);
	return FIXED + rest;
}

size_t atr_proxied(const char *p, size_t n, char client[static ATR_ADDR_TEXT_MAX], size_t *len)
{
	*len = 0;
	if (n > 6 && memcmp(p, "PROXY ", 6) == 0)
		return version_1(p, n, client, len);
	if (n >= SIGNATURE_LEN && memcmp(p, SIGNATURE, SIGNATURE_LEN) == 0)
		return version_2(p, n, client, len);
	return 0;
}
