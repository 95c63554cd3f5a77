/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/delivery.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "exporter/form.h"
#include "exporter/health.h"
#include "exporter/otlp-json.h"
#include "exporter/retry.h"
#include "exporter/verdict.h"
#include "preload/host.h"
#include "preload/sys.h"

#define NS_PER_S 1000000000ull

/* The longest a collector may make us wait: five minutes. */
#define RETRY_AFTER_MAX_NS (300 * NS_PER_S)

#define REQUEST_MAX (64u << 20) /* OTLP: a larger request is not sent */

/* Requests that were cut and taken, until a larger one is tried; in vain, twice as many. */
#define GROW_FIRST 16
#define GROW_MOST 1024

/*
 * libcurl at once, though there is nothing to send yet: OpenSSL must be there
 * before the program's exit handlers run, and our stop be registered after its
 * clean-up (host.h, loaded()).
 */
int atr_delivery_init(struct atr_delivery *d, const struct atr_host *host)
{
	int err;

	*d = (struct atr_delivery){ 0 };
	err = atr_endpoint_init(&d->endpoint, host, ATR_SIGNAL_TRACES);
	if (!err)
		err = atr_delivery_init_to(d, host);
	if (err == -ENOTSUP)
		host->log(ATR_LOG_ERROR, "this libcurl speaks no HTTP/2: grpc cannot be used");
	return err;
}

int atr_delivery_init_to(struct atr_delivery *d, const struct atr_host *host)
{
	d->host = host;
	d->too_large = SIZE_MAX;
	d->n_grow = GROW_FIRST;
	return atr_http_init(&d->http, host, &d->endpoint);
}

/* ---- what is said ---- */

static bool several(const struct atr_config *c)
{
	unsigned others = c->exporters & ~(unsigned)ATR_EXPORTER_NONE;

	return __builtin_popcount(others) + (c->file != NULL) > 1;
}

/* For `autotrace status`. */
static void tell(const struct atr_delivery *d)
{
	if (d->beside)
		atr_health_other(d->host->health, d->endpoint.shown, d->error);
	else
		atr_health_error(d->host->health, d->error);
}

/* What becomes of the spans meanwhile. */
static const char *meanwhile(const struct atr_host *host, char *buf, size_t size)
{
	const struct atr_config *c = host->config;

	if (host->orphans_only)
		return "spans stay where they are";
	if (several(c))
		return "what another exporter takes does not come there later";
	(void)snprintf(buf, size, "spans are kept until %u wait%s, then new ones are dropped",
		       c->bsp_max_queue_size,
		       c->bsp_max_queue_size_set ? " (OTEL_BSP_MAX_QUEUE_SIZE)"
						 : " and their rings are full");
	return buf;
}

static void complain(struct atr_delivery *d, enum atr_delivery_haste haste)
{
	char kept[96], more[48] = "";
	unsigned others;

	tell(d);
	/* At the end of a process what became of its spans is said, once that is known. */
	d->unsaid = haste != ATR_HASTE_NONE && !d->host->orphans_only;
	if (d->unsaid || !atr_trouble_fails(&d->trouble, d->host->now(), &others))
		return;
	if (others)
		(void)snprintf(more, sizeof(more), " (and %u times before)", others);
	d->host->log(ATR_LOG_WARN, "export to %s failed: %s%s; %s", d->endpoint.shown, d->error,
		     more, meanwhile(d->host, kept, sizeof(kept)));
}

void atr_delivery_say_unsent(struct atr_delivery *d, uint64_t n_spans)
{
	const char *dir = d->host->spool_dir();
	char kept[96];

	if (d->trouble.said || (!n_spans && !d->unsaid))
		return;
	if (!n_spans)
		d->host->log(ATR_LOG_WARN, "export to %s failed: %s; %s", d->endpoint.shown,
			     d->error, meanwhile(d->host, kept, sizeof(kept)));
	else if (dir || d->host->config->log_level < ATR_LOG_INFO)
		d->host->log(ATR_LOG_WARN, "export to %s failed: %s; %llu spans %s%s",
			     d->endpoint.shown, d->error[0] ? d->error : "no answer in time",
			     (unsigned long long)n_spans, dir ? "are left in " : "were not sent",
			     dir ? dir : "");
	/* Else the process says what it dropped, and why, in one line. */
}

