/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_DELIVERY_H
#define ATR_EXPORTER_DELIVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exporter/buf.h"
#include "exporter/endpoint.h"
#include "exporter/gzip.h"
#include "exporter/http.h"
#include "exporter/otlp.h"
#include "exporter/trouble.h"

struct atr_form_batch;

/* How a batch, or a part of one, ended, in the words of the semantic conventions. */
struct atr_outcome {
	const char *error;   /* error.type: a word of ours, gRPC's or `number`; NULL: the collector
				took it */
	int http_status;     /* of the last attempt; 0: no answer, or gRPC's */
	uint64_t n_rejected; /* spans of it that it did not take */
	char number[12];
};

/*
 * One batch on its way to the collector, or to a Zipkin: as many requests as it takes until it
 * is accepted, refused, or given up.  Says what went wrong, once per trouble.
 *
 * A batch is one part, which is one request, until that turns out to be too large: then its
 * first half is sent, and halved again, down to single spans; what is left of it follows.
 * Later ones are cut to what was taken, which may grow again: whoever found it too large may be
 * gone.
 */
#define ATR_DELIVERY_PARTS 24 /* halvings of the largest batch, and some more */

struct atr_delivery {
	const struct atr_host *host;
	bool beside; /* somebody else is the first exporter, whose health is told */
	struct atr_endpoint endpoint;
	struct atr_http http;
	struct atr_gzip gz;
	struct atr_buf request, packed;
	const uint8_t *body; /* one of the two */
	size_t body_len;

	/* Writes spans (ScopeSpans fields) as a request; NULL: in OTLP, as the protocol wants it.
	 * False: they are none, or there is no memory. */
	bool (*write)(struct atr_delivery *d, struct atr_buf *out, const uint8_t *spans,
		      size_t len);

	const struct atr_otlp_head *head;
	uint64_t *n_delivered, *n_refused; /* where its spans are counted */
	struct atr_buf spans;		   /* the batch, as it was given */
	size_t at;			   /* of its bytes are done with */
	size_t parts[ATR_DELIVERY_PARTS];  /* spans in each, the one under way last */
	size_t n_parts;
	size_t part_len;  /* bytes of the spans of the one under way */
	size_t done;	  /* spans done with that the caller was not told of */
	size_t too_large; /* so many bytes of spans the collector does not take; SIZE_MAX: all */
	unsigned n_fit;	  /* requests cut for that that were taken since it changed */
	unsigned n_grow;  /* so many, and it is doubled */
	bool grown;	  /* it was, and nothing that large was sent since */

	size_t n_spans;	   /* of the batch that are not done with; 0 = there is none */
	bool foreign;	   /* the batch is a dead process's */
	bool refused;	   /* such a one, which FAILED for it */
	unsigned attempts; /* begun */
	uint64_t deadline; /* of the batch */
	uint64_t next;	   /* attempt; UINT64_MAX while one is under way */
	bool told;	   /* `next` is the collector's word, not ours */
	uint64_t patience; /* it wants to be left alone until then, by any batch; 0: not */

	bool lost; /* the last attempt found nobody */

	char error[256];		 /* of the last attempt that failed */
	struct atr_outcome outcome;	 /* of the part under way, in the end of the last one */
	struct atr_outcome part_outcome; /* of the one before, which is done with */
	struct atr_trouble trouble;
	bool unsaid;   /* a failure of a flush or an end is left to atr_delivery_say_unsent() */
	int said_code; /* of the last refusal that was said */
	uint64_t refused_at; /* when that was */
	bool said_partial;
	uint64_t partial_at; /* when that was */
	bool said_span;	     /* that a single one was too large */
};

enum atr_delivery_state {
	ATR_DELIVERY_BUSY,
	ATR_DELIVERY_DONE,   /* accepted or refused, and counted as such */
	ATR_DELIVERY_FAILED, /* given up; to be counted by the caller */
};

/* How much hurry there is. */
enum atr_delivery_haste {
	ATR_HASTE_NONE,
	ATR_HASTE_FLUSH, /* who is not there now is not tried again, nor who would be too late: the
			    batch is kept for later */
	ATR_HASTE_STOP,	 /* the same, and what is said about it the caller says */
};

/* 0 or -errno: -ENOTSUP, which is said, when libcurl cannot speak the protocol.  Nothing is
 * connected before the first batch. */
int atr_delivery_init(struct atr_delivery *d, const struct atr_host *host);

/* The same with the endpoint and the writer that *d has, and nothing else. */
int atr_delivery_init_to(struct atr_delivery *d, const struct atr_host *host);

/* Begins with a batch, whose spans it copies; the head stays.  0 or -errno. */
int atr_delivery_start(struct atr_delivery *d, const struct atr_form_batch *batch);

/* Does what can be done now; waits only while a request is under way, shortly, at most until
 * `until`. */
enum atr_delivery_state atr_delivery_step(struct atr_delivery *d, uint64_t until,
					  enum atr_delivery_haste haste);

/* The whole request is on its way, and nobody has answered yet. */
bool atr_delivery_sent(const struct atr_delivery *d);

/* How many of the batch's spans are in it: the first of those that are not done with. */
size_t atr_delivery_part(const struct atr_delivery *d);

/* How many spans, from the front of the batch, are done with since the last call: taken, or
 * refused, and counted as such.  They are never sent again. */
size_t atr_delivery_done(struct atr_delivery *d);

/* When there is something to do: 0 = now (a request is under way), else the next attempt. */
uint64_t atr_delivery_due(const struct atr_delivery *d);

/* The process ends, and n_spans were not taken, or another exporter has them all: why, if that was
 * not said. */
void atr_delivery_say_unsent(struct atr_delivery *d, uint64_t n_spans);

/* Makes the next attempt now, unless the collector named the time. */
void atr_delivery_hurry(struct atr_delivery *d);

/* Lets go of the batch; returns how many spans it held. */
size_t atr_delivery_cancel(struct atr_delivery *d);

void atr_delivery_finish(struct atr_delivery *d);

#endif
