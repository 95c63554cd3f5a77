/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/aside.o preload/ring.o preload/spoolname.o preload/target.o */
/* LINK: preload/text.o preload/sys.o */
#include "preload/spool.c"

#include <dirent.h>
#include <stdarg.h>
#include <sys/resource.h>

#include "tests/unit/test.h"

struct atr_config atr_config;
struct atr_process atr_process;

static unsigned logged;
static bool sandboxed;

void atr_log(enum atr_LOG_LEVEL level, const char *fmt, ...)
{
	(void)level;
	(void)fmt;
	logged++;
}

void atr_status_begin(struct atr_status *page)
{
	page->version = ATR_STATUS_VERSION;
}

bool atr_process_foreign(void)
{
	return getpid() != atr_process.pid;
}

bool atr_sys_sandboxed(void)
{
	return sandboxed;
}

static char base[64], ours[96];

static const char *no_env(const char *name)
{
	(void)name;
	return NULL;
}

static void begin(void)
{
	(void)snprintf(base, sizeof(base), "/tmp/test_spool.XXXXXX");
	if (!mkdtemp(base))
		abort();
	(void)snprintf(ours, sizeof(ours), "%s/autotrace-%u", base, (unsigned)geteuid());
	atr_config = (struct atr_config){
		.spool_dir = base,
		.spool_max_bytes = 1u << 28,
		.ring_size = 1u << 18,
		.otlp_endpoint = "http://x",
		.service_name = "shop",
		.resource_attributes = "a=b",
	};
	atr_process.pid = getpid();
	spool = NULL;
	refused = publishing = full = 0;
	said = false;
	logged = 0;
	atr_spool_init(no_env);
}

static void finish(void)
{
	char command[96];

	(void)snprintf(command, sizeof(command), "rm -rf %s", base);
	CHECK_INT(system(command), 0);
}

static unsigned n_files(void)
{
	DIR *d = opendir(ours);
	struct dirent *e;
	unsigned n = 0;

	while (d && (e = readdir(d)))
		n += e->d_name[0] != '.';
	if (d)
		closedir(d);
	return n;
}

TEST(a_process_has_one_private_file_for_all_its_rings)
{
	struct atr_ring *a, *b;
	struct atr_spool_name who;
	struct stat st;

	begin();
	a = atr_spool_ring(1u << 18);
	if (!CHECK(a != NULL))
		return;
	b = atr_spool_ring(1u << 16);
	CHECK(b && b != a);
	CHECK_INT(n_files(), 1);
	CHECK(stat(ours, &st) == 0 && (st.st_mode & 07777) == 0700);
	CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600);
	CHECK(atr_spool_name_parse(strrchr(path, '/') + 1, &who));
	CHECK_INT(who.pid, getpid());
	CHECK(who.ns && who.start && who.image && who.destination == destination);
	CHECK_INT(spool->n_rings, 2);
	CHECK_INT(a->size, 1 << 18);
	CHECK_INT(b->size, 1 << 16);
	CHECK_STR(spool->text + strlen(spool->text) + 1, "shop");
	CHECK_STR(atr_spool_dir(), ours);
	/* Most of a ring is a hole until it is needed. */
	if (a->ready < a->size) {
		CHECK(st.st_blocks * 512 < 200000);
		CHECK(atr_spool_populate((char *)a + ATR_RING_DATA + a->ready, a->size - a->ready));
		CHECK(stat(path, &st) == 0 && st.st_blocks * 512 > 1 << 18);
		memset((char *)a + ATR_RING_DATA, 7, a->size);
	}
	atr_spool_remove();
	CHECK_INT(n_files(), 0);
	CHECK_INT(logged, 0);
	finish();
}

TEST(a_directory_that_is_not_ours_alone_is_left_alone)
{
	char other[96];
	struct stat st;

	begin();
	(void)snprintf(other, sizeof(other), "%s/other", base);
	CHECK_INT(mkdir(other, 0700), 0);
	CHECK_INT(symlink(other, ours), 0);
	CHECK(atr_spool_ring(1u << 16) == NULL);
	CHECK(lstat(ours, &st) == 0 && S_ISLNK(st.st_mode));
	CHECK_INT(rmdir(other), 0);
	CHECK_INT(unlink(ours), 0);
	CHECK_INT(logged, 1);

	refused = 0;
	CHECK_INT(mkdir(ours, 0755), 0);
	CHECK(atr_spool_ring(1u << 16) == NULL);
	CHECK_INT(n_files(), 0);
	CHECK_INT(rmdir(ours), 0);

	refused = 0;
	CHECK_INT(close(creat(ours, 0700)), 0);
	CHECK(atr_spool_ring(1u << 16) == NULL);
	CHECK_INT(unlink(ours), 0);
	if (geteuid() == 0) {
		refused = 0;
		CHECK_INT(mkdir(ours, 0700), 0);
		CHECK_INT(chown(ours, 12345, 12345), 0);
		CHECK(atr_spool_ring(1u << 16) == NULL);
		CHECK_INT(n_files(), 0);
	}
	CHECK_INT(logged, 1); /* once */
	finish();
}

TEST(a_limit_on_file_sizes_means_memory_and_no_signal)
{
	struct rlimit was, none;

	begin();
	getrlimit(RLIMIT_FSIZE, &was);
	none = was;
	none.rlim_cur = 0;
	setrlimit(RLIMIT_FSIZE, &none);
	CHECK(atr_spool_ring(1u << 16) == NULL);
	setrlimit(RLIMIT_FSIZE, &was);
	CHECK_INT(n_files(), 0);
	CHECK_INT(logged, 1);
	finish();
}

TEST(all_files_together_are_bounded)
{
	begin();
	atr_config.spool_max_bytes = 300000;
	for (int i = 0; i < 20; i++) {
		spool = NULL; /* another process */
		(void)atr_spool_ring(1u << 16);
	}
	CHECK(n_files() >= 3 && n_files() <= 6);
	CHECK_INT(logged, 1);
	CHECK_INT(refused, EDQUOT);
	atr_spool_forked();
	CHECK_INT(refused, 0);
	finish();
}

TEST(a_file_that_is_full_gets_no_new_ring)
{
	struct atr_ring *a;

	begin();
	a = atr_spool_ring(1u << 18);
	CHECK(a != NULL);
	atr_spool_used(1u << 28);
	CHECK(atr_spool_ring(1u << 16) == NULL);
	CHECK(!atr_spool_populate((char *)a + ATR_RING_DATA, 4096));
	atr_spool_used(0);
	CHECK(atr_spool_ring(1u << 16) != NULL);
	finish();
}

TEST(nothing_is_opened_in_a_sandbox_nor_when_switched_off)
{
	begin();
	sandboxed = true;
	CHECK(atr_spool_ring(1u << 16) == NULL);
	sandboxed = false;
	CHECK_INT(n_files(), 0);
	atr_config.spool_max_bytes = 0;
	atr_spool_init(no_env);
	CHECK(atr_spool_ring(1u << 16) == NULL);
	CHECK_INT(n_files(), 0);
	CHECK_INT(logged, 0);
	finish();
}

TEST(the_file_of_another_name_is_not_opened)
{
	begin();
	CHECK(atr_spool_ring(1u << 16) != NULL);
	CHECK_INT(unlink(path), 0);
	CHECK_INT(close(creat(path, 0600)), 0);
	CHECK(atr_spool_ring(1u << 16) == NULL);
	finish();
}
