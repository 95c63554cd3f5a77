/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/otlp.o exporter/resource.o exporter/detect.o exporter/container.o */
/* LINK: exporter/list.o exporter/buf.o exporter/otlp.pb-c.o preload/sys.o preload/utf8.o */
/* LINK: exporter/collector.o exporter/health.o -lprotobuf-c */
#include "exporter/sink.c"

#include "tests/unit/fake_host.h"
#include "tests/unit/test.h"

/* Forms that answer as they are told; the one of otlp is sink.c's own, over this delivery. */
static struct form {
	struct atr_delivery delivery; /* zipkin's, of which only this is seen */
	const char *error;
	enum atr_delivery_state start, step;
	unsigned started, stepped, cancelled, freed;
	size_t part; /* of the next batch, or the one under way, is done with */
	bool foreign;
	struct atr_form_batch batch;
} otlp, zipkin, file, out, console;

static struct atr_delivery *delivery;

int atr_delivery_init(struct atr_delivery *d, const struct atr_host *host)
{
	*d = (struct atr_delivery){ .host = host };
	delivery = d;
	return 0;
}

int atr_delivery_start(struct atr_delivery *d, const struct atr_form_batch *b)
{
	d->n_spans = b->n_spans;
	d->n_delivered = b->delivered;
	otlp.started++;
	otlp.foreign = b->foreign;
	return 0;
}

enum atr_delivery_state atr_delivery_step(struct atr_delivery *d, uint64_t until,
					  enum atr_delivery_haste haste)
{
	(void)until;
	(void)haste;
	otlp.stepped++;
	if (otlp.step == ATR_DELIVERY_DONE)
		atr_add(d->n_delivered, d->n_spans);
	return otlp.step;
}

bool atr_delivery_sent(const struct atr_delivery *d)
{
	(void)d;
	return true;
}

uint64_t atr_delivery_due(const struct atr_delivery *d)
{
	(void)d;
	return 77;
}

void atr_delivery_say_unsent(struct atr_delivery *d, uint64_t n_spans)
{
	d->n_spans = n_spans;
}

void atr_delivery_hurry(struct atr_delivery *d)
{
	(void)d;
}

size_t atr_delivery_cancel(struct atr_delivery *d)
{
	(void)d;
	otlp.cancelled++;
	return 0;
}

size_t atr_delivery_done(struct atr_delivery *d)
{
	size_t n = otlp.part;

	(void)d;
	otlp.part = 0;
	return n;
}

void atr_delivery_finish(struct atr_delivery *d)
{
	(void)d;
	otlp.freed++;
}

#define FAKE(name)                                                                              \
	static void *name##_make(const struct atr_host *host)                                   \
	{                                                                                       \
		(void)host;                                                                     \
		return &name;                                                                   \
	}                                                                                       \
	static enum atr_delivery_state name##_start(void *self, const struct atr_form_batch *b) \
	{                                                                                       \
		struct form *f = self;                                                          \
                                                                                                \
		f->started++;                                                                   \
		f->batch = *b;                                                                  \
		if (f->start == ATR_DELIVERY_DONE)                                              \
			atr_add(b->delivered, b->n_spans);                                      \
		return f->start;                                                                \
	}

static enum atr_delivery_state fake_step(void *self, uint64_t until, enum atr_delivery_haste haste)
{
	struct form *f = self;

	(void)until;
	(void)haste;
	f->stepped++;
	if (f->step == ATR_DELIVERY_DONE)
		atr_add(f->batch.delivered, f->batch.n_spans);
	return f->step;
}

static uint64_t fake_due(const void *self)
{
	(void)self;
	return 99;
}

static void fake_hurry(void *self)
{
	(void)self;
}

static void fake_cancel(void *self)
{
	((struct form *)self)->cancelled++;
}

static void fake_free(void *self)
{
	((struct form *)self)->freed++;
}

static size_t fake_done(void *self)
{
	struct form *f = self;
	size_t n = f->part;

	f->part = 0;
	return n;
}

static const char *fake_shown(const void *self)
{
	return self == &file ? "file" : "other";
}

static const char *fake_error(const void *self)
{
	const char *error = ((const struct form *)self)->error;

	return error ? error : "";
}

FAKE(zipkin)
FAKE(file)
FAKE(out)
FAKE(console)

#define FORM(name, at_bit, is_remote, takes)                                                    \
	{                                                                                       \
		.bit = at_bit, .remote = is_remote, .collects = takes, .make = name##_make,     \
		.start = name##_start, .step = fake_step, .due = fake_due, .hurry = fake_hurry, \
		.cancel = fake_cancel, .free = fake_free, .shown = fake_shown,                  \
		.error = fake_error, .done = fake_done,                                         \
	}
