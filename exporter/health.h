/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_HEALTH_H
#define ATR_EXPORTER_HEALTH_H

#include <stdint.h>

/*
 * What `autotrace status` is told of exports (preload/status.h): of the first exporter, and of
 * the others as long as that has no trouble.
 */
struct atr_health;

/* ns since 1970. */
uint64_t atr_wall_clock(void);

/* A batch was accepted, or a part of it. */
void atr_health_ok(struct atr_health *h);

/* An attempt failed, or a batch was refused: why, as a printable line. */
void atr_health_error(struct atr_health *h, const char *why);

/* The same of one of the others.  error_at is ok_at then, until the first one takes another. */
void atr_health_other(struct atr_health *h, const char *name, const char *why);

#endif
