/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attributes from three sources, later ones winning: what detect.c finds out,
 * OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME (OpenTelemetry specification,
 * "Resource SDK").  The user's list counts as a whole: one bad item, and none of
 * it is used, since half a list would name the service wrongly.
 */
#include "exporter/resource.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "exporter/detect.h"
#include "exporter/list.h"
#include "preload/utf8.h"

static struct atr_attr *find(const struct atr_resource *r, const char *key)
{
	for (size_t i = 0; i < r->n_attrs; i++)
		if (strcmp(r->attrs[i].key, key) == 0)
			return &r->attrs[i];
	return NULL;
}

/* The attribute of that key, made if there is none; NULL without memory. */
static struct atr_attr *slot(struct atr_resource *r, const char *key)
{
	struct atr_attr *attr = find(r, key);
	char *copy;

	if (attr)
		return attr;
	if (r->n_attrs == r->room) {
		size_t room = r->room ? 2 * r->room : 32;
		struct atr_attr *attrs = realloc(r->attrs, room * sizeof(*attrs));

		if (!attrs)
			return NULL;
		r->attrs = attrs;
		r->room = room;
	}
	copy = strdup(key);
	if (!copy)
		return NULL;
	attr = &r->attrs[r->n_attrs++];
	*attr = (struct atr_attr){ .key = copy };
	return attr;
}

void atr_resource_set(struct atr_resource *r, const char *key, const char *text, size_t len)
{
	char *copy = malloc(len + 1);
	struct atr_attr *attr = copy ? slot(r, key) : NULL;

	if (!attr) {
		free(copy);
		r->failed = true;
		return;
	}
	copy[atr_utf8_copy(copy, len, text, len)] = '\0';
	free(attr->text);
	attr->text = copy;
}

void atr_resource_set_str(struct atr_resource *r, const char *key, const char *text)
{
	atr_resource_set(r, key, text, strlen(text));
}

void atr_resource_set_int(struct atr_resource *r, const char *key, int64_t number)
{
	struct atr_attr *attr = slot(r, key);

	if (!attr) {
		r->failed = true;
		return;
	}
	free(attr->text);
	attr->text = NULL;
	attr->number = number;
}

const struct atr_attr *atr_resource_get(const struct atr_resource *r, const char *key)
{
	return find(r, key);
}

/* Decodes one item into `scratch`, key and value each NUL-terminated; NULL if it is bad. */
static const char *decode_item(char *scratch, const struct atr_list_item *item, size_t *ret_len)
{
	ssize_t key_len = atr_list_decode(scratch, item->key, item->key_len);
	char *value;
	ssize_t len;

	/* A '=' inside a value has to be encoded. */
	if (key_len <= 0 || !item->has_value || memchr(item->value, '=', item->value_len))
		return NULL;
	scratch[key_len] = '\0';
	value = scratch + key_len + 1;
	len = atr_list_decode(value, item->value, item->value_len);
	if (len < 0 || atr_utf8_valid(scratch, (size_t)key_len) != (size_t)key_len ||
	    atr_utf8_valid(value, (size_t)len) != (size_t)len)
		return NULL;
	value[len] = '\0';
	*ret_len = (size_t)len;
	return value;
}

int atr_resource_parse(struct atr_resource *r, const char *list)
{
	char *scratch = malloc(strlen(list) + 2);
	struct atr_list_item item;
	int err = 0;

	if (!scratch)
		return -ENOMEM;
	/* First a dry run: all or nothing. */
	for (int dry = 1; dry >= 0 && !err; dry--) {
		const char *rest = list;

		while (!err && atr_list_next(&rest, &item)) {
			size_t len = 0;
			const char *value = decode_item(scratch, &item, &len);

			if (!value)
				err = -EINVAL;
			else if (!dry)
				atr_resource_set(r, scratch, value, len);
		}
	}
	free(scratch);
	return err;
}

/* service.name when nobody gave one. */
static void default_service_name(struct atr_resource *r)
{
	static const char unknown[] = "unknown_service";
	const struct atr_attr *exe = find(r, "process.executable.name");
	char name[sizeof(unknown) + 256];
	size_t len = sizeof(unknown) - 1;

	memcpy(name, unknown, len);
	if (exe && exe->text && *exe->text) {
		size_t n = strlen(exe->text);

		name[len++] = ':';
		n = n < sizeof(name) - len ? n : sizeof(name) - len;
		memcpy(name + len, exe->text, n);
		len += n;
	}
	atr_resource_set(r, "service.name", name, len);
}

/* What the user says, above what was found out. */
static bool add_settings(struct atr_resource *r, const char *attributes, const char *service_name)
{
	const struct atr_attr *name;
	bool good;

	good = !attributes || atr_resource_parse(r, attributes) == 0;
	if (service_name && *service_name)
		atr_resource_set_str(r, "service.name", service_name);
	name = find(r, "service.name");
	if (!name || !name->text || !*name->text)
		default_service_name(r);
	return good;
}

bool atr_resource_build(struct atr_resource *r, const char *attributes, const char *service_name)
{
	atr_detect(r);
	return add_settings(r, attributes, service_name);
}

bool atr_resource_of_dead(struct atr_resource *r, const struct atr_dead *dead,
			  const char *attributes, const char *service_name)
{
	atr_detect_dead(r, dead);
	return add_settings(r, attributes, service_name);
}

void atr_resource_finish(struct atr_resource *r)
{
	for (size_t i = 0; i < r->n_attrs; i++) {
		free(r->attrs[i].key);
		free(r->attrs[i].text);
	}
	free(r->attrs);
	*r = (struct atr_resource){ 0 };
}
