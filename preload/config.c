/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings of config.def, read once from the environment.
 *
 * Parsing rules: OpenTelemetry specification, "Environment Variable
 * Specification" (empty is unset; a boolean is true only as "true"; a bad value
 * is reported and ignored).  Strings are copied into memory of our own: programs
 * write over their environment (setproctitle).
 */
#include "preload/config.h"

#include <errno.h>
#include <string.h>

#include "preload/authority.h"
#include "preload/compiler.h"
#include "preload/sys.h"
#include "preload/text.h"

struct atr_config atr_config;

static char strings[8192];
static size_t strings_used;

static const char *copy(const char *s)
{
	size_t len = strlen(s) + 1;
	char *p;

	if (len <= sizeof(strings) - strings_used) {
		p = strings + strings_used;
		strings_used += len;
	} else {
		p = atr_sys_map(len);
	}
	return p ? memcpy(p, s, len) : NULL;
}

struct word {
	int value;
	const char *spelling;
};

#define WORD(constant, spelling) { constant, spelling },
#define ENUM(name, words) static const struct word words_##name[] = { words{ -1, NULL } };
#define SET ENUM
#include "preload/config.def"

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Is the word the first len bytes of s? */
static bool same_part(const char *word, const char *s, size_t len)
{
	for (; len && *word && lower(*word) == lower(*s); len--, word++, s++)
		;
	return !len && !*word;
}

static bool same_word(const char *a, const char *b)
{
	while (*a && lower(*a) == lower(*b)) {
		a++;
		b++;
	}
	return !*a && !*b;
}

static const char *spelling(const struct word *words, int value)
{
	for (; words->spelling; words++)
		if (words->value == value)
			return words->spelling;
	return "?";
}

/* The value without white space around it. */
static size_t trim(const char **s)
{
	size_t n;

	while (**s == ' ' || **s == '\t')
		(*s)++;
	n = strlen(*s);
	while (n && ((*s)[n - 1] == ' ' || (*s)[n - 1] == '\t'))
		n--;
	return n;
}

/* A whole decimal number in [min, max]; false for anything else. */
static bool read_number(const char *s, uint64_t min, uint64_t max, uint32_t *ret)
{
	size_t n = trim(&s);
	uint64_t v = 0;

	if (n && *s == '+') {
		s++;
		n--;
	}
	if (!n)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(s[i] - '0');
		if (v > max)
			return false;
	}
	if (v < min)
		return false;
	*ret = (uint32_t)v;
	return true;
}

/* digits[.digits][e[-]digits] in [0, 1]; no strtod(): it follows the locale. */
static bool read_ratio(const char *s, double *ret)
{
	size_t n = trim(&s), i = 0, digits = 0;
	double v = 0, scale = 1;
	int exponent = 0;

	for (; i < n && s[i] >= '0' && s[i] <= '9'; i++, digits++)
		v = v * 10 + (s[i] - '0');
	if (i < n && s[i] == '.')
		for (i++; i < n && s[i] >= '0' && s[i] <= '9'; i++, digits++)
			v += (s[i] - '0') * (scale /= 10);
	if (digits && i < n && lower(s[i]) == 'e') {
		bool negative = false;

		i++;
		if (i < n && (s[i] == '-' || s[i] == '+'))
			negative = s[i++] == '-';
		if (i == n)
			return false;
		for (; i < n && s[i] >= '0' && s[i] <= '9' && exponent < 400; i++)
			exponent = exponent * 10 + (s[i] - '0');
		for (int k = 0; k < exponent; k++)
			v = negative ? v / 10 : v * 10;
	}
	if (!digits || i != n || v < 0 || v > 1)
		return false;
	*ret = v;
	return true;
}

struct reader {
	const char *(*get)(const char *name);
	void (*warn)(const char *line);
};

/* The variable's value, NULL when unset or empty. */
static const char *value_of(const struct reader *r, const char *env)
{
	const char *v = r->get(env);

	return v && *v ? v : NULL;
}

static void warn_bad(const struct reader *r, const char *env, const char *value, const char *want,
		     const char *used)
{
	char line[512];

	(void)atr_format(line, sizeof(line), "%s=%.*s is not %s; using %s", env, 200, value, want,
			 used);
	r->warn(line);
}

