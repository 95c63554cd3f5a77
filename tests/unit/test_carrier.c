/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/pool.o preload/sys.o */
#include "preload/carrier.c"
#include "tests/unit/test.h"

struct atr_stats atr_stats;

static bool slice_is(struct atr_slice s, const char *want)
{
	return s.len == strlen(want) && memcmp(s.p, want, s.len) == 0;
}

TEST(both_values_become_the_lines_they_will_be_again)
{
	struct atr_carrier *c = atr_carrier_new(ATR_SLICE("a=b"), ATR_SLICE("k=v"));

	CHECK(slice_is(atr_carrier_tracestate(c), "a=b"));
	CHECK(slice_is(atr_carrier_lines(c, true, true), "tracestate: a=b\r\nbaggage: k=v\r\n"));
	CHECK(slice_is(atr_carrier_lines(c, true, false), "tracestate: a=b\r\n"));
	CHECK(slice_is(atr_carrier_lines(c, false, true), "baggage: k=v\r\n"));
	CHECK(slice_is(atr_carrier_lines(c, false, false), ""));
	atr_carrier_release(c);
}

TEST(one_alone_is_one_line_and_none_is_no_carrier)
{
	struct atr_carrier *c = atr_carrier_new(ATR_SLICE(""), ATR_SLICE("k=v"));

	CHECK(slice_is(atr_carrier_tracestate(c), ""));
	CHECK(slice_is(atr_carrier_lines(c, true, true), "baggage: k=v\r\n"));
	atr_carrier_release(c);
	CHECK(atr_carrier_new(ATR_SLICE(""), ATR_SLICE("")) == NULL);
	atr_carrier_release(NULL);
}

TEST(a_reference_is_had_only_while_there_is_one)
{
	struct atr_carrier *c = atr_carrier_new(ATR_SLICE("a=b"), ATR_SLICE(""));
	uint32_t gen = c->gen;

	CHECK(atr_carrier_hold(c, gen));
	atr_carrier_release(c);
	CHECK(!atr_carrier_hold(c, gen + 1));
	atr_carrier_release(c);
	CHECK(!atr_carrier_hold(c, gen));
	CHECK(atr_carrier_new(ATR_SLICE("c=d"), ATR_SLICE("")) == c);
	CHECK(!atr_carrier_hold(c, gen)); /* another's now */
	CHECK(atr_carrier_hold(c, c->gen));
	atr_carrier_release(c);
	atr_carrier_release(c);
}

TEST(every_length_up_to_the_longest_is_kept_and_a_longer_one_is_lost)
{
	static char value[LARGE + 64];
	size_t most = LARGE - tracestate_line(1) + 1;

	memset(value, 'x', sizeof(value));
	for (size_t n = 1; n <= most; n += n < 1100 ? 1 : 997) {
		struct atr_carrier *c =
			atr_carrier_new((struct atr_slice){ value, n }, ATR_SLICE(""));

		CHECK(c && atr_carrier_tracestate(c).len == n);
		CHECK(c && c->large == (tracestate_line(n) > SMALL));
		atr_carrier_release(c);
	}
	CHECK(atr_carrier_new((struct atr_slice){ value, most + 1 }, ATR_SLICE("")) == NULL);
}
