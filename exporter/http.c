/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/http.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "exporter/endpoint.h"
#include "preload/host.h"

#define LAST 512		/* bytes of a body that are sent by themselves */
#define RESPONSE_MAX (4u << 20) /* OTLP: a longer response is an error */
#define SLICE_NS 10000000u	/* longest sleep: requests of the program are to be noticed */
#define IDLE_WAKES_MAX 16	/* a TLS handshake writes now and then */
#define N_FDS 8			/* one connection, perhaps two tried at once (IPv6, IPv4) */
#define CONNECT_MAX_NS 30000000000ull

/* What is newer than the headers we are built with may be there all the same. */
#if LIBCURL_VERSION_NUM < 0x075700
#define CURLOPT_CA_CACHE_TIMEOUT ((CURLoption)(CURLOPTTYPE_LONG + 321))
#endif

/*
 * Of a response that ends in the middle of its head, libcurl says it is complete.  gRPC's lines
 * come behind the body, too.
 */
static size_t take_head(char *line, size_t size, size_t n, void *arg)
{
	struct atr_http *http = arg;

	if (n >= 5 && memcmp(line, "HTTP/", 5) == 0)
		http->headed = false; /* what came before was a 1xx */
	else if (line[0] == '\r' || line[0] == '\n')
		http->headed = true;
	if (http->endpoint->protocol == ATR_PROTOCOL_GRPC)
		atr_grpc_header(&http->grpc, line, size * n);
	return size * n;
}

static size_t take_body(char *bytes, size_t size, size_t n, void *arg)
{
	struct atr_http *http = arg;

	if (http->body.len + size * n > RESPONSE_MAX) {
		http->too_long = true;
		return 0; /* ends the transfer */
	}
	atr_buf_add(&http->body, bytes, size * n);
	return size * n;
}

/*
 * The body, in pieces.  The last one is small: when it is asked for, all before it is in the
 * kernel, and there is room for it, so it will be there the next moment.
 */
static size_t give_body(char *to, size_t size, size_t n, void *arg)
{
	struct atr_http *http = arg;
	size_t left = http->out_len - http->out_at;
	size_t len = left > LAST ? left - LAST : left;

	if (len > size * n)
		len = size * n;
	memcpy(to, http->out + http->out_at, len);
	http->out_at += len;
	if (len == left && len) {
		http->sent = true;
		if (http->on_sent)
			http->on_sent(http->on_sent_arg);
	}
	return len;
}

/*
 * The connection that was kept has died, and libcurl would send the body over another one.  What is
 * sent again is ours to decide: it is counted, and takes its time.
 */
static int seek_body(void *arg, curl_off_t to, int from)
{
	(void)arg;
	(void)to;
	(void)from;
	return CURL_SEEKFUNC_FAIL;
}

static bool set_text(CURL *easy, CURLoption option, const char *text)
{
	return !text || curl_easy_setopt(easy, option, text) == CURLE_OK;
}

/*
 * Whom to trust, and who we are.  A certificate that was named stands instead of the
 * system's: libcurl has a directory of them besides.  It would keep what it read for a day, and one
 * that is replaced is to count with the next connection; before 7.87 it does not keep it, and
 * knows no such option.  A key that is encrypted cannot be read: without a password, empty as it
 * is, OpenSSL would ask for one at the program's terminal.
 */
static bool set_tls(CURL *easy, const struct atr_endpoint *ep)
{
	(void)curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, 0L);
	if (ep->certificate)
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	return set_text(easy, CURLOPT_CAINFO, ep->certificate) &&
	       set_text(easy, CURLOPT_SSLCERT, ep->client_certificate) &&
	       set_text(easy, CURLOPT_SSLKEY, ep->client_key) &&
	       set_text(easy, CURLOPT_KEYPASSWD, "");
}

/*
 * How to get there, and nowhere else: false without memory.  The environment is the
 * program's, and it may be changing it: libcurl is not to look for proxies there.
 */
