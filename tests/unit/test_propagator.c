/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/traceparent.o */
/* LINK: hooks/http1.o preload/life.o preload/context.o preload/sys.o */
/* LINK: preload/text.o preload/carrier.o preload/pool.o */
#include "hooks/propagator-format.c"
#include "hooks/propagator.c"

#include "preload/clock.h"
#include "preload/stats.h"
#include "preload/thread.h"
#include "tests/unit/test.h"

/* For context.o; nothing here asks for the time. */
__thread struct atr_tls atr_tls;
struct atr_stats atr_stats;

uint64_t atr_now(void)
{
	return 0;
}

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define SPAN "b7ad6b7169203331"
#define IDS TRACE "-" SPAN
#define TRACEPARENT "traceparent: 00-" IDS "-01\r\n"
#define LINE "GET / HTTP/1.1\r\n"

static char warned[1024];
static unsigned n_warned;

static void warn(const char *line)
{
	n_warned++;
	snprintf(warned, sizeof(warned), "%s", line);
}

static void use(const char *list, const char *trace_id_header)
{
	n_warned = 0;
	warned[0] = '\0';
	atr_propagators_init(list, trace_id_header, warn);
}

/* ---- a head, and what it says as one line of text ---- */

struct message {
	char *text;
	size_t len;
	struct atr_http_head head;
};

static bool message_begin(struct message *m, const char *fields)
{
	m->len = sizeof(LINE) - 1 + strlen(fields);
	m->text = test_edge(NULL, m->len);
	memcpy(m->text, LINE, sizeof(LINE) - 1);
	memcpy(m->text + sizeof(LINE) - 1, fields, strlen(fields));
	return atr_http_parse_request(&m->head, m->text, m->len) == 0;
}

static void message_end(struct message *m)
{
	test_edge_free(m->text, m->len);
}

static char text[64 * 1024];

static const char *describe_context(const struct atr_context *c)
{
	char trace[33] = "", span[17] = "";

	atr_to_hex(trace, c->trace_id, 16);
	atr_to_hex(span, c->span_id, 8);
	snprintf(text, sizeof(text), "%s-%s-%02x%s%s%s", trace, span, c->flags,
		 c->deferred ? " deferred" : "", c->debug ? " debug" : "",
		 c->remote && !c->carrier && !c->open ? "" : " wrong");
	return text;
}

static struct atr_remote *remote; /* at the edge, too */

static const char *describe(const struct atr_http_head *head)
{
	size_t n = 0;

	if (!remote)
		remote = test_edge(NULL, sizeof(*remote));
	memset(remote, 0xa5, sizeof(*remote));
	atr_propagators_extract(head, remote);
	text[0] = '\0';
	if (remote->context.valid) {
		n = strlen(describe_context(&remote->context));
		if (remote->has_trace_id || remote->decision != ATR_UNDECIDED)
			return "both a parent and what is for none";
	} else {
		if (remote->has_trace_id) {
			n += 3 + 32;
			memcpy(text, "id ", 3);
			atr_to_hex(text + 3, remote->context.trace_id, 16);
		}
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s",
				      remote->decision == ATR_SAMPLED	    ? "sampled"
				      : remote->decision == ATR_NOT_SAMPLED ? "unsampled"
									    : "",
				      remote->context.debug ? " debug" : "");
	}
	if (remote->tracestate_len)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " state %.*s",
				      (int)remote->tracestate_len, remote->tracestate);
	if (remote->baggage_len)
		snprintf(text + n, sizeof(text) - n, " baggage %.*s", (int)remote->baggage_len,
			 remote->baggage);
	return text;
}

/* What is read out of these fields, with the propagators in use. */
static const char *in(const char *fields)
{
	struct message m;
	const char *ret = "(malformed)";

	if (message_begin(&m, fields))
		ret = describe(&m.head);
	message_end(&m);
	return ret;
}

/* The same for one value that no parser of heads has looked at. */
static const char *in_raw(enum atr_http_field field, const void *value, size_t n)
{
	char *edge = test_edge(value, n);
	struct atr_http_head head = { .minor = 1 };
	const char *ret;

	head.count[field] = 1;
	head.value[field] = (struct atr_slice){ edge, n };
	ret = describe(&head);
	test_edge_free(edge, n);
	return ret;
}

static bool has_control_byte(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((uint8_t)s[i] < 0x20 || s[i] == 0x7f)
			return true;
	return false;
}

/* ---- settings ---- */

static const char *list(void)
{
	text[0] = '\0';
	for (unsigned i = 0, n = 0; i < atr_propagators.n; i++)
		for (size_t k = 0; k < N_OF(known_propagators); k++)
			if (known_propagators[k].propagator == atr_propagators.list[i])
				n += (unsigned)sprintf(text + n, "%s%s", i ? " " : "",
						       known_propagators[k].name);
	return text;
}

TEST(the_list_is_read_in_order_and_each_name_counts_once)
{
	static const struct {
		const char *value, *list;
		unsigned warnings;
	} cases[] = {
		{ NULL, "tracecontext baggage", 0 },
		{ "", "tracecontext baggage", 0 },
		{ "b3", "b3", 0 },
		{ "jaeger,b3multi,b3,baggage,tracecontext",
		  "jaeger b3multi b3 baggage tracecontext", 0 },
		{ " B3 ,\tTraceContext,b3,, b3 ,", "b3 tracecontext", 0 },
		{ "xray,b3,ottrace", "b3", 2 },
		{ "xray", "", 1 },
		{ "none", "", 0 },
		{ "b3,NONE,tracecontext", "", 0 },
		{ "b", "", 1 },
		{ "b33", "", 1 },
	};

	for (size_t i = 0; i < N_OF(cases); i++) {
		unsigned mask = 0;

		use(cases[i].value, NULL);
		CHECK_STR(list(), cases[i].list);
		CHECK_INT(n_warned, cases[i].warnings);
		for (unsigned k = 0; k < atr_propagators.n; k++)
			mask |= atr_propagators.list[k];
		CHECK_INT(atr_propagators.mask, mask);
	}
	use("xray", NULL);
	CHECK_STR(warned, "OTEL_PROPAGATORS: there is no propagator \"xray\" (but tracecontext, "
			  "baggage, b3, b3multi, jaeger); it is left out");
}

TEST(a_header_that_cannot_hold_an_id_is_reported_and_not_used)
{
	static const char *const good[] = { "X-Trace",	  "x-request-id",
					    "Request-Id", "X-Correlation-ID",
					    "a",	  "a!#$%&'*+-.^_`|~b" };
	static const char *const bad[] = {
		"host",
		"Content-Length",
		"transfer-encoding",
		"traceparent",
		"tracestate",
		"baggage",
		"b3",
		"x-b3-traceid",
		"UBER-trace-id",
		"cookie",
		"TE",
		"trailer",
		"expect",
		"keep-alive",
		"connection",
		"a b",
		"a:",
		"a\r\nb",
		"\x80",
		"authorization",
		"upgrade",
		"x-amzn-trace-id",
		"idempotency-key",
	};
	char name[70];

	for (size_t i = 0; i < N_OF(good); i++) {
		use(NULL, good[i]);
		CHECK_INT(n_warned, 0);
		CHECK_STR(atr_propagators.trace_id_name, good[i]);
		CHECK_INT(atr_propagators.trace_id_len, strlen(good[i]));
	}
	for (size_t i = 0; i < N_OF(bad); i++) {
		use(NULL, bad[i]);
		if (!CHECK_INT(n_warned, 1))
			printf("  %s\n", bad[i]);
		CHECK_STR(atr_propagators.trace_id_name, "");
		CHECK_INT(atr_propagators.trace_id_len, 0);
	}
	memset(name, 'n', sizeof(name));
	name[63] = '\0';
	use(NULL, name);
	CHECK_STR(atr_propagators.trace_id_lower, name);
	name[63] = 'n';
	name[64] = '\0';
	use(NULL, name);
	CHECK_INT(n_warned, 1);
	use("b3", "");
	CHECK_INT(n_warned, 0);
	use("none", " X-Trace\t");
	CHECK_STR(atr_propagators.trace_id_name, "X-Trace");
	CHECK_STR(atr_propagators.trace_id_lower, "x-trace");
}

