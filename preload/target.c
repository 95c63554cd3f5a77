/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/target.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#define NAME_MAX_LEN 256

enum atr_PROTOCOL atr_target_protocol(const struct atr_config *c, enum atr_signal signal)
{
	if (signal == ATR_SIGNAL_METRICS)
		return c->otlp_metrics_protocol_set ? c->otlp_metrics_protocol : c->otlp_protocol;
	return c->otlp_traces_protocol_set ? c->otlp_traces_protocol : c->otlp_protocol;
}

const char *atr_target_default(enum atr_PROTOCOL protocol)
{
	return protocol == ATR_PROTOCOL_GRPC ? "http://localhost:4317" : "http://localhost:4318";
}

const char *atr_target_general(const struct atr_config *c, enum atr_PROTOCOL protocol)
{
	return c->otlp_endpoint_set || protocol != ATR_PROTOCOL_GRPC ? c->otlp_endpoint
								     : atr_target_default(protocol);
}

const char *atr_target_endpoint(const struct atr_config *c, enum atr_signal signal)
{
	const char *own =
		signal == ATR_SIGNAL_METRICS ? c->otlp_metrics_endpoint : c->otlp_traces_endpoint;

	return own ? own : atr_target_general(c, atr_target_protocol(c, signal));
}

/* ---- the proxy ---- */

struct host {
	char name[NAME_MAX_LEN]; /* without brackets and the dot at the end */
	size_t len;
	int family; /* of a number; 0: a name */
	unsigned char address[16];
};

/* The host of a URL; false when it has none, or too long a one. */
static bool host_of(const char *url, struct host *host)
{
	const char *p = strstr(url, "://"), *end, *at;

	if (!p)
		return false;
	p += 3;
	end = p + strcspn(p, "/?#");
	at = memrchr(p, '@', (size_t)(end - p));
	if (at)
		p = at + 1;
	if (*p == '[') {
		p++;
		host->len = strcspn(p, "]%/?#");
	} else {
		host->len = strcspn(p, ":/?#");
		if (host->len && p[host->len - 1] == '.')
			host->len--;
	}
	if (!host->len || host->len >= sizeof(host->name))
		return false;
	memcpy(host->name, p, host->len);
	host->name[host->len] = '\0';
	host->family = 0;
	if (inet_pton(AF_INET, host->name, host->address) == 1)
		host->family = AF_INET;
	else if (inet_pton(AF_INET6, host->name, host->address) == 1)
		host->family = AF_INET6;
	return true;
}

/* Is the number in that network?  "10.0.0.0/8", or one address. */
static bool in_network(const struct host *host, const char *item, size_t len)
{
	const unsigned max = host->family == AF_INET ? 32 : 128;
	unsigned char network[16];
	char text[NAME_MAX_LEN];
	unsigned bits = max, rest;
	char *slash;

	if (len && item[0] == '[' && item[len - 1] == ']') {
		item++;
		len -= 2;
	}
	if (len >= sizeof(text))
		return false;
	memcpy(text, item, len);
	text[len] = '\0';
	slash = strchr(text, '/');
	if (slash) {
		size_t digits = strspn(slash + 1, "0123456789");

		if (!digits || digits > 3 || slash[1 + digits])
			return false;
		bits = 0;
		for (const char *d = slash + 1; *d; d++)
			bits = 10 * bits + (unsigned)(*d - '0');
		*slash = '\0';
	}
	if (bits > max || inet_pton(host->family, text, network) != 1)
		return false;
	rest = bits % 8;
	return memcmp(network, host->address, bits / 8) == 0 &&
	       (!rest || (network[bits / 8] ^ host->address[bits / 8]) >> (8 - rest) == 0);
}

/* Is it that name, or one below it? */
static bool below(const struct host *host, const char *item, size_t len)
{
	if (len && item[len - 1] == '.')
		len--;
	if (len && item[0] == '.') {
		item++;
		len--;
	}
	if (!len || len > host->len || strncasecmp(host->name + host->len - len, item, len) != 0)
		return false;
	return len == host->len || host->name[host->len - len - 1] == '.';
}

static bool without_proxy(const char *list, const struct host *host)
{
	if (strcmp(list, "*") == 0)
		return true;
	while (*(list += strspn(list, ", \t"))) {
		size_t len = strcspn(list, ", \t");

		if (host->family ? in_network(host, list, len) : below(host, list, len))
			return true;
		list += len;
	}
	return false;
}

static const char *first(const char *a, const char *b)
{
	return a ? a : b;
}

const char *atr_target_proxy(const struct atr_config *c, const char *url)
{
	const char *proxy = NULL, *list = first(c->no_proxy, c->no_proxy_upper);
	struct host host;

	if (strncasecmp(url, "http://", 7) == 0)
		proxy = c->http_proxy; /* HTTP_PROXY is what a CGI script's client says */
	else if (strncasecmp(url, "https://", 8) == 0)
		proxy = first(c->https_proxy, c->https_proxy_upper);
	else
		return NULL;
	if (!proxy)
		proxy = first(c->all_proxy, c->all_proxy_upper);
	if (!proxy || !host_of(url, &host) || (list && without_proxy(list, &host)))
		return NULL;
	return proxy;
}
