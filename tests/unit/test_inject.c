/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/peek.o preload/sys.o */
/*
 * The injector between a program, a protocol and a kernel that are all made up here.
 *
 * What is to be on the wire is known before anything is sent: every byte of it is the
 * program's, ours, or an old debt.  So after each call it can be asked, from the number
 * of bytes that went alone, what the program must have been told, what is owed and what
 * the protocol must know; the tests then let the kernel stop behind every byte.
 */
#include "hooks/inject.c"
#include "tests/unit/test.h"

#include <sys/eventfd.h>

#define ALL SIZE_MAX
#define KEPT 4242 /* what errno was before the call */

struct atr_stats atr_stats;
struct atr_real atr_real;

/* ---- buffers: each is given back once, and nobody looks at it afterwards ---- */

#define BUFFERS 64

static struct {
	char *p;
	bool taken;
} room[BUFFERS];

static unsigned n_taken, n_takes, refuse_from; /* refuse_from: 0 never, else the n-th take and
						  all after it */

char *atr_buffer_take(void)
{
	unsigned i = 0;

	n_takes++;
	if (refuse_from && n_takes >= refuse_from)
		return NULL;
	while (i < BUFFERS && room[i].taken)
		i++;
	if (i == BUFFERS)
		abort();
	if (!room[i].p)
		room[i].p = test_edge(NULL, ATR_BUFFER_SIZE);
	room[i].taken = true;
	n_taken++;
	memset(room[i].p, 0x55, 512);
	return room[i].p;
}

void atr_buffer_give(char *p)
{
	unsigned i = 0;

	if (!p)
		return;
	while (i < BUFFERS && room[i].p != p)
		i++;
	if (!CHECK(i < BUFFERS && room[i].taken))
		return;
	room[i].taken = false;
	n_taken--;
	memset(p, 0x33, 512);
}

/* ---- the connection ---- */

static struct atr_conn conn;
static struct atr_conn as_it_was; /* another's, once ours is closed */
static unsigned holds;
static bool closed;

bool atr_conn_hold(struct atr_conn *c, uint32_t gen)
{
	CHECK(c == &conn);
	holds += c->gen == gen;
	return c->gen == gen;
}

void atr_conn_release(struct atr_conn *c)
{
	CHECK(c == &conn && holds == 1);
	holds--;
}

/* Another thread closes it, and at once the memory is another connection's, with a debt. */
static void close_meanwhile(void)
{
	static const struct atr_protocol nobody; /* calling it is a crash */

	closed = true;
	atr_buffer_give(conn.debt);
	conn = (struct atr_conn){ .gen = conn.gen + 1, .protocol = &nobody };
	conn.debt = atr_buffer_take();
	memcpy(conn.debt, "another's", 9);
	conn.debt_len = 9;
	as_it_was = conn;
}

/* ---- what is to go out ---- */

enum { OWED, PROGRAM, OURS };

#define WISHES 12
#define PROGRAM_MAX 4096

/* Before the program's byte `at`, and the `replaced` ones in front of it from a copy, in which
 * letters are capitals. */
struct wish {
	size_t at;
	const char *text[2];
	size_t replaced;
};

struct script {
	const char *program;
	const char *debt;
	size_t debt_at;
	unsigned n;
	struct wish wish[WISHES];
	size_t cut[3]; /* ends of plans, before the program's */
};

static const struct script *script;
static size_t n_program;
static bool no_texts; /* there is no room for a debt */

static struct {
	char c[2 * PROGRAM_MAX];
	uint8_t whose[2 * PROGRAM_MAX];
	uint8_t of[2 * PROGRAM_MAX];	 /* which wish's, of OURS */
	uint8_t begins[2 * PROGRAM_MAX]; /* wishes */
	uint8_t whole[2 *
		      PROGRAM_MAX]; /* PROGRAM that is replaced: by the copy of which wish, + 1 */
	size_t n;
} expected;

static void expect(char c, int whose, unsigned of)
{
	expected.c[expected.n] = c;
	expected.whose[expected.n] = (uint8_t)whose;
	expected.of[expected.n++] = (uint8_t)of;
}

static void expect_text(const struct wish *w, unsigned of)
{
	size_t first = expected.n;

	for (int i = 0; i < 2; i++)
		for (const char *p = w->text[i]; p && *p && !no_texts; p++)
			expect(*p, OURS, of);
	/* Where it has no text it begins with the program's byte. */
	expected.begins[first]++;
}

static char upper(char c)
{
	return c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
}

/* Where the copy of [from, w->at) is not what it stands for, from the first byte to the last. */
static bool differs(const struct wish *w, size_t from, size_t *ret_from, size_t *ret_to)
{
	size_t to = w->at;

	while (from < to && upper(script->program[from]) == script->program[from])
		from++;
	while (to > from && upper(script->program[to - 1]) == script->program[to - 1])
		to--;
	*ret_from = from;
	*ret_to = to;
	return from < to;
}

/* By which wish's copy is this byte of the program replaced, + 1? */
static unsigned replaced_by(size_t i)
{
	for (unsigned k = 0; k < script->n && !no_texts; k++) {
		const struct wish *w = &script->wish[k];
		size_t from, to;

		if (differs(w, w->at - w->replaced, &from, &to) && i >= from && i < to)
			return k + 1;
	}
	return 0;
}

static void expect_all(void)
{
	unsigned w = 0;

	memset(&expected, 0, sizeof(expected));
	for (const char *p = script->debt; p && *p; p++)
		expect(*p, OWED, 0);
	for (size_t i = 0; i <= n_program; i++) {
		unsigned by = replaced_by(i);

		for (; w < script->n && script->wish[w].at == i; w++)
			expect_text(&script->wish[w], w);
		if (i == n_program)
			break;
		expect(by ? upper(script->program[i]) : script->program[i], PROGRAM, 0);
		expected.whole[expected.n - 1] = (uint8_t)by;
	}
}

/* Does the same that goes whole lie on both sides of the wire's byte `at`? */
static bool within_whole(size_t at)
{
	if (!at || at >= expected.n || expected.whose[at] != expected.whose[at - 1])
		return false;
	switch (expected.whose[at]) {
	case OWED:
		return true;
	case OURS:
		return expected.of[at] == expected.of[at - 1];
	default:
		return expected.whole[at] && expected.whole[at] == expected.whole[at - 1];
	}
}

/* Ours that must go next, before anything else, when so many bytes have gone. */
static size_t owed_at(size_t went)
{
	size_t end = went;

	if (within_whole(went) || (went < expected.n && expected.whose[went] == OWED))
		do
			end++;
		while (within_whole(end));
	return end - went;
}

/* What of the program's has gone, for all it knows: bytes of ours that stand for some of it
 * are as good as sent when the first one is. */
static size_t told_at(size_t went)
{
	size_t n = 0, owed = owed_at(went);

	for (size_t i = 0; i < went + owed; i++)
		n += expected.whose[i] == PROGRAM;
	return n;
}

static size_t told_between(size_t from, size_t to)
{
	return told_at(to) - told_at(from);
}

static unsigned begun_within(size_t from, size_t to)
{
	unsigned n = 0;

	for (size_t i = from; i < to; i++)
		n += expected.begins[i];
	return n;
}

/* ---- the kernel ---- */

#define CALLS 4096

/* What it is to do with one call. */
struct order {
	size_t takes; /* at most */
	int err;      /* instead; 0: none */
	bool closes;  /* another thread does, meanwhile */
};

static struct order orders[16];
static unsigned n_orders, next_order;
static struct order ever_after; /* when those are through */

/* What was asked of it, and what it said. */
static struct asked {
	size_t from, offered, took; /* from: what had gone before */
	size_t n_iov;
	int flags, err;
	bool by_send, control, name;
} asked[CALLS];

static unsigned n_asked;
static char wire[2 * PROGRAM_MAX];
static size_t n_wire;
static int fds[2]; /* blocking, not blocking: nothing is ever sent to them */

static size_t take(const struct iovec *iov, size_t n_iov, size_t most)
{
	size_t took = 0;

	for (size_t i = 0; i < n_iov && took < most; i++) {
		size_t n = iov[i].iov_len < most - took ? iov[i].iov_len : most - took;

		if (n_wire + n > sizeof(wire))
			abort();
		if (n)
			memcpy(wire + n_wire, iov[i].iov_base, n);
		n_wire += n;
		took += n;
	}
	return took;
}

