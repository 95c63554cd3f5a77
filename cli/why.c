/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/why.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/seen.h"
#include "preload/compiler.h"
#include "preload/spool.h"

#define NS_PER_S 1000000000ull

struct why {
	const struct atr_seen *s;
	uint64_t now;
	struct atr_reason *out;
	size_t n;
};

static void atr_printf(4, 5)
	because(struct why *w, enum atr_verdict verdict, const char *code, const char *fmt, ...)
{
	struct atr_reason *r = &w->out[w->n];
	va_list args;

	if (w->n == ATR_REASONS_MAX)
		return;
	/* What is as it should be goes behind what is not. */
	for (; verdict != ATR_VERDICT_OK && r > w->out && r[-1].verdict == ATR_VERDICT_OK; r--)
		*r = r[-1];
	r->verdict = verdict;
	r->code = code;
	va_start(args, fmt);
	(void)vsnprintf(r->text, sizeof(r->text), fmt, args);
	va_end(args);
	w->n++;
}

const char *atr_ago(uint64_t now, uint64_t then)
{
	static char texts[2][32];
	static unsigned which;
	char *text = texts[which++ % 2];
	uint64_t ns = now > then ? now - then : then - now, s = ns / NS_PER_S;

	if (s < 60)
		(void)snprintf(text, sizeof(texts[0]), "%llu.%llu s", (unsigned long long)s,
			       (unsigned long long)(ns % NS_PER_S / (NS_PER_S / 10)));
	else if (s < 2 * 3600)
		(void)snprintf(text, sizeof(texts[0]), "%llu min", (unsigned long long)(s / 60));
	else
		(void)snprintf(text, sizeof(texts[0]), "%llu h", (unsigned long long)(s / 3600));
	return text;
}

static unsigned long long count(const struct why *w, const char *name)
{
	return atr_seen_counter(w->s, name);
}

/* ---- it is not traced ---- */

static void not_a_program_for_us(struct why *w)
{
	const struct atr_seen *s = w->s;

	switch (s->elf) {
	case ATR_ELF_STATIC:
		because(w, ATR_VERDICT_NONE, "static",
			"%s is %s: no library can be preloaded into it.", s->exe,
			s->go ? "a static Go program" : "statically linked");
		break;
	case ATR_ELF_OTHER_LIBC:
		because(w, ATR_VERDICT_NONE, "other_libc",
			"%s is linked against another libc than glibc (musl, for example).",
			s->exe);
		break;
	case ATR_ELF_FOREIGN:
		because(w, ATR_VERDICT_NONE, "other_machine",
			"%s is made for another kind of machine, or for 32 bits.", s->exe);
		break;
	default:
		break;
	}
}

static void not_loaded(struct why *w)
{
	const struct atr_seen *s = w->s;

	not_a_program_for_us(w);
	if (w->n)
		return;
	if (s->secure)
		because(w, ATR_VERDICT_NONE, "other_rights",
			"%s runs with other rights than who started it had (setuid, setgid or "
			"capabilities): the loader ignores LD_PRELOAD there.",
			s->exe);
	else if (!s->preload)
		because(w, ATR_VERDICT_NONE, "not_preloaded",
			"It was started without libautotrace.so in LD_PRELOAD: start it by "
			"'autotrace run', or set LD_PRELOAD for it and for no one in between who "
			"cleans the environment (sudo, env -i, systemd).");
	else if (s->library_missing)
		because(w, ATR_VERDICT_NONE, "library_missing",
			"LD_PRELOAD names %s, and there is no such file.", s->library);
	else
		because(w, ATR_VERDICT_NONE, "not_loaded",
			"LD_PRELOAD names %s, but the loader did not load it: it said why on the "
			"program's standard error when that started.",
			s->library);
}

/* ---- it is, and is told to send nothing ---- */

static bool keeps(const struct atr_config *c)
{
	return c->keep_errors || c->keep_slow_ms;
}

static bool is_remote(const struct atr_config *c)
{
	return c->sampler == ATR_SAMPLER_JAEGER_REMOTE ||
	       c->sampler == ATR_SAMPLER_PARENTBASED_JAEGER_REMOTE;
}

/* Does it as those say who call it, or have started it? */
static bool is_parent_based(const struct atr_config *c)
{
	return c->sampler == ATR_SAMPLER_PARENTBASED_ALWAYS_ON ||
	       c->sampler == ATR_SAMPLER_PARENTBASED_ALWAYS_OFF ||
	       c->sampler == ATR_SAMPLER_PARENTBASED_TRACEIDRATIO ||
	       c->sampler == ATR_SAMPLER_PARENTBASED_JAEGER_REMOTE;
}

