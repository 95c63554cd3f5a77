/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/otlp.o exporter/buf.o exporter/resource.o exporter/detect.o */
/* LINK: exporter/container.o exporter/list.o exporter/tally.o exporter/otlp.pb-c.o */
/* LINK: preload/utf8.o preload/sys.o -lprotobuf-c */
#include "exporter/metrics.c"

#include "exporter/delivery.h"
#include "tests/unit/test.h"

static struct atr_metrics m;
static struct atr_numbers now;
static struct atr_buf fields;

static void begin(bool delta)
{
	m = (struct atr_metrics){ .delta = delta,
				  .start = 100,
				  .since = 100,
				  .type = "otlp_http_span_exporter",
				  .server = "c",
				  .port = 4318 };
	memset(&now, 0, sizeof(now));
	now.queue_size = 3;
	now.queue_capacity = 2048;
}

static void batch(size_t n, const char *error, int status, uint64_t rejected)
{
	const struct atr_outcome o = { .error = error,
				       .http_status = status,
				       .n_rejected = rejected };

	atr_tally_begin(&now.tally, n, 1000);
	atr_tally_end(&now.tally, &o, false, 1000 + 20000000);
}

/* The metrics as a ScopeMetrics. */
static Atr__Otlp__ScopeMetrics *encoded(uint64_t time)
{
	atr_buf_reset(&fields);
	CHECK(atr_metrics_encode(&fields, &m, &now, time));
	return atr__otlp__scope_metrics__unpack(NULL, fields.len, fields.bytes);
}

static Atr__Otlp__Metric *metric(const Atr__Otlp__ScopeMetrics *s, const char *name)
{
	Atr__Otlp__Metric *found = NULL;

	for (size_t i = 0; s && i < s->n_metrics; i++) {
		if (strcmp(s->metrics[i]->name, name) != 0)
			continue;
		CHECK(!found); /* once */
		found = s->metrics[i];
	}
	return found;
}

/* The value of the point whose attributes have that value among them, "": the first one. */
static long long point(const Atr__Otlp__ScopeMetrics *s, const char *name, const char *text)
{
	const Atr__Otlp__Metric *found = metric(s, name);

	for (size_t i = 0; found && i < found->sum->n_data_points; i++) {
		const Atr__Otlp__NumberDataPoint *p = found->sum->data_points[i];

		for (size_t k = 0; k < p->n_attributes; k++)
			if (!*text || (p->attributes[k]->value->value_case ==
					       ATR__OTLP__ANY_VALUE__VALUE_STRING_VALUE &&
				       strcmp(p->attributes[k]->value->string_value, text) == 0))
				return p->as_int;
	}
	return -1;
}

TEST(what_never_happened_has_no_point)
{
	Atr__Otlp__ScopeMetrics *s;

	begin(false);
	s = encoded(200);
	CHECK(s && s->n_metrics == 4);
	CHECK_INT(point(s, "otel.sdk.processor.span.queue.size", ""), 3);
	CHECK_INT(point(s, "otel.sdk.processor.span.queue.capacity", ""), 2048);
	CHECK_INT(point(s, "otel.sdk.exporter.span.inflight", "otlp_http_span_exporter/0"), 0);
	CHECK_INT(point(s, "otel.sdk.span.live", "RECORD_AND_SAMPLE"), 0);
	CHECK(!metric(s, "otel.sdk.span.started"));
	atr__otlp__scope_metrics__free_unpacked(s, NULL);
	atr_buf_free(&fields);
}

TEST(each_error_type_has_one_point)
{
	Atr__Otlp__ScopeMetrics *s;
	const Atr__Otlp__HistogramDataPoint *h;

	begin(false);
	batch(10, NULL, 200, 0);
	batch(10, NULL, 202, 0);
	batch(5, "400", 400, 5);
	batch(4, "rejected", 200, 1);
	batch(4, "rejected", 202, 2);
	now.queue_full = 9;
	now.live[0] = 11;
	now.live[1] = 12;
	now.started[ATR_ORIGIN_REMOTE][ATR_RESULT_SAMPLE] = 6;
	now.started[ATR_ORIGIN_NONE][ATR_RESULT_DROP] = 7;
	s = encoded(200);
	CHECK_INT(metric(s, "otel.sdk.exporter.span.exported")->sum->n_data_points, 3);
	CHECK_INT(point(s, "otel.sdk.exporter.span.exported", ""), 25);
	CHECK_INT(point(s, "otel.sdk.exporter.span.exported", "400"), 5);
	CHECK_INT(point(s, "otel.sdk.exporter.span.exported", "rejected"), 3);
	CHECK_INT(point(s, "otel.sdk.processor.span.processed", ""), 33);
	CHECK_INT(point(s, "otel.sdk.processor.span.processed", "queue_full"), 9);
	CHECK_INT(point(s, "otel.sdk.span.started", "remote"), 6);
	CHECK_INT(point(s, "otel.sdk.span.started", "DROP"), 7);
	CHECK_INT(point(s, "otel.sdk.span.live", "RECORD_AND_SAMPLE"), 11);
	CHECK_INT(point(s, "otel.sdk.span.live", "RECORD_ONLY"), 12);
	CHECK(!metric(s, "otel.sdk.span.live")->sum->is_monotonic);
	CHECK_INT(metric(s, "otel.sdk.exporter.operation.duration")->histogram->n_data_points, 5);
	h = metric(s, "otel.sdk.exporter.operation.duration")->histogram->data_points[0];
	CHECK(h->count == 1 && h->sum > 0.019 && h->sum < 0.021);
	CHECK_INT(h->n_bucket_counts, h->n_explicit_bounds + 1);
	CHECK_INT(h->bucket_counts[2], 1);
	CHECK(metric(s, "otel.sdk.span.started")->sum->is_monotonic);
	CHECK(!metric(s, "otel.sdk.exporter.span.inflight")->sum->is_monotonic);
	atr__otlp__scope_metrics__free_unpacked(s, NULL);
	atr_buf_free(&fields);
}

