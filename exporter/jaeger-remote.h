/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_JAEGER_REMOTE_H
#define ATR_EXPORTER_JAEGER_REMOTE_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exporter/buf.h"
#include "preload/strategy.h"

struct atr_host;

/*
 * Asks a Jaeger backend how this service is to be sampled: GET <endpoint>?service=<name>, every
 * so often, beside whatever else the background thread does.  Until the first answer the
 * initial rate counts, and when none comes the last one.
 */
struct atr_jaeger {
	const struct atr_host *host;
	CURLM *multi;
	CURL *easy;
	struct curl_slist *resolve;
	char *url;
	char shown[256];
	struct atr_buf body;
	struct atr_strategy strategy;
	struct atr_buf names; /* of its operations */
	uint64_t next;	      /* monotonic ns: when it is to be asked again; UINT64_MAX: never */
	bool in_flight;
	bool failed;   /* the last time, and that was said */
	bool answered; /* ever */
	bool too_long;
	char error[CURL_ERROR_SIZE];
};

/* Does nothing where no remote sampler is configured.  To be finished in any case. */
void atr_jaeger_init(struct atr_jaeger *j, const struct atr_host *host);
void atr_jaeger_finish(struct atr_jaeger *j);

/* When atr_jaeger_step() is to be called next. */
uint64_t atr_jaeger_due(const struct atr_jaeger *j);

/* Does what there is to do now; never waits. */
void atr_jaeger_step(struct atr_jaeger *j);

/*
 * An answer (jaeger-idl, sampling.proto, as JSON) as a strategy; the names of its operations lie
 * in `names`.  False: it is none.
 */
bool atr_jaeger_read(const char *text, size_t len, struct atr_strategy *ret, struct atr_buf *names);

#endif
