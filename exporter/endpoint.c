/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/endpoint.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "exporter/buf.h"
#include "exporter/list.h"
#include "exporter/url.h"
#include "preload/host.h"

/* Adds a finished header line; false without memory. */
static bool add(struct atr_endpoint *ep, const char *line)
{
	struct curl_slist *list = curl_slist_append(ep->headers, line);

	if (list)
		ep->headers = list;
	return list != NULL;
}

/* May this be a header's name?  A token of RFC 9110, and none we or libcurl answer for. */
static bool name_valid(const char *name, size_t len)
{
	static const char *const ours[] = { "content-type", "content-encoding", "content-length",
					    "transfer-encoding", "expect" };
	static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	for (size_t i = 0; i < len; i++)
		if (!memchr(token, name[i], sizeof(token) - 1))
			return false;
	for (size_t i = 0; i < ATR_ARRAY_LEN(ours); i++)
		if (strlen(ours[i]) == len && strncasecmp(ours[i], name, len) == 0)
			return false;
	return len > 0;
}

/* No control characters: a line break would begin another header. */
static bool value_valid(const char *value, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (((unsigned char)value[i] < 0x20 && value[i] != '\t') || value[i] == 0x7f)
			return false;
	return true;
}

/* One item of the list as a header line in `line`; false if it is bad. */
static bool header_line(char *line, const struct atr_list_item *item)
{
	ssize_t len;

	if (!item->has_value || !name_valid(item->key, item->key_len))
		return false;
	memcpy(line, item->key, item->key_len);
	line += item->key_len;
	len = atr_list_decode(line + 2, item->value, item->value_len);
	if (len < 0 || !value_valid(line + 2, (size_t)len))
		return false;
	/* libcurl's way to say an empty header is a semicolon. */
	memcpy(line, len ? ": " : ";", 2);
	line[len ? len + 2 : 1] = '\0';
	return true;
}

/* OTEL_EXPORTER_OTLP_HEADERS.  Their values are secrets more often than not: never shown. */
static bool add_users(struct atr_endpoint *ep, const struct atr_host *host, const char *list,
		      const char *variable)
{
	struct atr_list_item item;
	char *line, bad[64] = "";
	unsigned n_bad = 0;
	bool ok = true;

	if (!list)
		return true;
	line = malloc(strlen(list) + 4);
	if (!line)
		return false;
	while (ok && atr_list_next(&list, &item)) {
		if (header_line(line, &item))
			ok = add(ep, line);
		else if (n_bad++ == 0)
			(void)atr_escape(bad, sizeof(bad), item.key,
					 item.has_value ? item.key_len : 0);
	}
	free(line);
	if (n_bad)
		host->log(ATR_LOG_WARN, "%s: %u bad header%s left out, first \"%s\"", variable,
			  n_bad, n_bad == 1 ? "" : "s", bad);
	return ok;
}

static bool headers(struct atr_endpoint *ep, const struct atr_host *host)
{
	const struct atr_config *c = host->config;
	bool specific = c->otlp_traces_headers != NULL;

	return add(ep, "Content-Type: application/x-protobuf") &&
	       (!ep->gzip || add(ep, "Content-Encoding: gzip")) &&
	       add(ep, "Expect:") && /* a 100-continue would cost a round trip */
	       add_users(ep, host, specific ? c->otlp_traces_headers : c->otlp_headers,
			 specific ? "OTEL_EXPORTER_OTLP_TRACES_HEADERS"
				  : "OTEL_EXPORTER_OTLP_HEADERS");
}

static void complain(struct atr_endpoint *ep, const struct atr_host *host, const char *name,
		     const char *value)
{
	char used[sizeof(ep->shown)];

	if (!ep->url)
		return;
	atr_url_shown(used, sizeof(used), ep->url);
	atr_url_shown(ep->shown, sizeof(ep->shown), value);
	host->log(ATR_LOG_WARN, "%s=%s is not a usable http or https URL; using %s", name,
		  ep->shown, used);
}

/* Sets ep->url, NULL without memory.  A bad URL for traces gives the general one. */
static void url(struct atr_endpoint *ep, const struct atr_host *host)
{
	const struct atr_config *c = host->config;

	ep->configured = true;
	if (c->otlp_traces_endpoint && atr_url_valid(c->otlp_traces_endpoint)) {
		ep->url = atr_url_from_traces(c->otlp_traces_endpoint);
	} else if (atr_url_valid(c->otlp_endpoint)) {
		ep->url = atr_url_from_base(c->otlp_endpoint);
		ep->configured = !c->otlp_traces_endpoint;
	} else {
		ep->url = strdup(ATR_URL_DEFAULT);
		ep->configured = false;
	}
	if (c->otlp_traces_endpoint && !atr_url_valid(c->otlp_traces_endpoint))
		complain(ep, host, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", c->otlp_traces_endpoint);
	else if (!c->otlp_traces_endpoint && !atr_url_valid(c->otlp_endpoint))
		complain(ep, host, "OTEL_EXPORTER_OTLP_ENDPOINT", c->otlp_endpoint);
	if (ep->url)
		atr_url_shown(ep->shown, sizeof(ep->shown), ep->url);
}

/* 0 = no limit. */
static uint64_t ns(uint32_t ms)
{
	return ms ? (uint64_t)ms * 1000000u : UINT64_MAX;
}

int atr_endpoint_init(struct atr_endpoint *ep, const struct atr_host *host)
{
	const struct atr_config *c = host->config;
	uint64_t timeout =
		ns(c->otlp_traces_timeout_set ? c->otlp_traces_timeout : c->otlp_timeout);
	uint64_t upper = ns(c->bsp_export_timeout);

	*ep = (struct atr_endpoint){ .timeout = timeout < upper ? timeout : upper };
	ep->gzip = (c->otlp_traces_compression_set ? c->otlp_traces_compression
						   : c->otlp_compression) == ATR_COMPRESSION_GZIP;
	url(ep, host);
	if (ep->url && headers(ep, host))
		return 0;
	atr_endpoint_finish(ep);
	return -ENOMEM;
}

void atr_endpoint_finish(struct atr_endpoint *ep)
{
	curl_slist_free_all(ep->headers);
	free(ep->url);
	*ep = (struct atr_endpoint){ 0 };
}
