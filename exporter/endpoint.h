/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_ENDPOINT_H
#define ATR_EXPORTER_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
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
	uint64_t looked; /* when it was last looked up again */
};

/* 0 or -ENOMEM.  Bad settings are logged, one line each. */
int atr_endpoint_init(struct atr_endpoint *ep, const struct atr_host *host, enum atr_signal signal);

/* What an endpoint is made of that is no OTLP.  A header line more; false without memory. */
bool atr_endpoint_add_header(struct atr_endpoint *ep, const char *line);

/* The shorter of two settings in ms, as ns; 0 is no limit, which is UINT64_MAX. */
uint64_t atr_endpoint_timeout(uint32_t ms, uint32_t most_ms);

/* Nobody was there: perhaps the name means another address by now.  Asks every two seconds at most.
 */
void atr_endpoint_look_again(struct atr_endpoint *ep, const struct atr_host *host);

/* Why it could not be reached; where a proxy is in between, it may be the proxy. */
void atr_endpoint_say(const struct atr_endpoint *ep, char *buf, size_t size, const char *why);

/* Is there no way to it as things are?  Then why, for a line. */
bool atr_endpoint_blocked(const struct atr_endpoint *ep, char *why, size_t size);

void atr_endpoint_finish(struct atr_endpoint *ep);

#endif