static ssize_t kernel(int fd, const struct iovec *iov, size_t n_iov, struct asked a)
{
	struct order o = next_order < n_orders ? orders[next_order++] : ever_after;

	CHECK(fd == fds[0] || fd == fds[1]);
	CHECK_INT(holds, 0);
	CHECK(n_iov > 0 && n_iov <= UIO_MAXIOV);
	if (n_asked == CALLS)
		abort(); /* it goes on for ever */
	a.from = n_wire;
	a.n_iov = n_iov;
	for (size_t i = 0; i < n_iov; i++) {
		CHECK(iov[i].iov_len > 0);
		a.offered += iov[i].iov_len;
	}
	a.err = o.err;
	if (!o.err)
		a.took = take(iov, n_iov, o.takes);
	asked[n_asked++] = a;
	if (o.closes)
		close_meanwhile();
	if (!o.err)
		return (ssize_t)a.took;
	errno = o.err;
	return -1;
}

static ssize_t k_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	return kernel(fd, msg->msg_iov, msg->msg_iovlen,
		      (struct asked){ .flags = flags,
				      .control = msg->msg_control && msg->msg_controllen,
				      .name = msg->msg_name && msg->msg_namelen });
}

static ssize_t k_send(int fd, const void *p, size_t n, int flags)
{
	struct iovec v = { (void *)(uintptr_t)p, n };

	return kernel(fd, &v, 1, (struct asked){ .flags = flags, .by_send = true });
}

/* ---- the protocol: its plans are the script's, its place the one it was told ---- */

static struct atr_io io;
static size_t place; /* of the program's bytes */
static unsigned n_begun, n_plans, n_told;
static bool plans_nothing, copies_missing;
static const struct atr_plan *planned_for;
static const struct atr_source *planned_from;
static int talk, listened;
static char seen[2 * PROGRAM_MAX]; /* what the plans were made for */
static size_t n_seen;
static bool disturb; /* errno, which is the injector's to keep */

static size_t plan_end(size_t total)
{
	for (unsigned i = 0; i < ATR_ARRAY_LEN(script->cut); i++)
		if (script->cut[i] > place && script->cut[i] < place + total)
			return script->cut[i];
	return place + total;
}

static void copy_for(struct atr_insert *in, const struct wish *w)
{
	size_t from = w->at - w->replaced, first, last;

	if (from < place)
		from = place; /* what went of it went replaced */
	in->copy = atr_buffer_take();
	if (!in->copy) {
		copies_missing = true;
		return;
	}
	in->from = from - place;
	for (size_t i = from; i < w->at; i++)
		in->copy[i - from] = upper(script->program[i]);
	if (differs(w, from, &first, &last)) {
		in->whole_from = first - place;
		in->whole_to = last - place;
	}
}

static bool p_plan(void *t, struct atr_conn *c, struct atr_source *source, struct atr_plan *plan)
{
	size_t end = plan_end(source->total);

	CHECK(t == &talk && c == &conn && holds == 1);
	CHECK_INT(plan->n, 0);
	CHECK_INT(plan->cut, source->total);
	if (disturb)
		errno = KEPT + 1;
	disturb = false;
	n_seen = source->total < sizeof(seen) ? source->total : sizeof(seen);
	CHECK(atr_source_peek(source, 0, seen, n_seen));
	CHECK_MEM(seen, script->program + place, n_seen);
	CHECK(!atr_source_peek(source, 0, seen, source->total + 1)); /* there is no more */
	if (plans_nothing)
		return false;
	for (unsigned i = n_begun; i < script->n && plan->n < ATR_INSERTS_MAX; i++) {
		const struct wish *w = &script->wish[i];
		struct atr_insert *in = &plan->insert[plan->n];

		if (w->at >= end && (w->at > end || end < n_program))
			break;
		*in = (struct atr_insert){ .at = w->at - place };
		for (int k = 0; k < 2; k++)
			if (w->text[k])
				in->text[k] = (struct atr_slice){ w->text[k], strlen(w->text[k]) };
		if (w->replaced)
			copy_for(in, w);
		plan->n++;
	}
	plan->cut = end - place;
	memset(plan->own, (int)++n_plans, sizeof(plan->own));
	planned_for = plan;
	planned_from = source;
	return true;
}

static void p_sent_planned(void *t, const struct atr_moved *m, struct atr_plan *plan,
			   unsigned begun)
{
	const struct asked *a = &asked[n_asked - 1];

	CHECK(t == &talk && m->conn == &conn && holds == 1);
	CHECK(plan == planned_for && planned_from->total >= m->bytes);
	for (size_t i = 0; i < sizeof(plan->own); i++)
		if (plan->own[i] != (char)n_plans)
			CHECK(!"what the protocol keeps in its plan is there after the call");
	CHECK(m->fd == io.fd && !m->iov && m->of == io.of && m->since == io.since);
	CHECK_INT(m->err, a->err);
	CHECK_INT(m->bytes, told_between(a->from, n_wire));
	CHECK_INT(begun, begun_within(a->from, n_wire));
	CHECK(m->bytes <= plan->cut && begun <= plan->n);
	place += m->bytes;
	n_begun += begun;
	n_told++;
	if (a->err)
		errno = KEPT + 2;
}

static const struct atr_protocol protocol = {
	.name = "made up",
	.plan = p_plan,
	.sent_planned = p_sent_planned,
};

void atr_talk_listen(struct atr_conn *c, struct atr_source *source)
{
	CHECK(c == &conn && holds == 1 && source->total > 0);
	listened++;
	c->heard = ATR_HEARD_ALL;
	c->protocol = &protocol;
	c->talk = &talk;
}

/* ---- the program ---- */

static struct iovec vector[2 * UIO_MAXIOV];
static size_t n_vector;
static char memory[2 * PROGRAM_MAX];
static uint64_t since;
static struct atr_context of;

static void fresh(const struct script *s)
{
	if (!atr_real.sendmsg) {
		atr_real.sendmsg = k_sendmsg;
		atr_real.send = k_send;
		fds[0] = eventfd(0, 0);
		fds[1] = eventfd(0, EFD_NONBLOCK);
	}
	if (conn.debt)
		atr_buffer_give(conn.debt);
	if (n_taken)
		abort(); /* a test has not cleaned up */
	script = s;
	n_program = strlen(s->program);
	conn = (struct atr_conn){ .gen = conn.gen + 1,
				  .type = SOCK_STREAM,
				  .role = ATR_ROLE_CLIENT,
				  .heard = ATR_HEARD_ALL,
				  .protocol = &protocol,
				  .talk = &talk };
	io = (struct atr_io){ .conn = &conn,
			      .gen = conn.gen,
			      .fd = fds[0],
			      .direction = ATR_SEND,
			      .out = true,
			      .of = &of,
			      .since = &since };
	holds = n_takes = refuse_from = 0;
	closed = no_texts = plans_nothing = copies_missing = disturb = false;
	n_orders = next_order = n_asked = 0;
	ever_after = (struct order){ .takes = ALL };
	n_wire = place = 0;
	n_begun = n_plans = n_told = 0;
	listened = 0;
	memset(&atr_stats, 0, sizeof(atr_stats));
	if (s->debt) {
		conn.debt = atr_buffer_take();
		conn.debt_at = (uint32_t)s->debt_at;
		conn.debt_len = (uint32_t)strlen(s->debt);
		memcpy(conn.debt + s->debt_at, s->debt, conn.debt_len);
	}
	expect_all();
}

static void finish(void)
{
	if (conn.debt)
		atr_buffer_give(conn.debt);
	conn.debt = NULL;
	conn.debt_len = 0;
	CHECK_INT(n_taken, 0);
	CHECK_INT(holds, 0);
}

/* The program's bytes [from, from + n) in pieces of so many; 0: in one, else with empty ones. */
static void lay_out(size_t from, size_t n, size_t piece)
{
	char *p = memory;

	n_vector = 0;
	memset(memory, 'Z', sizeof(memory));
	if (!piece) {
		memcpy(p, script->program + from, n);
		vector[n_vector++] = (struct iovec){ p, n };
		return;
	}
	for (size_t at = 0; at < n; at += piece) {
		size_t len = piece < n - at ? piece : n - at;

		if (at / piece % 3 == 0)
			vector[n_vector++] = (struct iovec){ p, 0 };
		memcpy(p, script->program + from + at, len);
		vector[n_vector++] = (struct iovec){ p, len };
		p += len + 1;
	}
	vector[n_vector++] = (struct iovec){ NULL, 0 };
}

/* What the kernel was asked from this call on is what one who keeps at it would ask. */
static void check_asked(unsigned first, bool nonblocking, int flags, size_t n)
{
	size_t done = 0;
	bool over = false;

	for (unsigned i = first; i < n_asked; i++) {
		const struct asked *a = &asked[i];

		CHECK(!over);
		CHECK_INT(a->flags, flags | (done ? MSG_NOSIGNAL : 0));
		CHECK(!a->by_send);
		done += told_between(a->from, a->from + a->took);
		over = a->err || done == n || (a->took < a->offered && (nonblocking || done));
	}
	CHECK(over); /* and does not stop too early */
}