static void works(struct atr_delivery *d)
{
	d->unsaid = false;
	if (atr_trouble_ends(&d->trouble))
		d->host->log(ATR_LOG_INFO, "export to %s works again", d->endpoint.shown);
	d->lost = false;
	d->patience = 0;
	if (atr_trouble_old(d->refused_at, d->host->now()))
		d->said_code = 0;
}

static void refused(struct atr_delivery *d, const struct atr_verdict *v)
{
	(void)snprintf(d->error, sizeof(d->error), "refused: %.60s%s%.180s", v->what,
		       v->message[0] ? ", " : "", v->message);
	tell(d);
	if (d->said_code == v->code)
		return;
	d->said_code = v->code;
	d->refused_at = d->host->now();
	d->host->log(ATR_LOG_WARN, "%s refused %zu spans: %s%s%s; they are %s", d->endpoint.shown,
		     atr_delivery_part(d), v->what, v->message[0] ? ", " : "", v->message,
		     d->refused	      ? "left where they are"
		     : d->host->files ? "put aside"
				      : "dropped");
}

/* What somebody found too large, and in which words; "": none. */
static void span_too_large(struct atr_delivery *d, const char *what, const char *message)
{
	const char *comma = message[0] ? ", " : "";

	if (!d->said_span)
		d->host->log(ATR_LOG_WARN,
			     "a span of %zu bytes is too large for %s: %s%s%s; such spans are %s",
			     d->part_len, d->endpoint.shown, what, comma, message,
			     d->host->files ? "put aside" : "dropped");
	d->said_span = true;
	(void)snprintf(d->error, sizeof(d->error),
		       "a span of %zu bytes is too large: %.60s%s%.130s", d->part_len, what, comma,
		       message);
	tell(d);
}

/* ---- parts ---- */

size_t atr_delivery_part(const struct atr_delivery *d)
{
	return d->n_parts ? d->parts[d->n_parts - 1] : 0;
}

/* Bytes of the first n spans that are not done with. */
static size_t bytes_of(const struct atr_delivery *d, size_t n)
{
	size_t len = 0;

	for (; n; n--)
		len += atr_otlp_span_field(d->spans.bytes + d->at + len,
					   d->spans.len - d->at - len);
	return len;
}

/* The part under way becomes its first half; false: it is one span. */
static bool halve(struct atr_delivery *d)
{
	size_t n = atr_delivery_part(d);

	if (n < 2 || d->n_parts == ATR_DELIVERY_PARTS)
		return false;
	d->parts[d->n_parts - 1] = n - n / 2;
	d->parts[d->n_parts++] = n / 2;
	d->part_len = bytes_of(d, n / 2);
	return true;
}

/* A part was taken.  If it was cut to what the collector takes: perhaps it takes more. */
static void grow(struct atr_delivery *d)
{
	if (d->grown && d->part_len >= d->too_large / 2) { /* it does */
		d->n_grow = GROW_FIRST;
		d->grown = false;
	}
	if (d->too_large == SIZE_MAX || (!d->at && d->n_parts == 1) || ++d->n_fit < d->n_grow)
		return;
	d->too_large = d->too_large <= SIZE_MAX / 2 ? 2 * d->too_large : SIZE_MAX;
	d->grown = true;
	d->n_fit = 0;
}

/* So many bytes it does not take. */
static void shrink(struct atr_delivery *d, size_t len)
{
	if (len < d->too_large)
		d->too_large = len;
	if (d->grown && d->n_grow < GROW_MOST)
		d->n_grow *= 2;
	d->grown = false;
	d->n_fit = 0;
}

/* It was taken or refused; the next one has its turn. */
static void part_done(struct atr_delivery *d)
{
	size_t n = atr_delivery_part(d);

	d->part_outcome = d->outcome;
	d->at += d->part_len;
	d->done += n;
	d->n_spans -= n;
	d->n_parts--;
	d->part_len = bytes_of(d, atr_delivery_part(d));
}

static bool write_message(struct atr_delivery *d, struct atr_buf *out)
{
	const uint8_t *spans = d->spans.bytes + d->at;

	if (d->write)
		return d->write(d, out, spans, d->part_len);
	if (d->endpoint.protocol == ATR_PROTOCOL_HTTP_JSON)
		return atr_otlp_json(out, d->head, spans, d->part_len);
	atr_otlp_request(out, d->head, spans, d->part_len);
	return !out->failed;
}