const struct atr_form atr_form_zipkin = FORM(zipkin, ATR_EXPORTER_ZIPKIN, true, true);
const struct atr_form atr_form_file = FORM(file, 0, false, true);
const struct atr_form atr_form_stdout = FORM(out, ATR_EXPORTER_STDOUT, false, false);
const struct atr_form atr_form_console = FORM(console, ATR_EXPORTER_CONSOLE, false, false);

static struct atr_sink sink;
static uint64_t now;

static uint64_t test_now(void)
{
	return now;
}

static void begin(unsigned exporters, const char *path)
{
	otlp = zipkin = file = out = console =
		(struct form){ .start = ATR_DELIVERY_DONE, .step = ATR_DELIVERY_BUSY };
	zipkin.start = ATR_DELIVERY_BUSY;
	fake_init();
	fake.config.exporters = exporters;
	fake.config.file = path;
	fake.host.now = test_now;
	now = 1000000000u;
	CHECK(atr_sink_init(&sink, &fake.host));
}

static enum atr_delivery_state start_one(size_t n)
{
	return atr_sink_start(&sink, (const uint8_t *)"", 0, n);
}

static enum atr_delivery_state step(void)
{
	return atr_sink_step(&sink, 0, ATR_HASTE_NONE, false);
}

TEST(each_of_several_gets_every_batch_and_one_of_them_counts)
{
	begin(ATR_EXPORTER_OTLP | ATR_EXPORTER_CONSOLE, "x");
	CHECK_INT(sink.n_forms, 3);
	CHECK_INT(start_one(10), ATR_DELIVERY_BUSY);
	CHECK_INT(file.started + console.started + otlp.started, 3);
	CHECK_INT(atr_sink_due(&sink), 77);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK(atr_sink_sent(&sink));
	otlp.step = ATR_DELIVERY_DONE;
	CHECK_INT(step(), ATR_DELIVERY_DONE);
	CHECK_INT(file.started + file.stepped, 1);
	CHECK_INT(fake.stats.exported, 10);
	CHECK_INT(fake.stats.copied, 20);
	CHECK_INT(fake.stats.missed + fake.stats.copies_lost, 0);
	atr_sink_finish(&sink);
	CHECK_INT(file.freed + console.freed + otlp.freed, 3);
	CHECK_INT(out.freed + zipkin.freed, 0);
}

TEST(alone_each_of_them_counts)
{
	begin(ATR_EXPORTER_NONE, "x");
	CHECK_INT(start_one(3), ATR_DELIVERY_DONE);
	CHECK_INT(fake.stats.exported, 3);
	CHECK_STR(atr_sink_shown(&sink), "file");
	CHECK(atr_sink_collects(&sink));
	CHECK(!atr_sink_has_copies(&sink));
	atr_sink_finish(&sink);
	begin(ATR_EXPORTER_CONSOLE, NULL);
	CHECK_INT(start_one(3), ATR_DELIVERY_DONE);
	CHECK_INT(fake.stats.exported, 3);
	CHECK(!atr_sink_collects(&sink));
	console.start = ATR_DELIVERY_FAILED;
	CHECK_INT(start_one(3), ATR_DELIVERY_FAILED);
	CHECK_STR(atr_sink_outcome(&sink).error, "_OTHER");
	CHECK_INT(start_one(3), ATR_DELIVERY_FAILED);
	CHECK_INT(console.started, 3); /* alone it is tried whenever there is something */
	CHECK_INT(fake.stats.missed + fake.stats.failed + fake.stats.exported, 3);
	atr_sink_finish(&sink);
	begin(ATR_EXPORTER_NONE, NULL);
	CHECK_INT(sink.n_forms, 0);
	CHECK_STR(atr_sink_shown(&sink), "nowhere");
	atr_sink_finish(&sink);
}

TEST(a_batch_nobody_took_has_failed_and_one_somebody_took_has_not)
{
	begin(ATR_EXPORTER_OTLP, "x");
	file.start = ATR_DELIVERY_FAILED;
	otlp.step = ATR_DELIVERY_FAILED;
	CHECK_INT(start_one(5), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_FAILED);
	CHECK_INT(fake.stats.missed + fake.stats.copies_lost, 0); /* it comes again */
	now += 20000000000u;
	file.start = ATR_DELIVERY_DONE;
	CHECK_INT(start_one(5), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_DONE);
	CHECK_INT(fake.stats.missed, 5);
	CHECK_INT(fake.stats.copied, 5);
	now += 20000000000u;
	file.start = ATR_DELIVERY_FAILED;
	otlp.step = ATR_DELIVERY_DONE;
	CHECK_INT(start_one(5), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_DONE);
	CHECK_INT(fake.stats.copies_lost, 5);
	CHECK_INT(fake.stats.exported, 5);
	atr_sink_finish(&sink);
}

