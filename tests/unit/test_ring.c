/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/sys.o -lpthread */
#include "preload/ring.c"
#include "preload/sys.h"
#include "tests/unit/test.h"

/* preload/spool.c's: what the disk of these tests has room for. */
static size_t disk;

bool atr_spool_populate(void *p, size_t len)
{
	(void)p;
	if (len > disk)
		return false;
	disk -= len;
	return true;
}

#include <pthread.h>

#define SIZE 65536

static struct atr_ring *ring_new(void)
{
	struct atr_ring *ring = atr_sys_map(ATR_RING_DATA + SIZE);

	atr_ring_init(ring, SIZE);
	return ring;
}

static void ring_free(struct atr_ring *ring)
{
	atr_sys_unmap(ring, ATR_RING_DATA + SIZE);
}

/* A record of span_len bytes that all say `value`; false when the ring is full. */
static bool push(struct atr_ring *ring, size_t span_len, uint8_t value)
{
	struct atr_record *r = atr_ring_reserve(ring);

	if (!r)
		return false;
	memset(r->span, value, span_len);
	r->span_len = (uint32_t)span_len;
	r->n_addrs = 0;
	r->size = (uint32_t)((sizeof(*r) + span_len + 7) & ~(size_t)7);
	atr_ring_commit(ring, r);
	return true;
}

static bool is_all(const struct atr_record *r, uint8_t value)
{
	for (uint32_t i = 0; i < r->span_len; i++)
		if (r->span[i] != value)
			return false;
	return true;
}

TEST(an_empty_ring_gives_nothing)
{
	struct atr_ring *ring = ring_new();
	uint64_t pos = atr_ring_tail(ring);

	CHECK(atr_ring_next(ring, &pos) == NULL);
	CHECK_INT(atr_ring_used(ring), 0);
	ring_free(ring);
}

TEST(a_record_whose_addresses_would_lie_behind_it_is_not_handed_out)
{
	struct atr_ring *ring = ring_new();
	uint64_t pos = atr_ring_tail(ring);
	struct atr_record *r = atr_ring_reserve(ring);

	CHECK(push(ring, 13, 1));
	CHECK(atr_ring_next(ring, &pos) == r);
	CHECK(atr_record_addrs(r) == (const void *)(r->span + 16));
	for (unsigned n = 0; n < 4; n++) {
		pos = atr_ring_tail(ring);
		r->n_addrs = (uint16_t)n;
		CHECK((atr_ring_next(ring, &pos) == r) == (n == 0));
	}
	ring_free(ring);
}

TEST(records_come_out_in_order_and_whole_over_many_rounds)
{
	struct atr_ring *ring = ring_new();
	unsigned seed = 7, in = 0, out = 0;
	bool ok = true;

	while (out < 20000) {
		uint64_t pos = atr_ring_tail(ring);
		const struct atr_record *r;

		for (int i = 0; i < 5; i++)
			if (push(ring, 1 + (seed = seed * 1103515245 + 12345) % 9000, (uint8_t)in))
				in++;
		while ((r = atr_ring_next(ring, &pos)))
			ok &= is_all(r, (uint8_t)out++);
		atr_ring_release(ring, pos);
	}
	CHECK(ok);
	CHECK_INT(in, out);
	CHECK_INT(ring->written, in);
	ring_free(ring);
}

TEST(a_full_ring_drops_the_new_one_and_counts_it)
{
	struct atr_ring *ring = ring_new();
	unsigned in = 0, out = 0;
	uint64_t pos = 0;

	while (push(ring, 500, 1))
		in++;
	CHECK(in > 50);
	CHECK_INT(ring->dropped, 1);
	CHECK(!push(ring, 500, 1));
	CHECK_INT(ring->dropped, 2);
	while (atr_ring_next(ring, &pos))
		out++;
	CHECK_INT(out, in);
	atr_ring_release(ring, pos);
	CHECK(push(ring, 500, 1));
	ring_free(ring);
}

TEST(what_was_released_stays_so)
{
	struct atr_ring *ring = ring_new();
	uint64_t pos = 0, first;
	unsigned more = 0;

	while (push(ring, 500, 1))
		;
	(void)atr_ring_next(ring, &pos);
	first = pos;
	(void)atr_ring_next(ring, &pos);
	atr_ring_release(ring, pos);
	atr_ring_release(ring, first);
	CHECK_INT(atr_ring_tail(ring), pos);
	while (atr_ring_next(ring, &pos))
		;
	atr_ring_release(ring, pos);
	while (push(ring, 500, 2))
		more++;
	atr_ring_release(ring, first); /* the writer has gone round since */
	CHECK(more > 50 && !push(ring, 500, 3));
	ring_free(ring);
}

TEST(a_reserved_record_is_invisible_until_it_is_committed)
{
	struct atr_ring *ring = ring_new();
	struct atr_record *r = atr_ring_reserve(ring);
	uint64_t pos = 0;

	memset(r, 0xff, 64);
	CHECK(atr_ring_next(ring, &pos) == NULL);
	ring_free(ring);
}

