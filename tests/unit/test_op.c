/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/traceparent.o */
/* LINK: preload/sys.o preload/utf8.o preload/attr.o preload/clock.o */
/* LINK: preload/carrier.o preload/pool.o preload/life.o preload/context.o */
/* LINK: preload/sampler.o preload/text.o exporter/otlp.pb-c.o */
/* LINK: preload/rate.o preload/tracestate.o preload/strategy.o preload/adaptive.o */
/* LINK: -lprotobuf-c */
#include "exporter/otlp.pb-c.h"
#include "preload/op.c"
#include "preload/traceparent.h"
#include "tests/unit/test.h"

#include "tests/unit/fake_op.h"

static void fresh(enum atr_SAMPLER sampler)
{
	memset(&atr_tls, 0, sizeof(atr_tls));
	memset(&atr_context_process, 0, sizeof(atr_context_process));
	self.depth = 0;
	committed = NULL;
	ring_is_full = false;
	memset(&atr_config, 0, sizeof(atr_config));
	site = 0;
	n_stack = 0;
	atr_sampler_init(sampler, 1, true);
	atr_clock_sync();
}

static Atr__Otlp__Span *span_of(struct atr_op *op, const char *name, const char *error)
{
	struct atr_span span;

	committed = NULL;
	if (!atr_op_end(op, &span, name, strlen(name)))
		return NULL;
	if (error)
		atr_span_error(&span, error, strlen(error));
	atr_span_commit(&span);
	if (!committed)
		return NULL;
	CHECK_INT(committed->size % ATR_RECORD_ALIGN, 0);
	CHECK(committed->size >= sizeof(*committed) + committed->span_len);
	return atr__otlp__span__unpack(NULL, committed->span_len, committed->span);
}

TEST(a_root_has_ids_times_and_no_parent)
{
	Atr__Otlp__Span *s;
	struct atr_op op;

	fresh(ATR_SAMPLER_ALWAYS_ON);
	atr_op_begin(&op, ATR_KIND_CLIENT);
	s = span_of(&op, "root", NULL);
	if (!CHECK(s != NULL))
		return;
	CHECK_STR(s->name, "root");
	CHECK_INT(s->trace_id.len, 16);
	CHECK_INT(s->span_id.len, 8);
	CHECK_INT(s->parent_span_id.len, 0);
	CHECK_INT(s->kind, 3);
	CHECK_INT(s->flags, 0x100 | ATR_FLAG_RANDOM | ATR_FLAG_SAMPLED);
	CHECK(s->start_time_unix_nano > 1600000000ull * 1000000000);
	CHECK(s->end_time_unix_nano >= s->start_time_unix_nano);
	CHECK(s->status == NULL);
	CHECK_STR(s->attributes[0]->key, "thread.id");
	CHECK_INT(s->attributes[0]->value->int_value, 77);
	CHECK_MEM(committed->local_root, s->span_id.data, 8);
	atr__otlp__span__free_unpacked(s, NULL);
}

TEST(what_starts_inside_an_entered_op_is_its_child_and_only_while_it_is_open)
{
	struct atr_op outer, inner, after;
	Atr__Otlp__Span *s;

	fresh(ATR_SAMPLER_PARENTBASED_ALWAYS_ON);
	atr_op_begin(&outer, ATR_KIND_CLIENT);
	atr_op_enter(&outer);
	atr_op_begin(&inner, ATR_KIND_INTERNAL);
	s = span_of(&inner, "inner", NULL);
	CHECK_MEM(s->trace_id.data, outer.context.trace_id, 16);
	CHECK_MEM(s->parent_span_id.data, outer.context.span_id, 8);
	CHECK_INT(s->flags & 0x300, 0x100);
	CHECK_MEM(committed->local_root, outer.context.span_id, 8);
	atr__otlp__span__free_unpacked(s, NULL);
	{
		/* The context as another thread was handed it. */
		struct atr_context handed = atr_tls.context;

		CHECK(atr_context_usable(&handed));
		atr_op_leave(&outer);
		CHECK(!atr_context_usable(&handed));
	}
	atr_op_begin(&after, ATR_KIND_INTERNAL);
	s = span_of(&after, "after", NULL);
	CHECK_INT(s->parent_span_id.len, 0);
	CHECK(memcmp(s->trace_id.data, outer.context.trace_id, 16) != 0);
	atr__otlp__span__free_unpacked(s, NULL);
}

