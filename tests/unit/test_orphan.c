/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/otlp.o exporter/resource.o exporter/detect.o exporter/container.o */
/* LINK: exporter/list.o exporter/buf.o exporter/otlp.pb-c.o preload/spoolname.o */
/* LINK: preload/target.o exporter/limits.o exporter/health.o */
/* LINK: preload/sys.o preload/utf8.o -lprotobuf-c */
#include "exporter/orphan.c"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/wait.h>

#include "tests/unit/spool_file.h"
#include "tests/unit/test.h"

static char dir[64];
static struct atr_stats stats;
static struct atr_config config;
static struct atr_host host;
static uint64_t reported;
static uint8_t file[SPOOL_FILE(3)] __attribute__((aligned(4096)));
static uint32_t dead_pid;

static const char *spool_dir(void)
{
	return dir;
}

static void used(uint64_t bytes)
{
	reported = bytes;
}

static char said[512];
static unsigned n_slept;
static int unlock_after; /* so many of those; the other one's descriptor is `other` */
static int other;

static void atr_printf(2, 3) say(enum atr_LOG_LEVEL level, const char *fmt, ...)
{
	va_list args;

	CHECK_INT(level, ATR_LOG_WARN);
	va_start(args, fmt);
	(void)vsnprintf(said, sizeof(said), fmt, args);
	va_end(args);
}

static unsigned pending(void)
{
	return ATR_WAKE_TIME;
}

static int sleep_fds(struct pollfd *fds, unsigned n_fds, int timeout_ms)
{
	CHECK(!fds && !n_fds && timeout_ms > 0);
	if (++n_slept == (unsigned)unlock_after)
		CHECK_INT(flock(other, LOCK_UN), 0);
	return 0;
}

static void begin(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	(void)waitpid(pid, NULL, 0);
	dead_pid = (uint32_t)pid;
	(void)snprintf(dir, sizeof(dir), "/tmp/test_orphan.XXXXXX");
	if (!mkdtemp(dir))
		abort();
	stats = (struct atr_stats){ 0 };
	config.span_attribute_count = config.span_attribute_length = INT32_MAX;
	host = (struct atr_host){
		.config = &config,
		.stats = &stats,
		.spool_dir = spool_dir,
		.spool_used = used,
		.log = say,
		.pending = pending,
		.sleep_fds = sleep_fds,
	};
	said[0] = '\0';
	spool_file(file, 3, dead_pid);
}

static void finish(void)
{
	char command[96];

	(void)snprintf(command, sizeof(command), "rm -rf %s", dir);
	CHECK_INT(system(command), 0);
}

static void path_of(char path[static 256], uint32_t pid, uint32_t destination)
{
	struct atr_spool_name who = { atr_sys_pid_namespace(), pid, 7, 9, destination, 1 };
	char name[ATR_SPOOL_NAME_MAX];

	if (pid == (uint32_t)getpid())
		who.start = who.image = 0;
	atr_spool_name_text(name, &who);
	(void)snprintf(path, 256, "%s/%s", dir, name);
}

static void put(const uint8_t *bytes, size_t len, uint32_t pid)
{
	char path[256];
	FILE *f;

	path_of(path, pid, 1);
	f = fopen(path, "we");
	if (!f || fwrite(bytes, 1, len, f) != len || fclose(f) != 0)
		abort();
}

static bool there(uint32_t pid)
{
	char path[256];

	path_of(path, pid, 1);
	return access(path, F_OK) == 0;
}

/* All of it; how many spans. */
static unsigned drain(size_t max)
{
	struct atr_orphans o;
	unsigned n = 0;
	size_t got;

	atr_orphans_init(&o, &host);
	atr_orphans_scan(&o);
	while ((got = atr_orphans_next(&o, max)) > 0) {
		CHECK(got <= max && o.spans.len && o.head.resource.len && o.head.scope.len);
		n += (unsigned)got;
		atr_orphans_settle(&o, SIZE_MAX, ATR_SHIPPED);
		atr_orphans_settle(&o, SIZE_MAX, ATR_SETTLED);
	}
	CHECK(!atr_orphans_any(&o));
	atr_orphans_finish(&o);
	return n;
}

