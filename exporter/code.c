/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/code.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exporter/demangle.h"
#include "exporter/image.h"
#include "exporter/lines.h"
#include "exporter/symbols.h"
#include "preload/attr.h"
#include "preload/host.h"
#include "preload/object.h"
#include "preload/stack.h"

#define NAMES 8192 /* slots, a power of two */
#define NAMES_FULL (NAMES * 3 / 4)
#define OPENED_MAX 32

/* All that is known of an address; freed with the table. */
struct atr_named {
	uint64_t addr; /* 0: an empty slot */
	char *function;
	char *file;
	int line;
	uint64_t offset; /* into the function */
};

struct atr_opened {
	unsigned object;
	struct atr_image image, debug;
	struct atr_symbols symbols;
	struct atr_lines *lines;
};

/* ---- files ---- */

static void close_one(struct atr_opened *o)
{
	atr_lines_close(o->lines);
	atr_symbols_finish(&o->symbols);
	atr_image_close(&o->image);
	atr_image_close(&o->debug);
}

void atr_code_rest(struct atr_code *code)
{
	for (size_t i = 0; i < code->n_opened; i++)
		close_one(&code->opened[i]);
	code->n_opened = 0;
}

/* The object's file and its tables, which are empty when there is none; NULL: no memory. */
static struct atr_opened *open_one(struct atr_code *code, unsigned index,
				   const struct atr_object *object)
{
	struct atr_opened *o;

	for (size_t i = 0; i < code->n_opened; i++)
		if (code->opened[i].object == index)
			return &code->opened[i];
	if (!code->opened)
		code->opened = calloc(OPENED_MAX, sizeof(*code->opened));
	if (!code->opened)
		return NULL;
	if (code->n_opened == OPENED_MAX)
		atr_code_rest(code);
	o = &code->opened[code->n_opened++];
	*o = (struct atr_opened){ .object = index, .image = { .fd = -1 }, .debug = { .fd = -1 } };
	if (atr_symbols_open(&o->image, object) != 0)
		return o;
	(void)atr_symbols_open_debug(&o->debug, &o->image, object);
	/* Lines of libc and its kin tell nobody anything, and are megabytes. */
	if (object->class == ATR_OBJECT_PROGRAM) {
		o->lines = atr_lines_open(&o->debug);
		if (!o->lines)
			o->lines = atr_lines_open(&o->image);
	}
	atr_symbols_read(&o->symbols, &o->image, o->debug.fd >= 0 ? &o->debug : NULL);
	return o;
}

/* ---- names ---- */

static void forget(struct atr_code *code)
{
	for (size_t i = 0; code->names && i < NAMES; i++) {
		free(code->names[i].function);
		free(code->names[i].file);
	}
	free(code->names);
	code->names = NULL;
	code->n_names = 0;
}

static void look_up(struct atr_code *code, struct atr_named *named)
{
	const struct atr_object *object = code->host->object(ATR_ADDR_OBJECT(named->addr));
	/* The call, not what comes after it. */
	uint64_t call = ATR_ADDR_OFFSET(named->addr) - 1;
	struct atr_opened *o = object ? open_one(code, ATR_ADDR_OBJECT(named->addr), object) : NULL;
	struct atr_line_at at = { 0 };
	const char *symbol;

	if (!o)
		return;
	symbol = atr_symbols_find(&o->symbols, call, &named->offset);
	if (symbol)
		named->offset++;
	if (o->lines && atr_lines_find(o->lines, call, &at)) {
		named->file = at.file ? strdup(at.file) : NULL;
		named->line = at.line;
		/* The symbol of what is not inlined says more: its namespaces. */
		if (at.function && (at.inlined || !symbol))
			symbol = at.function;
	}
	named->function = symbol ? atr_demangle(symbol) : NULL;
}

/* NULL: it is new, and there is no time or memory. */
static const struct atr_named *name(struct atr_code *code, uint64_t addr, uint64_t until)
{
	struct atr_named *n;
	size_t i;

	if (code->n_names >= NAMES_FULL)
		forget(code);
	if (!code->names)
		code->names = calloc(NAMES, sizeof(*code->names));
	if (!code->names)
		return NULL;
	for (i = addr * 0x9e3779b97f4a7c15u >> 32;; i++) {
		n = &code->names[i % NAMES];
		if (n->addr == addr)
			return n;
		if (!n->addr)
			break;
	}
	if (code->host->now() >= until)
		return NULL;
	n->addr = addr;
	code->n_names++;
	look_up(code, n);
	return n;
}

