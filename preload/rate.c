/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thresholds, and how they are told to others.
 *
 * A threshold is rounded before it is used, so that the one that is told is exactly
 * the one that decided.  Rates are interned and never freed: a context that has
 * one's carrier may keep it for as long as it likes.  There are few of them: one
 * setting, or the steps of a ratio that is steered (preload/adaptive.c), or what a
 * remote strategy says.
 */
#include "preload/rate.h"

#include <string.h>

#include "preload/carrier.h"
#include "preload/compiler.h"

#define PRECISION 4 /* hex digits */
#define RATES_MAX 1024

static struct atr_rate rates[RATES_MAX];
static uint32_t n_rates;		 /* given out; may count beyond the end */
static const struct atr_rate *published; /* the list */

static const char hex_digits[] = "0123456789abcdef";

uint64_t atr_rate_threshold(double ratio)
{
	uint64_t threshold, unit;
	unsigned digits = PRECISION;

	/* Also what is no number at all. */
	if (!(ratio > 0))
		return ATR_RATE_NEVER;
	if (ratio >= 1)
		return 0;
	/* Below 2^-53 the difference to 1 is lost in a double; the product is not. */
	threshold = ATR_RATE_NEVER - (uint64_t)(ratio * (double)ATR_RATE_NEVER + 0.5);
	if (threshold == ATR_RATE_NEVER)
		return ATR_RATE_NEVER;
	for (int shift = 52; shift >= 0 && (threshold >> shift & 15) == 15; shift -= 4)
		digits++;
	if (digits >= ATR_RATE_DIGITS)
		return threshold;
	unit = 1ull << (4 * (ATR_RATE_DIGITS - digits));
	return (threshold + unit / 2) & ~(unit - 1);
}

size_t atr_rate_text(uint64_t threshold, char text[static ATR_RATE_DIGITS])
{
	size_t n = 0;

	do {
		text[n++] = hex_digits[threshold >> 52 & 15];
		threshold = threshold << 4 & (ATR_RATE_NEVER - 1);
	} while (threshold);
	return n;
}

bool atr_rate_read(struct atr_slice text, uint64_t *ret_threshold)
{
	uint64_t v = 0;

	if (!text.len || text.len > ATR_RATE_DIGITS)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		const char *digit = text.p[i] ? strchr(hex_digits, text.p[i]) : NULL;

		if (!digit)
			return false;
		v = v << 4 | (uint64_t)(digit - hex_digits);
	}
	*ret_threshold = v << (4 * (ATR_RATE_DIGITS - text.len));
	return true;
}

/* The tracestate of traces that begin with this threshold. */
static void set_tracestate(struct atr_rate *rate)
{
	char text[sizeof("ot=th:") + ATR_RATE_DIGITS] = "ot=th:";
	size_t n = strlen(text);

	if (rate->threshold >= ATR_RATE_NEVER)
		return; /* nobody has it */
	n += atr_rate_text(rate->threshold, text + n);
	rate->carrier = atr_carrier_new((struct atr_slice){ text, n }, (struct atr_slice){ 0 });
	if (rate->carrier)
		rate->carrier_gen = rate->carrier->gen;
}

const struct atr_rate *atr_rate_of(uint64_t threshold)
{
	struct atr_rate *rate;
	uint32_t i;

	/* Pairs with the release below: what is in the list is whole. */
	for (const struct atr_rate *r = atr_load_acquire(&published); r; r = r->next)
		if (r->threshold == threshold)
			return r;
	if (atr_load(&n_rates) >= RATES_MAX)
		return NULL;
	i = atr_add(&n_rates, 1u);
	if (i >= RATES_MAX)
		return NULL;
	rate = &rates[i];
	rate->threshold = threshold;
	set_tracestate(rate);
	rate->next = atr_load(&published);
	while (!__atomic_compare_exchange_n(&published, &rate->next, rate, 0, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED))
		;
	return rate;
}
