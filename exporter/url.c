/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/url.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "exporter/buf.h"

/* Where the host begins, behind "http://"; NULL when that is not there. */
static const char *authority(const char *url)
{
	if (strncasecmp(url, "http://", 7) == 0)
		return url + 7;
	return strncasecmp(url, "https://", 8) == 0 ? url + 8 : NULL;
}

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

bool atr_url_valid(const char *url)
{
	const char *s = authority(url), *end, *host;

	if (!s)
		return false;
	for (const unsigned char *c = (const unsigned char *)s; *c; c++)
		if (*c <= ' ' || *c >= 0x7f)
			return false;
	end = s + strcspn(s, "/?#");
	s = behind_user(s, end);
	host = s;
	s = host_end(host, end);
	if (s == host || s > end)
		return false;
	return s == end || (*s == ':' && port_valid(s + 1, end));
}

/* head, insert and tail in one string. */
static char *joined(const char *head, size_t head_len, const char *insert, const char *tail)
{
	size_t n = strlen(insert), tail_len = strlen(tail);
	char *url = malloc(head_len + n + tail_len + 1);

	if (!url)
		return NULL;
	memcpy(url, head, head_len);
	memcpy(url + head_len, insert, n);
	memcpy(url + head_len + n, tail, tail_len + 1);
	return url;
}

char *atr_url_from_base(const char *base)
{
	size_t path_end = strcspn(base, "?#");
	bool slash = path_end && base[path_end - 1] == '/';

	return joined(base, path_end, slash ? "v1/traces" : "/v1/traces", base + path_end);
}

char *atr_url_from_traces(const char *url)
{
	const char *s = authority(url);
	size_t end = s ? (size_t)(s - url) + strcspn(s, "/?#") : strlen(url);

	return joined(url, end, url[end] == '/' ? "" : "/", url + end);
}

void atr_url_shown(char *dst, size_t size, const char *url)
{
	const char *s = authority(url);
	const char *host = s ? behind_user(s, s + strcspn(s, "/?#")) : url;
	size_t n = host != s && s ? (size_t)(s - url) : 0;

	if (!n)
		host = url;
	n = n < size ? n : size - 1;
	memcpy(dst, url, n);
	/* A query may hold a key. */
	(void)atr_escape(dst + n, size - n, host, strcspn(host, "?#"));
}