/* ---- attributes ---- */

static void put_str(struct atr_buf *span, enum atr_attr attr, const char *value)
{
	size_t len = strlen(value), room = (len < ATR_VALUE_MAX ? len : ATR_VALUE_MAX) + 128;
	uint8_t *at = atr_buf_reserve(span, room);
	struct atr_pb pb;

	if (!at)
		return;
	pb = (struct atr_pb){ .p = at, .end = at + room };
	atr_attr_str(&pb, attr, value, len);
	span->len += (size_t)(pb.p - at);
}

static void put_int(struct atr_buf *span, enum atr_attr attr, int64_t value)
{
	uint8_t *at = atr_buf_reserve(span, 128);
	struct atr_pb pb;

	if (!at)
		return;
	pb = (struct atr_pb){ .p = at, .end = at + 128 };
	atr_attr_int(&pb, attr, value);
	span->len += (size_t)(pb.p - at);
}

static void put_site(struct atr_code *code, uint64_t addr, uint64_t until)
{
	const struct atr_named *n = name(code, addr, until);

	if (!n || !n->function)
		return;
	put_str(&code->span, ATR_CODE_FUNCTION_NAME, n->function);
	if (!n->file)
		return;
	put_str(&code->span, ATR_CODE_FILE_PATH, n->file);
	if (n->line > 0)
		put_int(&code->span, ATR_CODE_LINE_NUMBER, n->line);
}

__attribute__((format(printf, 2, 3))) static void put_text(struct atr_buf *text, const char *fmt,
							   ...)
{
	char part[1024];
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(part, sizeof(part), fmt, args);
	va_end(args);
	if (n > 0)
		atr_buf_add(text, part, (size_t)n < sizeof(part) ? (size_t)n : sizeof(part) - 1);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* function+0x1f at /src/file.c:12 in libx.so.1 */
static void put_frame(struct atr_code *code, uint64_t addr, uint64_t until)
{
	const struct atr_object *object = code->host->object(ATR_ADDR_OBJECT(addr));
	const struct atr_named *n = object ? name(code, addr, until) : NULL;
	struct atr_buf *text = &code->text;

	if (text->len)
		atr_buf_str(text, "\n");
	if (n && n->function)
		put_text(text, "%s+0x%llx", n->function, (unsigned long long)n->offset);
	else
		put_text(text, "0x%llx", (unsigned long long)ATR_ADDR_OFFSET(addr));
	if (n && n->file)
		put_text(text, n->line > 0 ? " at %s:%d" : " at %s", n->file, n->line);
	if (object)
		put_text(text, " in %s", base_name(object->path));
}

static void put_stack(struct atr_code *code, const uint64_t *addrs, size_t n, uint64_t until)
{
	atr_buf_reset(&code->text);
	for (size_t i = 0; i < n && code->text.len < ATR_VALUE_MAX; i++)
		put_frame(code, addrs[i], until);
	atr_buf_add(&code->text, "", 1);
	if (!code->text.failed)
		put_str(&code->span, ATR_CODE_STACKTRACE, (const char *)code->text.bytes);
}

const struct atr_buf *atr_code_span(struct atr_code *code, const struct atr_record *r,
				    uint64_t until)
{
	const uint64_t *addrs = atr_record_addrs(r);
	size_t n = r->n_addrs;

	atr_buf_reset(&code->span);
	atr_buf_add(&code->span, r->span, r->span_len);
	if (n && r->flags & ATR_RECORD_SITE) {
		put_site(code, addrs[0], until);
		addrs++;
		n--;
	}
	if (n)
		put_stack(code, addrs, n, until);
	return code->span.failed ? NULL : &code->span;
}

void atr_code_init(struct atr_code *code, const struct atr_host *host)
{
	*code = (struct atr_code){ .host = host };
}

void atr_code_finish(struct atr_code *code)
{
	atr_code_rest(code);
	free(code->opened);
	forget(code);
	atr_buf_free(&code->span);
	atr_buf_free(&code->text);
	*code = (struct atr_code){ .host = code->host };
}
