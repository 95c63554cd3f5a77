/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the formats write and how it is read: values to ids, ids to lines, and ids
 * within a line replaced by others.
 *
 * A field that must be there once but is there twice is taken for none: which of the
 * two the peer believes is not known, and no parent is better than a wrong one.
 */
#include "hooks/propagator-format.h"

#include <string.h>

#include "preload/text.h"
#include "preload/traceparent.h"

/* The value of a field that is there once; of any other one that is none. */
static struct atr_slice only(const struct atr_http_head *head, enum atr_http_field field)
{
	struct atr_slice s = head->value[field];

	if (head->count[field] != 1)
		return (struct atr_slice){ NULL, 0 };
	/* What replaces counts from its first character. */
	while (s.len && (*s.p == ' ' || *s.p == '\t')) {
		s.p++;
		s.len--;
	}
	return s;
}

/* ---- hex ---- */

/* A digit's value in the low half, and by which rules it is one. */
#define HEX 0x40
#define LOWER_HEX 0xc0
#define DIGIT(c, v) [c] = LOWER_HEX | (v)
#define LETTER(l, u, v) [l] = LOWER_HEX | (v), [u] = HEX | (v)

static const uint8_t digits[256] = {
	DIGIT('0', 0),	      DIGIT('1', 1),	    DIGIT('2', 2),	  DIGIT('3', 3),
	DIGIT('4', 4),	      DIGIT('5', 5),	    DIGIT('6', 6),	  DIGIT('7', 7),
	DIGIT('8', 8),	      DIGIT('9', 9),	    LETTER('a', 'A', 10), LETTER('b', 'B', 11),
	LETTER('c', 'C', 12), LETTER('d', 'D', 13), LETTER('e', 'E', 14), LETTER('f', 'F', 15),
};

#undef DIGIT
#undef LETTER

static uint8_t digit(const char *s)
{
	return digits[(uint8_t)*s];
}

/* Digits by `rule` into n bytes, left-padded; false when they are too many, none, or all 0. */
static bool read_id(uint8_t *id, size_t n, struct atr_slice s, uint8_t rule)
{
	uint8_t all = rule, any = 0;
	size_t i = 0;

	if (!s.len || s.len > 2 * n)
		return false;
	memset(id, 0, n - s.len / 2);
	id += n - (s.len + 1) / 2;
	if (s.len % 2) {
		all &= digit(s.p);
		any |= *id++ = digit(s.p) & 15;
		i = 1;
	}
	for (; i < s.len; i += 2) {
		uint8_t hi = digit(s.p + i), lo = digit(s.p + i + 1);

		all &= hi & lo;
		any |= *id++ = (uint8_t)(hi << 4 | (lo & 15));
	}
	return all == rule && any;
}

bool atr_format_id(uint8_t *ret, size_t n, struct atr_slice s)
{
	return read_id(ret, n, s, HEX);
}

static bool is_hex(struct atr_slice s, uint8_t rule)
{
	uint8_t all = rule;

	for (size_t i = 0; i < s.len; i++)
		all &= digit(s.p + i);
	return s.len && all == rule;
}

/* ---- B3 ---- */

static bool b3_state(struct atr_context *c, char state)
{
	c->deferred = false;
	c->debug = state == 'd';
	c->flags = state == '0' ? 0 : ATR_FLAG_SAMPLED;
	return state == '0' || state == '1' || state == 'd';
}

static bool b3_ids(struct atr_context *c, struct atr_slice trace, struct atr_slice span)
{
	c->valid = c->remote = (trace.len == 32 || trace.len == 16) && span.len == 16 &&
			       read_id(c->trace_id, 16, trace, LOWER_HEX) &&
			       read_id(c->span_id, 8, span, LOWER_HEX);
	return c->valid;
}

/* Where the span id is: behind a trace id of 16 or of 32 digits. */
static size_t b3_span_at(struct atr_slice s)
{
	return s.len > 16 && s.p[16] == '-' ? 17 : 33;
}

static enum atr_found read_b3_single(struct atr_slice s, struct atr_context *c)
{
	size_t span = b3_span_at(s), state = span + 17, parent = state + 2;

