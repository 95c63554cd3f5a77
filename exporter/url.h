/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_URL_H
#define ATR_EXPORTER_URL_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The collector's URL (OTLP exporter specification, "Endpoint URLs for
 * OTLP/HTTP").  Pure.
 *
 * Beside http and https: unix:///path and unix:path, a Unix-domain socket as gRPC spells
 * one, and http+unix://%2Fpath/base, where the requests' path can be said, too.  gRPC
 * takes host:port and dns:///host:port besides.
 */
enum atr_url_use {
	ATR_URL_BASE,  /* the path is appended */
	ATR_URL_WHOLE, /* it has its path */
	ATR_URL_GRPC,  /* its own path means nothing; its host may stand alone */
};

struct atr_url {
	char *url;    /* for libcurl; malloc'ed */
	char *socket; /* the path of a Unix-domain socket, malloc'ed; NULL: it is none */
};

/* Can anything be sent there?  A scheme, a host, a port that is one. */
bool atr_url_valid(const char *text, bool grpc);

/*
 * Where that text, which is valid, leads; `path` is without a slash in front.
 * `insecure`: no TLS for a host that stands alone.  False without memory.
 */
bool atr_url_make(struct atr_url *ret, const char *text, enum atr_url_use use, const char *path,
		  bool insecure);
void atr_url_finish(struct atr_url *url);

/* The URL as it may be shown: printable, without user name, password and query. */
void atr_url_shown(char *dst, size_t size, const char *url);

#endif
