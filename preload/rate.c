/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thresholds, and how they are told to others.
 *
 * A threshold is rounded before it is used, so that the one that is told is exactly
 * the one that decided.
 *
 * Rates are shared, and counted by those who decide by them: one setting, the steps of a
 * ratio that is steered (preload/adaptive.c), or what a remote strategy says.  Those that nobody
 * uses stay as they are, for contexts still have their carriers, until all others are used up;
 * the one that was given back first becomes the next new one.  A context that is older than that
 * tells no threshold any more.
 */
#include "preload/rate.h"

#include <string.h>

#include "preload/carrier.h"
#include "preload/compiler.h"

#define PRECISION 4 /* hex digits */

static struct atr_rate rates[ATR_RATES_MAX];
static uint32_t n_rates; /* that ever were one */
static uint64_t n_given;

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
static struct atr_carrier *new_carrier(uint64_t threshold)
{
	char text[sizeof("ot=th:") + ATR_RATE_DIGITS] = "ot=th:";
	size_t n = strlen(text);

	if (threshold >= ATR_RATE_NEVER)
		return NULL; /* nobody has it */
	n += atr_rate_text(threshold, text + n);
	return atr_carrier_new((struct atr_slice){ text, n }, (struct atr_slice){ 0 });
}

/* Makes it one of this threshold.  Nobody has it, but a thread may still look at what it was. */
static void become(struct atr_rate *rate, uint64_t threshold)
{
	struct atr_carrier *was = rate->told.carrier, *carrier = new_carrier(threshold);

	atr_store(&rate->change, rate->change | 1);
	/* Pairs with the acquires in atr_rate_told(): who sees any of it sees that it is odd. */
	atr_store_release(&rate->told.threshold, threshold);
	atr_store_release(&rate->told.carrier, carrier);
	atr_store_release(&rate->told.carrier_gen, carrier ? carrier->gen : 0);
	/* Pairs with the first acquire there: what is even is whole. */
	atr_store_release(&rate->change, rate->change + 1);
	atr_carrier_release(was); /* contexts that have it find that it is gone */
}

/* A fork may come in the middle of become(). */
static bool is_whole(const struct atr_rate *rate)
{
	return rate->change && !(rate->change & 1);
}

/* One without users, NULL: there is none.  A new one is used first. */
static struct atr_rate *unused(void)
{
	struct atr_rate *found = NULL;

	if (n_rates < ATR_RATES_MAX)
		return &rates[n_rates++];
	for (size_t i = 0; i < ATR_RATES_MAX; i++)
		if (!rates[i].users && (!found || rates[i].given < found->given))
			found = &rates[i];
	return found;
}

struct atr_rate *atr_rate_take(uint64_t threshold)
{
	struct atr_rate *rate = NULL;

	for (uint32_t i = 0; i < n_rates && !rate; i++)
		if (is_whole(&rates[i]) && rates[i].told.threshold == threshold)
			rate = &rates[i];
	if (!rate) {
		rate = unused();
		if (!rate)
			return NULL;
		become(rate, threshold);
	}
	rate->users++;
	return rate;
}

void atr_rate_give(struct atr_rate *rate)
{
	if (rate && --rate->users == 0)
		rate->given = ++n_given;
}

struct atr_told atr_rate_told(struct atr_rate *const *at)
{
	struct atr_told told = { .known = true };

	for (;;) {
		struct atr_rate *rate = atr_load_acquire(at);
		uint32_t change;

		if (!rate)
			return (struct atr_told){ .known = false };
		change = atr_load_acquire(&rate->change);
		/* Pair with the releases in become(). */
		told.threshold = atr_load_acquire(&rate->told.threshold);
		told.carrier = atr_load_acquire(&rate->told.carrier);
		told.carrier_gen = atr_load_acquire(&rate->told.carrier_gen);
		/* Else it was replaced before it became another: *at is a whole one by now. */
		if (!(change & 1) && atr_load(&rate->change) == change)
			return told;
	}
}
