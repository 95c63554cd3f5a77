/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole exporter object but its entry's loader: atr_exporter_run() on a
 * thread, between a fake host and a fake collector.
 */
/* LINK: exporter/trouble.o */
/* LINK: preload/authority.o */
/* LINK: exporter/batch.o exporter/buf.o exporter/console.o exporter/container.o */
/* LINK: exporter/marks.o exporter/spots.o */
/* LINK: exporter/orphan.o exporter/tally.o exporter/health.o preload/spoolname.o */
/* LINK: preload/target.o exporter/limits.o exporter/file.o exporter/jsonl.o */
/* LINK: exporter/otlp-json.o exporter/zipkin.o -lm exporter/metrics.o exporter/reader.o */
/* LINK: exporter/code.o exporter/demangle.o exporter/image.o exporter/lines.o */
/* LINK: exporter/symbols.o preload/attr.o -ldl exporter/delivery.o exporter/detect.o */
/* LINK: exporter/endpoint.o exporter/gzip.o exporter/jaeger-remote.o exporter/json.o */
/* LINK: exporter/replay.o exporter/otlp-read.o exporter/http.o exporter/keep.o */
/* LINK: exporter/line.o exporter/list.o exporter/otlp.o exporter/grpc.o exporter/verdict.o */
/* LINK: exporter/resource.o exporter/retry.o exporter/sink.o exporter/url.o exporter/collector.o */
/* LINK: exporter/otlp.pb-c.o preload/sys.o preload/utf8.o -lcurl -lprotobuf-c -lz */
#include "exporter/exporter.c"

#include <sys/resource.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "tests/unit/fake_collector.h"
#include "tests/unit/fake_host.h"
#include "tests/unit/spool_file.h"
#include "tests/unit/test.h"

static const struct step always_ok[] = { { .status = 200 } };

static char base_url[64];

/* A fresh host that exports to that port, at once. */
static void aim(int port)
{
	fake_init();
	(void)snprintf(base_url, sizeof(base_url), "http://127.0.0.1:%d", port);
	fake.config.otlp_endpoint = base_url;
	fake.config.bsp_schedule_delay = 20;
}

static void begin(const struct step *steps, size_t n)
{
	collector_start(steps, n, 0);
	aim(col.port);
}

#define BEGIN(steps) begin(steps, ATR_ARRAY_LEN(steps))

static void go(void)
{
	fake_start(atr_exporter_run);
}

/* Every span is accounted for, once. */
static bool books_balance(void)
{
	const struct atr_stats *s = &fake.stats;

	return CHECK_INT(s->exported + s->rejected + s->failed + s->unsent + s->no_memory,
			 fake.drained);
}

TEST(spans_arrive_once_with_the_right_request_around_them)
{
	BEGIN(always_ok);
	fake.config.service_name = "shop";
	fake.config.resource_attributes = "deployment.environment.name=test,a=b%2Cc";
	go();
	fake_add(3);
	CHECK(fake_wait_for(&col.accepted, 3));
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK_INT(col.bad, 0);
	CHECK_INT(col.requests, 1);
	CHECK(collector_once(1, 3));
	CHECK_INT(fake.stats.exported, 3);
	CHECK_INT(fake.stats.requests, 1);
	CHECK_INT(fake.stats.retries, 0);
	CHECK_INT(fake.loaded, 1);
	CHECK_STR(fake.log, "");
	CHECK(strstr(col.resource, "service.name=shop\n") != NULL);
	CHECK(strstr(col.resource, "\na=b,c\n") != NULL);
	CHECK(strstr(col.resource, "telemetry.sdk.name=libautotrace\n") != NULL);
	CHECK_STR(col.scope, "libautotrace 0.1.0 https://opentelemetry.io/schemas/1.44.0 "
			     "https://opentelemetry.io/schemas/1.44.0");
	CHECK(strncmp(col.head, "POST /v1/traces HTTP/1.1\r\n", 26) == 0);
	CHECK(strstr(col.head, "\r\nContent-Type: application/x-protobuf\r\n") != NULL);
	CHECK(strstr(col.head,
		     "\r\nUser-Agent: libautotrace/0.1.0 OTel-OTLP-Exporter-C/0.1.0\r\n") != NULL);
	CHECK(strcasestr(col.head, "expect:") == NULL);
	CHECK(strcasestr(col.head, "content-encoding:") == NULL);
	books_balance();
}

TEST(one_connection_serves_many_batches)
{
	BEGIN(always_ok);
	go();
	for (uint64_t i = 1; i <= 5; i++) {
		fake_add(10);
		CHECK(fake_wait_for(&col.accepted, 10 * i));
	}
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK_INT(col.requests, 5);
	CHECK_INT(col.connections, 1);
	CHECK(collector_once(1, 50));
	books_balance();
}

TEST(nothing_is_ever_sent_when_there_is_no_span)
{
	BEGIN(always_ok);
	go();
	usleep(100000);
	CHECK(fake_flush(0, 1000) >= 0);
	CHECK(fake_stop(1000) >= 0);
	collector_stop();
	CHECK_INT(col.connections, 0);
	CHECK_INT(fake.loaded, 1);
}

TEST(full_batches_go_at_once_and_the_rest_when_a_ring_is_full)
{
	BEGIN(always_ok);
	fake.config.bsp_schedule_delay = 60000;
	fake.config.bsp_max_export_batch_size = 100;
	go();
	fake_add(99);
	usleep(50000);
	CHECK_INT(col.accepted, 0);
	fake_add(151);
	CHECK(fake_wait_for(&col.accepted, 200));
	usleep(50000);
	CHECK_INT(col.accepted, 200); /* nobody woke it */
	fake_wake_ring();
	CHECK(fake_wait_for(&col.accepted, 250));
	CHECK_INT(col.largest, 100);
	CHECK(fake_stop(1000) >= 0);
	collector_stop();
	CHECK_INT(col.requests, 3);
	CHECK(collector_once(1, 250));
	books_balance();
}

TEST(a_span_waits_no_longer_than_the_schedule_delay)
{
	uint64_t start;

	BEGIN(always_ok);
	fake.config.bsp_schedule_delay = 300;
	go();
	start = fake_now();
	fake_add(1);
	CHECK(fake_wait_for(&col.accepted, 1));
	CHECK(fake_now() - start >= 200 * 1000000ull);
	CHECK(fake_now() - start < 1000 * 1000000ull);
	CHECK(fake_stop(1000) >= 0);
	collector_stop();
}

TEST(many_spans_none_lost_none_doubled)
{
	BEGIN(always_ok);
	fake.wake_at_half = true;
	fake.config.bsp_max_queue_size = 1000;
	fake.config.bsp_max_export_batch_size = 128;
	go();
	for (int i = 0; i < 500; i++) {
		fake_add(100);
		if (i % 50 == 0)
			usleep(1000);
	}
	CHECK(fake_flush(0, 10000) >= 0);
	CHECK_INT(col.accepted, 50000);
	CHECK(fake_stop(5000) >= 0);
	collector_stop();
	CHECK(collector_once(1, 50000));
	CHECK_INT(col.connections, 1);
	CHECK_INT(fake.stats.exported, 50000);
	books_balance();
}