TEST(a_delta_is_since_what_was_delivered)
{
	Atr__Otlp__ScopeMetrics *s;

	begin(true);
	batch(10, NULL, 200, 0);
	s = encoded(200);
	CHECK_INT(point(s, "otel.sdk.exporter.span.exported", ""), 10);
	atr__otlp__scope_metrics__free_unpacked(s, NULL);
	batch(3, NULL, 200, 0); /* the first one did not arrive */
	s = encoded(300);
	CHECK_INT(point(s, "otel.sdk.exporter.span.exported", ""), 13);
	CHECK_INT(metric(s, "otel.sdk.exporter.span.exported")
			  ->sum->data_points[0]
			  ->start_time_unix_nano,
		  100);
	atr_metrics_delivered(&m, &now, 300);
	atr__otlp__scope_metrics__free_unpacked(s, NULL);
	s = encoded(400);
	CHECK(!metric(s, "otel.sdk.exporter.span.exported"));
	CHECK_INT(point(s, "otel.sdk.processor.span.queue.size", ""), 3);
	atr__otlp__scope_metrics__free_unpacked(s, NULL);
	batch(2, "503", 503, 0);
	s = encoded(500);
	CHECK_INT(point(s, "otel.sdk.exporter.span.exported", "503"), 2);
	CHECK_INT(
		metric(s, "otel.sdk.exporter.operation.duration")->histogram->data_points[0]->count,
		1);
	CHECK_INT(metric(s, "otel.sdk.exporter.span.exported")
			  ->sum->data_points[0]
			  ->start_time_unix_nano,
		  300);
	CHECK_INT(metric(s, "otel.sdk.processor.span.queue.size")
			  ->sum->data_points[0]
			  ->start_time_unix_nano,
		  100);
	atr__otlp__scope_metrics__free_unpacked(s, NULL);
	atr_buf_free(&fields);
}

TEST(the_longest_list_fits)
{
	Atr__Otlp__ScopeMetrics *s;
	char error[8];

	begin(false);
	for (int o = 0; o < ATR_ORIGINS; o++)
		now.started[o][0] = now.started[o][1] = now.started[o][2] = 1;
	now.queue_full = 1;
	batch(2, NULL, 200, 0);
	for (int i = 0; i < 40; i++) {
		(void)snprintf(error, sizeof(error), "%d", 400 + i);
		batch(2, error, 400 + i, 2);
	}
	s = encoded(200);
	CHECK_INT(metric(s, "otel.sdk.exporter.operation.duration")->histogram->n_data_points,
		  ATR_TALLY_ROWS);
	CHECK_INT(point(s, "otel.sdk.exporter.span.exported", "_OTHER"),
		  2 * (40 - (ATR_TALLY_ROWS - 2)));
	atr__otlp__scope_metrics__free_unpacked(s, NULL);
	atr_buf_free(&fields);
}

TEST(the_text_has_a_line_for_each_point)
{
	begin(false);
	batch(10, NULL, 200, 0);
	atr_buf_reset(&fields);
	atr_metrics_print(&fields, &m, &now);
	atr_buf_add(&fields, "", 1);
	CHECK(strstr((char *)fields.bytes, "otel.sdk.exporter.span.exported "
					   "{otel.component.name=otlp_http_span_exporter/0 "
					   "otel.component.type=otlp_http_span_exporter "
					   "server.address=c server.port=4318} 10\n") != NULL);
	CHECK(strstr((char *)fields.bytes, "} count 1 sum 0.020000 s\n") != NULL);
	atr_buf_free(&fields);
}
