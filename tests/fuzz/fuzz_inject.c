/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program sends requests, the kernel takes of each call what it likes, and only the peer may
 * notice that more went out than the program sent.
 *
 * The input up to the first zero byte is what the program says; the bytes behind it
 * decide everything else: how it is cut into calls, what the kernel makes of them, what
 * the peer answers.  Where they end a generator goes on, so any text is an input.
 *
 * What must hold, after every call: the bytes that went are the program's, with whole
 * header lines of ours right before the empty line of a head, once at most, and other ids
 * of the same length where a context is passed on.  What the program was told is what a
 * kernel could have said about its own bytes alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

/* clang-format off */
#define atr_pool_take pool_take
#define atr_pool_give pool_give
#include "preload/pool.c"
#undef atr_pool_take
#undef atr_pool_give
void *atr_pool_take(struct atr_pool *pool);
void atr_pool_give(struct atr_pool *pool, void *object);

#include "preload/attr.c"
#include "preload/carrier.c"
#include "preload/clock.c"
#include "preload/life.c"
#include "preload/adaptive.c"
#include "preload/rate.c"
#include "preload/sampler.c"
#include "preload/strategy.c"
#include "preload/tracestate.c"
#include "preload/peek.c"
#include "preload/sys.c"
#include "preload/traceparent.c"
#include "preload/utf8.c"

#include "hooks/buffer.c"
#include "hooks/errtype.c"
#include "hooks/http1-body.c"
#include "hooks/http1.c"
#include "hooks/http-plan.c"
#include "hooks/http.c"
#include "hooks/http-half.c"
#include "hooks/http-serve.c"
#include "hooks/http-ask.c"
#include "hooks/http-request.c"
#include "hooks/inject.c"
#include "hooks/proxied.c"
#include "hooks/talk.c"

/* Two files have one of their own by the same name. */
#define add context_add
#include "preload/context.c"
#undef add
#define begin op_begin
#include "preload/op.c"
#undef begin
uint64_t atr_stack_site(void)
{
	return 0;
}
unsigned atr_stack_trace(uint64_t addrs[static ATR_STACK_MAX])
{
	(void)addrs;
	return 0;
}
#define out text_out
#include "preload/text.c"
#undef out
#define tell io_tell
#include "hooks/io.c"
#undef tell
#define put open_put
#include "hooks/open.c"
#undef put
#define atr_found propagator_found
#include "hooks/propagator-format.c"
#define add propagator_add
#include "hooks/propagator.c"
#undef add
#undef atr_found
/* clang-format on */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond)               \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define IDS TRACE "-b7ad6b7169203331" /* of the request that is being served */
#define SAID_MAX (192 * 1024)	      /* bytes of a program */
#define HEADS_MAX 600
#define IOV_PROGRAM 1024

/* ---- what decides ---- */

static const uint8_t *dice, *dice_end;
static uint32_t noise;

static unsigned pick(unsigned n)
{
	if (dice < dice_end)
		return *dice++ % n;
	noise ^= noise << 13;
	noise ^= noise >> 17;
	noise ^= noise << 5;
	return (noise >> 8) % n;
}

/* 0 to n, mostly near one of the ends. */
static size_t amount(size_t n)
{
	size_t near = pick(12), far = (size_t)pick(256) << 8 | pick(256);

	switch (pick(4)) {
	case 0:
		return near < n ? near : n;
	case 1:
		return near < n ? n - near : n;
	case 2:
		return n;
	default:
		return n ? far % (n + 1) : 0;
	}
}

static struct {
	bool nonblocking;
	unsigned kernel;  /* 0: takes all, 1: some, 2: little, 3: fails often, 4: a byte */
	unsigned program; /* 0: all it has, 1: pieces, 2: small ones, 3: many buffers */
	bool poor;	  /* memory is refused now and then */
	bool odd;	  /* the program does what few do */
	bool closed;	  /* another thread closes the descriptor during a call */
	bool answers;
} mood;

/* ---- what the library runs in ---- */

__thread struct atr_tls atr_tls;
struct atr_process atr_process;
struct atr_stats atr_stats;
static struct atr_gate gate = { 1 };
struct atr_gate *atr_gate = &gate;
struct atr_config atr_config;

static struct atr_thread self;
static struct atr_conn conn, served;
static int fds[2] = { -1, -1 }; /* blocking, not blocking: nothing is ever sent to them */
static unsigned holds;

static uint64_t made_ids[8192]; /* every span id is one of them */
static unsigned n_made_ids;
static unsigned n_spans;
static _Alignas(8) uint8_t record_room[ATR_RECORD_MAX];

bool atr_gate_closed(void)
{
	return false;
}

void atr_real_init(void)
{
	abort();
}

bool atr_thread_inside(const void *frame)
{
	(void)frame;
	return true;
}

