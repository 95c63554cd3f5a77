/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/collector.h"

#include <stdlib.h>

#include "preload/host.h"

static void *otlp_new(const struct atr_host *host)
{
	struct atr_delivery *d = calloc(1, sizeof(*d));

	if (d && atr_delivery_init(d, host) != 0) {
		atr_delivery_finish(d);
		free(d);
		d = NULL;
	}
	return d;
}

static void otlp_free(void *self)
{
	atr_delivery_finish(self);
	free(self);
}

enum atr_delivery_state atr_collector_start(void *self, const struct atr_form_batch *b)
{
	if (atr_delivery_start(self, b) == 0)
		return ATR_DELIVERY_BUSY;
	if (b->foreign)
		return ATR_DELIVERY_FAILED;
	atr_add(b->no_memory, b->n_spans);
	return ATR_DELIVERY_DONE;
}

enum atr_delivery_state atr_collector_step(void *self, uint64_t until,
					   enum atr_delivery_haste haste)
{
	enum atr_delivery_state state = atr_delivery_step(self, until, haste);

	if (state == ATR_DELIVERY_FAILED)
		(void)atr_delivery_cancel(self);
	return state;
}

uint64_t atr_collector_due(const void *self)
{
	return atr_delivery_due(self);
}

void atr_collector_hurry(void *self)
{
	atr_delivery_hurry(self);
}

void atr_collector_cancel(void *self)
{
	(void)atr_delivery_cancel(self);
}

size_t atr_collector_done(void *self)
{
	return atr_delivery_done(self);
}

bool atr_collector_refused(const void *self)
{
	return ((const struct atr_delivery *)self)->refused;
}

const char *atr_collector_shown(const void *self)
{
	return ((const struct atr_delivery *)self)->endpoint.shown;
}

const char *atr_collector_error(const void *self)
{
	return ((const struct atr_delivery *)self)->error;
}

const struct atr_form atr_form_otlp = {
	.bit = ATR_EXPORTER_OTLP,
	.collects = true,
	.remote = true,
	.make = otlp_new,
	.start = atr_collector_start,
	.step = atr_collector_step,
	.due = atr_collector_due,
	.hurry = atr_collector_hurry,
	.cancel = atr_collector_cancel,
	.done = atr_collector_done,
	.free = otlp_free,
	.refused = atr_collector_refused,
	.shown = atr_collector_shown,
	.error = atr_collector_error,
};