TEST(the_processs_traceparent_is_a_remote_parent_with_its_tracestate)
{
	Atr__Otlp__Span *s;
	struct atr_op op;

	fresh(ATR_SAMPLER_PARENTBASED_ALWAYS_OFF);
	CHECK(atr_traceparent_parse(
		&atr_context_process,
		ATR_SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")));
	atr_context_process.carrier = atr_carrier_new(ATR_SLICE("a=b"), ATR_SLICE(""));
	atr_context_process.carrier_gen = atr_context_process.carrier->gen;
	atr_op_begin(&op, ATR_KIND_SERVER);
	s = span_of(&op, "x", "timed_out");
	if (!CHECK(s != NULL))
		return;
	CHECK_MEM(s->parent_span_id.data, atr_context_process.span_id, 8);
	CHECK_INT(s->flags, 0x301);
	CHECK_STR(s->trace_state, "a=b");
	CHECK_INT(s->status->code, 2);
	CHECK_STR(s->attributes[s->n_attributes - 1]->value->string_value, "timed_out");
	CHECK_INT(committed->flags, ATR_RECORD_ERROR);
	CHECK_MEM(committed->local_root, s->span_id.data, 8);
	atr__otlp__span__free_unpacked(s, NULL);
}

/* What a span's record has behind it: the site, then the stack. */
static void check_addrs(const char *error, uint64_t ns, uint64_t wanted_site, unsigned wanted_stack)
{
	struct atr_op op;
	const uint64_t *addrs;
	unsigned first;

	atr_op_begin(&op, ATR_KIND_CLIENT);
	op.end = op.start + ns;
	atr__otlp__span__free_unpacked(span_of(&op, "name", error), NULL);
	addrs = atr_record_addrs(committed);
	first = committed->flags & ATR_RECORD_SITE ? 1 : 0;
	CHECK_INT(first ? addrs[0] : 0, wanted_site);
	CHECK_INT(committed->n_addrs, first + wanted_stack);
	for (unsigned i = 0; i < wanted_stack; i++)
		CHECK_INT(addrs[first + i], 100 + i);
	CHECK_INT(committed->size, sizeof(*committed) + atr_record_addrs_at(committed->span_len) +
					   committed->n_addrs * 8u);
	CHECK(committed->size <= ATR_RECORD_MAX);
}

TEST(the_site_and_the_stack_are_taken_when_they_are_wanted)
{
	static const struct {
		enum atr_STACKTRACE which;
		bool plain, error, slow;
	} rows[] = {
		{ ATR_STACKTRACE_OFF, false, false, false },
		{ ATR_STACKTRACE_ERROR, false, true, false },
		{ ATR_STACKTRACE_SLOW, false, true, true },
		{ ATR_STACKTRACE_ALL, true, true, true },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (unsigned n = 0; n <= ATR_STACK_MAX; n += ATR_STACK_MAX / 4) {
			fresh(ATR_SAMPLER_ALWAYS_ON);
			atr_config.call_sites = ATR_CALL_SITES_ON;
			atr_config.stack_slow_ms = 100;
			atr_config.stacktrace = rows[i].which;
			site = 7;
			n_stack = n;
			check_addrs(NULL, 100000000, 7, rows[i].plain ? n : 0);
			check_addrs("e", 0, 7, rows[i].error ? n : 0);
			check_addrs(NULL, 100000001, 7, rows[i].slow ? n : 0);
			atr_config.call_sites = ATR_CALL_SITES_OFF;
			check_addrs("e", 0, 0, rows[i].error ? n : 0);
			atr_config.call_sites = ATR_CALL_SITES_ON;
			site = 0; /* not to be told */
			check_addrs("e", 0, 0, rows[i].error ? n : 0);
		}
}

TEST(addresses_for_which_there_is_no_room_are_left_out_and_the_span_stays)
{
	static char text[ATR_VALUE_MAX];
	unsigned with = 0, without = 0;

	memset(text, 'x', sizeof(text));
	for (size_t n = 7300; n < 7880; n += 7) {
		struct atr_span span;
		struct atr_op op;

		fresh(ATR_SAMPLER_ALWAYS_ON);
		atr_config.stacktrace = ATR_STACKTRACE_ALL;
		atr_config.call_sites = ATR_CALL_SITES_ON;
		site = 7;
		n_stack = ATR_STACK_MAX;
		atr_op_begin(&op, ATR_KIND_CLIENT);
		CHECK(atr_op_end(&op, &span, "x", 1));
		atr_attr_str(&span.pb, ATR_DB_QUERY_TEXT, text, 8192);
		atr_attr_str(&span.pb, ATR_URL_FULL, text, n);
		CHECK(!span.pb.overflow);
		atr_span_commit(&span);
		if (!CHECK(committed != NULL))
			return;
		CHECK(committed->size <= ATR_RECORD_MAX);
		CHECK(committed->n_addrs == 0 || committed->n_addrs == ATR_STACK_MAX + 1);
		CHECK((committed->flags & ATR_RECORD_SITE) ==
		      (committed->n_addrs ? ATR_RECORD_SITE : 0));
		with += committed->n_addrs != 0;
		without += committed->n_addrs == 0;
	}
	CHECK(with && without);
}

TEST(the_unsampled_leave_nothing_and_hand_on_their_trace)
{
	struct atr_op op, child;

	fresh(ATR_SAMPLER_PARENTBASED_ALWAYS_ON);
	CHECK(atr_traceparent_parse(
		&atr_context_process,
		ATR_SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")));
	site = 7;
	atr_config.call_sites = ATR_CALL_SITES_ON;
	atr_op_begin(&op, ATR_KIND_CLIENT);
	CHECK_INT(op.site, 0);
	CHECK(op.context.valid && !op.recording);
	atr_op_enter(&op);
	atr_op_begin(&child, ATR_KIND_INTERNAL);
	CHECK(!child.recording);
	CHECK_MEM(child.context.trace_id, op.context.trace_id, 16);
	CHECK(span_of(&child, "child", NULL) == NULL);
	atr_op_leave(&op);
	CHECK(span_of(&op, "op", NULL) == NULL);
}

static bool is_span(struct atr_op *op)
{
	Atr__Otlp__Span *s = span_of(op, "call", NULL);

	if (s)
		atr__otlp__span__free_unpacked(s, NULL);
	return s != NULL;
}

/* The first thing that a call of a protocol does is a call of a socket. */
TEST(a_call_that_is_no_span_takes_no_token)
{
	static const struct atr_sampler_extras one = { .most_per_second = 1 };
	struct atr_op op;
	uint64_t limited;

	fresh(ATR_SAMPLER_ALWAYS_ON);
	atr_sampler_add(&one, NULL);
	limited = atr_stats.limited;
	for (int i = 0; i < 10; i++) {
		atr_op_begin_call(&op, ATR_KIND_SERVER);
		CHECK(op.recording);
		atr_op_drop(&op);
	}
	CHECK_INT(atr_stats.limited, limited);
	atr_op_begin_call(&op, ATR_KIND_SERVER);
	CHECK(is_span(&op));
	atr_op_begin_call(&op, ATR_KIND_SERVER);
	CHECK(!is_span(&op));
	CHECK_INT(atr_stats.limited, limited + 1);
}

TEST(a_call_counts_when_it_is_a_span)
{
	struct atr_op op, call;
	struct atr_thread *t;

	fresh(ATR_SAMPLER_ALWAYS_OFF);
	atr_config.metrics_exporters = ATR_METRICS_OTLP;
	t = atr_tls.thread = atr_thread_self();
	memset(t->started, 0, sizeof(t->started));
	for (int i = 0; i < 3; i++) {
		atr_op_begin_call(&call, ATR_KIND_SERVER);
		if (i)
			CHECK(!is_span(&call));
		else
			atr_op_drop(&call);
	}
	CHECK_INT(t->started[ATR_ORIGIN_NONE][ATR_RESULT_DROP], 2);
	atr_op_begin_under(&op, ATR_KIND_SERVER, &(struct atr_op_origin){ .start = 1 });
	CHECK_INT(t->started[ATR_ORIGIN_NONE][ATR_RESULT_DROP], 3);
	atr_op_enter(&op);
	atr_op_begin_call(&call, ATR_KIND_SERVER);
	atr_op_drop(&call);
	atr_op_begin_call(&call, ATR_KIND_SERVER);
	CHECK(!is_span(&call));
	atr_op_leave(&op);
	CHECK_INT(t->started[ATR_ORIGIN_LOCAL][ATR_RESULT_DROP], 1);

	atr_sampler_init(ATR_SAMPLER_ALWAYS_ON, 1, true);
	atr_op_begin_under(&op, ATR_KIND_SERVER, &(struct atr_op_origin){ .start = 1 });
	atr_op_enter(&op);
	atr_op_begin_call(&call, ATR_KIND_SERVER);
	CHECK(is_span(&call));
	atr_op_leave(&op);
	CHECK_INT(t->started[ATR_ORIGIN_LOCAL][ATR_RESULT_SAMPLE], 1);
	CHECK_INT(t->started[ATR_ORIGIN_LOCAL][ATR_RESULT_DROP], 1);
}

TEST(without_an_sdk_a_context_is_handed_on_as_it_came)
{
	struct atr_op_origin from = { .parent = &atr_context_process };
	struct atr_op op;

	fresh(ATR_SAMPLER_ALWAYS_ON);
	atr_sampler_passive = true;
	CHECK(atr_traceparent_parse(
		&atr_context_process,
		ATR_SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")));
	atr_op_begin_under(&op, ATR_KIND_CLIENT, &from);
	CHECK(op.context.valid && !op.recording);
	CHECK_MEM(op.context.span_id, atr_context_process.span_id, 8);
	CHECK_INT(op.context.flags, 1);
	from.parent = NULL;
	atr_op_begin_under(&op, ATR_KIND_CLIENT, &from);
	CHECK(!op.context.valid && !op.recording);
	atr_sampler_passive = false;
}

TEST(an_op_ends_once_and_not_in_a_child_process)
{
	struct atr_op op;
	Atr__Otlp__Span *s;

	fresh(ATR_SAMPLER_ALWAYS_ON);
	atr_op_begin(&op, ATR_KIND_CLIENT);
	s = span_of(&op, "once", NULL);
	CHECK(s != NULL);
	atr__otlp__span__free_unpacked(s, NULL);
	CHECK(span_of(&op, "twice", NULL) == NULL);
	atr_op_begin(&op, ATR_KIND_CLIENT);
	atr_process.epoch++;
	CHECK(span_of(&op, "in the child", NULL) == NULL);
}

TEST(the_mask_is_held_while_writing_and_given_back)
{
	struct atr_op op;
	struct atr_span span;

	fresh(ATR_SAMPLER_ALWAYS_ON);
	atr_tls.inside = 2;
	atr_op_begin(&op, ATR_KIND_CLIENT);
	CHECK(atr_op_end(&op, &span, "x", 1));
	CHECK_INT(inside_at_reserve, ATR_IN_SELF | 2);
	atr_span_commit(&span);
	CHECK_INT(atr_tls.inside, 2);
	ring_is_full = true;
	atr_op_begin(&op, ATR_KIND_CLIENT);
	CHECK(!atr_op_end(&op, &span, "x", 1));
	CHECK_INT(atr_tls.inside, 2);
}

TEST(a_span_that_does_not_fit_is_dropped_and_counted)
{
	static char big[ATR_VALUE_MAX];
	uint64_t before = atr_stats.too_long;
	struct atr_span span;
	struct atr_op op;

	fresh(ATR_SAMPLER_ALWAYS_ON);
	memset(big, 'y', sizeof(big));
	atr_op_begin(&op, ATR_KIND_CLIENT);
	CHECK(atr_op_end(&op, &span, big, sizeof(big)));
	atr_attr_str(&span.pb, ATR_DB_QUERY_TEXT, big, sizeof(big));
	atr_attr_str(&span.pb, ATR_DB_QUERY_TEXT, big, sizeof(big));
	atr_span_commit(&span);
	CHECK(committed == NULL);
	CHECK_INT(atr_stats.too_long, before + 1);
}

TEST(nesting_deeper_than_the_cells_records_and_restores)
{
	struct atr_op ops[ATR_DEPTH_MAX + 4];

	fresh(ATR_SAMPLER_ALWAYS_ON);
	for (int i = 0; i < ATR_DEPTH_MAX + 4; i++) {
		atr_op_begin(&ops[i], ATR_KIND_CLIENT);
		atr_op_enter(&ops[i]);
	}
	CHECK_INT(self.depth, ATR_DEPTH_MAX);
	for (int i = ATR_DEPTH_MAX + 3; i >= 0; i--)
		atr_op_leave(&ops[i]);
	CHECK_INT(self.depth, 0);
	CHECK(!atr_tls.context.valid);
}

TEST(an_end_before_the_start_is_the_start)
{
	Atr__Otlp__Span *s;
	struct atr_op op;

	fresh(ATR_SAMPLER_ALWAYS_ON);
	atr_op_begin(&op, ATR_KIND_CLIENT);
	op.end = 1;
	s = span_of(&op, "x", NULL);
	CHECK_INT(s->end_time_unix_nano, s->start_time_unix_nano);
	atr__otlp__span__free_unpacked(s, NULL);
}

static void nothing_said(const char *line)
{
	(void)line;
}

/* What the reader goes by: exporter/keep.c. */
TEST(candidates_say_what_they_are_and_whether_they_are_to_be_kept)
{
	static const struct atr_sampler_extras extras = { .keep_errors = true, .keep_slow_ms = 20 };
	struct atr_op root, child;
	unsigned flags;

	fresh(ATR_SAMPLER_ALWAYS_OFF);
	atr_sampler_add(&extras, nothing_said);
	atr_op_begin(&root, ATR_KIND_CLIENT);
	CHECK(root.recording && !(root.context.flags & ATR_FLAG_SAMPLED));
	atr_op_enter(&root);
	atr_op_begin(&child, ATR_KIND_INTERNAL);
	atr__otlp__span__free_unpacked(span_of(&child, "fine", NULL), NULL);
	CHECK_INT(committed->flags, ATR_RECORD_CANDIDATE);
	CHECK_INT(reserved_in, ATR_RING_CANDIDATES);
	CHECK_MEM(committed->local_root, root.context.span_id, 8);
	atr_op_begin(&child, ATR_KIND_INTERNAL);
	atr__otlp__span__free_unpacked(span_of(&child, "failed", "x"), NULL);
	CHECK_INT(committed->flags, ATR_RECORD_CANDIDATE | ATR_RECORD_ERROR | ATR_RECORD_KEEP);
	atr_op_begin(&child, ATR_KIND_INTERNAL);
	child.end = child.start + 20000000;
	atr__otlp__span__free_unpacked(span_of(&child, "slow", NULL), NULL);
	CHECK_INT(committed->flags, ATR_RECORD_CANDIDATE | ATR_RECORD_KEEP);
	atr_op_leave(&root);
	root.end = root.start + 1;
	atr__otlp__span__free_unpacked(span_of(&root, "root", NULL), NULL);
	CHECK_INT(committed->flags, ATR_RECORD_CANDIDATE | ATR_RECORD_ROOT);
	/* Sampled ones say nothing of it. */
	fresh(ATR_SAMPLER_ALWAYS_ON);
	atr_sampler_add(&extras, nothing_said);
	atr_op_begin(&root, ATR_KIND_CLIENT);
	flags = root.context.flags;
	atr__otlp__span__free_unpacked(span_of(&root, "root", "x"), NULL);
	CHECK(flags & ATR_FLAG_SAMPLED);
	CHECK_INT(committed->flags, ATR_RECORD_ERROR);
	CHECK_INT(reserved_in, ATR_RING_SAMPLED);
}

TEST(a_candidate_leaves_room_for_what_says_why_it_is_kept)
{
	static const struct atr_sampler_extras extras = { .keep_errors = true };
	static char text[2000];
	struct atr_span span;
	struct atr_op op;
	size_t longest = 0;

	memset(text, 'x', sizeof(text));
	for (size_t len = 1; len < sizeof(text); len++) {
		fresh(ATR_SAMPLER_ALWAYS_OFF);
		atr_sampler_add(&extras, nothing_said);
		atr_op_begin(&op, ATR_KIND_CLIENT);
		CHECK(atr_op_end(&op, &span, "x", 1));
		for (int i = 0; i < 7; i++)
			atr_attr_str(&span.pb, ATR_DB_QUERY_TEXT, text, sizeof(text));
		atr_attr_str(&span.pb, ATR_DB_QUERY_TEXT, text, len);
		atr_span_commit(&span);
		if (committed && committed->span_len > longest)
			longest = committed->span_len;
	}
	CHECK(longest <= ATR_RECORD_MAX - sizeof(struct atr_record) - ATR_RECORD_SPARE);
	CHECK(longest > ATR_RECORD_MAX - sizeof(struct atr_record) - ATR_RECORD_SPARE - 100);
}
