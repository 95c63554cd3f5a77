/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/url.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "exporter/buf.h"
#include "exporter/list.h"

#define SOCKET_MAX 107 /* what a sockaddr_un holds */

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

/* "host:port" up to `end`, the user in front stepped over. */
static bool authority_valid(const char *s, const char *end)
{
	const char *host = behind_user(s, end);

	s = host_end(host, end);
	if (s == host || s > end)
		return false;
	return s == end || (*s == ':' && port_valid(s + 1, end));
}

/* No blanks, no control characters, nothing beyond ASCII. */
static bool printable(const char *s)
{
	for (const unsigned char *c = (const unsigned char *)s; *c; c++)
		if (*c <= ' ' || *c >= 0x7f)
			return false;
	return true;
}

static const char *behind(const char *text, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncasecmp(text, prefix, n) == 0 ? text + n : NULL;
}

/* The path in unix:///path and unix:path; NULL: it is neither. */
static const char *unix_path(const char *text)
{
	const char *path = behind(text, "unix:");

	return path && strncmp(path, "//", 2) == 0 ? path + 2 : path;
}

/* The same in http+unix://%2Fpath, still encoded, up to *ret_end. */
static const char *encoded_path(const char *text, const char **ret_end)
{
	const char *path = behind(text, "http+unix://");

	*ret_end = path ? path + strcspn(path, "/?#") : NULL;
	return path;
}

static bool socket_valid(const char *text)
{
	char decoded[3 * SOCKET_MAX];
	const char *end, *path = encoded_path(text, &end);
	ssize_t n;

	if (!path) {
		path = unix_path(text);
		/* unix://name would be a host's. */
		return path && *path && strlen(path) <= SOCKET_MAX &&
		       (*path == '/' || !behind(text, "unix://"));
	}
	if (end - path > (ssize_t)sizeof(decoded) || !printable(text))
		return false;
	n = atr_list_decode(decoded, path, (size_t)(end - path));
	return n > 0 && n <= SOCKET_MAX;
}

/* gRPC: "host:port", as it is or behind "dns:". */
static const char *bare_host(const char *text)
{
	const char *host = behind(text, "dns:///");

	if (!host)
		host = behind(text, "dns:");
	return host ? host : text;
}

bool atr_url_valid(const char *text, bool grpc)
{
	const char *s = authority(text);

	if (socket_valid(text))
		return true;
	if (!s && grpc) {
		s = bare_host(text);
		return printable(s) && authority_valid(s, s + strlen(s));
	}
	return s && printable(s) && authority_valid(s, s + strcspn(s, "/?#"));
}

/* The parts as one string; false without memory. */
static bool join(char **ret, const char *scheme, const char *text, size_t len, const char *between,
		 const char *path, const char *tail)
{
	struct atr_buf buf = { 0 };

	atr_buf_str(&buf, scheme);
	atr_buf_add(&buf, text, len);
	atr_buf_str(&buf, between);
	atr_buf_str(&buf, path);
	atr_buf_add(&buf, tail, strlen(tail) + 1);
	if (buf.failed) {
		atr_buf_free(&buf);
		return false;
	}
	*ret = (char *)buf.bytes;
	return true;
}

/* scheme + text, whose authority begins at `host`, as it is to be used. */
static bool make_http(char **ret, const char *scheme, const char *text, const char *host,
		      enum atr_url_use use, const char *path)
{
	size_t host_end = (size_t)(host - text) + strcspn(host, "/?#");
	size_t end = strcspn(text, "?#");

	if (use == ATR_URL_GRPC)
		return join(ret, scheme, text, host_end, "/", path, "");
	if (use == ATR_URL_BASE)
		return join(ret, scheme, text, end, end && text[end - 1] == '/' ? "" : "/", path,
			    text + end);
	return join(ret, scheme, text, host_end, text[host_end] == '/' ? "" : "/", "",
		    text + host_end);
}

static bool make_socket(struct atr_url *ret, const char *text, enum atr_url_use use,
			const char *path)
{
	static const char localhost[] = "http://localhost";
	const char *end, *encoded = encoded_path(text, &end);
	ssize_t n;

	if (!encoded) {
		ret->socket = strdup(unix_path(text));
		/* There is no other way to say a path. */
		if (use == ATR_URL_WHOLE)
			use = ATR_URL_BASE;
		return ret->socket && make_http(&ret->url, "", localhost, localhost + 7, use, path);
	}
	ret->socket = malloc((size_t)(end - encoded) + 1);
	if (!ret->socket)
		return false;
	n = atr_list_decode(ret->socket, encoded, (size_t)(end - encoded));
	ret->socket[n > 0 ? n : 0] = '\0';
	/* What is left begins with the path. */
	return make_http(&ret->url, localhost, end, end, use, path);
}

bool atr_url_make(struct atr_url *ret, const char *text, enum atr_url_use use, const char *path,
		  bool insecure)
{
	const char *host = authority(text);
	bool made;

	*ret = (struct atr_url){ 0 };
	if (socket_valid(text)) {
		made = make_socket(ret, text, use, path);
	} else if (host) {
		made = make_http(&ret->url, "", text, host, use, path);
	} else {
		host = bare_host(text);
		made = make_http(&ret->url, insecure ? "http://" : "https://", host, host, use,
				 path);
	}
	if (!made)
		atr_url_finish(ret);
	return made;
}

void atr_url_finish(struct atr_url *url)
{
	free(url->url);
	free(url->socket);
	*url = (struct atr_url){ 0 };
}

void atr_url_shown(char *dst, size_t size, const char *url)
{
	const char *s = strstr(url, "://");
	const char *host;
	size_t n;

	s = s ? s + 3 : url;
	host = behind_user(s, s + strcspn(s, "/?#"));
	n = (size_t)(s - url);
	n = atr_escape(dst, size, url, n);
	/* A query may hold a key. */
	(void)atr_escape(dst + n, size - n, host, strcspn(host, "?#"));
}