struct atr_thread *atr_thread_self(void)
{
	return &self;
}

uint64_t atr_thread_random(struct atr_thread *t)
{
	uint64_t id = (n_made_ids + 1) * 0x9e3779b97f4a7c15u;

	(void)t;
	MUST(n_made_ids < 8192);
	return made_ids[n_made_ids++] = id;
}

struct atr_record *atr_thread_reserve(struct atr_thread *t, enum atr_which_ring which)
{
	(void)which;
	(void)t;
	return (struct atr_record *)record_room;
}

void atr_thread_commit(struct atr_thread *t, struct atr_record *record)
{
	(void)t;
	(void)record;
	n_spans++;
}

struct atr_conn *atr_conn_get(int fd)
{
	return fd >= 0 && (fd == fds[0] || fd == fds[1]) ? &conn : NULL;
}

bool atr_conn_hold(struct atr_conn *c, uint32_t gen)
{
	holds += c->gen == gen;
	return c->gen == gen;
}

void atr_conn_release(struct atr_conn *c)
{
	(void)c;
	MUST(holds--);
}

void atr_conn_unknown(int fd)
{
	(void)fd;
}

void atr_conn_attrs_changed(struct atr_conn *c)
{
	(void)c;
}

void atr_conn_attrs(struct atr_conn *c, int fd, struct atr_pb *pb)
{
	(void)c;
	(void)fd;
	(void)pb;
}

void atr_conn_addr_attrs(struct atr_conn *c, int fd, const union atr_addr *peer, socklen_t len,
			 struct atr_pb *pb)
{
	(void)peer;
	(void)len;
	atr_conn_attrs(c, fd, pb);
}

size_t atr_conn_peer_address(struct atr_conn *c, char buf[static ATR_PEER_TEXT_MAX], int *port)
{
	(void)c;
	(void)buf;
	*port = 0;
	return 0;
}

void atr_connect_done(struct atr_conn *c, int err)
{
	(void)c;
	(void)err;
}

void atr_accept_done(struct atr_conn *c, int fd, bool span)
{
	(void)fd;
	(void)span;
	c->accepting = 0;
}

bool atr_socket_spans(const struct atr_conn *c)
{
	(void)c;
	return false;
}

size_t atr_http_request_attrs(struct atr_pb *pb, const struct atr_http_head *request,
			      enum atr_kind kind, const struct atr_http_peer *peer,
			      char name[static ATR_HTTP_NAME_MAX])
{
	(void)pb;
	(void)request;
	(void)kind;
	(void)peer;
	name[0] = 'x';
	return 1;
}

void atr_http_response_attrs(struct atr_pb *pb, const struct atr_http_head *response,
			     enum atr_kind kind)
{
	(void)pb;
	(void)response;
	(void)kind;
}

const char *atr_http_status_error(unsigned status, enum atr_kind kind, char buf[static 8])
{
	(void)status;
	(void)kind;
	(void)buf;
	return NULL;
}

struct atr_slice atr_http_host(const struct atr_http_head *request)
{
	return request->value[ATR_HTTP_HOST];
}

/* PostgreSQL is not what is tried here. */
static int never(const char *p, size_t n)
{
	(void)p;
	(void)n;
	return -1;
}

const struct atr_protocol atr_pg_protocol = { .name = "postgresql", .sniff = never };

bool atr_http_propagate_limited(void)
{
	return true;
}

bool atr_http_ignored(const struct atr_http_head *request)
{
	(void)request;
	return false;
}
size_t atr_http_span_name(const struct atr_http_head *request, enum atr_kind kind,
			  char name[static ATR_HTTP_NAME_MAX])
{
	(void)request;
	(void)kind;
	name[0] = 'x';
	return 1;
}
bool atr_http_propagate_to(struct atr_slice host)
{
	return !host.len || host.p[0] != '-';
}

/* ---- memory: what was taken is given back, once, and a buffer is not looked at after it ---- */

static void *taken[16384];
static unsigned n_taken;

static bool is_buffer(const struct atr_pool *pool)
{
	return pool == &buffers;
}

void *atr_pool_take(struct atr_pool *pool)
{
	char *p = mood.poor && pick(6) == 0 ? NULL : pool_take(pool);

	if (!p)
		return NULL;
	MUST(n_taken < 16384);
	taken[n_taken++] = p;
	if (is_buffer(pool))
		ASAN_UNPOISON_MEMORY_REGION(p + sizeof(struct atr_pooled), ATR_BUFFER_SIZE);
	return p;
}

void atr_pool_give(struct atr_pool *pool, void *object)
{
	unsigned i = 0;

	while (i < n_taken && taken[i] != object)
		i++;
	MUST(i < n_taken);
	taken[i] = taken[--n_taken];
	if (is_buffer(pool))
		ASAN_POISON_MEMORY_REGION((char *)object + sizeof(struct atr_pooled),
					  ATR_BUFFER_SIZE);
	pool_give(pool, object);
}

