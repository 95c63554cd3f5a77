/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_TEST_BATCH_OF_H
#define ATR_TEST_BATCH_OF_H

/* A batch as a form gets it: spans of fake_host.h with the ids first, first + 1, ... */
#include "exporter/form.h"
#include "exporter/resource.h"
#include "tests/unit/fake_host.h"

static struct batch_of {
	struct atr_resource resource;
	struct atr_otlp_head head;
	struct atr_buf spans;
	uint64_t delivered, refused, no_memory;
	struct atr_form_batch batch;
} batch_of_one;

static struct atr_form_batch *batch_of(uint64_t first, size_t n, size_t pad)
{
	struct batch_of *b = &batch_of_one;
	uint8_t *span = malloc(pad + 512);

	if (!b->head.scope.len) {
		atr_resource_set_str(&b->resource, "service.name", "shop");
		atr_resource_set_str(&b->resource, "service.namespace", "eu");
		atr_resource_set_int(&b->resource, "process.pid", 4711);
		if (atr_otlp_head_init(&b->head, &b->resource) != 0)
			abort();
	}
	atr_buf_reset(&b->spans);
	for (uint64_t id = first; id < first + n; id++) {
		size_t len = fake_span(span, id);

		if (pad) { /* trace_state */
			span[len++] = 0x1a;
			span[len++] = (uint8_t)(pad | 0x80);
			span[len++] = (uint8_t)(pad >> 7 | 0x80);
			span[len++] = (uint8_t)(pad >> 14);
			memset(span + len, '\x01', pad); /* six bytes each in JSON */
			len += pad;
		}
		atr_otlp_add_span(&b->spans, span, len);
	}
	free(span);
	b->delivered = b->refused = b->no_memory = 0;
	b->batch = (struct atr_form_batch){
		.head = &b->head,
		.resource = &b->resource,
		.spans = b->spans.bytes,
		.len = b->spans.len,
		.n_spans = n,
		.delivered = &b->delivered,
		.refused = &b->refused,
		.no_memory = &b->no_memory,
	};
	return &b->batch;
}

static void batch_of_free(void)
{
	atr_otlp_head_finish(&batch_of_one.head);
	atr_resource_finish(&batch_of_one.resource);
	atr_buf_free(&batch_of_one.spans);
	batch_of_one = (struct batch_of){ 0 };
}

#endif
