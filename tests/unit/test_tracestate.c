/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/rate.o preload/carrier.o preload/pool.o preload/sys.o preload/text.o */
#include "preload/rate.h"
#include "preload/stats.h"
#include "preload/tracestate.c"
#include "tests/unit/test.h"

struct atr_stats atr_stats;

#define NONE ATR_RATE_NEVER
#define HALF 0x80000000000000u

static struct atr_ot read_of(const char *s)
{
	struct atr_ot ot;

	atr_ot_read((struct atr_slice){ test_edge(s, strlen(s)), strlen(s) }, &ot);
	return ot;
}

TEST(th_and_rv_are_read_where_they_are_valid)
{
	struct atr_ot ot = read_of("a=b,ot=th:c;rv:6e6d1a75832a2f,x=y");

	CHECK(ot.has_th && ot.has_rv);
	CHECK_INT(ot.th, 0xc0000000000000);
	CHECK_INT(ot.rv, 0x6e6d1a75832a2f);
	ot = read_of("ot=rv:6e6d1a75832a2;th:");
	CHECK(!ot.has_th && !ot.has_rv);
	ot = read_of("ot=xx:1;th:fd70a;yy:rv:2");
	CHECK(ot.has_th && !ot.has_rv);
	CHECK_INT(ot.th, 0xfd70a000000000);
	CHECK(!read_of("").has_th);
	CHECK(!read_of("ot=").has_th);
	CHECK(!read_of("ot").has_th);
	CHECK(!read_of("rot=th:8").has_th);
	CHECK(!read_of("ot=rv:6E6D1A75832A2F").has_rv);
}

static void sets(const char *from, uint64_t threshold, const char *to)
{
	size_t room = strlen(from) + 24;
	char *buf = test_edge(NULL, room), text[600];
	size_t n;

	memcpy(buf, from, strlen(from));
	n = atr_ot_set(buf, strlen(from), room, threshold);
	memcpy(text, buf, n);
	text[n] = '\0';
	CHECK_STR(text, to);
}

TEST(th_is_set_in_front_and_all_else_stays)
{
	sets("", HALF, "ot=th:8");
	sets("a=b", HALF, "ot=th:8,a=b");
	sets("a=b,ot=th:c;rv:6e6d1a75832a2f,x=y", HALF, "ot=th:8;rv:6e6d1a75832a2f,a=b,x=y");
	sets("a=b,ot=rv:6e6d1a75832a2f;th:c;q:1", NONE, "ot=rv:6e6d1a75832a2f;q:1,a=b");
	sets("a=b,ot=th:c,x=y", NONE, "a=b,x=y");
	sets("ot=th:c", NONE, "");
	sets("", NONE, "");
	sets("a=b,x=y", NONE, "a=b,x=y");
	sets("ot=th:8,a=b,ot=th:c", 0, "ot=th:0,a=b");
}

TEST(what_says_it_already_is_left_where_it_is)
{
	sets("a=b,ot=th:8", HALF, "a=b,ot=th:8");
	sets("a=b,ot=rv:6e6d1a75832a2f", NONE, "a=b,ot=rv:6e6d1a75832a2f");
}

TEST(the_last_member_goes_when_there_are_too_many_or_no_room)
{
	char full[200] = "", want[200] = "ot=th:8";
	char *buf;

	for (int i = 0; i < 32; i++)
		sprintf(full + strlen(full), "%sk%d=v", i ? "," : "", i % 10);
	for (int i = 0; i < 31; i++)
		sprintf(want + strlen(want), ",k%d=v", i % 10);
	sets(full, HALF, want);
	buf = test_edge("aaaa=b,c=d", 10);
	CHECK_INT(atr_ot_set(buf, 10, 10, HALF), 7);
	CHECK_MEM(buf, "ot=th:8", 7);
	buf = test_edge("a=b,cc=d", 8);
	CHECK_INT(atr_ot_set(buf, 3, 8, HALF), 7);
	buf = test_edge("a=b,c", 5);
	CHECK_INT(atr_ot_set(buf, 3, 5, HALF), 3);
}

/* Whatever comes: nothing beyond the room, no two of ours, and what was set is read. */
TEST(random_states_stay_in_their_room)
{
	static const char signs[] = "ot=th:8rv,;,;=ab";
	srand(11);
	for (int i = 0; i < 20000; i++) {
		size_t len = (size_t)rand() % 60, room = len + (size_t)rand() % 24, n;
		char *buf = test_edge(NULL, room), before[64];
		struct atr_ot ot;

		for (size_t k = 0; k < len; k++)
			before[k] = signs[(size_t)rand() % (sizeof(signs) - 1)];
		memcpy(buf, before, len);
		n = atr_ot_set(buf, len, room, i % 2 ? HALF : NONE);
		CHECK(n <= room);
		atr_ot_read((struct atr_slice){ buf, n }, &ot);
		if (i % 2 && n >= 7 && memcmp(buf, "ot=th:8", 7) == 0)
			CHECK(ot.has_th && ot.th == HALF);
		if (i % 2 == 0)
			CHECK(!ot.has_th);
	}
}
