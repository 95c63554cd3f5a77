/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/authority.o */
/* LINK: cli/elf.o cli/seen-file.o preload/config.o preload/text.o preload/spoolname.o */
/* LINK: preload/traceparent.o */
/* LINK: preload/target.o preload/sys.o */
#include "cli/seen.c"

#include "tests/unit/spool_file.h"
#include "tests/unit/test.h"

static uint8_t file[SPOOL_FILE(3)] __attribute__((aligned(4096)));
static struct atr_seen seen;

static void begin(void)
{
	spool_file(file, 3, 4711);
	spool_head(file)->status.version = ATR_STATUS_VERSION;
	spool_head(file)->status.n_counters = 3;
	memcpy(spool_head(file)->status.names, "a bc d ", 8);
	spool_head(file)->status.counters[0] = 1;
	spool_head(file)->status.counters[1] = 22;
	spool_head(file)->status.counters[2] = 333;
}

/* What is seen of the first `len` bytes of the file. */
static bool look(size_t len)
{
	char path[] = "/tmp/test_seen.XXXXXX";
	int fd = mkstemp(path);
	bool ours;

	CHECK(fd >= 0);
	(void)unlink(path);
	CHECK(write(fd, file, len) == (ssize_t)len);
	memset(&seen, 0, sizeof(seen));
	ours = atr_seen_file(&seen, fd);
	(void)close(fd);
	return ours;
}

TEST(counters_are_found_by_name)
{
	begin();
	CHECK(look(sizeof(file)));
	CHECK(seen.told);
	CHECK_INT(atr_seen_counter(&seen, "a"), 1);
	CHECK_INT(atr_seen_counter(&seen, "bc"), 22);
	CHECK_INT(atr_seen_counter(&seen, "d"), 333);
	CHECK_INT(atr_seen_counter(&seen, "b"), 0);
	CHECK_INT(atr_seen_counter(&seen, ""), 0);
}

TEST(what_waits_in_rings_is_counted_padding_is_not)
{
	struct atr_ring *ring;

	begin();
	ring = spool_ring(file, 1);
	/* Up to the end of the ring and round. */
	ring->head = ring->tail = ATR_RING_LEAST - ATR_RECORD_MAX - 64;
	for (int i = 0; i < 5; i++)
		(void)spool_record(ring, 100, 1);
	ring->written = 50;
	(void)spool_record(spool_ring(file, 2), 10, 1);
	spool_ring(file, 2)->written = 1;
	CHECK(look(sizeof(file)));
	CHECK_INT(seen.waiting, 6);
	CHECK_INT(seen.written, 51);
	CHECK_INT(seen.n_rings, 3);
	CHECK_INT(seen.fullest_bytes, ATR_RING_LEAST);
	CHECK_INT(seen.used_bytes, ring->head - ring->tail);
}

TEST(another_version_or_half_a_page_says_nothing)
{
	begin();
	spool_head(file)->status.version = ATR_STATUS_VERSION + 1;
	CHECK(look(sizeof(file)));
	CHECK(!seen.told);
	spool_head(file)->status.version = ATR_STATUS_VERSION;
	spool_head(file)->status.n_counters = ATR_STATUS_COUNTERS + 1;
	CHECK(look(sizeof(file)));
	CHECK(!seen.told);
	CHECK(!look(100) || !seen.told);
	CHECK(!look(0));
	spool_head(file)->magic++;
	CHECK(!look(sizeof(file)));
}

TEST(a_page_left_in_the_middle_of_a_change_is_read_all_the_same)
{
	begin();
	spool_head(file)->status.change = 7;
	CHECK(look(sizeof(file)));
	CHECK(seen.told);
}

TEST(of_the_dead_the_file_says_what_they_were)
{
	begin();
	memcpy(spool_head(file)->text, "/usr/bin/shop", 14);
	CHECK(look(sizeof(file)));
	CHECK_STR(seen.exe, "/usr/bin/shop");
	CHECK_STR(seen.name, "shop");
	memset(spool_head(file)->text, '/', sizeof(spool_head(file)->text));
	CHECK(look(sizeof(file)));
	CHECK_INT(strlen(seen.exe), 1023);
	CHECK_STR(seen.name, "");
	memset(spool_head(file)->text, 'x', sizeof(spool_head(file)->text));
	spool_head(file)->text[0] = '/';
	CHECK(look(sizeof(file)));
	CHECK_INT(strlen(seen.name), sizeof(seen.name) - 1);
}

TEST(numbers_of_a_line_are_counted)
{
	static const char text[] = "A:\t1\nUid:\t10\t20\t30\nB:\t5\n";

	CHECK_INT(status_number(text, "\nUid:", 1, -1), 10);
	CHECK_INT(status_number(text, "\nUid:", 2, -1), 20);
	CHECK_INT(status_number(text, "\nUid:", UINT_MAX, -1), 30);
	CHECK_INT(status_number(text, "\nB:", 1, -1), 5);
	CHECK_INT(status_number(text, "\nC:", 1, -1), -1);
}

