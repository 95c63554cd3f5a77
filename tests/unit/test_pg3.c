/* SPDX-License-Identifier: Apache-2.0 */
#include "hooks/pg3.c"
#include "tests/unit/test.h"

/* ---- streams ---- */

static char stream[300000];
static size_t n_stream;

static void put_head(char type, uint32_t len)
{
	if (type)
		stream[n_stream++] = type;
	for (int shift = 24; shift >= 0; shift -= 8)
		stream[n_stream++] = (char)(len >> shift);
}

static void put(char type, const char *body, size_t n)
{
	put_head(type, (uint32_t)n + 4);
	memcpy(stream + n_stream, body, n);
	n_stream += n;
}

#define PUT(type, literal) put(type, literal, sizeof(literal) - 1)

/* What was found: types, lengths and a sum over the bodies. */
struct found {
	char types[64];
	unsigned n;
	uint64_t lens, sum;
	bool refused;
};

static char keep_room[ATR_PG3_ASK_MAX + 1];

static char *room(void)
{
	return keep_room;
}

/* [p, p + n) in pieces that end at each of the `at` and at step bytes more. */
static void feed(struct atr_pg3 *r, struct found *f, const char *p, size_t n)
{
	char *edge = test_edge(p, n);
	const char *q = edge;

	while (n && !f->refused) {
		struct atr_pg3_message m;
		ssize_t used = atr_pg3_next(r, q, n, &m);

		if (used < 0) {
			f->refused = true;
			break;
		}
		q += used;
		n -= (size_t)used;
		if (!m.whole)
			continue;
		if (f->n < sizeof(f->types) - 1)
			f->types[f->n++] = m.type ? (char)m.type : '0';
		f->lens += m.len;
		for (size_t i = 0; i < m.body.len; i++)
			f->sum = f->sum * 31 + (uint8_t)m.body.p[i];
		if (!r->answers && !m.type)
			r->untyped = false;
	}
	test_edge_free(edge, (size_t)(q - edge) + n);
}

static struct atr_pg3 reader(bool answers, bool untyped)
{
	return (struct atr_pg3){ .answers = answers, .untyped = untyped, .room = room };
}

static struct found read_whole(bool answers, bool untyped)
{
	struct atr_pg3 r = reader(answers, untyped);
	struct found f = { .n = 0 };

	feed(&r, &f, stream, n_stream);
	return f;
}

static void same(const struct found *a, const struct found *b)
{
	CHECK_STR(a->types, b->types);
	CHECK_INT(a->lens, b->lens);
	CHECK_INT(a->sum, b->sum);
	CHECK_INT(a->refused, b->refused);
}

/* In two pieces, at every byte; and byte by byte. */
static void split_everywhere(bool answers, bool untyped)
{
	struct found whole = read_whole(answers, untyped), f;
	struct atr_pg3 r;

	for (size_t i = 0; i <= n_stream; i++) {
		f = (struct found){ .n = 0 };
		r = reader(answers, untyped);
		feed(&r, &f, stream, i);
		if (!f.refused)
			feed(&r, &f, stream + i, n_stream - i);
		same(&f, &whole);
	}
	f = (struct found){ .n = 0 };
	r = reader(answers, untyped);
	for (size_t i = 0; i < n_stream && !f.refused; i++)
		feed(&r, &f, stream + i, 1);
	same(&f, &whole);
}

static void every_question(void)
{
	n_stream = 0;
	PUT(0, "\4\322\026/");
	n_stream = 0;
	PUT(0, "\0\3\0\0user\0me\0database\0db\0\0");
	PUT('p', "secret");
	PUT('Q', "SELECT 1\0");
	PUT('P', "s1\0SELECT $1\0\0\1\0\0\0\27");
	PUT('B', "\0s1\0\0\0\0\1\0\0\0\1x\0\0");
	PUT('D', "Ss1\0");
	PUT('E', "\0\0\0\0\0");
	PUT('C', "Pp\0");
	PUT('H', "");
	PUT('S', "");
	PUT('d', "some data");
	PUT('c', "");
	PUT('f', "why\0");
	PUT('F', "\0\0\1\2\0\0\0\0\0\0");
	PUT('X', "");
}

