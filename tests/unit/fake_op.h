/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_FAKE_OP_H
#define ATR_FAKE_OP_H

/*
 * What preload/op.c needs of its thread, without rings: one record at a time, in memory
 * that ends at an unreadable page.  To be included behind op.c.
 */
#include <sys/mman.h>
#include <unistd.h>

__thread struct atr_tls atr_tls;
struct atr_process atr_process;
struct atr_stats atr_stats;

static struct atr_thread self;
static uint64_t counter;
static uint8_t *room; /* ATR_RECORD_MAX bytes before an unreadable page */
static struct atr_record *committed;
static bool ring_is_full;
static uint32_t inside_at_reserve;
static enum atr_which_ring reserved_in;

struct atr_thread *atr_thread_self(void)
{
	atr_tls.thread = &self;
	self.tid = 77;
	return &self;
}

uint64_t atr_thread_random(struct atr_thread *t)
{
	(void)t;
	return ++counter * 0x9e3779b97f4a7c15u;
}

static void make_room(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t size = (ATR_RECORD_MAX + page - 1) / page * page;
	uint8_t *map =
		mmap(NULL, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED || mprotect(map + size, page, PROT_NONE) != 0)
		_exit(1);
	room = map + size - ATR_RECORD_MAX;
}

struct atr_record *atr_thread_reserve(struct atr_thread *t, enum atr_which_ring which)
{
	(void)t;
	reserved_in = which;
	inside_at_reserve = atr_tls.inside;
	if (!room)
		make_room();
	return ring_is_full ? NULL : (struct atr_record *)room;
}

void atr_thread_commit(struct atr_thread *t, struct atr_record *record)
{
	(void)t;
	committed = record;
}

/* Addresses: 100 + n in the stack, 7 the site; nothing is walked. */
struct atr_config atr_config;
static uint64_t site;
static unsigned n_stack;

uint64_t atr_stack_site(void)
{
	return site;
}

unsigned atr_stack_trace(uint64_t addrs[static ATR_STACK_MAX])
{
	for (unsigned i = 0; i < n_stack; i++)
		addrs[i] = 100 + i;
	return n_stack;
}

#endif
