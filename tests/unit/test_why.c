/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/why.c"

#include <string.h>

#include "tests/unit/test.h"

#define NOW 1700000000000000000ull

static struct {
	const char *name;
	uint64_t n;
} counters[8];

static struct atr_seen seen;
static struct atr_reason why[ATR_REASONS_MAX];

uint64_t atr_seen_counter(const struct atr_seen *s, const char *name)
{
	for (size_t i = 0; s->told && i < ATR_ARRAY_LEN(counters); i++)
		if (counters[i].name && strcmp(counters[i].name, name) == 0)
			return counters[i].n;
	return 0;
}

/* A process that is traced and well, with the settings' defaults. */
static void well(void)
{
	memset(counters, 0, sizeof(counters));
	seen = (struct atr_seen){
		.pid = 7,
		.exists = true,
		.readable = true,
		.elf = ATR_ELF_DYNAMIC,
		.preload = true,
		.library = "/usr/lib/libautotrace.so",
		.mapped = true,
		.config_known = true,
		.config = { .exporters = ATR_EXPORTER_OTLP,
			    .sampler = ATR_SAMPLER_PARENTBASED_ALWAYS_ON,
			    .sampler_arg = 1,
			    .spool_max_bytes = 1 },
		.file = true,
		.told = true,
		.written = 10,
		.exe = "/bin/p",
	};
	seen.status.working = ATR_WORKING_RUNNING;
	seen.status.health = (struct atr_health){ .ok_at = NOW - 5, .endpoint = "http://c:4318/" };
}

/* The first reason's code; its text has that in it. */
static bool is(const char *code, enum atr_verdict verdict, const char *text)
{
	size_t n = atr_why(&seen, NOW, why);
	bool good = CHECK(n >= 1) && CHECK_STR(why[0].code, code) &&
		    CHECK_INT(why[0].verdict, verdict) && CHECK(strstr(why[0].text, text) != NULL);

	for (size_t i = 0; i < n; i++) /* one sentence or more, whole */
		good &= CHECK(why[i].text[strlen(why[i].text) - 1] == '.');
	if (!good)
		printf("  %s\n", why[0].text);
	return good;
}

TEST(who_is_well_is_told_so)
{
	well();
	is("ok", ATR_VERDICT_OK, "All");
	seen.waiting = 3;
	is("waiting", ATR_VERDICT_OK, "3 spans");
	seen.status.health.inflight = 2;
	is("waiting", ATR_VERDICT_OK, "3 spans wait, 2 of them for an answer of http://c:4318/.");
	seen.written = seen.waiting = 0;
	is("idle", ATR_VERDICT_OK, "nothing");
}

TEST(who_is_not_loaded_learns_why)
{
	well();
	seen.mapped = seen.file = seen.told = false;
	seen.library_missing = true;
	is("library_missing", ATR_VERDICT_NONE, "/usr/lib/libautotrace.so");
	seen.library_missing = false;
	is("not_loaded", ATR_VERDICT_NONE, "standard error");
	seen.preload = false;
	is("not_preloaded", ATR_VERDICT_NONE, "autotrace run");
	seen.secure = true;
	is("other_rights", ATR_VERDICT_NONE, "setuid");
	seen.elf = ATR_ELF_STATIC;
	is("static", ATR_VERDICT_NONE, "/bin/p is statically linked");
	seen.go = true;
	is("static", ATR_VERDICT_NONE, "Go");
	seen.elf = ATR_ELF_OTHER_LIBC;
	is("other_libc", ATR_VERDICT_NONE, "musl");
	seen.elf = ATR_ELF_FOREIGN;
	is("other_machine", ATR_VERDICT_NONE, "32 bits");
	seen.readable = false;
	is("not_readable", ATR_VERDICT_UNKNOWN, "another user");
}