	if (s.len == 1)
		return b3_state(c, *s.p) ? ATR_FOUND_STATE : ATR_FOUND_NOTHING;
	if (s.len < span + 16 || s.p[span - 1] != '-')
		return ATR_FOUND_NOTHING;
	if (!b3_ids(c, atr_slice_part(s, 0, span - 1), atr_slice_part(s, span, span + 16)))
		return ATR_FOUND_NOTHING;
	c->deferred = s.len == span + 16;
	if (c->deferred)
		return ATR_FOUND_IDS;
	if (s.len < state + 1 || s.p[state - 1] != '-' || !b3_state(c, s.p[state]))
		return ATR_FOUND_NOTHING;
	if (s.len == state + 1)
		return ATR_FOUND_IDS;
	if (s.len != parent + 16 || s.p[parent - 1] != '-')
		return ATR_FOUND_NOTHING;
	return is_hex(atr_slice_part(s, parent, s.len), LOWER_HEX) ? ATR_FOUND_IDS
								   : ATR_FOUND_NOTHING;
}

static enum atr_found read_b3_multi(const struct atr_http_head *head, struct atr_context *c)
{
	struct atr_slice sampled = only(head, ATR_HTTP_X_B3_SAMPLED);

	c->deferred = true;
	if (atr_slice_is(only(head, ATR_HTTP_X_B3_FLAGS), "1"))
		(void)b3_state(c, 'd');
	else if (atr_slice_is(sampled, "1") || atr_slice_is(sampled, "true"))
		(void)b3_state(c, '1');
	else if (atr_slice_is(sampled, "0") || atr_slice_is(sampled, "false"))
		(void)b3_state(c, '0');
	if (!head->count[ATR_HTTP_X_B3_TRACEID] && !head->count[ATR_HTTP_X_B3_SPANID])
		return c->deferred ? ATR_FOUND_NOTHING : ATR_FOUND_STATE;
	return b3_ids(c, only(head, ATR_HTTP_X_B3_TRACEID), only(head, ATR_HTTP_X_B3_SPANID))
		       ? ATR_FOUND_IDS
		       : ATR_FOUND_NOTHING;
}

static enum atr_found read_b3(const struct atr_http_head *head, struct atr_context *c)
{
	enum atr_found found = read_b3_single(only(head, ATR_HTTP_B3), c);

	if (found != ATR_FOUND_NOTHING)
		return found;
	*c = (struct atr_context){ 0 };
	return read_b3_multi(head, c);
}

/* ---- Jaeger ---- */

#define JAEGER_SAMPLED 1
#define JAEGER_DEBUG 2

struct jaeger {
	struct atr_slice trace, span, flags;
};

/* The length of the colon at i, which may be URL-encoded; 0: there is none. */
static size_t colon_at(struct atr_slice s, size_t i)
{
	if (s.p[i] == ':')
		return 1;
	return s.len - i >= 3 && s.p[i] == '%' && s.p[i + 1] == '3' &&
			       (s.p[i + 2] == 'A' || s.p[i + 2] == 'a')
		       ? 3
		       : 0;
}

/* What of s is before the next colon; s goes on behind it. */
static struct atr_slice until_colon(struct atr_slice *s)
{
	struct atr_slice ret;
	size_t n = 0, colon = 0;

	while (n < s->len && !(colon = colon_at(*s, n)))
		n++;
	ret = atr_slice_part(*s, 0, n);
	*s = atr_slice_part(*s, n + colon, s->len);
	return ret;
}

/* The parent's id is deprecated and not looked at; it may be empty. */
static bool read_jaeger(struct atr_slice s, struct jaeger *j, struct atr_context *c)
{
	uint8_t flags;

	if (!s.len)
		return false;
	j->trace = until_colon(&s);
	j->span = until_colon(&s);
	(void)until_colon(&s);
	j->flags = s;
	if (s.len > 2 || !is_hex(s, HEX) || !read_id(c->trace_id, 16, j->trace, HEX) ||
	    !read_id(c->span_id, 8, j->span, HEX))
		return false;
	flags = digit(s.p + s.len - 1);
	c->valid = c->remote = true;
	c->debug = flags & JAEGER_DEBUG;
	c->flags = flags & (JAEGER_DEBUG | JAEGER_SAMPLED) ? ATR_FLAG_SAMPLED : 0;
	return true;
}

/* ---- in ---- */

static bool has_b3_multi(const struct atr_http_head *head)
{
	return head->count[ATR_HTTP_X_B3_TRACEID] | head->count[ATR_HTTP_X_B3_SPANID] |
	       head->count[ATR_HTTP_X_B3_SAMPLED] | head->count[ATR_HTTP_X_B3_FLAGS] |
	       head->count[ATR_HTTP_X_B3_PARENTSPANID];
}