TEST(nothing_in_a_file_is_believed)
{
	uint32_t random = 1;

	for (int round = 0; round < 300; round++) {
		begin();
		(void)spool_record(spool_ring(file, 0), 100, 1);
		for (int i = 0; i < 40; i++) {
			size_t at;

			random = random * 1103515245u + 12345u;
			at = random >> 8;
			at = i % 3 == 0	  ? at % 64
			     : i % 3 == 1 ? ATR_SPOOL_HEADER + at % 256
					  : offsetof(struct atr_spool_file, status) + at % 4096;
			file[at] = (uint8_t)(random >> 3);
		}
		spool_head(file)->magic = ATR_SPOOL_MAGIC;
		spool_head(file)->version = ATR_SPOOL_VERSION;
		memset(spool_head(file)->status.names, 'x', sizeof(spool_head(file)->status.names));
		(void)look(sizeof(file));
		(void)atr_seen_counter(&seen, "x");
	}
}

TEST(a_parent_that_does_not_sample_is_seen)
{
	static const struct {
		const char *parent;
		bool unsampled;
	} rows[] = {
		{ "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", true },
		{ "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02", true },
		{ "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false },
		{ "00-x-00", false },
		{ "", false },
	};
	char text[128];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		environment_len =
			(size_t)snprintf(text, sizeof(text), "TRACEPARENT=%s", rows[i].parent);
		environment = text;
		look_at_parent(&seen);
		CHECK_INT(seen.parent_unsampled, rows[i].unsampled);
	}
	environment_len = 0;
	look_at_parent(&seen);
	CHECK(!seen.parent_unsampled);
	environment = NULL;
}

TEST(this_process_is_seen_as_what_it_is)
{
	atr_see(&seen, getpid());
	CHECK(seen.exists && seen.readable && !seen.zombie && !seen.stopped);
	CHECK(!seen.mapped && !seen.file && !seen.secure);
	CHECK_STR(seen.name, "test_seen");
	CHECK_INT(seen.elf, ATR_ELF_DYNAMIC);
	CHECK_INT(seen.uid, geteuid());
	atr_see(&seen, INT_MAX);
	CHECK(!seen.exists && !seen.file);
}

static void count_file(int dir, const char *path, const char *name,
		       const struct atr_spool_name *who, void *arg)
{
	(void)dir;
	(void)path;
	(void)name;
	(void)who;
	++*(unsigned *)arg;
}

/* A directory that is called so, and a file in it for each number below n. */
static void make_spool(const char *base, const char *owner, unsigned n)
{
	char path[256], file_path[300];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/" PREFIX "%s", base, owner);
	CHECK_INT(mkdir(path, 0700), 0);
	for (unsigned i = 0; i < n; i++) {
		(void)snprintf(file_path, sizeof(file_path), "%s/1-%x-3-4-5-6", path, i + 1);
		fd = open(file_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		CHECK(fd >= 0);
		(void)close(fd);
	}
}

static void remove_all(const char *base)
{
	char command[64];

	(void)snprintf(command, sizeof(command), "rm -r %s", base);
	CHECK_INT(system(command), 0);
}

TEST(directories_of_other_names_do_not_hide_those_that_fit)
{
	char base[] = "/tmp/test_seen.XXXXXX", path[256], owner[16];
	unsigned n = 0;

	CHECK(mkdtemp(base) != NULL);
	(void)snprintf(owner, sizeof(owner), "%u", (unsigned)geteuid());
	/* As many before as behind it, in whatever order they are listed. */
	for (unsigned i = 0; i < 2 * ALL_MAX; i++) {
		if (i == ALL_MAX)
			make_spool(base, owner, 1);
		(void)snprintf(path, sizeof(path), "%s/" PREFIX "%u", base, 4200000000u + i);
		(void)mkdir(path, 0700);
	}
	each_owner(base, count_file, &n);
	CHECK_INT(n, 1);
	remove_all(base);
}

TEST(a_users_spool_has_one_name)
{
	char base[] = "/tmp/test_seen.XXXXXX", owner[24];
	unsigned n = 0;

	CHECK(mkdtemp(base) != NULL);
	(void)snprintf(owner, sizeof(owner), "%u", (unsigned)geteuid());
	make_spool(base, owner, 1);
	(void)snprintf(owner, sizeof(owner), "0%u", (unsigned)geteuid());
	make_spool(base, owner, 1);
	(void)snprintf(owner, sizeof(owner), "%llu", (1ull << 32) + geteuid());
	make_spool(base, owner, 1);
	make_spool(base, "", 1);
	make_spool(base, "x", 1);
	each_owner(base, count_file, &n);
	CHECK_INT(n, 1);
	remove_all(base);
}
