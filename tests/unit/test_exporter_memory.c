/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every allocation on the exporter's thread fails in turn: nothing crashes,
 * nothing is leaked (the sanitizer build sees to that), every span is counted.
 * What the libraries allocate inside is theirs; that their calls fail is tried.
 */
/* LINK: exporter/trouble.o */
/* LINK: preload/authority.o */
/* LINK: exporter/file.o exporter/jsonl.o exporter/otlp-json.o exporter/zipkin.o -lm */
/* LINK: exporter/replay.o exporter/otlp-read.o exporter/batch.o exporter/buf.o */
/* LINK: exporter/console.o exporter/container.o exporter/orphan.o exporter/tally.o */
/* LINK: exporter/health.o preload/spoolname.o exporter/metrics.o exporter/reader.o */
/* LINK: preload/target.o exporter/limits.o exporter/code.o exporter/demangle.o */
/* LINK: exporter/marks.o exporter/spots.o */
/* LINK: exporter/image.o exporter/lines.o exporter/symbols.o preload/attr.o -ldl */
/* LINK: exporter/delivery.o exporter/detect.o exporter/endpoint.o exporter/gzip.o */
/* LINK: exporter/jaeger-remote.o exporter/json.o exporter/http.o exporter/keep.o */
/* LINK: exporter/line.o exporter/list.o exporter/otlp.o exporter/grpc.o exporter/verdict.o */
/* LINK: exporter/resource.o exporter/retry.o exporter/sink.o exporter/url.o exporter/collector.o */
/* LINK: exporter/otlp.pb-c.o exporter/exporter.o preload/sys.o preload/utf8.o -lcurl */
/* LINK: -lprotobuf-c -lz -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc */
/* LINK: -Wl,--wrap=strdup -Wl,--wrap=curl_slist_append -Wl,--wrap=curl_multi_init */
/* LINK: -Wl,--wrap=curl_easy_init -Wl,--wrap=curl_multi_add_handle -Wl,--wrap=deflateInit2_ */
#include "exporter/exporter.h"

#include <curl/curl.h>

#include "tests/unit/fake_collector.h"
#include "tests/unit/fake_host.h"
#include "tests/unit/test.h"

static __thread bool failing; /* on the exporter's thread */
static unsigned long calls, fail_at;

static bool fails(void)
{
	return failing && ++calls == fail_at;
}

#define WRAP(type, name, params, args, failure)                  \
	type __real_##name params;                               \
	type __wrap_##name params;                               \
	type __wrap_##name params                                \
	{                                                        \
		return fails() ? (failure) : __real_##name args; \
	}

WRAP(void *, malloc, (size_t n), (n), NULL)
WRAP(void *, calloc, (size_t n, size_t size), (n, size), NULL)
WRAP(void *, realloc, (void *p, size_t n), (p, n), NULL)
WRAP(char *, strdup, (const char *s), (s), NULL)
WRAP(struct curl_slist *, curl_slist_append, (struct curl_slist * l, const char *s), (l, s), NULL)
WRAP(CURLM *, curl_multi_init, (void), (), NULL)
WRAP(CURL *, curl_easy_init, (void), (), NULL)
WRAP(CURLMcode, curl_multi_add_handle, (CURLM * m, CURL *e), (m, e), CURLM_OUT_OF_MEMORY)
WRAP(int, deflateInit2_,
     (z_stream * z, int level, int method, int bits, int memory, int strategy, const char *version,
      int size),
     (z, level, method, bits, memory, strategy, version, size), Z_MEM_ERROR)

static void run_failing(const struct atr_host *host)
{
	failing = true;
	atr_exporter_run(host);
	failing = false;
}

static const struct step always_ok[] = { { .status = 200 } };

/* One life of the exporter in which the n-th allocation fails; false when there were fewer. */
static bool life(unsigned kind, const char *file, unsigned long n)
{
	char endpoint[64];
	const struct atr_stats *s = &fake.stats;

	fake_init();
	(void)snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%d", col.port);
	fake.config.otlp_endpoint = endpoint;
	fake.config.otlp_headers = "a=b";
	fake.config.otlp_compression = ATR_COMPRESSION_GZIP;
	fake.config.resource_attributes = "a=b,c=d";
	fake.config.bsp_max_export_batch_size = 10;
	fake.config.exporters = kind;
	fake.config.file = file;
	fake.config.console = file ? ATR_CONSOLE_JSON : ATR_CONSOLE_TREE;
	calls = 0;
	fail_at = n;
	fake_start(run_failing);
	fake_add(25);
	CHECK(fake_stop(5000) >= 0);
	CHECK_INT(s->exported + s->rejected + s->missed + s->failed + s->unsent + s->no_memory,
		  fake.drained);
	CHECK(fake_log_lines() <= 3);
	if (calls < n)
		CHECK_INT(s->exported, 25);
	return calls >= n;
}

TEST(every_allocation_may_fail_on_the_way_to_a_collector)
{
	unsigned long n = 1;

	collector_start(always_ok, 1, 0);
	while (life(ATR_EXPORTER_OTLP, NULL, n))
		n++;
	collector_stop();
	CHECK(n > 30);
	CHECK_INT(col.bad, 0);
	printf("  %lu allocations failed in turn\n", n - 1);
}

TEST(every_allocation_may_fail_on_the_way_to_the_console)
{
	unsigned long n = 1;

	while (life(ATR_EXPORTER_CONSOLE, NULL, n))
		n++;
	CHECK(n > 20);
	printf("  %lu allocations failed in turn\n", n - 1);
}

TEST(every_allocation_may_fail_on_the_way_to_several)
{
	char path[] = "/tmp/test_exporter_memory.XXXXXX";
	unsigned long n = 1;
	int fd = mkstemp(path);

	CHECK(fd >= 0);
	while (life(ATR_EXPORTER_CONSOLE | ATR_EXPORTER_STDOUT, path, n)) {
		n++;
		CHECK_INT(ftruncate(fd, 0), 0);
	}
	CHECK(n > 20);
	(void)close(fd);
	(void)unlink(path);
	printf("  %lu allocations failed in turn\n", n - 1);
}

/* The fourth hundred batches allocate nothing of ours that the first did not. */
TEST(steady_use_allocates_nothing)
{
	char endpoint[64];
	unsigned long before = 0;

	collector_start(always_ok, 1, 0);
	fake_init();
	(void)snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%d", col.port);
	fake.config.otlp_endpoint = endpoint;
	fake.config.otlp_compression = ATR_COMPRESSION_GZIP;
	fake.config.bsp_schedule_delay = 60000;
	calls = fail_at = 0;
	fake_start(run_failing);
	for (int i = 0; i < 200; i++) {
		fake_add(50);
		CHECK(fake_flush(0, 2000) >= 0);
		if (i == 20)
			before = calls;
	}
	/* One libcurl call per request is counted: curl_multi_add_handle(). */
	CHECK_INT(calls - before, 179);
	CHECK(fake_stop(1000) >= 0);
	collector_stop();
	CHECK_INT(fake.stats.exported, 10000);
}