/* What is true after every call on a connection that is still there. */
static void check_state(void)
{
	size_t owed = owed_at(n_wire);

	CHECK(n_wire <= expected.n);
	CHECK_MEM(wire, expected.c, n_wire);
	CHECK_INT(conn.debt_len, owed);
	CHECK(!conn.debt == !owed);
	if (owed && conn.debt_len == owed)
		CHECK_MEM(conn.debt + conn.debt_at, expected.c + n_wire, owed);
	CHECK_INT(n_taken, owed != 0);
	CHECK_INT(holds, 0);
}

static void check_call(size_t before, unsigned first, ssize_t ret, int err, size_t n,
		       bool nonblocking, int flags)
{
	const struct asked *last = &asked[n_asked - 1];
	size_t told = told_between(before, n_wire);

	CHECK(n_asked > first);
	if (told) {
		CHECK_INT(ret, told);
		/* (Where a later one of our calls failed, errno may be its.) */
		if (!last->err)
			CHECK_INT(err, KEPT);
	} else {
		CHECK_INT(ret, -1);
		CHECK_INT(err, last->err ? last->err : EAGAIN);
		CHECK(last->err || nonblocking);
	}
	check_asked(first, nonblocking, flags, n);
	check_state();
	if (!plans_nothing)
		CHECK_INT(place, told_at(n_wire));
}

/* One call for [from, from + n); what the program was told. */
static ssize_t say(size_t from, size_t n, size_t piece, bool nonblocking, int flags)
{
	struct atr_sending sending = { .iov = vector, .flags = flags };
	size_t before = n_wire;
	unsigned first = n_asked;
	ssize_t ret = -77;
	bool took;
	int err;

	lay_out(from, n, piece);
	sending.n_iov = n_vector;
	io.fd = fds[nonblocking];
	disturb = true;
	errno = KEPT;
	took = atr_inject(&io, &sending, &ret);
	err = errno;
	if (!CHECK(took))
		abort();
	check_call(before, first, ret, err, n, nonblocking || flags & MSG_DONTWAIT, flags);
	return ret;
}

/* The rest of what the program says, as one who tries again as long as it takes. */
static void say_all(size_t piece, bool nonblocking, int flags)
{
	size_t at = 0, left_out = 0;

	for (unsigned i = 0; at < n_program && test_failures < 20; i++) {
		ssize_t ret = say(at, n_program - at, piece, nonblocking, flags);

		if (!CHECK(i < CALLS))
			return;
		at += ret > 0 ? (size_t)ret : 0;
	}
	/* A text behind the last byte, when that was all that went, has no call any more. */
	if (n_begun < script->n && script->wish[n_begun].at == n_program)
		left_out = expected.n - n_wire - conn.debt_len;
	CHECK_INT(n_wire + conn.debt_len + left_out, expected.n);
	CHECK_INT(n_begun + !!left_out, plans_nothing ? 0 : script->n);
	CHECK_INT(n_told, n_plans);
}

/* ---- the scripts ---- */

/* By name, where a test wants a certain one. */
enum {
	PLAIN,
	AT_ONCE,
	LINE,
	LINE_AND_MORE,
	MORE,
	OTHER_IDS,
	IDS_ONLY,
	ID_AT_ONCE,
	IDS_WITHIN,
	IDS_AND_OWING,
	SAME_IDS,
	BEHIND,
	OWING,
	OWING_AND_LINE,
	OWING_AND_TWO,
	THREE,
	SIDE_BY_SIDE,
	CUT_ONCE,
	CUT_OFTEN,
	CUT_ONLY,
	TEN,
};

static const struct script scripts[] = {
	[PLAIN] = { .program = "plain" },
	[AT_ONCE] = { .program = "a", .n = 1, .wish = { { 0, { ">" }, 0 } } },
	[LINE] = { .program = "request|", .n = 1, .wish = { { 7, { "<line>" }, 0 } } },
	[LINE_AND_MORE] = { .program = "request|",
			    .n = 1,
			    .wish = { { 7, { "<line>", "[carried]" }, 0 } } },
	[MORE] = { .program = "request|", .n = 1, .wish = { { 7, { NULL, "[carried]" }, 0 } } },
	[OTHER_IDS] = { .program = "request|body", .n = 1, .wish = { { 7, { "<l>" }, 4 } } },
	[IDS_ONLY] = { .program = "request|body", .n = 1, .wish = { { 7, { NULL, NULL }, 7 } } },
	[ID_AT_ONCE] = { .program = "a|", .n = 1, .wish = { { 1, { NULL, NULL }, 1 } } },
	[IDS_WITHIN] = { .program = "k: 1-ab-2|", .n = 1, .wish = { { 9, { "<l>" }, 9 } } },
	[IDS_AND_OWING] = { .program = "k: 1-a-b-2, 3|body",
			    .debt = "x",
			    .n = 1,
			    .wish = { { 13, { "<line>", "[more]" }, 9 } } },
	[SAME_IDS] = { .program = "1234|",
		       .n = 1,
		       .wish = { { 4, { "<l>" }, 3 } } }, /* a copy, but the same */
	[BEHIND] = { .program = "behind", .n = 1, .wish = { { 6, { "<it all>", "[!]" }, 2 } } },
	[OWING] = { .program = "owing", .debt = "old>", .debt_at = 9 },
	[OWING_AND_LINE] = { .program = "owing|",
			     .debt = "old>",
			     .debt_at = 1,
			     .n = 1,
			     .wish = { { 5, { "<ne", "w>" }, 3 } } },
	[OWING_AND_TWO] = { .program = "owing",
			    .debt = "o",
			    .n = 2,
			    .wish = { { 0, { "<first>" }, 0 }, { 0, { "[second]" }, 0 } } },
	[THREE] = { .program = "one|two|three|",
		    .n = 3,
		    .wish = { { 3, { "<1>" }, 0 },
			      { 7, { "<2>", "[2]" }, 3 },
			      { 13, { "<3>" }, 1 } } },
	[SIDE_BY_SIDE] = { .program = "one|two|",
			   .n = 2,
			   .wish = { { 3, { "<1>" }, 3 },
				     { 7, { NULL, NULL }, 4 } } }, /* side by side */
	[CUT_ONCE] = { .program = "one|two|three|body",
		       .debt = "old",
		       .n = 3,
		       .wish = { { 3, { "<1>" }, 0 }, { 7, { "<2>" }, 2 }, { 13, { "<3>" }, 0 } },
		       .cut = { 8 } },
	[CUT_OFTEN] = { .program = "one|two|three|body",
			.n = 3,
			.wish = { { 3, { "<1>" }, 1 }, { 7, { "<2>" }, 2 }, { 13, { "<3>" }, 3 } },
			.cut = { 4, 8, 14 } },
	[CUT_ONLY] = { .program = "cut and nothing added", .cut = { 1, 4, 8 } },
	[TEN] = { .program = "a|b|c|d|e|f|g|h|i|j|",
		  .n = 10,
		  .wish = { { 1, { "<a>" }, 0 },
			    { 3, { "<b>" }, 0 },
			    { 5, { "<c>" }, 1 },
			    { 7, { "<d>" }, 0 },
			    { 9, { "<e>" }, 0 },
			    { 11, { NULL, "<f>" }, 1 },
			    { 13, { "<g>" }, 0 },
			    { 15, { "<h>" }, 0 },
			    { 17, { "<i>" }, 0 },
			    { 19, { "<j>" }, 0 } },
		  .cut = { 16 } },
};

static const size_t pieces[] = { 0, 1, 2, 5 };

/* ---- wherever the kernel stops ---- */

TEST(where_the_kernel_takes_all_it_is_asked_as_often_as_there_are_plans)
{
	for (size_t s = 0; s < ATR_ARRAY_LEN(scripts); s++) {
		for (size_t p = 0; p < ATR_ARRAY_LEN(pieces); p++) {
			unsigned cuts = 0;

			fresh(&scripts[s]);
			for (int i = 0; i < 3; i++)
				cuts += scripts[s].cut[i] != 0;
			CHECK_INT(say(0, n_program, pieces[p], p % 2, 0), n_program);
			CHECK_INT(n_asked, cuts + 1);
			CHECK_INT(n_wire, expected.n);
			CHECK_INT(n_begun, scripts[s].n);
			finish();
		}
	}
}

