/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exporter/grpc.h"
#include "exporter/health.h"
#include "exporter/otlp-json.h"
#include "exporter/otlp.pb-c.h"
#include "exporter/verdict.h"
#include "preload/host.h"

#define NS_PER_MS 1000000ull
#define BUSY_NS (5 * NS_PER_MS) /* between two looks at an answer that is awaited */

/* ---- settings ---- */

/* server.address and server.port of the spans' endpoint. */
static void set_server(struct atr_metrics *m, const char *url)
{
	const char *host = url ? strstr(url, "://") : NULL, *end, *colon;

	if (!host)
		return;
	host += 3;
	m->port = strncmp(url, "https", 5) == 0 ? 443 : 80;
	end = host + strcspn(host, "/?#");
	for (const char *p = host; p < end; p++)
		if (*p == '@')
			host = p + 1;
	colon = memrchr(host, ':', (size_t)(end - host));
	if (colon && !memchr(colon, ']', (size_t)(end - colon))) {
		m->port = (int)strtol(colon + 1, NULL, 10);
		end = colon;
	}
	if (*host == '[' && end[-1] == ']') {
		host++;
		end--;
	}
	(void)snprintf(m->server, sizeof(m->server), "%.*s", (int)(end - host), host);
}

bool atr_reader_init(struct atr_reader *r, const struct atr_host *host,
		     enum atr_METRICS_EXPORTERS which, const char *type, const char *url)
{
	const struct atr_config *c = host->config;

	*r = (struct atr_reader){ .host = host };
	if (!(c->metrics_exporters & (unsigned)which) || !host->count)
		return true;
	r->metrics.type = type;
	r->metrics.delta = c->otlp_temporality != ATR_TEMPORALITY_CUMULATIVE;
	r->metrics.start = r->metrics.since = atr_wall_clock();
	set_server(&r->metrics, url);
	r->interval = c->metric_interval * NS_PER_MS;
	r->timeout = atr_endpoint_timeout(c->metric_timeout, 0);
	r->due = host->now() + r->interval;
	if (which == ATR_METRICS_CONSOLE) {
		r->to = ATR_READER_CONSOLE;
		return true;
	}
	if (atr_endpoint_init(&r->endpoint, host, ATR_SIGNAL_METRICS) != 0 ||
	    atr_http_init(&r->http, host, &r->endpoint) != 0)
		return false;
	if (r->timeout > r->endpoint.timeout)
		r->timeout = r->endpoint.timeout;
	r->to = ATR_READER_OTLP;
	return true;
}

void atr_reader_finish(struct atr_reader *r)
{
	atr_http_finish(&r->http);
	atr_endpoint_finish(&r->endpoint);
	atr_gzip_finish(&r->gz);
	atr_buf_free(&r->fields);
	atr_buf_free(&r->request);
	atr_buf_free(&r->packed);
	atr_buf_free(&r->json);
}

/* ---- one export ---- */

static void complain(struct atr_reader *r, const char *why)
{
	if (!r->down)
		r->host->log(ATR_LOG_WARN, "export of metrics to %s failed: %s", r->endpoint.shown,
			     why);
	r->down = true;
}

static void print(struct atr_reader *r, const struct atr_numbers *numbers)
{
	atr_buf_reset(&r->fields);
	atr_metrics_print(&r->fields, &r->metrics, numbers);
	if (!r->fields.failed && r->host->write_stderr((const char *)r->fields.bytes,
						       r->fields.len) == (long)r->fields.len)
		atr_metrics_delivered(&r->metrics, numbers, atr_wall_clock());
}

/* As JSON, into r->json. */
static bool write_json(struct atr_reader *r)
{
	uint64_t lost = 0;

	atr_buf_reset(&r->json);
	return atr_otlp_json_message(&r->json,
				     &atr__otlp__export_metrics_service_request__descriptor,
				     r->request.bytes, r->request.len, &lost);
}

