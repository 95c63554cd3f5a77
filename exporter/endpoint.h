/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_ENDPOINT_H
#define ATR_EXPORTER_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "exporter/url.h"
#include "preload/host.h"
#include "preload/target.h"

struct curl_slist;

/* Where requests go and what they carry: the OTEL_EXPORTER_OTLP_* settings of a signal, made
 * sense of. */
struct atr_endpoint {
	struct atr_url url;
	char shown[256]; /* the same for log lines */
	enum atr_PROTOCOL protocol;
	bool gzip;
	uint64_t timeout;	    /* ns for one batch, retries included; UINT64_MAX = none */
	struct curl_slist *headers; /* all that is ours or the user's */
	const char *proxy;	    /* NULL: none */

	/* Files of TLS; NULL: not set. */
	const char *certificate, *client_certificate, *client_key;
	const char *client_variable; /* that sets the client's; NULL: none does */

	const char *text; /* what to ask host->look_up() for; NULL: nothing */
	struct atr_addresses addresses;
};

/* 0 or -ENOMEM.  Bad settings are logged, one line each. */
int atr_endpoint_init(struct atr_endpoint *ep, const struct atr_host *host, enum atr_signal signal);

/* Why it could not be reached; where a proxy is in between, it may be the proxy. */
void atr_endpoint_say(const struct atr_endpoint *ep, char *buf, size_t size, const char *why);

void atr_endpoint_finish(struct atr_endpoint *ep);

#endif