static void nothing_sampled(struct why *w, const char *code, const char *setting)
{
	if (keeps(&w->s->config))
		because(w, ATR_VERDICT_PARTLY, "sampler_kept",
			"%s in its environment: only traces in which something failed "
			"(AUTOTRACE_KEEP_ERRORS) or was slow (AUTOTRACE_KEEP_SLOW_MS) are "
			"exported, "
			"where that is set.",
			setting);
	else
		because(w, ATR_VERDICT_NONE, code, "%s in its environment: no trace is recorded.",
			setting);
}

static void remote_sampler(struct why *w)
{
	const struct atr_seen *s = w->s;

	if (s->told && s->status.strategy[0])
		because(w, ATR_VERDICT_PARTLY, "sampler_remote",
			"OTEL_TRACES_SAMPLER=jaeger_remote in its environment, %s.",
			s->status.strategy);
	else
		because(w, ATR_VERDICT_PARTLY, "sampler_remote",
			"OTEL_TRACES_SAMPLER=jaeger_remote in its environment: %g of the traces is "
			"recorded until its backend has said what is; whether it has, cannot be "
			"seen from here.",
			s->config.jaeger.ratio);
}

static void sampler(struct why *w)
{
	const struct atr_config *c = &w->s->config;
	const char *also = keeps(c) ? ", and what was kept (AUTOTRACE_KEEP_*)" : "";

	switch (c->sampler) {
	case ATR_SAMPLER_ALWAYS_OFF:
		nothing_sampled(w, "sampler_off", "OTEL_TRACES_SAMPLER=always_off");
		break;
	case ATR_SAMPLER_PARENTBASED_ALWAYS_OFF:
		because(w, ATR_VERDICT_PARTLY, "sampler_parents_only",
			"OTEL_TRACES_SAMPLER=parentbased_always_off in its environment: only what "
			"belongs to a trace that others sampled is recorded%s.",
			also);
		break;
	case ATR_SAMPLER_TRACEIDRATIO:
		if (c->sampler_arg <= 0)
			nothing_sampled(w, "sampler_ratio", "OTEL_TRACES_SAMPLER_ARG=0");
		else if (c->sampler_arg < 1)
			because(w, ATR_VERDICT_OK, "sampler_ratio",
				"OTEL_TRACES_SAMPLER_ARG=%g: this part of the traces is "
				"recorded%s.",
				c->sampler_arg, also);
		break;
	case ATR_SAMPLER_PARENTBASED_TRACEIDRATIO:
		if (c->sampler_arg <= 0)
			because(w, ATR_VERDICT_PARTLY, "sampler_parents_only",
				"OTEL_TRACES_SAMPLER_ARG=0 in its environment: only what belongs "
				"to "
				"a trace that others sampled is recorded%s.",
				also);
		else if (c->sampler_arg < 1)
			because(w, ATR_VERDICT_OK, "sampler_ratio",
				"OTEL_TRACES_SAMPLER_ARG=%g: this part of the traces that begin "
				"here is recorded%s.",
				c->sampler_arg, also);
		break;
	case ATR_SAMPLER_JAEGER_REMOTE:
	case ATR_SAMPLER_PARENTBASED_JAEGER_REMOTE:
		remote_sampler(w);
		break;
	default:
		break;
	}
	if (c->target_traces_per_second && c->sampler != ATR_SAMPLER_ALWAYS_OFF &&
	    c->sampler != ATR_SAMPLER_PARENTBASED_ALWAYS_OFF && !is_remote(c))
		because(w, ATR_VERDICT_OK, "sampler_target",
			"AUTOTRACE_TARGET_TRACES_PER_SECOND=%u in its environment: of the traces "
			"that begin here about so many are recorded.",
			c->target_traces_per_second);
}

static void settings(struct why *w)
{
	const struct atr_config *c = &w->s->config;

	if (!w->s->config_known)
		return;
	if (c->sdk_disabled) {
		because(w, ATR_VERDICT_NONE, "disabled",
			"OTEL_SDK_DISABLED=true in its environment.");
		return;
	}
	if (!atr_config_exports(c)) {
		because(w, ATR_VERDICT_NONE, "exporter_none",
			"OTEL_TRACES_EXPORTER=none in its environment: it propagates, and records "
			"nothing.");
		return;
	}
	sampler(w);
	if (w->s->parent_unsampled && is_parent_based(c) && !w->s->written)
		because(w, ATR_VERDICT_PARTLY, "parent_unsampled",
			"Who started it decided not to sample (TRACEPARENT=...-00 in its "
			"environment): nothing that begins in it is recorded%s.",
			keeps(c) ? ", but what is kept (AUTOTRACE_KEEP_*)" : "");
	if (c->ignore && !w->s->written)
		because(w, ATR_VERDICT_PARTLY, "ignored",
			"AUTOTRACE_IGNORE=%.200s in its environment: HTTP requests that this fits "
			"are not recorded.",
			c->ignore);
}