static void every_answer(void)
{
	n_stream = 0;
	PUT('R', "\0\0\0\0");
	PUT('v', "\0\3\0\0\0\0\0\0");
	PUT('S', "standard_conforming_strings\0on\0");
	PUT('K', "\0\0\0\1\0\0\0\2");
	PUT('Z', "I");
	PUT('T', "\0\0");
	PUT('D', "\0\1\0\0\0\1x");
	PUT('C', "SELECT 1\0");
	PUT('N', "SNOTICE\0VNOTICE\0C00000\0Mm\0\0");
	PUT('A', "\0\0\0\1chan\0hello\0");
	PUT('E', "SERROR\0VERROR\0C42P01\0Mno\0\0");
	PUT('1', "");
	PUT('2', "");
	PUT('3', "");
	PUT('t', "\0\0");
	PUT('n', "");
	PUT('s', "");
	PUT('I', "");
	PUT('G', "\0\0\0");
	PUT('H', "\0\0\0");
	PUT('W', "\0\0\0");
	PUT('d', "row\n");
	PUT('c', "");
	PUT('V', "\0\0\0\1x");
}

TEST(every_message_is_found_wherever_it_is_split)
{
	struct found f;

	every_question();
	f = read_whole(false, true);
	CHECK_STR(f.types, "0pQPBDECHSdcfFX");
	CHECK(!f.refused);
	split_everywhere(false, true);
	every_answer();
	f = read_whole(true, false);
	CHECK_STR(f.types, "RvSKZTDCNAE123tnsIGHWdcV");
	CHECK(!f.refused);
	split_everywhere(true, false);
}

TEST(a_type_that_is_not_known_is_refused_at_its_first_byte)
{
	for (int answers = 0; answers < 2; answers++) {
		const char *known = answers ? "RvSKZTDCNAE123tnsIGHWdcV" : "pQPBDECHSdcfFX";

		for (int c = 0; c < 256; c++) {
			struct atr_pg3 r = reader(answers != 0, false);
			struct found f = { .n = 0 };
			char byte = (char)c;

			feed(&r, &f, &byte, 1);
			CHECK_INT(f.refused, !c || !strchr(known, c));
		}
	}
}

TEST(a_length_that_cannot_be_is_refused)
{
	static const struct {
		bool answers, untyped;
		char type;
		uint32_t len;
		bool refused;
	} cases[] = {
		{ false, false, 'Q', 0, true },
		{ false, false, 'Q', 3, true },
		{ false, false, 'Q', 4, true },
		{ false, false, 'Q', 5, false },
		{ false, false, 'S', 4, false },
		{ false, false, 'S', 5, true },
		{ false, false, 'X', 8, true },
		{ false, false, 'Q', 0x40000003u, false },
		{ false, false, 'Q', 0x40000004u, true },
		{ false, false, 'd', 0xffffffffu, true },
		{ false, false, 'd', 0x80000000u, true },
		{ false, false, 'B', 11, true },
		{ true, false, 'Z', 4, true },
		{ true, false, 'Z', 5, false },
		{ true, false, 'Z', 6, true },
		{ true, false, 'D', 5, true },
		{ true, false, 'D', 0xffffffffu, true },
		{ true, false, 'R', 7, true },
		{ true, false, '1', 4, false },
		{ true, false, '1', 5, true },
		{ false, true, 0, 7, true },
		{ false, true, 0, 8, false },
		{ false, true, 0, 10000, false },
		{ false, true, 0, 10001, true },
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(cases); i++) {
		struct found f;

		n_stream = 0;
		put_head(cases[i].type, cases[i].len);
		f = read_whole(cases[i].answers, cases[i].untyped);
		if (!CHECK_INT(f.refused, cases[i].refused))
			printf("  %c %u\n", cases[i].type, cases[i].len);
	}
}

TEST(of_a_huge_message_the_beginning_is_kept_and_the_rest_is_stepped_over)
{
	static char text[200000];
	struct atr_pg3 r = reader(false, false);
	struct atr_pg3_message m;
	size_t at = 0;
	unsigned n = 0;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)('a' + i % 26);
	n_stream = 0;
	put('Q', text, sizeof(text));
	PUT('S', "");
	while (at < n_stream) {
		uint32_t skip = atr_pg3_skippable(&r);
		size_t piece = n_stream - at < 1000 ? n_stream - at : 1000;
		ssize_t used;

		if (skip) { /* the data goes by unseen */
			CHECK(at >= 5 + ATR_PG3_ASK_MAX);
			atr_pg3_skip(&r, skip);
			at += skip;
			continue;
		}
		used = atr_pg3_next(&r, stream + at, piece, &m);
		if (!CHECK(used > 0))
			return;
		at += (size_t)used;
		if (!m.whole)
			continue;
		if (n++ == 0) {
			CHECK_INT(m.type, 'Q');
			CHECK_INT(m.len, sizeof(text));
			CHECK_INT(m.body.len, ATR_PG3_ASK_MAX);
			CHECK_MEM(m.body.p, text, ATR_PG3_ASK_MAX);
		}
	}
	CHECK_INT(n, 2);
}

