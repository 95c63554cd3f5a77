/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_VERDICT_H
#define ATR_EXPORTER_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

#include "preload/config.h"

/*
 * What an answer means, whatever the protocol (OTLP specification, "OTLP/HTTP Response",
 * "OTLP/gRPC Response").  Pure.
 */
struct atr_http_reply;

enum atr_verdict_kind {
	ATR_VERDICT_NONE,      /* no answer: to be sent again */
	ATR_VERDICT_TAKEN,     /* but for `rejected` of it */
	ATR_VERDICT_AGAIN,     /* to be sent again */
	ATR_VERDICT_TOO_LARGE, /* in this size it will never be taken */
	ATR_VERDICT_REFUSED,   /* for good */
};

struct atr_verdict {
	enum atr_verdict_kind kind;
	int code;	   /* of the answer: an HTTP status, or minus what gRPC's is */
	char what[64];	   /* the same in words: "HTTP 503", "gRPC UNAVAILABLE" */
	char message[256]; /* the collector's, or why there is no answer; printable, may be empty */
	uint64_t rejected; /* spans, or data points */
	uint64_t pause;	   /* ns the collector wants to be left alone; 0: it did not say */
	bool nobody;	   /* NONE: nobody is there who could be talked to */
	bool stale;	   /* NONE: a connection that was kept had died */
};

void atr_verdict(struct atr_verdict *v, enum atr_PROTOCOL protocol,
		 const struct atr_http_reply *reply);

#endif