/* ---- what the program says, and where lines may be added to it ---- */

static char said[SAID_MAX], out_as[SAID_MAX]; /* out_as: as they went */
static bool may_add[SAID_MAX], may_differ[SAID_MAX];
static size_t n_said;

static struct head {
	size_t at, empty, end;
	bool upgrade, connect, added;
} heads[HEADS_MAX];

static unsigned n_heads;
static bool all_understood;

/* Where another span id and sampled flag may be put. */
static void mark_ids(const struct atr_http_head *head)
{
	struct atr_slice rest = head->fields, name, value;

	while (atr_http_next_field(&rest, &name, &value)) {
		if (!atr_http_name_is(name, "traceparent", 11) &&
		    !atr_http_name_is(name, "b3", 2) &&
		    !atr_http_name_is(name, "x-b3-spanid", 11) &&
		    !atr_http_name_is(name, "x-b3-sampled", 12) &&
		    !atr_http_name_is(name, "uber-trace-id", 13))
			continue;
		for (size_t i = 0; i < value.len; i++)
			may_differ[value.p - said + i] = true;
	}
}

/* An empty line that was only begun when the call ended may turn out to be none. */
static void mark_half_empty_lines(size_t at, size_t to)
{
	unsigned looked = 0;

	for (size_t i = at + 1; i < to && looked < 8; i++) {
		struct atr_http_head head;

		if (said[i] != '\r' || said[i - 1] != '\n' || (i + 1 < to && said[i + 1] == '\n'))
			continue;
		looked++;
		may_add[i] = atr_http_parse_request(&head, said + at, i - at) == 0;
		if (may_add[i])
			mark_ids(&head);
	}
}

/* Steps over empty lines; false when that is not what they are. */
static bool skip_empty(size_t *at)
{
	while (*at < n_said && (said[*at] == '\r' || said[*at] == '\n')) {
		if (said[*at] == '\r' && *at + 1 < n_said && said[++*at] != '\n')
			return false;
		++*at;
	}
	return true;
}

/* One request from *at on; false when there is no whole one. */
static bool mark_request(size_t *at)
{
	struct head *h = &heads[n_heads];
	struct atr_http_head head;
	struct atr_http_body body;
	size_t scan = 0, empty, end = 0;
	bool whole = atr_http_head_end(said + *at, n_said - *at, &scan, &empty, &end) && end;
	ssize_t eaten;

	mark_half_empty_lines(*at, whole ? *at + empty : n_said);
	if (!whole || n_heads == HEADS_MAX || atr_http_parse_request(&head, said + *at, empty) != 0)
		return false;
	*h = (struct head){ .at = *at, .empty = *at + empty, .end = *at + end };
	h->upgrade = head.upgrade;
	h->connect = atr_slice_is(head.method, "CONNECT");
	may_add[h->empty] = true;
	mark_ids(&head);
	n_heads++;
	atr_http_body_begin(&body, head.framing, head.length);
	eaten = atr_http_body_eat(&body, said + h->end, n_said - h->end);
	*at = h->end + (size_t)eaten;
	return eaten >= 0 && atr_http_body_done(&body);
}

static void mark(void)
{
	bool added[HEADS_MAX];
	unsigned n_added = n_heads;
	char client[ATR_ADDR_TEXT_MAX];
	size_t len, header = atr_proxied(said, n_said, client, &len), at = header;

	for (unsigned i = 0; i < n_added; i++)
		added[i] = heads[i].added;
	memset(may_add, 0, n_said);
	memset(may_differ, 0, n_said);
	n_heads = 0;
	all_understood = false;
	while (at < n_said) {
		if (!skip_empty(&at))
			return;
		if (at < n_said && !mark_request(&at))
			return;
	}
	all_understood = !header; /* it is stepped over only where it comes whole */
	for (unsigned i = 0; i < n_added && i < n_heads; i++)
		heads[i].added = added[i];
}

/* ---- what went ---- */

static char wire[4 * SAID_MAX];
static size_t n_wire, n_read; /* n_read: looked at */
static size_t n_out;	      /* of the program's bytes, as found on the wire */
static size_t n_told;	      /* of them, as it was told */
static bool in_added;
static char lines[ATR_INJECT_MAX + ATR_TRACESTATE_MAX + ATR_BAGGAGE_MAX];
static size_t n_lines;

static const char *const our_names[] = {
	"traceparent",	"tracestate", "baggage",       "b3",	  "x-b3-traceid", "x-b3-spanid",
	"x-b3-sampled", "x-b3-flags", "uber-trace-id", "x-trace",
};

