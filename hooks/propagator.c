/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trace context in header fields, in and out.
 *
 * Header fields come from anybody, and what is read here is written into other
 * requests later.  So ids are kept as numbers, never as text; of tracestate every
 * byte is checked against its grammar, and baggage loses each member that has a
 * control character.  Folded lines count as blanks there and become blanks; in
 * an id they make it invalid.
 */
#include "hooks/propagator.h"

#include <string.h>

#include "hooks/propagator-format.h"
#include "preload/text.h"

struct atr_propagators atr_propagators;

static const struct {
	const char *name;
	uint8_t propagator;
} known_propagators[] = {
	{ "tracecontext", ATR_PROPAGATE_TRACECONTEXT },
	{ "baggage", ATR_PROPAGATE_BAGGAGE },
	{ "b3", ATR_PROPAGATE_B3 },
	{ "b3multi", ATR_PROPAGATE_B3MULTI },
	{ "jaeger", ATR_PROPAGATE_JAEGER },
};

static const char *const known_fields[ATR_HTTP_N_FIELDS] = {
#define FIELD(name, text, kind) text,
#include "hooks/http.def"
};

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- text ---- */

/* The end of a folded line, which RFC 9112 5.2 reads as blanks. */
static bool is_fold(char c)
{
	return c == '\r' || c == '\n';
}

static bool is_white(char c)
{
	return c == ' ' || c == '\t' || is_fold(c);
}

static struct atr_slice trim_start(struct atr_slice s)
{
	while (s.len && is_white(*s.p))
		s = atr_slice_part(s, 1, s.len);
	return s;
}

static struct atr_slice trim_end(struct atr_slice s)
{
	while (s.len && is_white(s.p[s.len - 1]))
		s.len--;
	return s;
}

/* What of s is before the next comma; s goes on behind it. */
static struct atr_slice until_comma(struct atr_slice *s)
{
	const char *comma = s->len ? memchr(s->p, ',', s->len) : NULL;
	size_t n = comma ? (size_t)(comma - s->p) : s->len;
	struct atr_slice ret = atr_slice_part(*s, 0, n);

	*s = atr_slice_part(*s, comma ? n + 1 : n, s->len);
	return ret;
}

static bool is_letter_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* RFC 9110 5.6.2 */
static bool is_token(struct atr_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!is_letter_or_digit(s.p[i]) && (!s.p[i] || !strchr("!#$%&'*+-.^_`|~", s.p[i])))
			return false;
	return s.len > 0;
}

/* ---- settings ---- */

static void add(struct atr_propagators *p, uint8_t propagator)
{
	if (p->mask & propagator)
		return;
	p->mask |= propagator;
	p->list[p->n++] = propagator;
}

static uint8_t propagator_called(struct atr_slice s)
{
	for (size_t i = 0; i < N_OF(known_propagators); i++)
		if (atr_http_name_is(s, known_propagators[i].name,
				     strlen(known_propagators[i].name)))
			return known_propagators[i].propagator;
	return 0;
}

static void read_list(struct atr_propagators *p, struct atr_slice list,
		      void (*warn)(const char *line))
{
	bool none = false;

	while (list.len) {
		struct atr_slice s = trim_end(trim_start(until_comma(&list)));
		uint8_t propagator = propagator_called(s);
		char line[256];

		if (propagator) {
			add(p, propagator);
		} else if (atr_http_name_is(s, "none", 4)) {
			none = true;
		} else if (s.len) {
			(void)atr_format(
				line, sizeof(line),
				"OTEL_PROPAGATORS: there is no propagator \"%.*s\" (but "
				"tracecontext, baggage, b3, b3multi, jaeger); it is left out",
				(int)(s.len < 100 ? s.len : 100), s.p);
			warn(line);
		}
	}
	if (none)
		p->n = p->mask = 0;
}