TEST(gzip_arrives_and_unpacks)
{
	BEGIN(always_ok);
	fake.config.otlp_traces_compression = ATR_COMPRESSION_GZIP;
	fake.config.otlp_traces_compression_set = true;
	go();
	for (uint64_t i = 1; i <= 3; i++) {
		fake_add(100);
		CHECK(fake_wait_for(&col.accepted, 100 * i));
	}
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK(strstr(col.head, "\r\nContent-Encoding: gzip\r\n") != NULL);
	CHECK_INT(col.bad, 0);
	CHECK(collector_once(1, 300));
	books_balance();
}

TEST(headers_of_the_user_are_sent_and_bad_ones_named_without_their_value)
{
	BEGIN(always_ok);
	fake.config.otlp_headers = "never=seen";
	fake.config.otlp_traces_headers =
		" api-key = a%20secret , x-empty=, bad key=hidden1,content-type=hidden2,"
		"cr=%0d%0ahidden3,novalue,pct=%zzhidden4";
	go();
	fake_add(1);
	CHECK(fake_wait_for(&col.accepted, 1));
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK(strstr(col.head, "\r\napi-key: a secret\r\n") != NULL);
	CHECK(strstr(col.head, "\r\nx-empty:\r\n") != NULL);
	CHECK(strstr(col.head, "never") == NULL);
	CHECK(strstr(col.head, "hidden") == NULL);
	CHECK_STR(fake.log,
		  "OTEL_EXPORTER_OTLP_TRACES_HEADERS: 5 bad headers left out, first \"bad key\"\n");
}

TEST(a_user_in_the_url_is_sent_and_never_shown)
{
	char url[80];

	BEGIN(always_ok);
	(void)snprintf(url, sizeof(url), "http://user:pass@127.0.0.1:%d", col.port);
	fake.config.otlp_endpoint = url;
	go();
	fake_add(1);
	CHECK(fake_wait_for(&col.accepted, 1));
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK(strstr(col.head, "\r\nAuthorization: Basic dXNlcjpwYXNz\r\n") != NULL);
	CHECK_STR(fake.log, "");
}

TEST(an_unavailable_collector_is_tried_again)
{
	static const struct step steps[] = { { .status = 503 }, { .status = 200 } };

	BEGIN(steps);
	go();
	fake_add(7);
	CHECK(fake_wait_for(&col.accepted, 7));
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK_INT(fake.stats.requests, 2);
	CHECK_INT(fake.stats.retries, 1);
	CHECK_INT(fake.stats.exported, 7);
	CHECK(col.last_ns - col.first_ns >= 800 * 1000000ull);
	CHECK(col.last_ns - col.first_ns < 1400 * 1000000ull);
	CHECK_INT(col.connections, 1);
	CHECK_STR(fake.log, "");
	books_balance();
}

TEST(a_time_named_by_retry_after_is_kept)
{
	static const struct step steps[] = { { .status = 429, .headers = "Retry-After: 2\r\n" },
					     { .status = 200 } };

	BEGIN(steps);
	go();
	fake_add(1);
	CHECK(fake_wait_for(&col.accepted, 1));
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK(col.last_ns - col.first_ns >= 2000 * 1000000ull);
	CHECK(col.last_ns - col.first_ns < 2300 * 1000000ull);
	books_balance();
}

TEST(a_date_named_by_retry_after_is_kept)
{
	static char header[128];
	static struct step steps[] = { { .status = 503, .headers = header }, { .status = 200 } };
	time_t at = time(NULL) + 3;
	struct tm tm;

	(void)strftime(header, sizeof(header), "Retry-After: %a, %d %b %Y %H:%M:%S GMT\r\n",
		       gmtime_r(&at, &tm));
	BEGIN(steps);
	go();
	fake_add(1);
	CHECK(fake_wait_for(&col.accepted, 1));
	CHECK(time(NULL) >= at - 1);
	CHECK(col.last_ns - col.first_ns >= 1500 * 1000000ull);
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	books_balance();
}

TEST(a_time_named_beyond_the_timeout_is_kept_by_the_next_batch)
{
	static const struct step steps[] = { { .status = 429, .headers = "Retry-After: 2\r\n" },
					     { .status = 200 } };

	BEGIN(steps);
	fake.config.otlp_timeout = 200;
	go();
	fake_add(4);
	CHECK(fake_wait_for(&col.accepted, 4)); /* kept, and tried again then */
	CHECK(col.last_ns - col.first_ns >= 2000 * 1000000ull);
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK_INT(fake.stats.requests, 2);
	CHECK_INT(fake.stats.failed, 0);
	CHECK_INT(fake.stats.exported, 4);
	CHECK(collector_once(1, 4));
	CHECK_INT(fake_log_lines(), 2);
	CHECK(fake_said(
		"failed: HTTP 429; spans are kept until 2048 wait and their rings are full"));
	CHECK(fake_said("works again"));
	books_balance();
}

TEST(a_time_named_beyond_the_end_leaves_all_where_it_is)
{
	static const struct step steps[] = { { .status = 503, .headers = "Retry-After: 3600\r\n" },
					     { .status = 200 } };
	uint64_t wall, hold_until;

	BEGIN(steps);
	fake.config.otlp_timeout = 100;
	fake.config.bsp_max_queue_size = 100;
	fake.config.bsp_max_queue_size_set = true;
	go();
	fake_add(4);
	CHECK(fake_wait_for(&fake.health.hold_until, 1));
	wall = atr_wall_clock();
	hold_until = atr_load(&fake.health.hold_until);
	CHECK(hold_until > wall + 295 * 1000000000ull); /* five minutes */
	CHECK(hold_until < wall + 301 * 1000000000ull);
	CHECK(fake_flush(0, 1000) < 300);
	fake_add(200);
	CHECK(fake_stop(1000) < 300);
	collector_stop();
	CHECK_INT(col.requests, 1);
	CHECK_INT(fake.stats.unsent, 204);
	CHECK(fake_said(
		"failed: HTTP 503; spans are kept until 100 wait (OTEL_BSP_MAX_QUEUE_SIZE)"));
	CHECK_INT(fake_log_lines(), 1);
	books_balance();
}

TEST(what_flaps_is_said_once_a_minute)
{
	static const struct step steps[] = { { .how = ANSWER_CLOSE },
					     { .status = 400 },
					     { .how = ANSWER_CLOSE },
					     { .status = 200 },
					     { .status = 400 } };

	BEGIN(steps);
	fake.config.otlp_timeout = 100;
	go();
	fake_add(1);
	CHECK(fake_wait_for(&fake.stats.rejected, 1));
	fake_add(1);
	CHECK(fake_wait_for(&fake.stats.exported, 1));
	fake_add(1);
	CHECK(fake_wait_for(&fake.stats.rejected, 2));
	CHECK(fake_stop(1000) >= 0);
	collector_stop();
	CHECK_INT(fake_log_lines(), 3); /* it failed, it refused, it works again */
	books_balance();
}

