/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending more than the program asked for.
 *
 * The protocol makes a plan: texts of ours, each before one of the program's bytes.
 * One sendmsg() carries both, and its result is taken apart again: the program is
 * told how many of its own bytes went.  A text of ours that was cut off is kept as the
 * connection's debt, and goes before anything else the next time; so the peer sees
 * our lines whole or not at all.  Where the kernel stops within bytes that we replaced, the
 * rest of those is owed too, and the program is told that they went.
 *
 * Where only bytes of ours went, a non-blocking program is told EAGAIN, as if nothing
 * had; for a blocking one we go on.
 */
#include "hooks/inject.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "hooks/buffer.h"
#include "hooks/hook.h"
#include "hooks/talk.h"
#include "preload/stats.h"
#include "preload/sys.h"

#define IOV_STACK 24			   /* entries that need no buffer */
#define IOV_MOST 1024			   /* UIO_MAXIOV: what the kernel takes */
#define IOV_OURS (4 * ATR_INSERTS_MAX + 1) /* a plan adds at most so many, and the debt */

/* ---- reading what the program is about to send ---- */

#define PIECES 16

bool atr_source_peek(const struct atr_source *source, size_t at, void *to, size_t n)
{
	struct iovec pieces[PIECES];
	size_t n_pieces = 0, have = 0;
	char *p = to;

	for (size_t i = 0; i < source->n_iov && have < n; i++) {
		struct iovec v = source->iov[i];

		if (at >= v.iov_len) {
			at -= v.iov_len;
			continue;
		}
		v.iov_base = (char *)v.iov_base + at;
		v.iov_len -= at;
		at = 0;
		if (v.iov_len > n - have)
			v.iov_len = n - have;
		pieces[n_pieces++] = v;
		have += v.iov_len;
		if (n_pieces < PIECES && have < n)
			continue;
		if (!atr_sys_peekv(p, pieces, n_pieces))
			return false;
		p = (char *)to + have;
		n_pieces = 0;
	}
	return have == n;
}

/* ---- what goes out in one call ---- */

struct out {
	struct iovec *iov;
	size_t n;
	uint32_t debt; /* of the bytes, in front */
};

static void add(struct out *o, const void *p, size_t len)
{
	if (len)
		o->iov[o->n++] = (struct iovec){ (void *)(uintptr_t)p, len };
}

/* The program's bytes [from, to). */
static void add_program(struct out *o, const struct atr_source *source, size_t from, size_t to)
{
	for (size_t i = 0; i < source->n_iov && to; i++) {
		const struct iovec *v = &source->iov[i];
		size_t end = to < v->iov_len ? to : v->iov_len;

		if (from < end)
			add(o, (const char *)v->iov_base + from, end - from);
		from -= from < v->iov_len ? from : v->iov_len;
		to -= end;
	}
}

static void assemble(struct out *o, const struct atr_conn *c, const struct atr_source *source,
		     const struct atr_plan *plan)
{
	size_t at = 0;

	o->debt = c->debt_len;
	if (c->debt_len)
		add(o, c->debt + c->debt_at, c->debt_len);
	for (unsigned i = 0; i < plan->n; i++) {
		const struct atr_insert *in = &plan->insert[i];

		if (in->copy) {
			add_program(o, source, at, in->from);
			add(o, in->copy, in->at - in->from);
		} else {
			add_program(o, source, at, in->at);
		}
		add(o, in->text[0].p, in->text[0].len);
		add(o, in->text[1].p, in->text[1].len);
		at = in->at;
	}
	add_program(o, source, at, plan->cut);
}

/* ---- what went ---- */

static size_t text_len(const struct atr_insert *in)
{
	return in->text[0].len + in->text[1].len;
}

/* What the result of a call comes to. */
struct result {
	size_t bytes;		  /* of the program's */
	unsigned begun;		  /* texts */
	uint32_t paid;		  /* of the debt */
	struct atr_slice owed[2]; /* what of ours was cut off */
};