/* May a plain id stand in it?  Not in what frames messages or has a meaning of its own. */
static bool may_hold_id(struct atr_slice name, unsigned field)
{
	static const char *const others[] = { "expect", "keep-alive", "te", "trailer" };

	for (size_t i = 0; i < N_OF(others); i++)
		if (atr_http_name_is(name, others[i], strlen(others[i])))
			return false;
	return field == ATR_HTTP_N_FIELDS || field == ATR_HTTP_X_REQUEST_ID ||
	       field == ATR_HTTP_X_CORRELATION_ID || field == ATR_HTTP_REQUEST_ID;
}

static void read_trace_id_header(struct atr_propagators *p, struct atr_slice name,
				 void (*warn)(const char *line))
{
	unsigned field = 0;
	char line[256];

	while (field < ATR_HTTP_N_FIELDS &&
	       !atr_http_name_is(name, known_fields[field], strlen(known_fields[field])))
		field++;
	if (name.len >= sizeof(p->trace_id_name) || !is_token(name) || !may_hold_id(name, field)) {
		(void)atr_format(line, sizeof(line),
				 "AUTOTRACE_TRACE_ID_HEADER=%.*s is no header name for an id; "
				 "using none",
				 (int)(name.len < 100 ? name.len : 100), name.p);
		warn(line);
		return;
	}
	p->trace_id_field = (uint8_t)field;
	p->trace_id_len = (uint8_t)name.len;
	memcpy(p->trace_id_name, name.p, name.len);
	for (size_t i = 0; i < name.len; i++) {
		char c = name.p[i];

		p->trace_id_lower[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
	}
}

void atr_propagators_init(const char *list, const char *trace_id_header,
			  void (*warn)(const char *line))
{
	struct atr_propagators p = { .n = 0 };

	if (!list || !*list)
		list = "tracecontext,baggage";
	read_list(&p, (struct atr_slice){ list, strlen(list) }, warn);
	if (trace_id_header && *trace_id_header) {
		struct atr_slice name = { trace_id_header, strlen(trace_id_header) };

		read_trace_id_header(&p, trim_end(trim_start(name)), warn);
	}
	atr_propagators = p;
}

/* ---- fields ---- */

/* The members of all fields of one name, in order. */
struct members {
	enum atr_http_field field;
	struct atr_slice value; /* not yet read of this field */
	struct atr_slice rest;	/* the fields behind it; only if there are several */
};

static struct members members_of(const struct atr_http_head *head, enum atr_http_field field)
{
	struct members m = { .field = field };

	if (head->count[field] == 1)
		m.value = head->value[field];
	else if (head->count[field])
		m.rest = head->fields;
	return m;
}

static bool next_value(struct members *m)
{
	const char *wanted = known_fields[m->field];
	struct atr_slice name;

	while (m->rest.len && atr_http_next_field(&m->rest, &name, &m->value))
		if (atr_http_name_is(name, wanted, strlen(wanted)))
			return true;
	return false;
}

/* The next one that is not empty, with the blanks around it. */
static bool next_member(struct members *m, struct atr_slice *ret)
{
	do {
		while (m->value.len) {
			*ret = until_comma(&m->value);
			if (trim_start(*ret).len)
				return true;
		}
	} while (next_value(m));
	return false;
}

/* Copies with blanks for what is left of control characters: tabs and folded lines. */
static size_t copy_line(char *to, struct atr_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		to[i] = is_white(s.p[i]) ? ' ' : s.p[i];
	return s.len;
}

/* ---- W3C Trace Context ---- */

#define TRACESTATE_MEMBERS 32
#define TRACESTATE_PART 256 /* of a key, and of a value */
_Static_assert(ATR_TRACESTATE_MAX >= TRACESTATE_MEMBERS * (2 * TRACESTATE_PART + 2),
	       "the longest tracestate has room");

static bool is_tracestate_key(struct atr_slice s)
{
	if (!s.len || s.len > TRACESTATE_PART)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		char c = s.p[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') &&
		    (!i || (c != '_' && c != '-' && c != '*' && c != '/' && c != '@')))
			return false;
	}
	return true;
}

/* That its end is no blank is the caller's. */
static bool is_tracestate_value(struct atr_slice s)
{
	if (!s.len || s.len > TRACESTATE_PART)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		char c = s.p[i];

		if (c == '=' || c == ',' || ((c < ' ' || c > '~') && !is_fold(c)))
			return false;
	}
	return true;
}