TEST(after_five_attempts_a_batch_is_put_back)
{
	static const struct step steps[] = {
		{ .status = 504, .headers = "Retry-After: 0\r\n" },
		{ .status = 504, .headers = "Retry-After: 0\r\n" },
		{ .status = 504, .headers = "Retry-After: 0\r\n" },
		{ .status = 504, .headers = "Retry-After: 0\r\n" },
		{ .status = 504, .headers = "Retry-After: 0\r\n" },
		{ .status = 200 },
	};

	BEGIN(steps);
	go();
	fake_add(2);
	CHECK(fake_wait_for(&fake.stats.requests, 5));
	fake_add(1);
	CHECK(fake_wait_for(&col.accepted, 3));
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK_INT(fake.stats.requests, 6);
	CHECK_INT(fake.stats.retries, 4);
	CHECK_INT(fake.stats.failed, 0);
	CHECK(collector_once(1, 3));
	CHECK_INT(fake_log_lines(), 2);
	books_balance();
}

TEST(a_refusal_is_final_counted_and_said_once)
{
	/* code 3, message "no such tenant" */
	static const char status[] = "\x08\x03\x12\x0eno such tenant";
	static const struct step steps[] = { { .status = 400,
					       .headers =
						       "Content-Type: application/x-protobuf\r\n",
					       .body = status,
					       .len = sizeof(status) - 1 } };

	BEGIN(steps);
	go();
	for (uint64_t i = 1; i <= 3; i++) {
		fake_add(2);
		CHECK(fake_wait_for(&fake.stats.rejected, 2 * i));
	}
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK_INT(fake.stats.requests, 3);
	CHECK_INT(fake.stats.retries, 0);
	CHECK_INT(fake.stats.rejected, 6);
	CHECK_INT(fake_log_lines(), 1);
	CHECK(strstr(fake.log, "refused 2 spans: HTTP 400, no such tenant; they are dropped") !=
	      NULL);
	books_balance();
}

TEST(a_refusal_in_plain_text_is_shown_as_one_safe_line)
{
	static const char text[] = "404 page \x1b[31mnot found\nmore";
	static const struct step steps[] = { { .status = 404,
					       .headers = "Content-Type: text/plain\r\n",
					       .body = text,
					       .len = sizeof(text) - 1 } };

	BEGIN(steps);
	go();
	fake_add(1);
	CHECK(fake_wait_for(&fake.stats.rejected, 1));
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK(fake_said("HTTP 404, 404 page \\x1b[31mnot found; they"));
}

TEST(a_redirect_is_not_followed)
{
	static const struct step steps[] = { { .status = 302, .headers = "Location: /other\r\n" } };

	BEGIN(steps);
	go();
	fake_add(1);
	CHECK(fake_wait_for(&fake.stats.rejected, 1));
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK_INT(col.requests, 1);
	CHECK(fake_said("HTTP 302, a redirect to http://127.0.0.1:"));
	CHECK(fake_said("/other, which is not followed; they are dropped"));
	books_balance();
}

TEST(a_partial_success_counts_the_rejected_and_is_not_repeated)
{
	/* partial_success { rejected_spans: 3, error_message: "too old" } */
	static const char partial[] = "\x0a\x0b\x08\x03\x12\x07too old";
	static const struct step steps[] = { { .status = 200,
					       .headers =
						       "Content-Type: application/x-protobuf\r\n",
					       .body = partial,
					       .len = sizeof(partial) - 1 } };

	BEGIN(steps);
	go();
	fake_add(10);
	CHECK(fake_wait_for(&fake.stats.exported, 7));
	fake_add(10);
	CHECK(fake_wait_for(&fake.stats.exported, 14));
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK_INT(fake.stats.rejected, 6);
	CHECK_INT(fake.stats.exported, 14);
	CHECK_INT(fake.stats.requests, 2);
	CHECK_INT(fake_log_lines(), 1);
	CHECK(fake_said("rejected 3 of 10 spans: too old"));
	books_balance();
}

TEST(a_partial_success_without_a_reason_says_so)
{
	/* partial_success { rejected_spans: 3 } */
	static const char partial[] = "\x0a\x02\x08\x03";
	static const struct step steps[] = {
		{ .status = 200, .body = partial, .len = sizeof(partial) - 1 }
	};

	BEGIN(steps);
	go();
	fake_add(10);
	CHECK(fake_wait_for(&fake.stats.rejected, 3));
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK(fake_said("rejected 3 of 10 spans: it does not say why"));
	books_balance();
}

TEST(a_batch_too_large_is_sent_in_parts)
{
	BEGIN(always_ok);
	col.limit = 2500; /* the head, and some 30 spans */
	go();
	fake_add(300);
	CHECK(fake_wait_for(&fake.stats.exported, 300));
	CHECK_INT(atr_load(&fake.stats.split), 4);
	fake_add(300);
	CHECK(fake_wait_for(&fake.stats.exported, 600));
	CHECK_INT(atr_load(&fake.stats.split), 5); /* it was learned, and tried once more */
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK(collector_once(1, 600));
	CHECK_INT(fake.stats.rejected, 0);
	CHECK_INT(fake.stats.retries, 0);
	CHECK_STR(fake.log, "");
	CHECK_INT(fake.settled, 600);
	books_balance();
}

TEST(what_was_too_large_once_is_not_for_ever)
{
	uint64_t before = 0;

	BEGIN(always_ok);
	col.limit = 250; /* the head, and hardly a span */
	go();
	fake_add(64);
	CHECK(fake_wait_for(&fake.settled, 64));
	__atomic_store_n(&col.limit, 0, __ATOMIC_RELAXED);
	for (uint64_t n = 64; n < 20 * 64; n += 64) {
		before = atr_load(&fake.stats.requests);
		fake_add(64);
		CHECK(fake_wait_for(&fake.settled, n + 64));
	}
	CHECK_INT(atr_load(&fake.stats.requests) - before, 1);
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	books_balance();
}

TEST(a_limit_that_stays_is_tried_less_and_less)
{
	BEGIN(always_ok);
	col.limit = 2500; /* some 30 spans: of 320 16 requests are made */
	go();
	for (uint64_t n = 0; n < 64 * 320; n += 320) {
		fake_add(320);
		CHECK(fake_wait_for(&fake.stats.exported, n + 320));
	}
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK(fake.stats.split >= 8 && fake.stats.split <= 20); /* of 1024 */
	CHECK_INT(fake.stats.rejected, 0);
	CHECK(collector_once(1, 64 * 320));
	books_balance();
}