/* The part as a request's body; *ret_len is its length before it was packed. */
static bool write_body(struct atr_delivery *d, size_t *ret_len)
{
	const bool grpc = d->endpoint.protocol == ATR_PROTOCOL_GRPC, gzip = d->endpoint.gzip;
	struct atr_buf *out = gzip ? &d->packed : &d->request;

	atr_buf_reset(&d->request);
	atr_buf_reset(&d->packed);
	if (grpc)
		atr_grpc_begin(out, gzip);
	if (!write_message(d, &d->request))
		return false;
	*ret_len = d->request.len;
	if (gzip && !atr_gzip(&d->gz, &d->packed, d->request.bytes, d->request.len))
		return false;
	if (grpc)
		atr_grpc_end(out, 0);
	d->body = out->bytes;
	d->body_len = out->len;
	return !out->failed;
}

/*
 * Makes the next request, of as much as may be in one; none when there is nothing left.
 * 0 or -ENOMEM.
 */
static int next_part(struct atr_delivery *d)
{
	size_t len;

	d->attempts = 0;
	d->next = d->host->now();
	d->told = false;
	while (d->n_parts) {
		if (d->part_len >= d->too_large && halve(d))
			continue;
		if (!write_body(d, &len))
			return -ENOMEM;
		if (len <= REQUEST_MAX) {
			d->outcome = (struct atr_outcome){ .error = "timeout" };
			return 0;
		}
		if (halve(d))
			continue;
		span_too_large(d, "more than 64 MiB", "");
		atr_add(d->n_refused, 1);
		part_done(d);
	}
	return 0;
}

/* ---- one attempt ---- */

/* It ended so, unless there is another one. */
static void ended(struct atr_delivery *d, const char *error, int status, uint64_t n_rejected)
{
	d->outcome = (struct atr_outcome){
		.error = error,
		.http_status = status,
		.n_rejected = n_rejected,
	};
	if (status && status / 100 != 2) {
		(void)snprintf(d->outcome.number, sizeof(d->outcome.number), "%d", status);
		d->outcome.error = d->outcome.number;
	}
}

/* The same by an answer: gRPC's codes have names. */
static void ended_by(struct atr_delivery *d, const struct atr_verdict *v, const char *error,
		     uint64_t n_rejected)
{
	if (v->code > 0)
		ended(d, error, v->code, n_rejected);
	else
		ended(d, v->code ? atr_grpc_code_name(-v->code) : error, 0, n_rejected);
}

static uint32_t random32(void)
{
	uint32_t r = 0;

	(void)atr_sys_getrandom(&r, sizeof(r), 0);
	return r;
}

/* After an attempt that may be repeated; false when it may not.  `pause`: the collector's, 0: ours.
 */
static bool again(struct atr_delivery *d, uint64_t pause)
{
	uint64_t now = d->host->now();

	if (pause > RETRY_AFTER_MAX_NS)
		pause = RETRY_AFTER_MAX_NS;
	d->patience = pause ? now + pause : 0;
	if (d->attempts >= ATR_RETRY_ATTEMPTS)
		return false;
	d->told = pause > 0;
	if (!d->told)
		pause = atr_retry_backoff(d->attempts, random32());
	/* Not beyond the batch's time: there it is given up, and the next one has its turn. */
	d->next = now < d->deadline && pause < d->deadline - now ? now + pause : d->deadline;
	return now < d->deadline;
}

/* No answer came.  `nobody`: not even a connection; in a hurry that is not tried again. */
static enum atr_delivery_state no_answer(struct atr_delivery *d, const char *why, bool nobody,
					 enum atr_delivery_haste haste)
{
	bool more = again(d, 0);

	ended(d, nobody ? "connection_failed" : "no_response", 0, 0);
	d->lost = nobody;
	(void)snprintf(d->error, sizeof(d->error), "%s", why);
	if (haste != ATR_HASTE_NONE && (nobody || d->next >= d->host->deadline()))
		more = false;
	complain(d, haste);
	return more ? ATR_DELIVERY_BUSY : ATR_DELIVERY_FAILED;
}

/* A connection that was kept had died: that is no news, unless it happens again. */
static enum atr_delivery_state once_more(struct atr_delivery *d, const struct atr_verdict *v)
{
	(void)snprintf(d->error, sizeof(d->error), "%s", v->message);
	ended(d, "no_response", 0, 0);
	(void)again(d, 0); /* where there is no time for it, that is seen next */
	return ATR_DELIVERY_BUSY;
}

