/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/endpoint.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "exporter/buf.h"
#include "exporter/list.h"
#include "preload/sys.h"

#define KEY_MAX (1u << 20) /* bytes of a key's file that are looked at */

#define LOOK_UP_EVERY_NS 2000000000u

/*
 * The settings of one signal: its own where they are set, else the general ones.
 * Names are for log lines.
 */
struct settings {
	const char *endpoint, *endpoint_name; /* the signal's own, or NULL */
	const char *headers, *headers_name;
	const char *certificate, *certificate_name;
	const char *client_certificate, *client_certificate_name;
	const char *client_key, *client_key_name;
	enum atr_COMPRESSION compression;
	uint32_t timeout;
	bool insecure;
};

#define PICK_TEXT(c, signal, SIGNAL, field, FIELD)                                          \
	.field = c->otlp_##signal##_##field ? c->otlp_##signal##_##field : c->otlp_##field, \
	.field##_name =                                                                     \
		c->otlp_##signal##_##field && c->otlp_##signal##_##field != c->otlp_##field \
			? "OTEL_EXPORTER_OTLP_" #SIGNAL "_" #FIELD                          \
			: "OTEL_EXPORTER_OTLP_" #FIELD
#define PICK(c, signal, field) \
	.field = c->otlp_##signal##_##field##_set ? c->otlp_##signal##_##field : c->otlp_##field
#define SETTINGS(c, signal, SIGNAL)                                                   \
	((struct settings){                                                           \
		.endpoint = c->otlp_##signal##_endpoint,                              \
		.endpoint_name = "OTEL_EXPORTER_OTLP_" #SIGNAL "_ENDPOINT",           \
		PICK_TEXT(c, signal, SIGNAL, headers, HEADERS),                       \
		PICK_TEXT(c, signal, SIGNAL, certificate, CERTIFICATE),               \
		PICK_TEXT(c, signal, SIGNAL, client_certificate, CLIENT_CERTIFICATE), \
		PICK_TEXT(c, signal, SIGNAL, client_key, CLIENT_KEY),                 \
		PICK(c, signal, compression),                                         \
		PICK(c, signal, timeout),                                             \
		PICK(c, signal, insecure),                                            \
	})

static struct settings settings(const struct atr_config *c, enum atr_signal signal)
{
	return signal == ATR_SIGNAL_METRICS ? SETTINGS(c, metrics, METRICS)
					    : SETTINGS(c, traces, TRACES);
}

#undef PICK_TEXT
#undef PICK
#undef SETTINGS

/* ---- headers ---- */

bool atr_endpoint_add_header(struct atr_endpoint *ep, const char *line)
{
	struct curl_slist *list = curl_slist_append(ep->headers, line);

	if (list)
		ep->headers = list;
	return list != NULL;
}

/* Is the name one of the list? */
static bool among(const char *const *list, size_t n, const char *name, size_t len)
{
	for (size_t i = 0; i < n; i++)
		if (strlen(list[i]) == len && strncasecmp(list[i], name, len) == 0)
			return true;
	return false;
}