TEST(a_span_too_large_is_dropped_alone_and_said_once)
{
	BEGIN(always_ok);
	col.limit = 1; /* none at all */
	go();
	fake_add(5);
	CHECK(fake_wait_for(&fake.stats.rejected, 5));
	CHECK_INT(atr_load(&fake.stats.split), 2);
	__atomic_store_n(&col.limit, 0, __ATOMIC_RELAXED);
	fake_add(1);
	CHECK(fake_wait_for(&fake.stats.exported, 1));
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK_INT(fake_log_lines(), 1);
	CHECK(fake_said("HTTP 413; such spans are dropped"));
	books_balance();
}

TEST(parts_that_were_taken_are_not_sent_again_with_those_that_were_not)
{
	static const struct step steps[] = { { .status = 413 }, /* 64 */
					     { .status = 413 }, /* 32 */
					     { .status = 200 }, /* 16 of them */
					     { .status = 503 },
					     { .status = 200 } };

	BEGIN(steps);
	fake.config.otlp_timeout = 300; /* shorter than the back-off */
	go();
	fake_add(64);
	CHECK(fake_wait_for(&fake.stats.exported, 16));
	CHECK(fake_wait_for(&fake.stats.exported, 64));
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK(collector_once(1, 64));
	CHECK(fake_said("failed: HTTP 503; spans are kept"));
	CHECK_INT(fake.settled, 64);
	books_balance();
}

TEST(a_collector_that_hangs_after_a_part_has_only_that)
{
	static const struct step steps[] = { { .status = 413 },
					     { .status = 200 },
					     { .how = ANSWER_NEVER } };

	BEGIN(steps);
	fake.config.log_level = ATR_LOG_WARN;
	go();
	fake_add(10);
	CHECK(fake_wait_for(&col.requests, 3));
	CHECK(fake_stop(300) >= 0);
	collector_stop();
	CHECK_INT(fake.stats.exported, 5);
	CHECK_INT(fake.stats.unsent, 5);
	CHECK_INT(fake.shipped, 10 + 5 + 5); /* what was in each request, and no more */
	CHECK(collector_once(1, 5));
	CHECK(fake_said("5 spans were not sent"));
	books_balance();
}

TEST(what_a_file_has_is_settled_and_the_rest_no_longer_marked)
{
	static const struct step steps[] = { { .how = ANSWER_NEVER } };
	struct rlimit limit, was;
	char path[64];

	BEGIN(steps);
	(void)snprintf(path, sizeof(path), "/tmp/test_exporter.%d", getpid());
	fake.config.exporters = ATR_EXPORTER_OTLP;
	fake.config.file = path;
	fake.config.file_max_bytes = 64u << 20;
	fake.config.bsp_max_queue_size = fake.config.bsp_max_export_batch_size = 3000;
	fake.config.otlp_timeout = 200;
	CHECK_INT(getrlimit(RLIMIT_FSIZE, &was), 0);
	limit = (struct rlimit){ 450000, was.rlim_max };
	(void)signal(SIGXFSZ, SIG_IGN);
	CHECK_INT(setrlimit(RLIMIT_FSIZE, &limit), 0);
	fake_add(3000); /* two lines, and room for one */
	go();
	CHECK(fake_wait_for(&fake.stats.missed, 1));
	CHECK(fake_stop(1000) >= 0);
	CHECK_INT(setrlimit(RLIMIT_FSIZE, &was), 0);
	(void)signal(SIGXFSZ, SIG_DFL);
	collector_stop();
	unlink(path);
	CHECK_INT(fake.stats.missed, fake.stats.copied);
	CHECK(fake.stats.copied > 0 && fake.stats.copied < 3000);
	CHECK(fake.back >= 3000);
}

TEST(a_response_beyond_4_mib_is_final)
{
	static const struct step steps[] = { { .how = ANSWER_HUGE }, { .status = 200 } };

	BEGIN(steps);
	go();
	fake_add(5);
	CHECK(fake_wait_for(&fake.stats.rejected, 5));
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK_INT(fake.stats.requests, 1);
	CHECK(fake_said("a response of more than 4 MiB"));
	books_balance();
}

TEST(a_connection_closed_without_an_answer_is_tried_again)
{
	static const struct step steps[] = { { .how = ANSWER_CLOSE },
					     { .how = ANSWER_CUT },
					     { .status = 200 } };

	BEGIN(steps);
	go();
	fake_add(5);
	CHECK(fake_wait_for(&col.accepted, 5));
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK_INT(fake.stats.exported, 5);
	CHECK_INT(fake.stats.retries, 2);
	CHECK(collector_once(1, 5));
	CHECK_INT(fake_log_lines(), 2); /* it failed; it works again */
	books_balance();
}

TEST(the_head_of_an_answer_that_is_cut_off_counts_unless_it_is_a_success)
{
	static const struct step steps[] = {
		{ .how = ANSWER_CUT, .status = 503, .headers = "Retry-After: 2\r\n" },
		{ .how = ANSWER_CUT, .status = 400 },
	};

	BEGIN(steps);
	go();
	fake_add(5);
	CHECK(fake_wait_for(&fake.stats.rejected, 5));
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK_INT(fake.stats.requests, 2);
	CHECK(col.last_ns - col.first_ns >= 2000 * 1000000ull);
	CHECK(fake_said("refused 5 spans: HTTP 400"));
	CHECK_INT(fake_log_lines(), 1);
	books_balance();
}

TEST(what_a_kept_connection_took_with_it_is_sent_again_counted_and_later)
{
	static const struct step steps[] = { { .status = 200 },
					     { .how = ANSWER_CLOSE },
					     { .status = 200 } };

	BEGIN(steps);
	go();
	fake_add(1);
	CHECK(fake_wait_for(&col.accepted, 1));
	fake_add(2);
	CHECK(fake_wait_for(&col.accepted, 3));
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK_INT(col.requests, 3);
	CHECK_INT(fake.stats.requests, 3);
	CHECK_INT(fake.stats.retries, 1);
	CHECK_INT(fake.back, 2);
	CHECK(col.last_ns - col.first_ns >= 800 * 1000000ull);
	CHECK_STR(fake.log, ""); /* that happens */
	books_balance();
}

TEST(an_unreachable_collector_is_said_once_and_again_when_it_works)
{
	int fd = collector_listen(0, 1), port = collector_port(fd);

	close(fd);
	aim(port);
	fake.config.otlp_timeout = 300;
	go();
	fake_add(3);
	CHECK(fake_wait_for(&fake.stats.requests, 2));
	CHECK_INT(fake_log_lines(), 1);
	CHECK(fake_said(base_url));
	CHECK(fake_said("connect"));
	CHECK(fake_said("spans are kept until 2048 wait and their rings are full"));
	collector_start(always_ok, 1, port);
	fake_add(1);
	CHECK(fake_wait_for(&col.accepted, 4));
	CHECK(fake_stop(2000) >= 0);
	CHECK_INT(fake_log_lines(), 2);
	CHECK_INT(fake.stats.failed, 0);
	CHECK_INT(fake.stats.exported, 4);
	CHECK(collector_once(1, 4));
	collector_stop();
	books_balance();
}

