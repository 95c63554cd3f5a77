/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_ENDPOINT_H
#define ATR_EXPORTER_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

struct atr_host;
struct curl_slist;

/* Where requests go and what they carry: the OTEL_EXPORTER_OTLP_* settings, made sense of. */
struct atr_endpoint {
	char *url;
	char shown[256]; /* the same for log lines */
	bool configured; /* false: a URL in the environment was bad, this is not the one looked up
			  */
	bool gzip;
	uint64_t timeout;	    /* ns for one batch, retries included; UINT64_MAX = none */
	struct curl_slist *headers; /* all that is ours or the user's */
};

/* 0 or -ENOMEM.  Bad settings are logged, one line each. */
int atr_endpoint_init(struct atr_endpoint *ep, const struct atr_host *host);
void atr_endpoint_finish(struct atr_endpoint *ep);

#endif