static bool set_way(CURL *easy, const struct atr_endpoint *ep)
{
	return set_text(easy, CURLOPT_URL, ep->url.url) &&
	       set_text(easy, CURLOPT_UNIX_SOCKET_PATH, ep->url.socket) &&
	       set_text(easy, CURLOPT_PROXY, ep->proxy ? ep->proxy : "") &&
	       set_text(easy, CURLOPT_NOPROXY, "") && set_tls(easy, ep);
}

void atr_http_set_protocols(CURL *easy)
{
#if LIBCURL_VERSION_NUM >= 0x075500
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

/*
 * 7.88 sets HTTP/2 up again, and fails, when it uses a connection that was HTTP/2 without asking a
 * second time.  (Debian 12 has it.)
 */
static bool reuse_is_broken(void)
{
	unsigned version = curl_version_info(CURLVERSION_NOW)->version_num;

	return version >= 0x075800 && version < 0x080000;
}

/* gRPC is HTTP/2, without asking where there is no TLS to ask in; through a proxy, it is tunnelled.
 */
static bool set_grpc(struct atr_http *http, const struct atr_endpoint *ep)
{
	bool tls = strncasecmp(ep->url.url, "https:", 6) == 0;

	if (!tls && reuse_is_broken())
		curl_easy_setopt(http->easy, CURLOPT_FORBID_REUSE, 1L);
	curl_easy_setopt(http->easy, CURLOPT_HTTPPROXYTUNNEL, 1L);
	http->timeout_header = (struct curl_slist){ http->timeout_line, ep->headers };
	return curl_easy_setopt(http->easy, CURLOPT_HTTP_VERSION,
				tls ? (long)CURL_HTTP_VERSION_2TLS
				    : (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE) == CURLE_OK;
}

static void set_options(struct atr_http *http, const struct atr_endpoint *ep)
{
	CURL *easy = http->easy;

	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, ep->headers);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, ATR_HTTP_USER_AGENT);
	curl_easy_setopt(easy, CURLOPT_POST, 1L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_READFUNCTION, give_body);
	curl_easy_setopt(easy, CURLOPT_READDATA, http);
	curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, seek_body);
	curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L); /* they are no answer */
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_head);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, http);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, http);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, http->error);
	atr_http_set_protocols(easy);
}

/*
 * OpenSSL shall not clean up in an exit handler: we may be inside it at that moment,
 * even in the middle of its initialisation, when the program ends by a way that
 * does not wait for us (err(), inside libc).  A program that initialised the same
 * OpenSSL before has it cleaned up all the same.  (OPENSSL_init_crypto(3).)
 */
static void openssl_without_exit_handler(void)
{
	const uint64_t no_atexit = 0x00080000; /* OPENSSL_INIT_NO_ATEXIT */
	int (*init)(uint64_t, const void *) =
		(int (*)(uint64_t, const void *))dlsym(RTLD_DEFAULT, "OPENSSL_init_crypto");

	if (init)
		(void)init(no_atexit, NULL);
}

int atr_http_global(const struct atr_host *host)
{
	openssl_without_exit_handler();
	if (curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK)
		return -ENOMEM;
	host->loaded();
	return 0;
}

/* All that is the endpoint's.  0 or -errno, as atr_http_init(). */
static int set_up(struct atr_http *http)
{
	const struct atr_endpoint *ep = http->endpoint;

	if (!set_way(http->easy, ep))
		return -ENOMEM;
	set_options(http, ep);
	if (ep->protocol == ATR_PROTOCOL_GRPC && !set_grpc(http, ep))
		return -ENOTSUP;
	return 0;
}

/*
 * After a connection that died, or was let go of.  libcurl counts the former through all
 * requests, and gives up at the sixth.
 */
static int set_up_again(struct atr_http *http)
{
	curl_easy_reset(http->easy);
	curl_slist_free_all(http->resolve);
	http->resolve = NULL;
	http->worn = false;
	return set_up(http);
}

