/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/seen-file.c"

#include <fcntl.h>
#include <time.h>

#include "tests/unit/spool_file.h"
#include "tests/unit/test.h"

static uint8_t file[SPOOL_FILE(3)] __attribute__((aligned(4096)));
static struct atr_seen seen;

static void begin(void)
{
	spool_file(file, 3, 4711);
	spool_head(file)->status.version = ATR_STATUS_VERSION;
}

static uint64_t clock_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* The file as a process has it that lives, or does not; so long, with nothing behind it. */
static void look(bool alive, off_t len)
{
	char path[] = "/tmp/test_seen-file.XXXXXX";
	int fd = mkstemp(path);

	CHECK(fd >= 0);
	(void)unlink(path);
	CHECK(write(fd, file, sizeof(file)) == (ssize_t)sizeof(file));
	CHECK_INT(ftruncate(fd, len), 0);
	seen = (struct atr_seen){ .exists = alive };
	CHECK(atr_seen_file(&seen, fd));
	(void)close(fd);
}

TEST(a_ring_is_counted_in_whatever_pieces_it_is_read)
{
	static uint8_t big[SPOOL_FILE(4)] __attribute__((aligned(4096)));
	struct atr_spool_file *f = (struct atr_spool_file *)(void *)big;
	struct atr_ring *ring = spool_ring(big, 0);
	char path[] = "/tmp/test_seen-file.XXXXXX";
	int fd = mkstemp(path), n = 0;

	CHECK(fd >= 0);
	(void)unlink(path);
	spool_file(big, 1, 4711);
	f->stride = ATR_RING_DATA + 4 * ATR_RING_LEAST;
	ring->size = 4 * ATR_RING_LEAST;
	ring->head = ring->tail = 3 * ATR_RING_LEAST; /* round its end */
	while (ring->head - ring->tail < ring->size - 2 * ATR_RECORD_MAX) {
		(void)spool_record(ring, 100 + (unsigned)n % 700, 1);
		n++;
	}
	CHECK(write(fd, big, ATR_SPOOL_HEADER + f->stride) > 0);
	seen = (struct atr_seen){ 0 };
	CHECK(atr_seen_file(&seen, fd));
	CHECK_INT(seen.waiting, n);
	CHECK(!seen.uncounted);
	(void)close(fd);
}

TEST(the_note_of_who_gave_it_up_is_read)
{
	begin();
	spool_head(file)->given_up = 4711;
	spool_head(file)->n_given_up = 3;
	look(false, sizeof(file));
	CHECK_INT(seen.given_up, 4711);
	CHECK_INT(seen.n_given_up, 3);
}

TEST(a_dead_process_is_not_waited_for)
{
	uint64_t then = clock_ms();

	begin();
	spool_head(file)->status.change = 7;
	for (int i = 0; i < 60; i++) {
		look(false, sizeof(file));
		CHECK(seen.told);
	}
	CHECK(clock_ms() - then < 3000);
}

TEST(pages_that_are_always_being_written_are_waited_for_half_a_second_in_all)
{
	uint64_t then = clock_ms();

	begin();
	spool_head(file)->status.change = 7;
	for (int i = 0; i < 100; i++) {
		look(true, sizeof(file));
		CHECK(seen.told);
	}
	CHECK(clock_ms() - then < 5000);
}

/* A ring of 64 MiB with nothing but a hole. */
TEST(holes_cost_nothing)
{
	uint64_t then = clock_ms();
	struct atr_ring *ring = spool_ring(file, 0);

	begin();
	spool_head(file)->n_rings = 1;
	spool_head(file)->stride = ATR_RING_DATA + (64u << 20);
	ring->size = 64u << 20;
	ring->head = 1000 * 64;
	for (int i = 0; i < 120; i++) {
		look(false, ATR_SPOOL_HEADER + ATR_RING_DATA + (64 << 20));
		CHECK(!seen.uncounted);
		CHECK_INT(seen.waiting, 0);
	}
	CHECK(clock_ms() - then < 3000);
}

/* The last test: nothing is looked at behind it. */
TEST(all_files_together_are_looked_at_for_a_time_and_what_was_not_is_said)
{
	uint64_t then = clock_ms();

	begin();
	spool_head(file)->n_rings = ATR_SPOOL_RINGS_MAX;
	for (int i = 0; i < 20; i++)
		look(false, SPOOL_FILE(ATR_SPOOL_RINGS_MAX));
	CHECK(seen.uncounted);
	CHECK(clock_ms() - then < 5000);
	begin();
	(void)spool_record(spool_ring(file, 0), 100, 1);
	look(false, sizeof(file));
	CHECK(seen.uncounted);
	CHECK_INT(seen.waiting, 0);
}