TEST(wherever_the_kernel_stops_every_byte_is_accounted_for)
{
	for (size_t s = 0; s < ATR_ARRAY_LEN(scripts); s++) {
		for (size_t stop = 1; stop <= 200; stop++) {
			for (unsigned how = 0; how < 2 * ATR_ARRAY_LEN(pieces); how++) {
				fresh(&scripts[s]);
				if (stop > expected.n)
					break;
				orders[0] = (struct order){ .takes = stop };
				n_orders = 1;
				say_all(pieces[how / 2], how % 2, how / 2 == 1 ? MSG_NOSIGNAL : 0);
				finish();
			}
		}
	}
}

TEST(wherever_it_stops_twice_every_byte_is_accounted_for)
{
	for (size_t s = 0; s < ATR_ARRAY_LEN(scripts); s++) {
		for (size_t stops = 0; stops < 10000; stops++) {
			fresh(&scripts[s]);
			if (1 + stops / 100 + stops % 100 >= expected.n)
				continue;
			orders[0] = (struct order){ .takes = 1 + stops / 100 };
			orders[1] = (struct order){ .takes = 1 + stops % 100 };
			n_orders = 2;
			say_all(s % 2 ? 3 : 0, stops % 2, MSG_MORE);
			finish();
		}
	}
}

TEST(a_kernel_that_takes_a_few_bytes_each_time_gets_them_all)
{
	for (size_t s = 0; s < ATR_ARRAY_LEN(scripts); s++) {
		for (size_t step = 1; step < 12; step++) {
			for (unsigned how = 0; how < 2 * ATR_ARRAY_LEN(pieces); how++) {
				fresh(&scripts[s]);
				ever_after.takes = step;
				say_all(pieces[how / 2], how % 2, 0);
				finish();
			}
		}
	}
}

TEST(a_program_that_waits_is_never_told_to_come_again)
{
	static const struct script s = { .program = "x|",
					 .debt = "a long debt",
					 .n = 1,
					 .wish = { { 0, { "<and a long line>" }, 0 } } };

	fresh(&s);
	ever_after.takes = 3;
	CHECK_INT(say(0, 2, 0, false, 0), 2); /* 28 before its first, then both in one */
	CHECK_INT(n_asked, 10);
	finish();
	/* The same, but with MSG_DONTWAIT; then on a descriptor that does not wait. */
	for (int i = 0; i < 2; i++) {
		fresh(&s);
		ever_after.takes = 3;
		for (int k = 0; k < 9; k++) {
			CHECK_INT(say(0, 2, 0, i, i ? 0 : MSG_DONTWAIT), -1);
			CHECK_INT(n_asked, k + 1);
		}
		CHECK_INT(say(0, 2, 0, i, i ? 0 : MSG_DONTWAIT), 2);
		finish();
	}
}

/* ---- wherever it fails ---- */

TEST(wherever_it_fails_the_program_hears_of_what_went_or_of_the_error)
{
	static const int errors[] = { EAGAIN, EINTR, EPIPE, ENOBUFS, ECONNRESET, EMSGSIZE };

	for (size_t s = 0; s < ATR_ARRAY_LEN(scripts); s++) {
		for (size_t stop = 0; stop <= 200; stop++) {
			for (size_t e = 0; e < 2 * ATR_ARRAY_LEN(errors); e++) {
				fresh(&scripts[s]);
				if (stop >= expected.n)
					break;
				orders[0] = (struct order){ .takes = stop };
				orders[1] = (struct order){ .err = errors[e / 2] };
				orders[2] = (struct order){ .err = errors[e / 2] };
				memmove(orders, orders + !stop, sizeof(orders) - sizeof(*orders));
				n_orders = stop ? 3 : 2;
				say_all(e % 3 ? 0 : 2, e % 2, 0);
				if (told_at(stop) < n_program)
					CHECK_INT(next_order, n_orders);
				finish();
			}
		}
	}
}

TEST(what_failed_outright_has_moved_nothing)
{
	for (size_t s = 0; s < ATR_ARRAY_LEN(scripts); s++) {
		struct atr_conn before;

		fresh(&scripts[s]);
		before = conn;
		orders[0] = (struct order){ .err = EPIPE };
		n_orders = 1;
		CHECK_INT(say(0, n_program, 0, s % 2, 0), -1);
		CHECK(memcmp(&before, &conn, sizeof(conn)) == 0);
		CHECK_INT(n_wire, 0);
		CHECK_INT(n_told, 1);
		finish();
	}
}

/* One call would raise one signal at most, and none where it could say how far it got. */
TEST(a_broken_pipe_behind_a_part_raises_no_signal)
{
	const struct script *s = &scripts[CUT_OFTEN];

	fresh(s);
	orders[0] = (struct order){ .takes = ALL };
	orders[1] = (struct order){ .err = EPIPE };
	n_orders = 2;
	CHECK_INT(say(0, n_program, 0, false, 0), s->cut[0]);
	CHECK_INT(n_asked, 2);
	CHECK_INT(asked[0].flags, 0);
	CHECK_INT(asked[1].flags, MSG_NOSIGNAL);
	orders[2] = (struct order){ .err = EPIPE };
	n_orders = 3;
	CHECK_INT(say(s->cut[0], n_program - s->cut[0], 0, false, 0), -1);
	CHECK_INT(asked[2].flags, 0); /* and now it does */
	finish();
	/* Only bytes of ours have gone: the program has nothing to be told, so it is due. */
	fresh(&scripts[OWING_AND_TWO]);
	orders[0] = (struct order){ .takes = 3 };
	orders[1] = (struct order){ .err = EPIPE };
	n_orders = 2;
	CHECK_INT(say(0, n_program, 0, false, 0), -1);
	CHECK_INT(asked[1].flags, 0);
	finish();
}

TEST(a_kernel_that_takes_nothing_and_says_so_ends_the_call)
{
	struct atr_sending sending = { .iov = vector };
	ssize_t ret = -77;

	fresh(&scripts[LINE]);
	lay_out(0, n_program, 0);
	sending.n_iov = n_vector;
	orders[0] = (struct order){ .takes = 0 };
	n_orders = 1;
	errno = KEPT;
	CHECK(atr_inject(&io, &sending, &ret));
	CHECK_INT(ret, 0);
	CHECK_INT(errno, KEPT);
	CHECK_INT(n_asked, 1);
	check_state();
	finish();
}

/* ---- with its own ways of calling ---- */

TEST(a_program_that_offers_less_each_time_gets_the_same_on_the_wire)
{
	/* Nothing is replaced here: that must be looked at as a whole. */
	static const size_t some[] = { LINE,	      LINE_AND_MORE, OWING_AND_LINE,
				       OWING_AND_TWO, CUT_ONLY,	     TEN };

	for (size_t s = 0; s < ATR_ARRAY_LEN(some); s++) {
		struct script plain = scripts[some[s]];

		for (unsigned i = 0; i < plain.n; i++)
			plain.wish[i].replaced = 0;
		for (size_t step = 1; step < 8; step++) {
			for (size_t takes = 1; takes < 8; takes++) {
				size_t at = 0;

				fresh(&plain);
				ever_after.takes = takes;
				while (at < n_program && test_failures < 20) {
					size_t n = step < n_program - at ? step : n_program - at;
					ssize_t ret = say(at, n, takes % 3, step % 2, 0);

					at += ret > 0 ? (size_t)ret : 0;
				}
				CHECK_INT(n_wire, expected.n);
				finish();
			}
		}
	}
}

