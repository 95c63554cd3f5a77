/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is the parent.  A thread carries its current context; where it has none,
 * or its parent has ended meanwhile, the process's own (TRACEPARENT) is next, and
 * then nobody: a root.  No parent rather than a wrong parent.
 */
#include "preload/context.h"

#include <string.h>

#include "preload/carrier.h"
#include "preload/clock.h"
#include "preload/life.h"
#include "preload/thread.h"

struct atr_context atr_context_process;
uint32_t atr_context_served;
uint32_t atr_context_crossed;
struct atr_context atr_context_at_fork;
bool atr_context_watched;
static bool process_used;

#define MS 1000000u

bool atr_context_same(const struct atr_context *a, const struct atr_context *b)
{
	return a->valid && b->valid && memcmp(a->span_id, b->span_id, 8) == 0 &&
	       memcmp(a->trace_id, b->trace_id, 16) == 0;
}

/* ---- the thread's ---- */

static struct atr_put_off *put_offs(void)
{
	return atr_tls.thread ? &atr_tls.thread->put_off : NULL;
}

static bool still_open(const struct atr_open_span *s)
{
	return atr_load_acquire(&s->cell->gen) == s->gen;
}

static void add(struct atr_put_off *p, struct atr_open_span s)
{
	if (!still_open(&s))
		return;
	for (uint32_t i = 0; i < p->n; i++)
		if (p->of[i].cell == s.cell && p->of[i].gen == s.gen)
			return;
	if (p->n == ATR_PUT_OFF_MAX)
		p->more = true; /* until nothing at all is served any more */
	else
		p->of[p->n++] = s;
}

/* The loop will work on it later, we shall not know when. */
static void put_off(const struct atr_context *c)
{
	struct atr_put_off *p = put_offs();

	if (p && c->open)
		add(p, (struct atr_open_span){ c->open, c->gen });
}

/* Is there work put off on anything but this (or at all)?  Those that have ended are forgotten. */
static bool others_put_off(const struct atr_context *c)
{
	struct atr_put_off *p = put_offs();
	bool others = false;
	uint32_t n = 0;

	if (atr_likely(!p || (!p->n && !p->more)))
		return false;
	for (uint32_t i = 0; i < p->n; i++) {
		if (!still_open(&p->of[i]))
			continue;
		others |= !c || p->of[i].cell != c->open;
		p->of[n++] = p->of[i];
	}
	p->n = n;
	p->more = p->more && atr_load(&atr_context_served);
	return others || p->more;
}

/* Several were read at once.  As many things were done as there were: each was seen to. */
static bool left_several(struct atr_put_off *p)
{
	bool left = false;

	for (uint32_t i = 0; i < p->n_several && p->done < p->n_several; i++) {
		left |= still_open(&p->several[i]);
		add(p, p->several[i]);
	}
	p->n_several = p->done = 0;
	return left;
}

/*
 * The loop goes on to something else.  True: what it had read before was not touched, as
 * far as is certain.  (While other work is put off nobody knows for whom something
 * is done, so then this is taken for put off as well.)
 */
static bool left_untouched(void)
{
	struct atr_put_off *p = put_offs();
	struct atr_round *r = &atr_tls.round;
	bool left = false;

	if (!p || !r->untouched)
		return false;
	if (p->n_several) {
		left = left_several(p);
	} else if (atr_tls.context.loop && atr_context_usable(&atr_tls.context)) {
		put_off(&atr_tls.context);
		left = true;
	}
	r->untouched = false;
	return left;
}

/* May a loop's context still be taken for what the thread does? */
static bool certain(const struct atr_context *c)
{
	const struct atr_round *r = &atr_tls.round;

	if ((c->open && atr_load(&c->open->crowded)) || (r->deadline && atr_now() >= r->deadline))
		return false;
	return !others_put_off(c);
}

const struct atr_context *atr_context_current(void)
{
	struct atr_context *c = &atr_tls.context;

	if (!atr_context_usable(c) || (c->loop && !certain(c)))
		return NULL;
	return atr_likely(!c->inherited) || atr_load(&atr_context_served) <= 1 ? c : NULL;
}

void atr_context_touch(void)
{
	struct atr_put_off *p = put_offs();

	if (p && p->n_several)
		p->done += !others_put_off(NULL); /* else it may have been about one of those */
	else if (atr_tls.round.untouched && !others_put_off(&atr_tls.context))
		atr_tls.round.untouched = false;
}

const struct atr_context *atr_context_of_process(void)
{
	const struct atr_context *c = &atr_context_process;

	if (!atr_context_usable(c))
		return NULL;
	if (atr_unlikely(c->open))
		atr_store(&process_used, true);
	return c;
}