TEST(without_memory_a_body_in_pieces_has_nothing)
{
	struct atr_pg3 r = { .answers = false };
	struct atr_pg3_message m;

	n_stream = 0;
	PUT('Q', "SELECT 1\0");
	CHECK_INT(atr_pg3_next(&r, stream, 8, &m), 8);
	CHECK(!m.whole);
	CHECK_INT(atr_pg3_next(&r, stream + 8, n_stream - 8, &m), n_stream - 8);
	CHECK(m.whole && m.body.len == 0 && m.len == 9);
}

TEST(rows_are_never_kept)
{
	struct atr_pg3 r = { .answers = true }; /* there is nowhere to */
	struct found f = { .n = 0 };

	n_stream = 0;
	PUT('D', "\0\1\0\0\0\5abcde");
	PUT('d', "abcde");
	for (size_t i = 0; i < n_stream; i++)
		feed(&r, &f, stream + i, 1);
	CHECK_STR(f.types, "Dd");
	CHECK_INT(f.lens, 16);
	CHECK_INT(f.sum, 0);
}

/* ---- the first bytes ---- */

static int sniffs(const char *bytes, size_t n)
{
	char *edge = test_edge(bytes, n);
	int is = atr_pg3_sniff(edge, n);

	test_edge_free(edge, n);
	return is;
}

#define SNIFF(literal) sniffs(literal, sizeof(literal) - 1)

TEST(a_client_is_known_by_its_first_bytes)
{
	static const char start[] = "\0\0\0\x15\0\3\0\0user\0me\0\0";
	static const char newer[] = "\0\0\0\x15\0\3\0\2user\0me\0\0";

	for (size_t n = 0; n < sizeof(start); n++)
		CHECK_INT(sniffs(start, n), n < 9 ? 0 : 1);
	CHECK_INT(sniffs(newer, sizeof(newer) - 1), 1);
	CHECK_INT(SNIFF("\0\0\0\x8\4\322\026\057"), 1);
	CHECK_INT(SNIFF("\0\0\0\x8\4\322\026\060"), 1);
	CHECK_INT(SNIFF("\0\0\0\x9\4\322\026\057"), -1);
	CHECK_INT(SNIFF("\0\0\0\x10\4\322\026\056\0\0\0\1\0\0\0\2"), 1);
	CHECK_INT(SNIFF("\0\0\0\x8\4\322\026\056"), -1);
	/* A request of Kafka's begins alike: length, 3, version 0, a number. */
	CHECK_INT(SNIFF("\0\0\0\x15\0\3\0\0\0\0\0\1\0\4"), -1);
	CHECK_INT(SNIFF("\0\0\0\x15\0\2\0\0user"), -1);
	CHECK_INT(SNIFF("\0\1\0\0\0\3\0\0user"), -1);
	CHECK_INT(SNIFF("\0\0\x27\x11\0\3\0\0user"), -1);
	CHECK_INT(SNIFF("\0\0\0\x8\0\3\0\0"), -1);
	CHECK_INT(SNIFF("GET / HTTP/1.1\r\n"), -1);
	CHECK_INT(SNIFF("\x16\3\1\2\0"), -1);
	CHECK_INT(SNIFF("\0"), 0);
	CHECK_INT(SNIFF(""), 0);
}

#define FIRST(literal) atr_pg3_first((struct atr_slice){ literal, sizeof(literal) - 1 }, &start)

