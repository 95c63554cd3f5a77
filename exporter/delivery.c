/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/delivery.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "exporter/health.h"
#include "exporter/retry.h"
#include "preload/host.h"
#include "preload/sys.h"

#define NS_PER_S 1000000000ull

/* The longest a collector may make us wait when no timeout does: five minutes. */
#define RETRY_AFTER_MAX 300u

#define LOOK_UP_EVERY_NS (2 * NS_PER_S)

#define LINE_MAX_SHOWN 200 /* bytes of a response that is no protobuf */

/*
 * libcurl at once, though there is nothing to send yet: OpenSSL must be there
 * before the program's exit handlers run, and our stop be registered after its
 * clean-up (host.h, loaded()).
 */
int atr_delivery_init(struct atr_delivery *d, const struct atr_host *host)
{
	int err;

	*d = (struct atr_delivery){ .host = host };
	err = atr_endpoint_init(&d->endpoint, host, ATR_SIGNAL_TRACES);
	return err ? err : atr_http_init(&d->http, host, &d->endpoint);
}

/* ---- what is said ---- */

static void complain(struct atr_delivery *d, enum atr_delivery_haste haste)
{
	const char *url = d->endpoint.shown;

	atr_health_error(d->host->health, d->error);
	if (d->down || haste == ATR_HASTE_STOP)
		return;
	d->down = true;
	d->host->log(ATR_LOG_WARN,
		     "export to %s failed: %s; spans are kept up to %u and then dropped", url,
		     d->error, d->host->config->bsp_max_queue_size);
}

static void works(struct atr_delivery *d)
{
	if (d->down)
		d->host->log(ATR_LOG_INFO, "export to %s works again", d->endpoint.shown);
	d->down = d->lost = false;
	d->said_status = 0;
}

/* A refusal, in the collector's own words if it has some. */
static void refused(struct atr_delivery *d, const struct atr_http_reply *reply)
{
	struct atr_otlp_reply said = { 0 };

	if (reply->too_long) {
		(void)snprintf(said.message, sizeof(said.message), "a response of more than 4 MiB");
	} else if (reply->protobuf && reply->len) {
		atr_otlp_read_failure(&said, reply->body, reply->len);
	} else if (reply->len) {
		const char *text = (const char *)reply->body;
		const char *end = memchr(text, '\n', reply->len);
		size_t len = end ? (size_t)(end - text) : reply->len;

		(void)atr_escape(said.message, sizeof(said.message), text,
				 len < LINE_MAX_SHOWN ? len : LINE_MAX_SHOWN);
	}
	(void)snprintf(d->error, sizeof(d->error), "refused: HTTP %d%s%.*s", reply->status,
		       said.message[0] ? ", " : "", 200, said.message);
	atr_health_error(d->host->health, d->error);
	if (d->said_status == reply->status)
		return;
	d->said_status = reply->status;
	d->host->log(ATR_LOG_WARN, "%s refused %zu spans: HTTP %d%s%s; they are dropped",
		     d->endpoint.shown, d->n_spans, reply->status, said.message[0] ? ", " : "",
		     said.message);
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

static uint32_t random32(void)
{
	uint32_t r = 0;

	(void)atr_sys_getrandom(&r, sizeof(r), 0);
	return r;
}

/* After an attempt that may be repeated; false when it may not. */
static bool again(struct atr_delivery *d, uint64_t retry_after)
{
	uint64_t now = d->host->now();
	uint64_t pause;

	if (d->attempts >= ATR_RETRY_ATTEMPTS)
		return false;
	d->told = retry_after > 0;
	if (retry_after > RETRY_AFTER_MAX)
		retry_after = RETRY_AFTER_MAX;
	pause = d->told ? retry_after * NS_PER_S : atr_retry_backoff(d->attempts, random32());
	/* Not beyond the batch's time: there it is given up, and the next one has its turn. */
	d->next = pause < d->deadline - now ? now + pause : d->deadline;
	return now < d->deadline;
}

/* `nobody`: not even a connection; in a hurry that is not tried again. */
static enum atr_delivery_state no_answer(struct atr_delivery *d, const char *why, bool nobody,
					 enum atr_delivery_haste haste)
{
	bool more = again(d, 0);

	ended(d, nobody ? "connection_failed" : "no_response", 0, 0);
	d->lost = nobody;
	(void)atr_escape(d->error, sizeof(d->error), why, strlen(why));
	if (haste != ATR_HASTE_NONE && (nobody || d->next >= d->host->deadline()))
		more = false;
	complain(d, more ? ATR_HASTE_NONE : haste);
	return more ? ATR_DELIVERY_BUSY : ATR_DELIVERY_FAILED;
}

/* Of a dead process's, too, it is we who have them no more. */
static void count_rejected(struct atr_delivery *d, uint64_t n_spans)
{
	if (!d->foreign)
		atr_add(&d->host->stats->rejected, n_spans);
	else
		atr_add(&d->host->stats->adopted, n_spans);
}

static enum atr_delivery_state accepted(struct atr_delivery *d, const struct atr_http_reply *reply)
{
	struct atr_stats *stats = d->host->stats;
	struct atr_otlp_reply said = { 0 };

	if (reply->protobuf && reply->len)
		atr_otlp_read_success(&said, reply->body, reply->len);
	if (said.rejected > d->n_spans)
		said.rejected = d->n_spans;
	atr_add(d->foreign ? &stats->adopted : &stats->exported, d->n_spans - said.rejected);
	count_rejected(d, said.rejected);
	ended(d, said.rejected ? "rejected" : NULL, reply->status, said.rejected);
	if (said.rejected) {
		(void)snprintf(d->error, sizeof(d->error), "rejected %llu of %zu spans: %.*s",
			       (unsigned long long)said.rejected, d->n_spans, 180, said.message);
		atr_health_error(d->host->health, d->error);
	}
	if (said.rejected < d->n_spans)
		atr_health_ok(d->host->health);
	works(d);
	if (said.rejected || said.message[0]) {
		if (!d->said_partial)
			d->host->log(ATR_LOG_WARN, "%s rejected %llu of %zu spans: %s",
				     d->endpoint.shown, (unsigned long long)said.rejected,
				     d->n_spans, said.message);
		d->said_partial = true;
	} else {
		d->said_partial = false;
	}
	return ATR_DELIVERY_DONE;
}

static enum atr_delivery_state judge(struct atr_delivery *d, const struct atr_http_reply *reply,
				     enum atr_delivery_haste haste)
{
	d->next = 0;
	if (!reply->status)
		return no_answer(d, reply->error, reply->nobody, haste);
	if (!reply->too_long && reply->status / 100 == 2)
		return accepted(d, reply);
	ended(d, reply->too_long ? "response_too_long" : NULL, reply->status, d->n_spans);
	if (!reply->too_long && atr_retry_status(reply->status)) {
		(void)snprintf(d->error, sizeof(d->error), "HTTP %d", reply->status);
		atr_health_error(d->host->health, d->error);
		if (again(d, reply->retry_after))
			return ATR_DELIVERY_BUSY;
		complain(d, haste);
		return ATR_DELIVERY_FAILED;
	}
	count_rejected(d, d->n_spans);
	refused(d, reply);
	return ATR_DELIVERY_DONE;
}

/* Nobody was there: perhaps the name means another address by now. */
static void look_again(struct atr_delivery *d)
{
	struct atr_addresses *a = &d->endpoint.addresses, found;
	const struct atr_host *host = d->host;
	uint64_t now = host->now();

	if ((!a->resolved[0] && !a->error) || now < d->looked + LOOK_UP_EVERY_NS)
		return;
	d->looked = now;
	host->look_up(d->endpoint.text, &found);
	if (!found.error || !a->resolved[0]) /* what was once known is better than nothing */
		*a = found;
}

static enum atr_delivery_state attempt(struct atr_delivery *d, enum atr_delivery_haste haste)
{
	const struct atr_host *host = d->host;
	int err;

	d->attempts++;
	d->told = false;
	if (d->lost && haste == ATR_HASTE_NONE)
		look_again(d);
	if (d->endpoint.addresses.error)
		return no_answer(d, d->endpoint.addresses.error, true, haste);
	err = atr_http_start(&d->http, d->body, d->body_len);
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
		ended(d, "timeout", 0, 0);
		(void)snprintf(d->error, sizeof(d->error), "no answer within %llu ms",
			       (unsigned long long)(d->endpoint.timeout / 1000000u));
	}
	complain(d, haste);
	return ATR_DELIVERY_FAILED;
}