/* Only what is sampled or kept makes one; a thread there may be before. */
static bool should_have_file(const struct atr_seen *s)
{
	return s->thread && !(s->config_known && (keeps(&s->config) || is_remote(&s->config)));
}

/* It makes its file with its first span, and of those that are none nobody hears. */
static void idle(struct why *w)
{
	const struct atr_config *c = &w->s->config;
	bool parents = w->s->config_known && is_parent_based(c);
	bool ceiling = w->s->config_known && c->max_traces_per_second;

	because(w, ATR_VERDICT_OK, parents || ceiling ? "idle_or_unsampled" : "idle",
		"It is traced and has recorded nothing yet: no network operation of it has ended "
		"that becomes a span%s%s.",
		parents ? ", or whoever called it decided not to sample (traceparent: ...-00)" : "",
		ceiling ? ", or all were refused by AUTOTRACE_MAX_TRACES_PER_SECOND" : "");
}

/* Without a file there is nothing that it says of itself. */
static void no_file(struct why *w)
{
	const struct atr_seen *s = w->s;

	settings(w);
	if (w->n && w->out[0].verdict == ATR_VERDICT_NONE)
		return;
	if (s->tsan)
		because(w, ATR_VERDICT_NONE, "tsan",
			"It is built with ThreadSanitizer, where libautotrace does nothing.");
	else if (s->sandboxed)
		because(w, ATR_VERDICT_NONE, "sandbox",
			"It is in a seccomp sandbox: what it does there is not traced; what came "
			"before was sent.");
	else if (should_have_file(s) || s->valgrind ||
		 (s->config_known && !s->config.spool_max_bytes))
		because(w, ATR_VERDICT_UNKNOWN, "no_file",
			"It keeps its spans in memory (%s), so its counters cannot be seen from "
			"here: AUTOTRACE_DEBUG=stats prints them when it ends.",
			s->valgrind ? "as under valgrind"
			: s->config_known && !s->config.spool_max_bytes
				? "AUTOTRACE_SPOOL_MAX_BYTES=0"
				: "it said why on its standard error");
	else if (s->thread)
		because(w, ATR_VERDICT_OK, "idle",
			"It is traced, and nothing has been sampled or kept yet.");
	else
		idle(w);
}

/* ---- it says itself ---- */

static void gate(struct why *w)
{
	const struct atr_status *t = &w->s->status;

	if (t->tracing == ATR_TRACING_BUG)
		because(w, ATR_VERDICT_NONE, "bug",
			"libautotrace found an inconsistency of its own and has switched itself "
			"off "
			"in this process; the line on its standard error says where: please report "
			"it.");
	else if (t->tracing == ATR_TRACING_SANDBOX)
		because(w, ATR_VERDICT_NONE, "sandbox",
			"It has entered a seccomp sandbox and is not traced any more.");
	switch (t->working) {
	case ATR_WORKING_NO_EXPORTER:
		because(w, ATR_VERDICT_NONE, "no_exporter",
			"libautotrace-exporter.so could not be loaded: it stands beside "
			"libautotrace.so and needs libcurl, libprotobuf-c and zlib.");
		break;
	case ATR_WORKING_NO_THREAD:
		because(w, ATR_VERDICT_NONE, "no_thread",
			"No background thread could be started (a limit on threads, or a fork in "
			"the middle of an export).");
		break;
	case ATR_WORKING_RESOLVING:
		because(w, ATR_VERDICT_NONE, "resolving",
			"It is looking up the address of its collector (%s): its name server does "
			"not "
			"answer.",
			t->health.endpoint[0] ? t->health.endpoint : "see the settings");
		break;
	default:
		break;
	}
}

static void collector(struct why *w)
{
	const struct atr_health *h = &w->s->status.health;
	bool ever = h->ok_at != 0;
	bool somewhere = ever || count(w, "copied"); /* another exporter takes them */

	if (h->error_at && h->error_at == h->ok_at)
		because(w, ATR_VERDICT_PARTLY, "beside",
			"%s took the last batch, and another exporter did not: %s.", h->endpoint,
			h->error);
	if (h->error_at <= h->ok_at)
		return;
	because(w, somewhere ? ATR_VERDICT_PARTLY : ATR_VERDICT_NONE, "collector",
		"The last export to %s failed, %s ago: %s.%s%s%s", h->endpoint,
		atr_ago(w->now, h->error_at), h->error,
		ever ? " The last one that was accepted was " : " None was accepted yet.",
		ever ? atr_ago(w->now, h->ok_at) : "", ever ? " ago." : "");
}

