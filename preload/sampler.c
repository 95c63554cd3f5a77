/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The samplers a local root is asked for: a span without a parent, or with one in
 * another process.  What is below it has its decision.
 *
 * traceidratio is the consistent probability test (specification, "TraceState:
 * Probability Sampling"): the low 56 bits of the trace id are its randomness R (or
 * rv of the tracestate), T = (1 - ratio) * 2^56 is the threshold, and a trace is
 * sampled if R >= T.  So a higher ratio samples a superset, in every process of the trace.
 * T is told to others in the tracestate, and only where it is true: not while
 * traces are dropped for being too many.
 *
 * A trace that is not sampled may be a candidate: its spans are recorded and held
 * back by the reader of the rings (exporter/keep.c), which keeps them when one has failed
 * or was slow.
 */
#include "preload/sampler.h"

#include <string.h>

#include "preload/adaptive.h"
#include "preload/bucket.h"
#include "preload/carrier.h"
#include "preload/clock.h"
#include "preload/rate.h"
#include "preload/stats.h"
#include "preload/strategy.h"
#include "preload/text.h"
#include "preload/tracestate.h"

#define SECOND 1000000000u

enum root {
	ALWAYS_ON,
	ALWAYS_OFF,
	RATIO,
	ADAPTIVE,
	REMOTE,
};

/* What there is to be said to people. */
enum { NON_ROOT = 1, NOT_RANDOM = 2 };

static enum root root; /* of traces that begin here */
static bool parent_based;
static double ratio_set;
static struct atr_rate *fixed;
static struct atr_sampler_extras extras;
static bool candidates;
static struct atr_bucket ceiling;
static uint64_t refused_at; /* monotonic ns: when the ceiling was last reached; 0: never */
static uint32_t to_say, told;
bool atr_sampler_recorded = true;
bool atr_sampler_passive;
bool atr_sampler_remote;
void (*atr_sampler_wanted)(void);
static uint32_t asked_for;

void atr_sampler_init(enum atr_SAMPLER sampler, double ratio, bool recorded)
{
	static const struct {
		bool parent_based;
		uint8_t root;
	} rows[] = {
		[ATR_SAMPLER_ALWAYS_ON] = { false, ALWAYS_ON },
		[ATR_SAMPLER_ALWAYS_OFF] = { false, ALWAYS_OFF },
		[ATR_SAMPLER_TRACEIDRATIO] = { false, RATIO },
		[ATR_SAMPLER_PARENTBASED_ALWAYS_ON] = { true, ALWAYS_ON },
		[ATR_SAMPLER_PARENTBASED_ALWAYS_OFF] = { true, ALWAYS_OFF },
		[ATR_SAMPLER_PARENTBASED_TRACEIDRATIO] = { true, RATIO },
		[ATR_SAMPLER_JAEGER_REMOTE] = { false, REMOTE },
		[ATR_SAMPLER_PARENTBASED_JAEGER_REMOTE] = { true, REMOTE },
	};
	const struct atr_strategy initial = { .ratio = ratio, .per_second = -1 };

	atr_sampler_recorded = recorded;
	parent_based = rows[sampler].parent_based;
	root = rows[sampler].root;
	ratio_set = ratio;
	extras = (struct atr_sampler_extras){ .keep_errors = false };
	candidates = false;
	atr_sampler_remote = root == REMOTE;
	if (root == REMOTE)
		atr_strategy_use(&initial);
	if (root != RATIO)
		return;
	atr_rate_give(fixed);
	fixed = atr_rate_take(atr_rate_threshold(ratio));
	if (!fixed || fixed->told.threshold == ATR_RATE_NEVER)
		root = ALWAYS_OFF;
}

void atr_sampler_add(const struct atr_sampler_extras *e, void (*warn)(const char *line))
{
	char line[256];

	extras = *e;
	candidates = e->keep_errors || e->keep_slow_ms;
	atr_bucket_set(&ceiling, e->most_per_second);
	if (!e->target_per_second)
		return;
	if (root == ALWAYS_ON || root == RATIO) {
		atr_adaptive_init(e->target_per_second, root == RATIO ? ratio_set : 1);
		root = ADAPTIVE;
		return;
	}
	(void)atr_format(line, sizeof(line),
			 "AUTOTRACE_TARGET_TRACES_PER_SECOND=%u is not used: %s",
			 e->target_per_second,
			 root == REMOTE ? "a remote sampler decides"
					: "the sampler takes no trace that begins here");
	warn(line);
}

/* Once each; nobody waits for it. */
static void note(uint32_t what)
{
	if (!(atr_load(&to_say) & what))
		(void)__atomic_fetch_or(&to_say, what, __ATOMIC_RELAXED);
}

/* What a parent brought that is not the caller's to know. */
static void read_ot(const struct atr_context *parent, struct atr_ot *ret)
{
	ret->has_rv = false;
	if (!parent || !parent->carrier || !atr_carrier_hold(parent->carrier, parent->carrier_gen))
		return;
	atr_ot_read(atr_carrier_tracestate(parent->carrier), ret);
	atr_carrier_release(parent->carrier);
}

static uint64_t randomness(const struct atr_sampler_ask *ask)
{
	struct atr_ot ot;
	bool rv;

	if (ask->ot)
		ot = *ask->ot;
	else
		read_ot(ask->parent, &ot);
	rv = ot.has_rv;

	if (ask->parent && !ask->parent->deferred && !rv) {
		if (root == RATIO)
			note(NON_ROOT);
		if (!(ask->parent->flags & ATR_FLAG_RANDOM))
			note(NOT_RANDOM);
	}
	return rv ? ot.rv : atr_rate_randomness(ask->trace_id);
}