static void read_bool(const struct reader *r, const char *env, bool *field, bool *set)
{
	const char *v = value_of(r, env);
	bool ours;

	if (!v)
		return;
	/* The specification knows no other words; for names of our own 1 and 0 are clear enough. */
	ours = strncmp(env, "AUTOTRACE_", 10) == 0;
	*set = true;
	*field = same_word(v, "true") || (ours && same_word(v, "1"));
	if (!*field && !same_word(v, "false") && !(ours && same_word(v, "0")))
		warn_bad(r, env, v, "\"true\" or \"false\"", "false");
}

static void read_int(const struct reader *r, const char *env, uint64_t min, uint64_t max,
		     const char *what, uint32_t *field, bool *set)
{
	const char *v = value_of(r, env);
	char want[96], used[24];

	if (!v)
		return;
	*set = read_number(v, min, max, field);
	if (*set)
		return;
	(void)atr_format(want, sizeof(want), "%s from %llu to %llu", what, (unsigned long long)min,
			 (unsigned long long)max);
	(void)atr_format(used, sizeof(used), "%u", *field);
	warn_bad(r, env, v, want, used);
}

static void read_string(const struct reader *r, const char *env, const char **field, bool *set)
{
	const char *v = value_of(r, env);

	if (!v)
		return;
	v = copy(v);
	*set = v != NULL;
	if (v)
		*field = v;
	else
		warn_bad(r, env, "(long)", "storable: no memory", *field ? *field : "nothing");
}

/* "one of otlp, console" */
static void list_words(char *text, size_t size, const char *first, const struct word *words)
{
	size_t n = atr_format(text, size, "%s", first);

	for (const struct word *w = words; w->spelling; w++)
		n += atr_format(text + n, size - n, "%s %s", w == words ? "" : ",", w->spelling);
}

static int read_enum(const struct reader *r, const char *env, const struct word *words, int def,
		     bool *set)
{
	const char *v = value_of(r, env);
	char want[256];

	if (!v)
		return def;
	*set = true;
	for (const struct word *w = words; w->spelling; w++)
		if (same_word(v, w->spelling))
			return w->value;
	*set = false;
	list_words(want, sizeof(want), "one of", words);
	warn_bad(r, env, v, want, spelling(words, def));
	return def;
}

/* One item of a list; false: there is no such word. */
static bool add_word(const struct word *words, const char *item, size_t len, unsigned *bits)
{
	for (; words->spelling; words++)
		if (same_part(words->spelling, item, len))
			*bits |= (unsigned)words->value;
	return *bits != 0;
}

/* The bits of a list's items; those that are none are warned about where `used` is told. */
static unsigned read_words(const struct reader *r, const char *env, const char *s,
			   const struct word *words, const char *used)
{
	char want[256], line[512];
	unsigned all = 0;

	list_words(want, sizeof(want), "one of", words);
	for (const char *next; s; s = next) {
		size_t len = strcspn(s, ",");
		unsigned bits = 0;

		next = s[len] ? s + len + 1 : NULL;
		for (; len && (*s == ' ' || *s == '\t'); len--)
			s++;
		while (len && (s[len - 1] == ' ' || s[len - 1] == '\t'))
			len--;
		if (len && !add_word(words, s, len, &bits) && used) {
			(void)atr_format(line, sizeof(line), "%s: \"%.*s\" is not %s; %s", env,
					 (int)(len < 100 ? len : 100), s, want, used);
			r->warn(line);
		}
		all |= bits;
	}
	return all;
}

static void read_set(const struct reader *r, const char *env, const struct word *words,
		     unsigned *field, bool *set)
{
	const char *v = value_of(r, env);
	char used[64] = "leaving it out";
	unsigned all = v ? read_words(r, env, v, words, NULL) : 0;

	if (v && !all)
		(void)atr_format(used, sizeof(used), "using %s", spelling(words, (int)*field));
	if (v)
		(void)read_words(r, env, v, words, used);
	*set = all != 0;
	if (all)
		*field = all;
}

static void read_ratio_option(const struct reader *r, const char *env, double *field, bool *set)
{
	const char *v = value_of(r, env);

	if (!v)
		return;
	*set = read_ratio(v, field);
	if (!*set)
		warn_bad(r, env, v, "a number from 0 to 1", "1");
}