TEST(without_a_file_the_settings_say_why)
{
	well();
	seen.file = seen.told = false;
	seen.config.sampler = ATR_SAMPLER_ALWAYS_ON;
	is("idle", ATR_VERDICT_OK, "becomes a span.");
	seen.thread = true;
	is("no_file", ATR_VERDICT_UNKNOWN, "standard error");
	seen.config.spool_max_bytes = 0;
	is("no_file", ATR_VERDICT_UNKNOWN, "AUTOTRACE_SPOOL_MAX_BYTES=0");
	seen.valgrind = true;
	is("no_file", ATR_VERDICT_UNKNOWN, "valgrind");
	seen.sandboxed = true;
	is("sandbox", ATR_VERDICT_NONE, "seccomp");
	seen.tsan = true;
	is("tsan", ATR_VERDICT_NONE, "ThreadSanitizer");
	seen.config.sampler = ATR_SAMPLER_TRACEIDRATIO;
	seen.config.sampler_arg = 0;
	is("sampler_ratio", ATR_VERDICT_NONE, "ARG=0 in its environment: no trace");
	seen.config.sampler = ATR_SAMPLER_ALWAYS_OFF;
	is("sampler_off", ATR_VERDICT_NONE, "always_off");
	seen.config.keep_slow_ms = 1000;
	is("sampler_kept", ATR_VERDICT_PARTLY, "AUTOTRACE_KEEP_SLOW_MS");
	seen.config.exporters = ATR_EXPORTER_NONE;
	is("exporter_none", ATR_VERDICT_NONE, "none");
	seen.config.sdk_disabled = true;
	is("disabled", ATR_VERDICT_NONE, "OTEL_SDK_DISABLED");
}

TEST(the_sampler_says_why_there_is_nothing)
{
	struct atr_config *c = &seen.config;

	well();
	seen.file = seen.told = false;
	seen.written = 0;
	seen.thread = true;
	c->sampler = ATR_SAMPLER_JAEGER_REMOTE;
	c->jaeger.ratio = 0.001;
	is("sampler_remote", ATR_VERDICT_PARTLY, "jaeger_remote in its environment: 0.001");
	CHECK_STR(why[1].code, "idle");
	c->sampler = ATR_SAMPLER_ALWAYS_OFF;
	c->keep_slow_ms = 10;
	is("sampler_kept", ATR_VERDICT_PARTLY, "AUTOTRACE_KEEP_SLOW_MS");
	CHECK_STR(why[1].code, "idle"); /* not: no_file */
	c->sampler = ATR_SAMPLER_TRACEIDRATIO;
	c->sampler_arg = 0;
	is("sampler_kept", ATR_VERDICT_PARTLY, "OTEL_TRACES_SAMPLER_ARG=0");
	c->sampler = ATR_SAMPLER_PARENTBASED_ALWAYS_OFF;
	is("sampler_parents_only", ATR_VERDICT_PARTLY, "AUTOTRACE_KEEP_");
	c->keep_slow_ms = 0;
	seen.thread = false;
	is("sampler_parents_only", ATR_VERDICT_PARTLY, "others sampled is recorded.");
	c->sampler = ATR_SAMPLER_PARENTBASED_TRACEIDRATIO;
	is("sampler_parents_only", ATR_VERDICT_PARTLY, "OTEL_TRACES_SAMPLER_ARG=0");
	c->sampler = ATR_SAMPLER_PARENTBASED_ALWAYS_ON;
	c->ignore = "/*";
	is("ignored", ATR_VERDICT_PARTLY, "AUTOTRACE_IGNORE=/*");
	c->ignore = NULL;
	c->target_traces_per_second = 5;
	is("sampler_target", ATR_VERDICT_OK, "AUTOTRACE_TARGET_TRACES_PER_SECOND=5");
	c->target_traces_per_second = 0;
	c->sampler = ATR_SAMPLER_JAEGER_REMOTE;
	seen.file = seen.told = true;
	(void)snprintf(seen.status.strategy, 100, "sampling strategy from http://j/: refused; x");
	is("sampler_remote", ATR_VERDICT_PARTLY, "from http://j/: refused; x.");
	seen.status.strategy[0] = '\0';
}

