/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/health.h"

#include <stdio.h>
#include <time.h>

#include "preload/status.h"

uint64_t atr_wall_clock(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void atr_health_ok(struct atr_health *h)
{
	h->ok_at = atr_wall_clock();
}

void atr_health_error(struct atr_health *h, const char *why)
{
	h->error_at = atr_wall_clock();
	(void)snprintf(h->error, sizeof(h->error), "%s", why);
}

void atr_health_other(struct atr_health *h, const char *name, const char *why)
{
	if (h->error_at > h->ok_at)
		return;
	h->error_at = h->ok_at; /* the first one took it */
	(void)snprintf(h->error, sizeof(h->error), "%.100s: %.150s", name, why);
}
