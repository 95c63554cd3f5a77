/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_HEALTH_H
#define ATR_EXPORTER_HEALTH_H

#include <stdint.h>

/* What `autotrace status` is told of exports (preload/status.h). */
struct atr_health;

/* ns since 1970. */
uint64_t atr_wall_clock(void);

/* A batch was accepted, or a part of it. */
void atr_health_ok(struct atr_health *h);

/* An attempt failed, or a batch was refused: why, as a printable line. */
void atr_health_error(struct atr_health *h, const char *why);

#endif