/* Do the words of the last error tell of spans that were refused (exporter/delivery.c)? */
static bool is_refusal(const char *error)
{
	static const char *const beginnings[] = { "refused: ", "rejected ", "a span of " };

	for (size_t i = 0; i < ATR_ARRAY_LEN(beginnings); i++)
		if (strncmp(error, beginnings[i], strlen(beginnings[i])) == 0)
			return true;
	return false;
}

static void losses(struct why *w)
{
	const struct atr_seen *s = w->s;
	const char *error = s->status.health.error;

	if (count(w, "queue_full"))
		because(w, ATR_VERDICT_PARTLY, "queue_full",
			"%llu spans were dropped because as many waited as "
			"OTEL_BSP_MAX_QUEUE_SIZE allows: raise it, or give the collector more "
			"room.",
			count(w, "queue_full"));
	if (count(w, "ring_full"))
		because(w, ATR_VERDICT_PARTLY, "ring_full",
			"%llu spans were dropped because a ring was full: %s.",
			count(w, "ring_full"),
			!s->config_known || s->config.ring_size_set
				? "raise AUTOTRACE_RING_SIZE, or leave it out"
				: "more came at a time than could be read, or all rings together "
				  "have their 256 MiB");
	if (count(w, "rejected"))
		because(w, ATR_VERDICT_PARTLY, "rejected",
			"The collector refused %llu spans: its log says why%s%s.",
			count(w, "rejected"), is_refusal(error) ? "; it last said: " : "",
			is_refusal(error) ? error : "");
	if (count(w, "missed"))
		because(w, ATR_VERDICT_PARTLY, "missed",
			"%llu spans went to the other exporters alone, for %s did not take them "
			"in time.",
			count(w, "missed"), s->status.health.endpoint);
	if (count(w, "copies_lost"))
		because(w, ATR_VERDICT_PARTLY, "copies_lost",
			"%llu spans are missing where an exporter beside %s puts them.",
			count(w, "copies_lost"), s->status.health.endpoint);
	if (count(w, "no_memory") || count(w, "too_long"))
		because(w, ATR_VERDICT_PARTLY, "dropped",
			"%llu spans were dropped for want of memory, %llu because they were too "
			"long.",
			count(w, "no_memory"), count(w, "too_long"));
	if (count(w, "keep_overflow"))
		because(w, ATR_VERDICT_PARTLY, "kept_too_many",
			"%llu spans that might have been kept were dropped, for more was held back "
			"than 8 MiB or 4,096 traces, or for longer than 5 minutes.",
			count(w, "keep_overflow"));
	if (count(w, "keep_limited"))
		because(w, ATR_VERDICT_PARTLY, "kept_limited",
			"%llu spans of traces that failed or were slow were dropped: as many were "
			"kept as AUTOTRACE_MAX_TRACES_PER_SECOND allows.",
			count(w, "keep_limited"));
	if (count(w, "limited"))
		because(w, ATR_VERDICT_PARTLY, "limited",
			"%llu traces were not sampled, for more began than "
			"AUTOTRACE_MAX_TRACES_PER_SECOND allows.",
			count(w, "limited"));
	if (s->status.spool_full)
		because(w, ATR_VERDICT_PARTLY, "spool_full",
			"The spool is full (AUTOTRACE_SPOOL_MAX_BYTES): 'autotrace drain' sends "
			"what "
			"dead processes left there.");
}

static void uncounted(struct why *w)
{
	because(w, ATR_VERDICT_UNKNOWN, "uncounted",
		"At least %llu spans wait: its file was not looked at to the end, for that takes "
		"too long (64 MiB of a file, 256 MiB in all).",
		(unsigned long long)w->s->waiting);
}

/* Nothing is wrong, as far as can be seen. */
static void fine(struct why *w)
{
	const struct atr_seen *s = w->s;

	if (s->uncounted)
		uncounted(w);
	else if (!s->written)
		because(w, ATR_VERDICT_OK, "idle", "It has recorded nothing yet.");
	else if (s->status.health.inflight)
		because(w, ATR_VERDICT_OK, "waiting",
			"%llu spans wait, %llu of them for an answer of %s.",
			(unsigned long long)s->waiting,
			(unsigned long long)s->status.health.inflight, s->status.health.endpoint);
	else if (s->waiting)
		because(w, ATR_VERDICT_OK, "waiting",
			"%llu spans wait for their batch, which goes every "
			"OTEL_BSP_SCHEDULE_DELAY.",
			(unsigned long long)s->waiting);
	else
		because(w, ATR_VERDICT_OK, "ok", "All that it has recorded was exported.");
}

