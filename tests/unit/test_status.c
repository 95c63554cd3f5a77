/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/authority.o */
/* LINK: preload/config.o preload/text.o preload/sys.o -pthread */
#include "preload/status.c"

#include <pthread.h>

#include "tests/unit/test.h"

struct atr_stats atr_stats;
uint64_t atr_clock_offset = 1000;
__thread struct atr_tls atr_tls;

static struct atr_status page;
static struct atr_status *the_page;
static bool full;

struct atr_status *atr_spool_status(void)
{
	return the_page;
}

bool atr_spool_full(void)
{
	return full;
}

uint64_t atr_now(void)
{
	return 5000;
}

static const char *none(const char *name)
{
	return strcmp(name, "OTEL_SERVICE_NAME") == 0 ? "shop" : NULL;
}

static void warn(const char *line)
{
	CHECK_STR(line, "");
}

static void begin(void)
{
	memset(&page, 0, sizeof(page));
	memset(&atr_stats, 0, sizeof(atr_stats));
	atr_tls.inside = 0;
	atr_config_read(&atr_config, none, warn);
	atr_status_forked();
	tracing = 0;
	the_page = &page;
	atr_status_begin(&page);
}

TEST(a_page_describes_itself)
{
	begin();
	CHECK_INT(page.version, ATR_STATUS_VERSION);
	CHECK(strncmp(page.names, "recorded ring_full ", 19) == 0);
	CHECK_INT(page.n_counters, sizeof(struct atr_stats) / 8);
	CHECK(strstr(page.settings, "OTEL_SERVICE_NAME=shop\n") != NULL);
	CHECK(strstr(page.settings, "OTEL_TRACES_EXPORTER=otlp\n") != NULL);
	CHECK(strstr(page.settings, "OTEL_BSP_") == NULL); /* nobody set them */
	CHECK_INT(page.updated, 6000);
}

TEST(what_is_counted_is_in_it_after_the_next_write)
{
	begin();
	atr_stats.recorded = 7;
	atr_stats.bugs = 3;
	full = true;
	CHECK_INT(page.counters[0], 0);
	atr_status_write();
	CHECK_INT(page.counters[0], 7);
	CHECK_INT(page.counters[page.n_counters - 1], 3);
	CHECK_INT(page.spool_full, 1);
	CHECK_INT(page.change, 2);
	full = false;
}

TEST(health_is_the_background_threads)
{
	begin();
	atr_health.ok_at = 4711;
	atr_status_write();
	CHECK_INT(page.health.ok_at, 0);
	atr_tls.inside = ATR_IN_BACKGROUND;
	atr_status_write();
	CHECK_INT(page.health.ok_at, 4711);
}

TEST(what_stands_is_kept_for_the_page_that_comes_later)
{
	begin();
	the_page = NULL;
	atr_status_working(ATR_WORKING_NO_THREAD);
	atr_status_tracing(ATR_TRACING_BUG);
	atr_status_write();
	the_page = &page;
	memset(&page, 0, sizeof(page));
	atr_status_begin(&page);
	CHECK_INT(page.working, ATR_WORKING_NO_THREAD);
	CHECK_INT(page.tracing, ATR_TRACING_BUG);
	atr_status_forked();
	CHECK_INT(working, ATR_WORKING_NONE);
}

TEST(a_page_that_is_being_written_is_left_alone)
{
	begin();
	page.change = 5;
	atr_stats.recorded = 7;
	atr_status_write();
	CHECK_INT(page.counters[0], 0);
	CHECK_INT(page.change, 5);
}

static void *writer(void *arg)
{
	(void)arg;
	for (int i = 0; i < 20000; i++)
		atr_status_write();
	return NULL;
}

TEST(writers_at_the_same_time_leave_it_even)
{
	pthread_t threads[4];

	begin();
	for (int i = 0; i < 4; i++)
		CHECK(pthread_create(&threads[i], NULL, writer, NULL) == 0);
	for (int i = 0; i < 4; i++)
		(void)pthread_join(threads[i], NULL);
	CHECK_INT(page.change % 2, 0);
	CHECK(page.change >= 2);
}
