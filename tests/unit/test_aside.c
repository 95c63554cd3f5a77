/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/sys.o -lpthread */
#include "preload/aside.c"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/unit/test.h"

static int opened, others, tid;
static volatile sig_atomic_t signals;

static unsigned entries(const char *path)
{
	DIR *d = opendir(path);
	unsigned n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

static void look(void *arg)
{
	tid = atr_sys_gettid();
	opened = atr_sys_open("/dev/null", O_RDONLY, 0);
	for (int fd = 0; fd < 100; fd++)
		others += fd != opened && atr_sys(SYS_fcntl, fd, F_GETFD, 0, 0, 0, 0) >= 0;
	*(int *)arg = 42;
}

TEST(it_runs_with_an_empty_table_of_its_own_and_leaves_no_thread)
{
	unsigned fds = entries("/proc/self/fd"), tasks = entries("/proc/self/task");
	int result = 0;

	others = 0;
	if (!atr_aside(look, &result))
		SKIP("this kernel refuses");
	CHECK_INT(result, 42);
	CHECK_INT(opened, 0);
	CHECK_INT(others, 0);
	CHECK(tid != atr_sys_gettid());
	CHECK_INT(entries("/proc/self/fd"), fds);
	for (int i = 0; i < 100 && entries("/proc/self/task") != tasks; i++)
		usleep(1000);
	CHECK_INT(entries("/proc/self/task"), tasks);
	CHECK_INT(waitpid(-1, NULL, __WALL | WNOHANG), -1);
}

static void note(int signal)
{
	(void)signal;
	signals++;
}

static void grow(void *arg)
{
	int fd = atr_sys_open("/tmp", O_RDWR | O_TMPFILE, 0600);

	*(long *)arg = atr_sys(SYS_ftruncate, fd, 1 << 20, 0, 0, 0, 0);
}

TEST(a_limit_on_file_sizes_is_an_error_and_no_signal)
{
	struct rlimit was, none;
	long result = 0;

	getrlimit(RLIMIT_FSIZE, &was);
	none = was;
	none.rlim_cur = 0;
	signal(SIGXFSZ, note);
	setrlimit(RLIMIT_FSIZE, &none);
	CHECK(atr_aside(grow, &result));
	setrlimit(RLIMIT_FSIZE, &was);
	signal(SIGXFSZ, SIG_DFL);
	CHECK(result < 0);
	CHECK_INT(signals, 0);
}

static void answer(void *arg)
{
	*(int *)arg = 42;
}

static void *many(void *arg)
{
	for (int i = 0; i < 200; i++) {
		int result = 0;

		if (atr_aside(answer, &result) && result != 42)
			atr_store((bool *)arg, false);
	}
	return NULL;
}

TEST(many_threads_do_it_at_once)
{
	pthread_t t[4];
	bool good = true;

	for (int i = 0; i < 4; i++)
		CHECK_INT(pthread_create(&t[i], NULL, many, &good), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	CHECK(good);
}