TEST(a_start_names_user_and_database)
{
	struct atr_pg3_start start;

	CHECK_INT(FIRST("\0\3\0\0user\0me\0database\0db\0x\0y\0\0"), ATR_PG3_START);
	CHECK(atr_slice_is(start.user, "me") && atr_slice_is(start.database, "db"));
	CHECK_INT(FIRST("\0\3\0\0database\0\0user\0me\0\0"), ATR_PG3_START);
	CHECK(atr_slice_is(start.user, "me") && start.database.len == 0);
	CHECK_INT(FIRST("\0\3\0\0user\0me\0\0"), ATR_PG3_START);
	CHECK(!start.database.p);
	CHECK_INT(FIRST("\0\3\0\0database\0db\0\0"), ATR_PG3_BAD);
	CHECK_INT(FIRST("\0\3\0\0user\0me"), ATR_PG3_BAD);
	CHECK_INT(FIRST("\0\3\0\0user"), ATR_PG3_BAD);
	CHECK_INT(FIRST("\0\3\0\0"), ATR_PG3_BAD);
	CHECK_INT(FIRST("\0\2\0\0user\0me\0\0"), ATR_PG3_BAD);
	CHECK_INT(FIRST("\4\322\026\057"), ATR_PG3_ENCRYPT);
	CHECK_INT(FIRST("\4\322\026\060"), ATR_PG3_ENCRYPT);
	CHECK_INT(FIRST("\4\322\026\056\0\0\0\1\0\0\0\2"), ATR_PG3_CANCEL);
	CHECK_INT(FIRST("\4\322\026\056"), ATR_PG3_BAD);
	CHECK_INT(FIRST("\0\3"), ATR_PG3_BAD);
}

/* ---- fields and tags ---- */

#define STATE(literal) (atr_pg3_sqlstate((struct atr_slice){ literal, sizeof(literal) - 1 }, state))

TEST(an_error_has_a_state)
{
	char state[6] = "";

	CHECK(STATE("SERROR\0VERROR\0C42P01\0Mno\0\0"));
	CHECK_STR(state, "42P01");
	CHECK(STATE("C22012\0\0"));
	CHECK_STR(state, "22012");
	CHECK(!STATE("SERROR\0Mno\0\0"));
	CHECK(!STATE("C4201\0\0"));
	CHECK(!STATE("C42p01\0\0"));
	CHECK(!STATE("C42P01"));
	CHECK(!STATE("\0C42P01\0"));
	CHECK(!STATE(""));
}

#define WARNS(literal) atr_pg3_is_warning((struct atr_slice){ literal, sizeof(literal) - 1 })

TEST(a_notice_is_no_warning)
{
	CHECK(WARNS("SWARNUNG\0VWARNING\0C01000\0\0"));
	CHECK(WARNS("SWARNING\0C01000\0\0"));
	CHECK(!WARNS("SNOTICE\0VNOTICE\0C42P07\0\0"));
	CHECK(!WARNS("SWARNING\0VNOTICE\0\0"));
	CHECK(!WARNS(""));
}

static void tag(const char *text, enum atr_pg3_rows rows, uint64_t n)
{
	uint64_t found;
	size_t len = strlen(text) + 1;
	char *edge = test_edge(text, len);

	if (!CHECK_INT(atr_pg3_tag((struct atr_slice){ edge, len }, &found), rows) ||
	    !CHECK_INT(rows ? found : 0, n))
		printf("  %s\n", text);
	test_edge_free(edge, len);
}

TEST(a_tag_says_how_many_rows)
{
	tag("SELECT 5", ATR_PG3_SELECTED, 5);
	tag("INSERT 0 17", ATR_PG3_CHANGED, 17);
	tag("INSERT 16384 1", ATR_PG3_CHANGED, 1);
	tag("UPDATE 0", ATR_PG3_CHANGED, 0);
	tag("DELETE 123456789012345678", ATR_PG3_CHANGED, 123456789012345678);
	tag("DELETE 1234567890123456789", ATR_PG3_NO_ROWS, 0);
	tag("MERGE 3", ATR_PG3_CHANGED, 3);
	tag("COPY 1000", ATR_PG3_COPIED, 1000);
	tag("FETCH 2", ATR_PG3_SELECTED, 2);
	tag("MOVE 2", ATR_PG3_NO_ROWS, 0);
	tag("BEGIN", ATR_PG3_NO_ROWS, 0);
	tag("CREATE TABLE", ATR_PG3_NO_ROWS, 0);
	tag("7", ATR_PG3_NO_ROWS, 0);
	tag(" 7", ATR_PG3_NO_ROWS, 0);
	tag("SELECT7", ATR_PG3_NO_ROWS, 0);
	tag("", ATR_PG3_NO_ROWS, 0);
}