TEST(a_name_goes_each_time_and_control_data_once)
{
	char control[CMSG_SPACE(sizeof(int))] = { 1 };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct msghdr msg = { .msg_name = &un,
			      .msg_namelen = sizeof(un),
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct atr_sending sending = { .iov = vector, .msg = &msg, .flags = MSG_EOR };
	ssize_t ret = 0;

	fresh(&scripts[CUT_OFTEN]);
	lay_out(0, n_program, 2);
	sending.n_iov = n_vector;
	errno = KEPT;
	CHECK(atr_inject(&io, &sending, &ret));
	CHECK_INT(ret, n_program);
	CHECK_INT(errno, KEPT);
	CHECK_INT(n_asked, 4);
	for (unsigned i = 0; i < n_asked; i++) {
		CHECK(asked[i].name);
		CHECK_INT(asked[i].control, i == 0);
		CHECK_INT(asked[i].flags, MSG_EOR | (i ? MSG_NOSIGNAL : 0));
	}
	finish();
	/* A blocking call that goes on because only ours went; then one whose first try failed. */
	for (int i = 0; i < 2; i++) {
		unsigned carried = 0;

		fresh(&scripts[OWING]);
		lay_out(0, n_program, 0);
		sending.n_iov = n_vector;
		orders[0] = i ? (struct order){ .err = EINTR } : (struct order){ .takes = 2 };
		n_orders = 1;
		CHECK(atr_inject(&io, &sending, &ret));
		CHECK_INT(ret, i ? -1 : (ssize_t)n_program);
		if (i)
			CHECK(atr_inject(&io, &sending, &ret));
		CHECK_INT(ret, n_program);
		for (unsigned k = 0; k < n_asked; k++)
			carried += asked[k].control && asked[k].took;
		CHECK_INT(carried, 1);
		finish();
	}
}

TEST(without_a_message_there_is_no_name_and_no_control_data)
{
	fresh(&scripts[CUT_OFTEN]);
	CHECK_INT(say(0, n_program, 0, false, 0), n_program);
	for (unsigned i = 0; i < n_asked; i++)
		CHECK(!asked[i].name && !asked[i].control);
	finish();
}

/* ---- nothing to add ---- */

/* It must be left to the hook, and nothing be sent, owed or changed. */
static void check_left_alone(const struct atr_sending *sending)
{
	struct atr_conn before = conn;
	unsigned first = n_asked, taken = n_taken;
	ssize_t ret = -77;
	bool took;

	errno = KEPT;
	took = atr_inject(&io, sending, &ret);
	CHECK(!took);
	CHECK_INT(errno, KEPT);
	CHECK_INT(ret, -77);
	CHECK_INT(n_asked, first);
	CHECK_INT(n_taken, taken);
	CHECK(memcmp(&before, &conn, sizeof(conn)) == 0);
}

TEST(where_nobody_plans_and_nothing_is_owed_the_call_is_the_hooks)
{
	struct atr_sending sending = { .iov = vector };

	fresh(&scripts[LINE]);
	lay_out(0, n_program, 2);
	sending.n_iov = n_vector;
	plans_nothing = true;
	check_left_alone(&sending);
	CHECK_INT(n_told, 0);
	/* Nobody listens at all. */
	plans_nothing = false;
	conn.protocol = NULL;
	check_left_alone(&sending);
	CHECK_INT(listened, 0);
	conn.protocol = &protocol;
	io.out = false;
	check_left_alone(&sending);
	CHECK_INT(n_plans, 0);
	finish();
}

TEST(where_nobody_plans_a_debt_is_paid_in_the_same_call)
{
	static const struct script s = { .program = "body", .debt = "rest>", .debt_at = 3 };

	for (size_t stop = 1; stop <= 9; stop++) {
		for (int how = 0; how < 2; how++) {
			fresh(&s);
			plans_nothing = true;
			orders[0] = (struct order){ .takes = stop };
			n_orders = 1;
			/* The fake protocol follows only plans, so it is told here. */
			for (size_t at = 0; at < 4 && test_failures < 20; place = at) {
				struct atr_sending sending = { .iov = vector };
				ssize_t ret = -77;
				bool took;

				lay_out(at, 4 - at, (size_t)how);
				sending.n_iov = n_vector;
				io.fd = fds[how];
				took = conn.debt_len != 0;
				CHECK(atr_inject(&io, &sending, &ret) == took);
				check_state();
				if (!took)
					ret = (ssize_t)take(vector, n_vector, ALL);
				at += ret > 0 ? (size_t)ret : 0;
			}
			CHECK_INT(n_wire, 9);
			CHECK_INT(n_told, 0);
			finish();
		}
	}
}

TEST(what_a_connection_speaks_is_asked_before_its_first_bytes_and_once)
{
	fresh(&scripts[LINE_AND_MORE]);
	conn.protocol = NULL;
	conn.talk = NULL;
	conn.heard = ATR_HEARD_NOTHING;
	orders[0] = (struct order){ .takes = 5 };
	n_orders = 1;
	say_all(0, true, 0);
	CHECK_INT(listened, 1);
	finish();
	/* Undecided, with a protocol that waits for more: it is not asked again either. */
	fresh(&scripts[LINE_AND_MORE]);
	conn.heard = ATR_HEARD_SOME;
	say_all(0, true, 0);
	CHECK_INT(listened, 0);
	finish();
}

TEST(calls_of_no_bytes_are_the_hooks)
{
	struct atr_sending sending = { .iov = vector, .n_iov = 3 };

	fresh(&scripts[OWING_AND_LINE]);
	for (int i = 0; i < 3; i++)
		vector[i] = (struct iovec){ memory, 0 };
	check_left_alone(&sending); /* though something is owed */
	CHECK_INT(n_plans, 0);
	sending.n_iov = 1;
	check_left_alone(&sending);
	finish();
	fresh(&scripts[LINE]);
	sending.n_iov = 0;
	check_left_alone(&sending);
	finish();
}

TEST(lengths_that_no_call_can_have_are_left_to_the_kernel)
{
	struct atr_sending sending = { .iov = vector, .n_iov = 2 };

	fresh(&scripts[LINE]);
	vector[0] = (struct iovec){ memory, 8 };
	vector[1] = (struct iovec){ memory, SIZE_MAX - 7 }; /* together: 0 */
	check_left_alone(&sending);
	vector[1].iov_len = SIZE_MAX;
	check_left_alone(&sending);
	vector[1].iov_len = (size_t)SSIZE_MAX - 7; /* one too many */
	check_left_alone(&sending);
	sending.n_iov = 1;
	vector[0].iov_len = (size_t)SSIZE_MAX + 1;
	check_left_alone(&sending);
	CHECK_INT(n_plans, 0);
	finish();
}

/* ---- memory that is none ---- */

TEST(an_array_that_cannot_be_read_is_left_to_the_kernel)
{
	char *page = test_edge(NULL, 1);
	struct atr_sending sending = { .iov = (struct iovec *)(void *)(page + 1), .n_iov = 1 };

	if (atr_sys_sandboxed())
		SKIP("in a sandbox memory is trusted");
	fresh(&scripts[OWING_AND_LINE]); /* something is owed, and stays so: the call says EFAULT */
	check_left_alone(&sending);
	sending.n_iov = IOV_STACK + 1; /* where it would be copied to a buffer */
	check_left_alone(&sending);
	sending.iov = NULL;
	sending.n_iov = 2;
	check_left_alone(&sending);
	finish();
	test_edge_free(page, 1);
}

TEST(the_programs_bytes_are_read_from_any_place_over_any_pieces)
{
	enum { N = 50 };
	char bytes[N], got[N + 1];

	for (int i = 0; i < N; i++)
		bytes[i] = (char)('0' + i);
	/* Up to 50 pieces: more than are read at once. */
	for (size_t piece = 0; piece < 20; piece++) {
		struct script s = { .program = bytes };
		struct atr_source source = { .iov = vector, .total = N };

		script = &s;
		lay_out(0, N, piece);
		source.n_iov = n_vector;
		for (size_t at = 0; at <= N; at++) {
			for (size_t n = 0; n <= N - at; n++) {
				memset(got, '!', sizeof(got));
				CHECK(atr_source_peek(&source, at, got, n));
				CHECK(memcmp(got, bytes + at, n) == 0);
				CHECK(got[n] == '!');
			}
			CHECK(!atr_source_peek(&source, at, got, N - at + 1));
		}
	}
}

/* The same, with each number of pieces around those that are read at once, all of them whole. */
TEST(a_batch_of_pieces_that_is_just_full_is_read_once)
{
	char got[4 * PIECES + 1];

	for (size_t n = 1; n <= 3 * PIECES + 1; n++) {
		struct atr_source source = { .iov = vector, .n_iov = n, .total = n };

		for (size_t i = 0; i < n; i++) {
			memory[2 * i] = (char)('0' + i);
			vector[i] = (struct iovec){ memory + 2 * i, 1 };
		}
		for (size_t k = 0; k <= n; k++) {
			memset(got, '!', sizeof(got));
			CHECK(atr_source_peek(&source, 0, got, k));
			for (size_t i = 0; i < k; i++)
				CHECK_INT(got[i], '0' + i);
			CHECK_INT(got[k], '!');
		}
	}
}

TEST(bytes_that_cannot_be_read_are_no_crash)
{
	char *edge = test_edge("readable", 8), got[16];
	struct iovec v[2] = { { edge, 10 }, { memory, 4 } };
	struct atr_source source = { .iov = v, .n_iov = 2, .total = 14 };

	if (atr_sys_sandboxed())
		SKIP("in a sandbox memory is trusted");
	memcpy(memory, "good", 4);
	CHECK(atr_source_peek(&source, 0, got, 8));
	CHECK_MEM(got, "readable", 8);
	CHECK(!atr_source_peek(&source, 0, got, 9));
	CHECK(!atr_source_peek(&source, 7, got, 2));
	CHECK(!atr_source_peek(&source, 8, got, 1));
	CHECK(!atr_source_peek(&source, 9, got, 5));
	CHECK(atr_source_peek(&source, 10, got, 4));
	CHECK_MEM(got, "good", 4);
	v[0].iov_base = NULL;
	CHECK(!atr_source_peek(&source, 0, got, 1));
	test_edge_free(edge, 8);
}

/* ---- many pieces ---- */

/* `pieces` entries of three bytes, and as many inserts as there may be, each within one. */
static void many(struct script *s, char *bytes, size_t n_pieces, bool owing)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
	size_t inserts = n_pieces < ATR_INSERTS_MAX ? n_pieces : ATR_INSERTS_MAX;

	*s = (struct script){ .program = bytes, .debt = owing ? "owed>" : NULL };
	for (size_t i = 0; i < 3 * n_pieces; i++)
		bytes[i] = letters[i % 26];
	bytes[3 * n_pieces] = '\0';
	s->n = (unsigned)inserts;
	for (size_t i = 0; i < inserts; i++) {
		size_t piece = i + 1 == inserts ? n_pieces - 1 : i;

		s->wish[i] =
			(struct wish){ .at = 3 * piece + 2, .text = { "<", ">" }, .replaced = 1 };
	}
}