/* A ring in a file may be anything: no length in it is believed. */
TEST(a_corrupt_record_is_skipped_to_the_head)
{
	static const struct {
		uint32_t size, span_len;
	} bad[] = { { 0, 1 },	    { 7, 1 },	       { 33, 1 },	  { 40, 100 },
		    { 1 << 30, 1 }, { 0xfffffff8, 1 }, { 64, 0xffffffff } };

	for (size_t i = 0; i < ATR_ARRAY_LEN(bad); i++) {
		struct atr_ring *ring = ring_new();
		uint64_t pos = 0;

		push(ring, 100, 1);
		((struct atr_record *)data(ring))->size = bad[i].size;
		((struct atr_record *)data(ring))->span_len = bad[i].span_len;
		CHECK(atr_ring_next(ring, &pos) == NULL);
		CHECK_INT(pos, ring->head);
		ring_free(ring);
	}
}

/* One in a file, which has its first blocks only. */
static struct atr_ring *file_ring(void)
{
	struct atr_ring *ring = atr_sys_map(ATR_RING_DATA + SIZE);

	ring->ready = ATR_RING_CHUNK;
	atr_ring_init(ring, SIZE);
	return ring;
}

TEST(a_ring_in_a_file_gets_blocks_only_as_it_needs_them)
{
	struct atr_ring *ring = file_ring();
	unsigned in = 0;

	disk = 1 << 20;
	CHECK_INT(ring->ready, ATR_RING_CHUNK);
	while (push(ring, 1000, 1) && ++in < 8)
		;
	CHECK_INT(ring->ready, ATR_RING_CHUNK);
	while (push(ring, 1000, 1))
		in++;
	CHECK_INT(ring->ready, SIZE);
	CHECK_INT(disk, (1 << 20) - (SIZE - ATR_RING_CHUNK));
	CHECK(in > 40);
	ring_free(ring);
}

TEST(where_the_disk_is_full_a_ring_goes_round_in_what_it_has)
{
	for (size_t room = 0; room < SIZE; room += ATR_RING_CHUNK) {
		struct atr_ring *ring = file_ring();
		char *beyond = (char *)ring + ATR_RING_DATA;
		unsigned in = 0, out = 0, most = 0;
		bool ok = true;

		disk = room;
		for (unsigned round = 0; round < 300; round++) {
			uint64_t pos = atr_ring_tail(ring);
			const struct atr_record *r;
			unsigned n = 0;

			while (n < 20 && push(ring, 1 + in % 3000, (uint8_t)in)) {
				in++;
				n++;
			}
			most = n > most ? n : most;
			while ((r = atr_ring_next(ring, &pos)))
				ok &= is_all(r, (uint8_t)out++);
			atr_ring_release(ring, pos);
		}
		CHECK(ok && in == out && in > 300 && most > 0);
		for (uint32_t i = ring->ready; i < SIZE; i++)
			ok &= beyond[i] == 0;
		CHECK(ok);
		ring_free(ring);
	}
}

TEST(a_ring_that_gave_its_blocks_back_asks_for_them_again)
{
	struct atr_ring *ring = file_ring();
	uint64_t pos = 0;

	disk = 0;
	CHECK(push(ring, 100, 1));
	CHECK(atr_ring_next(ring, &pos) != NULL);
	atr_ring_release(ring, pos);
	atr_ring_rewind(ring);
	CHECK_INT(atr_ring_used(ring), 0);
	CHECK_INT(atr_ring_unread(ring), 0);
	CHECK(!push(ring, 100, 1));
	disk = 1 << 20;
	CHECK(push(ring, 100, 2));
	pos = atr_ring_tail(ring);
	CHECK(is_all(atr_ring_next(ring, &pos), 2));
	ring_free(ring);
}

#define N_THREADED 200000

static void *writer(void *arg)
{
	for (unsigned n = 0; n < N_THREADED;)
		if (push(arg, 1 + n % 700, (uint8_t)n))
			n++;
	return NULL;
}

TEST(one_writer_and_one_reader_lose_and_spoil_nothing)
{
	struct atr_ring *ring = ring_new();
	unsigned out = 0;
	pthread_t thread;
	bool ok = true;

	CHECK_INT(pthread_create(&thread, NULL, writer, ring), 0);
	while (out < N_THREADED) {
		uint64_t pos = atr_ring_tail(ring);
		const struct atr_record *r;

		while ((r = atr_ring_next(ring, &pos))) {
			ok &= r->span_len == 1 + out % 700 && is_all(r, (uint8_t)out);
			out++;
		}
		atr_ring_release(ring, pos);
	}
	(void)pthread_join(thread, NULL);
	CHECK(ok);
	CHECK_INT(ring->written, N_THREADED);
	ring_free(ring);
}