static void must_be_ours(struct atr_slice name, unsigned *seen)
{
	for (unsigned i = 0; i < ATR_ARRAY_LEN(our_names); i++) {
		if (!atr_http_name_is(name, our_names[i], strlen(our_names[i])))
			continue;
		MUST(!(*seen & 1u << i));
		*seen |= 1u << i;
		return;
	}
	abort();
}

static bool was_made(const uint8_t *span_id)
{
	uint64_t id;

	memcpy(&id, span_id, 8);
	for (unsigned i = 0; i < n_made_ids; i++)
		if (made_ids[i] == id)
			return true;
	return false;
}

/* The lines that went in are whole, and of names that are ours, each once. */
static void check_lines(void)
{
	static const char line[] = "GET / HTTP/1.1\r\n";
	static char text[sizeof(line) + sizeof(lines)];
	struct atr_http_head head;
	struct atr_context carried;
	struct atr_slice rest, name, value;
	unsigned seen = 0;

	MUST(n_lines > 2 && memcmp(lines + n_lines - 2, "\r\n", 2) == 0);
	memcpy(text, line, sizeof(line) - 1);
	memcpy(text + sizeof(line) - 1, lines, n_lines);
	MUST(atr_http_parse_request(&head, text, sizeof(line) - 1 + n_lines) == 0);
	for (rest = head.fields; atr_http_next_field(&rest, &name, &value);)
		must_be_ours(name, &seen);
	MUST(rest.len == 0);
	if (atr_propagators_carried(&head, &carried))
		MUST(was_made(carried.span_id));
}

static struct head *head_at(size_t empty)
{
	for (unsigned i = 0; i < n_heads; i++)
		if (heads[i].empty == empty)
			return &heads[i];
	return NULL;
}

static bool lower_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* Goes on over the wire; what is there must be explained. */
static void read_wire(void)
{
	for (; n_read < n_wire; n_read++) {
		char c = wire[n_read];

		if (in_added && (lines[n_lines - 1] != '\n' || (c != '\r' && c != '\n'))) {
			MUST(n_lines < sizeof(lines));
			lines[n_lines++] = c;
			continue;
		}
		if (in_added) {
			struct head *h = head_at(n_out);

			check_lines();
			in_added = false;
			if (h)
				h->added = true;
		} else if (n_out < n_said && may_add[n_out] && c != said[n_out]) {
			in_added = true;
			lines[0] = c;
			n_lines = 1;
			continue;
		}
		MUST(n_out < n_said);
		MUST(c == said[n_out] || (may_differ[n_out] && lower_hex(c)));
		out_as[n_out++] = c;
	}
}

/* Of the same trace, and a span of ours or the one that the program named. */
static void check_passed_on(const struct head *h)
{
	struct atr_http_head head, was;
	struct atr_context now, before;

	if (memcmp(said + h->at, out_as + h->at, h->empty - h->at) == 0)
		return;
	MUST(atr_http_parse_request(&was, said + h->at, h->empty - h->at) == 0);
	MUST(atr_http_parse_request(&head, out_as + h->at, h->empty - h->at) == 0);
	MUST(atr_propagators_carried(&was, &before) && atr_propagators_carried(&head, &now));
	MUST(memcmp(now.trace_id, before.trace_id, 16) == 0);
	MUST(was_made(now.span_id));
}

/* ---- the kernel ---- */

static struct {
	bool nonblocking; /* the program's call */
	int flags;
	int said[64]; /* what the kernel said in it */
	unsigned n_said;
	bool messages; /* the first of several may be empty */
} asked;

static unsigned failures;
static bool broken, was_closed;
static char answers[1024];
static size_t n_answers, answers_at;
static char *scratch, *scratch_end; /* memory of the program, before a page that is none */

#define SCRATCH (SAID_MAX + 4096 * 4)

static ssize_t fails(int err)
{
	if (asked.n_said < 64)
		asked.said[asked.n_said++] = err;
	errno = err;
	return -1;
}

/* Another thread closes it, and the descriptor is another connection's at once. */
static void close_meanwhile(void)
{
	was_closed = true;
	conn.gen++;
	if (conn.gone)
		conn.gone(&conn);
	conn = (struct atr_conn){ .gen = conn.gen, .type = SOCK_STREAM, .role = ATR_ROLE_CLIENT };
}

static size_t how_much(size_t total)
{
	size_t n = total;

	if (mood.kernel == 1 || mood.kernel == 3)
		n = amount(total);
	else if (mood.kernel == 2)
		n = 1 + pick(40);
	else if (mood.kernel == 4)
		n = 1;
	if (n_said > 8192 && n < 512)
		n = 512;
	return n > total ? total : n ? n : 1;
}

/* -1 and an errno, or 0: it takes some. */
static int refusal(void)
{
	if (broken)
		return EPIPE;
	if (failures > 300 || mood.kernel == 0 || pick(mood.kernel == 3 ? 3 : 16))
		return 0;
	failures++;
	switch (pick(8)) {
	case 0:
		broken = pick(3) == 0;
		return broken ? EPIPE : EINTR;
	case 1:
		return EINTR;
	case 2:
		return ENOBUFS;
	default:
		return asked.nonblocking ? EAGAIN : EINTR;
	}
}