static size_t read_tracestate(struct members m, char *ret)
{
	unsigned n = 0;
	size_t len = 0;
	struct atr_slice s;

	while (next_member(&m, &s)) {
		const char *equals;
		size_t key;

		s = trim_end(trim_start(s));
		equals = memchr(s.p, '=', s.len);
		if (!equals || ++n > TRACESTATE_MEMBERS)
			return 0;
		key = (size_t)(equals - s.p);
		if (!is_tracestate_key(atr_slice_part(s, 0, key)) ||
		    !is_tracestate_value(atr_slice_part(s, key + 1, s.len)))
			return 0;
		if (len)
			ret[len++] = ',';
		len += copy_line(ret + len, s);
	}
	return len;
}

size_t atr_tracestate_read(struct atr_slice value, char ret[static ATR_TRACESTATE_MAX])
{
	return read_tracestate((struct members){ .value = value }, ret);
}

/* ---- W3C Baggage ---- */

#define BAGGAGE_MEMBERS 64

static bool has_control(struct atr_slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = (uint8_t)s.p[i];

		if ((c < ' ' || c == 0x7f) && !is_white(s.p[i]))
			return true;
	}
	return false;
}

static size_t read_baggage(struct members m, char *ret)
{
	unsigned n = 0;
	size_t len = 0;
	struct atr_slice s;

	while (n < BAGGAGE_MEMBERS && next_member(&m, &s)) {
		if (has_control(s))
			continue;
		if (!len)
			s = trim_start(s);
		if (len + (len > 0) + s.len > ATR_BAGGAGE_MAX)
			break;
		if (len)
			ret[len++] = ',';
		len += copy_line(ret + len, s);
		n++;
	}
	return trim_end((struct atr_slice){ ret, len }).len;
}

size_t atr_baggage_read(struct atr_slice value, char ret[static ATR_BAGGAGE_MAX])
{
	return read_baggage((struct members){ .value = value }, ret);
}

/* ---- a plain trace id ---- */

/* How often it is there (several count as 2 or more), and its first value. */
static unsigned count_trace_id(const struct atr_http_head *head, struct atr_slice *ret)
{
	const struct atr_propagators *p = &atr_propagators;
	struct atr_slice rest = head->fields, name, value;
	unsigned n = 0;

	if (p->trace_id_field < ATR_HTTP_N_FIELDS) {
		*ret = head->value[p->trace_id_field];
		return head->count[p->trace_id_field];
	}
	while (n < 2 && rest.len && atr_http_next_field(&rest, &name, &value))
		if (atr_http_name_is(name, p->trace_id_lower, p->trace_id_len) && n++ == 0)
			*ret = value;
	return n;
}

/* 32 or 16 digits, or a UUID. */
static bool read_trace_id(const struct atr_http_head *head, uint8_t ret[static 16])
{
	uint8_t id[16];
	struct atr_slice s;
	char plain[32];
	size_t n = 0;

	if (count_trace_id(head, &s) != 1)
		return false;
	if (s.len == 36) {
		for (size_t i = 0; i < s.len; i++) {
			if (i != 8 && i != 13 && i != 18 && i != 23)
				plain[n++] = s.p[i];
			else if (s.p[i] != '-')
				return false;
		}
		s = (struct atr_slice){ plain, n };
	}
	if ((s.len != 32 && s.len != 16) || !atr_format_id(id, sizeof(id), s))
		return false;
	memcpy(ret, id, sizeof(id));
	return true;
}

/* ---- in ---- */

/*
 * The later context wins.  When both name the same span, the sender wrote them for one
 * context, and what only the earlier one can say is kept.
 */
static void adopt(struct atr_remote *ret, struct atr_context c)
{
	const struct atr_context *old = &ret->context;

	if (!atr_context_same(old, &c)) {
		ret->tracestate_len = 0;
	} else if (c.deferred) {
		c.flags = old->flags;
		c.debug = old->debug;
		c.deferred = old->deferred;
	} else {
		c.flags |= old->flags & ATR_FLAG_RANDOM;
		c.flags |= old->debug ? ATR_FLAG_SAMPLED : 0;
		c.debug |= old->debug;
	}
	ret->context = c;
}