static void vector_of_threes(size_t n_pieces)
{
	for (size_t i = 0; i < n_pieces; i++) {
		memcpy(memory + 4 * i, script->program + 3 * i, 3);
		memory[4 * i + 3] = 'Z';
		vector[i] = (struct iovec){ memory + 4 * i, 3 };
	}
	n_vector = n_pieces;
}

TEST(every_number_of_pieces_is_altered_up_to_what_the_kernel_takes_in_one)
{
	static const size_t counts[] = { 1,  2,	 7,   IOV_STACK - 1,
					 24, 25, 100, IOV_MOST - IOV_OURS - 1,
					 991 };
	static char bytes[PROGRAM_MAX];

	CHECK_INT(IOV_STACK, 24);
	CHECK_INT(IOV_MOST - IOV_OURS, 991);
	CHECK((2 * 991 + IOV_OURS) * sizeof(struct iovec) <= ATR_BUFFER_SIZE);
	for (size_t i = 0; i < ATR_ARRAY_LEN(counts); i++) {
		for (int owing = 0; owing < 2; owing++) {
			struct atr_sending sending = { .iov = vector, .n_iov = counts[i] };
			size_t inserts = counts[i] < 8 ? counts[i] : 8;
			ssize_t ret = -77;
			struct script s;

			many(&s, bytes, counts[i], owing);
			fresh(&s);
			vector_of_threes(counts[i]);
			errno = KEPT;
			CHECK(atr_inject(&io, &sending, &ret));
			CHECK_INT(ret, 3 * counts[i]);
			CHECK_INT(errno, KEPT);
			CHECK_INT(n_asked, 1);
			CHECK_INT(asked[0].n_iov, counts[i] + 4 * inserts + (size_t)owing);
			CHECK_INT(n_wire, expected.n);
			CHECK_INT(n_takes - (unsigned)owing, inserts + 1 + (counts[i] > 24));
			check_state();
			finish();
		}
	}
	CHECK_INT(asked[0].n_iov, 1024);
}

TEST(many_pieces_may_stop_in_any_of_them)
{
	static char bytes[PROGRAM_MAX];
	struct script s;

	many(&s, bytes, 25, true);
	for (size_t stop = 1; stop < 100; stop++) {
		struct atr_sending sending = { .iov = vector, .n_iov = 25 };
		ssize_t ret = -77;

		fresh(&s);
		vector_of_threes(25);
		orders[0] = (struct order){ .takes = stop };
		n_orders = 1;
		io.fd = fds[1];
		errno = KEPT;
		CHECK(atr_inject(&io, &sending, &ret));
		CHECK_INT(errno, ret < 0 ? EAGAIN : KEPT);
		CHECK_INT(ret, told_at(stop) ? (long long)told_at(stop) : -1);
		check_state();
		finish();
	}
}

/* More than that stays as it is: what is owed goes before, in a call of its own. */
TEST(too_many_pieces_are_the_hooks_but_a_debt_goes_first)
{
	static const size_t counts[] = { 992, 1000, 1023, 1024, 1025, SIZE_MAX };

	for (size_t i = 0; i < ATR_ARRAY_LEN(counts); i++) {
		struct atr_sending sending = { .iov = vector, .n_iov = counts[i] };
		ssize_t ret = -77;

		fresh(&scripts[LINE]);
		check_left_alone(&sending);
		finish();
		fresh(&scripts[OWING_AND_LINE]);
		errno = KEPT;
		CHECK(!atr_inject(&io, &sending, &ret));
		CHECK_INT(errno, KEPT);
		CHECK_INT(n_asked, 1);
		CHECK(asked[0].by_send);
		CHECK_INT(n_wire, 4);
		CHECK_INT(n_plans, 0);
		check_state();
		finish();
	}
}

/* ---- a debt that goes in a call of its own ---- */

TEST(a_debt_alone_is_paid_over_as_many_calls_as_it_takes)
{
	static const struct script s = { .program = "", .debt = "a whole line", .debt_at = 7 };
	ssize_t ret = -77;

	for (size_t step = 1; step <= 13; step++) {
		fresh(&s);
		ever_after.takes = step;
		errno = KEPT;
		CHECK(atr_inject_settle(&io, MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE | MSG_EOR,
					&ret));
		CHECK_INT(errno, KEPT);
		CHECK_INT(n_asked, (12 + step - 1) / step);
		for (unsigned i = 0; i < n_asked; i++)
			CHECK_INT(asked[i].flags, MSG_DONTWAIT | MSG_NOSIGNAL);
		CHECK_INT(n_wire, 12);
		check_state();
		/* And nothing is owed twice. */
		CHECK(atr_inject_settle(&io, 0, &ret));
		CHECK_INT(n_wire, 12);
		CHECK_INT(ret, -77);
		finish();
	}
}

TEST(a_debt_that_cannot_be_paid_ends_the_call_and_stays_as_far_as_it_is_owed)
{
	static const struct script s = { .program = "", .debt = "a whole line", .debt_at = 7 };
	static const int errors[] = { EAGAIN, EINTR, EPIPE };

	for (size_t stop = 0; stop < 12; stop++) {
		for (size_t e = 0; e < ATR_ARRAY_LEN(errors); e++) {
			ssize_t ret = -77;

			fresh(&s);
			orders[0] = (struct order){ .takes = stop };
			orders[!!stop] = (struct order){ .err = errors[e] };
			n_orders = 1 + !!stop;
			CHECK(!atr_inject_settle(&io, 0, &ret));
			CHECK_INT(ret, -1);
			CHECK_INT(errno, errors[e]);
			CHECK_INT(n_wire, stop);
			check_state();
			CHECK(atr_inject_settle(&io, 0, &ret));
			CHECK_INT(n_wire, 12);
			check_state();
			finish();
		}
	}
}

/* A sandbox came up between two calls: sendmsg() fails from here on, send() does not. */
TEST(where_sendmsg_is_forbidden_the_call_is_the_hooks_behind_the_debt)
{
	static const struct script owing = { .program = "body", .debt = "rest>", .debt_at = 3 };
	static const struct script not_owing = { .program = "body",
						 .wish = { { .at = 2, .text = { "more" } } },
						 .n = 1 };
	static const int errors[] = { EPERM, EACCES, ENOSYS };

	for (size_t i = 0; i < 4 * ATR_ARRAY_LEN(errors); i++) {
		struct atr_sending sending = { .iov = vector, .n_iov = 1 };
		bool owes = i & 1, pays = i & 2;
		ssize_t ret = -77;

		fresh(owes ? &owing : &not_owing);
		lay_out(0, n_program, 0);
		plans_nothing = owes;
		orders[0] = (struct order){ .err = errors[i / 4] };
		orders[1] = pays ? (struct order){ .takes = ALL } : (struct order){ .err = EAGAIN };
		n_orders = 2;
		errno = KEPT;
		CHECK(atr_inject(&io, &sending, &ret) == (owes && !pays));
		CHECK_INT(errno, owes && !pays ? EAGAIN : KEPT);
		CHECK_INT(n_asked, 1 + owes);
		CHECK(!asked[0].by_send && asked[owes].by_send == owes);
		if (owes && !pays)
			CHECK_INT(ret, -1);
		CHECK_INT(n_wire, owes && pays ? 5 : 0); /* and the hook's own call follows */
		CHECK_INT(conn.debt_len, owes && !pays ? 5 : 0);
		finish();
	}
}

