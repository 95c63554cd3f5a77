/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/sys.o preload/text.o */
#include "preload/log.c"
#include "tests/unit/test.h"

struct atr_config atr_config;
struct atr_process atr_process;
__thread struct atr_tls atr_tls;

static int saved_stderr;

/* Standard error becomes a pipe; returns its reading end. */
static int catch_stderr(void)
{
	int fds[2];

	if (pipe2(fds, O_NONBLOCK) != 0)
		abort();
	saved_stderr = dup(2);
	(void)dup2(fds[1], 2);
	(void)close(fds[1]);
	atr_process.pid = getpid();
	atr_config = (struct atr_config){ .log_level = ATR_LOG_INFO };
	atr_debug_domains = 0;
	return fds[0];
}

static const char *caught(int fd)
{
	static char buf[4096];
	ssize_t n = read(fd, buf, sizeof(buf) - 1);

	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

static void release_stderr(int fd)
{
	(void)dup2(saved_stderr, 2);
	(void)close(saved_stderr);
	(void)close(fd);
}

TEST(a_line_names_us_and_the_process_and_respects_the_level)
{
	int fd = catch_stderr();
	char want[64];

	atr_log_init();
	atr_log(ATR_LOG_WARN, "one %d", 1);
	snprintf(want, sizeof(want), "autotrace[%d]: one 1\n", getpid());
	CHECK_STR(caught(fd), want);
	atr_log(ATR_LOG_DEBUG, "too fine");
	CHECK_STR(caught(fd), "");
	release_stderr(fd);
}

TEST(a_descriptor_2_that_became_something_else_is_not_written_to)
{
	int fd = catch_stderr(), other[2];

	atr_log_init();
	if (pipe2(other, O_NONBLOCK) != 0)
		abort();
	(void)dup2(other[1], 2); /* a daemon's database, say */
	atr_log(ATR_LOG_ERROR, "lost");
	CHECK_STR(caught(other[0]), "");
	CHECK_INT(atr_log_write("lost", 4), -EBADF);
	atr_log_follow(2); /* put there by dup2(): nginx's error_log */
	CHECK_INT(atr_log_write("found", 5), 5);
	CHECK_STR(caught(other[0]), "found");
	(void)close(2);
	atr_log(ATR_LOG_ERROR, "lost");
	(void)close(other[0]);
	(void)close(other[1]);
	release_stderr(fd);
}

TEST(the_background_way_reaches_the_same_file)
{
	int fd = catch_stderr();

	atr_log_init();
	CHECK_INT(atr_log_write("hello", 5), 5);
	CHECK_STR(caught(fd), "hello");
	release_stderr(fd);
}

TEST(domains_are_read_and_an_unknown_one_is_said_once)
{
	int fd = catch_stderr();

	atr_config.debug = "stats,nonsense,real";
	atr_log_init();
	CHECK_INT(atr_debug_domains, ATR_DEBUG_STATS | ATR_DEBUG_REAL);
	CHECK(strstr(caught(fd), "no debug domain \"nonsense\"") != NULL);
	release_stderr(fd);
}

TEST(a_long_line_is_cut_and_still_ends)
{
	int fd = catch_stderr();
	char big[3000];
	const char *line;

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	atr_log_init();
	atr_log(ATR_LOG_WARN, "%s", big);
	line = caught(fd);
	CHECK(strlen(line) > 1000 && strlen(line) <= 1024);
	CHECK(line[strlen(line) - 1] == '\n');
	release_stderr(fd);
}