TEST(while_one_batch_waits_the_queue_fills_and_no_further)
{
	static const struct step steps[] = { { .status = 503, .headers = "Retry-After: 1\r\n" },
					     { .status = 200 } };

	BEGIN(steps);
	fake.wake_at_half = true;
	fake.config.bsp_max_queue_size = 100;
	fake.config.bsp_max_export_batch_size = 50;
	go();
	fake_add(1000);
	CHECK(fake_wait_for(&col.requests, 1));
	usleep(300000);
	CHECK_INT(fake_drained(), 150); /* the batch on its way, and a full queue */
	CHECK(fake_wait_for(&col.accepted, 1000));
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK(collector_once(1, 1000));
	books_balance();
}

TEST(a_connection_that_was_closed_while_idle_is_replaced_in_silence)
{
	int port;

	BEGIN(always_ok);
	port = col.port;
	go();
	fake_add(3);
	CHECK(fake_wait_for(&fake.stats.exported, 3));
	collector_stop();
	collector_start(always_ok, 1, port);
	fake_add(4);
	CHECK(fake_wait_for(&fake.stats.exported, 7));
	CHECK(fake_stop(1000) >= 0);
	collector_stop();
	CHECK_INT(col.accepted, 4);
	CHECK_INT(fake.stats.retries, 0);
	CHECK_STR(fake.log, "");
	books_balance();
}

TEST(a_flush_exports_everything_before_it_returns)
{
	BEGIN(always_ok);
	fake.config.bsp_schedule_delay = 60000;
	go();
	for (uint64_t i = 1; i <= 20; i++) {
		fake_add(30);
		CHECK(fake_flush(0, 2000) >= 0);
		CHECK_INT(col.accepted, 30 * i);
	}
	CHECK(fake_stop(1000) >= 0);
	collector_stop();
	CHECK_INT(col.connections, 1);
	books_balance();
}

TEST(a_stop_exports_everything_first)
{
	BEGIN(always_ok);
	fake.config.bsp_schedule_delay = 60000;
	go();
	fake_add(5000); /* more than the queue holds */
	CHECK(fake_stop(3000) >= 0);
	collector_stop();
	CHECK_INT(col.accepted, 5000);
	CHECK_INT(fake.stats.unsent, 0);
	CHECK_STR(fake.log, "");
	books_balance();
}

TEST(a_stop_under_a_hanging_collector_ends_before_its_deadline)
{
	static const struct step steps[] = { { .how = ANSWER_NEVER } };
	int took;

	BEGIN(steps);
	fake.config.log_level = ATR_LOG_WARN; /* with INFO the process says what it dropped */
	go();
	fake_add(10);
	CHECK(fake_wait_for(&col.requests, 1));
	took = fake_stop(300);
	CHECK(took >= 250 && took < 300);
	collector_stop();
	CHECK_INT(fake.stats.unsent, 10);
	CHECK_INT(fake_log_lines(), 1);
	CHECK(fake_said("no answer in time; 10 spans were not sent"));
	books_balance();
}

TEST(a_flush_under_a_hanging_collector_ends_in_time_and_loses_nothing)
{
	static const struct step steps[] = { { .status = 200, .delay_ms = 600 } };
	int took;

	BEGIN(steps);
	go();
	fake_add(10);
	took = fake_flush(0, 200);
	CHECK(took >= 150 && took < 200);
	CHECK(fake_wait_for(&fake.stats.exported, 10));
	CHECK(fake_stop(1000) >= 0);
	collector_stop();
	CHECK_INT(fake.stats.requests, 1);
	books_balance();
}

TEST(a_stop_with_nobody_there_ends_at_once)
{
	int fd = collector_listen(0, 1), port = collector_port(fd), took;

	close(fd);
	aim(port);
	fake.config.bsp_schedule_delay = 60000;
	fake.config.log_level = ATR_LOG_WARN;
	go();
	fake_add(3000);
	took = fake_stop(2000);
	CHECK(took >= 0 && took < 500);
	CHECK_INT(fake.stats.unsent, 3000);
	CHECK_INT(fake_log_lines(), 1);
	CHECK(fake_said("; 3000 spans were not sent"));
	CHECK(fake_said("connect"));
	books_balance();
}

TEST(a_stop_in_the_middle_of_a_back_off_tries_once_more)
{
	static const struct step steps[] = { { .status = 503 }, { .status = 200 } };

	BEGIN(steps);
	go();
	fake_add(3);
	CHECK(fake_wait_for(&col.requests, 1));
	usleep(50000);
	CHECK(fake_stop(500) < 400);
	collector_stop();
	CHECK_INT(col.accepted, 3);
	CHECK_INT(fake.stats.unsent, 0);
	books_balance();
}

/* ---- what dead processes left, at an end ---- */

static char spool[64], spool_name[256];

/* A spool in which spans first..last are a dead process's. */
static void leave_orphan(uint64_t first, uint64_t last)
{
	static uint8_t file[SPOOL_FILE(1)] __attribute__((aligned(4096)));
	struct atr_spool_name who = { .ns = atr_sys_pid_namespace(), .start = 7, .nonce = 1 };
	char name[ATR_SPOOL_NAME_MAX];
	uint8_t span[256];
	FILE *f;

	spool_file(file, 1, 0); /* without a pid nobody lives */
	for (uint64_t id = first; id <= last; id++) {
		size_t len = fake_span(span, id);
		struct atr_record *r = spool_record(spool_ring(file, 0), (uint32_t)len, 0);

		memcpy(r->span, span, len);
		r->checksum = atr_record_sum(r);
	}
	(void)snprintf(spool, sizeof(spool), "/tmp/test_exporter.XXXXXX");
	if (!mkdtemp(spool))
		abort();
	fake.spool = spool;
	atr_spool_name_text(name, &who);
	(void)snprintf(spool_name, sizeof(spool_name), "%s/%s", spool, name);
	f = fopen(spool_name, "we");
	CHECK(f && fwrite(file, 1, sizeof(file), f) == sizeof(file));
	(void)fclose(f);
	usual_answer = 0; /* which each program finds out for itself */
}

static bool orphan_is_there(void)
{
	return access(spool_name, F_OK) == 0;
}

static void remove_orphan(void)
{
	(void)unlink(spool_name);
	CHECK_INT(rmdir(spool), 0);
}

TEST(a_short_program_waits_for_the_answer_about_what_a_dead_one_left)
{
	static const struct step steps[] = { { .status = 200, .delay_ms = 130 } };
	int took;

	BEGIN(steps);
	fake.config.bsp_schedule_delay = 60000;
	leave_orphan(100, 103);
	go();
	fake_add(2);
	took = fake_stop(500);
	CHECK(took >= 260 && took < 500);
	CHECK_INT(fake.stats.adopted, 4);
	CHECK(!orphan_is_there());
	collector_stop();
	CHECK(collector_once(1, 2));
	CHECK(collector_once(100, 103));
	CHECK_INT(fake.back, 0);
	remove_orphan();
	books_balance();
}