TEST(who_may_have_been_told_not_to_sample_is_not_called_idle)
{
	struct atr_config *c = &seen.config;

	well();
	seen.file = seen.told = false;
	seen.written = 0;
	is("idle_or_unsampled", ATR_VERDICT_OK, "whoever called it decided not to sample");
	CHECK(strstr(why[0].text, "AUTOTRACE_MAX_TRACES_PER_SECOND") == NULL);
	c->max_traces_per_second = 1;
	is("idle_or_unsampled", ATR_VERDICT_OK, "AUTOTRACE_MAX_TRACES_PER_SECOND");
	c->sampler = ATR_SAMPLER_ALWAYS_ON;
	is("idle_or_unsampled", ATR_VERDICT_OK, "AUTOTRACE_MAX_TRACES_PER_SECOND");
	CHECK(strstr(why[0].text, "called") == NULL);
	c->max_traces_per_second = 0;
	seen.parent_unsampled = true; /* and nobody asks for it */
	is("idle", ATR_VERDICT_OK, "");
	c->sampler = ATR_SAMPLER_PARENTBASED_ALWAYS_ON;
	is("parent_unsampled", ATR_VERDICT_PARTLY, "TRACEPARENT=...-00");
	CHECK(strstr(why[0].text, "AUTOTRACE_KEEP_") == NULL);
	c->keep_errors = true;
	is("parent_unsampled", ATR_VERDICT_PARTLY, "AUTOTRACE_KEEP_*");
	well();
	seen.parent_unsampled = true; /* but those who call it have sampled */
	is("ok", ATR_VERDICT_OK, "");
}

TEST(a_part_that_was_asked_for_is_no_fault_and_hides_none)
{
	well();
	seen.config.sampler = ATR_SAMPLER_PARENTBASED_TRACEIDRATIO;
	seen.config.sampler_arg = 0.1;
	is("sampler_ratio", ATR_VERDICT_OK, "ARG=0.1");
	seen.config.sampler = ATR_SAMPLER_TRACEIDRATIO;
	is("sampler_ratio", ATR_VERDICT_OK, "ARG=0.1");
	seen.written = 0;
	seen.config.ignore = "/*";
	is("ignored", ATR_VERDICT_PARTLY, "/*");
	CHECK_STR(why[1].code, "sampler_ratio");
	seen.config.ignore = NULL;
	seen.file = seen.told = false;
	seen.config.spool_max_bytes = 0;
	is("no_file", ATR_VERDICT_UNKNOWN, "");
	CHECK_STR(why[1].code, "sampler_ratio");
}

TEST(a_collector_that_fails_is_named_with_its_words)
{
	struct atr_health *h;

	well();
	h = &seen.status.health;
	h->error_at = NOW - 3100000000ull;
	h->ok_at = 0;
	(void)snprintf(h->error, sizeof(h->error), "Connection refused");
	is("collector", ATR_VERDICT_NONE, "http://c:4318/ failed, 3.1 s ago: Connection refused.");
	CHECK(strstr(why[0].text, "None was accepted yet") != NULL);
	h->ok_at = NOW - 180 * NS_PER_S;
	is("collector", ATR_VERDICT_PARTLY, "3 min ago.");
	h->ok_at = NOW - NS_PER_S;
	is("ok", ATR_VERDICT_OK, "");
}

TEST(what_it_says_itself_comes_first)
{
	well();
	seen.status.tracing = ATR_TRACING_BUG;
	is("bug", ATR_VERDICT_NONE, "report");
	seen.status.tracing = ATR_TRACING_SANDBOX;
	is("sandbox", ATR_VERDICT_NONE, "seccomp");
	seen.status.tracing = ATR_TRACING_ON;
	seen.status.working = ATR_WORKING_NO_EXPORTER;
	is("no_exporter", ATR_VERDICT_NONE, "libcurl");
	seen.status.working = ATR_WORKING_NO_THREAD;
	is("no_thread", ATR_VERDICT_NONE, "limit");
	seen.status.working = ATR_WORKING_RESOLVING;
	is("resolving", ATR_VERDICT_NONE, "name server");
	seen.status.working = ATR_WORKING_RUNNING;
	seen.stopped = true;
	is("stopped", ATR_VERDICT_NONE, "SIGSTOP");
	seen.told = false;
	is("other_version", ATR_VERDICT_UNKNOWN, "version");
}