TEST(urgent_data_and_memory_that_is_read_later_are_left_alone_behind_the_debt)
{
	static const int flags[] = { MSG_OOB, MSG_ZEROCOPY, MSG_OOB | MSG_DONTWAIT,
				     MSG_ZEROCOPY | MSG_NOSIGNAL | MSG_MORE };

	for (size_t i = 0; i < ATR_ARRAY_LEN(flags); i++) {
		struct atr_sending sending = { .iov = vector, .n_iov = 1, .flags = flags[i] };
		ssize_t ret = -77;

		fresh(&scripts[LINE]);
		lay_out(0, n_program, 0);
		check_left_alone(&sending);
		CHECK_INT(n_plans, 0);
		finish();
		fresh(&scripts[OWING_AND_LINE]);
		lay_out(0, n_program, 0);
		errno = KEPT;
		CHECK(!atr_inject(&io, &sending, &ret));
		CHECK_INT(errno, KEPT);
		CHECK_INT(n_asked, 1);
		CHECK_INT(asked[0].flags, flags[i] & (MSG_DONTWAIT | MSG_NOSIGNAL));
		check_state();
		finish();
		/* And not in front of it. */
		fresh(&scripts[OWING_AND_LINE]);
		orders[0] = (struct order){ .takes = 2 };
		orders[1] = (struct order){ .err = EAGAIN };
		n_orders = 2;
		CHECK(atr_inject(&io, &sending, &ret));
		CHECK_INT(ret, -1);
		CHECK_INT(errno, EAGAIN);
		CHECK_INT(n_plans, 0);
		check_state();
		finish();
	}
}

/* ---- no buffer ---- */

TEST(without_room_for_a_debt_no_text_is_added_and_that_is_counted)
{
	for (size_t s = 0; s < ATR_ARRAY_LEN(scripts); s++) {
		for (size_t stop = 1; stop < 60; stop++) {
			struct script plain = scripts[s];
			unsigned texts = 0;

			for (unsigned i = 0; i < plain.n; i++) {
				plain.wish[i].replaced = 0;
				texts += plain.wish[i].text[0] || plain.wish[i].text[1];
			}
			fresh(&plain);
			no_texts = true;
			expect_all();
			if (stop > expected.n)
				break;
			refuse_from = 1;
			orders[0] = (struct order){ .takes = stop };
			n_orders = 1;
			if (plain.n && plain.wish[plain.n - 1].at == n_program)
				continue; /* it never begins */
			say_all(0, stop % 2, 0);
			CHECK(texts ? atr_stats.not_injected >= texts
				    : atr_stats.not_injected == 0);
			if (stop == expected.n)
				CHECK_INT(atr_stats.not_injected, texts);
			finish();
		}
	}
}

/* Whichever is refused, a text is there whole or not at all. */
TEST(whichever_buffer_is_refused_no_half_line_goes_out)
{
	static const size_t some[] = { LINE_AND_MORE, OTHER_IDS, THREE, CUT_OFTEN, TEN };

	for (size_t s = 0; s < ATR_ARRAY_LEN(some); s++) {
		for (unsigned nth = 1; nth < 40; nth++) {
			struct atr_sending sending = { .iov = vector };
			unsigned whole = 0, lines = 0;
			ssize_t ret = -77;
			size_t at = 0, mine = 0;
			struct script plain = scripts[some[s]];

			for (unsigned i = 0; i < plain.n; i++)
				plain.wish[i].replaced = 0;
			fresh(&plain);
			lay_out(0, n_program, 0);
			sending.n_iov = 1;
			/* The oracle must know which were dropped: those of the plans that found
			 * no buffer, which is the first that is refused and all after it. */
			refuse_from = nth;
			for (unsigned i = 0; i < plain.n; i++) {
				unsigned plan_of = 1;

				for (int k = 0; k < 3; k++)
					plan_of += plain.cut[k] && plain.wish[i].at >= plain.cut[k];
				if (plan_of >= nth)
					plain.wish[i].text[0] = plain.wish[i].text[1] = NULL;
				else
					whole++;
			}
			expect_all();
			script = &scripts[some[s]];
			{
				struct script with = *script;

				for (unsigned i = 0; i < with.n; i++)
					with.wish[i].replaced = 0;
				script = &with;
				errno = KEPT;
				CHECK(atr_inject(&io, &sending, &ret));
			}
			script = &plain;
			CHECK_INT(ret, n_program);
			CHECK_INT(errno, KEPT);
			CHECK_INT(n_wire, expected.n);
			CHECK_MEM(wire, expected.c, expected.n);
			for (; at < n_wire; at++) {
				lines += wire[at] == '<';
				mine += expected.whose[at] == PROGRAM;
			}
			CHECK(lines <= plain.n && mine == n_program);
			CHECK_INT(atr_stats.not_injected, plain.n - whole);
			CHECK_INT(n_taken, 0);
			finish();
		}
	}
}

/* Nor half of other ids: without room the program's own go. */
TEST(without_room_for_a_debt_nothing_is_replaced)
{
	const struct script *s = &scripts[THREE]; /* two of its three have copies */

	for (size_t stop = 1; stop <= strlen(s->program); stop++) {
		struct atr_sending sending = { .iov = vector, .n_iov = 1 };
		ssize_t ret = -77;

		fresh(s);
		no_texts = true;
		expect_all();
		lay_out(0, n_program, 0);
		refuse_from = 3; /* those for the copies come first */
		orders[0] = (struct order){ .takes = stop };
		n_orders = 1;
		io.fd = fds[1];
		CHECK(atr_inject(&io, &sending, &ret));
		CHECK(!copies_missing);
		CHECK_INT(ret, stop);
		CHECK_INT(n_wire, stop);
		CHECK_INT(atr_stats.not_injected, 3);
		check_state();
		finish();
	}
	/* Of a plan that only replaces as well, and that is counted too. */
	for (int i = IDS_ONLY; i <= ID_AT_ONCE; i++) {
		fresh(&scripts[i]);
		no_texts = true;
		expect_all();
		refuse_from = 2;
		CHECK_INT(say(0, n_program, 0, false, 0), n_program);
		CHECK_INT(atr_stats.not_injected, 1);
		finish();
	}
	fresh(&scripts[SAME_IDS]); /* but not that nothing was to be replaced */
	no_texts = true;
	expect_all();
	refuse_from = 2;
	CHECK_INT(say(0, n_program, 0, false, 0), n_program);
	CHECK_INT(atr_stats.not_injected, 1); /* the text */
	finish();
}

TEST(without_a_buffer_for_the_array_the_call_is_the_hooks_behind_the_debt)
{
	static char bytes[PROGRAM_MAX];
	struct atr_sending sending = { .iov = vector, .n_iov = 25 };
	ssize_t ret = -77;
	struct script s;

	many(&s, bytes, 25, false);
	fresh(&s);
	vector_of_threes(25);
	refuse_from = 1;
	check_left_alone(&sending);
	finish();
	many(&s, bytes, 25, true);
	fresh(&s);
	vector_of_threes(25);
	refuse_from = 2; /* the first was the debt's */
	errno = KEPT;
	CHECK(!atr_inject(&io, &sending, &ret));
	CHECK_INT(errno, KEPT);
	CHECK_INT(n_wire, 5);
	CHECK_INT(n_plans, 0);
	check_state();
	finish();
	fresh(&s);
	refuse_from = 2;
	orders[0] = (struct order){ .err = EAGAIN };
	n_orders = 1;
	CHECK(atr_inject(&io, &sending, &ret));
	CHECK_INT(ret, -1);
	CHECK_INT(errno, EAGAIN);
	check_state();
	finish();
	/* 24 need none. */
	many(&s, bytes, 24, false);
	fresh(&s);
	vector_of_threes(24);
	refuse_from = ATR_INSERTS_MAX + 2; /* the copies' and the debt's */
	sending.n_iov = 24;
	CHECK(atr_inject(&io, &sending, &ret));
	CHECK_INT(ret, 3 * 24);
	CHECK_INT(n_wire, expected.n);
	finish();
}

/* ---- closed by another thread ---- */

/* Ours is gone, and what lies in its place was not touched. */
static void check_closed(void)
{
	CHECK(closed);
	CHECK(memcmp(&conn, &as_it_was, sizeof(conn)) == 0);
	CHECK(conn.debt && memcmp(conn.debt, "another's", 9) == 0);
	CHECK_INT(n_taken, 1); /* that one's */
	CHECK_MEM(wire, expected.c, n_wire);
	CHECK_INT(holds, 0);
	CHECK_INT(n_told, n_plans ? n_plans - 1 : 0); /* nobody is there to be told */
}

