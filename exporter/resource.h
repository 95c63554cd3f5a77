/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_RESOURCE_H
#define ATR_EXPORTER_RESOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The resource: what this process is, as attributes with unique keys.  Every
 * string in it is valid UTF-8.
 */
struct atr_attr {
	char *key;
	char *text; /* NULL: it is a number */
	int64_t number;
};

struct atr_resource {
	struct atr_attr *attrs;
	size_t n_attrs, room;
	bool failed; /* memory ran out: attributes are missing */
};

/* Set an attribute, in place of an older one of that key. */
void atr_resource_set(struct atr_resource *r, const char *key, const char *text, size_t len);
void atr_resource_set_str(struct atr_resource *r, const char *key, const char *text);
void atr_resource_set_int(struct atr_resource *r, const char *key, int64_t number);

const struct atr_attr *atr_resource_get(const struct atr_resource *r, const char *key);

/*
 * OTEL_RESOURCE_ATTRIBUTES, "key=value,key=value": all of it, or on any error
 * nothing and -EINVAL.
 */
int atr_resource_parse(struct atr_resource *r, const char *list);

/*
 * The whole resource: what detect.c finds < `attributes` (OTEL_RESOURCE_ATTRIBUTES)
 * < `service_name` (OTEL_SERVICE_NAME); both may be NULL.  Returns false when
 * `attributes` was bad and therefore ignored.
 */
bool atr_resource_build(struct atr_resource *r, const char *attributes, const char *service_name);

/* The same of a process that is no more. */
struct atr_dead;
bool atr_resource_of_dead(struct atr_resource *r, const struct atr_dead *dead,
			  const char *attributes, const char *service_name);

void atr_resource_finish(struct atr_resource *r);

#endif
