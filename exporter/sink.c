/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/sink.h"

#include <string.h>

#include "exporter/orphan.h"
#include "exporter/resource.h"
#include "preload/host.h"

static void use_resource(struct atr_sink *sink)
{
	const struct atr_host *host = sink->host;
	const struct atr_config *c = host->config;
	struct atr_resource r = { 0 };
	char shown[256];

	if (!atr_resource_build(&r, c->resource_attributes, c->service_name)) {
		(void)atr_escape(shown, sizeof(shown), c->resource_attributes,
				 strlen(c->resource_attributes));
		host->log(ATR_LOG_WARN,
			  "OTEL_RESOURCE_ATTRIBUTES: \"%s\" cannot be read as key=value,key=value; "
			  "none of it is used",
			  shown);
	}
	if (sink->to_console)
		atr_console_init(&sink->console, &r);
	if (atr_otlp_head_init(&sink->head, &r) != 0 || r.failed)
		host->log(ATR_LOG_ERROR, "out of memory: resource attributes are missing");
	else
		host->resource(sink->head.resource.bytes, sink->head.resource.len);
	atr_resource_finish(&r);
}

bool atr_sink_init(struct atr_sink *sink, const struct atr_host *host)
{
	*sink = (struct atr_sink){
		.host = host,
		.to_console = host->config->exporter == ATR_EXPORTER_CONSOLE,
	};
	use_resource(sink);
	return sink->to_console || atr_delivery_init(&sink->delivery, host) == 0;
}

static enum atr_delivery_state print(struct atr_sink *sink, const uint8_t *spans, size_t len,
				     size_t n_spans)
{
	const struct atr_buf *text = atr_console_batch(&sink->console, spans, len);

	if (!text) {
		atr_add(&sink->host->stats->no_memory, n_spans);
		return ATR_DELIVERY_DONE;
	}
	if (sink->host->write_stderr((const char *)text->bytes, text->len) != 0)
		return ATR_DELIVERY_FAILED;
	atr_add(&sink->host->stats->exported, n_spans);
	return ATR_DELIVERY_DONE;
}

enum atr_delivery_state atr_sink_start(struct atr_sink *sink, const uint8_t *spans, size_t len,
				       size_t n_spans)
{
	if (sink->to_console)
		return print(sink, spans, len, n_spans);
	if (atr_delivery_start(&sink->delivery, &sink->head, spans, len, n_spans, false) == 0)
		return ATR_DELIVERY_BUSY;
	atr_add(&sink->host->stats->no_memory, n_spans);
	return ATR_DELIVERY_DONE;
}

enum atr_delivery_state atr_sink_start_foreign(struct atr_sink *sink, const struct atr_orphans *o)
{
	enum atr_delivery_state state;
	struct atr_console own;

	if (!sink->to_console)
		return atr_delivery_start(&sink->delivery, &o->head, o->spans.bytes, o->spans.len,
					  o->n_spans, true) == 0
			       ? ATR_DELIVERY_BUSY
			       : ATR_DELIVERY_FAILED;
	own = sink->console;
	sink->console = (struct atr_console){ 0 };
	atr_console_init(&sink->console, &o->resource);
	state = print(sink, o->spans.bytes, o->spans.len, o->n_spans);
	atr_console_finish(&sink->console);
	sink->console = own;
	return state;
}

void atr_sink_say_unsent(struct atr_sink *sink, uint64_t n_spans)
{
	const struct atr_delivery *d = &sink->delivery;
	const char *dir = sink->host->spool_dir();

	if (!dir && sink->host->config->log_level >= ATR_LOG_INFO)
		return; /* the process says what it dropped, and why, in one line */
	if (n_spans && !sink->to_console && !d->down)
		sink->host->log(ATR_LOG_WARN, "export to %s failed: %s; %llu spans %s%s",
				d->endpoint.shown, d->error[0] ? d->error : "no answer in time",
				(unsigned long long)n_spans, dir ? "are left in " : "were not sent",
				dir ? dir : "");
}

void atr_sink_finish(struct atr_sink *sink)
{
	atr_delivery_finish(&sink->delivery);
	atr_console_finish(&sink->console);
	atr_otlp_head_finish(&sink->head);
}