/* ---- traceparent ---- */

#define FUTURE "cc-" IDS "-01"

TEST(a_traceparent_counts_when_it_is_there_once_and_right)
{
	static const struct {
		const char *fields, *says;
	} cases[] = {
		{ TRACEPARENT, IDS "-01" },
		{ "TraceParent:00-" IDS "-00\r\n", IDS "-00" },
		{ "TRACEPARENT:  00-" IDS "-01 \t\r\n", IDS "-01" },
		{ "traceparent:\t00-" IDS "-02\r\n", IDS "-02" },
		{ "traceparent: 00-" IDS "-ff\r\n", IDS "-03" },
		{ "traceparent: 00-" IDS "-fc\r\n", IDS "-00" },
		{ "trace-parent: 00-" IDS "-01\r\n", "" },
		{ "trace.parent: 00-" IDS "-01\r\n", "" },
		{ TRACEPARENT TRACEPARENT, "" },
		{ TRACEPARENT "tracestate: a=1\r\nTraceparent: 00-" IDS "-01\r\n", "" },
		{ TRACEPARENT "traceparent: \r\n", "" },
		{ "traceparent: 00-" IDS "-01,00-" IDS "-01\r\n", "" },
		{ "traceparent:\r\n", "" },
		{ "traceparent: " FUTURE "\r\n", IDS "-01" },
		{ "traceparent: " FUTURE "-what-the-future-will-be-like\r\n", IDS "-01" },
		{ "traceparent: " FUTURE "-\r\n", IDS "-01" },
		{ "traceparent: " FUTURE ".what-the-future-will-not-be-like\r\n", "" },
		{ "traceparent: " FUTURE "0\r\n", "" },
		{ "traceparent: ff-" IDS "-01\r\n", "" },
		{ "traceparent: fe-" IDS "-01\r\n", IDS "-01" },
		{ "traceparent: 00-" IDS "-01.\r\n", "" },
		{ "traceparent: 00-" IDS "-01-what\r\n", "" },
		{ "traceparent: 00-" IDS "-01-\r\n", "" },
		{ "traceparent: 00-00000000000000000000000000000000-" SPAN "-01\r\n", "" },
		{ "traceparent: 00-" TRACE "-0000000000000000-01\r\n", "" },
		{ "traceparent: 00-" TRACE "-\r\n " SPAN "-01\r\n", "" },
		{ "traceparent: 00-" IDS "\r\n -01\r\n", "" },
		{ "traceparent: 00-" IDS "- 1\r\n", "" },
	};

	use("tracecontext", NULL);
	for (size_t i = 0; i < N_OF(cases); i++)
		if (!CHECK_STR(in(cases[i].fields), cases[i].says))
			printf("  %s", cases[i].fields);
}

TEST(each_byte_of_a_traceparent_has_its_rule)
{
	char s[55];

	use("tracecontext", NULL);
	for (size_t i = 0; i < sizeof(s); i++) {
		for (int c = 0; c < 256; c++) {
			bool dash = i == 2 || i == 35 || i == 52;
			bool right =
				dash ? c == '-' : c && memchr("0123456789abcdef", c, 16) != NULL;

			memcpy(s, "00-" IDS "-01", sizeof(s));
			s[i] = (char)c;
			right = right && (i != 0 || c != 'f' || s[1] != 'f');
			CHECK_INT(in_raw(ATR_HTTP_TRACEPARENT, s, sizeof(s))[0] != '\0', right);
		}
	}
	for (size_t n = 0; n < sizeof(s); n++)
		CHECK_STR(in_raw(ATR_HTTP_TRACEPARENT, "00-" IDS "-01", n), "");
}

/* ---- tracestate ---- */

static const char *state_of(const char *fields)
{
	static char all[64 * 1024];
	const char *said;

	snprintf(all, sizeof(all), TRACEPARENT "%s", fields);
	said = in(all);
	if (strncmp(said, IDS "-01", sizeof(IDS) + 2) != 0)
		return "no parent";
	said += sizeof(IDS) + 2;
	return strncmp(said, " state ", 7) == 0 ? said + 7 : said;
}

TEST(a_tracestate_is_combined_and_wrong_ones_are_dropped_whole)
{
	static const struct {
		const char *fields, *state;
	} cases[] = {
		{ "tracestate: foo=1\r\n", "foo=1" },
		{ "TraceState:foo=1\r\nTRACESTATE: bar=2\r\n", "foo=1,bar=2" },
		{ "tracestate: foo=1,bar=2\r\nx: y\r\ntracestate: rojo=1\r\n"
		  "tracestate: congo=2\r\ntracestate: baz=3\r\n",
		  "foo=1,bar=2,rojo=1,congo=2,baz=3" },
		{ "tracestate: foo=1\r\ntracestate:\r\n", "foo=1" },
		{ "tracestate:\r\ntracestate: foo=1\r\n", "foo=1" },
		{ "tracestate: \r\n", "" },
		{ "tracestate: foo=1 \t , \t bar=2, \t baz=3\r\n", "foo=1,bar=2,baz=3" },
		{ "tracestate: foo=1\t \t,\t \tbar=2,\t \tbaz=3\r\n", "foo=1,bar=2,baz=3" },
		{ "tracestate: foo=1 \r\n", "foo=1" },
		{ "tracestate: \t foo=1 \t \r\n", "foo=1" },
		{ "tracestate: ,foo=1,, ,bar=2,\t\r\n", "foo=1,bar=2" },
		{ "tracestate: foo=1\r\ntracestate: foo=1\r\n", "foo=1,foo=1" },
		{ "tracestate: foo=1,foo=2\r\n", "foo=1,foo=2" },
		{ "tracestate: foo@=1,bar=2\r\n", "foo@=1,bar=2" },
		{ "tracestate: foo@@bar=1,bar=2\r\n", "foo@@bar=1,bar=2" },
		{ "tracestate: foo@bar@baz=1,bar=2\r\n", "foo@bar@baz=1,bar=2" },
		{ "tracestate: t@vvvvvvvvvvvvvvv=1\r\n", "t@vvvvvvvvvvvvvvv=1" },
		{ "tracestate: 0_-*/@z=1\r\n", "0_-*/@z=1" },
		{ "tracestate: @foo=1,bar=2\r\n", "" },
		{ "tracestate: _foo=1\r\n", "" },
		{ "tracestate: FOO=1\r\n", "" },
		{ "tracestate: foo.bar=1\r\n", "" },
		{ "tracestate: foo =1\r\n", "" },
		{ "tracestate: foo\t=1\r\n", "" },
		{ "tracestate: foo\r\n", "" },
		{ "tracestate: =1\r\n", "" },
		{ "tracestate: foo=bar=baz\r\n", "" },
		{ "tracestate: foo=,bar=3\r\n", "" },
		{ "tracestate: foo= ,bar=3\r\n", "" },
		{ "tracestate: bar=3,foo\r\n", "" },
		{ "tracestate: bar=3\r\ntracestate: FOO=1\r\n", "" },
		{ "tracestate: foo= 1\r\n", "foo= 1" },
		{ "tracestate: foo=   a b , bar=  2\r\n", "foo=   a b,bar=  2" },
		{ "tracestate: foo=a\tb\r\n", "" },
		{ "tracestate: foo=\x80\r\n", "" },
		{ "tracestate: foo=1,\r\n bar=2\r\n", "foo=1,bar=2" },
		{ "tracestate: foo=1\r\n\t, bar=2\r\n", "foo=1,bar=2" },
		{ "tracestate: foo=a\r\n b\r\n", "foo=a   b" },
		{ "tracestate:\r\n foo=1\r\n", "foo=1" },
	};

	use("tracecontext", NULL);
	for (size_t i = 0; i < N_OF(cases); i++)
		if (!CHECK_STR(state_of(cases[i].fields), cases[i].state))
			printf("  %s", cases[i].fields);
	CHECK_STR(in("tracestate: foo=1\r\n"), "");
	CHECK_STR(in("traceparent: 00-" IDS "-1\r\ntracestate: foo=1\r\n"), "");
	CHECK_STR(in(TRACEPARENT TRACEPARENT "tracestate: foo=1\r\n"), "");
}