static const char *text(const struct atr_orphans *o, const char *key)
{
	const struct atr_attr *a = atr_resource_get(&o->resource, key);

	return a ? a->text : NULL;
}

TEST(what_was_left_comes_once_from_all_rings)
{
	for (size_t max = 1; max < 70; max += 17) {
		begin();
		for (unsigned i = 0; i < 60; i++)
			(void)spool_record(spool_ring(file, i % 3), 1 + i * 37, (uint8_t)i);
		put(file, sizeof(file), dead_pid);
		CHECK_INT(drain(max), 60);
		CHECK(!there(dead_pid));
		CHECK_INT(drain(max), 0);
		CHECK_INT(stats.corrupt, 0);
		finish();
	}
}

TEST(over_the_end_of_a_ring_and_round_again)
{
	struct atr_ring *ring;
	unsigned in = 0;

	begin();
	ring = spool_ring(file, 0);
	ring->head = ring->tail = 5 * (uint64_t)ATR_RING_LEAST + 40000;
	while (ring->head - ring->tail < ATR_RING_LEAST - 2 * ATR_RECORD_MAX)
		(void)spool_record(ring, 3000, (uint8_t)in++);
	CHECK((ring->head & (ATR_RING_LEAST - 1)) < (ring->tail & (ATR_RING_LEAST - 1)));
	put(file, sizeof(file), dead_pid);
	CHECK_INT(drain(1000), in);
	CHECK_INT(stats.corrupt, 0);
	finish();
}

/* No ring lives that long; a hostile file says so at once. */
TEST(positions_wrap)
{
	for (uint64_t before = 8; before < 2 * (uint64_t)ATR_RECORD_MAX;
	     before += before < 256 ? 8 : before) {
		struct atr_ring *ring;

		begin();
		ring = spool_ring(file, 0);
		ring->head = ring->tail = ring->shipped = -before;
		for (unsigned i = 0; i < 9; i++)
			(void)spool_record(ring, 3000, (uint8_t)i);
		put(file, sizeof(file), dead_pid);
		CHECK_INT(drain(1000), 9);
		CHECK_INT(stats.corrupt, 0);
		finish();
	}
}

TEST(its_resource_is_its_own)
{
	struct atr_orphans o;
	struct atr_spool_file *f = spool_head(file);
	struct atr_resource r = { 0 };
	struct atr_otlp_head head;
	char id[64];

	begin();
	(void)spool_record(spool_ring(file, 0), 10, 1);
	put(file, sizeof(file), dead_pid);
	atr_orphans_init(&o, &host);
	atr_orphans_scan(&o);
	CHECK_INT(atr_orphans_next(&o, 10), 1);
	CHECK_STR(text(&o, "service.name"), "shop");
	CHECK_STR(text(&o, "a"), "b");
	CHECK_STR(text(&o, "process.executable.path"), "/bin/dead");
	CHECK_INT(atr_resource_get(&o.resource, "process.pid")->number, dead_pid);
	(void)snprintf(id, sizeof(id), "%s", text(&o, "service.instance.id"));
	atr_orphans_let_go(&o); /* nobody takes it */
	CHECK(there(dead_pid));
	atr_orphans_scan(&o);
	CHECK_INT(atr_orphans_next(&o, 10), 1);
	CHECK_STR(text(&o, "service.instance.id"), id);
	atr_orphans_let_go(&o);

	/* One that had time to say so. */
	atr_resource_set_str(&r, "service.name", "said");
	atr_resource_set_int(&r, "process.pid", 4711);
	CHECK_INT(atr_otlp_head_init(&head, &r), 0);
	memcpy(f->resource, head.resource.bytes, head.resource.len);
	f->resource_len = (uint32_t)head.resource.len;
	f->resource_sum = atr_sum(f->resource, (head.resource.len + 7) & ~(size_t)7);
	put(file, sizeof(file), dead_pid);
	atr_orphans_scan(&o);
	CHECK_INT(atr_orphans_next(&o, 10), 1);
	CHECK_STR(text(&o, "service.name"), "said");
	CHECK_INT(o.head.resource.len, head.resource.len);
	CHECK_MEM(o.head.resource.bytes, head.resource.bytes, head.resource.len);
	atr_orphans_let_go(&o);

	/* A spoilt one is not believed. */
	f->resource[3] ^= 1;
	put(file, sizeof(file), dead_pid);
	atr_orphans_scan(&o);
	CHECK_INT(atr_orphans_next(&o, 10), 1);
	CHECK_STR(text(&o, "service.name"), "shop");
	CHECK_INT(stats.corrupt, 1);
	atr_orphans_finish(&o);
	atr_otlp_head_finish(&head);
	atr_resource_finish(&r);
	finish();
}