TEST(who_failed_beside_others_is_left_alone_for_a_while_that_grows)
{
	begin(ATR_EXPORTER_OTLP, "x");
	otlp.step = ATR_DELIVERY_FAILED;
	CHECK_INT(start_one(1), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_DONE);
	CHECK_INT(start_one(1), ATR_DELIVERY_DONE); /* it is not asked */
	CHECK_INT(otlp.started, 1);
	now += 500000001u;
	CHECK_INT(start_one(1), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_DONE);
	now += 500000001u;
	CHECK_INT(start_one(1), ATR_DELIVERY_DONE);
	now += 500000000u;
	otlp.step = ATR_DELIVERY_DONE;
	CHECK_INT(start_one(1), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_DONE);
	CHECK_INT(start_one(1), ATR_DELIVERY_BUSY); /* well again */
	CHECK_INT(step(), ATR_DELIVERY_DONE);
	CHECK_INT(fake.stats.missed, 4);
	CHECK_INT(fake.stats.exported, 2);
	CHECK_INT(fake.stats.copied, 6);
	atr_sink_finish(&sink);
}

TEST(one_who_does_not_answer_holds_up_others_only_while_there_is_room)
{
	begin(ATR_EXPORTER_OTLP, "x");
	CHECK_INT(start_one(1), ATR_DELIVERY_BUSY);
	now += 5000000000u;
	CHECK_INT(atr_sink_step(&sink, 0, ATR_HASTE_NONE, false), ATR_DELIVERY_BUSY);
	CHECK_INT(atr_sink_step(&sink, 0, ATR_HASTE_NONE, true), ATR_DELIVERY_DONE);
	CHECK_INT(otlp.cancelled, 1);
	CHECK_INT(fake.stats.missed, 1);
	atr_sink_finish(&sink);
	/* Alone it has all the time it has. */
	begin(ATR_EXPORTER_OTLP, NULL);
	CHECK_INT(start_one(1), ATR_DELIVERY_BUSY);
	now += 5000000000u;
	CHECK_INT(atr_sink_step(&sink, 0, ATR_HASTE_NONE, true), ATR_DELIVERY_BUSY);
	/* So it has where nobody else has the batch. */
	atr_sink_finish(&sink);
	begin(ATR_EXPORTER_OTLP, "x");
	file.start = ATR_DELIVERY_FAILED;
	CHECK_INT(start_one(1), ATR_DELIVERY_BUSY);
	now += 5000000000u;
	CHECK_INT(atr_sink_step(&sink, 0, ATR_HASTE_NONE, true), ATR_DELIVERY_BUSY);
	atr_sink_finish(&sink);
}

TEST(what_the_dead_have_left_is_for_the_first_one_alone)
{
	const struct atr_form_batch b = { .head = &sink.head,
					  .resource = &sink.resource,
					  .n_spans = 4 };

	begin(ATR_EXPORTER_OTLP, "x");
	CHECK_INT(atr_sink_start_foreign(&sink, &b), ATR_DELIVERY_BUSY);
	CHECK(otlp.foreign);
	CHECK_INT(file.started, 0);
	otlp.step = ATR_DELIVERY_FAILED;
	CHECK_INT(step(), ATR_DELIVERY_FAILED);
	CHECK_INT(fake.stats.missed, 0);
	atr_sink_finish(&sink);
	begin(ATR_EXPORTER_NONE, "x");
	CHECK_INT(atr_sink_start_foreign(&sink, &b), ATR_DELIVERY_DONE);
	CHECK_INT(fake.stats.adopted, 4);
	atr_sink_finish(&sink);
}

TEST(in_the_end_who_takes_at_once_gets_what_the_collector_does_not)
{
	begin(ATR_EXPORTER_OTLP, "x");
	CHECK(atr_sink_has_copies(&sink));
	atr_sink_copy_rest(&sink, (const uint8_t *)"", 0, 7);
	CHECK_INT(file.started, 1);
	CHECK_INT(otlp.started, 0);
	CHECK_INT(fake.stats.copied, 7);
	file.start = ATR_DELIVERY_BUSY;
	atr_sink_copy_rest(&sink, (const uint8_t *)"", 0, 7);
	CHECK_INT(file.cancelled, 1);
	CHECK_INT(fake.stats.copies_lost, 7);
	atr_sink_finish(&sink);
	begin(ATR_EXPORTER_STDOUT | ATR_EXPORTER_CONSOLE, NULL);
	CHECK(!atr_sink_has_copies(&sink));
	atr_sink_finish(&sink);
}

