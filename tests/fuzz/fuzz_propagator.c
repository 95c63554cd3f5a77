/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first byte chooses the formats and their order, the second what replaces the
 * ids.  The rest is the fields of a head; when it is none that the parser takes, or the
 * first byte says so, it is a few values, each behind a byte that names its field:
 * bytes that no parser of heads would let through.
 */
#include "hooks/http1.c"
#define add add_open_span /* hooks/propagator.c has one too */
#include "preload/carrier.c"
#include "preload/context.c"
#include "preload/life.c"
#include "preload/pool.c"
#include "preload/sys.c"
#include "preload/traceparent.c"
#undef add
#include "preload/text.c"

#include "hooks/propagator-format.c"
#include "hooks/propagator.c"

#include <stdio.h>
#include <stdlib.h>

/* For context.c; nothing here asks for the time. */
__thread struct atr_tls atr_tls;
struct atr_stats atr_stats;

uint64_t atr_now(void)
{
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LINE "GET / HTTP/1.1\r\n"

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void ignore(const char *line)
{
	(void)line;
}

static void must_be_clean(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		must((uint8_t)s[i] >= ' ' && s[i] != 0x7f);
}

/* Which formats and in which order: rotations of the list, some of them shortened. */
static void choose(unsigned choice, const char *header)
{
	char list[64] = "";

	for (unsigned i = 0; i < N_OF(known_propagators) - choice / 5 % 3; i++) {
		strcat(list, known_propagators[(i + choice) % 5].name);
		strcat(list, ",");
	}
	atr_propagators_init(list, header, ignore);
}

static struct atr_http_head values_head(char *p, size_t n)
{
	struct atr_http_head head = { .minor = 1 };

	while (n) {
		unsigned field = (uint8_t)*p % ATR_HTTP_N_FIELDS;
		char *end = memchr(p, 0xff, n);
		size_t len = end ? (size_t)(end - p) : n;

		head.count[field] = 1;
		head.value[field] = (struct atr_slice){ p + 1, len - (len > 0) };
		if (len == 0) /* the separator itself */
			head.value[field].len = 0;
		p += end ? len + 1 : n;
		n -= end ? len + 1 : n;
	}
	return head;
}

/* What came must be safe to send, and read again must be what it was. */
static void check_in(const struct atr_http_head *head, struct atr_remote *remote)
{
	static char again[ATR_TRACESTATE_MAX];
	struct atr_slice s;

	atr_propagators_extract(head, remote);
	must(remote->tracestate_len <= sizeof(remote->tracestate));
	must(remote->baggage_len <= sizeof(remote->baggage));
	must_be_clean(remote->tracestate, remote->tracestate_len);
	must_be_clean(remote->baggage, remote->baggage_len);
	must(remote->context.valid || !remote->tracestate_len);
	must(!remote->context.valid || (!remote->has_trace_id && !remote->decision));
	must(!remote->context.debug || remote->decision == ATR_SAMPLED ||
	     remote->context.flags & ATR_FLAG_SAMPLED);

	s = (struct atr_slice){ remote->tracestate, remote->tracestate_len };
	must(atr_tracestate_read(s, again) == s.len && memcmp(again, s.p, s.len) == 0);
	s = (struct atr_slice){ remote->baggage, remote->baggage_len };
	must(atr_baggage_read(s, again) == s.len && memcmp(again, s.p, s.len) == 0);
}

/* Each format alone: what is written is well-formed and is read back the same. */
static void check_out(const struct atr_context *context)
{
	static const struct atr_http_head empty;
	static struct atr_remote remote;

	for (size_t i = 0; i < N_OF(known_propagators); i++) {
		char *buf = malloc(ATR_INJECT_MAX), text[sizeof(LINE) + ATR_INJECT_MAX];
		struct atr_http_head head;
		const struct atr_context *c = &remote.context;
		uint8_t format = known_propagators[i].propagator;
		size_t n;

		atr_propagators_init(known_propagators[i].name, "X-Trace", ignore);
		n = atr_propagators_inject(context, &empty, buf);
		must(n <= ATR_INJECT_MAX);
		memcpy(text, LINE, sizeof(LINE) - 1);
		memcpy(text + sizeof(LINE) - 1, buf, n);
		free(buf);
		must(atr_http_parse_request(&head, text, sizeof(LINE) - 1 + n) == 0);
		atr_propagators_extract(&head, &remote);
		if (format == ATR_PROPAGATE_BAGGAGE) {
			must(remote.has_trace_id &&
			     memcmp(c->trace_id, context->trace_id, 16) == 0);
			continue;
		}
		must(atr_context_same(c, context));
		if (format == ATR_PROPAGATE_TRACECONTEXT)
			must(c->flags == (context->flags & 3));
		else
			must(c->debug == context->debug &&
			     (c->flags & 1) == (context->debug || context->flags & 1));
		if (format == ATR_PROPAGATE_B3 || format == ATR_PROPAGATE_B3MULTI)
			must(c->deferred ==
			     (context->deferred && !context->debug && !(context->flags & 1)));
	}
}

/* Bytes of a value of an id's field: only they may change, and only from digit to digit. */
static bool may_change(const struct atr_http_head *head, const char *at)
{
	static const enum atr_http_field fields[] = { ATR_HTTP_TRACEPARENT, ATR_HTTP_B3,
						      ATR_HTTP_X_B3_SPANID, ATR_HTTP_X_B3_SAMPLED,
						      ATR_HTTP_UBER_TRACE_ID };

	for (size_t i = 0; i < N_OF(fields); i++)
		if (head->count[fields[i]] == 1 && at >= head->value[fields[i]].p &&
		    at < head->value[fields[i]].p + head->value[fields[i]].len)
			return true;
	return false;
}

static void check_replaced(char *copy, size_t n, const struct atr_http_head *head, uint8_t seed)
{
	struct atr_context from, to, now;
	bool carried = atr_propagators_carried(head, &from);
	char *before = malloc(n + !n);
	unsigned changed = 0;

	memcpy(before, copy, n);
	if (!carried)
		from = (struct atr_context){ .valid = true, .trace_id = { 1 }, .span_id = { 1 } };
	to = from;
	memset(to.span_id, seed | 1, sizeof(to.span_id));
	to.flags = seed >> 1 & 1;
	atr_propagators_replace(copy, head, &from, &to);
	for (size_t i = 0; i < n; i++) {
		if (copy[i] == before[i])
			continue;
		must(may_change(head, copy + i) && digit(copy + i) && digit(before + i));
		changed++;
	}
	must(changed <= 18 * 4 && (carried || !changed));
	if (carried && atr_propagators.mask & ATR_PROPAGATE_TRACECONTEXT &&
	    atr_format_read(ATR_PROPAGATE_TRACECONTEXT, head, &now) == ATR_FOUND_IDS)
		must(atr_context_same(&now, &to) &&
		     now.flags == ((from.flags & ATR_FLAG_RANDOM) | to.flags));
	free(before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct atr_remote remote;
	struct atr_http_head head;
	size_t line = sizeof(LINE) - 1;
	char *copy;

	if (size < 2)
		return 0;
	/* Exactly as large as it is, for the sanitizer to see the byte beyond. */
	copy = malloc(line + size - 2);
	memcpy(copy, LINE, line);
	memcpy(copy + line, data + 2, size - 2);
	if (data[0] & 0x80 || atr_http_parse_request(&head, copy, line + size - 2) != 0)
		head = values_head(copy + line, size - 2);

	choose(data[0], data[1] & 0x80 ? "X-Trace" : data[1] & 0x40 ? "X-Request-Id" : NULL);
	check_in(&head, &remote);
	if (remote.context.valid) {
		check_out(&remote.context);
		choose(data[0], NULL);
	}
	check_replaced(copy, line + size - 2, &head, data[1]);
	free(copy);
	return 0;
}