TEST(what_was_on_its_way_does_not_come_again_unless_it_was_put_back)
{
	struct atr_orphans o;

	for (int back = 0; back < 2; back++) {
		begin();
		for (unsigned i = 0; i < 30; i++)
			(void)spool_record(spool_ring(file, i % 2), 100, (uint8_t)i);
		put(file, sizeof(file), dead_pid);
		atr_orphans_init(&o, &host);
		atr_orphans_scan(&o);
		CHECK_INT(atr_orphans_next(&o, 20), 20);
		atr_orphans_settle(&o, SIZE_MAX, ATR_SHIPPED);
		if (back)
			atr_orphans_settle(&o, SIZE_MAX, ATR_BACK);
		atr_orphans_finish(&o); /* as when we are killed */
		CHECK_INT(drain(100), back ? 30 : 10);
		finish();
	}
}

/* Puts the file there as one who gave it up left it, so long ago. */
static void put_given_up(uint32_t n, unsigned minutes)
{
	struct atr_spool_file *f = spool_head(file);

	f->given_up = atr_wall_clock() - minutes * ATR_SPOOL_REST_NS;
	f->n_given_up = n;
	put(file, sizeof(file), dead_pid);
}

TEST(what_was_given_up_is_left_for_a_minute_doubled_each_time)
{
	struct atr_orphans o;

	begin();
	for (unsigned i = 0; i < 30; i++)
		(void)spool_record(spool_ring(file, 0), 100, (uint8_t)i);
	put(file, sizeof(file), dead_pid);
	atr_orphans_init(&o, &host);
	atr_orphans_scan(&o);
	CHECK_INT(atr_orphans_next(&o, 20), 20);
	atr_orphans_give_up(&o);
	atr_orphans_finish(&o);
	CHECK_INT(drain(100), 0);
	CHECK(there(dead_pid));
	host.orphans_only = true; /* who is asked to send does not wait */
	atr_orphans_init(&o, &host);
	atr_orphans_scan(&o);
	CHECK_INT(atr_orphans_next(&o, 20), 20);
	CHECK_INT(o.n_given_up, 1);
	atr_orphans_give_up(&o);
	CHECK_INT(o.n_given_up, 2);
	atr_orphans_settle(&o, SIZE_MAX, ATR_SETTLED); /* somebody takes it */
	atr_orphans_finish(&o);
	host.orphans_only = false;
	CHECK_INT(drain(100), 10);
	finish();
	for (uint32_t n = 1; n < 5; n++) {
		begin();
		(void)spool_record(spool_ring(file, 0), 100, 1);
		put_given_up(n, (1u << (n - 1)) - 1);
		CHECK_INT(drain(100), 0);
		put_given_up(n, 1u << (n - 1));
		CHECK_INT(drain(100), 1);
		finish();
	}
	begin(); /* whatever a file says */
	(void)spool_record(spool_ring(file, 0), 100, 1);
	put_given_up(UINT32_MAX, 1 << ATR_SPOOL_RESTS);
	CHECK_INT(drain(100), 1);
	finish();
}

TEST(what_was_taken_of_a_batch_does_not_come_again_with_the_rest)
{
	for (unsigned taken = 0; taken <= 20; taken++)
		for (int back = 0; back < 2; back++) {
			struct atr_orphans o;

			begin();
			for (unsigned i = 0; i < 30; i++)
				(void)spool_record(spool_ring(file, i % 2), 100, (uint8_t)i);
			put(file, sizeof(file), dead_pid);
			atr_orphans_init(&o, &host);
			atr_orphans_scan(&o);
			CHECK_INT(atr_orphans_next(&o, 20), 20);
			atr_orphans_settle(&o, taken, ATR_SHIPPED);
			atr_orphans_settle(&o, taken, ATR_SETTLED);
			CHECK_INT(o.n_spans, 20 - taken);
			atr_orphans_settle(&o, SIZE_MAX, ATR_SHIPPED);
			if (back)
				atr_orphans_settle(&o, SIZE_MAX, ATR_BACK);
			atr_orphans_finish(&o);
			CHECK_INT(drain(100), back ? 30 - taken : 10);
			finish();
		}
}