static void owe_text(struct result *r, const struct atr_insert *in, size_t done)
{
	for (int i = 0; i < 2; i++) {
		size_t skip = done < in->text[i].len ? done : in->text[i].len;

		if (in->text[i].len > skip)
			r->owed[i] =
				(struct atr_slice){ in->text[i].p + skip, in->text[i].len - skip };
		done -= skip;
	}
}

/* The program's bytes up to r->bytes went, the last of them as others. */
static void owe_copy(struct result *r, const struct atr_insert *in)
{
	if (r->bytes <= in->whole_from || r->bytes >= in->whole_to)
		return;
	r->owed[0] =
		(struct atr_slice){ in->copy + (r->bytes - in->from), in->whole_to - r->bytes };
	r->bytes = in->whole_to;
}

static struct result account(uint32_t debt, const struct atr_plan *plan, size_t went)
{
	struct result r = { .paid = went < debt ? (uint32_t)went : debt };
	size_t at = 0;

	went -= r.paid;
	if (r.paid < debt)
		return r;
	for (unsigned i = 0; i < plan->n; i++) {
		const struct atr_insert *in = &plan->insert[i];
		size_t ours = text_len(in);

		r.bytes = at + went;
		if (went <= in->at - at) {
			owe_copy(&r, in);
			return r;
		}
		went -= in->at - at;
		r.bytes = at = in->at;
		r.begun++;
		if (went < ours) {
			owe_text(&r, in, went);
			return r;
		}
		went -= ours;
	}
	r.bytes = at + went;
	return r;
}

static size_t owed(const struct result *r)
{
	return r->owed[0].len + r->owed[1].len;
}

static void owe(struct atr_conn *c, char *buffer, const struct result *r)
{
	uint32_t len = 0;

	for (int i = 0; i < 2; i++) {
		if (r->owed[i].len)
			memcpy(buffer + len, r->owed[i].p, r->owed[i].len);
		len += (uint32_t)r->owed[i].len;
	}
	c->debt = buffer;
	c->debt_at = 0;
	c->debt_len = len;
}

static void pay(struct atr_conn *c, uint32_t n)
{
	if (n > c->debt_len) /* two that send at once: the other has paid of it, too */
		n = c->debt_len;
	if (!n)
		return;
	c->debt_at += n;
	c->debt_len -= n;
	if (!c->debt_len) {
		atr_buffer_give(c->debt);
		c->debt = NULL;
	}
}

/*
 * A text that is cut off must be kept, so there is room for it or none is added: half a
 * line of ours would spoil the program's request.
 */
static char *room_for_debt(struct atr_plan *plan)
{
	char *room = plan->n ? atr_buffer_take() : NULL;

	for (unsigned i = 0; i < plan->n && !room; i++) {
		struct atr_insert *in = &plan->insert[i];

		atr_count(not_injected, text_len(in) > 0 || in->whole_to > 0);
		in->text[0].len = in->text[1].len = 0;
		in->from = in->at;
		in->whole_from = in->whole_to = 0;
	}
	return room;
}

static bool waits(const struct atr_io *io, int flags)
{
	return !(flags & MSG_DONTWAIT) &&
	       !(atr_sys(SYS_fcntl, io->fd, F_GETFL, 0, 0, 0, 0) & O_NONBLOCK);
}

/* ---- the call ---- */

static ssize_t call(const struct atr_io *io, const struct atr_sending *what, const struct out *o,
		    bool first, int more_flags)
{
	struct msghdr msg = { .msg_iov = o->iov, .msg_iovlen = o->n };

	if (what->msg) {
		msg.msg_name = what->msg->msg_name;
		msg.msg_namelen = what->msg->msg_namelen;
	}
	if (what->msg && first) {
		msg.msg_control = what->msg->msg_control;
		msg.msg_controllen = what->msg->msg_controllen;
	}
	return atr_real.sendmsg(io->fd, &msg, what->flags | more_flags);
}