const struct atr_context *atr_context_parent(void)
{
	const struct atr_context *c = atr_context_current();

	if (c)
		return c;
	return atr_context_of_process();
}

/* A signal handler must never see half of one. */
static void set(const struct atr_context *context, const void *loop)
{
	struct atr_context *c = &atr_tls.context;

	c->valid = false;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (!context || !context->valid)
		return;
	*c = *context;
	c->valid = false;
	c->loop = loop;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	c->valid = true;
}

const void *atr_context_loop(const void *loop)
{
	return atr_tls.round.loops ? loop : NULL;
}

void atr_context_enter(const struct atr_context *context, const void *loop, bool complete)
{
	struct atr_round *r = &atr_tls.round;

	loop = atr_context_loop(loop);
	if (!loop) {
		r->untouched = false;
		set(context, NULL);
		return;
	}
	if (!context || !atr_context_same(context, &atr_tls.context)) {
		(void)left_untouched();
		set(context, loop);
	}
	complete = complete && context && context->open && !atr_load(&context->open->waiting);
	r->untouched = complete;
}

void atr_context_leave(const struct atr_context *context, const void *loop)
{
	struct atr_put_off *p = put_offs();

	if (!atr_context_loop(loop)) {
		atr_tls.round.untouched = false;
		return;
	}
	for (uint32_t i = 0; context && p && i < p->n_several; i++)
		if (p->several[i].cell == context->open && p->several[i].gen == context->gen)
			return;
	if (context && atr_context_same(context, &atr_tls.context)) {
		atr_context_touch();
		return;
	}
	(void)left_untouched();
	atr_tls.context.valid = false;
}

void atr_context_dispatch(int64_t timeout_ms, uint64_t began)
{
	struct atr_round *r = &atr_tls.round;
	uint64_t now = timeout_ms > 0 ? began : r->deadline ? atr_now() : 0;

	/* A loop that has work at hand and only looks: it is the work on what it has just
	 * read, if it is nothing else's. */
	if (!left_untouched() || timeout_ms != 0 || others_put_off(&atr_tls.context))
		atr_tls.context.valid = false;
	r->untouched = atr_tls.context.valid;
	r->loops = true;
	/* A loop that only looks says nothing of its timers: what it said before holds.
	 * One millisecond less: timeouts are rounded up. */
	if (timeout_ms > 0)
		r->deadline = now + (uint64_t)(timeout_ms - 1) * MS;
	else if (timeout_ms < 0 || now >= r->deadline)
		r->deadline = 0;
}

void atr_context_several(const struct atr_context *one)
{
	struct atr_put_off *p = put_offs();

	if (!p || !one->open)
		return;
	if (!p->n_several)
		(void)left_untouched();
	atr_tls.context.valid = false;
	atr_tls.round.untouched = true;
	if (p->n_several < ATR_SEVERAL_MAX)
		p->several[p->n_several++] = (struct atr_open_span){ one->open, one->gen };
	else
		put_off(one);
}

void atr_context_behind(const struct atr_context *context)
{
	put_off(context);
}

void atr_context_handed(void)
{
	if (atr_tls.context.loop)
		atr_tls.context.valid = false;
}

void atr_context_finish(void)
{
	(void)left_untouched();
	atr_tls.context.valid = false;
}

/* ---- other processes ---- */

void atr_context_forking(void)
{
	struct atr_context *c = &atr_tls.context;

	if (atr_context_usable(c) && c->open)
		(void)atr_life_begin(c->open);
}

void atr_context_forked(void)
{
	static struct atr_cell cell; /* as the request's, which this process may close */
	struct atr_context *c = &atr_context_at_fork;
	const struct atr_context *now = atr_context_current();

	/* A grandchild's is that of the child, which may have closed the connection. */
	if (!now && atr_context_usable(c) && atr_context_same(&atr_tls.context, c))
		return;
	c->valid = false;
	if (!now || !now->open || !now->open->life)
		return;
	*c = *now;
	cell = *now->open;
	c->open = &cell;
	c->gen = cell.gen;
	if (c->carrier) /* for as long as this process lives */
		(void)atr_carrier_hold(c->carrier, c->carrier_gen);
	atr_store(&atr_context_watched, true);
}

void atr_context_may_be_handed(int fd)
{
	const struct atr_context *process = &atr_context_process;

	if (atr_context_same(&atr_tls.context, &atr_context_at_fork))
		atr_tls.context.valid = false;
	atr_context_forget_fork();
	if (process->open && (fd || atr_load(&process_used)))
		(void)__atomic_fetch_add(&process->open->gen, 1, __ATOMIC_RELEASE);
	atr_store(&atr_context_watched, process->open && atr_context_usable(process));
}
