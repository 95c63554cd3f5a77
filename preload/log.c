/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our own lines.  Standard error belongs to the program: a daemon may have
 * closed it and opened its database there.  So a program thread first compares
 * descriptor 2 with what it was at the start, or what the program has put there by
 * dup2() or freopen() since; and the background thread, which
 * has no descriptors of the program, fetches a duplicate for the moment of
 * writing (pidfd_getfd(2); where that is refused, by opening /proc/self/fd/2).
 */
#include "preload/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "preload/process.h"
#include "preload/sys.h"
#include "preload/text.h"
#include "preload/thread.h"

unsigned atr_debug_domains;

/* Standard output and error as they were; the first is written to only where that is asked for. */
static struct stat was[3];
static bool have[3];

static const struct {
	const char *name;
	unsigned bits;
} domains[] = {
	{ "all", ~(unsigned)ATR_DEBUG_BUG },
	{ "stats", ATR_DEBUG_STATS },
	{ "worker", ATR_DEBUG_WORKER },
	{ "real", ATR_DEBUG_REAL },
	{ "bug", ATR_DEBUG_BUG },
};

static void read_domains(const char *s)
{
	while (*s) {
		size_t n = strcspn(s, ",:");
		bool known = false;

		for (size_t i = 0; i < ATR_ARRAY_LEN(domains); i++) {
			if (n == strlen(domains[i].name) && strncmp(s, domains[i].name, n) == 0) {
				atr_debug_domains |= domains[i].bits;
				known = true;
			}
		}
		if (!known && n)
			atr_log(ATR_LOG_WARN,
				"AUTOTRACE_DEBUG=%s: there is no debug domain \"%.*s\" (but all, "
				"stats, worker, real, bug); it is ignored",
				atr_config.debug, (int)n, s);
		s += n + strcspn(s + n, ",");
		s += *s == ',';
	}
}

void atr_log_follow(int fd)
{
	have[fd] = atr_sys_stat(fd, "", &was[fd]) == 0;
}

void atr_log_init(void)
{
	atr_log_follow(1);
	atr_log_follow(2);
	if (atr_config.debug)
		read_domains(atr_config.debug);
}

/*
 * Never waits longer than wait_ms for a reader: what it would have waited for is
 * lost.  A pipe that polls writable takes PIPE_BUF bytes at once.
 */
static int write_all(int fd, const char *bytes, size_t len, int wait_ms, size_t *ret_done)
{
	const struct timespec wait = { .tv_sec = wait_ms / 1000,
				       .tv_nsec = wait_ms % 1000 * 1000000L };

	*ret_done = 0;
	while (*ret_done < len) {
		struct pollfd p = { .fd = fd, .events = POLLOUT };
		size_t part = len - *ret_done;
		ssize_t n;

		if (atr_sys_ppoll(&p, 1, &wait) <= 0 || !(p.revents & POLLOUT))
			return -EAGAIN;
		n = atr_sys_write(fd, bytes + *ret_done, part < PIPE_BUF ? part : PIPE_BUF);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n ? (int)n : -EIO;
		*ret_done += (size_t)n;
	}
	return 0;
}

/* Is this still what was open under that number? */
static bool is(int number, int fd)
{
	struct stat st;

	return have[number] && atr_sys_stat(fd, "", &st) == 0 && st.st_dev == was[number].st_dev &&
	       st.st_ino == was[number].st_ino;
}

static long write_to(int number, const char *bytes, size_t len)
{
	char path[] = "/proc/self/fd/0";
	int pidfd = (int)atr_sys(SYS_pidfd_open, atr_process.pid, 0, 0, 0, 0, 0);
	int fd = -EBADF, err;
	size_t done = 0;

	if (pidfd >= 0) {
		fd = (int)atr_sys(SYS_pidfd_getfd, pidfd, number, 0, 0, 0, 0);
		(void)atr_sys_close(pidfd);
	}
	path[sizeof(path) - 2] = (char)('0' + number);
	if (fd < 0)
		fd = atr_sys_open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY, 0);
	if (fd < 0)
		return fd;
	err = is(number, fd) ? write_all(fd, bytes, len, 1000, &done) : -EBADF;
	(void)atr_sys_close(fd);
	return done ? (long)done : err;
}

long atr_log_write(const char *bytes, size_t len)
{
	return write_to(2, bytes, len);
}

long atr_log_write_stdout(const char *bytes, size_t len)
{
	return write_to(1, bytes, len);
}

/*
 * Neither a pipe without a reader (SIGPIPE) nor a terminal of another job (SIGTTOU)
 * may end or stop the program for a line of ours.
 */
static void write_from_program(const char *bytes, size_t len)
{
	const uint64_t sigpipe = 1ull << (SIGPIPE - 1);
	const uint64_t both = sigpipe | 1ull << (SIGTTOU - 1);
	const struct timespec now = { 0 };
	uint64_t before = 0, pending = 0;
	size_t done;

	if (!is(2, 2))
		return;
	(void)atr_sys(SYS_rt_sigprocmask, SIG_BLOCK, &both, &before, 8, 0, 0);
	(void)atr_sys(SYS_rt_sigpending, &pending, 8, 0, 0, 0, 0);
	if (write_all(2, bytes, len, 0, &done) == -EPIPE && !(pending & sigpipe))
		(void)atr_sys(SYS_rt_sigtimedwait, &sigpipe, NULL, &now, 8, 0, 0);
	(void)atr_sys(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, 8, 0, 0);
}

void atr_log(enum atr_LOG_LEVEL level, const char *fmt, ...)
{
	char line[1024];
	va_list args;
	size_t n;

	if (level > atr_config.log_level)
		return;
	n = atr_format(line, sizeof(line), "autotrace[%d]: ", atr_process.pid);
	va_start(args, fmt);
	n += atr_vformat(line + n, sizeof(line) - n - 1, fmt, args);
	va_end(args);
	line[n++] = '\n';
	if (atr_tls.inside == ATR_IN_BACKGROUND)
		(void)atr_log_write(line, n);
	else
		write_from_program(line, n);
}
