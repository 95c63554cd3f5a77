/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/text.o */
#include "preload/traceparent.c"
#include "tests/unit/test.h"

#define IDS "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"

static bool parses(const char *s)
{
	size_t n = strlen(s);
	char *edge = test_edge(s, n);
	struct atr_context c;
	bool ok = atr_traceparent_parse(&c, (struct atr_slice){ edge, n });

	test_edge_free(edge, n);
	return ok;
}

TEST(a_traceparent_gives_its_ids_and_flags)
{
	struct atr_context c;

	CHECK(atr_traceparent_parse(&c, ATR_SLICE("00-" IDS "-01")));
	CHECK(c.valid && c.remote && !c.open);
	CHECK_MEM(c.trace_id, "\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c",
		  16);
	CHECK_MEM(c.span_id, "\xb7\xad\x6b\x71\x69\x20\x33\x31", 8);
	CHECK_INT(c.flags, 1);
	CHECK(atr_traceparent_parse(&c, ATR_SLICE("00-" IDS "-ff")));
	CHECK_INT(c.flags, 3); /* unknown bits are not passed on */
	CHECK(c.carrier == NULL);
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

TEST(what_is_written_is_read_again)
{
	char wanted[] = "00-" IDS "-00", got[ATR_TRACEPARENT_LEN + 1];
	struct atr_context c;

	for (unsigned flags = 0; flags < 4; flags++) {
		wanted[ATR_TRACEPARENT_LEN - 1] = (char)('0' + flags);
		CHECK(atr_traceparent_parse(&c, (struct atr_slice){ wanted, ATR_TRACEPARENT_LEN }));
		c.flags |= 0xf0; /* what is ours alone is not told */
		memset(got, '!', sizeof(got));
		atr_traceparent_write(got, &c);
		CHECK_MEM(got, wanted, ATR_TRACEPARENT_LEN);
		CHECK_INT(got[ATR_TRACEPARENT_LEN], '!');
	}
}
