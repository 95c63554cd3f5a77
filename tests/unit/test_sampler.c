/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/rate.o preload/tracestate.o preload/strategy.o preload/adaptive.o */
/* LINK: preload/carrier.o preload/pool.o preload/sys.o preload/text.o preload/clock.o */
#include "preload/sampler.c"
#include "preload/stats.h"
#include "tests/unit/test.h"

struct atr_stats atr_stats;

#define NOW (1000ull * SECOND)

static const struct atr_context on = { .valid = true,
				       .remote = true,
				       .flags = ATR_FLAG_SAMPLED | ATR_FLAG_RANDOM };
static const struct atr_context off = { .valid = true, .remote = true, .flags = ATR_FLAG_RANDOM };

static const uint8_t low_id[16] = { 1 };		  /* randomness 0 */
static const uint8_t high_id[16] = { [9 ... 15] = 0xff }; /* randomness 2^56 - 1 */
static const uint8_t half_id[16] = { 1, [9] = 0x80 };	  /* 2^55 */

static char warned[256];
static unsigned n_warned;

static void warn(const char *line)
{
	n_warned++;
	(void)snprintf(warned, sizeof(warned), "%s", line);
}

static void add(bool errors, uint32_t slow, uint32_t most, uint32_t target)
{
	const struct atr_sampler_extras e = { errors, slow, most, target };

	n_warned = 0;
	atr_sampler_add(&e, warn);
}

static struct atr_sampling ask(const struct atr_context *parent, const uint8_t *id, uint64_t now)
{
	const struct atr_sampler_ask a = { .parent = parent, .trace_id = id, .now = now };

	return atr_sampler_decide(&a);
}

static bool decide(const struct atr_context *parent, const uint8_t *id)
{
	return ask(parent, id, NOW).sampled;
}

TEST(constant_samplers_are_constant)
{
	atr_sampler_init(ATR_SAMPLER_ALWAYS_ON, 0, true);
	CHECK(decide(NULL, low_id));
	CHECK(decide(&off, low_id));
	CHECK(!atr_sampler_roots_off());
	atr_sampler_init(ATR_SAMPLER_ALWAYS_OFF, 1, true);
	CHECK(!decide(NULL, high_id));
	CHECK(!decide(&on, high_id));
	CHECK(atr_sampler_roots_off());
}

TEST(parent_based_ones_follow_the_parent_and_decide_roots)
{
	struct atr_context deferred = off;

	deferred.deferred = true;
	atr_sampler_init(ATR_SAMPLER_PARENTBASED_ALWAYS_ON, 1, true);
	CHECK(decide(&on, low_id));
	CHECK(!decide(&off, high_id));
	CHECK(decide(NULL, low_id));
	CHECK(decide(&deferred, low_id));
	atr_sampler_init(ATR_SAMPLER_PARENTBASED_ALWAYS_OFF, 1, true);
	CHECK(decide(&on, low_id));
	CHECK(!decide(NULL, high_id));
	CHECK(atr_sampler_roots_off());
	atr_sampler_init(ATR_SAMPLER_PARENTBASED_TRACEIDRATIO, 0.5, true);
	CHECK(decide(&on, low_id));
	CHECK(!decide(NULL, low_id));
	CHECK(decide(NULL, high_id));
	atr_sampler_init(ATR_SAMPLER_PARENTBASED_JAEGER_REMOTE, 0.5, true);
	CHECK(decide(&on, low_id));
	CHECK(!decide(&off, high_id));
	CHECK(!decide(NULL, low_id));
	CHECK(decide(NULL, high_id));
	CHECK(atr_sampler_remote);
}

TEST(the_ratio_ignores_the_parent_and_has_exact_ends)
{
	atr_sampler_init(ATR_SAMPLER_TRACEIDRATIO, 0, true);
	CHECK(!decide(&on, high_id));
	CHECK(atr_sampler_roots_off());
	atr_sampler_init(ATR_SAMPLER_TRACEIDRATIO, 1, true);
	CHECK(decide(&off, low_id));
	atr_sampler_init(ATR_SAMPLER_TRACEIDRATIO, 0.5, true);
	CHECK(decide(&off, half_id)); /* R >= T, not R > T */
}

