/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_CONFIG_H
#define ATR_PRELOAD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One enum per ENUM row of config.def. */
#define WORD(constant, spelling) constant,
#define ENUM(name, words) enum atr_##name{ words };
#include "preload/config.def"

/* One of bits per SET row. */
#define WORD(constant, spelling) constant##_AT,
#define SET(name, words) enum { words };
#include "preload/config.def"
#define WORD(constant, spelling) constant = 1 << constant##_AT,
#define SET(name, words) enum atr_##name{ words };
#include "preload/config.def"

#define ATR_TYPE_BOOL bool
#define ATR_TYPE_INT uint32_t
#define ATR_TYPE_DURATION uint32_t
#define ATR_TYPE_TIMEOUT uint32_t
#define ATR_TYPE_RATIO double
#define ATR_TYPE_STRING const char *
#define ATR_TYPE_SAMPLER enum atr_SAMPLER
#define ATR_TYPE_EXPORTERS unsigned /* bits of enum atr_EXPORTERS */
#define ATR_TYPE_CONSOLE enum atr_CONSOLE
#define ATR_TYPE_PROTOCOL enum atr_PROTOCOL
#define ATR_TYPE_COMPRESSION enum atr_COMPRESSION
#define ATR_TYPE_METRICS_EXPORTERS unsigned /* bits of enum atr_METRICS_EXPORTERS */
#define ATR_TYPE_TEMPORALITY enum atr_TEMPORALITY
#define ATR_TYPE_HISTOGRAM enum atr_HISTOGRAM
#define ATR_TYPE_LOG_LEVEL enum atr_LOG_LEVEL
#define ATR_TYPE_SOCKET_SPANS enum atr_SOCKET_SPANS
#define ATR_TYPE_CALL_SITES enum atr_CALL_SITES
#define ATR_TYPE_STACKTRACE enum atr_STACKTRACE

/* OTEL_TRACES_SAMPLER_ARG of the jaeger_remote samplers. */
struct atr_jaeger_arg {
	const char *endpoint; /* NULL: none was given */
	uint32_t polling_ms;
	double ratio; /* until there is an answer */
};

struct atr_config {
#define OPTION(field, type, env, def, min, max, doc) ATR_TYPE_##type field;
#include "preload/config.def"
	/* Which rows the environment set: for "the specific one wins". */
#define OPTION(field, type, env, def, min, max, doc) bool field##_set;
#include "preload/config.def"
	struct atr_jaeger_arg jaeger; /* of the one row that means two things */
};

/* The process's settings.  Written once by atr_config_read(), read by anybody after. */
extern struct atr_config atr_config;

/* Do spans go anywhere at all? */
static inline bool atr_config_exports(const struct atr_config *c)
{
	return c->exporters != ATR_EXPORTER_NONE || c->file;
}

/*
 * Reads all settings.  get() is getenv() or a test's stand-in; warn() gets one
 * finished line per bad value, naming variable, value and what is used instead.
 * Strings are copied: the program may overwrite its environment.
 */
void atr_config_read(struct atr_config *config, const char *(*get)(const char *name),
		     void (*warn)(const char *line));

/*
 * The settings that matter, and all that the environment set, as NAME=value lines for people.
 * Secrets (header values, what a URL says before its host and behind its path) are left out.
 * Returns the length; whole lines only, as many as fit.
 */
size_t atr_config_show(char *buf, size_t size, const struct atr_config *config);

#endif
