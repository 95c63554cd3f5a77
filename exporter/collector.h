/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_COLLECTOR_H
#define ATR_EXPORTER_COLLECTOR_H

#include "exporter/form.h"

/* What forms have in common that send by a delivery: their self is one, or begins with it. */
enum atr_delivery_state atr_collector_start(void *self, const struct atr_form_batch *batch);
enum atr_delivery_state atr_collector_step(void *self, uint64_t until,
					   enum atr_delivery_haste haste);
uint64_t atr_collector_due(const void *self);
void atr_collector_hurry(void *self);
void atr_collector_cancel(void *self);
size_t atr_collector_done(void *self);
bool atr_collector_refused(const void *self);
const char *atr_collector_shown(const void *self);
const char *atr_collector_error(const void *self);

#endif