TEST(one_reader_at_a_time_and_the_lock_goes_with_it)
{
	struct atr_orphans a, b;

	begin();
	(void)spool_record(spool_ring(file, 0), 10, 1);
	put(file, sizeof(file), dead_pid);
	atr_orphans_init(&a, &host);
	atr_orphans_init(&b, &host);
	atr_orphans_scan(&a);
	atr_orphans_scan(&b);
	CHECK_INT(atr_orphans_next(&a, 10), 1);
	CHECK_INT(atr_orphans_next(&b, 10), 0);
	atr_orphans_let_go(&a);
	atr_orphans_scan(&b);
	CHECK_INT(atr_orphans_next(&b, 10), 1);
	atr_orphans_finish(&a);
	atr_orphans_finish(&b);
	finish();
}

TEST(the_living_and_other_destinations_and_links_are_left_alone)
{
	char path[256], link[256];

	begin();
	(void)spool_record(spool_ring(file, 0), 10, 1);
	put(file, sizeof(file), (uint32_t)getpid());
	CHECK_INT(drain(10), 0);
	CHECK(there((uint32_t)getpid()));
	CHECK(reported > 0);
	host.destination = 2;
	put(file, sizeof(file), dead_pid);
	CHECK_INT(drain(10), 0);
	CHECK(there(dead_pid));
	host.destination = 0;
	path_of(path, dead_pid, 1);
	path_of(link, dead_pid, 3);
	CHECK_INT(symlink(path, link), 0);
	CHECK_INT(drain(10), 1);
	CHECK(access(link, F_OK) != 0 && readlink(link, path, sizeof(path)) > 0);
	/* The directory itself. */
	CHECK_INT(chmod(dir, 0750), 0);
	put(file, sizeof(file), dead_pid);
	CHECK_INT(drain(10), 0);
	CHECK_INT(chmod(dir, 0700), 0);
	finish();
}

TEST(a_spoilt_record_is_skipped_and_counted)
{
	struct atr_record *r;

	begin();
	for (unsigned i = 0; i < 9; i++) {
		r = spool_record(spool_ring(file, 0), 50, (uint8_t)i);
		if (i == 4)
			r->span[7] ^= 0x10;
	}
	put(file, sizeof(file), dead_pid);
	CHECK_INT(drain(100), 8);
	CHECK_INT(stats.corrupt, 1);

	spool_file(file, 3, dead_pid);
	for (unsigned i = 0; i < 9; i++) {
		r = spool_record(spool_ring(file, 0), 50, (uint8_t)i);
		if (i == 4)
			r->size = 12;
		(void)spool_record(spool_ring(file, 1), 50, (uint8_t)i);
	}
	put(file, sizeof(file), dead_pid);
	CHECK_INT(drain(100), 4 + 9);
	CHECK_INT(stats.corrupt, 2);
	finish();
}

TEST(what_was_not_sampled_is_not_sent)
{
	struct atr_record *r;

	begin();
	for (unsigned i = 0; i < 9; i++) {
		r = spool_record(spool_ring(file, i % 2), 50, (uint8_t)i);
		r->flags = i % 3 ? 0 : ATR_RECORD_CANDIDATE | ATR_RECORD_KEEP;
		r->checksum = atr_record_sum(r);
	}
	put(file, sizeof(file), dead_pid);
	CHECK_INT(drain(100), 6);
	CHECK_INT(stats.unkept, 3);
	CHECK_INT(stats.corrupt, 0);
	CHECK(!there(dead_pid));
	/* Nothing else in it. */
	spool_file(file, 3, dead_pid);
	r = spool_record(spool_ring(file, 0), 50, 1);
	r->flags = ATR_RECORD_CANDIDATE;
	r->checksum = atr_record_sum(r);
	put(file, sizeof(file), dead_pid);
	CHECK_INT(drain(100), 0);
	CHECK(!there(dead_pid));
	finish();
}