TEST(what_a_dead_one_left_is_not_begun_without_time_for_an_answer)
{
	static const struct step steps[] = { { .status = 200, .delay_ms = 130 } };

	BEGIN(steps);
	fake.config.bsp_schedule_delay = 60000;
	leave_orphan(100, 103);
	go();
	fake_add(2);
	CHECK(fake_stop(250) < 200);
	CHECK(orphan_is_there());
	collector_stop();
	CHECK_INT(col.received, 2);
	remove_orphan();
	books_balance();
}

TEST(what_was_not_answered_at_an_end_is_not_sent_by_the_next_program_anew)
{
	static const struct step steps[] = { { .status = 200 },
					     { .status = 200, .delay_ms = 300 },
					     { .status = 200 } };

	BEGIN(steps);
	leave_orphan(100, 103);
	for (int i = 0; i < 3; i++) {
		aim(col.port);
		fake.config.bsp_schedule_delay = i < 2 ? 60000 : 20;
		fake.spool = spool;
		usual_answer = 0;
		go();
		fake_add(1);
		if (i == 2) /* nor by one that runs on */
			usleep(100000);
		CHECK(fake_stop(250) >= 0);
		CHECK_INT(fake.stats.adopted, 0);
		CHECK_INT(fake.stats.exported, 1);
		if (!i)
			usleep(200000); /* the collector has one thread */
	}
	CHECK(orphan_is_there());
	collector_stop();
	CHECK_INT(col.requests, 4);
	CHECK(collector_once(100, 103));
	remove_orphan();
}

TEST(its_own_come_before_what_a_dead_one_left_that_is_not_on_its_way)
{
	static const struct step steps[] = { { .status = 503 }, { .status = 200 } };

	BEGIN(steps);
	leave_orphan(100, 103);
	go();
	CHECK(fake_wait_for(&col.requests, 1)); /* theirs, which waits for its next attempt */
	fake_add(2);
	CHECK(fake_flush(0, 900) >= 0); /* its pause is a second at least */
	CHECK_INT(atr_load(&fake.stats.exported), 2);
	CHECK_INT(atr_load(&fake.stats.adopted), 0);
	CHECK(fake_wait_for(&fake.stats.adopted, 4));
	CHECK(fake_stop(500) >= 0);
	collector_stop();
	CHECK_INT(col.requests, 3);
	CHECK(collector_once(1, 2));
	CHECK(collector_once(100, 103));
	remove_orphan();
	books_balance();
}

TEST(a_flush_with_nobody_there_ends_at_once_and_keeps_all)
{
	int fd = collector_listen(0, 1), port = collector_port(fd), took;

	close(fd);
	aim(port);
	fake.config.bsp_schedule_delay = 60000;
	go();
	fake_add(20);
	took = fake_flush(0, 1000);
	CHECK(took >= 0 && took < 500);
	CHECK_INT(fake.stats.failed, 0);
	CHECK(fake_stop(1000) >= 0);
	CHECK_INT(fake.stats.unsent, 20);
	CHECK_INT(fake_log_lines(), 0); /* the process will say it */
	books_balance();
}

TEST(a_black_hole_does_not_hold_the_end_up)
{
	int fd = collector_listen(0, 0), port = collector_port(fd), fill[4], took;
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_port = htons((uint16_t)port),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	/* A full backlog: the kernel drops further SYNs. */
	for (int i = 0; i < 4; i++) {
		fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)!connect(fill[i], (struct sockaddr *)&sin, sizeof(sin));
	}
	aim(port);
	go();
	fake_add(5);
	CHECK(fake_wait_for(&fake.stats.requests, 1));
	took = fake_stop(200);
	CHECK(took >= 150 && took < 200);
	CHECK_INT(fake.stats.unsent, 5);
	for (int i = 0; i < 4; i++)
		close(fill[i]);
	close(fd);
	books_balance();
}

TEST(a_hanging_collector_costs_one_timeout_per_batch)
{
	static const struct step steps[] = { { .how = ANSWER_NEVER }, { .status = 200 } };

	BEGIN(steps);
	fake.config.otlp_timeout = 5000;
	fake.config.bsp_export_timeout = 200; /* the upper bound */
	go();
	fake_add(5);
	CHECK(fake_wait_for(&fake.stats.exported, 5));
	fake_add(5);
	CHECK(fake_wait_for(&fake.stats.exported, 10));
	CHECK(fake_stop(1000) >= 0);
	collector_stop();
	CHECK(fake_said("failed: no answer within 200 ms"));
	CHECK_INT(col.connections, 2);
	books_balance();
}

TEST(bad_settings_are_said_once_and_replaced)
{
	fake_init();
	fake.config.otlp_traces_endpoint = "collector:4318";
	fake.config.resource_attributes = "a=b,c\n";
	fake.config.bsp_max_queue_size = 10;
	fake.config.bsp_max_export_batch_size_set = true;
	go();
	CHECK(fake_stop(1000) >= 0);
	CHECK_STR(fake.log,
		  "OTEL_BSP_MAX_EXPORT_BATCH_SIZE: \"512\" is more than the queue holds; using 10\n"
		  "OTEL_RESOURCE_ATTRIBUTES: \"a=b,c\\n\" cannot be read as key=value,key=value; "
		  "none of it is used\n"
		  "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=collector:4318 is not a usable http or https "
		  "URL; using http://localhost:4318/v1/traces\n");
}

TEST(a_bad_url_for_traces_gives_the_general_one)
{
	fake_init();
	fake.config.otlp_traces_endpoint = "collector:4318";
	fake.config.otlp_endpoint = "http://127.0.0.1:1/x";
	fake.config.otlp_endpoint_set = true;
	go();
	CHECK(fake_stop(1000) >= 0);
	CHECK(strstr(fake.log, "using http://127.0.0.1:1/x/v1/traces\n") != NULL);
}

TEST(a_name_that_was_not_resolved_is_not_looked_up_here)
{
	fake_init();
	fake.config.otlp_endpoint = "http://collector.invalid:4318";
	fake.host.looked_up = "http://collector.invalid:4318";
	fake.host.addresses.error = "Name or service not known";
	fake.config.bsp_schedule_delay = 20;
	go();
	fake_add(2);
	for (int i = 0; i < 1000 && !fake_log_lines(); i++)
		usleep(1000);
	CHECK(fake_stop(500) >= 0);
	CHECK_STR(fake.log,
		  "export to http://collector.invalid:4318/v1/traces failed: Name or service "
		  "not known; spans are kept until 2048 wait and their rings are full, "
		  "then new ones are dropped\n");
	CHECK_INT(fake.stats.requests, 0);
	CHECK_INT(fake.stats.unsent, 2);
}

