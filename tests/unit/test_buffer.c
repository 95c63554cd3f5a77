/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/pool.o -lpthread */
#include "hooks/buffer.c"
#include "preload/sys.h"
#include "tests/unit/test.h"

#include <pthread.h>
#include <sys/uio.h>

#define MOST 4096 /* buffers at a time */
#define PER_CHUNK 16

struct atr_stats atr_stats;

/* ---- memory, which may be refused ---- */

static bool refuse;
static unsigned maps, unmaps;

void *atr_sys_map(size_t len)
{
	void *p;

	if (atr_load(&refuse))
		return NULL;
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		 0);
	if (p == MAP_FAILED)
		abort();
	/* One of the tests counts pages, and a huge one would hide how many were written to. */
	(void)madvise(p, len, MADV_NOHUGEPAGE);
	(void)atr_add(&maps, 1);
	return p;
}

void atr_sys_unmap(void *p, size_t len)
{
	(void)atr_add(&unmaps, 1);
	(void)munmap(p, len);
}

/* As at the start of a process. */
static void fresh(void)
{
	for (size_t i = 0; i < ATR_POOL_CHUNKS; i++) {
		if (buffers.chunks[i])
			(void)munmap(buffers.chunks[i], buffers.size * buffers.per_chunk);
		buffers.chunks[i] = NULL;
	}
	buffers.n_made = 0;
	buffers.free = 0;
	atr_stats.no_memory = 0;
	maps = unmaps = 0;
	refuse = false;
}

/* ---- the tests ---- */

TEST(a_buffer_is_its_owners_from_the_first_byte_to_the_last)
{
	char *all[2 * PER_CHUNK + 3];

	fresh();
	for (size_t i = 0; i < ATR_ARRAY_LEN(all); i++) {
		all[i] = atr_buffer_take();
		if (!CHECK(all[i] != NULL))
			return;
		memset(all[i], (int)i + 1, ATR_BUFFER_SIZE);
	}
	for (size_t i = 0; i < ATR_ARRAY_LEN(all); i++) {
		size_t same = 0;

		while (same < ATR_BUFFER_SIZE && all[i][same] == (char)(i + 1))
			same++;
		CHECK_INT(same, ATR_BUFFER_SIZE);
	}
	for (size_t i = 0; i < ATR_ARRAY_LEN(all); i++)
		atr_buffer_give(all[i]);
	CHECK_INT(maps, 3);
	CHECK_INT(atr_stats.no_memory, 0);
}

/* The injector keeps arrays of struct iovec in them. */
TEST(a_buffer_may_hold_any_struct_of_words)
{
	char *all[PER_CHUNK + 1];

	fresh();
	for (size_t i = 0; i < ATR_ARRAY_LEN(all); i++) {
		all[i] = atr_buffer_take();
		CHECK_INT((uintptr_t)all[i] % _Alignof(struct iovec), 0);
	}
	for (size_t i = 0; i < ATR_ARRAY_LEN(all); i++)
		atr_buffer_give(all[i]);
}

TEST(what_was_given_back_is_taken_again_whatever_the_order)
{
	char *all[PER_CHUNK];

	fresh();
	for (int round = 0; round < 1000; round++) {
		for (size_t i = 0; i < PER_CHUNK; i++) {
			all[i] = atr_buffer_take();
			CHECK(all[i] != NULL);
		}
		for (size_t i = 0; i < PER_CHUNK; i++)
			atr_buffer_give(all[(i * 5 + (size_t)round) % PER_CHUNK]);
	}
	CHECK_INT(buffers.n_made, PER_CHUNK);
	CHECK_INT(maps, 1);
	CHECK_INT(unmaps, 0);
}

TEST(the_one_given_back_last_is_the_next_because_its_pages_are_there)
{
	char *a, *b;

	fresh();
	a = atr_buffer_take();
	b = atr_buffer_take();
	atr_buffer_give(a);
	CHECK(atr_buffer_take() == a);
	atr_buffer_give(a);
	atr_buffer_give(b);
	CHECK(atr_buffer_take() == b);
	CHECK(atr_buffer_take() == a);
	atr_buffer_give(a);
	atr_buffer_give(b);
}

TEST(giving_back_nothing_is_allowed_and_does_nothing)
{
	char *a;

	fresh();
	atr_buffer_give(NULL);
	CHECK_INT(buffers.free, 0);
	a = atr_buffer_take();
	CHECK(a != NULL);
	atr_buffer_give(NULL);
	CHECK(atr_buffer_take() != a);
}

