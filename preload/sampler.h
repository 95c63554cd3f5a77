/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_SAMPLER_H
#define ATR_PRELOAD_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/config.h"
#include "preload/context.h"
#include "preload/rate.h"
#include "preload/slice.h"

struct atr_ot;
struct atr_strategy;

/*
 * Head sampling (OpenTelemetry specification, "Sampling"; trace SDK).  recorded: does
 * anybody take the spans?  If not, decisions are made all the same, for they are
 * handed on to the next service.
 */
void atr_sampler_init(enum atr_SAMPLER sampler, double ratio, bool recorded);

/* What is asked for on top of the sampler; by default nothing of it. */
struct atr_sampler_extras {
	bool keep_errors;	    /* AUTOTRACE_KEEP_ERRORS */
	uint32_t keep_slow_ms;	    /* AUTOTRACE_KEEP_SLOW_MS; 0: none */
	uint32_t most_per_second;   /* AUTOTRACE_MAX_TRACES_PER_SECOND; 0: no limit */
	uint32_t target_per_second; /* AUTOTRACE_TARGET_TRACES_PER_SECOND; 0: none */
};

/* After atr_sampler_init(); warn() is told what the sampler leaves nothing to do for. */
void atr_sampler_add(const struct atr_sampler_extras *extras, void (*warn)(const char *line));

/* A local root that is to be decided about. */
struct atr_sampler_ask {
	const struct atr_context *parent; /* remote; NULL: there is none */
	const uint8_t *trace_id;
	const struct atr_ot *ot; /* of the parent's tracestate; NULL: not known to have one */
	struct atr_slice name;	 /* of the operation, where atr_sampler_wants_name() */
	uint64_t now;		 /* monotonic ns; 0: asked for when needed */
};

struct atr_sampling {
	bool sampled;
	bool candidate;	      /* not sampled, but to be recorded: it may be kept in the end */
	bool inherited;	      /* the parent's tracestate says the probability, if it does */
	struct atr_told told; /* what was sampled with */
};

struct atr_sampling atr_sampler_decide(const struct atr_sampler_ask *ask);

/* Of a trace that somebody else has decided about. */
struct atr_sampling atr_sampler_decided(bool sampled);

/*
 * Makes the tracestate that came with the parent say what is true of the decision: th is set,
 * left, or taken away.  In place, in `room` bytes; returns the length.
 */
size_t atr_sampler_tracestate(const struct atr_sampling *s, const uint8_t trace_id[static 16],
			      char *tracestate, size_t len, size_t room);

/*
 * The same for the process's own context (TRACEPARENT), once: where its roots will not all be
 * decided about alike, no threshold is true of them.
 */
size_t atr_sampler_environment(const struct atr_context *c, char *tracestate, size_t len,
			       size_t room);

/* True when no root is ever recorded, so that one that nobody is told of needs no id. */
bool atr_sampler_roots_off(void);

/* Does a decision leave less for those behind it (tokens, the steered ratio)? */
bool atr_sampler_spends(void);

/* Does a decision depend on the name of the operation? */
bool atr_sampler_wants_name(void);

/* Is a trace kept for this span, though it was not sampled? */
bool atr_sampler_keeps(bool error, uint64_t ns);

/*
 * Is the strategy a remote one, so that somebody must ask for it?  wanted() is called when the
 * first decision is made.
 */
extern bool atr_sampler_remote;
extern void (*atr_sampler_wanted)(void);

/* Is a sampled span to be recorded? */
extern bool atr_sampler_recorded;

/*
 * No span is made at all, and a context that came is handed on as it is
 * (OpenTelemetry specification, "Propagators in the absence of an SDK").
 */
extern bool atr_sampler_passive;

/* From the background thread, now and then: what the sampler has to say to people, once each. */
void atr_sampler_say(void (*log)(enum atr_LOG_LEVEL level, const char *fmt, ...));

/* In a forked child. */
void atr_sampler_forked(void);

#endif
