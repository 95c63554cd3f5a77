/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First all points are listed, each with the row of metrics.def that it belongs to, its
 * attributes and its value; then the list is written, as protobuf or as text.
 */
#include "exporter/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "exporter/otlp.h"
#include "exporter/otlp.pb-c.h"

enum kind { COUNTER, UPDOWN, HISTOGRAM };

static const struct metric {
	const char *name;
	enum kind kind;
	const char *unit, *description;
} metrics[] = {
#define METRIC(id, name, kind, unit, stability, description) { name, kind, unit, description },
#include "exporter/metrics.def"
};

enum metric_id {
#define METRIC(id, name, ...) id,
#include "exporter/metrics.def"
};

static const double bounds[] = ATR_TALLY_BOUNDS;

/* ---- the list ---- */

#define ATTRS_MAX 7
#define POINTS_MAX (ATR_RESULTS * ATR_ORIGINS + 8 + 2 * ATR_TALLY_ROWS)

struct attr {
	const char *key, *text; /* text NULL: the number */
	int64_t number;
};

struct point {
	enum metric_id id;
	struct attr attrs[ATTRS_MAX];
	size_t n_attrs;
	int64_t value;
	struct atr_tally_row row; /* of a histogram */
};

struct list {
	const struct atr_metrics *m;
	struct point points[POINTS_MAX];
	size_t n;
	char exporter_name[80];
};

static struct point *add(struct list *l, enum metric_id id, uint64_t value)
{
	struct point *p = &l->points[l->n++];

	p->id = id;
	p->value = (int64_t)value;
	p->n_attrs = 0;
	return p;
}

static void set_text(struct point *p, const char *key, const char *text)
{
	p->attrs[p->n_attrs++] = (struct attr){ .key = key, .text = text };
}

static void set_number(struct point *p, const char *key, int64_t number)
{
	p->attrs[p->n_attrs++] = (struct attr){ .key = key, .number = number };
}

static struct point *of_processor(struct point *p)
{
	set_text(p, "otel.component.name", "batching_span_processor/0");
	set_text(p, "otel.component.type", "batching_span_processor");
	return p;
}

static struct point *of_exporter(const struct list *l, struct point *p)
{
	set_text(p, "otel.component.name", l->exporter_name);
	set_text(p, "otel.component.type", l->m->type);
	if (l->m->server[0])
		set_text(p, "server.address", l->m->server);
	if (l->m->server[0] && l->m->port)
		set_number(p, "server.port", l->m->port);
	return p;
}

static void set_error(struct point *p, const char *error)
{
	if (error[0])
		set_text(p, "error.type", error);
}

static void list_started(struct list *l, const struct atr_numbers *now)
{
	static const char *const origins[] = {
		[ATR_ORIGIN_NONE] = "none",
		[ATR_ORIGIN_LOCAL] = "local",
		[ATR_ORIGIN_REMOTE] = "remote",
	};
	static const char *const results[] = {
		[ATR_RESULT_DROP] = "DROP",
		[ATR_RESULT_RECORD_ONLY] = "RECORD_ONLY",
		[ATR_RESULT_SAMPLE] = "RECORD_AND_SAMPLE",
	};

	for (int o = 0; o < ATR_ORIGINS; o++) {
		for (int r = 0; r < ATR_RESULTS; r++) {
			uint64_t n = now->started[o][r] - l->m->was.started[o][r];
			struct point *p;

			if (!n)
				continue;
			p = add(l, SPAN_STARTED, n);
			set_text(p, "otel.span.parent.origin", origins[o]);
			set_text(p, "otel.span.sampling_result", results[r]);
		}
	}
}

/* What was delivered of the same row; rows only grow, and keep their order. */
static const struct atr_tally_row *row_was(const struct list *l, size_t i)
{
	static const struct atr_tally_row none;

	return i < l->m->was.tally.n_rows ? &l->m->was.tally.rows[i] : &none;
}

/* gRPC's codes have names in capital letters; other errors of it came without an answer. */
static void set_grpc(struct point *p, const char *type, const struct atr_tally_row *row)
{
	bool answered = !row->error[0] || strcmp(row->error, "rejected") == 0;

	if (strcmp(type, "otlp_grpc_span_exporter") != 0)
		return;
	if (answered)
		set_text(p, "rpc.response.status_code", "OK");
	else if (row->error[0] >= 'A' && row->error[0] <= 'Z')
		set_text(p, "rpc.response.status_code", row->error);
}

static void list_durations(struct list *l, const struct atr_tally *t)
{
	for (size_t i = 0; i < t->n_rows; i++) {
		const struct atr_tally_row *row = &t->rows[i], *was = row_was(l, i);
		struct point *p;

		if (row->n_exports == was->n_exports)
			continue;
		p = of_exporter(l, add(l, DURATION, 0));
		set_error(p, row->error);
		set_grpc(p, l->m->type, row);
		if (row->http_status)
			set_number(p, "http.response.status_code", row->http_status);
		p->row = *row;
		p->row.n_exports -= was->n_exports;
		p->row.seconds -= was->seconds;
		for (int b = 0; b < ATR_TALLY_BUCKETS; b++)
			p->row.buckets[b] -= was->buckets[b];
	}
}

