/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_HTTP_H
#define ATR_EXPORTER_HTTP_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exporter/buf.h"
#include "exporter/grpc.h"
#include "preload/version.h"

struct atr_endpoint;
struct atr_host;

/*
 * One POST at a time over one connection that is kept, by libcurl's multi
 * interface.  libcurl never waits here: atr_http_step() lets it do what it can
 * do now and then sleeps through the host, which lets go of the fork gate.
 */
struct atr_http {
	const struct atr_host *host;
	CURLM *multi;
	CURL *easy;
	const struct atr_endpoint *endpoint;
	struct curl_slist *resolve; /* the endpoint's addresses, as libcurl was told them */
	bool in_flight;
	bool worn;	    /* to be set up anew before the next request */
	bool sent;	    /* the last of the body was given out to be sent */
	const uint8_t *out; /* the body */
	size_t out_len, out_at;
	size_t napped_at;	    /* out_at at the last sleep */
	unsigned idle_wakes;	    /* sleeps since, that ended at once and in vain */
	void (*on_sent)(void *arg); /* called just before the last of a body goes to the kernel */
	void *on_sent_arg;
	bool headed;   /* the response's head came to its end */
	bool too_long; /* the response */
	struct atr_grpc_status grpc;
	char timeout_line[ATR_GRPC_TIMEOUT_LINE]; /* a header of this request alone */
	struct curl_slist timeout_header;
	struct atr_buf body;
	char error[CURL_ERROR_SIZE];
	char said[2 * CURL_ERROR_SIZE]; /* the same, with who it is about */
};

/* What a body says it is. */
enum atr_body_type { ATR_BODY_OTHER, ATR_BODY_PROTOBUF, ATR_BODY_JSON, ATR_BODY_GRPC };

/* What came of a request.  Its memory is good until the next one. */
struct atr_http_reply {
	int status;	   /* 0: none came, see error */
	const char *error; /* why not */
	bool nobody;	   /* no connection could be made */
	bool stale;	   /* one that was kept had died, which happens */
	bool too_long;	   /* more than 4 MiB of response */
	enum atr_body_type type;
	const char *location;		    /* where a redirect leads; NULL: it is none */
	const char *proxy;		    /* who may have answered instead; NULL: nobody */
	uint64_t retry_after;		    /* seconds; 0 = not said */
	const struct atr_grpc_status *grpc; /* of a gRPC endpoint only; its code may be NONE */
	const uint8_t *body;
	size_t len;
};

#define ATR_HTTP_USER_AGENT "libautotrace/" ATR_VERSION " OTel-OTLP-Exporter-C/" ATR_VERSION

/* Initialises libcurl, once more or for the first time.  0 or -errno. */
int atr_http_global(const struct atr_host *host);

/* Nothing but http and https. */
void atr_http_set_protocols(CURL *easy);

/* Initialises libcurl; nothing is connected yet.  The endpoint must stay.  0 or -errno: -ENOTSUP
 * when this libcurl cannot do what the endpoint wants. */
int atr_http_init(struct atr_http *http, const struct atr_host *host,
		  const struct atr_endpoint *endpoint);

/*
 * Begins a POST of the body, which must stay until there is a reply.  With gRPC the server
 * is told of the deadline, UINT64_MAX: there is none.  A connection has to be there in time for it,
 * and for `hurry`.  Nothing is sent twice.  0 or -errno.
 */
int atr_http_start(struct atr_http *http, const uint8_t *body, size_t len, uint64_t deadline,
		   uint64_t hurry);

/* Goes on with it, waiting once, at most until `until` and never long; true when *reply is there.
 */
bool atr_http_step(struct atr_http *http, uint64_t until, struct atr_http_reply *reply);

/* Lets go of a request under way, and its connection. */
void atr_http_cancel(struct atr_http *http);

/* Also of one that was never set up. */
void atr_http_finish(struct atr_http *http);

#endif