TEST(a_name_that_was_resolved_is_reached_without_asking)
{
	char url[80];

	collector_start(always_ok, 1, 0);
	fake_init();
	(void)snprintf(url, sizeof(url), "http://collector.invalid:%d/base/", col.port);
	fake.config.otlp_endpoint = url;
	fake.config.bsp_schedule_delay = 20;
	fake.host.looked_up = url;
	(void)snprintf(fake.host.addresses.resolved, sizeof(fake.host.addresses.resolved),
		       "collector.invalid:%d:127.0.0.1", col.port);
	go();
	fake_add(2);
	CHECK(fake_wait_for(&col.accepted, 2));
	CHECK(fake_stop(500) >= 0);
	collector_stop();
	CHECK(strncmp(col.head, "POST /base/v1/traces HTTP/1.1\r\n", 31) == 0);
}

static int listen_at(const char *address, int port, int backlog)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, address, &sin.sin_addr);
	if (bind(fd, (struct sockaddr *)&sin, sizeof(sin)) != 0 || listen(fd, backlog) != 0)
		abort();
	return fd;
}

/* A host that exports to a name, with that port, and asks for it here. */
static void aim_at_name(void (*look_up)(const char *endpoint, struct atr_addresses *ret))
{
	aim(col.port);
	(void)snprintf(base_url, sizeof(base_url), "http://collector.test:%d", col.port);
	fake.host.look_up = look_up;
}

static unsigned n_looked_up;

static void moved(const char *endpoint, struct atr_addresses *ret)
{
	(void)endpoint;
	*ret = (struct atr_addresses){ 0 };
	(void)snprintf(ret->resolved, sizeof(ret->resolved), "collector.test:%d:127.0.0.%d",
		       col.port, n_looked_up++ ? 1 : 2);
}

TEST(an_address_that_takes_all_and_says_nothing_is_looked_up_again)
{
	int silent;

	collector_start(always_ok, 1, 0);
	silent = listen_at("127.0.0.2", col.port, 16);
	n_looked_up = 0;
	aim_at_name(moved);
	fake.config.otlp_timeout = 200;
	go();
	fake_add(2);
	CHECK(fake_wait_for(&col.accepted, 2));
	CHECK(fake_stop(500) >= 0);
	collector_stop();
	close(silent);
	CHECK_INT(n_looked_up, 2);
	CHECK(collector_once(1, 2));
}

static void two(const char *endpoint, struct atr_addresses *ret)
{
	(void)endpoint;
	*ret = (struct atr_addresses){ 0 };
	(void)snprintf(ret->resolved, sizeof(ret->resolved),
		       "collector.test:%d:127.0.0.2,127.0.0.1", col.port);
}

TEST(an_address_that_is_silent_leaves_time_for_the_next_one)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	int silent, fill[4];

	collector_start(always_ok, 1, 0);
	silent = listen_at("127.0.0.2", col.port, 0);
	sin.sin_port = htons((uint16_t)col.port);
	inet_pton(AF_INET, "127.0.0.2", &sin.sin_addr);
	for (int i = 0; i < 4; i++) {
		fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)!connect(fill[i], (struct sockaddr *)&sin, sizeof(sin));
	}
	aim_at_name(two);
	fake.config.otlp_timeout = 1000;
	go();
	fake_add(2);
	CHECK(fake_wait_for(&col.accepted, 2));
	CHECK_INT(fake.stats.requests, 1);
	CHECK_STR(fake.log, "");
	CHECK(fake_stop(500) >= 0);
	collector_stop();
	for (int i = 0; i < 4; i++)
		close(fill[i]);
	close(silent);
}

TEST(the_path_is_sent_as_it_was_set)
{
	char url[80];

	BEGIN(always_ok);
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%d/a/../b/./c", col.port);
	fake.config.otlp_endpoint = url;
	go();
	fake_add(1);
	CHECK(fake_wait_for(&col.accepted, 1));
	CHECK(fake_stop(500) >= 0);
	collector_stop();
	CHECK(strncmp(col.head, "POST /a/../b/./c/v1/traces HTTP/1.1\r\n", 37) == 0);
}

/* The line about a collector that is set so. */
static void check_failure(const char *endpoint, const char *proxy, const char *said)
{
	fake_init();
	fake.config.otlp_endpoint = endpoint;
	fake.config.http_proxy = proxy;
	fake.config.bsp_schedule_delay = 20;
	go();
	fake_add(2);
	for (int i = 0; i < 2000 && !fake_log_lines(); i++)
		usleep(1000);
	CHECK(fake_stop(500) >= 0);
	CHECK(fake_said(said));
}

