/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/resolve.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "preload/host.h"
#include "preload/text.h"

/* The host and port of a URL; false when it has none we understand. */
static bool url_host(const char *url, char *name, size_t size, const char **ret_port)
{
	const char *p = strstr(url, "://");
	bool tls = !p || strncasecmp(url, "https:", 6) == 0;
	size_t n;

	if (!p && (strncasecmp(url, "unix:", 5) == 0 || !*url))
		return false;
	if (p && strncasecmp(url, "http+unix:", 10) == 0)
		return false;
	if (!p && strncasecmp(url, "dns:", 4) == 0)
		url += 4;
	p = p ? p + 3 : url;
	if (strncasecmp(url, "dns:///", 7) == 0)
		p = url + 7;
	n = strcspn(p, "/?#");
	for (size_t i = n; i > 0; i--) { /* user:password@ */
		if (p[i - 1] == '@') {
			p += i;
			break;
		}
	}
	if (*p == '[')
		return false; /* an IPv6 number */
	n = strcspn(p, ":/?#");
	if (!n || n >= size)
		return false;
	memcpy(name, p, n);
	name[n] = '\0';
	if (p[n] == ':')
		*ret_port = p + n + 1;
	else if (!*ret_port)
		*ret_port = tls ? "443" : "80";
	return true;
}

static bool numeric(const char *name)
{
	return name[strspn(name, "0123456789.")] == '\0';
}

static size_t address_text(char *buf, const struct addrinfo *ai)
{
	const struct sockaddr_in6 *in6 = (const void *)ai->ai_addr;
	const struct sockaddr_in *in = (const void *)ai->ai_addr;
	size_t n = 0;

	if (ai->ai_family == AF_INET)
		return atr_ipv4_text(buf, (const uint8_t *)&in->sin_addr);
	buf[n++] = '[';
	n += atr_ipv6_text(buf + n, in6->sin6_addr.s6_addr);
	buf[n++] = ']';
	return n;
}

void atr_resolve(const char *url, const char *port, struct atr_addresses *ret)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
	const size_t size = sizeof(ret->resolved);
	char *resolved = ret->resolved;
	struct addrinfo *list = NULL;
	char name[256];
	size_t n;
	int err;

	resolved[0] = '\0';
	ret->error = NULL;
	if (!url_host(url, name, sizeof(name), &port) || numeric(name) ||
	    strcmp(name, "localhost") == 0)
		return;
	err = getaddrinfo(name, NULL, &hints, &list);
	if (err) {
		ret->error = gai_strerror(err);
		return;
	}
	n = atr_format(resolved, size, "%s:%.*s:", name, (int)strspn(port, "0123456789"), port);
	for (const struct addrinfo *ai = list; ai && n + 64 < size; ai = ai->ai_next) {
		if (ai->ai_family != AF_INET && ai->ai_family != AF_INET6)
			continue;
		if (resolved[n - 1] != ':')
			resolved[n++] = ',';
		n += address_text(resolved + n, ai);
	}
	resolved[n] = '\0';
	freeaddrinfo(list);
}