int atr_http_init(struct atr_http *http, const struct atr_host *host,
		  const struct atr_endpoint *endpoint)
{
	int err;

	*http = (struct atr_http){ .host = host, .endpoint = endpoint };
	if (atr_http_global(host) != 0)
		return -ENOMEM;
	http->multi = curl_multi_init();
	http->easy = curl_easy_init();
	err = http->multi && http->easy ? set_up(http) : -ENOMEM;
	if (err)
		atr_http_finish(http);
	return err;
}

/*
 * Hands libcurl the addresses the host looked up.  libcurl itself would ask a
 * resolver on a thread of its own, inside our descriptor table.
 */
static void set_addresses(struct atr_http *http)
{
	const char *resolved = http->endpoint->addresses.resolved;

	if (strcmp(http->resolve ? http->resolve->data : "", resolved) == 0)
		return;
	curl_easy_setopt(http->easy, CURLOPT_RESOLVE, NULL);
	curl_slist_free_all(http->resolve);
	http->resolve = resolved[0] ? curl_slist_append(NULL, resolved) : NULL;
	curl_easy_setopt(http->easy, CURLOPT_RESOLVE, http->resolve);
}

/* How long the server has. */
static void set_timeout(struct atr_http *http, uint64_t deadline)
{
	uint64_t now = http->host->now();
	bool none = deadline == UINT64_MAX;

	if (!none)
		atr_grpc_timeout(http->timeout_line, deadline > now ? deadline - now : 0);
	curl_easy_setopt(http->easy, CURLOPT_HTTPHEADER,
			 none ? http->endpoint->headers : &http->timeout_header);
}

/*
 * How long a connection may take: three quarters of the time, so that there is some left for
 * the request.  Of several addresses libcurl gives each half of what is left, and the last one all.
 */
static void set_connect_time(struct atr_http *http, uint64_t until)
{
	uint64_t now = http->host->now(), ns = until > now ? (until - now) / 4 * 3 : 0;

	if (ns > CONNECT_MAX_NS)
		ns = CONNECT_MAX_NS;
	curl_easy_setopt(http->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(ns / 1000000u) + 1);
}