TEST(who_is_asked_to_send_says_what_is_not_looked_at)
{
	char want[320], path[256];

	begin();
	(void)spool_record(spool_ring(file, 0), 50, 1);
	put(file, sizeof(file), dead_pid);
	for (unsigned asked = 0; asked <= 1; asked++) {
		host.orphans_only = asked;
		CHECK_INT(chmod(dir, 0755), 0);
		CHECK_INT(drain(100), 0);
		(void)snprintf(want, sizeof(want),
			       "%s: it is not ours alone (mode 0700), and not looked into", dir);
		CHECK_STR(said, asked ? want : "");
		CHECK_INT(chmod(dir, 0700), 0);

		path_of(path, dead_pid, 1);
		other = open(path, O_RDONLY | O_CLOEXEC);
		CHECK_INT(flock(other, LOCK_EX), 0);
		n_slept = 0;
		CHECK_INT(drain(100), 0);
		CHECK_INT(n_slept, asked ? LOCK_TRIES : 0);
		(void)snprintf(want, sizeof(want), "%s: somebody else is at it", path);
		CHECK_STR(said, asked ? want : "");
		CHECK_INT(stats.left, asked ? 2 : 0);
		(void)close(other);
	}
	CHECK(there(dead_pid));
	finish();
	CHECK_INT(drain(100), 0); /* where nothing is nothing is left */
	CHECK_INT(stats.left, 2);
}

TEST(who_is_just_done_is_waited_for)
{
	char path[256];

	begin();
	(void)spool_record(spool_ring(file, 0), 50, 1);
	put(file, sizeof(file), dead_pid);
	host.orphans_only = true;
	path_of(path, dead_pid, 1);
	other = open(path, O_RDONLY | O_CLOEXEC);
	CHECK_INT(flock(other, LOCK_EX), 0);
	n_slept = 0;
	unlock_after = 3;
	CHECK_INT(drain(100), 1);
	CHECK_INT(n_slept, 3);
	CHECK_STR(said, "");
	CHECK_INT(stats.left, 0);
	(void)close(other);
	unlock_after = 0;
	finish();
}

TEST(nothing_in_a_file_is_believed)
{
	static const uint64_t odd[] = { 0,	  1,	      7,	  8,	1u << 16,
					1u << 20, 1ull << 31, 1ull << 40, ~0ull };
	unsigned removed = 0, tried = 0;

	begin();
	/* Every word of the header and of a ring's, and the lengths of a record. */
	for (size_t at = 0; at < SPOOL_FILE(1) + 64; at += 8) {
		if (at == sizeof(uint64_t) * 12)
			at = 512;
		if (at == 560)
			at = ATR_SPOOL_HEADER;
		if (at == ATR_SPOOL_HEADER + 256)
			at = ATR_SPOOL_HEADER + ATR_RING_DATA;
		if (at == ATR_SPOOL_HEADER + ATR_RING_DATA + 64)
			break;
		for (size_t i = 0; i < ATR_ARRAY_LEN(odd); i++) {
			spool_file(file, 3, dead_pid);
			for (unsigned k = 0; k < 6; k++)
				(void)spool_record(spool_ring(file, k % 2), 40, (uint8_t)k);
			memcpy(file + at, &odd[i], 8);
			put(file, sizeof(file), dead_pid);
			tried++;
			removed += drain(100) <= 6 && !there(dead_pid);
		}
	}
	CHECK_INT(removed, tried);
	finish();
}

TEST(a_file_may_end_anywhere)
{
	begin();
	for (unsigned k = 0; k < 6; k++)
		(void)spool_record(spool_ring(file, 0), 400, (uint8_t)k);
	for (size_t len = 0; len < ATR_SPOOL_HEADER + ATR_RING_DATA + 3000; len += 97) {
		put(file, len, dead_pid);
		CHECK(drain(100) <= 6);
		CHECK(!there(dead_pid));
	}
	CHECK(stats.corrupt > 100);
	finish();
}