/* Most heads have nothing of it: that must be known quickly. */
static bool is_there(uint8_t propagator, const struct atr_http_head *head)
{
	switch (propagator) {
	case ATR_PROPAGATE_TRACECONTEXT:
		return head->count[ATR_HTTP_TRACEPARENT] == 1;
	case ATR_PROPAGATE_B3:
	case ATR_PROPAGATE_B3MULTI:
		return head->count[ATR_HTTP_B3] || has_b3_multi(head);
	case ATR_PROPAGATE_JAEGER:
		return head->count[ATR_HTTP_UBER_TRACE_ID] == 1;
	default:
		return false;
	}
}

enum atr_found atr_format_read(uint8_t propagator, const struct atr_http_head *head,
			       struct atr_context *ret)
{
	enum atr_found found = ATR_FOUND_NOTHING;
	struct atr_context c;
	struct jaeger j;

	if (!is_there(propagator, head))
		return ATR_FOUND_NOTHING;
	c = (struct atr_context){ .valid = false };
	switch (propagator) {
	case ATR_PROPAGATE_TRACECONTEXT:
		if (atr_traceparent_parse(&c, head->value[ATR_HTTP_TRACEPARENT]))
			found = ATR_FOUND_IDS;
		break;
	case ATR_PROPAGATE_B3:
	case ATR_PROPAGATE_B3MULTI:
		found = read_b3(head, &c);
		break;
	case ATR_PROPAGATE_JAEGER:
		if (read_jaeger(head->value[ATR_HTTP_UBER_TRACE_ID], &j, &c))
			found = ATR_FOUND_IDS;
		break;
	}
	if (found != ATR_FOUND_NOTHING)
		*ret = c;
	return found;
}

/* ---- replaced in place ---- */

/* What is being replaced: the copy with its head, and by what. */
struct replacement {
	char *copy;
	const struct atr_http_head *head;
	const struct atr_context *from;
	char span_id[16]; /* to's */
	unsigned sampled; /* to's: 0 or 1 */
};

/* s lies in the copy: the same place to write to. */
static char *in_copy(const struct replacement *r, struct atr_slice s)
{
	return r->copy + (s.p - r->copy);
}

static void replace_span(const struct replacement *r, struct atr_slice s)
{
	memcpy(in_copy(r, s), r->span_id, sizeof(r->span_id));
}

/* The lowest bit of a hex digit; what is right already is left as it is, capitals too. */
static void replace_sampled(const struct replacement *r, char *at)
{
	unsigned v = digit(at) & 15;

	if ((v & 1) != r->sampled)
		*at = "0123456789abcdef"[v ^ 1];
}

static void replace_traceparent(const struct replacement *r)
{
	struct atr_slice s = only(r->head, ATR_HTTP_TRACEPARENT);
	struct atr_context c;
	char *flags;

	if (!s.p || !atr_traceparent_parse(&c, s) || !atr_context_same(&c, r->from))
		return;
	replace_span(r, atr_slice_part(s, 36, 52));
	flags = in_copy(r, atr_slice_part(s, 53, 55));
	if (s.p[0] == '0' && s.p[1] == '0') { /* other bits must be 0 in this version */
		flags[0] = '0';
		flags[1] = (char)('0' + (c.flags & ATR_FLAG_RANDOM));
	}
	replace_sampled(r, flags + 1);
}

static void replace_b3_single(const struct replacement *r)
{
	struct atr_slice s = only(r->head, ATR_HTTP_B3);
	size_t span = b3_span_at(s);
	struct atr_context c = { .flags = 0 };

	if (read_b3_single(s, &c) != ATR_FOUND_IDS || !atr_context_same(&c, r->from))
		return;
	replace_span(r, atr_slice_part(s, span, s.len));
	if (!c.deferred && !c.debug)
		replace_sampled(r, in_copy(r, s) + span + 17);
}

static void replace_b3_multi(const struct replacement *r)
{
	struct atr_slice sampled = only(r->head, ATR_HTTP_X_B3_SAMPLED);
	struct atr_context c = { .flags = 0 };

	if (read_b3_multi(r->head, &c) != ATR_FOUND_IDS || !atr_context_same(&c, r->from))
		return;
	replace_span(r, r->head->value[ATR_HTTP_X_B3_SPANID]);
	if (sampled.len == 1 && !c.deferred && !c.debug)
		replace_sampled(r, in_copy(r, sampled));
}

static void replace_jaeger(const struct replacement *r)
{
	struct atr_slice s = only(r->head, ATR_HTTP_UBER_TRACE_ID);
	struct atr_context c = { .flags = 0 };
	struct jaeger j;

	if (!read_jaeger(s, &j, &c) || j.span.len != 16 || !atr_context_same(&c, r->from))
		return;
	replace_span(r, j.span);
	if (!c.debug)
		replace_sampled(r, in_copy(r, j.flags) + j.flags.len - 1);
}