/* One READ_<TYPE> per type of config.def. */
#define READ_BOOL(c, r, f, env, min, max) read_bool(r, env, &c->f, &c->f##_set)
#define READ_INT(c, r, f, env, min, max) \
	read_int(r, env, min, max, "a whole number", &c->f, &c->f##_set)
#define READ_DURATION(c, r, f, env, min, max) \
	read_int(r, env, min, max, "a number of milliseconds", &c->f, &c->f##_set)
#define READ_TIMEOUT(c, r, f, env, min, max) \
	read_int(r, env, min, max, "a number of milliseconds (0 for no limit)", &c->f, &c->f##_set)
#define READ_STRING(c, r, f, env, min, max) read_string(r, env, &c->f, &c->f##_set)
/* The one ratio there is, the sampler's, is read only when there is a sampler that wants it. */
#define READ_RATIO(c, r, f, env, min, max) \
	if (wants_ratio(c))                \
	read_ratio_option(r, env, &c->f, &c->f##_set)
#define READ_WORDS(c, r, f, env, name) \
	c->f = (enum atr_##name)read_enum(r, env, words_##name, (int)c->f, &c->f##_set)
#define READ_SAMPLER(c, r, f, env, min, max) READ_WORDS(c, r, f, env, SAMPLER)
#define READ_EXPORTERS(c, r, f, env, min, max) read_set(r, env, words_EXPORTERS, &c->f, &c->f##_set)
#define READ_CONSOLE(c, r, f, env, min, max) READ_WORDS(c, r, f, env, CONSOLE)
#define READ_PROTOCOL(c, r, f, env, min, max) READ_WORDS(c, r, f, env, PROTOCOL)
#define READ_COMPRESSION(c, r, f, env, min, max) READ_WORDS(c, r, f, env, COMPRESSION)
#define READ_METRICS_EXPORTERS(c, r, f, env, min, max) \
	read_set(r, env, words_METRICS_EXPORTERS, &c->f, &c->f##_set)
#define READ_TEMPORALITY(c, r, f, env, min, max) READ_WORDS(c, r, f, env, TEMPORALITY)
#define READ_HISTOGRAM(c, r, f, env, min, max) READ_WORDS(c, r, f, env, HISTOGRAM)
#define READ_LOG_LEVEL(c, r, f, env, min, max) READ_WORDS(c, r, f, env, LOG_LEVEL)
#define READ_SOCKET_SPANS(c, r, f, env, min, max) READ_WORDS(c, r, f, env, SOCKET_SPANS)
#define READ_CALL_SITES(c, r, f, env, min, max) READ_WORDS(c, r, f, env, CALL_SITES)
#define READ_STACKTRACE(c, r, f, env, min, max) READ_WORDS(c, r, f, env, STACKTRACE)

static bool wants_ratio(const struct atr_config *c)
{
	return c->sampler_set && (c->sampler == ATR_SAMPLER_TRACEIDRATIO ||
				  c->sampler == ATR_SAMPLER_PARENTBASED_TRACEIDRATIO);
}

/* "none" is nothing beside others. */
static void leave_none_out(const struct reader *r, const char *env, unsigned none, unsigned *bits)
{
	unsigned others = *bits & ~none;
	char line[128];

	if (!others || *bits == others)
		return;
	(void)atr_format(line, sizeof(line),
			 "%s: \"none\" is not to be combined with others; leaving it out", env);
	r->warn(line);
	*bits = others;
}

/* A file is one of them, and alone it is all. */
static void use_exporters(struct atr_config *c, const struct reader *r)
{
	leave_none_out(r, "OTEL_TRACES_EXPORTER", ATR_EXPORTER_NONE, &c->exporters);
	leave_none_out(r, "OTEL_METRICS_EXPORTER", ATR_METRICS_NONE, &c->metrics_exporters);
	if (c->file && !c->exporters_set)
		c->exporters = ATR_EXPORTER_NONE;
}

static bool wants_jaeger(const struct atr_config *c)
{
	return c->sampler == ATR_SAMPLER_JAEGER_REMOTE ||
	       c->sampler == ATR_SAMPLER_PARENTBASED_JAEGER_REMOTE;
}

static void cut_blanks(char *s)
{
	for (size_t n = strlen(s); n && (s[n - 1] == ' ' || s[n - 1] == '\t'); n--)
		s[n - 1] = '\0';
}

/* One `key=value` of the list, which it is cut out of. */
static bool read_jaeger_item(struct atr_jaeger_arg *arg, char *item)
{
	char *value = strchr(item, '=');

	if (!value)
		return false;
	*value++ = '\0';
	(void)trim((const char **)&value);
	cut_blanks(item);
	cut_blanks(value);
	if (same_word(item, "endpoint"))
		arg->endpoint = value;
	else if (same_word(item, "pollingIntervalMs"))
		return read_number(value, 1, UINT32_MAX, &arg->polling_ms);
	else if (same_word(item, "initialSamplingRate"))
		return read_ratio(value, &arg->ratio);
	else
		return false;
	return *value != '\0';
}

/* endpoint=URL,pollingIntervalMs=N,initialSamplingRate=N, each of them or not. */
static void read_jaeger(const struct reader *r, struct atr_config *c)
{
	static const struct atr_jaeger_arg none = { NULL, 60000, 0.001 };
	const char *env = "OTEL_TRACES_SAMPLER_ARG";
	const char *v = wants_jaeger(c) ? value_of(r, env) : NULL;
	char *list = v ? (char *)copy(v) : NULL, *next;

	c->jaeger = none;
	for (; list; list = next) {
		next = strchr(list, ',');
		if (next)
			*next++ = '\0';
		while (*list == ' ' || *list == '\t')
			list++;
		if (*list && !read_jaeger_item(&c->jaeger, list)) {
			c->jaeger = none;
			warn_bad(r, env, strchr(v, '@') ? "..." : v, /* perhaps a password */
				 "a list of endpoint=URL, pollingIntervalMs=N, "
				 "initialSamplingRate=0 to 1",
				 "none of it");
			return;
		}
	}
}

/* The specification has it so; who sets nothing else means something by it. */
static void miss_sampler(const struct reader *r)
{
	if (!value_of(r, "OTEL_TRACES_SAMPLER") && value_of(r, "OTEL_TRACES_SAMPLER_ARG"))
		r->warn("OTEL_TRACES_SAMPLER_ARG is not used: OTEL_TRACES_SAMPLER is not set");
}

static void set_defaults(struct atr_config *config)
{
	*config = (struct atr_config){
#define OPTION(field, type, env, def, min, max, doc) .field = def,
#include "preload/config.def"
	};
}

void atr_config_read(struct atr_config *config, const char *(*get)(const char *name),
		     void (*warn)(const char *line))
{
	const struct reader reader = { .get = get, .warn = warn };
	const struct reader *r = &reader;

	set_defaults(config);
#define INHERIT(field, other) config->field = config->other;
#define OPTION(field, type, env, def, min, max, doc) READ_##type(config, r, field, env, min, max);
#include "preload/config.def"
	use_exporters(config, r);
	read_jaeger(r, config);
	miss_sampler(r);
}

/* ---- for people ---- */

struct lines {
	char *buf;
	size_t size, len;
};

static bool contains(const char *s, const char *part)
{
	size_t n = strlen(part);

	for (; *s; s++)
		if (strncmp(s, part, n) == 0)
			return true;
	return false;
}

/* Where spans go, and which: told even when nobody set it. */
static bool matters(const char *env)
{
	static const char *const names[] = { "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT",
					     "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_TRACES_SAMPLER" };

	for (size_t i = 0; i < ATR_ARRAY_LEN(names); i++)
		if (strcmp(env, names[i]) == 0)
			return true;
	return false;
}

static void show_line(struct lines *to, const char *env, const char *value, size_t len)
{
	size_t need = strlen(env) + 1 + len + 1, n;
	char *p = to->buf + to->len;

	if (need >= to->size - to->len)
		return;
	n = atr_format(p, to->size - to->len, "%s=%.*s", env, (int)len, value);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f)
			p[i] = '?';
	p[n++] = '\n';
	p[n] = '\0';
	to->len += n;
}

/* Of a URL its user and query are left out, also of one within other text. */
static void show_string(struct lines *to, const char *env, const char *value)
{
	const bool url =
		contains(env, "ENDPOINT") || contains(env, "roxy") || contains(env, "PROXY");
	const char *base = url ? value : strstr(value, "://");
	struct atr_shown part;
	char shown[201];
	size_t len;

	if (contains(env, "_OTLP_") && contains(env, "HEADERS")) {
		value = "(set)";
		base = NULL;
	}
	if (!base) {
		len = strlen(value);
		show_line(to, env, value, len < 200 ? len : 200);
		return;
	}
	base += url ? 0 : 3;
	part = atr_authority_shown(base);
	len = atr_format(shown, sizeof(shown), "%.*s%.*s", (int)(base + part.scheme - value), value,
			 (int)part.len, base + part.from);
	show_line(to, env, shown, len);
}

static void show_number(struct lines *to, const char *env, uint32_t value)
{
	char text[24];
	size_t n = atr_format(text, sizeof(text), "%u", value);

	show_line(to, env, text, n);
}

static void show_ratio(struct lines *to, const char *env, double value)
{
	unsigned millionths = (unsigned)(value * 1e6 + 0.5), digits = 6;
	char text[24];
	size_t n = atr_format(text, sizeof(text), "%u.", millionths / 1000000);

	for (millionths %= 1000000; digits; digits--, millionths = millionths * 10 % 1000000)
		text[n++] = (char)('0' + millionths / 100000);
	while (n > 3 && text[n - 1] == '0')
		n--;
	show_line(to, env, text, n);
}

static void show_words(struct lines *to, const char *env, const struct word *words, unsigned bits)
{
	char text[128] = "";
	size_t n = 0;

	for (; words->spelling; words++)
		if (bits & (unsigned)words->value)
			n += atr_format(text + n, sizeof(text) - n, "%s%s", n ? "," : "",
					words->spelling);
	show_string(to, env, text);
}

/* One SHOW_<TYPE> per type of config.def. */
#define SHOW_BOOL(to, env, v) show_string(to, env, (v) ? "true" : "false")
#define SHOW_INT(to, env, v) show_number(to, env, v)
#define SHOW_DURATION(to, env, v) show_number(to, env, v)
#define SHOW_TIMEOUT(to, env, v) show_number(to, env, v)
#define SHOW_RATIO(to, env, v) show_ratio(to, env, v)
#define SHOW_STRING(to, env, v) show_string(to, env, (v) ? (v) : "")
#define SHOW_SAMPLER(to, env, v) show_string(to, env, spelling(words_SAMPLER, v))
#define SHOW_EXPORTERS(to, env, v) show_words(to, env, words_EXPORTERS, v)
#define SHOW_CONSOLE(to, env, v) show_string(to, env, spelling(words_CONSOLE, v))
#define SHOW_PROTOCOL(to, env, v) show_string(to, env, spelling(words_PROTOCOL, v))
#define SHOW_COMPRESSION(to, env, v) show_string(to, env, spelling(words_COMPRESSION, v))
#define SHOW_METRICS_EXPORTERS(to, env, v) show_words(to, env, words_METRICS_EXPORTERS, v)
#define SHOW_TEMPORALITY(to, env, v) show_string(to, env, spelling(words_TEMPORALITY, v))
#define SHOW_HISTOGRAM(to, env, v) show_string(to, env, spelling(words_HISTOGRAM, v))
#define SHOW_LOG_LEVEL(to, env, v) show_string(to, env, spelling(words_LOG_LEVEL, v))
#define SHOW_SOCKET_SPANS(to, env, v) show_string(to, env, spelling(words_SOCKET_SPANS, v))
#define SHOW_CALL_SITES(to, env, v) show_string(to, env, spelling(words_CALL_SITES, v))
#define SHOW_STACKTRACE(to, env, v) show_string(to, env, spelling(words_STACKTRACE, v))

size_t atr_config_show(char *buf, size_t size, const struct atr_config *config)
{
	struct lines to = { .buf = buf, .size = size };

	buf[0] = '\0';
#define OPTION(field, type, env, def, min, max, doc) \
	if (matters(env) || config->field##_set)     \
		SHOW_##type(&to, env, config->field);
#include "preload/config.def"
	return to.len;
}
