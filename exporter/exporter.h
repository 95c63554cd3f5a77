/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_EXPORTER_H
#define ATR_EXPORTER_EXPORTER_H

#include "preload/compiler.h"
#include "preload/host.h"

/* The one symbol of libautotrace-exporter.so: see preload/host.h. */
atr_export atr_exporter_run_fn atr_exporter_run;

#endif