/* May this be a header's name?  A token of RFC 9110, and none we or libcurl answer for. */
static bool name_valid(const struct atr_endpoint *ep, const char *name, size_t len)
{
	static const char *const ours[] = { "content-type", "content-encoding", "content-length",
					    "transfer-encoding", "expect" };
	static const char *const grpc[] = { "te", "grpc-encoding", "grpc-timeout" };
	static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	for (size_t i = 0; i < len; i++)
		if (!memchr(token, name[i], sizeof(token) - 1))
			return false;
	if (ep->protocol == ATR_PROTOCOL_GRPC && among(grpc, ATR_ARRAY_LEN(grpc), name, len))
		return false;
	return len > 0 && !among(ours, ATR_ARRAY_LEN(ours), name, len);
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
static bool header_line(const struct atr_endpoint *ep, char *line, const struct atr_list_item *item)
{
	ssize_t len;

	if (!item->has_value || !name_valid(ep, item->key, item->key_len))
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

/* Takes out what was added under that name, in whatever case: the last one wins. */
static void forget(struct atr_endpoint *ep, const char *name, size_t len)
{
	struct curl_slist **at = &ep->headers, *old;

	while ((old = *at)) {
		if (strncasecmp(old->data, name, len) != 0 || !strchr(":;", old->data[len])) {
			at = &old->next;
			continue;
		}
		*at = old->next;
		old->next = NULL;
		curl_slist_free_all(old);
	}
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
		if (header_line(ep, line, &item)) {
			forget(ep, item.key, item.key_len);
			ok = atr_endpoint_add_header(ep, line);
		} else if (n_bad++ == 0) {
			(void)atr_escape(bad, sizeof(bad), item.key,
					 item.has_value ? item.key_len : 0);
		}
	}
	free(line);
	if (n_bad)
		host->log(ATR_LOG_WARN, "%s: %u bad header%s left out, first \"%s\"", variable,
			  n_bad, n_bad == 1 ? "" : "s", bad);
	return ok;
}

static bool headers(struct atr_endpoint *ep, const struct atr_host *host, const struct settings *s)
{
	static const char *const types[] = {
		[ATR_PROTOCOL_HTTP_PROTOBUF] = "Content-Type: application/x-protobuf",
		[ATR_PROTOCOL_HTTP_JSON] = "Content-Type: application/json",
		[ATR_PROTOCOL_GRPC] = "Content-Type: application/grpc",
	};
	bool grpc = ep->protocol == ATR_PROTOCOL_GRPC;

	return atr_endpoint_add_header(ep, types[ep->protocol]) &&
	       (!grpc || atr_endpoint_add_header(ep, "TE: trailers")) &&
	       (!ep->gzip || atr_endpoint_add_header(ep, grpc ? "grpc-encoding: gzip"
							      : "Content-Encoding: gzip")) &&
	       atr_endpoint_add_header(ep,
				       "Expect:") && /* a 100-continue would cost a round trip */
	       add_users(ep, host, s->headers, s->headers_name);
}

/* ---- the URL ---- */

static const char *path(enum atr_PROTOCOL protocol, enum atr_signal signal)
{
	if (protocol == ATR_PROTOCOL_GRPC)
		return signal == ATR_SIGNAL_METRICS
			       ? "opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
			       : "opentelemetry.proto.collector.trace.v1.TraceService/Export";
	return signal == ATR_SIGNAL_METRICS ? "v1/metrics" : "v1/traces";
}

/* Sets what is shown: of gRPC's URLs the path says nothing. */
static void show(struct atr_endpoint *ep)
{
	const char *path_at;

	if (ep->url.socket) {
		atr_url_shown(ep->shown, sizeof(ep->shown), ep->text);
		return;
	}
	atr_url_shown(ep->shown, sizeof(ep->shown), ep->url.url);
	path_at = strstr(ep->shown, "/opentelemetry.proto.");
	if (ep->protocol == ATR_PROTOCOL_GRPC && path_at)
		ep->shown[path_at - ep->shown] = '\0';
}

static void complain(const struct atr_endpoint *ep, const struct atr_host *host, const char *name,
		     const char *value)
{
	char shown[sizeof(ep->shown)];

	atr_url_shown(shown, sizeof(shown), value);
	host->log(ATR_LOG_WARN, "%s=%s is not a usable http or https URL; using %s", name, shown,
		  ep->shown);
}

/* False without memory.  A bad URL for the signal gives the general one. */
static bool url(struct atr_endpoint *ep, const struct atr_host *host, const struct settings *s,
		enum atr_signal signal)
{
	const bool grpc = ep->protocol == ATR_PROTOCOL_GRPC;
	enum atr_url_use use = grpc ? ATR_URL_GRPC : ATR_URL_WHOLE;
	const char *bad = NULL, *bad_name = s->endpoint_name;

	ep->text = s->endpoint;
	if (!ep->text || !atr_url_valid(ep->text, grpc)) {
		bad = ep->text;
		ep->text = atr_target_general(host->config, ep->protocol);
		use = grpc ? ATR_URL_GRPC : ATR_URL_BASE;
	}
	if (!atr_url_valid(ep->text, grpc)) {
		if (!bad) {
			bad = ep->text;
			bad_name = "OTEL_EXPORTER_OTLP_ENDPOINT";
		}
		ep->text = atr_target_default(ep->protocol);
	}
	if (!atr_url_make(&ep->url, ep->text, use, path(ep->protocol, signal), s->insecure))
		return false;
	show(ep);
	if (bad)
		complain(ep, host, bad_name, bad);
	if (ep->url.socket)
		ep->text = NULL;
	else
		ep->proxy = atr_target_proxy(host->config, ep->url.url);
	return true;
}

/* The shim has looked for what it took for the endpoint. */
static void addresses(struct atr_endpoint *ep, const struct atr_host *host)
{
	if (!ep->text)
		return;
	if (host->looked_up && strcmp(host->looked_up, ep->text) == 0)
		ep->addresses = host->addresses;
	else
		host->look_up(ep->text, &ep->addresses);
}

/* ---- TLS ---- */

/* Does it hold a key that wants a password?  PEM says so in either of its forms. */
static bool encrypted(int fd)
{
	static const char word[] = "ENCRYPTED";
	const size_t overlap = sizeof(word) - 2;
	char text[4096];
	size_t kept = 0;

	for (unsigned i = 0; i < KEY_MAX / sizeof(text); i++) {
		ssize_t n = atr_sys_read(fd, text + kept, sizeof(text) - kept);

		if (n <= 0)
			return false;
		kept += (size_t)n;
		if (memmem(text, kept, word, sizeof(word) - 1))
			return true;
		if (kept > overlap) {
			memmove(text, text + kept - overlap, overlap);
			kept = overlap;
		}
	}
	return false;
}

static bool is_regular(int fd)
{
	struct stat st;

	return atr_sys_stat(fd, "", &st) == 0 && S_ISREG(st.st_mode);
}

/* libcurl would wait at a pipe for who writes to it.  What is missing is no such thing. */
static bool is_no_file(const char *path)
{
	int fd = path ? atr_sys_open(path, O_PATH | O_CLOEXEC, 0) : -1;
	bool no_file = fd >= 0 && !is_regular(fd);

	if (fd >= 0)
		(void)atr_sys_close(fd);
	return no_file;
}

/* libcurl reads it for each connection: it may yet come, or be replaced. */
static const char *file(const struct atr_host *host, const char *name, const char *file, bool key)
{
	const char *why = NULL;
	char shown[256];
	int fd;

	if (!file)
		return NULL;
	(void)atr_escape(shown, sizeof(shown), file, strlen(file));
	fd = atr_sys_open(file, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
	if (fd < 0)
		why = strerror(-fd);
	else if (!is_regular(fd))
		why = "it is no regular file";
	if (why)
		host->log(ATR_LOG_WARN,
			  "%s=%s cannot be read: %s; nothing is sent until it can, spans are kept",
			  name, shown, why);
	else if (key && encrypted(fd))
		host->log(ATR_LOG_WARN,
			  "%s=%s is encrypted, and nobody is asked for a password; unless that is "
			  "empty, nothing is sent until it is a plain one, spans are kept",
			  name, shown);
	if (fd >= 0)
		(void)atr_sys_close(fd);
	return file;
}

static void tls(struct atr_endpoint *ep, const struct atr_host *host, const struct settings *s)
{
	if (strncasecmp(ep->url.url, "https:", 6) != 0)
		return;
	ep->client_variable = s->client_certificate_name;
	ep->certificate = file(host, s->certificate_name, s->certificate, false);
	if (s->client_key && !s->client_certificate) {
		host->log(
			ATR_LOG_WARN,
			"%s is set without a certificate (OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE); "
			"no client certificate is used",
			s->client_key_name);
		return;
	}
	ep->client_certificate =
		file(host, s->client_certificate_name, s->client_certificate, true);
	ep->client_key = file(host, s->client_key_name, s->client_key, true);
}

/* ---- the whole ---- */

uint64_t atr_endpoint_timeout(uint32_t ms, uint32_t most_ms)
{
	uint32_t least = ms && (!most_ms || ms < most_ms) ? ms : most_ms;

	return least ? least * 1000000ull : UINT64_MAX;
}

int atr_endpoint_init(struct atr_endpoint *ep, const struct atr_host *host, enum atr_signal signal)
{
	const struct atr_config *c = host->config;
	const struct settings s = settings(c, signal);

	*ep = (struct atr_endpoint){
		.protocol = atr_target_protocol(c, signal),
		.gzip = s.compression == ATR_COMPRESSION_GZIP,
		.timeout = atr_endpoint_timeout(s.timeout, c->bsp_export_timeout),
	};
	if (url(ep, host, &s, signal) && headers(ep, host, &s)) {
		tls(ep, host, &s);
		addresses(ep, host);
		return 0;
	}
	atr_endpoint_finish(ep);
	return -ENOMEM;
}

void atr_endpoint_look_again(struct atr_endpoint *ep, const struct atr_host *host)
{
	struct atr_addresses *a = &ep->addresses, found;
	uint64_t now = host->now();

	if ((!a->resolved[0] && !a->error) || now < ep->looked + LOOK_UP_EVERY_NS)
		return;
	ep->looked = now;
	host->look_up(ep->text, &found);
	if (!found.error || !a->resolved[0]) /* what was once known is better than nothing */
		*a = found;
}

void atr_endpoint_say(const struct atr_endpoint *ep, char *buf, size_t size, const char *why)
{
	char shown[128];

	if (ep->proxy)
		atr_url_shown(shown, sizeof(shown), ep->proxy);
	(void)snprintf(buf, size, "%s%s%s%s", ep->proxy ? "through the proxy " : "",
		       ep->proxy ? shown : "", ep->proxy ? ": " : "", why);
}

bool atr_endpoint_blocked(const struct atr_endpoint *ep, char *why, size_t size)
{
	const char *const files[] = { ep->certificate, ep->client_certificate, ep->client_key };
	char shown[200];

	if (ep->addresses.error) {
		atr_endpoint_say(ep, why, size, ep->addresses.error);
		return true;
	}
	for (size_t i = 0; i < ATR_ARRAY_LEN(files); i++) {
		if (is_no_file(files[i])) {
			(void)atr_escape(shown, sizeof(shown), files[i], strlen(files[i]));
			(void)snprintf(why, size, "%s is no regular file", shown);
			return true;
		}
	}
	return false;
}

void atr_endpoint_finish(struct atr_endpoint *ep)
{
	curl_slist_free_all(ep->headers);
	atr_url_finish(&ep->url);
	*ep = (struct atr_endpoint){ 0 };
}
