/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/authority.h"

#include <string.h>
#include <strings.h>

/* The host behind "user:password@", if there is one; `end` is the end of the authority. */
static const char *behind_user(const char *s, const char *end)
{
	const char *at = memrchr(s, '@', (size_t)(end - s));

	return at ? at + 1 : s;
}

static bool port_valid(const char *s, const char *end)
{
	unsigned port = 0;

	if (s == end)
		return false;
	for (; s < end; s++) {
		if (*s < '0' || *s > '9')
			return false;
		port = 10 * port + (unsigned)(*s - '0');
		if (port > 65535)
			return false;
	}
	return port > 0;
}

/* End of the host name or [address] at s; s itself if there is none. */
static const char *host_end(const char *s, const char *end)
{
	static const char name[] =
		"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._~";
	const char *close;

	if (s < end && *s == '[') {
		close = memchr(s, ']', (size_t)(end - s));
		return close &&
				       strspn(s + 1, "0123456789abcdefABCDEF:.") ==
					       (size_t)(close - s - 1) &&
				       close > s + 2
			       ? close + 1
			       : s;
	}
	return s + strspn(s, name);
}

bool atr_authority_valid(const char *s, const char *end)
{
	const char *host = behind_user(s, end);

	s = host_end(host, end);
	if (s == host || s > end)
		return false;
	return s == end || (*s == ':' && port_valid(s + 1, end));
}

/* "unix:path", "unix:///path", "http+unix://%2Fpath"; unix://name would be a host's. */
static bool names_socket(const char *url)
{
	if (strncasecmp(url, "http+unix://", 12) == 0)
		return true;
	return strncasecmp(url, "unix:", 5) == 0 &&
	       (strncmp(url + 5, "//", 2) != 0 || url[7] == '/');
}

/* Bytes of "scheme://"; 0: it does not begin so. */
static size_t scheme_len(const char *url)
{
	size_t n = strspn(url, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");

	return n && strncmp(url + n, "://", 3) == 0 ? n + 3 : 0;
}

struct atr_shown atr_authority_shown(const char *url)
{
	size_t scheme = scheme_len(url);
	const char *s = url + scheme, *end = s + strcspn(s, "/?#");

	if (!names_socket(url))
		s = behind_user(s, atr_authority_valid(s, end) ? end : s + strlen(s));
	return (struct atr_shown){
		.scheme = scheme,
		.from = (size_t)(s - url),
		.len = strcspn(s, "?#"),
	};
}