TEST(losses_are_counted_with_what_to_do)
{
	well();
	counters[0].name = "ring_full";
	counters[0].n = 12;
	counters[1].name = "rejected";
	counters[1].n = 5;
	counters[2].name = "no_memory";
	counters[2].n = 2;
	counters[3].name = "keep_overflow";
	counters[3].n = 7;
	counters[4].name = "keep_limited";
	counters[4].n = 8;
	counters[5].name = "limited";
	counters[5].n = 9;
	(void)snprintf(seen.status.health.error, 64, "refused: HTTP 400");
	seen.status.spool_full = 1;
	is("ring_full", ATR_VERDICT_PARTLY, "12 spans");
	seen.config.ring_size_set = true;
	is("ring_full", ATR_VERDICT_PARTLY, "raise AUTOTRACE_RING_SIZE");
	counters[6].name = "queue_full";
	counters[6].n = 13;
	is("queue_full", ATR_VERDICT_PARTLY, "OTEL_BSP_MAX_QUEUE_SIZE");
	counters[6].n = 0;
	CHECK_INT(atr_why(&seen, NOW, why), 7);
	CHECK_STR(why[1].code, "rejected");
	CHECK(strstr(why[1].text, "refused: HTTP 400") != NULL);
	CHECK_STR(why[2].code, "dropped");
	CHECK_STR(why[3].code, "kept_too_many");
	CHECK_STR(why[4].code, "kept_limited");
	CHECK(strstr(why[4].text, "8 spans") && strstr(why[4].text, "AUTOTRACE_MAX_TRACES"));
	CHECK_STR(why[5].code, "limited");
	CHECK(strstr(why[5].text, "9 traces") != NULL);
	CHECK_STR(why[6].code, "spool_full");
}

TEST(of_several_exporters_what_one_lacks_is_said)
{
	well();
	counters[0].name = "missed";
	counters[0].n = 12;
	is("missed", ATR_VERDICT_PARTLY,
	   "12 spans went to the other exporters alone, for http://c");
	counters[0].name = "copies_lost";
	is("copies_lost", ATR_VERDICT_PARTLY, "12 spans are missing where an exporter beside http");
	seen.status.health.error_at = seen.status.health.ok_at;
	(void)snprintf(seen.status.health.error, 64, "/f: it cannot be written: No space");
	is("beside", ATR_VERDICT_PARTLY, "another exporter did not: /f: it cannot be written: No");
	CHECK_STR(why[1].code, "copies_lost");
	counters[0].name = "copied";
	seen.status.health.error_at = NOW;
	seen.status.health.ok_at = 0;
	is("collector", ATR_VERDICT_PARTLY, "None was accepted yet");
}

TEST(only_a_refusal_is_said_to_be_the_collectors_words)
{
	static const struct {
		const char *error;
		bool refusal;
	} rows[] = {
		{ "refused: HTTP 400", true },
		{ "rejected 1 of 3 spans: no", true },
		{ "a span of 5000000 bytes is too large: HTTP 413", true },
		{ "Failed to connect to 127.0.0.1 port 9", false },
		{ "HTTP 503", false },
		{ "", false },
	};

	well();
	counters[0].name = "rejected";
	counters[0].n = 1;
	for (size_t i = 0; i < ATR_ARRAY_LEN(rows); i++) {
		(void)snprintf(seen.status.health.error, 64, "%s", rows[i].error);
		is("rejected", ATR_VERDICT_PARTLY, "refused 1 spans: its log says why");
		CHECK_INT(strstr(why[0].text, "it last said") != NULL, rows[i].refusal);
	}
}