TEST(rv_stands_in_for_the_trace_id)
{
	const struct atr_ot high = { .has_rv = true, .rv = 0xffffffffffffff };
	const struct atr_ot low = { .has_rv = true };
	struct atr_sampler_ask a = { .parent = &on, .trace_id = low_id, .ot = &high };

	atr_sampler_init(ATR_SAMPLER_TRACEIDRATIO, 0.5, true);
	CHECK(atr_sampler_decide(&a).sampled);
	a.trace_id = high_id;
	a.ot = &low;
	CHECK(!atr_sampler_decide(&a).sampled);
}

/* The same trace, sampled by services with different ratios, each of which decides for itself. */
TEST(a_higher_ratio_samples_a_superset_and_about_its_share)
{
	static const double ratios[] = { 0.01, 0.1, 0.3, 0.5, 0.9, 0.99 };
	unsigned counts[6] = { 0 }, lost = 0;

	srand(3);
	for (int i = 0; i < 20000; i++) {
		uint8_t id[16];
		bool before = false;

		for (int k = 0; k < 16; k++)
			id[k] = (uint8_t)(rand() >> 7);
		for (int r = 0; r < 6; r++) {
			bool now;

			atr_sampler_init(ATR_SAMPLER_TRACEIDRATIO, ratios[r], true);
			now = decide(NULL, id);
			counts[r] += now;
			lost += before && !now;
			before = now;
		}
	}
	CHECK_INT(lost, 0);
	/* Five standard deviations. */
	for (int r = 0; r < 6; r++) {
		double mean = 20000 * ratios[r], five = 25 * mean * (1 - ratios[r]);
		double off_by = counts[r] - mean;

		CHECK(off_by * off_by < five);
	}
}

/* What the tracestate says after the decision. */
static const char *state(const char *from, const struct atr_context *parent, const uint8_t *id)
{
	static char text[128];
	struct atr_ot ot;
	const struct atr_sampler_ask a = {
		.parent = parent, .trace_id = id, .ot = &ot, .now = NOW
	};
	struct atr_sampling s;
	size_t n = strlen(from);

	memcpy(text, from, n);
	atr_ot_read((struct atr_slice){ text, n }, &ot);
	s = atr_sampler_decide(&a);
	text[atr_sampler_tracestate(&s, id, text, n, sizeof(text) - 1)] = '\0';
	return text;
}

TEST(the_tracestate_says_what_is_true)
{
	atr_sampler_init(ATR_SAMPLER_PARENTBASED_ALWAYS_ON, 1, true);
	CHECK_STR(state("ot=th:c", &on, high_id), "ot=th:c");
	CHECK_STR(state("a=b,ot=th:c", &on, low_id), "a=b"); /* sampled, but not by that */
	CHECK_STR(state("ot=th:c", &off, low_id), "ot=th:c");
	CHECK_STR(state("ot=th:c", &off, high_id), "");
	CHECK_STR(state("ot=th:c;rv:ffffffffffffff", &on, low_id), "ot=th:c;rv:ffffffffffffff");
	CHECK_STR(state("ot=th:c;rv:00000000000000", &on, high_id), "ot=rv:00000000000000");
	CHECK_STR(state("a=b", &on, low_id), "a=b");
	atr_sampler_init(ATR_SAMPLER_TRACEIDRATIO, 0.5, true);
	CHECK_STR(state("a=b,ot=th:c;rv:ffffffffffffff", &off, low_id),
		  "ot=th:8;rv:ffffffffffffff,a=b");
	CHECK_STR(state("a=b", &on, half_id), "ot=th:8,a=b");
	CHECK_STR(state("a=b,ot=th:4", &on, low_id), "a=b");
	atr_sampler_init(ATR_SAMPLER_ALWAYS_OFF, 1, true);
	CHECK_STR(state("ot=th:4", &on, high_id), "");
	atr_sampler_init(ATR_SAMPLER_ALWAYS_ON, 1, true);
	CHECK_STR(state("a=b,ot=th:c", &on, high_id), "a=b,ot=th:c");
	CHECK_STR(state("a=b,ot=th:c", &off, high_id), "a=b"); /* overruled, by whatever it was */
	CHECK_STR(state("a=b,ot=th:c", &off, low_id), "a=b");
	atr_sampler_init(ATR_SAMPLER_PARENTBASED_ALWAYS_ON, 1, true);
	add(true, 0, 0, 0);
	CHECK_STR(state("a=b,ot=th:c", &off, low_id), "a=b"); /* it may be kept */
	CHECK_STR(state("a=b,ot=th:c", &on, high_id), "a=b,ot=th:c");
	atr_sampler_passive = true;
	CHECK_STR(state("ot=th:4", &on, high_id), "ot=th:4");
	atr_sampler_passive = false;
}