/* Somebody must ask what to do, though no span may ever be recorded. */
static void want_strategy(void)
{
	if (atr_load(&asked_for) || !atr_sampler_recorded)
		return;
	atr_store(&asked_for, 1u);
	if (atr_sampler_wanted)
		atr_sampler_wanted();
}

static struct atr_sampling by_rate(const struct atr_rate *rate, uint64_t r)
{
	struct atr_sampling s = { .sampled = r >= rate->told.threshold, .told = rate->told };

	s.told.known = s.sampled;
	return s;
}

static struct atr_sampling root_decides(const struct atr_sampler_ask *ask, uint64_t now)
{
	struct atr_sampling s = { .sampled = root == ALWAYS_ON };

	switch (root) {
	case ALWAYS_ON: /* a parent that said no is overruled */
		s.inherited = !ask->parent || ask->parent->flags & ATR_FLAG_SAMPLED;
		return s;
	case RATIO:
		return by_rate(fixed, randomness(ask));
	case ADAPTIVE:
		s = by_rate(atr_adaptive_rate(now), randomness(ask));
		if (s.sampled)
			atr_adaptive_sampled();
		return s;
	case REMOTE:
		want_strategy();
		s.sampled = atr_strategy_decide(randomness(ask), ask->name, now, &s.told);
		return s;
	default:
		return s;
	}
}

/*
 * A trace that is let through while others are not was sampled with a probability that
 * nobody knows.
 */
static void limit(struct atr_sampling *s, uint64_t now)
{
	uint64_t refused;

	if (!atr_bucket_take(&ceiling, now)) {
		atr_store(&refused_at, now);
		atr_count(limited, 1);
		*s = (struct atr_sampling){ .sampled = false };
		return;
	}
	refused = atr_load(&refused_at);
	if (refused && now < refused + SECOND) {
		s->inherited = false;
		s->told.known = false;
	}
}

struct atr_sampling atr_sampler_decided(bool sampled)
{
	return (struct atr_sampling){ .sampled = sampled, .candidate = !sampled && candidates };
}

struct atr_sampling atr_sampler_decide(const struct atr_sampler_ask *ask)
{
	struct atr_sampling s;
	uint64_t now = 0;

	if (parent_based && ask->parent && !ask->parent->deferred) {
		s = atr_sampler_decided(ask->parent->flags & ATR_FLAG_SAMPLED);
		s.inherited = true;
		return s;
	}
	if (atr_sampler_spends())
		now = ask->now ? ask->now : atr_now();
	s = root_decides(ask, now);
	if (s.sampled && extras.most_per_second)
		limit(&s, now);
	s.candidate = !s.sampled && candidates;
	return s;
}

size_t atr_sampler_tracestate(const struct atr_sampling *s, const uint8_t trace_id[static 16],
			      char *tracestate, size_t len, size_t room)
{
	struct atr_ot ot;

	if (atr_sampler_passive)
		return len;
	if (s->sampled && s->told.known)
		return atr_ot_set(tracestate, len, room, s->told.threshold);
	atr_ot_read((struct atr_slice){ tracestate, len }, &ot);
	if (!ot.has_th)
		return len;
	/* What is kept in the end is not kept by that. */
	if (s->inherited && !s->candidate &&
	    s->sampled == ((ot.has_rv ? ot.rv : atr_rate_randomness(trace_id)) >= ot.th))
		return len;
	return atr_ot_set(tracestate, len, room, ATR_RATE_NEVER);
}

size_t atr_sampler_environment(const struct atr_context *c, char *tracestate, size_t len,
			       size_t room)
{
	struct atr_ot ot;
	const struct atr_sampler_ask ask = { .parent = c, .trace_id = c->trace_id, .ot = &ot };
	struct atr_sampling s = { .sampled = false };

	if ((parent_based && !c->deferred) || (root < ADAPTIVE && !extras.most_per_second)) {
		atr_ot_read((struct atr_slice){ tracestate, len }, &ot);
		s = atr_sampler_decide(&ask);
	}
	return atr_sampler_tracestate(&s, c->trace_id, tracestate, len, room);
}

bool atr_sampler_roots_off(void)
{
	return (root == ALWAYS_OFF && !candidates) || !atr_sampler_recorded;
}

bool atr_sampler_spends(void)
{
	return extras.most_per_second || root >= ADAPTIVE;
}

bool atr_sampler_wants_name(void)
{
	return root == REMOTE && atr_strategy_wants_name();
}

bool atr_sampler_keeps(bool error, uint64_t ns)
{
	return (error && extras.keep_errors) ||
	       (extras.keep_slow_ms && ns >= extras.keep_slow_ms * (uint64_t)1000000);
}

void atr_sampler_say(void (*log)(enum atr_LOG_LEVEL level, const char *fmt, ...))
{
	uint32_t news = atr_load(&to_say) & ~told;

	told |= news;
	if (news & NON_ROOT)
		log(ATR_LOG_WARN, "OTEL_TRACES_SAMPLER=traceidratio decides about traces that "
				  "began elsewhere; parentbased_traceidratio keeps them whole");
	if (news & NOT_RANDOM)
		log(ATR_LOG_WARN, "traces come without the random flag; their ids are taken to be "
				  "random all the same");
}

void atr_sampler_forked(void)
{
	atr_store(&asked_for, 0u);
	atr_adaptive_forked();
}
