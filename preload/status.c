/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page of the spool file that says how this process does.
 *
 * Counters stay where they are counted: a page that every thread added to would have to
 * be switched to when the file appears, and away from in a forked child.  They are copied,
 * by the background thread each time it waits, and by whoever shuts the gate or
 * ends the process.  What is in the rings needs no copy, their headers are in the file.
 */
#include "preload/status.h"

#include <string.h>

#include "preload/clock.h"
#include "preload/config.h"
#include "preload/spool.h"
#include "preload/stats.h"
#include "preload/text.h"
#include "preload/thread.h"

_Static_assert(sizeof(struct atr_status) <= ATR_STATUS_SIZE, "it is a page");

struct atr_health atr_health;
char atr_status_strategy[ATR_STATUS_STRATEGY];
static uint32_t tracing, working;

#define COUNTER(name, doc) #name " "
static const char names[] =
#include "preload/stats.def"
	;

_Static_assert(sizeof(names) <= ATR_STATUS_NAMES, "the names fit");
_Static_assert(sizeof(struct atr_stats) <= ATR_STATUS_COUNTERS * sizeof(uint64_t), "they fit");

void atr_status_begin(struct atr_status *page)
{
	memcpy(page->names, names, sizeof(names));
	page->n_counters = sizeof(struct atr_stats) / sizeof(uint64_t);
	(void)atr_config_show(page->settings, sizeof(page->settings), &atr_config);
	page->tracing = atr_load(&tracing);
	page->working = atr_load(&working);
	page->updated = atr_now() + atr_load(&atr_clock_offset);
	atr_store_release(&page->version, ATR_STATUS_VERSION);
}

/* False when another thread is at it: then what it writes is as good. */
static bool change_begin(struct atr_status *page)
{
	uint32_t even = atr_load(&page->change) & ~1u;

	if (!__atomic_compare_exchange_n(&page->change, &even, even + 1, 0, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED))
		return false;
		/* Whoever sees anything of what follows sees that it is odd.  They are other
		 * processes: the sanitizer, which knows no fences, has nothing to learn here. */
#ifndef __SANITIZE_THREAD__
	__atomic_thread_fence(__ATOMIC_RELEASE);
#endif
	return true;
}

static void change_end(struct atr_status *page)
{
	__atomic_fetch_add(&page->change, 1, __ATOMIC_RELEASE);
}

void atr_status_write(void)
{
	struct atr_status *page = atr_spool_status();
	const uint64_t *from = (const uint64_t *)(const void *)&atr_stats;

	if (!page || !change_begin(page))
		return;
	for (uint32_t i = 0; i < page->n_counters; i++)
		atr_store(&page->counters[i], atr_load(&from[i]));
	if (atr_tls.inside == ATR_IN_BACKGROUND) {
		page->health = atr_health;
		memcpy(page->strategy, atr_status_strategy, sizeof(page->strategy));
	}
	page->spool_full = atr_spool_full();
	atr_store(&page->tracing, atr_load(&tracing));
	atr_store(&page->working, atr_load(&working));
	page->updated = atr_now() + atr_load(&atr_clock_offset);
	change_end(page);
}

void atr_status_tracing(enum atr_tracing now)
{
	atr_store(&tracing, (uint32_t)now);
	atr_status_write();
}

void atr_status_working(enum atr_working now)
{
	atr_store(&working, (uint32_t)now);
	atr_status_write();
}

void atr_status_forked(void)
{
	memset(&atr_health, 0, sizeof(atr_health));
	atr_status_strategy[0] = '\0';
	working = ATR_WORKING_NONE;
}