TEST(roots_have_the_tracestate_of_their_rate)
{
	struct atr_sampling s;

	atr_sampler_init(ATR_SAMPLER_PARENTBASED_TRACEIDRATIO, 0.25, true);
	s = ask(NULL, high_id, NOW);
	CHECK(s.sampled && s.told.known && s.told.threshold == 0xc0000000000000);
	CHECK(atr_slice_is(atr_carrier_tracestate(s.told.carrier), "ot=th:c"));
	s = ask(NULL, low_id, NOW);
	CHECK(!s.sampled && !s.told.known);
	atr_sampler_init(ATR_SAMPLER_ALWAYS_ON, 1, true);
	CHECK(!ask(NULL, low_id, NOW).told.known);
}

static const char *environment(const char *from, const struct atr_context *c)
{
	static char text[128];
	size_t n = strlen(from);

	memcpy(text, from, n);
	text[atr_sampler_environment(c, text, n, sizeof(text) - 1)] = '\0';
	return text;
}

TEST(the_environment_s_tracestate_is_true_of_all_that_begins_here)
{
	struct atr_context c = on;

	memcpy(c.trace_id, high_id, 16);
	atr_sampler_init(ATR_SAMPLER_PARENTBASED_ALWAYS_ON, 1, true);
	CHECK_STR(environment("ot=th:c,a=b", &c), "ot=th:c,a=b");
	atr_sampler_init(ATR_SAMPLER_TRACEIDRATIO, 0.5, true);
	CHECK_STR(environment("ot=th:c,a=b", &c), "ot=th:8,a=b");
	add(false, 0, 0, 10);
	CHECK_STR(environment("ot=th:c,a=b", &c), "a=b");
	atr_sampler_init(ATR_SAMPLER_JAEGER_REMOTE, 0.5, true);
	CHECK_STR(environment("ot=th:c,a=b", &c), "a=b");
	atr_sampler_init(ATR_SAMPLER_ALWAYS_ON, 0.5, true);
	add(false, 0, 1, 0);
	CHECK_STR(environment("ot=th:c,a=b", &c), "a=b");
}

TEST(candidates_are_what_is_not_sampled_when_something_may_be_kept)
{
	atr_sampler_init(ATR_SAMPLER_PARENTBASED_TRACEIDRATIO, 0.5, true);
	CHECK(!ask(NULL, low_id, NOW).candidate);
	add(true, 0, 0, 0);
	CHECK(ask(NULL, low_id, NOW).candidate);
	CHECK(!ask(NULL, high_id, NOW).candidate);
	CHECK(ask(&off, high_id, NOW).candidate);
	CHECK(atr_sampler_decided(false).candidate && !atr_sampler_decided(true).candidate);
	CHECK(atr_sampler_keeps(true, 0) && !atr_sampler_keeps(false, UINT64_MAX));
	add(false, 20, 0, 0);
	CHECK(ask(NULL, low_id, NOW).candidate);
	CHECK(!atr_sampler_keeps(true, 19999999) && atr_sampler_keeps(false, 20000000));
	atr_sampler_init(ATR_SAMPLER_ALWAYS_OFF, 0.5, true);
	add(true, 0, 0, 0);
	CHECK(!atr_sampler_roots_off());
	atr_sampler_init(ATR_SAMPLER_ALWAYS_OFF, 0.5, false);
	add(true, 0, 0, 0);
	CHECK(atr_sampler_roots_off());
}