/* What is to be sent becomes r->body. */
static bool write_body(struct atr_reader *r, const struct atr_otlp_head *head)
{
	const bool grpc = r->endpoint.protocol == ATR_PROTOCOL_GRPC, gzip = r->endpoint.gzip;
	struct atr_buf *plain = &r->request, *out;

	atr_buf_reset(&r->request);
	atr_buf_reset(&r->packed);
	out = gzip ? &r->packed : plain;
	if (grpc)
		atr_grpc_begin(out, gzip);
	/* A ResourceMetrics has the same fields as a ResourceSpans, under the same numbers. */
	atr_otlp_request(&r->request, head, r->fields.bytes, r->fields.len);
	if (r->endpoint.protocol == ATR_PROTOCOL_HTTP_JSON) {
		if (!write_json(r))
			return false;
		plain = &r->json;
	}
	if (gzip && !atr_gzip(&r->gz, &r->packed, plain->bytes, plain->len))
		return false;
	if (grpc)
		atr_grpc_end(out, 0);
	r->body = gzip ? out : plain;
	return !r->body->failed && !r->request.failed;
}

static void begin(struct atr_reader *r, const struct atr_otlp_head *head,
		  const struct atr_numbers *numbers)
{
	uint64_t now = r->host->now();
	uint64_t deadline = r->timeout < UINT64_MAX - now ? now + r->timeout : UINT64_MAX;
	char why[256];

	r->sent = *numbers;
	r->sent_time = atr_wall_clock();
	atr_buf_reset(&r->fields);
	if (!atr_metrics_encode(&r->fields, &r->metrics, numbers, r->sent_time))
		return;
	r->lost = atr_endpoint_blocked(&r->endpoint, why, sizeof(why));
	if (r->lost) {
		complain(r, why);
	} else if (write_body(r, head) && atr_http_start(&r->http, r->body->bytes, r->body->len,
							 deadline, deadline) == 0) {
		r->deadline = deadline;
	}
}

static void judge(struct atr_reader *r, const struct atr_http_reply *reply)
{
	struct atr_verdict v;
	char why[320];

	atr_verdict(&v, r->endpoint.protocol, reply);
	r->lost = v.nobody;
	if (v.kind == ATR_VERDICT_TAKEN) {
		if (r->down)
			r->host->log(ATR_LOG_INFO, "export of metrics to %s works again",
				     r->endpoint.shown);
		r->down = false;
		atr_metrics_delivered(&r->metrics, &r->sent, r->sent_time);
		return;
	}
	(void)snprintf(why, sizeof(why), "%.60s%s%.250s", v.what,
		       v.what[0] && v.message[0] ? ", " : "", v.message);
	complain(r, why);
}

static void go_on(struct atr_reader *r, uint64_t until)
{
	struct atr_http_reply reply;

	if (atr_http_step(&r->http, until < r->deadline ? until : r->deadline, &reply)) {
		judge(r, &reply);
	} else if (r->host->now() >= r->deadline) {
		atr_http_cancel(&r->http);
		r->lost = true; /* whoever had the address may have it no more */
		complain(r, "no answer in time");
	}
}

/* ---- when ---- */

bool atr_reader_wants(const struct atr_reader *r, uint64_t now)
{
	return r->to != ATR_READER_OFF && (r->http.in_flight || now >= r->due);
}

uint64_t atr_reader_due(const struct atr_reader *r, uint64_t now)
{
	if (r->to == ATR_READER_OFF)
		return UINT64_MAX;
	return r->http.in_flight ? now + BUSY_NS : r->due;
}

void atr_reader_step(struct atr_reader *r, const struct atr_otlp_head *head,
		     const struct atr_numbers *numbers, uint64_t until)
{
	uint64_t now = r->host->now();

	if (r->http.in_flight) {
		go_on(r, until);
		return;
	}
	r->due += r->interval;
	if (r->due <= now) /* the machine was asleep: no export is made up for */
		r->due = now + r->interval;
	if (r->to == ATR_READER_CONSOLE) {
		print(r, numbers);
		return;
	}
	if (r->lost)
		atr_endpoint_look_again(&r->endpoint, r->host);
	begin(r, head, numbers);
}

/* Whatever is under way, by then it is over. */
static void wait_for_answer(struct atr_reader *r, uint64_t until)
{
	if (r->deadline > until)
		r->deadline = until;
	while (r->http.in_flight)
		go_on(r, until);
}

void atr_reader_end(struct atr_reader *r, const struct atr_otlp_head *head,
		    const struct atr_numbers *numbers, uint64_t until)
{
	if (r->to == ATR_READER_CONSOLE)
		print(r, numbers);
	if (r->to != ATR_READER_OTLP)
		return;
	/* Given up, it would be told again though it may have arrived. */
	wait_for_answer(r, until);
	if (r->host->now() >= until)
		return;
	begin(r, head, numbers);
	wait_for_answer(r, until);
}
