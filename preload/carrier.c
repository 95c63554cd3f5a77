/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/carrier.h"

#include <string.h>

#include "preload/compiler.h"
#include "preload/stats.h"

#define TRACESTATE "tracestate: "
#define BAGGAGE "baggage: "
#define EOL "\r\n"

/* Nearly every tracestate is short; the longest that may come fits the large ones. */
#define SMALL 1024
#define LARGE 26000

static struct atr_pool small_ones = {
	.size = sizeof(struct atr_carrier) + SMALL,
	.per_chunk = 64,
	.max = 16384,
};
static struct atr_pool large_ones = {
	.size = (sizeof(struct atr_carrier) + LARGE + 7) & ~(size_t)7,
	.per_chunk = 8,
	.max = 1024,
};

static size_t line_len(size_t name_len, size_t value_len)
{
	return value_len ? name_len + value_len + sizeof(EOL) - 1 : 0;
}

static size_t tracestate_line(size_t value_len)
{
	return line_len(sizeof(TRACESTATE) - 1, value_len);
}

static size_t baggage_line(size_t value_len)
{
	return line_len(sizeof(BAGGAGE) - 1, value_len);
}

static char *put_line(char *p, const char *name, struct atr_slice value)
{
	size_t len = strlen(name);

	if (!value.len)
		return p;
	memcpy(p, name, len);
	memcpy(p + len, value.p, value.len);
	memcpy(p + len + value.len, EOL, sizeof(EOL) - 1);
	return p + line_len(len, value.len);
}

struct atr_carrier *atr_carrier_new(struct atr_slice tracestate, struct atr_slice baggage)
{
	size_t len = tracestate_line(tracestate.len) + baggage_line(baggage.len);
	struct atr_carrier *c;

	if (!len || len > LARGE)
		return NULL;
	c = atr_pool_take(len <= SMALL ? &small_ones : &large_ones);
	if (!c) {
		atr_count(no_memory, 1);
		return NULL;
	}
	c->large = len > SMALL;
	c->tracestate_len = (uint16_t)tracestate.len;
	c->baggage_len = (uint16_t)baggage.len;
	(void)put_line(put_line(c->text, TRACESTATE, tracestate), BAGGAGE, baggage);
	/* Pairs with the acquire in atr_carrier_hold(): the text is whole. */
	atr_store_release(&c->refs, 1u);
	return c;
}

bool atr_carrier_hold(struct atr_carrier *c, uint32_t gen)
{
	uint32_t refs = atr_load(&c->refs);

	do {
		if (!refs || atr_load(&c->gen) != gen)
			return false;
	} while (!__atomic_compare_exchange_n(&c->refs, &refs, refs + 1, 0, __ATOMIC_ACQUIRE,
					      __ATOMIC_RELAXED));
	if (atr_load(&c->gen) == gen)
		return true;
	atr_carrier_release(c); /* it became another's in between */
	return false;
}

void atr_carrier_release(struct atr_carrier *c)
{
	if (!c || __atomic_fetch_sub(&c->refs, 1, __ATOMIC_ACQ_REL) != 1)
		return;
	__atomic_fetch_add(&c->gen, 1, __ATOMIC_RELEASE);
	atr_pool_give(c->large ? &large_ones : &small_ones, c);
}

struct atr_slice atr_carrier_tracestate(const struct atr_carrier *c)
{
	return (struct atr_slice){ c->text + sizeof(TRACESTATE) - 1, c->tracestate_len };
}

struct atr_slice atr_carrier_baggage(const struct atr_carrier *c)
{
	return (struct atr_slice){
		c->text + tracestate_line(c->tracestate_len) + sizeof(BAGGAGE) - 1, c->baggage_len
	};
}

struct atr_slice atr_carrier_lines(const struct atr_carrier *c, bool tracestate, bool baggage)
{
	size_t first = tracestate_line(c->tracestate_len);
	size_t second = baggage_line(c->baggage_len);
	const char *p = c->text + (tracestate ? 0 : first);

	return (struct atr_slice){ p, (tracestate ? first : 0) + (baggage ? second : 0) };
}