TEST(there_are_so_many_and_no_more_and_who_gets_none_is_counted)
{
	static char *all[MOST];
	char *again;

	fresh();
	for (size_t i = 0; i < MOST; i++) {
		all[i] = atr_buffer_take();
		if (!CHECK(all[i] != NULL))
			return;
	}
	CHECK_INT(maps, MOST / PER_CHUNK);
	CHECK_INT(atr_stats.no_memory, 0);
	CHECK(atr_buffer_take() == NULL);
	CHECK(atr_buffer_take() == NULL);
	CHECK_INT(atr_stats.no_memory, 2);
	atr_buffer_give(all[1234]);
	again = atr_buffer_take();
	CHECK(again == all[1234]);
	CHECK(atr_buffer_take() == NULL);
	for (size_t i = 0; i < MOST; i++)
		atr_buffer_give(all[i]);
	for (size_t i = 0; i < MOST; i++)
		CHECK(atr_buffer_take() != NULL);
	CHECK_INT(maps, MOST / PER_CHUNK);
	fresh();
}

TEST(where_memory_is_refused_there_is_none_until_it_is_not)
{
	char *all[PER_CHUNK], *more;

	fresh();
	refuse = true;
	CHECK(atr_buffer_take() == NULL);
	CHECK_INT(atr_stats.no_memory, 1);
	refuse = false;
	for (size_t i = 0; i < PER_CHUNK; i++)
		all[i] = atr_buffer_take();
	CHECK(all[PER_CHUNK - 1] != NULL);
	refuse = true;
	CHECK(atr_buffer_take() == NULL);
	CHECK_INT(atr_stats.no_memory, 2);
	atr_buffer_give(all[3]); /* what is mapped already can be had */
	CHECK(atr_buffer_take() == all[3]);
	refuse = false;
	more = atr_buffer_take();
	CHECK(more != NULL);
	CHECK_INT(maps, 2);
	CHECK_INT(atr_stats.no_memory, 2);
}

/* A chunk is a megabyte, of which mostly the first lines of a head are used. */
TEST(a_page_nobody_wrote_to_is_not_memory)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), n_pages, resident = 0;
	unsigned char there[1024];
	char *a, *b;

	fresh();
	n_pages = (buffers.size * PER_CHUNK + page - 1) / page;
	if (n_pages > sizeof(there))
		SKIP("pages are smaller than this test knows");
	a = atr_buffer_take();
	b = atr_buffer_take();
	if (!CHECK(a && b))
		return;
	memset(a, 1, 100);
	CHECK_INT(mincore(buffers.chunks[0], buffers.size * PER_CHUNK, there), 0);
	for (size_t i = 0; i < n_pages; i++)
		resident += there[i] & 1;
	CHECK(resident <= 3); /* the beginnings of both, and the page between them */
	CHECK(resident >= 1);
	atr_buffer_give(a);
	atr_buffer_give(b);
}

/* ---- from any thread ---- */

static unsigned clashes;

static void *hammer(void *arg)
{
	char me = (char)(uintptr_t)arg;

	for (int i = 0; i < 20000; i++) {
		char *mine[3];

		for (int k = 0; k < 3; k++) {
			mine[k] = atr_buffer_take();
			if (!mine[k])
				continue;
			mine[k][0] = mine[k][ATR_BUFFER_SIZE - 1] = me;
		}
		for (int k = 0; k < 3; k++) {
			if (!mine[k])
				continue;
			if (mine[k][0] != me || mine[k][ATR_BUFFER_SIZE - 1] != me)
				(void)atr_add(&clashes, 1);
			atr_buffer_give(mine[k]);
		}
	}
	return NULL;
}

TEST(threads_never_have_the_same_buffer_and_lose_none)
{
	pthread_t threads[4];

	fresh();
	for (uintptr_t i = 0; i < 4; i++)
		CHECK_INT(pthread_create(&threads[i], NULL, hammer, (void *)(i + 1)), 0);
	for (int i = 0; i < 4; i++)
		(void)pthread_join(threads[i], NULL);
	CHECK_INT(clashes, 0);
	CHECK_INT(atr_stats.no_memory, 0);
	CHECK(buffers.n_made <= 12);
	/* All that were made hang in the list again. */
	for (uint32_t i = 0, made = buffers.n_made; i < made; i++)
		CHECK(atr_pool_take_again(&buffers) != NULL);
	CHECK(atr_pool_take_again(&buffers) == NULL);
}