TEST(a_tracestate_has_32_members_and_no_33rd)
{
	char fields[1024], wanted[1024];
	size_t n = (size_t)sprintf(fields, "tracestate: ");

	use("tracecontext", NULL);
	for (int i = 0; i < 32; i++) /* empty ones do not count; nor does where the lines end */
		n += (size_t)sprintf(fields + n, "%sk%d=v",
				     !i	     ? ""
				     : i % 9 ? ",, "
					     : "\r\ntracestate:",
				     i);
	strcpy(fields + n, "\r\n");
	n = 0;
	for (int i = 0; i < 32; i++)
		n += (size_t)sprintf(wanted + n, "%sk%d=v", i ? "," : "", i);
	CHECK_STR(state_of(fields), wanted);
	strcat(fields, "tracestate: , \r\n");
	CHECK_STR(state_of(fields), wanted);
	strcat(fields, "tracestate: last=1\r\n");
	CHECK_STR(state_of(fields), "");
}

TEST(the_longest_tracestate_fits)
{
	static char fields[20000];
	size_t n = (size_t)sprintf(fields, "tracestate: ");

	use("tracecontext", NULL);
	for (int i = 0; i < 32; i++) {
		if (i)
			fields[n++] = ',';
		memset(fields + n, 'k', 256);
		fields[n + 256] = '=';
		memset(fields + n + 257, ' ', 255);
		fields[n + 512] = 'v';
		n += 513;
	}
	strcpy(fields + n, "\r\n");
	CHECK_INT(strlen(state_of(fields)), 32 * 513 + 31);
	CHECK_MEM(state_of(fields), fields + 12, 32 * 513 + 31);
	memmove(fields + 13, fields + 12, strlen(fields + 12) + 1); /* a key of 257 */
	CHECK_STR(state_of(fields), "");
	fields[12] = ' ';
	CHECK_INT(strlen(state_of(fields)), 32 * 513 + 31);
	strcpy(fields + n + 1, "v\r\n"); /* a value of 257 */
	CHECK_STR(state_of(fields), "");
}

