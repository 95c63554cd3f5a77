/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/seen-file.c"

#include <fcntl.h>
#include <time.h>

#include "tests/unit/spool_file.h"
#include "tests/unit/test.h"

static uint8_t file[SPOOL_FILE(3)] __attribute__((aligned(4096)));
static struct atr_seen seen;

static struct atr_spool_file *head(void)
{
	return (struct atr_spool_file *)(void *)file;
}

static void begin(void)
{
	spool_file(file, 3, 4711);
	head()->status.version = ATR_STATUS_VERSION;
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

TEST(a_dead_process_is_not_waited_for)
{
	uint64_t then = clock_ms();

	begin();
	head()->status.change = 7;
	for (int i = 0; i < 20; i++) {
		look(false, sizeof(file));
		CHECK(seen.told);
	}
	CHECK(clock_ms() - then < 400);
}

TEST(pages_that_are_always_being_written_are_waited_for_half_a_second_in_all)
{
	uint64_t then = clock_ms();

	begin();
	head()->status.change = 7;
	for (int i = 0; i < 30; i++) {
		look(true, sizeof(file));
		CHECK(seen.told);
	}
	CHECK(clock_ms() - then < 1500);
}