/* Bytes in front of what is no memory. */
static size_t reaches(const struct iovec *v)
{
	const char *p = v->iov_base;

	if (p < scratch || p >= scratch_end + 4096)
		return v->iov_len;
	if (p >= scratch_end)
		return 0;
	return v->iov_len < (size_t)(scratch_end - p) ? v->iov_len : (size_t)(scratch_end - p);
}

static ssize_t takes(int fd, const struct iovec *iov, size_t n_iov, int flags)
{
	size_t total = 0, left;
	bool bad = false;
	int err;

	MUST(fd == fds[mood.nonblocking] && !holds && !was_closed);
	MUST(n_iov <= 1024);
	MUST((flags & MSG_DONTWAIT) == (asked.flags & MSG_DONTWAIT));
	/* More where a part has gone: one call would have raised no signal either. */
	MUST(!(asked.flags & MSG_NOSIGNAL) || flags & MSG_NOSIGNAL);
	for (size_t i = 0; i < n_iov && !bad; i++) {
		total += reaches(&iov[i]);
		bad = reaches(&iov[i]) < iov[i].iov_len;
	}
	if (!total)
		return bad ? fails(EFAULT) : 0;
	err = refusal();
	total = left = err ? 0 : how_much(total);
	for (size_t i = 0; left; i++) {
		size_t n = iov[i].iov_len < left ? iov[i].iov_len : left;

		MUST(n_wire + n <= sizeof(wire));
		if (n)
			memcpy(wire + n_wire, iov[i].iov_base, n);
		n_wire += n;
		left -= n;
	}
	if (mood.closed && pick(4) == 0)
		close_meanwhile();
	return err ? fails(err) : (ssize_t)total;
}

static ssize_t k_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	return takes(fd, msg->msg_iov, msg->msg_iovlen, flags);
}

static ssize_t k_send(int fd, const void *buf, size_t len, int flags)
{
	return takes(fd, ATR_PIECE(buf, len), 1, flags);
}

static ssize_t k_sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *to,
			socklen_t to_len)
{
	(void)to;
	(void)to_len;
	return takes(fd, ATR_PIECE(buf, len), 1, flags);
}

static ssize_t k_write(int fd, const void *buf, size_t len)
{
	if (!atr_conn_get(fd)) /* the fuzzer's own */
		return atr_sys_write(fd, buf, len);
	return takes(fd, ATR_PIECE(buf, len), 1, 0);
}

static ssize_t k_writev(int fd, const struct iovec *iov, int n)
{
	if (!atr_conn_get(fd))
		return atr_sys(SYS_writev, fd, iov, n, 0, 0, 0);
	return takes(fd, iov, (size_t)n, 0);
}

static int k_sendmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags)
{
	unsigned i;

	for (i = 0; i < n; i++) {
		struct msghdr *m = &msgs[i].msg_hdr;
		ssize_t went = takes(fd, m->msg_iov, m->msg_iovlen, flags);

		if (went < 0)
			return i ? (int)i : -1;
		msgs[i].msg_len = (unsigned)went;
		/* (The kernel would go on with the file it holds; takes() would not know it.) */
		if (was_closed || (size_t)went < iov_bytes(m->msg_iov, m->msg_iovlen))
			return (int)i + 1;
	}
	return (int)n;
}

/* The file holds what is to be said next. */
static ssize_t k_sendfile(int out, int in, off_t *offset, size_t n)
{
	(void)in;
	(void)offset;
	return takes(out, ATR_PIECE(said + n_told, n), 1, 0);
}

static ssize_t k_splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t n,
			unsigned flags)
{
	(void)in_offset;
	(void)out_offset;
	(void)flags;
	return k_sendfile(out, in, NULL, n);
}

static ssize_t k_recv(int fd, void *buf, size_t len, int flags)
{
	size_t n = n_answers - answers_at;

	(void)fd;
	(void)flags;
	MUST(!holds);
	n = n < len ? n : len;
	memcpy(buf, answers + answers_at, n);
	answers_at += n;
	return (ssize_t)n;
}

static ssize_t k_read(int fd, void *buf, size_t len)
{
	return atr_sys_read(fd, buf, len);
}

struct atr_real atr_real = {
	.send = k_send,
	.sendto = k_sendto,
	.sendmsg = k_sendmsg,
	.sendmmsg = k_sendmmsg,
	.write = k_write,
	.writev = k_writev,
	.sendfile = k_sendfile,
	.sendfile64 = k_sendfile,
	.splice = k_splice,
	.recv = k_recv,
	.read = k_read,
};