TEST(the_ceiling_counts_what_begins_here_and_hides_the_threshold_while_it_is_reached)
{
	uint64_t now = NOW;

	atr_sampler_init(ATR_SAMPLER_PARENTBASED_TRACEIDRATIO, 0.5, true);
	add(false, 0, 4, 0);
	refused_at = 0;
	for (int i = 0; i < 4; i++) {
		struct atr_sampling s = ask(NULL, high_id, now);

		CHECK(s.sampled && s.told.known);
		CHECK(!decide(NULL, low_id)); /* which takes none */
	}
	CHECK_INT(atr_stats.limited, 0);
	CHECK(!ask(NULL, high_id, now).sampled);
	CHECK_INT(atr_stats.limited, 1);
	CHECK(ask(&on, low_id, now).sampled); /* not decided here */
	now += SECOND / 4;
	CHECK(ask(NULL, high_id, now).sampled && !ask(NULL, high_id, now).sampled);
	now += SECOND / 4;
	CHECK(!ask(NULL, high_id, now).told.known);
	now += 2 * SECOND;
	CHECK(ask(NULL, high_id, now).told.known);
	/* Refused ones may be kept. */
	add(true, 0, 1, 0);
	CHECK(ask(NULL, high_id, now).sampled && ask(NULL, high_id, now).candidate);
}

TEST(a_target_that_nothing_can_come_of_is_told)
{
	atr_sampler_init(ATR_SAMPLER_ALWAYS_OFF, 1, true);
	add(false, 0, 0, 5);
	CHECK_STR(warned, "AUTOTRACE_TARGET_TRACES_PER_SECOND=5 is not used: the sampler takes no "
			  "trace that begins here");
	atr_sampler_init(ATR_SAMPLER_JAEGER_REMOTE, 1, true);
	add(false, 0, 0, 5);
	CHECK_STR(warned, "AUTOTRACE_TARGET_TRACES_PER_SECOND=5 is not used: a remote sampler "
			  "decides");
	atr_sampler_init(ATR_SAMPLER_ALWAYS_ON, 1, true);
	add(false, 0, 0, 5);
	CHECK_INT(n_warned, 0);
}

static char said_text[512];

static void log_line(enum atr_LOG_LEVEL level, const char *fmt, ...)
{
	CHECK_INT(level, ATR_LOG_WARN);
	(void)snprintf(said_text + strlen(said_text), sizeof(said_text) - strlen(said_text),
		       "%.20s|", fmt);
}

TEST(what_the_specification_wants_said_is_said_once)
{
	struct atr_context odd = on;

	odd.flags = ATR_FLAG_SAMPLED;
	to_say = told = 0;
	atr_sampler_init(ATR_SAMPLER_PARENTBASED_TRACEIDRATIO, 0.5, true);
	(void)decide(&odd, low_id);
	(void)decide(NULL, low_id);
	atr_sampler_say(log_line);
	CHECK_STR(said_text, "");
	atr_sampler_init(ATR_SAMPLER_TRACEIDRATIO, 0.5, true);
	(void)decide(&on, low_id);
	atr_sampler_say(log_line);
	CHECK_STR(said_text, "OTEL_TRACES_SAMPLER=|");
	(void)decide(&odd, low_id);
	atr_sampler_say(log_line);
	atr_sampler_say(log_line);
	CHECK_STR(said_text, "OTEL_TRACES_SAMPLER=|traces come without |");
}