/* One point for each error.type; rows may have the same one with other statuses. */
static void list_exported(struct list *l, const struct atr_tally *t)
{
	uint64_t ok = t->ok_spans - l->m->was.tally.ok_spans;

	if (ok)
		(void)of_exporter(l, add(l, EXPORTED, ok));
	for (size_t i = 0; i < t->n_rows; i++) {
		uint64_t n = 0;
		bool first = true;

		for (size_t k = 0; k < t->n_rows; k++) {
			if (strcmp(t->rows[k].error, t->rows[i].error) != 0)
				continue;
			first &= k >= i;
			n += t->rows[k].n_spans - row_was(l, k)->n_spans;
		}
		if (first && n)
			set_error(of_exporter(l, add(l, EXPORTED, n)), t->rows[i].error);
	}
}

static void list_live(struct list *l, const struct atr_numbers *now)
{
	set_text(add(l, SPAN_LIVE, now->live[0]), "otel.span.sampling_result", "RECORD_AND_SAMPLE");
	set_text(add(l, SPAN_LIVE, now->live[1]), "otel.span.sampling_result", "RECORD_ONLY");
}

static void list_all(struct list *l, const struct atr_metrics *m, const struct atr_numbers *now)
{
	const struct atr_tally *t = &now->tally;
	uint64_t processed = t->processed - m->was.tally.processed;
	uint64_t full = now->queue_full - m->was.queue_full;

	l->m = m;
	l->n = 0;
	(void)snprintf(l->exporter_name, sizeof(l->exporter_name), "%s/0", m->type);
	list_started(l, now);
	list_live(l, now);
	(void)of_processor(add(l, QUEUE_SIZE, now->queue_size));
	(void)of_processor(add(l, QUEUE_CAPACITY, now->queue_capacity));
	if (processed)
		(void)of_processor(add(l, PROCESSED, processed));
	if (full)
		set_error(of_processor(add(l, PROCESSED, full)), "queue_full");
	(void)of_exporter(l, add(l, INFLIGHT, t->inflight));
	list_exported(l, t);
	list_durations(l, t);
}

/* ---- protobuf ---- */

/* A point's attributes in the form protobuf-c wants. */
struct packable {
	Atr__Otlp__KeyValue kv[ATTRS_MAX];
	Atr__Otlp__AnyValue value[ATTRS_MAX];
	Atr__Otlp__KeyValue *list[ATTRS_MAX];
};

static void fill(struct packable *to, const struct point *p)
{
	for (size_t i = 0; i < p->n_attrs; i++) {
		atr__otlp__key_value__init(&to->kv[i]);
		atr__otlp__any_value__init(&to->value[i]);
		to->kv[i].key = (char *)p->attrs[i].key;
		to->kv[i].value = &to->value[i];
		to->list[i] = &to->kv[i];
		if (p->attrs[i].text) {
			to->value[i].value_case = ATR__OTLP__ANY_VALUE__VALUE_STRING_VALUE;
			to->value[i].string_value = (char *)p->attrs[i].text;
		} else {
			to->value[i].value_case = ATR__OTLP__ANY_VALUE__VALUE_INT_VALUE;
			to->value[i].int_value = p->attrs[i].number;
		}
	}
}

static void pack_field(struct atr_buf *fields, const ProtobufCMessage *message)
{
	struct atr_buf one = { 0 };
	uint8_t *to = atr_buf_reserve(&one, protobuf_c_message_get_packed_size(message));

	if (to)
		atr_otlp_add_span(fields, to, protobuf_c_message_pack(message, to));
	else
		fields->failed = true;
	atr_buf_free(&one);
}

static Atr__Otlp__AggregationTemporality temporality(const struct list *l, enum kind kind)
{
	return l->m->delta && kind != UPDOWN
		       ? ATR__OTLP__AGGREGATION_TEMPORALITY__AGGREGATION_TEMPORALITY_DELTA
		       : ATR__OTLP__AGGREGATION_TEMPORALITY__AGGREGATION_TEMPORALITY_CUMULATIVE;
}