int atr_http_start(struct atr_http *http, const uint8_t *body, size_t len, uint64_t deadline,
		   uint64_t hurry)
{
	if (http->worn && set_up_again(http) != 0)
		return -ENOMEM;
	set_addresses(http);
	set_connect_time(http, hurry < deadline ? hurry : deadline);
	if (http->endpoint->protocol == ATR_PROTOCOL_GRPC)
		set_timeout(http, deadline);
	atr_grpc_status_init(&http->grpc);
	atr_buf_reset(&http->body);
	http->headed = http->too_long = http->sent = false;
	http->error[0] = '\0';
	http->out = body;
	http->out_len = len;
	http->out_at = http->napped_at = 0;
	http->idle_wakes = 0;
	curl_easy_setopt(http->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
	if (curl_multi_add_handle(http->multi, http->easy) != CURLM_OK)
		return -ENOMEM;
	http->in_flight = true;
	return 0;
}

/*
 * With HTTP/2 libcurl waits to write where it waits for the server to allow it: a socket
 * that can be written to would wake us without end.
 */
static bool futile(struct atr_http *http)
{
	if (http->napped_at != http->out_at)
		http->idle_wakes = 0;
	http->napped_at = http->out_at;
	return http->idle_wakes > IDLE_WAKES_MAX;
}

/* Sleeps until libcurl has something to do, a slice has passed, or it is `until`. */
static void nap(struct atr_http *http, uint64_t until)
{
	uint64_t now = http->host->now();
	uint64_t left = now < until ? until - now : 0;
	struct pollfd fds[N_FDS];
	unsigned n_fds = 0;
	fd_set in, out, err;
	int max = -1, ms, n;
	long curl_ms = -1;
	bool no_writing = futile(http);

	if (left > SLICE_NS)
		left = SLICE_NS;
	ms = (int)((left + 999999) / 1000000);
	(void)curl_multi_timeout(http->multi, &curl_ms);
	if (curl_ms >= 0 && curl_ms < ms)
		ms = (int)curl_ms;
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_ZERO(&err);
	(void)curl_multi_fdset(http->multi, &in, &out, &err, &max);
	for (int fd = 0; fd <= max && n_fds < N_FDS; fd++) {
		short events = (short)((FD_ISSET(fd, &in) ? POLLIN : 0) |
				       (FD_ISSET(fd, &out) && !no_writing ? POLLOUT : 0));

		if (events || FD_ISSET(fd, &err))
			fds[n_fds++] = (struct pollfd){ .fd = fd, .events = events };
	}
	if (ms <= 0)
		return;
	n = http->host->sleep_fds(fds, n_fds, ms);
	for (unsigned i = 0; n > 0 && i < n_fds; i++)
		if (fds[i].revents == POLLOUT)
			http->idle_wakes++;
}

static enum atr_body_type body_type(const char *type)
{
	static const struct {
		const char *name;
		enum atr_body_type type;
	} types[] = {
		{ "application/x-protobuf", ATR_BODY_PROTOBUF },
		{ "application/json", ATR_BODY_JSON },
		{ "application/grpc", ATR_BODY_GRPC },
	};

	if (!type)
		return ATR_BODY_PROTOBUF;
	for (size_t i = 0; i < ATR_ARRAY_LEN(types); i++)
		if (strncasecmp(type, types[i].name, strlen(types[i].name)) == 0)
			return types[i].type;
	return ATR_BODY_OTHER;
}

/*
 * Was it clear before the request was sent that it would not be?  There is no limit to the time
 * but the connection's.
 */
static bool nobody(CURLcode code)
{
	static const CURLcode codes[] = {
		CURLE_COULDNT_CONNECT,	     CURLE_COULDNT_RESOLVE_HOST,
		CURLE_COULDNT_RESOLVE_PROXY, CURLE_PEER_FAILED_VERIFICATION,
		CURLE_SSL_CERTPROBLEM,	     CURLE_SSL_CACERT_BADFILE,
		CURLE_OPERATION_TIMEDOUT,
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(codes); i++)
		if (codes[i] == code)
			return true;
	return false;
}

/* Did a connection that was kept end before anything was answered? */
static bool stale(const struct atr_http *http, CURLcode code)
{
	long n_connects = 0;

	if (code == CURLE_SEND_FAIL_REWIND)
		return true;
	(void)curl_easy_getinfo(http->easy, CURLINFO_NUM_CONNECTS, &n_connects);
	return (code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR ||
		code == CURLE_GOT_NOTHING) &&
	       !n_connects && !http->headed;
}

/*
 * Is it perhaps about who we are?  A collector says so in TLS, as an alert: with 1.3 when we are
 * through with the handshake, so that our request may meet a connection that is closed, and the
 * alert is never read.
 */
static bool about_us(const struct atr_http *http, CURLcode code)
{
	const char *error = http->error;
	long n_connects = 0;

	(void)curl_easy_getinfo(http->easy, CURLINFO_NUM_CONNECTS, &n_connects);
	if (!http->endpoint->client_variable || !n_connects || http->headed)
		return false;
	if (code == CURLE_SEND_ERROR || strncmp(error, "Send failure", 12) == 0)
		return true;
	return strstr(error, " alert ") &&
	       (strstr(error, "certificate") || strstr(error, "handshake failure") ||
		strstr(error, "unknown ca"));
}

/* Why there is no answer, and from whom: libcurl calls a socket "localhost port 80". */
static const char *explain(struct atr_http *http, CURLcode code)
{
	const struct atr_endpoint *ep = http->endpoint;
	const char *why = http->error[0] ? http->error : curl_easy_strerror(code);
	long err = 0;
	size_t len;

	/* The first trouble that libcurl has with what is closed already may be to ask its name. */
	if (code == CURLE_SEND_FAIL_REWIND || strncmp(why, "getpeername() failed", 20) == 0)
		why = "the connection was closed before there was an answer";
	(void)curl_easy_getinfo(http->easy, CURLINFO_OS_ERRNO, &err);
	if (ep->url.socket && code == CURLE_COULDNT_CONNECT)
		(void)snprintf(http->said, sizeof(http->said), "cannot connect to %s: %s",
			       ep->url.socket, err ? strerror((int)err) : "nobody listens there");
	else
		atr_endpoint_say(ep, http->said, sizeof(http->said), why);
	len = strlen(http->said);
	if (about_us(http, code))
		(void)snprintf(http->said + len, sizeof(http->said) - len, " (perhaps it %s %s%s)",
			       ep->client_certificate ? "does not accept"
						      : "wants a client certificate:",
			       ep->client_variable, ep->client_certificate ? "" : " is not set");
	return http->said;
}

/*
 * Does what came count, though the rest did not?  The head tells that the collector did not take
 * it, and gRPC's status anything.  A success that is cut off is none (RFC 9112 8).
 */
static bool counts(const struct atr_http *http, CURLcode code, long status)
{
	if (code == CURLE_OK || http->too_long)
		return true;
	return http->headed && (status >= 300 || http->grpc.code != ATR_GRPC_NONE);
}

/* Whose answer can it be but the collector's?  Through a tunnel nobody's. */
static const char *proxy_heard(const struct atr_endpoint *ep)
{
	const bool tunnel =
		ep->protocol == ATR_PROTOCOL_GRPC || strncasecmp(ep->url.url, "http:", 5) != 0;

	return !ep->proxy || tunnel || strncasecmp(ep->proxy, "socks", 5) == 0 ? NULL : ep->proxy;
}

static void read_reply(struct atr_http *http, CURLcode code, struct atr_http_reply *reply)
{
	const char *type = NULL;
	char *location = NULL;
	curl_off_t after = 0;
	long status = 0;

	if (code == CURLE_OK && !http->headed)
		code = CURLE_PARTIAL_FILE;
	(void)curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &status);
	(void)curl_easy_getinfo(http->easy, CURLINFO_RETRY_AFTER, &after);
	(void)curl_easy_getinfo(http->easy, CURLINFO_CONTENT_TYPE, &type);
	(void)curl_easy_getinfo(http->easy, CURLINFO_REDIRECT_URL, &location);
	*reply = (struct atr_http_reply){
		.error = explain(http, code),
		.nobody = nobody(code),
		.stale = stale(http, code),
		.too_long = http->too_long,
		.type = body_type(type),
		.location = location,
		.proxy = proxy_heard(http->endpoint),
		.grpc = &http->grpc,
		.retry_after = after > 0 ? (uint64_t)after : 0,
		.body = http->body.bytes,
		.len = http->body.len,
	};
	http->worn = reply->stale;
	if (counts(http, code, status))
		reply->status = (int)status;
	/* A body for which there was no memory is not worth more than its status. */
	if (http->body.failed)
		reply->len = 0;
}