TEST(the_dead_are_told_by_what_they_left)
{
	well();
	seen.exists = false;
	is("ok", ATR_VERDICT_OK, "ended");
	seen.waiting = 4;
	is("left", ATR_VERDICT_PARTLY, "left 4 spans");
	seen.exists = seen.zombie = true;
	is("left", ATR_VERDICT_PARTLY, "next traced program with");
	seen.others = true;
	seen.uid = 33;
	is("left", ATR_VERDICT_PARTLY, "next traced program of user 33 with");
	seen.others = false;
	seen.waiting = 0;
	counters[0].name = "rejected";
	counters[0].n = 1;
	is("rejected", ATR_VERDICT_PARTLY, "refused 1 spans");
	CHECK_STR(why[1].code, "ok");
	seen.exists = seen.file = seen.told = false;
	is("no_process", ATR_VERDICT_UNKNOWN, "no process 7");
}

TEST(what_was_given_up_is_not_promised_to_the_next_program)
{
	well();
	seen.exists = false;
	seen.waiting = 4;
	seen.n_given_up = 1;
	seen.given_up = NOW - 15 * NS_PER_S;
	is("left", ATR_VERDICT_PARTLY,
	   "last (15.0 s ago) ended without an answer: traced programs leave them alone for "
	   "another 45.0 s, then the next one");
	CHECK(strstr(why[0].text, "an 'autotrace drain' does so now.") != NULL);
	seen.n_given_up = 1000;
	is("left", ATR_VERDICT_PARTLY, "another 8 h,");
	seen.n_given_up = 2;
	seen.others = true;
	seen.uid = 33;
	seen.uncounted = true;
	is("left", ATR_VERDICT_PARTLY, "left at least 4 spans, and who");
	CHECK(strstr(why[0].text, "of user 33 leave them alone for another 1 min") != NULL);
	seen.given_up = NOW - 120 * NS_PER_S; /* its rest is over */
	is("left", ATR_VERDICT_PARTLY, "next traced program of user 33 with");
	seen.given_up = NOW + NS_PER_S; /* of a clock that was put back */
	is("left", ATR_VERDICT_PARTLY, "next traced program of user 33 with");
}

TEST(what_was_not_looked_at_is_said_and_nothing_claimed_of_it)
{
	well();
	seen.uncounted = true;
	seen.written = 0;
	is("uncounted", ATR_VERDICT_UNKNOWN, "At least 0 spans wait");
	seen.written = 10;
	seen.waiting = 3;
	is("uncounted", ATR_VERDICT_UNKNOWN, "At least 3 spans wait");
	seen.exists = false;
	is("left", ATR_VERDICT_PARTLY, "left at least 3 spans");
	(void)snprintf(seen.status.settings, 256, "OTEL_TRACES_EXPORTER=console\n");
	is("left", ATR_VERDICT_PARTLY, "left at least 3 spans, which were to be printed");
	seen.waiting = 0;
	is("uncounted", ATR_VERDICT_UNKNOWN, "At least 0 spans wait");
	CHECK_INT(atr_why(&seen, NOW, why), 1);
}

TEST(what_was_to_be_printed_is_printed_by_nobody)
{
	static const struct {
		const char *settings;
		bool printed;
	} rows[] = {
		{ "OTEL_TRACES_EXPORTER=console\n", true },
		{ "OTEL_SERVICE_NAME=x\nOTEL_TRACES_EXPORTER=console,otlp/stdout", true },
		{ "OTEL_TRACES_EXPORTER=otlp/stdout\nOTEL_X=AUTOTRACE_FILE=\n", true },
		{ "OTEL_TRACES_EXPORTER=otlp\n", false },
		{ "OTEL_TRACES_EXPORTER=otlp,console\n", false },
		{ "OTEL_TRACES_EXPORTER=console,zipkin\n", false },
		{ "OTEL_TRACES_EXPORTER=console\nAUTOTRACE_FILE=/f\n", false },
		{ "OTEL_SERVICE_NAME=OTEL_TRACES_EXPORTER=console\n", false },
		{ "OTEL_TRACES_EXPORTER=", false },
		{ "", false },
	};

	well();
	seen.exists = false;
	seen.waiting = 4;
	for (size_t i = 0; i < ATR_ARRAY_LEN(rows); i++) {
		(void)snprintf(seen.status.settings, 256, "%s", rows[i].settings);
		is("left", ATR_VERDICT_PARTLY,
		   rows[i].printed ? "left 4 spans, which were to be printed"
				   : "next traced program");
	}
}