/* The n points from `first` on, which are of one metric, as it. */
static void pack_sum(struct atr_buf *fields, const struct list *l, const struct point *first,
		     size_t n, uint64_t time)
{
	const struct metric *row = &metrics[first->id];
	Atr__Otlp__NumberDataPoint points[POINTS_MAX], *list[POINTS_MAX];
	struct packable attrs[POINTS_MAX];
	Atr__Otlp__Metric metric = ATR__OTLP__METRIC__INIT;
	Atr__Otlp__Sum sum = ATR__OTLP__SUM__INIT;

	for (size_t i = 0; i < n; i++) {
		atr__otlp__number_data_point__init(&points[i]);
		fill(&attrs[i], &first[i]);
		points[i].attributes = attrs[i].list;
		points[i].n_attributes = first[i].n_attrs;
		/* What goes up and down is never told as a difference. */
		points[i].start_time_unix_nano = row->kind == UPDOWN ? l->m->start : l->m->since;
		points[i].time_unix_nano = time;
		points[i].value_case = ATR__OTLP__NUMBER_DATA_POINT__VALUE_AS_INT;
		points[i].as_int = first[i].value;
		list[i] = &points[i];
	}
	sum.data_points = list;
	sum.n_data_points = n;
	sum.is_monotonic = row->kind == COUNTER;
	sum.aggregation_temporality = temporality(l, row->kind);
	metric.name = (char *)row->name;
	metric.unit = (char *)row->unit;
	metric.description = (char *)row->description;
	metric.data_case = ATR__OTLP__METRIC__DATA_SUM;
	metric.sum = &sum;
	pack_field(fields, &metric.base);
}

static void pack_histogram(struct atr_buf *fields, const struct list *l, const struct point *first,
			   size_t n, uint64_t time)
{
	const struct metric *row = &metrics[first->id];
	Atr__Otlp__HistogramDataPoint points[POINTS_MAX], *list[POINTS_MAX];
	struct packable attrs[POINTS_MAX];
	Atr__Otlp__Metric metric = ATR__OTLP__METRIC__INIT;
	Atr__Otlp__Histogram histogram = ATR__OTLP__HISTOGRAM__INIT;

	for (size_t i = 0; i < n; i++) {
		atr__otlp__histogram_data_point__init(&points[i]);
		fill(&attrs[i], &first[i]);
		points[i].attributes = attrs[i].list;
		points[i].n_attributes = first[i].n_attrs;
		points[i].start_time_unix_nano = l->m->since;
		points[i].time_unix_nano = time;
		points[i].count = first[i].row.n_exports;
		points[i]._sum_case = ATR__OTLP__HISTOGRAM_DATA_POINT___SUM_SUM;
		points[i].sum = first[i].row.seconds;
		points[i].bucket_counts = (uint64_t *)first[i].row.buckets;
		points[i].n_bucket_counts = ATR_TALLY_BUCKETS;
		points[i].explicit_bounds = (double *)bounds;
		points[i].n_explicit_bounds = ATR_TALLY_BUCKETS - 1;
		list[i] = &points[i];
	}
	histogram.data_points = list;
	histogram.n_data_points = n;
	histogram.aggregation_temporality = temporality(l, row->kind);
	metric.name = (char *)row->name;
	metric.unit = (char *)row->unit;
	metric.description = (char *)row->description;
	metric.data_case = ATR__OTLP__METRIC__DATA_HISTOGRAM;
	metric.histogram = &histogram;
	pack_field(fields, &metric.base);
}

bool atr_metrics_encode(struct atr_buf *fields, const struct atr_metrics *m,
			const struct atr_numbers *now, uint64_t time)
{
	struct list l;
	size_t n;

	list_all(&l, m, now);
	for (size_t i = 0; i < l.n; i += n) {
		for (n = 1; i + n < l.n && l.points[i + n].id == l.points[i].id;)
			n++;
		if (metrics[l.points[i].id].kind == HISTOGRAM)
			pack_histogram(fields, &l, &l.points[i], n, time);
		else
			pack_sum(fields, &l, &l.points[i], n, time);
	}
	return l.n && !fields->failed;
}

/* ---- text ---- */

void atr_metrics_print(struct atr_buf *text, const struct atr_metrics *m,
		       const struct atr_numbers *now)
{
	struct list l;
	char number[96];

	list_all(&l, m, now);
	for (size_t i = 0; i < l.n; i++) {
		const struct point *p = &l.points[i];

		atr_buf_str(text, metrics[p->id].name);
		for (size_t k = 0; k < p->n_attrs; k++) {
			atr_buf_str(text, k ? " " : " {");
			atr_buf_str(text, p->attrs[k].key);
			atr_buf_str(text, "=");
			(void)snprintf(number, sizeof(number), "%" PRId64, p->attrs[k].number);
			atr_buf_str(text, p->attrs[k].text ? p->attrs[k].text : number);
		}
		atr_buf_str(text, p->n_attrs ? "} " : " ");
		if (metrics[p->id].kind == HISTOGRAM)
			(void)snprintf(number, sizeof(number), "count %" PRIu64 " sum %.6f s\n",
				       p->row.n_exports, p->row.seconds);
		else
			(void)snprintf(number, sizeof(number), "%" PRId64 "\n", p->value);
		atr_buf_str(text, number);
	}
}

void atr_metrics_delivered(struct atr_metrics *m, const struct atr_numbers *numbers, uint64_t time)
{
	if (!m->delta)
		return;
	m->was = *numbers;
	m->since = time;
}