static void accepted(struct atr_delivery *d, const struct atr_verdict *v)
{
	const char *why = v->message[0] ? v->message : "it does not say why";
	const size_t n = atr_delivery_part(d);
	uint64_t rejected = v->rejected < n ? v->rejected : n;

	atr_add(d->n_delivered, n - rejected);
	atr_add(d->n_refused, rejected);
	ended_by(d, v, rejected ? "rejected" : NULL, rejected);
	if (rejected) {
		(void)snprintf(d->error, sizeof(d->error), "rejected %llu of %zu spans: %.180s",
			       (unsigned long long)rejected, n, why);
		tell(d);
	}
	if (rejected < n && !d->beside)
		atr_health_ok(d->host->health);
	works(d);
	grow(d);
	if (rejected || v->message[0]) {
		if (!d->said_partial)
			d->host->log(ATR_LOG_WARN, "%s rejected %llu of %zu spans: %s",
				     d->endpoint.shown, (unsigned long long)rejected, n, why);
		if (!d->said_partial)
			d->partial_at = d->host->now();
		d->said_partial = true;
	} else if (atr_trouble_old(d->partial_at, d->host->now())) {
		d->said_partial = false;
	}
}

/* A part is done with. */
static enum atr_delivery_state go_on(struct atr_delivery *d)
{
	part_done(d);
	if (next_part(d) != 0) {
		(void)snprintf(d->error, sizeof(d->error), "out of memory");
		ended(d, "no_memory", 0, 0);
		return ATR_DELIVERY_FAILED;
	}
	return d->n_parts ? ATR_DELIVERY_BUSY : ATR_DELIVERY_DONE;
}

static enum atr_delivery_state too_large(struct atr_delivery *d, const struct atr_verdict *v)
{
	size_t len = d->part_len;

	if (!halve(d)) {
		span_too_large(d, v->what, v->message);
		atr_add(d->n_refused, 1);
		ended_by(d, v, NULL, 1);
		return go_on(d);
	}
	shrink(d, len);
	atr_add(&d->host->stats->split, 1);
	return next_part(d) == 0 ? ATR_DELIVERY_BUSY : ATR_DELIVERY_FAILED;
}

static enum atr_delivery_state try_again(struct atr_delivery *d, const struct atr_verdict *v,
					 enum atr_delivery_haste haste)
{
	(void)snprintf(d->error, sizeof(d->error), "%.60s%s%.150s", v->what,
		       v->message[0] ? ", " : "", v->message);
	tell(d);
	ended_by(d, v, NULL, 0);
	if (again(d, v->pause))
		return ATR_DELIVERY_BUSY;
	complain(d, haste);
	return ATR_DELIVERY_FAILED;
}

/* Is something wrong with the batch, or with where it was sent to, and by whom? */
static bool is_malformed(const struct atr_verdict *v)
{
	return v->code == 400 || v->code == -ATR_GRPC_INVALID_ARGUMENT;
}

/* Of what is another's, only that is final which will be so for everybody who sends it. */
static enum atr_delivery_state not_taken(struct atr_delivery *d, const struct atr_verdict *v,
					 const struct atr_http_reply *reply)
{
	const size_t n = atr_delivery_part(d);

	d->refused = d->foreign && !reply->too_long && !is_malformed(v);
	ended_by(d, v, reply->too_long ? "response_too_long" : NULL, n);
	if (!d->refused)
		atr_add(d->n_refused, n);
	refused(d, v);
	return d->refused ? ATR_DELIVERY_FAILED : go_on(d);
}

static enum atr_delivery_state judge(struct atr_delivery *d, struct atr_http_reply *reply,
				     enum atr_delivery_haste haste)
{
	struct atr_verdict v;

	d->next = 0;
	if (d->write && reply->type == ATR_BODY_PROTOBUF)
		reply->type = ATR_BODY_OTHER; /* it did not say; who is no collector has none */
	atr_verdict(&v, d->endpoint.protocol, reply);
	switch (v.kind) {
	case ATR_VERDICT_NONE:
		return v.stale && d->attempts == 1 && haste == ATR_HASTE_NONE
			       ? once_more(d, &v)
			       : no_answer(d, v.message, v.nobody, haste);
	case ATR_VERDICT_AGAIN:
		return try_again(d, &v, haste);
	case ATR_VERDICT_TOO_LARGE:
		return too_large(d, &v);
	case ATR_VERDICT_TAKEN:
		accepted(d, &v);
		break;
	case ATR_VERDICT_REFUSED:
		return not_taken(d, &v, reply);
	}
	return go_on(d);
}

