/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_TARGET_H
#define ATR_PRELOAD_TARGET_H

#include "preload/config.h"

/*
 * Where telemetry goes by the settings, and which proxy is in between.  Pure; the shim
 * and the exporter have to agree about it, for the one looks up names for the other.
 */
enum atr_signal { ATR_SIGNAL_TRACES, ATR_SIGNAL_METRICS };

enum atr_PROTOCOL atr_target_protocol(const struct atr_config *config, enum atr_signal signal);

/* Where that protocol goes when nothing is said: a base URL. */
const char *atr_target_default(enum atr_PROTOCOL protocol);

/* The endpoint of all signals as it was set, else the default. */
const char *atr_target_general(const struct atr_config *config, enum atr_PROTOCOL protocol);

/* The signal's own endpoint, else that. */
const char *atr_target_endpoint(const struct atr_config *config, enum atr_signal signal);

/* The proxy to that URL, NULL if there is none: as libcurl would choose it by the
 * environment, which the program may have changed by now. */
const char *atr_target_proxy(const struct atr_config *config, const char *url);

#endif