static void by_itself(struct why *w)
{
	const struct atr_seen *s = w->s;

	if (!s->told) {
		because(w, ATR_VERDICT_UNKNOWN, "other_version",
			"Its file is of another version of libautotrace than this command.");
		return;
	}
	gate(w);
	if (s->stopped)
		because(w, ATR_VERDICT_NONE, "stopped",
			"It is stopped (SIGSTOP, or a debugger), and its background thread with "
			"it.");
	collector(w);
	losses(w);
	if (!w->n || w->out[0].verdict != ATR_VERDICT_NONE)
		settings(w);
	if (!w->n)
		fine(w);
}

/* A setting as the process showed it, up to the end of its line; NULL: it did not. */
static const char *setting(const struct atr_seen *s, const char *name)
{
	const char *p = s->told ? s->status.settings : "";
	size_t n = strlen(name);

	for (; *p; p += strcspn(p, "\n"), p += *p == '\n')
		if (strncmp(p, name, n) == 0 && p[n] == '=')
			return p + n + 1;
	return NULL;
}

/* Did it only print its spans?  Then nobody does it for it. */
static bool only_prints(const struct atr_seen *s)
{
	static const char *const printers[] = { "console", "otlp/stdout" };
	const char *p = setting(s, "OTEL_TRACES_EXPORTER");
	bool prints = false;

	if (!p || setting(s, "AUTOTRACE_FILE"))
		return false;
	for (size_t n; *p && *p != '\n'; p += n + (p[n] == ',')) {
		n = strcspn(p, ",\n");
		prints = false;
		for (size_t i = 0; i < ATR_ARRAY_LEN(printers); i++)
			prints |= n == strlen(printers[i]) && memcmp(p, printers[i], n) == 0;
		if (!prints)
			break;
	}
	return prints;
}

static void left(struct why *w)
{
	const struct atr_seen *s = w->s;
	unsigned long long n = s->waiting;
	const char *least = s->uncounted ? "at least " : "";
	uint64_t until = atr_spool_rests_until(s->given_up, s->n_given_up, w->now);
	char user[32] = "";

	if (s->others)
		(void)snprintf(user, sizeof(user), " of user %u", (unsigned)s->uid);

	if (only_prints(s))
		because(w, ATR_VERDICT_PARTLY, "left",
			"It has ended and left %s%llu spans, which were to be printed: nobody does "
			"that for it, but an 'autotrace drain --exporter console'%s.",
			least, n, user);
	else if (until)
		because(w, ATR_VERDICT_PARTLY, "left",
			"It has ended and left %s%llu spans, and who sent them last (%s ago) ended "
			"without an answer: traced programs%s leave them alone for another %s, "
			"then the next one with the same collector sends them; an 'autotrace "
			"drain'%s does so now.",
			least, n, atr_ago(w->now, s->given_up), user, atr_ago(w->now, until), user);
	else
		because(w, ATR_VERDICT_PARTLY, "left",
			"It has ended and left %s%llu spans: the next traced program%s with the "
			"same collector sends them, or an 'autotrace drain'%s.",
			least, n, user, user);
}

static void dead(struct why *w)
{
	const struct atr_seen *s = w->s;

	if (!s->file)
		because(w, ATR_VERDICT_UNKNOWN, "no_process",
			"There is no process %d, and it has left nothing.", s->pid);
	else if (s->waiting)
		left(w);
	else if (s->uncounted)
		uncounted(w);
	else
		because(w, ATR_VERDICT_OK, "ok",
			"It has ended, and all its spans are on their way.");
	if (s->file && s->told) {
		gate(w);
		if (s->waiting)
			collector(w);
		losses(w);
	}
}

size_t atr_why(const struct atr_seen *s, uint64_t now,
	       struct atr_reason out[static ATR_REASONS_MAX])
{
	struct why w = { .s = s, .now = now, .out = out };

	if (!s->exists || s->zombie)
		dead(&w);
	else if (!s->readable)
		because(&w, ATR_VERDICT_UNKNOWN, "not_readable",
			"It may not be looked at: it is another user's, or runs with other rights "
			"than yours (and then the loader ignores LD_PRELOAD).");
	else if (!s->mapped)
		not_loaded(&w);
	else if (!s->file)
		no_file(&w);
	else
		by_itself(&w);
	return w.n;
}