static enum atr_delivery_state attempt(struct atr_delivery *d, enum atr_delivery_haste haste)
{
	const struct atr_host *host = d->host;
	char why[256];
	int err;

	d->attempts++;
	d->told = false;
	if (d->lost && haste == ATR_HASTE_NONE)
		atr_endpoint_look_again(&d->endpoint, host);
	if (atr_endpoint_blocked(&d->endpoint, why, sizeof(why)))
		return no_answer(d, why, true, haste);
	err = atr_http_start(&d->http, d->body, d->body_len, d->deadline,
			     haste == ATR_HASTE_NONE ? UINT64_MAX : host->deadline());
	if (err)
		return no_answer(d, "out of memory", false, haste);
	d->next = UINT64_MAX;
	atr_add(&host->stats->requests, 1);
	if (d->attempts > 1)
		atr_add(&host->stats->retries, 1);
	return ATR_DELIVERY_BUSY;
}

/* The batch's time is up. */
static enum atr_delivery_state too_late(struct atr_delivery *d, enum atr_delivery_haste haste)
{
	if (d->http.in_flight) {
		atr_http_cancel(&d->http);
		d->lost = true; /* whoever had the address may have it no more */
		(void)snprintf(d->error, sizeof(d->error), "no answer within %llu ms",
			       (unsigned long long)(d->endpoint.timeout / 1000000u));
	}
	complain(d, haste);
	return ATR_DELIVERY_FAILED;
}

/* ---- one batch ---- */

int atr_delivery_start(struct atr_delivery *d, const struct atr_form_batch *b)
{
	uint64_t now = d->host->now();

	d->outcome = (struct atr_outcome){ .error = "no_memory" };
	atr_buf_reset(&d->spans);
	atr_buf_add(&d->spans, b->spans, b->len);
	if (d->spans.failed)
		return -ENOMEM;
	d->head = b->head;
	d->n_delivered = b->delivered;
	d->n_refused = b->refused;
	d->at = d->done = 0;
	d->parts[0] = d->n_spans = b->n_spans;
	d->n_parts = b->n_spans > 0;
	d->part_len = b->len;
	d->foreign = b->foreign;
	d->refused = false;
	d->deadline =
		d->endpoint.timeout < UINT64_MAX - now ? now + d->endpoint.timeout : UINT64_MAX;
	d->error[0] = '\0';
	if (next_part(d) == 0)
		return 0;
	d->n_spans = d->n_parts = 0;
	return -ENOMEM;
}

enum atr_delivery_state atr_delivery_step(struct atr_delivery *d, uint64_t until,
					  enum atr_delivery_haste haste)
{
	enum atr_delivery_state state = ATR_DELIVERY_BUSY;
	struct atr_http_reply reply;
	uint64_t now = d->host->now();

	if (!d->n_parts)
		state = ATR_DELIVERY_DONE;
	else if (now >= d->deadline)
		state = too_late(d, haste);
	else if (!d->http.in_flight && now >= d->next)
		state = attempt(d, haste);
	else if (d->http.in_flight &&
		 atr_http_step(&d->http, until < d->deadline ? until : d->deadline, &reply))
		state = judge(d, &reply, haste);
	return state;
}

bool atr_delivery_sent(const struct atr_delivery *d)
{
	return d->http.in_flight && d->http.sent;
}

size_t atr_delivery_done(struct atr_delivery *d)
{
	size_t n = d->done;

	d->done = 0;
	return n;
}

uint64_t atr_delivery_due(const struct atr_delivery *d)
{
	return d->http.in_flight ? 0 : d->next;
}

void atr_delivery_hurry(struct atr_delivery *d)
{
	if (d->n_spans && !d->http.in_flight && !d->told)
		d->next = 0;
}

size_t atr_delivery_cancel(struct atr_delivery *d)
{
	size_t n = d->n_spans;

	atr_http_cancel(&d->http);
	d->n_spans = d->n_parts = 0;
	return n;
}

void atr_delivery_finish(struct atr_delivery *d)
{
	atr_http_finish(&d->http);
	atr_gzip_finish(&d->gz);
	atr_buf_free(&d->spans);
	atr_buf_free(&d->request);
	atr_buf_free(&d->packed);
	atr_endpoint_finish(&d->endpoint);
}