TEST(who_cannot_be_reached_is_named)
{
	int fd = collector_listen(0, 1), port = collector_port(fd);
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	char proxy[64], said[80], url[128];

	close(fd);
	(void)snprintf(proxy, sizeof(proxy), "http://u:secret@127.0.0.1:%d", port);
	(void)snprintf(said, sizeof(said), "failed: through the proxy http://127.0.0.1:%d: ", port);
	check_failure("http://collector.invalid", proxy, said);
	CHECK(!strstr(fake.log, "secret"));
	check_failure("unix:///nowhere/o.sock", NULL,
		      "failed: cannot connect to /nowhere/o.sock: No such file or directory; ");
	(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "/tmp/test_exporter.%d", getpid());
	(void)snprintf(url, sizeof(url), "unix://%s", sun.sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_INT(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	check_failure(url, NULL, ": Connection refused; ");
	unlink(sun.sun_path);
	close(fd);
}

/* A proxy answers so.  Is that said, and what becomes of ten spans? */
static void check_proxy(int status, const char *url, enum atr_PROTOCOL protocol, const char *said,
			bool kept)
{
	struct step step = { .status = status,
			     .headers = "Content-Type: text/plain\r\n",
			     .body = "not you",
			     .len = 7 };
	char proxy[64], line[160];

	begin(&step, 1);
	(void)snprintf(proxy, sizeof(proxy), "http://u:secret@127.0.0.1:%d", col.port);
	(void)snprintf(line, sizeof(line), "through the proxy http://127.0.0.1:%d: %s", col.port,
		       said);
	fake.config.http_proxy = fake.config.https_proxy = proxy;
	fake.config.otlp_endpoint = url;
	fake.config.otlp_protocol = protocol;
	fake.config.otlp_timeout = 50;
	go();
	fake_add(10);
	for (int i = 0; i < 2000 && !fake_log_lines(); i++)
		usleep(1000);
	CHECK(fake_stop(1000) >= 0);
	collector_stop();
	CHECK(fake_said(line));
	CHECK(!strstr(fake.log, "secret"));
	CHECK_INT(fake.stats.unsent, kept ? 10 : 0);
	books_balance();
}

TEST(a_proxy_that_answers_in_the_collectors_place_is_named)
{
	static const int statuses[] = { 403, 407, 502 };
	char status[16];

	check_proxy(407, "http://c.invalid", ATR_PROTOCOL_HTTP_PROTOBUF, "not you; spans", true);
	check_proxy(502, "http://c.invalid", ATR_PROTOCOL_HTTP_JSON, "not you; spans", true);
	check_proxy(403, "http://c.invalid", ATR_PROTOCOL_HTTP_PROTOBUF, "not you; they are",
		    false);
	for (size_t i = 0; i < ATR_ARRAY_LEN(statuses); i++) {
		(void)snprintf(status, sizeof(status), " %d", statuses[i]);
		check_proxy(statuses[i], "https://c.invalid", ATR_PROTOCOL_HTTP_PROTOBUF, "", true);
		CHECK(fake_said(status)); /* libcurl's words */
		check_proxy(statuses[i], "http://c.invalid", ATR_PROTOCOL_GRPC, "", true);
		CHECK(fake_said(status));
	}
}

/* One trace of two spans that is kept, and one that is not. */
static void add_candidates(unsigned trace)
{
	fake_candidate(trace, 0);
	fake_candidate(trace + 1, 0);
	fake_candidate(trace, ATR_RECORD_KEEP | ATR_RECORD_ERROR | ATR_RECORD_ROOT);
	fake_candidate(trace + 1, ATR_RECORD_ROOT);
}

/* Did each of these come once, and of the other trace none? */
static bool kept_once(unsigned n_traces)
{
	for (unsigned i = 0; i < 4 * n_traces; i++)
		if (!CHECK_INT(col.times[FAKE_CANDIDATES + i], i % 2 == 0))
			return false;
	return true;
}

TEST(what_is_kept_arrives_once_and_nothing_else_of_what_was_not_sampled)
{
	BEGIN(always_ok);
	go();
	fake_add(3);
	add_candidates(10);
	CHECK(fake_wait_for(&col.accepted, 5));
	CHECK(fake_wait_for(&fake.stats.unkept, 2));
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK(collector_once(1, 3));
	CHECK(kept_once(1));
	CHECK_INT(fake.stats.exported, 5);
	books_balance();
}

TEST(what_is_kept_is_put_back_and_sent_again_like_any_other)
{
	static const struct step steps[] = { { .status = 503, .headers = "Retry-After: 1\r\n" },
					     { .status = 200 } };

	BEGIN(steps);
	fake.config.otlp_timeout = 200;
	go();
	fake_add(3);
	add_candidates(10);
	CHECK(fake_wait_for(&col.accepted, 5));
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK(collector_once(1, 3));
	CHECK(kept_once(1));
	CHECK_INT(fake.stats.unkept, 2);
	CHECK_INT(fake.stats.exported, 5);
	books_balance();
}

TEST(candidates_are_taken_though_the_queue_is_full)
{
	static const struct step steps[] = { { .status = 503, .headers = "Retry-After: 1\r\n" },
					     { .status = 200 } };

	BEGIN(steps);
	fake.wake_at_half = true;
	fake.config.bsp_max_queue_size = 10;
	go();
	fake_add(1000);
	for (int i = 0; i < 20000 && fake_drained() < 20; i++)
		usleep(1000); /* on its way, and in the queue */
	for (unsigned i = 0; i < 100; i++)
		add_candidates(10 + 2 * i);
	fake_wake_candidates();
	CHECK(fake_wait_for(&fake.stats.unkept, 200));
	CHECK_INT(fake_drained(), 20);
	CHECK_INT(fake.stats.keep_overflow, 0);
	CHECK(fake_wait_for(&col.accepted, 1200));
	CHECK(fake_stop(2000) >= 0);
	collector_stop();
	CHECK(collector_once(1, 1000));
	CHECK(kept_once(100));
	books_balance();
}

TEST(what_is_kept_does_not_wait_for_the_collector)
{
	int fd = collector_listen(0, 1), port = collector_port(fd);

	close(fd);
	aim(port);
	fake.config.log_level = ATR_LOG_NONE;
	go();
	fake_add(3);
	CHECK(fake_wait_for(&fake.stats.requests, 1));
	for (unsigned i = 0; i < 200; i++)
		add_candidates(10 + 2 * i);
	fake_wake_candidates();
	CHECK(fake_wait_for(&fake.added, 3 + 400)); /* the host has them */
	CHECK(fake_stop(2000) >= 0);
	CHECK_INT(fake.stats.unkept, 400);
}

TEST(the_end_decides_about_what_is_open_and_leaves_what_is_kept_to_the_host)
{
	int fd = collector_listen(0, 1), port = collector_port(fd), took;

	close(fd);
	aim(port);
	fake.keep_room = 4;
	fake.config.bsp_schedule_delay = 60000;
	fake.config.log_level = ATR_LOG_WARN;
	go();
	for (unsigned i = 0; i < 5; i++)
		add_candidates(10 + 2 * i);
	fake_candidate(7, 0); /* its root never comes */
	took = fake_stop(2000);
	CHECK(took >= 0 && took < 500);
	CHECK_INT(fake.stats.unkept, 11);
	CHECK_INT(fake.added, 4);
	CHECK_INT(fake.stats.queue_full, 6);
	CHECK(fake_said("; 4 spans were not sent"));
}

TEST(the_console_prints_every_span)
{
	fake_init();
	fake.config.exporters = ATR_EXPORTER_CONSOLE;
	fake.config.service_name = "shop";
	fake.config.bsp_schedule_delay = 60000;
	go();
	fake_add(2);
	CHECK(fake_flush(0, 1000) >= 0);
	CHECK(strstr(fake.out, "  shop[") != NULL);
	CHECK(strstr(fake.out, "├─ CLIENT span 1  1.50 us\n└─ CLIENT span 2  1.50 us\n") != NULL);
	fake.stderr_error = -EPIPE;
	fake_add(1);
	CHECK(fake_flush(0, 1000) >= 0);
	fake_add(1);
	CHECK(fake_stop(1000) >= 0);
	CHECK_INT(fake.stats.exported, 2);
	CHECK_INT(fake.stats.failed, 0);
	CHECK_INT(fake.stats.unsent, 2);
	CHECK_INT(fake.loaded, 0);
	books_balance();
}

TEST(a_forked_child_begins_anew_and_disturbs_nobody)
{
	int status = 0;
	pid_t child;

#ifdef __SANITIZE_THREAD__
	SKIP("the thread sanitizer allows no thread in a forked child");
#endif
	BEGIN(always_ok);
	go();
	fake_add(1);
	CHECK(fake_wait_for(&fake.stats.exported, 1));
	child = fork(); /* run() is waiting: here its frame is abandoned, as after any fork */
	if (child == 0) {
		aim(col.port);
		go();
		fake.added = fake.drained = 10;
		fake_add(1);
		_exit(fake_stop(2000) >= 0 && fake.stats.exported == 1 ? 0 : 1);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	fake_add(1);
	CHECK(fake_wait_for(&fake.stats.exported, 2));
	CHECK(fake_stop(1000) >= 0);
	collector_stop();
	CHECK_INT(col.connections, 2);
	CHECK(collector_once(1, 2));
	CHECK(collector_once(11, 11));
}