/* libcurl is done with it. */
static void let_go(struct atr_http *http)
{
	if (http->in_flight)
		(void)curl_multi_remove_handle(http->multi, http->easy);
	http->in_flight = false;
}

bool atr_http_step(struct atr_http *http, uint64_t until, struct atr_http_reply *reply)
{
	int running = 0, left = 0;
	CURLMsg *msg;
	CURLcode code;

	(void)curl_multi_perform(http->multi, &running);
	msg = curl_multi_info_read(http->multi, &left);
	if (!msg || msg->msg != CURLMSG_DONE) {
		nap(http, until);
		return false;
	}
	code = msg->data.result;
	read_reply(http, code, reply);
	let_go(http);
	return true;
}

void atr_http_cancel(struct atr_http *http)
{
	if (!http->in_flight)
		return;
	/* HTTP/2 would keep the connection: nobody may be there any more. */
	curl_easy_setopt(http->easy, CURLOPT_FORBID_REUSE, 1L);
	http->worn = true;
	let_go(http);
}

void atr_http_finish(struct atr_http *http)
{
	if (http->multi)
		atr_http_cancel(http);
	curl_easy_cleanup(http->easy);
	curl_multi_cleanup(http->multi);
	curl_slist_free_all(http->resolve);
	atr_buf_free(&http->body);
	*http = (struct atr_http){ 0 };
}