static void give_copies(struct atr_plan *plan)
{
	for (unsigned i = 0; i < plan->n; i++)
		atr_buffer_give(plan->insert[i].copy);
}

/*
 * Keeps account and tells the protocol.  False when the connection is not there any more:
 * its memory, and the descriptor, may be another's.
 */
static bool tell(const struct atr_io *io, struct atr_plan *plan, bool planned,
		 const struct result *r, int err, char **room)
{
	struct atr_conn *c = io->conn;
	struct atr_moved m = {
		.conn = c,
		.fd = io->fd,
		.bytes = r->bytes,
		.err = err,
		.of = io->of,
		.since = io->since,
	};

	if (!atr_conn_hold(c, io->gen))
		return false;
	pay(c, r->paid);
	if (owed(r)) {
		owe(c, *room, r);
		*room = NULL;
	}
	if (planned)
		c->protocol->sent_planned(c->talk, &m, plan, r->begun);
	atr_conn_release(c);
	return true;
}

/* Control data belongs to the program's first byte, and so must not go with ours. */
static void keep_control(const struct atr_sending *what, struct atr_plan *plan)
{
	struct atr_insert *in = plan->insert;

	if (!what->msg || !what->msg->msg_controllen || !plan->n || in->at)
		return;
	atr_count(not_injected, text_len(in) > 0);
	in->text[0].len = in->text[1].len = 0;
}

/* Plans for what is left of the program's bytes.  The connection is held. */
static bool make_plan(const struct atr_io *io, const struct atr_sending *what,
		      struct atr_source *source, struct atr_plan *plan)
{
	struct atr_conn *c = io->conn;
	bool planned = false;

	if (!c->protocol && c->heard != ATR_HEARD_ALL)
		atr_talk_listen(c, source);
	plan->n = 0;
	plan->cut = source->total;
	if (c->protocol)
		planned = c->protocol->plan(c->talk, c, source, plan);
	keep_control(what, plan);
	return planned;
}

static void advance(struct atr_source *source, struct iovec *iov, size_t n)
{
	size_t i = 0;

	source->total -= n;
	while (i < source->n_iov && n >= iov[i].iov_len)
		n -= iov[i++].iov_len;
	if (i < source->n_iov) {
		iov[i].iov_base = (char *)iov[i].iov_base + n;
		iov[i].iov_len -= n;
	}
	source->n_iov -= i;
	source->iov = iov + i;
}

/* A sandbox may allow the program's calls, and not sendmsg(). */
#define FORBIDDEN (-SSIZE_MAX - 1)

static bool forbids(int err)
{
	return err == EPERM || err == EACCES || err == ENOSYS;
}

/* All the program's bytes, in as many calls as it takes to add to each request among them. */
static ssize_t send_all(struct atr_io *io, const struct atr_sending *what,
			struct atr_source *source, struct iovec *iov, struct iovec *room,
			struct atr_plan *plan, bool planned)
{
	size_t done = 0;

	for (bool first = true;; first = false) {
		char *debt = room_for_debt(plan);
		struct out o = { .iov = room };
		struct result r;
		ssize_t went;
		bool there;
		int err;

		assemble(&o, io->conn, source, plan);
		/* One call would have said how far it got, and raised no signal. */
		went = call(io, what, &o, first, done ? MSG_NOSIGNAL : 0);
		err = went < 0 ? errno : 0;
		r = account(o.debt, plan, went > 0 ? (size_t)went : 0);
		there = tell(io, plan, planned, &r, err, &debt);
		atr_buffer_give(debt);
		give_copies(plan);
		done += r.bytes;
		if (went == 0 || (went < 0 && done))
			return (ssize_t)done;
		if (went < 0 && first && !what->msg && forbids(err))
			return FORBIDDEN;
		if (went < 0) {
			errno = err;
			return -1;
		}
		if (r.bytes < plan->cut) {
			if (done)
				return (ssize_t)done;
			if (!waits(io, what->flags)) {
				errno = EAGAIN;
				return -1;
			}
		}
		advance(source, iov, r.bytes);
		iov = (struct iovec *)(uintptr_t)source->iov;
		if (!source->total)
			return (ssize_t)done;
		if (!there || !atr_conn_hold(io->conn, io->gen)) {
			errno = EBADF;
			return done ? (ssize_t)done : -1;
		}
		planned = make_plan(io, what, source, plan);
		atr_conn_release(io->conn);
	}
}

