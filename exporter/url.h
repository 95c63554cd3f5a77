/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_URL_H
#define ATR_EXPORTER_URL_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The collector's URL (OTLP exporter specification, "Endpoint URLs for
 * OTLP/HTTP").  Pure.
 */
#define ATR_URL_DEFAULT "http://localhost:4318/v1/traces"

/* Can spans be sent there?  http or https, a host, a port that is one. */
bool atr_url_valid(const char *url);

/* `base` with v1/traces appended; malloc'ed, NULL without memory. */
char *atr_url_from_base(const char *base);

/* The traces endpoint as it is, "/" added if it has no path; malloc'ed, NULL without memory. */
char *atr_url_from_traces(const char *url);

/* The URL as it may be shown: printable, without user name, password and query. */
void atr_url_shown(char *dst, size_t size, const char *url);

#endif