/* ---- one batch ---- */

int atr_delivery_start(struct atr_delivery *d, const struct atr_otlp_head *head,
		       const uint8_t *spans, size_t len, size_t n_spans, bool foreign)
{
	uint64_t now = d->host->now();

	d->outcome = (struct atr_outcome){ .error = "no_memory" };
	atr_otlp_request(&d->request, head, spans, len);
	if (d->request.failed)
		return -ENOMEM;
	d->body = d->request.bytes;
	d->body_len = d->request.len;
	if (d->endpoint.gzip) {
		if (!atr_gzip(&d->gz, &d->packed, d->body, d->body_len))
			return -ENOMEM;
		d->body = d->packed.bytes;
		d->body_len = d->packed.len;
	}
	d->n_spans = n_spans;
	d->foreign = foreign;
	d->attempts = 0;
	d->next = now;
	d->told = false;
	d->deadline =
		d->endpoint.timeout < UINT64_MAX - now ? now + d->endpoint.timeout : UINT64_MAX;
	d->error[0] = '\0';
	d->outcome = (struct atr_outcome){ .error = "timeout" };
	return 0;
}

enum atr_delivery_state atr_delivery_step(struct atr_delivery *d, uint64_t until,
					  enum atr_delivery_haste haste)
{
	enum atr_delivery_state state = ATR_DELIVERY_BUSY;
	struct atr_http_reply reply;
	uint64_t now = d->host->now();

	if (now >= d->deadline)
		state = too_late(d, haste);
	else if (!d->http.in_flight && now >= d->next)
		state = attempt(d, haste);
	else if (d->http.in_flight &&
		 atr_http_step(&d->http, until < d->deadline ? until : d->deadline, &reply))
		state = judge(d, &reply, haste);
	if (state == ATR_DELIVERY_DONE)
		d->n_spans = 0;
	return state;
}

bool atr_delivery_sent(const struct atr_delivery *d)
{
	return d->http.in_flight && d->http.sent;
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
	d->n_spans = 0;
	return n;
}

void atr_delivery_finish(struct atr_delivery *d)
{
	atr_http_finish(&d->http);
	atr_gzip_finish(&d->gz);
	atr_buf_free(&d->request);
	atr_buf_free(&d->packed);
	atr_endpoint_finish(&d->endpoint);
}