TEST(a_tracestate_value_has_printable_bytes_only)
{
	char fields[64];

	use("tracecontext", NULL);
	for (int c = 0; c < 256; c++) {
		char s[] = { 'k', '=', 'a', (char)c, 'b' }, ret[ATR_TRACESTATE_MAX];
		char *edge = test_edge(s, sizeof(s));
		size_t n = atr_tracestate_read((struct atr_slice){ edge, sizeof(s) }, ret);

		test_edge_free(edge, sizeof(s));
		if (c == '\r' || c == '\n')
			CHECK(n == 5 && ret[3] == ' ');
		else if (c < ' ' || c > '~' || c == '=' || c == ',')
			CHECK_INT(n, 0);
		else
			CHECK(n == 5 && memcmp(ret, s, 5) == 0);
		CHECK(!has_control_byte(ret, n));
	}
	for (int c = ' '; c <= '~'; c++) {
		snprintf(fields, sizeof(fields), "tracestate: a%c=1\r\n", c);
		CHECK_INT(*state_of(fields) != '\0',
			  (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("_-*/@", c));
		snprintf(fields, sizeof(fields), "tracestate: %ca=1\r\n", c);
		CHECK_INT(*state_of(fields) != '\0',
			  (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr(" ,", c));
	}
}

/* ---- baggage ---- */

TEST(baggage_is_forwarded_as_it_came_also_without_a_parent)
{
	static const struct {
		const char *fields, *baggage;
	} cases[] = {
		{ "baggage: a=1\r\n", " baggage a=1" },
		{ "Baggage: a=1, b = 2;p;q=%20 ,c=%C3%A4==\r\n",
		  " baggage a=1, b = 2;p;q=%20 ,c=%C3%A4==" },
		{ "baggage: a=1\r\nx: y\r\nBAGGAGE:b=2\r\nbaggage:\r\nbaggage: c=3 \r\n",
		  " baggage a=1,b=2,c=3" },
		{ "baggage: a=1,a=2\r\n", " baggage a=1,a=2" },
		{ "baggage: , ,a=1,,\r\n", " baggage a=1" },
		{ "baggage: , \t a=1\r\n", " baggage a=1" },
		{ "baggage: a=\xc3\xa4\r\n", " baggage a=\xc3\xa4" },
		{ "baggage: a=1\t,b=2\r\n", " baggage a=1 ,b=2" },
		{ "baggage: a=1,\r\n b=2\r\n", " baggage a=1,   b=2" },
		{ "baggage: a=1\n\tb\r\n", " baggage a=1  b" },
		{ "baggage:\r\n", "" },
		{ "baggage: ,\r\n", "" },
	};
	char fields[512];

	use(NULL, NULL);
	for (size_t i = 0; i < N_OF(cases); i++) {
		CHECK_STR(in(cases[i].fields), cases[i].baggage);
		snprintf(fields, sizeof(fields), "%s" TRACEPARENT, cases[i].fields);
		CHECK_STR(in(fields) + sizeof(IDS) + 2, cases[i].baggage);
	}
	use("tracecontext", NULL);
	CHECK_STR(in("baggage: a=1\r\n"), "");
	use("baggage", NULL);
	CHECK_STR(in(TRACEPARENT "tracestate: a=1\r\nbaggage: a=1\r\n"), " baggage a=1");
}

TEST(baggage_has_64_members_and_8192_bytes_and_more_is_dropped_from_the_end)
{
	static char fields[20000], wanted[9000];
	size_t n = (size_t)sprintf(fields, "baggage: ");
	size_t w = (size_t)sprintf(wanted, " baggage ");

	use(NULL, NULL);
	for (int i = 0; i < 70; i++) {
		n += (size_t)sprintf(fields + n, "%sk%d=v", i ? "," : "", i);
		if (i < 64)
			w += (size_t)sprintf(wanted + w, "%sk%d=v", i ? "," : "", i);
	}
	strcpy(fields + n, "\r\n");
	CHECK_STR(in(fields), wanted);

	for (int longer = 0; longer < 2; longer++) {
		n = (size_t)sprintf(fields, "baggage: a=1,b=");
		memset(fields + n, 'v', 8192 - 6 + (size_t)longer);
		strcpy(fields + n + 8192 - 6 + longer, "\r\nbaggage: c=3\r\n");
		CHECK_INT(strlen(in(fields)) - 9, longer ? 3 : 8192);
		CHECK(strncmp(text, " baggage a=1", 12) == 0);
	}
	n = (size_t)sprintf(fields, "baggage: ");
	memset(fields + n, 'v', 8193);
	strcpy(fields + n + 8193, ",a=1\r\n");
	CHECK_STR(in(fields), "");
}

/* ---- B3 ---- */

#define SHORT "8448eb211c80319c"
#define PADDED "00000000000000008448eb211c80319c"

static const struct b3_case {
	const char *fields, *says;
} b3_cases[] = {
	{ "b3: " IDS "\r\n", IDS "-00 deferred" },
	{ "B3: " IDS "-0\r\n", IDS "-00" },
	{ "b3: " IDS "-1\r\n", IDS "-01" },
	{ "b3: " IDS "-d\r\n", IDS "-01 debug" },
	{ "b3: " IDS "-1-0000000000000001\r\n", IDS "-01" },
	{ "b3: " IDS "-d-0000000000000000\r\n", IDS "-01 debug" },
	{ "b3: " SHORT "-" SPAN "-1\r\n", PADDED "-" SPAN "-01" },
	{ "b3: " SHORT "-" SPAN "\r\n", PADDED "-" SPAN "-00 deferred" },
	{ "b3: 0\r\n", "unsampled" },
	{ "b3: 1\r\n", "sampled" },
	{ "b3: d\r\n", "sampled debug" },
	{ "b3: 2\r\n", "" },
	{ "b3:\r\n", "" },
	{ "b3: " IDS "-\r\n", "" },
	{ "b3: " IDS "-2\r\n", "" },
	{ "b3: " IDS "-11\r\n", "" },
	{ "b3: " IDS "-1-\r\n", "" },
	{ "b3: " IDS "-1-000000000000001\r\n", "" },
	{ "b3: " IDS "-1-00000000000000001\r\n", "" },
	{ "b3: " IDS "-1-000000000000000g\r\n", "" },
	{ "b3: " TRACE "\r\n", "" },
	{ "b3: " TRACE "-b7ad6b716920333\r\n", "" },
	{ "b3: 0" SHORT "-" SPAN "-1\r\n", "" },
	{ "b3: 0AF7651916CD43DD8448EB211C80319C-" SPAN "-1\r\n", "" },
	{ "b3: " TRACE "-B7AD6B7169203331-1\r\n", "" },
	{ "b3: 00000000000000000000000000000000-" SPAN "-1\r\n", "" },
	{ "b3: " TRACE "-0000000000000000-1\r\n", "" },
	{ "b3: " IDS "-1\r\nb3: " IDS "-1\r\n", "" },
	{ "b3: " TRACE "-\r\n " SPAN "-1\r\n", "" },

	{ "X-B3-TraceId: " TRACE "\r\nX-B3-SpanId: " SPAN "\r\n", IDS "-00 deferred" },
	{ "x-b3-spanid: " SPAN "\r\nx-b3-traceid: " SHORT "\r\nx-b3-sampled: 1\r\n",
	  PADDED "-" SPAN "-01" },
	{ "X-B3-TraceId: " TRACE "\r\nX-B3-SpanId: " SPAN "\r\nX-B3-Sampled: true\r\n", IDS "-01" },
	{ "X-B3-TraceId: " TRACE "\r\nX-B3-SpanId: " SPAN "\r\nX-B3-Sampled: 0\r\n", IDS "-00" },
	{ "X-B3-TraceId: " TRACE "\r\nX-B3-SpanId: " SPAN "\r\nX-B3-Sampled: false\r\n",
	  IDS "-00" },
	{ "X-B3-TraceId: " TRACE "\r\nX-B3-SpanId: " SPAN "\r\nX-B3-Sampled: maybe\r\n",
	  IDS "-00 deferred" },
	{ "X-B3-TraceId: " TRACE "\r\nX-B3-SpanId: " SPAN "\r\nX-B3-Flags: 1\r\n",
	  IDS "-01 debug" },
	{ "X-B3-TraceId: " TRACE "\r\nX-B3-SpanId: " SPAN
	  "\r\nX-B3-Flags: 1\r\nX-B3-Sampled: 0\r\n",
	  IDS "-01 debug" },
	{ "X-B3-TraceId: " TRACE "\r\nX-B3-SpanId: " SPAN "\r\nX-B3-Flags: 0\r\n"
	  "X-B3-ParentSpanId: 0000000000000001\r\nX-B3-Sampled: 1\r\n",
	  IDS "-01" },
	{ "X-B3-Sampled: 1\r\n", "sampled" },
	{ "X-B3-Sampled: 0\r\n", "unsampled" },
	{ "X-B3-Flags: 1\r\n", "sampled debug" },
	{ "X-B3-Sampled: x\r\n", "" },
	{ "X-B3-TraceId: " TRACE "\r\nX-B3-Sampled: 1\r\n", "" },
	{ "X-B3-SpanId: " SPAN "\r\nX-B3-Sampled: 1\r\n", "" },
	{ "X-B3-TraceId: 0" SHORT "\r\nX-B3-SpanId: " SPAN "\r\n", "" },
	{ "X-B3-TraceId: " TRACE "\r\nX-B3-SpanId: " SPAN "0\r\n", "" },
	{ "X-B3-TraceId: " TRACE "\r\nX-B3-SpanId: " SPAN "\r\nX-B3-SpanId: " SPAN "\r\n", "" },

	/* the single one first, and when it is wrong the others */
	{ "X-B3-TraceId: " SHORT "\r\nX-B3-SpanId: " SPAN "\r\nb3: " IDS "-1\r\n", IDS "-01" },
	{ "X-B3-TraceId: " TRACE "\r\nX-B3-SpanId: " SPAN "\r\nb3: " IDS "-x\r\n",
	  IDS "-00 deferred" },
	{ "b3: 0\r\nX-B3-TraceId: " TRACE "\r\nX-B3-SpanId: " SPAN "\r\n", "unsampled" },
};

TEST(b3_is_read_from_one_field_or_from_several)
{
	for (size_t i = 0; i < N_OF(b3_cases); i++) {
		use("b3", NULL);
		if (!CHECK_STR(in(b3_cases[i].fields), b3_cases[i].says))
			printf("  %s", b3_cases[i].fields);
		use("b3multi", NULL);
		CHECK_STR(in(b3_cases[i].fields), b3_cases[i].says);
		use("tracecontext,baggage,jaeger", NULL);
		CHECK_STR(in(b3_cases[i].fields), "");
	}
}

TEST(no_truncation_of_b3_is_read_for_more_than_it_says)
{
	static const char whole[] = IDS "-1-00f067aa0ba902b7";

	use("b3", NULL);
	for (size_t n = 0; n < sizeof(whole); n++) {
		const char *wanted = n == 49   ? IDS "-00 deferred"
				     : n == 51 ? IDS "-01"
				     : n == 68 ? IDS "-01"
					       : "";

		if (n != 1) /* "0" is a decision */
			CHECK_STR(in_raw(ATR_HTTP_B3, whole, n), wanted);
	}
}

/* ---- Jaeger ---- */

TEST(uber_trace_id_is_read_short_or_encoded)
{
	static const struct {
		const char *value, *says;
	} cases[] = {
		{ TRACE ":" SPAN ":0:1", IDS "-01" },
		{ TRACE ":" SPAN ":0:0", IDS "-00" },
		{ TRACE ":" SPAN ":00f067aa0ba902b7:01", IDS "-01" },
		{ TRACE ":" SPAN ":0:3", IDS "-01 debug" },
		{ TRACE ":" SPAN ":0:2", IDS "-01 debug" },
		{ TRACE ":" SPAN "::1", IDS "-01" },
		{ TRACE ":" SPAN ":0:fd", IDS "-01" },
		{ TRACE ":" SPAN ":0:4", IDS "-00" },
		{ TRACE "%3A" SPAN "%3a0%3A1", IDS "-01" },
		{ TRACE "%3A" SPAN ":0:1", IDS "-01" },
		{ "abc:d:0:1", "00000000000000000000000000000abc-000000000000000d-01" },
		{ "1234:00:0:1", "" },
		{ "0:d:0:1", "" },
		{ "0AF7651916CD43DD8448EB211C80319C:B7AD6B7169203331:0:1", IDS "-01" },
		{ "0" TRACE ":" SPAN ":0:1", "" },
		{ TRACE ":0" SPAN ":0:1", "" },
		{ TRACE ":" SPAN ":0:", "" },
		{ TRACE ":" SPAN ":0:001", "" },
		{ TRACE ":" SPAN ":0:g", "" },
		{ TRACE ":" SPAN ":0:g1", "" },
		{ TRACE ":" SPAN ":0", "" },
		{ TRACE ":" SPAN ":0:1:", "" },
		{ TRACE ":" SPAN ":0:1:1", "" },
		{ TRACE ":" SPAN, "" },
		{ ":::", "" },
		{ "%3", "" },
		{ ":" SPAN ":0:1", "" },
		{ TRACE "::0:1", "" },
		{ "g:1:0:1", "" },
	};
	char fields[256];

	use("jaeger", NULL);
	for (size_t i = 0; i < N_OF(cases); i++) {
		if (!CHECK_STR(
			    in_raw(ATR_HTTP_UBER_TRACE_ID, cases[i].value, strlen(cases[i].value)),
			    cases[i].says))
			printf("  %s\n", cases[i].value);
		snprintf(fields, sizeof(fields), "Uber-Trace-Id: %s\r\n", cases[i].value);
		CHECK_STR(in(fields), cases[i].says);
		snprintf(fields, sizeof(fields), "uber-trace-id: %s\r\nuber-trace-id: %s\r\n",
			 cases[i].value, cases[i].value);
		CHECK_STR(in(fields), "");
	}
	use("tracecontext,b3,b3multi", NULL);
	CHECK_STR(in("uber-trace-id: " TRACE ":" SPAN ":0:1\r\n"), "");
}

/* ---- a plain trace id ---- */

TEST(a_plain_header_gives_a_trace_id_when_there_is_no_parent)
{
	static const struct {
		const char *value, *says;
	} cases[] = {
		{ TRACE, "id " TRACE },
		{ "0AF7651916CD43DD8448EB211C80319C", "id " TRACE },
		{ "0aF76519-16CD-43dd-8448-EB211C80319C", "id " TRACE },
		{ SHORT, "id " PADDED },
		{ "8448EB211C80319C", "id " PADDED },
		{ "00000000000000000000000000000000", "" },
		{ "00000000-0000-0000-0000-000000000000", "" },
		{ "0000000000000000", "" },
		{ "0af76519-16cd-43dd-8448-eb211c80319", "" },
		{ "0af76519-16cd-43dd-8448-eb211c80319cc", "" },
		{ "0af7651-916cd-43dd-8448-eb211c80319c", "" },
		{ "0af76519016cd-43dd-8448-eb211c80319c", "" },
		{ "{0af76519-16cd-43dd-8448-eb211c80319c}", "" },
		{ "0af76519-16cd-43dd-8448-eb211c80319g", "" },
		{ TRACE "0", "" },
		{ "8448eb211c80319", "" },
		{ "8448eb211c80319cc", "" },
		{ "g448eb211c80319c", "" },
		{ "", "" },
	};
	static const char *const names[] = { "X-Trace", "X-Request-Id" };
	char fields[256];

	for (size_t k = 0; k < N_OF(names); k++) {
		use(NULL, names[k]);
		for (size_t i = 0; i < N_OF(cases); i++) {
			snprintf(fields, sizeof(fields), "a: b\r\n%s: %s\r\nc: d\r\n", names[k],
				 cases[i].value);
			CHECK_STR(in(fields), cases[i].says);
			snprintf(fields, sizeof(fields), "%s: %s\r\n%s: %s\r\n", names[k],
				 cases[i].value, names[k], cases[i].value);
			CHECK_STR(in(fields), "");
			snprintf(fields, sizeof(fields), "%s: %s\r\n" TRACEPARENT, names[k],
				 cases[i].value);
			CHECK_STR(in(fields), IDS "-01");
		}
	}
	use("none", "x-trace");
	CHECK_STR(in("X-TRACE: " TRACE "\r\n" TRACEPARENT), "id " TRACE);
	CHECK_STR(in("X-Trac: " TRACE "\r\nX-Traces: " TRACE "\r\n"), "");
	use("b3", "x-trace");
	CHECK_STR(in("b3: 0\r\nx-trace: " TRACE "\r\n"), "id " TRACE "unsampled");
	use(NULL, NULL);
	CHECK_STR(in("x-trace: " TRACE "\r\nx-request-id: " TRACE "\r\n"), "");
}

/* ---- several formats ---- */

#define OTHER_TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define OTHER_SPAN "00f067aa0ba902b7"
#define OTHER OTHER_TRACE "-" OTHER_SPAN

TEST(a_later_format_of_the_list_wins)
{
	static const char both[] = TRACEPARENT "tracestate: a=1\r\nb3: " OTHER "-0\r\n";
	static const char same[] =
		"traceparent: 00-" IDS "-03\r\ntracestate: a=1\r\nb3: " IDS "-0\r\n";

	use("tracecontext,b3", NULL);
	CHECK_STR(in(both), OTHER "-00");
	use("b3,tracecontext", NULL);
	CHECK_STR(in(both), IDS "-01 state a=1");
	use("b3,tracecontext,jaeger", NULL);
	CHECK_STR(in(both), IDS "-01 state a=1");
	use("jaeger,baggage,b3multi", NULL);
	CHECK_STR(in("uber-trace-id: 1:2:0:1\r\nbaggage: k=v\r\nb3: " OTHER "-d\r\n"),
		  OTHER "-01 debug baggage k=v");
	use("tracecontext,b3,jaeger", NULL);
	CHECK_STR(in(TRACEPARENT "b3: x\r\nuber-trace-id: 1\r\n"), IDS "-01");

	/* The same span in two formats: what only one of them says stays. */
	use("tracecontext,b3", NULL);
	CHECK_STR(in(same), IDS "-02 state a=1");
	use("b3,tracecontext", NULL);
	CHECK_STR(in(same), IDS "-03 state a=1");
	CHECK_STR(in(TRACEPARENT "b3: " IDS "-d\r\n"), IDS "-01 debug");
	CHECK_STR(in("traceparent: 00-" IDS "-00\r\nb3: " IDS "-d\r\n"), IDS "-01 debug");
	use("tracecontext,b3", NULL);
	CHECK_STR(in(TRACEPARENT "b3: " IDS "\r\n"), IDS "-01");

	/* A sampling state alone is for who has no parent. */
	CHECK_STR(in(TRACEPARENT "b3: 0\r\n"), IDS "-01");
	CHECK_STR(in(TRACEPARENT "b3: d\r\n"), IDS "-01");
	use("b3,tracecontext", NULL);
	CHECK_STR(in(TRACEPARENT "b3: 0\r\n"), IDS "-01");
	CHECK_STR(in(TRACEPARENT "b3: d\r\n"), IDS "-01");
}

TEST(a_head_without_trace_fields_says_nothing)
{
	use("tracecontext,baggage,b3,b3multi,jaeger", "x-trace");
	CHECK_STR(in("Host: a\r\nUser-Agent: b\r\nAccept: */*\r\n"), "");
	CHECK_STR(in(""), "");
	use("none", NULL);
	CHECK_STR(in(TRACEPARENT "baggage: a=1\r\nb3: 0\r\nuber-trace-id: 1:1:0:1\r\n"), "");
}

/* ---- nobody writes a line of their own into our requests ---- */

TEST(no_byte_of_any_value_comes_out_as_a_control_character)
{
	static const enum atr_http_field fields[] = { ATR_HTTP_TRACESTATE, ATR_HTTP_BAGGAGE };
	static const char traceparent[] = "00-" IDS "-01";

	use(NULL, NULL);
	for (size_t f = 0; f < N_OF(fields); f++) {
		for (int c = 0; c < 256; c++) {
			for (size_t at = 0; at < 11; at++) {
				char s[] = "k=v,l=w,m=x";
				char *edge = test_edge(s, sizeof(s) - 1);
				struct atr_http_head head = { .minor = 1 };

				edge[at] = (char)c;
				head.count[ATR_HTTP_TRACEPARENT] = head.count[fields[f]] = 1;
				head.value[ATR_HTTP_TRACEPARENT] = ATR_SLICE(traceparent);
				head.value[fields[f]] = (struct atr_slice){ edge, sizeof(s) - 1 };
				(void)describe(&head);
				CHECK(!has_control_byte(remote->tracestate,
							remote->tracestate_len));
				CHECK(!has_control_byte(remote->baggage, remote->baggage_len));
				test_edge_free(edge, sizeof(s) - 1);
			}
		}
	}
	/* The member that has one goes, and no other. */
	CHECK_STR(in_raw(ATR_HTTP_BAGGAGE, "a=1,b=\0,c=3", 11), " baggage a=1,c=3");
	CHECK_STR(in_raw(ATR_HTTP_BAGGAGE, "a=1\x7f,b=2", 8), " baggage b=2");
	CHECK_STR(in_raw(ATR_HTTP_BAGGAGE, "a=1\r\nHost: evil", 15), " baggage a=1  Host: evil");
}

TEST(a_value_of_the_environment_is_held_to_the_same_rules)
{
	static char ret[ATR_TRACESTATE_MAX];

#define READ(read, s) (ret[read(ATR_SLICE(s), ret)] = '\0', ret)
	CHECK_STR(READ(atr_tracestate_read, " a=1 ,,b=2 "), "a=1,b=2");
	CHECK_STR(READ(atr_tracestate_read, "a=1,B=2"), "");
	CHECK_STR(READ(atr_tracestate_read, "a=1\r\nx: y"), "a=1  x: y");
	CHECK_STR(READ(atr_tracestate_read, ""), "");
	CHECK_STR(READ(atr_baggage_read, " a=1 , b=2 "), "a=1 , b=2");
	CHECK_STR(READ(atr_baggage_read, "a=\x01,b=2\n"), "b=2");
	CHECK_INT(atr_baggage_read((struct atr_slice){ NULL, 0 }, ret), 0);
	CHECK_INT(atr_tracestate_read((struct atr_slice){ NULL, 0 }, ret), 0);
#undef READ
}

/* ---- out ---- */

static struct atr_context context_of(const char *trace, const char *span, uint8_t flags)
{
	struct atr_context c = { .valid = true, .flags = flags };

	if (atr_from_hex(c.trace_id, trace, 16) != 0 || atr_from_hex(c.span_id, span, 8) != 0)
		abort();
	return c;
}

static const char *out(const struct atr_context *c, const char *fields)
{
	static char ret[ATR_INJECT_MAX + 1];
	char *edge = test_edge(NULL, ATR_INJECT_MAX);
	struct message m;
	size_t n = 0;

	if (CHECK(message_begin(&m, fields)))
		n = atr_propagators_inject(c, &m.head, edge);
	message_end(&m);
	memcpy(ret, edge, n);
	ret[n] = '\0';
	test_edge_free(edge, ATR_INJECT_MAX);
	return ret;
}

TEST(each_format_writes_its_lines)
{
	struct atr_context c = context_of(TRACE, SPAN, ATR_FLAG_SAMPLED);

	use("b3,tracecontext,baggage,jaeger,b3multi", "X-Trace");
	CHECK_STR(out(&c, ""), "b3: " IDS "-1\r\n" TRACEPARENT "uber-trace-id: " TRACE ":" SPAN
			       ":0:1\r\nX-B3-TraceId: " TRACE "\r\nX-B3-SpanId: " SPAN
			       "\r\nX-B3-Sampled: 1\r\nX-Trace: " TRACE "\r\n");
	c.flags = 0;
	CHECK_STR(out(&c, ""),
		  "b3: " IDS "-0\r\ntraceparent: 00-" IDS "-00\r\nuber-trace-id: " TRACE ":" SPAN
		  ":0:0\r\nX-B3-TraceId: " TRACE "\r\nX-B3-SpanId: " SPAN
		  "\r\nX-B3-Sampled: 0\r\nX-Trace: " TRACE "\r\n");
	c.flags = 0xff;
	c.debug = true;
	CHECK_STR(out(&c, ""),
		  "b3: " IDS "-d\r\ntraceparent: 00-" IDS "-03\r\nuber-trace-id: " TRACE ":" SPAN
		  ":0:3\r\nX-B3-TraceId: " TRACE "\r\nX-B3-SpanId: " SPAN
		  "\r\nX-B3-Flags: 1\r\nX-Trace: " TRACE "\r\n");
	c.flags = ATR_FLAG_RANDOM;
	c.debug = false;
	c.deferred = true;
	CHECK_STR(out(&c, ""), "b3: " IDS "\r\ntraceparent: 00-" IDS "-02\r\nuber-trace-id: " TRACE
			       ":" SPAN ":0:0\r\nX-B3-TraceId: " TRACE "\r\nX-B3-SpanId: " SPAN
			       "\r\nX-Trace: " TRACE "\r\n");
	use("none", "x-request-id");
	CHECK_STR(out(&c, ""), "x-request-id: " TRACE "\r\n");
	use("baggage", NULL);
	CHECK_STR(out(&c, ""), "");
	c.valid = false;
	use("tracecontext", "x-trace");
	CHECK_STR(out(&c, ""), "");
}

TEST(what_the_program_sends_itself_is_not_added)
{
	struct atr_context c = context_of(TRACE, SPAN, ATR_FLAG_SAMPLED);
	char name[64];

	use("tracecontext", NULL);
	CHECK_STR(out(&c, "TraceParent: x\r\n"), "");
	CHECK_STR(out(&c, "tracestate: a=1\r\n"), TRACEPARENT);
	use("b3", NULL);
	CHECK_STR(out(&c, "B3: 0\r\n"), "");
	CHECK_STR(out(&c, "x-b3-traceid: 0\r\n"), "b3: " IDS "-1\r\n");
	use("b3multi", NULL);
	CHECK_STR(out(&c, "X-B3-TraceId: 1\r\n"), "");
	CHECK_STR(out(&c, "X-B3-SpanId: 1\r\n"), "");
	CHECK_STR(out(&c, "X-B3-Sampled: 1\r\n"), "");
	CHECK_STR(out(&c, "X-B3-Flags: 1\r\n"), "");
	CHECK_STR(out(&c, "X-B3-ParentSpanId: 1\r\n"), "");
	CHECK(*out(&c, "b3: 1\r\n") != '\0');
	use("jaeger", NULL);
	CHECK_STR(out(&c, "uber-trace-id: 1\r\n"), "");
	use("none", "X-Trace");
	CHECK_STR(out(&c, "x-tracE:\r\n"), "");
	CHECK_STR(out(&c, "a: b\r\nX-Trace: 1\r\nX-Trace: 1\r\n"), "");
	CHECK_STR(out(&c, "x-trac: 1\r\n"), "X-Trace: " TRACE "\r\n");
	use("none", "X-Request-Id");
	CHECK_STR(out(&c, "x-request-id: 1\r\n"), "");
	/* All of it, with the longest name. */
	memset(name, 'N', 63);
	name[63] = '\0';
	use("tracecontext,b3,b3multi,jaeger", name);
	CHECK_INT(strlen(out(&c, "")), 70 + 57 + 48 + 31 + 17 + 70 + 63 + 2 + 32 + 2);
}

TEST(what_is_written_is_read_back_the_same)
{
	static const char *const lists[] = { "tracecontext", "b3", "b3multi", "jaeger" };

	for (size_t i = 0; i < N_OF(lists); i++) {
		for (unsigned bits = 0; bits < 8; bits++) {
			struct atr_context c = context_of(TRACE, SPAN, bits & 1);
			bool b3 = strncmp(lists[i], "b3", 2) == 0;
			char wanted[200];

			use(lists[i], NULL);
			c.debug = bits & 2;
			c.deferred = bits & 4;
			snprintf(wanted, sizeof(wanted), "%s-%02x%s%s", IDS,
				 i && c.debug ? 1U : bits & 1,
				 b3 && c.deferred && !(bits & 3) ? " deferred" : "",
				 i && c.debug ? " debug" : "");
			CHECK_STR(in(out(&c, "")), wanted);
		}
	}
}

TEST(tracestate_and_baggage_are_wanted_where_there_is_none)
{
	static const struct {
		const char *fields;
		bool state, baggage;
	} cases[] = {
		{ "", true, true },
		{ "tracestate:\r\n", false, true },
		{ "traceparent: x\r\n", false, true },
		{ "Baggage: a=1\r\n", true, false },
	};

	for (size_t i = 0; i < N_OF(cases); i++) {
		struct message m;

		CHECK(message_begin(&m, cases[i].fields));
		use(NULL, NULL);
		CHECK_INT(atr_propagators_wants_tracestate(&m.head), cases[i].state);
		CHECK_INT(atr_propagators_wants_baggage(&m.head), cases[i].baggage);
		use("tracecontext", NULL);
		CHECK(!atr_propagators_wants_baggage(&m.head));
		use("baggage,b3", NULL);
		CHECK(!atr_propagators_wants_tracestate(&m.head));
		message_end(&m);
	}
}

/* ---- what a program passes on ---- */

static const char *carried(const char *fields)
{
	struct atr_context c;
	struct message m;
	const char *ret = "";

	if (CHECK(message_begin(&m, fields)) && atr_propagators_carried(&m.head, &c))
		ret = describe_context(&c);
	message_end(&m);
	return ret;
}

TEST(a_head_carries_the_context_of_a_listed_format)
{
	use("b3,jaeger,tracecontext", NULL);
	CHECK_STR(carried("a: b\r\n"), "");
	CHECK_STR(carried("b3: " OTHER "-1\r\n" TRACEPARENT), IDS "-01");
	CHECK_STR(carried("b3: " OTHER "-1\r\nuber-trace-id: 1:2:0:1\r\n"), OTHER "-01");
	CHECK_STR(carried("b3: 1\r\n"), "");
	CHECK_STR(carried("b3: 1\r\nuber-trace-id: " TRACE ":" SPAN ":0:0\r\n"), IDS "-00");
	CHECK_STR(carried("traceparent: 1\r\nb3: " OTHER "\r\n"), OTHER "-00 deferred");
	CHECK_STR(carried(TRACEPARENT TRACEPARENT), "");
	use("tracecontext,baggage", NULL);
	CHECK_STR(carried("b3: " OTHER "-1\r\nbaggage: a=1\r\n"), "");
	use("none", "x-trace");
	CHECK_STR(carried(TRACEPARENT "x-trace: " TRACE "\r\n"), "");
}

static const char *replaced(const char *fields, const struct atr_context *from,
			    const struct atr_context *to)
{
	static char ret[4096];
	struct message m;

	if (CHECK(message_begin(&m, fields)))
		atr_propagators_replace(m.text, &m.head, from, to);
	memcpy(ret, m.text, m.len);
	ret[m.len] = '\0';
	message_end(&m);
	return strncmp(ret, LINE, sizeof(LINE) - 1) == 0 ? ret + sizeof(LINE) - 1 : "(overwritten)";
}

TEST(a_passed_on_span_id_is_replaced_in_place)
{
#define NEW OTHER_SPAN
	static const struct {
		const char *before, *unsampled, *sampled; /* NULL: as before */
	} cases[] = {
		{ "a: b\r\ntraceparent:  00-" IDS "-01 \r\nc: d\r\n",
		  "a: b\r\ntraceparent:  00-" TRACE "-" NEW "-00 \r\nc: d\r\n",
		  "a: b\r\ntraceparent:  00-" TRACE "-" NEW "-01 \r\nc: d\r\n" },
		{ "traceparent:00-" IDS "-03\r\n", "traceparent:00-" TRACE "-" NEW "-02\r\n",
		  "traceparent:00-" TRACE "-" NEW "-03\r\n" },
		{ "traceparent:00-" IDS "-fc\r\n", "traceparent:00-" TRACE "-" NEW "-00\r\n",
		  "traceparent:00-" TRACE "-" NEW "-01\r\n" },
		{ "traceparent: cc-" IDS "-fe-more-" SPAN "\r\n",
		  "traceparent: cc-" TRACE "-" NEW "-fe-more-" SPAN "\r\n",
		  "traceparent: cc-" TRACE "-" NEW "-ff-more-" SPAN "\r\n" },
		{ "traceparent: 00-" OTHER_TRACE "-" SPAN "-01\r\n", NULL, NULL },
		{ "traceparent: 00-" TRACE "-00f067aa0ba902b8-01\r\n", NULL, NULL },
		{ "traceparent: 00-" IDS "-01-\r\n", NULL, NULL },
		{ TRACEPARENT TRACEPARENT, NULL, NULL },
		{ "x-b: 00-" IDS "-01\r\ntracestate: a=" SPAN "\r\nbaggage: s=" SPAN "\r\n", NULL,
		  NULL },

		{ "b3: " IDS "\r\n", "b3: " TRACE "-" NEW "\r\n", "b3: " TRACE "-" NEW "\r\n" },
		{ "b3: " IDS "-1\r\n", "b3: " TRACE "-" NEW "-0\r\n",
		  "b3: " TRACE "-" NEW "-1\r\n" },
		{ "b3: " IDS "-0-" SPAN "\r\n", "b3: " TRACE "-" NEW "-0-" SPAN "\r\n",
		  "b3: " TRACE "-" NEW "-1-" SPAN "\r\n" },
		{ "b3: " IDS "-d\r\n", "b3: " TRACE "-" NEW "-d\r\n",
		  "b3: " TRACE "-" NEW "-d\r\n" },
		{ "b3: " OTHER_TRACE "-" SPAN "-1\r\n", NULL, NULL },
		{ "b3: " SHORT "-" SPAN "-1\r\n", NULL, NULL },
		{ "b3: 1\r\n", NULL, NULL },
		{ "b3: " IDS "-x\r\n", NULL, NULL },

		{ "X-B3-TraceId: " TRACE "\r\nX-B3-SpanId: " SPAN "\r\n",
		  "X-B3-TraceId: " TRACE "\r\nX-B3-SpanId: " NEW "\r\n",
		  "X-B3-TraceId: " TRACE "\r\nX-B3-SpanId: " NEW "\r\n" },
		{ "x-b3-sampled: 0\r\nx-b3-spanid: " SPAN "\r\nx-b3-traceid: " TRACE "\r\n",
		  "x-b3-sampled: 0\r\nx-b3-spanid: " NEW "\r\nx-b3-traceid: " TRACE "\r\n",
		  "x-b3-sampled: 1\r\nx-b3-spanid: " NEW "\r\nx-b3-traceid: " TRACE "\r\n" },
		{ "x-b3-sampled: true\r\nx-b3-spanid: " SPAN "\r\nx-b3-traceid: " TRACE "\r\n",
		  "x-b3-sampled: true\r\nx-b3-spanid: " NEW "\r\nx-b3-traceid: " TRACE "\r\n",
		  "x-b3-sampled: true\r\nx-b3-spanid: " NEW "\r\nx-b3-traceid: " TRACE "\r\n" },
		{ "x-b3-sampled: x\r\nx-b3-spanid: " SPAN "\r\nx-b3-traceid: " TRACE "\r\n",
		  "x-b3-sampled: x\r\nx-b3-spanid: " NEW "\r\nx-b3-traceid: " TRACE "\r\n",
		  "x-b3-sampled: x\r\nx-b3-spanid: " NEW "\r\nx-b3-traceid: " TRACE "\r\n" },
		{ "x-b3-flags: 1\r\nx-b3-sampled: 1\r\nx-b3-spanid: " SPAN
		  "\r\nx-b3-traceid: " TRACE "\r\nx-b3-parentspanid: " SPAN "\r\n",
		  "x-b3-flags: 1\r\nx-b3-sampled: 1\r\nx-b3-spanid: " NEW "\r\nx-b3-traceid: " TRACE
		  "\r\nx-b3-parentspanid: " SPAN "\r\n",
		  "x-b3-flags: 1\r\nx-b3-sampled: 1\r\nx-b3-spanid: " NEW "\r\nx-b3-traceid: " TRACE
		  "\r\nx-b3-parentspanid: " SPAN "\r\n" },
		{ "x-b3-spanid: " SPAN "\r\n", NULL, NULL },
		{ "x-b3-spanid: " SPAN "\r\nx-b3-traceid: " OTHER_TRACE "\r\n", NULL, NULL },
		{ "x-b3-sampled: 1\r\n", NULL, NULL },

		{ "uber-trace-id: " TRACE ":" SPAN ":" SPAN ":1\r\n",
		  "uber-trace-id: " TRACE ":" NEW ":" SPAN ":0\r\n",
		  "uber-trace-id: " TRACE ":" NEW ":" SPAN ":1\r\n" },
		{ "uber-trace-id: af7651916cd43dd8448eb211c80319c%3AB7AD6B7169203331%3a0%3A0D\r\n",
		  "uber-trace-id: af7651916cd43dd8448eb211c80319c%3A" NEW "%3a0%3A0c\r\n",
		  "uber-trace-id: af7651916cd43dd8448eb211c80319c%3A" NEW "%3a0%3A0D\r\n" },
		{ "uber-trace-id: " TRACE ":" SPAN ":0:3\r\n",
		  "uber-trace-id: " TRACE ":" NEW ":0:3\r\n",
		  "uber-trace-id: " TRACE ":" NEW ":0:3\r\n" },
		{ "uber-trace-id: " TRACE ":" OTHER_SPAN ":0:1\r\n", NULL, NULL },
		{ "uber-trace-id: 1:" SPAN ":0:1\r\n", NULL, NULL },

		{ TRACEPARENT "b3: " IDS "-0\r\nuber-trace-id: " OTHER_TRACE ":" SPAN ":0:1\r\n",
		  "traceparent: 00-" TRACE "-" NEW "-00\r\nb3: " TRACE "-" NEW
		  "-0\r\nuber-trace-id: " OTHER_TRACE ":" SPAN ":0:1\r\n",
		  "traceparent: 00-" TRACE "-" NEW "-01\r\nb3: " TRACE "-" NEW
		  "-1\r\nuber-trace-id: " OTHER_TRACE ":" SPAN ":0:1\r\n" },
	};
	struct atr_context from = context_of(TRACE, SPAN, ATR_FLAG_SAMPLED);
	struct atr_context to = context_of(TRACE, NEW, ATR_FLAG_RANDOM);

	for (size_t i = 0; i < N_OF(cases); i++) {
		const char *before = cases[i].before;

		use(i % 2 ? "tracecontext,b3,jaeger" : "jaeger,b3multi,tracecontext,b3", NULL);
		to.flags = ATR_FLAG_RANDOM;
		CHECK_STR(replaced(before, &from, &to),
			  cases[i].unsampled ? cases[i].unsampled : before);
		to.flags |= ATR_FLAG_SAMPLED;
		CHECK_STR(replaced(before, &from, &to),
			  cases[i].sampled ? cases[i].sampled : before);
		use("none", NULL);
		CHECK_STR(replaced(before, &from, &to), before);
	}
	use("tracecontext", NULL);
	CHECK_STR(replaced("b3: " IDS "-0\r\n" TRACEPARENT, &from, &to),
		  "b3: " IDS "-0\r\ntraceparent: 00-" TRACE "-" NEW "-01\r\n");
	/* A span part of less than 16 digits has no room. */
	from = context_of(TRACE, "000000000000000a", 1);
	use("jaeger", NULL);
	CHECK_STR(replaced("uber-trace-id: " TRACE ":a:0:1\r\n", &from, &to),
		  "uber-trace-id: " TRACE ":a:0:1\r\n");
#undef NEW
}