TEST(wherever_it_is_closed_meanwhile_nothing_of_anothers_is_touched)
{
	for (size_t s = 0; s < ATR_ARRAY_LEN(scripts); s++) {
		for (size_t stop = 1; stop <= 200; stop++) {
			for (int how = 0; how < 4; how++) {
				struct atr_sending sending = { .iov = vector };
				ssize_t ret = -77;
				size_t went;

				fresh(&scripts[s]);
				if (stop > expected.n)
					break;
				lay_out(0, n_program, how / 2 ? 2 : 0);
				sending.n_iov = n_vector;
				io.fd = fds[how % 2];
				orders[0] = (struct order){ .takes = stop, .closes = true };
				n_orders = 1;
				errno = KEPT;
				CHECK(atr_inject(&io, &sending, &ret));
				/* The descriptor may be another's: nothing more is sent to it. */
				CHECK_INT(n_asked, 1);
				went = told_at(n_wire);
				if (went) {
					CHECK_INT(ret, went);
				} else {
					CHECK_INT(ret, -1);
					CHECK(errno == EBADF || (how % 2 && errno == EAGAIN));
				}
				if (went == n_program)
					CHECK_INT(errno, KEPT);
				check_closed();
				finish();
			}
		}
	}
}

TEST(closed_in_the_second_of_its_calls_it_says_what_went_in_both)
{
	const struct script *s = &scripts[CUT_OFTEN];

	for (size_t takes = 1; takes < 5; takes++) {
		struct atr_sending sending = { .iov = vector };
		ssize_t ret = -77;

		fresh(s);
		lay_out(0, n_program, 0);
		sending.n_iov = n_vector;
		orders[0] = (struct order){ .takes = ALL };
		orders[1] = (struct order){ .takes = takes, .closes = true };
		n_orders = 2;
		CHECK(atr_inject(&io, &sending, &ret));
		CHECK_INT(n_asked, 2);
		CHECK_INT(ret, told_at(n_wire));
		check_closed();
		finish();
	}
}

TEST(closed_in_a_call_that_failed_it_says_why)
{
	struct atr_sending sending = { .iov = vector, .n_iov = 1 };
	ssize_t ret = -77;

	fresh(&scripts[OWING_AND_LINE]);
	lay_out(0, n_program, 0);
	orders[0] = (struct order){ .err = ECONNRESET, .closes = true };
	n_orders = 1;
	CHECK(atr_inject(&io, &sending, &ret));
	CHECK_INT(ret, -1);
	CHECK_INT(errno, ECONNRESET);
	check_closed();
	finish();
}

TEST(closed_while_a_debt_is_paid_alone_the_call_ends_and_anothers_debt_stays)
{
	static const struct script s = { .program = "", .debt = "a whole line" };

	for (size_t stop = 1; stop <= 12; stop++) {
		ssize_t ret = -77;

		fresh(&s);
		orders[0] = (struct order){ .takes = stop, .closes = true };
		n_orders = 1;
		CHECK(!atr_inject_settle(&io, 0, &ret));
		CHECK_INT(ret, -1);
		CHECK_INT(errno, EBADF);
		CHECK_INT(n_asked, 1);
		check_closed();
		finish();
	}
}

/* Before the call: nothing is planned, and nothing of ours goes. */
TEST(closed_before_the_call_it_is_left_to_the_kernel)
{
	struct atr_sending sending = { .iov = vector, .n_iov = 1 };

	fresh(&scripts[LINE]);
	lay_out(0, n_program, 0);
	conn.gen++;
	check_left_alone(&sending);
	CHECK_INT(n_plans, 0);
	finish();
}

/* a call that moved bytes is a success, and those leave errno alone. */
TEST(errno_is_untouched_where_a_later_call_of_ours_failed)
{
	fresh(&scripts[CUT_OFTEN]);
	orders[0] = (struct order){ .takes = ALL };
	orders[1] = (struct order){ .err = EAGAIN };
	n_orders = 2;
	CHECK_INT(say(0, n_program, 0, true, 0), scripts[CUT_OFTEN].cut[0]);
	CHECK_INT(errno, KEPT);
	finish();
}

TEST(errno_is_untouched_where_it_was_closed_behind_a_part)
{
	struct atr_sending sending = { .iov = vector, .n_iov = 1 };
	ssize_t ret = -77;

	fresh(&scripts[CUT_OFTEN]);
	lay_out(0, n_program, 0);
	orders[0] = (struct order){ .takes = ALL, .closes = true };
	n_orders = 1;
	errno = KEPT;
	CHECK(atr_inject(&io, &sending, &ret));
	CHECK_INT(ret, scripts[CUT_OFTEN].cut[0]);
	CHECK_INT(errno, KEPT);
	finish();
}

/* the kernel says EINVAL and sends nothing; we send the length of what comes behind. */
TEST(a_sum_that_overflows_stays_overflown)
{
	struct atr_sending sending = { .iov = vector, .n_iov = 3 };

	fresh(&scripts[LINE]);
	memcpy(memory, "request|", 8);
	vector[0] = (struct iovec){ memory, 8 };
	vector[1] = (struct iovec){ memory, SIZE_MAX };
	vector[2] = (struct iovec){ memory, 5 };
	check_left_alone(&sending);
	finish();
}

/* descriptors went with bytes of ours; told EAGAIN, the program sends them again. */
TEST(control_data_goes_once_also_where_the_program_is_told_to_come_again)
{
	char control[CMSG_SPACE(sizeof(int))] = { 1 };
	struct msghdr msg = { .msg_control = control, .msg_controllen = sizeof(control) };
	struct atr_sending sending = { .iov = vector, .n_iov = 1, .msg = &msg };
	unsigned went = 0;
	ssize_t ret = -1;

	fresh(&scripts[OWING]);
	io.fd = fds[1];
	lay_out(0, n_program, 0);
	orders[0] = (struct order){ .takes = 2 };
	n_orders = 1;
	for (int i = 0; i < 4 && ret < 0; i++)
		CHECK(atr_inject(&io, &sending, &ret));
	CHECK_INT(ret, n_program);
	for (unsigned i = 0; i < n_asked; i++)
		went += asked[i].control && asked[i].took;
	CHECK_INT(went, 1);
	finish();
}

/* closed between atr_io_begin() and the call: the debt is another connection's. */
TEST(what_another_connection_owes_is_not_sent_on_this_one)
{
	struct atr_sending sending = { .iov = vector, .n_iov = 1 };
	ssize_t ret = -77;

	fresh(&scripts[LINE]);
	lay_out(0, n_program, 0);
	close_meanwhile();
	(void)atr_inject(&io, &sending, &ret);
	CHECK(n_wire < 9 || memcmp(wire, "another's", 9) != 0);
	n_wire = 0;
	(void)atr_inject_settle(&io, 0, &ret);
	CHECK_INT(n_wire, 0);
	CHECK(memcmp(&conn, &as_it_was, sizeof(conn)) == 0);
	finish();
}

/* two threads (or a signal handler) send at once and both pay the same debt. */
static bool nested;

static ssize_t nest(int fd, const struct msghdr *msg, int flags)
{
	if (!nested) {
		struct iovec v = { (char[]){ "signal" }, 6 };
		struct atr_sending sending = { .iov = &v, .n_iov = 1 };
		ssize_t ret;

		nested = true;
		(void)atr_inject(&io, &sending, &ret);
	}
	return k_sendmsg(fd, msg, flags);
}

TEST(a_debt_that_two_pay_does_not_become_a_huge_one)
{
	struct atr_sending sending = { .iov = vector, .n_iov = 1 };
	ssize_t ret = -77;

	fresh(&scripts[OWING]);
	conn.protocol = NULL; /* lost: nobody plans */
	lay_out(0, n_program, 0);
	nested = false;
	atr_real.sendmsg = nest;
	CHECK(atr_inject(&io, &sending, &ret));
	atr_real.sendmsg = k_sendmsg;
	CHECK_INT(conn.debt_len, 0);
	CHECK(!conn.debt);
	conn.debt = NULL;
	finish();
}

/* the kernel's answer to a call with no pieces is 0, whatever is owed; here it may wait. */
TEST(a_call_with_no_pieces_pays_nothing)
{
	struct atr_sending sending = { .iov = vector, .n_iov = 0 };
	ssize_t ret = -77;

	fresh(&scripts[OWING]);
	orders[0] = (struct order){ .err = EAGAIN };
	n_orders = 1;
	CHECK(!atr_inject(&io, &sending, &ret));
	CHECK_INT(ret, -77);
	finish();
}
