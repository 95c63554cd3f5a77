/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/url.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "exporter/buf.h"
#include "exporter/list.h"
#include "preload/authority.h"

#define SOCKET_MAX 107 /* what a sockaddr_un holds */

/* Where the host begins, behind "http://"; NULL when that is not there. */
static const char *authority(const char *url)
{
	if (strncasecmp(url, "http://", 7) == 0)
		return url + 7;
	return strncasecmp(url, "https://", 8) == 0 ? url + 8 : NULL;
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
		return printable(s) && atr_authority_valid(s, s + strlen(s));
	}
	return s && printable(s) && atr_authority_valid(s, s + strcspn(s, "/?#"));
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
	const struct atr_shown part = atr_authority_shown(url);
	size_t n = atr_escape(dst, size, url, part.scheme);

	(void)atr_escape(dst + n, size - n, url + part.from, part.len);
}