/* May it be added to?  All that is known before the program's array is looked at. */
static bool addable(const struct atr_sending *what)
{
	/* Urgent data, and memory that the kernel still reads after the call. */
	return what->n_iov <= IOV_MOST - IOV_OURS && !(what->flags & (MSG_OOB | MSG_ZEROCOPY));
}

/* Of the program's flags those that say how it wants to be treated. */
bool atr_inject_settle(struct atr_io *io, int flags, ssize_t *ret)
{
	struct atr_conn *c = io->conn;

	flags &= MSG_DONTWAIT | MSG_NOSIGNAL;
	while (atr_load_acquire(&c->gen) == io->gen && c->debt_len) {
		ssize_t went = atr_real.send(io->fd, c->debt + c->debt_at, c->debt_len, flags);

		if (went >= 0 && atr_load_acquire(&c->gen) != io->gen) {
			errno = EBADF; /* closed by another thread: it is another's memory */
			went = -1;
		}
		if (went < 0) {
			*ret = -1;
			return false;
		}
		pay(c, (uint32_t)went);
	}
	return true;
}

/* The program's array into ours; the total is 0 where the kernel will find fault with it. */
static void read_array(struct atr_source *source, struct iovec *iov, const struct atr_sending *what)
{
	source->n_iov = what->n_iov;
	source->iov = iov;
	source->total = 0;
	if (!atr_sys_peek(iov, what->iov, what->n_iov * sizeof(*iov)))
		return;
	for (size_t i = 0; i < what->n_iov; i++) {
		if (__builtin_add_overflow(source->total, iov[i].iov_len, &source->total) ||
		    source->total > SSIZE_MAX) {
			source->total = 0;
			return;
		}
	}
}

/* iov: room for the program's entries, and for those that go out.  False: nothing was done. */
static bool add_and_send(struct atr_io *io, const struct atr_sending *what, struct iovec *iov,
			 ssize_t *ret)
{
	int err = errno;
	struct atr_source source;
	struct atr_plan plan;
	bool planned, took;

	read_array(&source, iov, what);
	if (!source.total || !atr_conn_hold(io->conn, io->gen)) {
		errno = err;
		return false;
	}
	planned = make_plan(io, what, &source, &plan);
	took = planned || io->conn->debt_len;
	atr_conn_release(io->conn);
	errno = err;
	if (!took)
		return false;
	*ret = send_all(io, what, &source, iov, iov + what->n_iov, &plan, planned);
	if (*ret >= 0 || *ret == FORBIDDEN)
		errno = err; /* a later call of ours may have failed */
	/* The program's own call goes behind what is owed. */
	return *ret != FORBIDDEN || !atr_inject_settle(io, what->flags, ret);
}

bool atr_inject(struct atr_io *io, const struct atr_sending *what, ssize_t *ret)
{
	struct iovec on_stack[2 * IOV_STACK + IOV_OURS];
	bool control = what->msg && what->msg->msg_controllen;
	struct iovec *iov = addable(what) ? on_stack : NULL;
	int err = errno;
	bool took;

	if (!io->out || !what->n_iov)
		return false;
	if (iov && what->n_iov > IOV_STACK)
		iov = (struct iovec *)(void *)atr_buffer_take();
	errno = err;
	if ((!iov || control) && !atr_inject_settle(io, what->flags, ret))
		took = true;
	else
		took = iov && add_and_send(io, what, iov, ret);
	err = errno;
	if (iov != on_stack)
		atr_buffer_give((char *)iov);
	errno = err;
	return took;
}