void atr_propagators_extract(const struct atr_http_head *head, struct atr_remote *ret)
{
	const struct atr_propagators *p = &atr_propagators;
	struct atr_context c;

	ret->context = (struct atr_context){ .valid = false };
	ret->has_trace_id = false;
	ret->decision = ATR_UNDECIDED;
	ret->tracestate_len = ret->baggage_len = 0;
	for (unsigned i = 0; i < p->n; i++) {
		if (p->list[i] == ATR_PROPAGATE_BAGGAGE) {
			if (head->count[ATR_HTTP_BAGGAGE])
				ret->baggage_len = read_baggage(members_of(head, ATR_HTTP_BAGGAGE),
								ret->baggage);
			continue;
		}
		switch (atr_format_read(p->list[i], head, &c)) {
		case ATR_FOUND_IDS:
			adopt(ret, c);
			ret->decision = ATR_UNDECIDED;
			if (p->list[i] == ATR_PROPAGATE_TRACECONTEXT)
				ret->tracestate_len = read_tracestate(
					members_of(head, ATR_HTTP_TRACESTATE), ret->tracestate);
			break;
		case ATR_FOUND_STATE:
			if (ret->context.valid)
				break;
			ret->decision = c.flags & ATR_FLAG_SAMPLED ? ATR_SAMPLED : ATR_NOT_SAMPLED;
			ret->context.debug = c.debug;
			break;
		case ATR_FOUND_NOTHING:
			break;
		}
	}
	if (p->trace_id_len && !ret->context.valid)
		ret->has_trace_id = read_trace_id(head, ret->context.trace_id);
}

/* ---- out ---- */

bool atr_propagators_carried(const struct atr_http_head *head, struct atr_context *ret)
{
	const struct atr_propagators *p = &atr_propagators;
	struct atr_context c;

	if (p->mask & ATR_PROPAGATE_TRACECONTEXT &&
	    atr_format_read(ATR_PROPAGATE_TRACECONTEXT, head, ret) == ATR_FOUND_IDS)
		return true;
	for (unsigned i = 0; i < p->n; i++) {
		if (atr_format_read(p->list[i], head, &c) != ATR_FOUND_IDS)
			continue;
		*ret = c;
		return true;
	}
	return false;
}

void atr_propagators_replace(char *copy, const struct atr_http_head *head,
			     const struct atr_context *from, const struct atr_context *to)
{
	const struct atr_propagators *p = &atr_propagators;

	for (unsigned i = 0; i < p->n; i++)
		atr_format_replace(p->list[i], copy, head, from, to);
}

size_t atr_propagators_inject(const struct atr_context *context, const struct atr_http_head *head,
			      char buf[static ATR_INJECT_MAX])
{
	const struct atr_propagators *p = &atr_propagators;
	struct atr_slice value;
	char *end = buf;

	if (!context->valid)
		return 0;
	for (unsigned i = 0; i < p->n; i++)
		end = atr_format_put(end, p->list[i], context, head);
	if (p->trace_id_len && !count_trace_id(head, &value)) {
		memcpy(end, p->trace_id_name, p->trace_id_len);
		memcpy(end + p->trace_id_len, ": ", 2);
		end = atr_format_put_trace_id(end + p->trace_id_len + 2, context);
		memcpy(end, "\r\n", 2);
		end += 2;
	}
	return (size_t)(end - buf);
}

/* Beside a traceparent of the program's own, our tracestate would be another trace's. */
bool atr_propagators_wants_tracestate(const struct atr_http_head *head)
{
	return atr_propagators.mask & ATR_PROPAGATE_TRACECONTEXT &&
	       !head->count[ATR_HTTP_TRACEPARENT] && !head->count[ATR_HTTP_TRACESTATE];
}

bool atr_propagators_wants_baggage(const struct atr_http_head *head)
{
	return atr_propagators.mask & ATR_PROPAGATE_BAGGAGE && !head->count[ATR_HTTP_BAGGAGE];
}