TEST(a_batch_in_parts_is_counted_once_for_who_does_without_it)
{
	struct atr_outcome outcome;

	begin(ATR_EXPORTER_OTLP, "x");
	file.start = ATR_DELIVERY_FAILED;
	CHECK_INT(start_one(10), ATR_DELIVERY_BUSY);
	otlp.part = 4;
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK_INT(atr_sink_part(&sink, &outcome), 4);
	CHECK_INT(atr_sink_part(&sink, &outcome), 0);
	otlp.part = 6;
	otlp.step = ATR_DELIVERY_DONE;
	CHECK_INT(step(), ATR_DELIVERY_DONE);
	CHECK_INT(atr_sink_part(&sink, &outcome), 6);
	CHECK_INT(fake.stats.copies_lost, 10);
	atr_sink_finish(&sink);
}

TEST(a_zipkin_is_sent_to_as_a_collector_is)
{
	begin(ATR_EXPORTER_ZIPKIN, "x");
	CHECK(sink.delivery == &zipkin.delivery);
	CHECK(!zipkin.delivery.beside);
	atr_sink_finish(&sink);
	begin(ATR_EXPORTER_OTLP | ATR_EXPORTER_ZIPKIN, NULL);
	CHECK(sink.delivery == delivery && !delivery->beside);
	CHECK(zipkin.delivery.beside);
	zipkin.delivery.patience = now + 60000000000u;
	zipkin.step = ATR_DELIVERY_FAILED;
	otlp.step = ATR_DELIVERY_DONE;
	CHECK_INT(start_one(1), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_DONE);
	now += 59000000000u;
	CHECK_INT(start_one(1), ATR_DELIVERY_BUSY);
	CHECK_INT(zipkin.started, 1); /* it named the time */
	atr_sink_cancel(&sink);
	atr_sink_finish(&sink);
}

TEST(status_is_told_why_what_is_no_collector_takes_nothing)
{
	struct atr_health *h = &fake.health;

	begin(ATR_EXPORTER_CONSOLE, "x");
	file.start = console.start = ATR_DELIVERY_FAILED;
	file.error = "no room";
	console.error = "closed";
	CHECK_INT(start_one(1), ATR_DELIVERY_FAILED);
	atr_sink_tell(&sink, h);
	CHECK_STR(h->error, "no room");
	CHECK(h->error_at && !h->ok_at);
	console.start = ATR_DELIVERY_DONE; /* the first one has it no better */
	now += 20000000000u;
	CHECK_INT(start_one(1), ATR_DELIVERY_DONE);
	atr_sink_tell(&sink, h);
	CHECK_STR(h->error, "no room");
	CHECK(!h->ok_at);
	file.start = ATR_DELIVERY_DONE;
	console.start = ATR_DELIVERY_FAILED;
	now += 20000000000u;
	CHECK_INT(start_one(1), ATR_DELIVERY_DONE);
	atr_sink_tell(&sink, h);
	CHECK_STR(h->error, "other: closed");
	CHECK(h->ok_at && h->error_at == h->ok_at);
	atr_sink_finish(&sink);
}