/* ---- the peer ---- */

static unsigned n_answered;

static void answer(const char *text)
{
	char piece[64];

	n_answers = strlen(text);
	memcpy(answers, text, n_answers);
	for (answers_at = 0; answers_at < n_answers;)
		(void)recv(fds[mood.nonblocking], piece, 1 + pick(sizeof(piece)), 0);
}

/* No HTTP from here on, so no lines either. */
static void switched(unsigned head)
{
	for (size_t i = heads[head].end; i < n_said; i++)
		may_add[i] = may_differ[i] = false;
}

static void peer(void)
{
	struct head *h = &heads[n_answered];

	if (!mood.answers || was_closed || n_answered == n_heads || h->end > n_out || pick(3))
		return;
	n_answered++;
	switch (pick(6)) {
	case 0:
		if (h->upgrade || h->connect)
			switched(n_answered - 1);
		answer(h->connect   ? "HTTP/1.1 200 Go\r\n\r\nxyz"
		       : h->upgrade ? "HTTP/1.1 101 Go\r\n\r\nxyz"
				    : "HTTP/1.1 204 None\r\n\r\n");
		break;
	case 1:
		answer("HTTP/1.1 100 Continue\r\n\r\n");
		/* fall through */
	case 2:
		answer("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
		break;
	case 3:
		answer("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
		break;
	case 4:
		if (mood.odd)
			answer("what?");
		break;
	default:
		answer("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
	}
}

/* ---- the program ---- */

static struct iovec vector[IOV_PROGRAM];
static size_t n_vector;

/* Its next n bytes, in buffers that are not side by side. */
static void lay_out(size_t n, size_t n_pieces, size_t beyond)
{
	size_t from = n_told, left = n;
	char *p = scratch_end - n - 3 * (n_pieces - 1);

	n_vector = n_pieces;
	for (size_t i = 0; i < n_pieces; i++) {
		size_t len = i + 1 == n_pieces ? left
			     : pick(8) == 0    ? 0
			     : pick(3) == 0    ? amount(left)
					    : (left / (n_pieces - i) ? left / (n_pieces - i) : 1);

		if (len > left)
			len = left;
		memcpy(p, said + from, len);
		vector[i] = (struct iovec){ p, len };
		p += len;
		from += len;
		left -= len;
		if (i + 1 < n_pieces) {
			memset(p, 'Z', 3);
			p += 3;
		}
	}
	vector[n_pieces - 1].iov_len += beyond;
}

static int some_flags(void)
{
	static const int flags[] = {
		0, MSG_NOSIGNAL, MSG_NOSIGNAL, MSG_DONTWAIT, MSG_MORE, MSG_EOR
	};

	if (mood.odd && pick(8) == 0)
		return pick(2) ? MSG_OOB | MSG_NOSIGNAL : MSG_ZEROCOPY | MSG_DONTWAIT;
	return flags[pick(6)];
}

static void begin_call(int flags)
{
	asked.flags = flags;
	asked.nonblocking = mood.nonblocking || flags & MSG_DONTWAIT;
	asked.n_said = 0;
	asked.messages = false;
	errno = 0;
}

/* A kernel would have said so, about the program's own bytes. */
static void check_call(ssize_t ret, size_t n)
{
	int err = errno;
	bool heard = false;
	MUST(ret == -1 || ((size_t)ret <= n && (ret > 0 || n == 0 || asked.messages)));
	for (unsigned i = 0; i < asked.n_said; i++)
		heard |= asked.said[i] == err;
	MUST(ret >= 0 || heard || (err == EAGAIN && asked.nonblocking) ||
	     (was_closed && err == EBADF));
	read_wire();
	n_told += ret > 0 ? (size_t)ret : 0;
	if (was_closed) {
		MUST(!conn.debt && !conn.debt_len);
		return;
	}
	/* What is owed are lines, or the rest of what replaces the program's bytes. */
	MUST(n_told == n_out + (in_added ? 0 : conn.debt_len));
	MUST(!conn.debt_len == !conn.debt);
	MUST(!in_added || conn.debt_len || (n_lines > 2 && lines[n_lines - 1] == '\n'));
	MUST(!holds);
}

static ssize_t several_messages(int flags)
{
	struct mmsghdr msgs[4] = { 0 };
	size_t each = n_vector / 4 ? n_vector / 4 : 1, at = 0, bytes = 0;
	unsigned n_msgs = 0;
	int ret;

	for (; n_msgs < 4 && at < n_vector; n_msgs++) {
		size_t len = n_msgs == 3 || n_vector - at < each ? n_vector - at : each;

		msgs[n_msgs].msg_hdr = (struct msghdr){ .msg_iov = vector + at, .msg_iovlen = len };
		at += len;
	}
	asked.messages = true;
	ret = sendmmsg(fds[mood.nonblocking], msgs, n_msgs, flags);
	if (ret < 0)
		return -1;
	MUST(ret > 0 && ret <= (int)n_msgs);
	for (int i = 0; i < ret; i++) {
		size_t all = iov_bytes(msgs[i].msg_hdr.msg_iov, msgs[i].msg_hdr.msg_iovlen);

		MUST(msgs[i].msg_len <= all && (msgs[i].msg_len == all || i == ret - 1));
		bytes += msgs[i].msg_len;
	}
	return (ssize_t)bytes;
}

static ssize_t by_file(size_t n)
{
	begin_call(0);
	return pick(2) ? sendfile(fds[mood.nonblocking], 0, NULL, n)
		       : splice(0, NULL, fds[mood.nonblocking], NULL, n, 0);
}

static ssize_t by_vector(int flags)
{
	struct msghdr msg = { .msg_iov = vector, .msg_iovlen = n_vector };
	int fd = fds[mood.nonblocking];

	switch (pick(4)) {
	case 0:
		begin_call(flags);
		return sendmsg(fd, &msg, flags);
	case 1:
		begin_call(flags);
		return several_messages(flags);
	default:
		begin_call(0);
		return writev(fd, vector, (int)n_vector);
	}
}

static ssize_t by_buffer(int flags)
{
	const void *p = vector[0].iov_base;
	size_t len = vector[0].iov_len;
	int fd = fds[mood.nonblocking];

	switch (pick(3)) {
	case 0:
		begin_call(0);
		return write(fd, p, len);
	case 1:
		begin_call(flags);
		return sendto(fd, p, len, flags, NULL, 0);
	default:
		begin_call(flags);
		return send(fd, p, len, flags);
	}
}

static size_t next_pieces(void)
{
	switch (mood.program) {
	case 0:
		return 1;
	case 3:
		return pick(3) ? 1 + pick(30) : mood.odd ? 960 + pick(64) : 25 + pick(200);
	default:
		return pick(2) ? 1 : 1 + pick(6);
	}
}

static size_t offered; /* how far it came with what was not all taken */

static size_t next_bytes(void)
{
	size_t left = n_said - n_told, n = left;

	if (mood.program == 1)
		n = amount(left);
	else if (mood.program == 2)
		n = 1 + pick(30);
	if (n_said > 8192 && n < 512)
		n = 512;
	/* What was offered once is offered again, by nearly every program. */
	if (!mood.odd && offered > n_told && n < offered - n_told)
		n = offered - n_told;
	n = n > left ? left : n ? n : 1;
	offered = n_told + n;
	return n;
}

/* What was not taken may be said differently the next time. */
static void change_its_mind(void)
{
	size_t at = n_told + amount(n_said - n_told - 1);

	if (!mood.odd || pick(4) || said[at] < 'b' || said[at] > 'y' || was_closed)
		return;
	said[at]++;
	mark();
	mood.answers = false;
	all_understood = false;
}

/* False when the program gives up. */
static bool say(void)
{
	size_t n = next_bytes(), n_pieces = next_pieces();
	size_t beyond = mood.odd && pick(8) == 0 ? 1 + pick(200) : 0;
	ssize_t ret;

	lay_out(n, n_pieces, beyond);
	if (mood.odd && pick(12) == 0) {
		beyond = 0;
		ret = by_file(n);
	} else {
		ret = n_pieces == 1 ? by_buffer(some_flags()) : by_vector(some_flags());
	}
	check_call(ret, n + beyond);
	memset(scratch_end - n, 'Z', n);
	if (was_closed)
		return false;
	if (ret >= 0)
		return true;
	if (errno == EPIPE)
		return false;
	change_its_mind();
	return true;
}

/* ---- one run ---- */

static void ignore(const char *line)
{
	(void)line;
}

static void settle_mood(void)
{
	static const char *const lists[] = {
		"tracecontext,baggage",
		"tracecontext,b3,baggage",
		"tracecontext,b3multi,jaeger,baggage",
		"b3",
		"jaeger,b3multi,b3,tracecontext,baggage",
		"none",
	};

	mood.nonblocking = pick(2);
	atr_propagators_init(lists[pick(6)], pick(4) ? NULL : "X-Trace", ignore);
	mood.kernel = pick(5);
	mood.program = pick(4);
	mood.poor = pick(8) == 7;
	mood.odd = pick(4) == 3;
	mood.closed = pick(16) == 15;
	mood.answers = pick(3);
}

static struct atr_conn new_conn(const struct atr_conn *c, enum atr_role role)
{
	return (struct atr_conn){ .gen = c->gen + 1, .type = SOCK_STREAM, .role = (uint8_t)role };
}

/* A request is being served, whose context the program may pass on. */
static void serve(void)
{
	static char text[8192];
	size_t baggage = pick(2) ? 3 : 3000;
	struct iovec v = { text, 0 };
	struct atr_moved m = { .conn = &served, .iov = &v, .n_iov = 1 };

	served = new_conn(&served, ATR_ROLE_SERVER);
	if (!pick(3))
		return;
	v.iov_len = (size_t)snprintf(text, sizeof(text),
				     "GET / HTTP/1.1\r\nTraceparent: 00-" IDS "-01\r\n"
				     "Tracestate: a=b\r\nB3: " IDS "-1\r\nBaggage: c=%0*d\r\n\r\n",
				     (int)baggage, 7);
	m.bytes = v.iov_len;
	atr_talk_received(&m);
}

static void finish_serving(void)
{
	static char text[] = "HTTP/1.1 204 None\r\n\r\n";
	struct iovec v = { text, sizeof(text) - 1 };
	struct atr_moved m = { .conn = &served, .iov = &v, .n_iov = 1, .bytes = sizeof(text) - 1 };

	if (served.protocol)
		atr_talk_sent(&m);
}

/* What answered was not HTTP: then we ask no further. */
static bool was_foreign;

static void end_conn(struct atr_conn *c)
{
	const struct atr_http *h = c->talk;

	was_foreign |= h && h->foreign;
	c->gen++;
	if (c->gone)
		c->gone(c);
	MUST(!c->debt && !c->debt_len && !c->talk);
}

/* Where nothing came in between, every head has got its lines, and is a span. */
static void check_nothing_missed(unsigned spans)
{
	struct atr_context some = { .valid = true, .trace_id = { 1 }, .span_id = { 1 } };

	if (!all_understood || mood.odd || mood.poor || broken || was_closed || was_foreign ||
	    n_out < n_said)
		return;
	if (conn.role != ATR_ROLE_CLIENT) { /* a pair: requests are data */
		for (unsigned i = 0; i < n_heads; i++)
			MUST(!heads[i].added);
		return;
	}
	for (unsigned i = 0; i < n_heads; i++)
		if (heads[i].upgrade || heads[i].connect || heads[i].end - heads[i].at > 60000)
			return;
	for (unsigned i = 0; i < n_heads; i++) {
		char room[ATR_INJECT_MAX];
		struct atr_http_head head;

		MUST(!atr_http_parse_request(&head, said + heads[i].at,
					     heads[i].empty - heads[i].at));
		if (!atr_http_propagate_to(atr_http_host(&head)))
			MUST(!heads[i].added);
		else if (atr_propagators_inject(&some, &head, room))
			MUST(heads[i].added);
	}
	MUST(n_spans - spans == n_heads);
}

static void fresh(void)
{
	was_foreign = false;
	if (fds[0] < 0) {
		fds[0] = eventfd(0, 0);
		fds[1] = eventfd(0, EFD_NONBLOCK);
		scratch = mmap(NULL, SCRATCH + 4096, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		scratch_end = scratch + SCRATCH;
		MUST(scratch != MAP_FAILED && !mprotect(scratch_end, 4096, PROT_NONE));
		atr_sampler_init(ATR_SAMPLER_ALWAYS_ON, 1, true);
		atr_clock_sync();
	}
	memset(&atr_tls, 0, sizeof(atr_tls));
	memset(&self.put_off, 0, sizeof(self.put_off));
	self.tid = 1;
	atr_tls.thread = &self;
	n_wire = n_read = n_out = n_told = n_lines = offered = 0;
	n_said = n_heads = n_answered = n_made_ids = failures = 0;
	in_added = broken = was_closed = false;
}

/* Two of the characters stand for many, so that a short input is a long text. */
static void expand(const uint8_t *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		size_t times = text[i] == 1 ? 700 : text[i] == 2 ? 33000 : 1;

		if (times > SAID_MAX - n_said)
			return;
		memset(said + n_said, text[i] > 2 ? text[i] : 'a', times);
		n_said += times;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
	size_t n_text = zero ? (size_t)(zero - data) : size;
	unsigned spans;

	fresh();
	expand(data, n_text);
	dice = zero ? zero + 1 : data + size;
	dice_end = data + size;
	noise = 1;
	for (size_t i = 0; i < size; i++)
		noise = (noise ^ data[i]) * 16777619u;
	noise |= 1;
	settle_mood();
	mark();
	conn = new_conn(&conn, pick(8) ? ATR_ROLE_CLIENT : ATR_ROLE_UNKNOWN);
	serve();
	spans = n_spans;
	while (n_told < n_said && say()) {
		peer();
		if (mood.odd && pick(32) == 0)
			finish_serving();
	}
	for (unsigned i = 0; i < n_heads && heads[i].end <= n_out && !mood.odd; i++)
		check_passed_on(&heads[i]);
	end_conn(&conn);
	check_nothing_missed(spans);
	end_conn(&served);
	MUST(n_taken == 0);
	return 0;
}
