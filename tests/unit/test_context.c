/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/text.o */
#include "preload/context.c"
#include "tests/unit/test.h"

__thread struct atr_tls atr_tls;

#define IDS "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"

static bool parses(const char *s)
{
	size_t n = strlen(s) + 1;
	char *edge = test_edge(s, n);
	struct atr_context c;
	bool ok = atr_context_parse(&c, edge, NULL);

	test_edge_free(edge, n);
	return ok;
}

TEST(a_traceparent_gives_its_ids_and_flags)
{
	struct atr_context c;

	CHECK(atr_context_parse(&c, "00-" IDS "-01", "k=v"));
	CHECK(c.valid && c.remote && !c.open);
	CHECK_MEM(c.trace_id, "\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c",
		  16);
	CHECK_MEM(c.span_id, "\xb7\xad\x6b\x71\x69\x20\x33\x31", 8);
	CHECK_INT(c.flags, 1);
	CHECK_STR(c.tracestate, "k=v");
	CHECK(atr_context_parse(&c, "00-" IDS "-ff", ""));
	CHECK_INT(c.flags, 3); /* unknown bits are not passed on */
	CHECK(c.tracestate == NULL);
}

/* W3C Trace Context Level 2, and what its test suite asks. */
TEST(versions_lengths_and_characters_follow_the_recommendation)
{
	CHECK(parses(" \t00-" IDS "-00 \t"));
	CHECK(parses("01-" IDS "-01"));
	CHECK(parses("cc-" IDS "-01-what-the-future-brings"));
	CHECK(!parses("cc-" IDS "-01.what"));
	CHECK(!parses("00-" IDS "-01-"));
	CHECK(!parses("00-" IDS "-01x"));
	CHECK(!parses("ff-" IDS "-01"));
	CHECK(!parses("00-00000000000000000000000000000000-b7ad6b7169203331-01"));
	CHECK(!parses("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"));
	CHECK(!parses("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"));
	CHECK(!parses("00-" IDS "-0"));
	CHECK(!parses("00-" IDS "-0G"));
	CHECK(!parses(""));
	CHECK(!parses("   "));
}

TEST(no_truncation_and_no_changed_byte_reads_too_far)
{
	const char *whole = "00-" IDS "-01";
	char s[64];

	for (size_t n = 0; n < strlen(whole); n++) {
		memcpy(s, whole, n);
		s[n] = '\0';
		CHECK(!parses(s));
	}
	for (size_t i = 0; i < strlen(whole); i++) {
		strcpy(s, whole);
		s[i] = 'x';
		CHECK(!parses(s));
	}
}

TEST(the_parent_is_the_threads_then_the_processs_then_nobody)
{
	uint32_t cell = 5;

	atr_tls.context = (struct atr_context){ 0 };
	atr_context_process = (struct atr_context){ 0 };
	CHECK(atr_context_parent() == NULL);
	CHECK(atr_context_parse(&atr_context_process, "00-" IDS "-01", NULL));
	CHECK(atr_context_parent() == &atr_context_process);
	atr_tls.context = (struct atr_context){ .valid = true, .open = &cell, .gen = 5 };
	CHECK(atr_context_parent() == &atr_tls.context);
	cell++; /* it has ended */
	CHECK(atr_context_parent() == &atr_context_process);
}