TEST(one_who_keeps_all_waiting_is_named_meanwhile)
{
	struct atr_health *h = &fake.health;

	begin(ATR_EXPORTER_OTLP | ATR_EXPORTER_ZIPKIN, NULL);
	otlp.step = ATR_DELIVERY_DONE;
	CHECK_INT(start_one(1), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	atr_health_ok(h);
	atr_sink_tell_others(&sink, h);
	CHECK(!h->error_at);
	zipkin.error = "nobody there";
	atr_sink_tell_others(&sink, h);
	CHECK_STR(h->error, "other: nobody there");
	CHECK(h->error_at == h->ok_at);
	atr_sink_cancel(&sink);
	atr_sink_finish(&sink);
}

TEST(what_a_collector_said_of_itself_stays)
{
	struct atr_health *h = &fake.health;

	begin(ATR_EXPORTER_OTLP, "x");
	file.start = ATR_DELIVERY_FAILED;
	otlp.step = ATR_DELIVERY_DONE; /* a refusal is that, too */
	atr_health_error(h, "refused: HTTP 401");
	CHECK_INT(start_one(1), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_DONE);
	atr_sink_tell(&sink, h);
	CHECK_STR(h->error, "refused: HTTP 401");
	CHECK(!h->ok_at);
	atr_health_ok(h);
	CHECK_INT(start_one(1), ATR_DELIVERY_BUSY);
	CHECK_INT(step(), ATR_DELIVERY_DONE);
	atr_sink_tell(&sink, h);
	CHECK_STR(h->error, "file: no answer in time");
	CHECK(h->error_at == h->ok_at);
	atr_sink_finish(&sink);
}

/* The file takes so much of a batch; the collector so much of it, and fails. */
static enum atr_delivery_state in_part(size_t by_file, size_t by_otlp)
{
	now += 20000000000u;
	file.part = by_file;
	CHECK_INT(start_one(10), ATR_DELIVERY_BUSY);
	otlp.part = by_otlp;
	delivery->part_outcome = (struct atr_outcome){ .error = "part" };
	delivery->outcome = (struct atr_outcome){ .error = "whole" };
	return step();
}

TEST(what_one_has_of_a_batch_that_nobody_took_does_not_come_again)
{
	struct atr_outcome outcome;

	begin(ATR_EXPORTER_OTLP, "x");
	file.start = otlp.step = ATR_DELIVERY_FAILED;
	CHECK_INT(in_part(6, 0), ATR_DELIVERY_FAILED);
	CHECK_INT(atr_sink_part(&sink, &outcome), 6);
	CHECK_STR(outcome.error, "whole");
	CHECK_INT(atr_sink_part(&sink, &outcome), 0);
	CHECK_INT(fake.stats.missed, 6);
	CHECK_INT(fake.stats.copies_lost, 0);
	/* Who has more decides, whoever it is. */
	CHECK_INT(in_part(6, 4), ATR_DELIVERY_FAILED);
	CHECK_INT(atr_sink_part(&sink, &outcome), 6);
	CHECK_INT(fake.stats.missed, 6 + 2);
	CHECK_INT(in_part(3, 4), ATR_DELIVERY_FAILED);
	CHECK_INT(atr_sink_part(&sink, &outcome), 4);
	CHECK_STR(outcome.error, "part");
	CHECK_INT(fake.stats.missed, 6 + 2);
	CHECK_INT(fake.stats.copies_lost, 1);
	/* One who is not asked has none of the next. */
	CHECK_INT(start_one(10), ATR_DELIVERY_FAILED);
	CHECK_INT(atr_sink_part(&sink, &outcome), 0);
	CHECK_INT(in_part(10, 0), ATR_DELIVERY_DONE);
	CHECK_INT(fake.stats.missed, 6 + 2 + 10);
	atr_sink_finish(&sink);
}

TEST(what_one_has_is_not_counted_as_lost_when_the_other_goes_on)
{
	struct atr_outcome outcome;

	begin(ATR_EXPORTER_OTLP, "x");
	file.start = ATR_DELIVERY_FAILED;
	otlp.step = ATR_DELIVERY_BUSY;
	CHECK_INT(in_part(8, 4), ATR_DELIVERY_BUSY);
	CHECK_INT(atr_sink_part(&sink, &outcome), 4);
	otlp.step = ATR_DELIVERY_DONE;
	CHECK_INT(step(), ATR_DELIVERY_DONE);
	CHECK_INT(fake.stats.copies_lost, 2);
	now += 20000000000u;
	otlp.step = ATR_DELIVERY_BUSY;
	CHECK_INT(in_part(3, 4), ATR_DELIVERY_BUSY);
	CHECK_INT(atr_sink_part(&sink, &outcome), 4);
	atr_sink_cancel(&sink); /* the end: the other six are in the spool */
	CHECK_INT(fake.stats.copies_lost, 2 + 1);
	CHECK_INT(fake.stats.missed, 0);
	atr_sink_cancel(&sink);
	CHECK_INT(fake.stats.copies_lost, 2 + 1);
	atr_sink_finish(&sink);
}

TEST(a_mark_counts_only_when_nobody_else_is_busy)
{
	begin(ATR_EXPORTER_OTLP | ATR_EXPORTER_ZIPKIN, NULL);
	CHECK_INT(start_one(1), ATR_DELIVERY_BUSY);
	CHECK(!atr_sink_sent(&sink));
	zipkin.step = ATR_DELIVERY_DONE;
	CHECK_INT(step(), ATR_DELIVERY_BUSY);
	CHECK(atr_sink_sent(&sink));
	atr_sink_cancel(&sink);
	CHECK_INT(otlp.cancelled, 1);
	CHECK_INT(zipkin.cancelled, 0);
	atr_sink_finish(&sink);
}
