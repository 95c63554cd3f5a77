/* SPDX-License-Identifier: Apache-2.0 */
/*
 * autotrace status: how traced programs do, and why their spans do not arrive.
 *
 * Looks (cli/seen.c), judges (cli/why.c), prints: a screen for each process that was asked
 * for, a line for each when all are wanted, or JSON.
 */
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/seen.h"
#include "cli/why.h"
#include "preload/utf8.h"

static const char help[] =
	"usage: autotrace status [--json] [PID...]\n"
	"\n"
	"Says how traced programs do, and why their spans do not arrive: of these processes, or\n"
	"in a line each of all of yours, the dead ones that left something included (for root,\n"
	"of all there are).  Nothing is attached to, stopped or sent a signal.\n"
	"\n"
	"      --json           a list of objects, for programs\n"
	"  -h, --help           this\n"
	"\n"
	"The exit status is 0 when all of them are traced and can send, a ratio or a target of\n"
	"traces being no fault; 1 when spans of one do not arrive, not all or not yet, or when it\n"
	"is to record none; 2 when that cannot be seen, and 125 if autotrace fails.\n";

static const struct option options[] = {
	{ "json", no_argument, NULL, 'j' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

#define NAME_WIDTH 15 /* characters */
#define DEAD_SHOWN 10 /* lines of processes that have ended; the rest is summed up */

struct output {
	bool json;
	bool each; /* a screen for each */
	unsigned n;
	unsigned n_dead;
	uint64_t more_left;  /* spans of those that have no line, */
	bool more_uncounted; /* or more */
	int status;
};

static uint64_t wall_clock(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static const char *const workings[] = {
	[ATR_WORKING_NONE] = "not started",    [ATR_WORKING_STARTED] = "starting",
	[ATR_WORKING_RESOLVING] = "resolving", [ATR_WORKING_RUNNING] = "running",
	[ATR_WORKING_STOPPED] = "stopped",     [ATR_WORKING_NO_EXPORTER] = "no exporter",
	[ATR_WORKING_NO_THREAD] = "no thread",
};

static const char *working(const struct atr_seen *s)
{
	if (!s->exists || s->zombie)
		return "ended";
	return s->told && s->status.working < sizeof(workings) / sizeof(workings[0])
		       ? workings[s->status.working]
		       : "not known";
}

static const char *tracing(const struct atr_seen *s)
{
	if (!s->exists || s->zombie)
		return "ended";
	if (!s->readable)
		return "not known";
	if (!s->mapped)
		return "not loaded";
	if (!s->told)
		return "loaded";
	return s->status.tracing == ATR_TRACING_ON ? "on" : "off";
}

static unsigned percent(uint64_t part, uint64_t whole)
{
	return whole ? (unsigned)((part * 100 + whole - 1) / whole) : 0;
}

/* Spans dropped, as far as the process counted them. */
static uint64_t dropped(const struct atr_seen *s)
{
	static const char *const names[] = { "ring_full", "queue_full",	   "too_long",
					     "no_memory", "rejected",	   "failed",
					     "unsent",	  "keep_overflow", "keep_limited" };
	uint64_t n = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		n += atr_seen_counter(s, names[i]);
	return n;
}

/* Each counter by name, as the process has them. */
static void each_counter(const struct atr_seen *s,
			 void (*each)(const char *name, size_t len, uint64_t n))
{
	const char *p = s->status.names;

	for (uint32_t i = 0; s->told && i < s->status.n_counters && *p; i++) {
		size_t len = strcspn(p, " ");

		each(p, len, s->status.counters[i]);
		p += len + (p[len] == ' ');
	}
}

/* The length of the character at s, 0 where there is none. */
static size_t character(const char *s, size_t len)
{
	for (size_t n = 1; n <= 4 && n <= len; n++)
		if (atr_utf8_valid(s, n) == n)
			return n;
	return 0;
}

/* Characters that make a terminal do something, or turn the order of others round. */
static bool is_control(const char *s, size_t n)
{
	const unsigned char *p = (const void *)s;

	if (n == 1)
		return *p < 0x20 || *p == 0x7f;
	if (n == 2)
		return p[0] == 0xc2 && p[1] < 0xa0;
	if (n != 3 || p[0] != 0xe2)
		return false;
	return (p[1] == 0x80 && ((p[2] & ~1u) == 0x8e || (p[2] >= 0xa8 && p[2] <= 0xae))) ||
	       (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9);
}

/* ---- for people ---- */

/* What comes from another process: printable, on one line; up to `most` characters of it. */
static unsigned put_some(const char *s, size_t len, unsigned most)
{
	unsigned n_put = 0;

	while (len && n_put < most) {
		size_t n = character(s, len);

		if (!n || is_control(s, n))
			(void)putchar('?');
		else
			(void)fwrite(s, 1, n, stdout);
		s += n ? n : 1;
		len -= n ? n : 1;
		n_put++;
	}
	return n_put;
}

static void put_text(const char *s)
{
	(void)put_some(s, strlen(s), UINT_MAX);
}

static void put_line(const char *what, const char *text)
{
	printf("  %-10s ", what);
	put_text(text);
	(void)putchar('\n');
}

static void put_counter(const char *name, size_t len, uint64_t n)
{
	if (!n)
		return;
	(void)putchar(' ');
	(void)put_some(name, len, UINT_MAX);
	printf("=%llu", (unsigned long long)n);
}

static void put_settings(const char *s)
{
	while (*s) {
		size_t len = strcspn(s, "\n");

		printf("             ");
		(void)put_some(s, len, UINT_MAX);
		(void)putchar('\n');
		s += len + (s[len] == '\n');
	}
}

static void put_export(const struct atr_seen *s, uint64_t now)
{
	const struct atr_health *h = &s->status.health;

	put_line("exporter", h->endpoint[0] ? h->endpoint : "not there yet");
	printf("  %-10s accepted: %s%s\n", "", h->ok_at ? atr_ago(now, h->ok_at) : "never",
	       h->ok_at ? " ago" : "");
	if (h->error_at) {
		printf("  %-10s failed: %s ago, ", "", atr_ago(now, h->error_at));
		put_text(h->error);
		(void)putchar('\n');
	}
	if (h->hold_until > now)
		printf("  %-10s next attempt in %s\n", "", atr_ago(now, h->hold_until));
	if (h->backlog)
		printf("  %-10s sends %llu files of dead processes\n", "",
		       (unsigned long long)h->backlog);
}

static void put_own_words(const struct atr_seen *s, uint64_t now)
{
	const struct atr_health *h = &s->status.health;

	printf("  %-10s %s, heard of %s ago\n", "thread", working(s),
	       atr_ago(now, s->status.updated));
	put_export(s, now);
	printf("  %-10s %llu written, %llu exported, %llu dropped\n", "spans",
	       (unsigned long long)s->written, (unsigned long long)atr_seen_counter(s, "exported"),
	       (unsigned long long)dropped(s));
	printf("  %-10s %s%llu waiting: %llu in the queue of %llu, %llu on their way\n", "",
	       s->uncounted ? "at least " : "", (unsigned long long)s->waiting,
	       (unsigned long long)h->queued, (unsigned long long)h->queue_max,
	       (unsigned long long)h->inflight);
	printf("  %-10s %u, the fullest at %u %%\n", "rings", s->n_rings,
	       percent(s->used_bytes, s->fullest_bytes));
	printf("  %-10s", "counters");
	each_counter(s, put_counter);
	(void)putchar('\n');
}

static void put_screen(const struct atr_seen *s, const struct atr_reason *why, size_t n,
		       uint64_t now)
{
	char settings[ATR_STATUS_SETTINGS] = "";

	printf("process %d", s->pid);
	if (s->name[0] || s->exe[0]) {
		printf(", ");
		put_text(s->name);
		printf(", ");
		put_text(s->exe);
	}
	(void)putchar('\n');
	for (size_t i = 0; i < n; i++)
		put_line(i ? "" : "why", why[i].text);
	put_line("tracing", tracing(s));
	if (s->told)
		put_own_words(s, now);
	if (s->file) {
		printf("  %-10s ", "spool");
		put_text(s->path);
		printf(", %llu KiB\n", (unsigned long long)(s->bytes / 1024));
	}
	if (!s->told && s->config_known && s->mapped)
		(void)atr_config_show(settings, sizeof(settings), &s->config);
	if (s->told || settings[0]) {
		printf("  settings\n");
		put_settings(s->told ? s->status.settings : settings);
	}
}

static void put_row(const struct atr_seen *s, const struct atr_reason *why)
{
	char waiting[32];

	printf("%8d ", s->pid);
	for (unsigned n = put_some(s->name, strlen(s->name), NAME_WIDTH); n < NAME_WIDTH; n++)
		(void)putchar(' ');
	(void)snprintf(waiting, sizeof(waiting), "%llu%s", (unsigned long long)s->waiting,
		       s->uncounted ? "+" : "");
	printf(" %-8s %9llu %9llu %8s %8llu  ", tracing(s), (unsigned long long)s->written,
	       (unsigned long long)atr_seen_counter(s, "exported"), waiting,
	       (unsigned long long)dropped(s));
	put_text(why->text);
	(void)putchar('\n');
}

/* ---- for programs ---- */

static void put_json_some(const char *s, size_t len)
{
	(void)putchar('"');
	while (len) {
		size_t n = character(s, len);

		if (!n)
			printf("\\ufffd");
		else if (n == 1 && (*s == '"' || *s == '\\'))
			printf("\\%c", *s);
		else if (n <= 2 &&
			 is_control(s, n)) /* U+0000 to U+009F: its last byte is its number */
			printf("\\u%04x", (unsigned char)s[n - 1]);
		else
			(void)fwrite(s, 1, n, stdout);
		s += n ? n : 1;
		len -= n ? n : 1;
	}
	(void)putchar('"');
}

static void put_json(const char *s)
{
	put_json_some(s, strlen(s));
}

static void put_key(const char *key, const char *value)
{
	printf(",\n  \"%s\": ", key);
	put_json(value);
}

static void put_number(const char *key, uint64_t n)
{
	printf(",\n  \"%s\": %llu", key, (unsigned long long)n);
}

static const char *json_comma;

static void put_json_counter(const char *name, size_t len, uint64_t n)
{
	printf("%s", json_comma);
	put_json_some(name, len);
	printf(": %llu", (unsigned long long)n);
	json_comma = ", ";
}

static void put_json_settings(const char *s)
{
	const char *comma = "";

	printf(",\n  \"settings\": {");
	while (*s) {
		size_t len = strcspn(s, "\n"), n = strcspn(s, "=\n");

		printf("%s\n    ", comma);
		put_json_some(s, n);
		printf(": ");
		put_json_some(s + n + (n < len), len > n ? len - n - 1 : 0);
		comma = ",";
		s += len + (s[len] == '\n');
	}
	(void)putchar('}');
}

static void put_object(const struct atr_seen *s, const struct atr_reason *why, size_t n)
{
	static const char *const verdicts[] = { "ok", "partly", "none", "unknown" };
	const struct atr_health *h = &s->status.health;
	char settings[ATR_STATUS_SETTINGS] = "";

	printf(" {\"pid\": %d", s->pid);
	put_key("name", s->name);
	put_key("executable", s->exe);
	put_key("tracing", tracing(s));
	put_key("arriving", verdicts[why[0].verdict]);
	printf(",\n  \"why\": [");
	for (size_t i = 0; i < n; i++) {
		printf("%s{\"code\": ", i ? ", " : "");
		put_json(why[i].code);
		printf(", \"text\": ");
		put_json(why[i].text);
		(void)putchar('}');
	}
	(void)putchar(']');
	if (s->file) {
		put_key("spool", s->path);
		put_number("spool_bytes", s->bytes);
		put_number("written", s->written);
		put_number("waiting", s->waiting);
		printf(",\n  \"uncounted\": %s", s->uncounted ? "true" : "false");
		put_number("rings", s->n_rings);
		put_number("ring_percent", percent(s->used_bytes, s->fullest_bytes));
	}
	if (s->told) {
		put_key("thread", working(s));
		put_number("updated_unix_nano", s->status.updated);
		put_key("endpoint", h->endpoint);
		put_number("accepted_unix_nano", h->ok_at);
		put_number("failed_unix_nano", h->error_at);
		put_key("error", h->error);
		put_number("hold_until_unix_nano", h->hold_until);
		put_number("queued", h->queued);
		put_number("queue_max", h->queue_max);
		put_number("inflight", h->inflight);
		put_number("backlog_files", h->backlog);
		put_number("dropped", dropped(s));
		printf(",\n  \"counters\": {");
		json_comma = "";
		each_counter(s, put_json_counter);
		(void)putchar('}');
	}
	if (!s->told && s->config_known && s->mapped)
		(void)atr_config_show(settings, sizeof(settings), &s->config);
	put_json_settings(s->told ? s->status.settings : settings);
	(void)putchar('}');
}

/* ---- the command ---- */

static void worse(struct output *o, enum atr_verdict verdict)
{
	if (verdict == ATR_VERDICT_NONE || verdict == ATR_VERDICT_PARTLY)
		o->status = 1;
	else if (verdict == ATR_VERDICT_UNKNOWN && !o->status)
		o->status = 2;
}

static void show(const struct atr_seen *s, void *arg)
{
	struct output *o = arg;
	struct atr_reason why[ATR_REASONS_MAX];
	uint64_t now = wall_clock();
	size_t n = atr_why(s, now, why);

	worse(o, why[0].verdict);
	if (!o->each && !o->json && !s->exists && ++o->n_dead > DEAD_SHOWN) {
		o->more_left += s->waiting;
		o->more_uncounted |= s->uncounted;
		return;
	}
	if (o->json) {
		printf("%s\n", o->n ? "," : "[");
		put_object(s, why, n);
	} else if (o->each) {
		printf("%s", o->n ? "\n" : "");
		put_screen(s, why, n, now);
	} else {
		if (!o->n)
			printf("%8s %-15s %-8s %9s %9s %8s %8s  %s\n", "pid", "name", "tracing",
			       "written", "exported", "waiting", "dropped", "why");
		put_row(s, why);
	}
	o->n++;
}

/* Each of the words is a number of a process. */
static bool show_each(char **pids, struct output *o)
{
	struct atr_seen *s = malloc(sizeof(*s));

	if (!s) {
		fputs("autotrace: out of memory\n", stderr);
		return false;
	}
	for (; *pids; pids++) {
		char *end;
		long pid = strtol(*pids, &end, 10);

		if (*end || end == *pids || pid <= 0 || pid > INT_MAX) {
			fprintf(stderr, "autotrace: '%s' is no process id\n", *pids);
			free(s);
			return false;
		}
		atr_see(s, (int)pid);
		show(s, o);
	}
	free(s);
	return true;
}

int atr_cli_status(int argc, char **argv)
{
	static char name[] = "autotrace"; /* getopt's messages begin with it */
	struct output o = { 0 };
	int c;

	argv[0] = name;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'j':
			o.json = true;
			break;
		case 'h':
			fputs(help, stdout);
			return fflush(stdout) == 0 ? 0 : ATR_EXIT_OURS;
		default:
			return ATR_EXIT_OURS;
		}
	}
	o.each = argv[optind] != NULL;
	if (o.each && !show_each(argv + optind, &o))
		return ATR_EXIT_OURS;
	if (!o.each)
		atr_see_all(show, &o);
	if (o.n_dead > DEAD_SHOWN)
		printf("... and %u more that have ended and left %s%llu spans\n",
		       o.n_dead - DEAD_SHOWN, o.more_uncounted ? "at least " : "",
		       (unsigned long long)o.more_left);
	if (o.json)
		printf("%s]\n", o.n ? "\n" : "[");
	else if (!o.n)
		puts("no process of yours is traced, and none has left spans");
	return fflush(stdout) == 0 ? o.status : ATR_EXIT_OURS;
}