void atr_format_replace(uint8_t propagator, char *copy, const struct atr_http_head *head,
			const struct atr_context *from, const struct atr_context *to)
{
	struct replacement r = {
		.copy = copy,
		.head = head,
		.from = from,
		.sampled = to->flags & ATR_FLAG_SAMPLED,
	};

	atr_to_hex(r.span_id, to->span_id, sizeof(to->span_id));
	switch (propagator) {
	case ATR_PROPAGATE_TRACECONTEXT:
		replace_traceparent(&r);
		break;
	case ATR_PROPAGATE_B3:
	case ATR_PROPAGATE_B3MULTI:
		replace_b3_single(&r);
		replace_b3_multi(&r);
		break;
	case ATR_PROPAGATE_JAEGER:
		replace_jaeger(&r);
		break;
	}
}

/* ---- lines ---- */

static char *put_text(char *p, const char *s, size_t n)
{
	memcpy(p, s, n);
	return p + n;
}

#define PUT(p, literal) put_text(p, literal, sizeof(literal) - 1)

char *atr_format_put_trace_id(char *p, const struct atr_context *c)
{
	atr_to_hex(p, c->trace_id, sizeof(c->trace_id));
	return p + 2 * sizeof(c->trace_id);
}

static char *put_span_id(char *p, const struct atr_context *c)
{
	atr_to_hex(p, c->span_id, sizeof(c->span_id));
	return p + 2 * sizeof(c->span_id);
}

static char *put_traceparent(char *p, const struct atr_context *c)
{
	p = PUT(p, "traceparent: ");
	atr_traceparent_write(p, c);
	return PUT(p + ATR_TRACEPARENT_LEN, "\r\n");
}

/* B3's sampling state; 0: none, the decision is left to the next one. */
static char b3_state_of(const struct atr_context *c)
{
	if (c->debug)
		return 'd';
	if (c->flags & ATR_FLAG_SAMPLED)
		return '1';
	return c->deferred ? 0 : '0';
}

static char *put_b3_single(char *p, const struct atr_context *c)
{
	p = PUT(p, "b3: ");
	p = atr_format_put_trace_id(p, c);
	p = PUT(p, "-");
	p = put_span_id(p, c);
	if (b3_state_of(c)) {
		p = PUT(p, "-");
		*p++ = b3_state_of(c);
	}
	return PUT(p, "\r\n");
}

static char *put_b3_multi(char *p, const struct atr_context *c)
{
	p = PUT(p, "X-B3-TraceId: ");
	p = atr_format_put_trace_id(p, c);
	p = PUT(p, "\r\nX-B3-SpanId: ");
	p = put_span_id(p, c);
	switch (b3_state_of(c)) {
	case 'd':
		p = PUT(p, "\r\nX-B3-Flags: 1");
		break;
	case '1':
		p = PUT(p, "\r\nX-B3-Sampled: 1");
		break;
	case '0':
		p = PUT(p, "\r\nX-B3-Sampled: 0");
		break;
	}
	return PUT(p, "\r\n");
}

static char *put_jaeger(char *p, const struct atr_context *c)
{
	p = PUT(p, "uber-trace-id: ");
	p = atr_format_put_trace_id(p, c);
	p = PUT(p, ":");
	p = put_span_id(p, c);
	p = PUT(p, ":0:");
	*p++ = c->debug ? '3' : c->flags & ATR_FLAG_SAMPLED ? '1' : '0';
	return PUT(p, "\r\n");
}

char *atr_format_put(char *p, uint8_t propagator, const struct atr_context *c,
		     const struct atr_http_head *head)
{
	switch (propagator) {
	case ATR_PROPAGATE_TRACECONTEXT:
		return head->count[ATR_HTTP_TRACEPARENT] ? p : put_traceparent(p, c);
	case ATR_PROPAGATE_B3:
		return head->count[ATR_HTTP_B3] ? p : put_b3_single(p, c);
	case ATR_PROPAGATE_B3MULTI:
		/* Ours beside one of the program's would be a mixture of two contexts. */
		return has_b3_multi(head) ? p : put_b3_multi(p, c);
	case ATR_PROPAGATE_JAEGER:
		return head->count[ATR_HTTP_UBER_TRACE_ID] ? p : put_jaeger(p, c);
	default:
		return p;
	}
}
