/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_PROPAGATOR_H
#define ATR_HOOKS_PROPAGATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hooks/http1.h"
#include "preload/context.h"
#include "preload/slice.h"

/*
 * Trace context in HTTP header fields: W3C Trace Context Level 2, W3C Baggage, B3,
 * Jaeger, and a plain header with the trace id.  Pure but for the list below,
 * which is made once from the settings.
 */
enum atr_propagator {
	ATR_PROPAGATE_TRACECONTEXT = 1,
	ATR_PROPAGATE_BAGGAGE = 2,
	ATR_PROPAGATE_B3 = 4,
	ATR_PROPAGATE_B3MULTI = 8,
	ATR_PROPAGATE_JAEGER = 16,
};

#define ATR_PROPAGATORS_MAX 5

struct atr_propagators {
	uint8_t list[ATR_PROPAGATORS_MAX]; /* enum atr_propagator, in order, each once */
	uint8_t n;
	uint8_t mask;		 /* all of them */
	char trace_id_name[64];	 /* AUTOTRACE_TRACE_ID_HEADER as configured; "" for none */
	char trace_id_lower[64]; /* the same in lower case */
	uint8_t trace_id_len;	 /* of either; 0 for none */
	uint8_t trace_id_field;	 /* enum atr_http_field, or ATR_HTTP_N_FIELDS */
};

extern struct atr_propagators atr_propagators;

/*
 * Reads OTEL_PROPAGATORS and AUTOTRACE_TRACE_ID_HEADER (either may be NULL).  NULL or ""
 * for the list is the default, tracecontext,baggage.  An unknown name is reported with one
 * line and left out; "none" anywhere switches all of the list off.  A header that is no name,
 * or has a meaning of its own (Host, Cookie, traceparent...), is reported and not used.
 */
void atr_propagators_init(const char *list, const char *trace_id_header,
			  void (*warn)(const char *line));

/* Room for the combined tracestate, and for the combined baggage. */
#define ATR_TRACESTATE_MAX 16896 /* 32 members of 256 + 1 + 256, and commas */
#define ATR_BAGGAGE_MAX 8192	 /* W3C Baggage 3.3.2: at least this much is propagated */

/*
 * A tracestate from elsewhere (the environment), and a baggage: what of it may be sent on.
 * ret never gets a control character.  Returns the length; 0: nothing.
 */
size_t atr_tracestate_read(struct atr_slice value, char ret[static ATR_TRACESTATE_MAX]);
size_t atr_baggage_read(struct atr_slice value, char ret[static ATR_BAGGAGE_MAX]);

enum atr_decision { ATR_UNDECIDED, ATR_NOT_SAMPLED, ATR_SAMPLED };

/* What a request brought. */
struct atr_remote {
	/*
	 * valid: there is a remote parent (ids, flags, deferred, debug; no carrier).
	 * Otherwise the next two may say something.
	 */
	struct atr_context context;
	bool has_trace_id; /* only a trace id came (the plain header): context.trace_id */
	/* b3: 0, 1 or d alone, without ids; with d context.debug is set */
	enum atr_decision decision;
	size_t tracestate_len;
	size_t baggage_len;
	char tracestate[ATR_TRACESTATE_MAX]; /* members as they came, joined by ','; OWS and empty
						ones gone */
	char baggage[ATR_BAGGAGE_MAX];	     /* values as they came, joined by ',' */
};

/*
 * Reads them all in the list's order; a later one that is valid wins.  Where it names
 * the same span as an earlier one, it adds to that: tracestate, debug and the random flag stay.
 */
void atr_propagators_extract(const struct atr_http_head *head, struct atr_remote *ret);

/* ---- out ---- */

/*
 * The context a program's own request head carries in a trace header of a listed
 * format (tracecontext first): false when it carries none that is valid.
 */
bool atr_propagators_carried(const struct atr_http_head *head, struct atr_context *ret);

/*
 * The head passes `from` on (same trace and span id): every trace header in it that
 * carries from's span id gets to's span id and sampled flag, in place and same length.  head was
 * parsed out of `copy`, which is ours to write to.  Only formats of the list; a debug flag
 * (B3's d, Jaeger's 2) stays, and so does the sampled flag beside it.
 */
void atr_propagators_replace(char *copy, const struct atr_http_head *head,
			     const struct atr_context *from, const struct atr_context *to);

#define ATR_INJECT_MAX 512 /* all lines but tracestate and baggage */

/*
 * Header lines, each with CRLF, that the program does not send itself: of every listed
 * format, but tracestate and baggage; and the plain trace id.  Of X-B3-... all or none.  In B3 a
 * context that is deferred and not sampled has no sampling state.  Returns their length.
 */
size_t atr_propagators_inject(const struct atr_context *context, const struct atr_http_head *head,
			      char buf[static ATR_INJECT_MAX]);

/* Does the head lack its own, so that ours are to be added (and is the format listed)? */
bool atr_propagators_wants_tracestate(const struct atr_http_head *head);
bool atr_propagators_wants_baggage(const struct atr_http_head *head);

#endif
