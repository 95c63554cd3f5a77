/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/spoolname.h"

#include <string.h>

#include "preload/compiler.h"
#include "preload/config.h"
#include "preload/target.h"

/* ---- names ---- */

#define N_NUMBERS 6

static size_t put_hex(char *to, uint64_t v)
{
	char digits[16];
	size_t n = 0;

	do
		digits[n++] = "0123456789abcdef"[v & 15];
	while (v >>= 4);
	for (size_t i = 0; i < n; i++)
		to[i] = digits[n - 1 - i];
	return n;
}

void atr_spool_name_text(char text[static ATR_SPOOL_NAME_MAX], const struct atr_spool_name *name)
{
	const uint64_t v[N_NUMBERS] = { name->ns,    name->pid,		name->start,
					name->image, name->destination, name->nonce };
	size_t n = 0;

	for (size_t i = 0; i < N_NUMBERS; i++) {
		if (i)
			text[n++] = '-';
		n += put_hex(text + n, v[i]);
	}
	text[n] = '\0';
}

/* -1: none. */
static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool atr_spool_name_parse(const char *text, struct atr_spool_name *ret)
{
	char again[ATR_SPOOL_NAME_MAX];
	uint64_t v[N_NUMBERS] = { 0 };
	const char *s = text;

	for (size_t i = 0; i < N_NUMBERS; i++) {
		for (; hex(*s) >= 0; s++)
			v[i] = v[i] << 4 | (uint64_t)hex(*s);
		if (*s++ != (i + 1 < N_NUMBERS ? '-' : '\0'))
			return false;
	}
	*ret = (struct atr_spool_name){
		.ns = v[0],
		.pid = v[1],
		.start = v[2],
		.image = (uint32_t)v[3],
		.destination = (uint32_t)v[4],
		.nonce = v[5],
	};
	/* Numbers that are too long, or begin with a zero, are not ours. */
	atr_spool_name_text(again, ret);
	return strcmp(text, again) == 0;
}

/* ---- /proc/<pid>/stat ---- */

static bool number(const char **s, const char *end, uint64_t *ret)
{
	uint64_t v = 0;

	if (*s < end && **s == '-')
		++*s;
	if (*s == end || **s < '0' || **s > '9')
		return false;
	for (; *s < end && **s >= '0' && **s <= '9'; ++*s)
		v = v * 10 + (uint64_t)(**s - '0');
	*ret = v;
	return true;
}

enum { STATE = 3, N_THREADS = 20, START = 22, START_CODE = 26, END_CODE = 27, START_STACK = 28 };

bool atr_spool_stat_parse(const char *text, size_t len, struct atr_spool_stat *ret)
{
	const char *end = text + len, *s = text;
	uint64_t v[START_STACK + 1] = { 0 }, h;

	*ret = (struct atr_spool_stat){ 0 };
	if (!number(&s, end, &ret->pid))
		return false;
	/* The name in brackets may hold anything: the last one closes it. */
	for (s = end; s > text && s[-1] != ')'; s--)
		;
	if (s == text || end - s < 3)
		return false;
	ret->state = s[1];
	s += 2;
	for (int field = STATE + 1; field <= START_STACK; field++) {
		if (s == end || *s++ != ' ' || !number(&s, end, &v[field]))
			return false;
	}
	ret->n_threads = v[N_THREADS];
	ret->start = v[START];
	/* Who may not know is told 0 (or 1). */
	if (v[START_STACK]) {
		h = (v[START_CODE] ^ v[START_STACK] << 20 ^ v[END_CODE] << 7) * 0x9e3779b97f4a7c15u;
		ret->image = (uint32_t)(h >> 32) | 1;
	}
	return true;
}

bool atr_spool_alive(const struct atr_spool_name *name, const char *text, size_t len)
{
	struct atr_spool_stat st;

	if (!atr_spool_stat_parse(text, len, &st))
		return true;
	if (name->start && st.start != name->start)
		return false;
	/* A main thread that ended before the others looks dead as well. */
	if ((st.state == 'Z' || st.state == 'X') && st.n_threads <= 1)
		return false;
	return !name->image || !st.image || st.image == name->image;
}

/* ---- destinations ---- */

static uint32_t hash(uint32_t h, const char *s)
{
	for (; s && *s; s++)
		h = (h ^ (uint8_t)*s) * 16777619u;
	return (h ^ 0xff) * 16777619u;
}

uint32_t atr_spool_destination(const struct atr_config *c)
{
	uint32_t h = hash(2166136261u, c->exporter == ATR_EXPORTER_OTLP ? "otlp" : "console");

	h = hash(h, atr_target_endpoint(c, ATR_SIGNAL_TRACES));
	return hash(h, c->otlp_traces_headers ? c->otlp_traces_headers : c->otlp_headers) | 1;
}
