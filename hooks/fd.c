/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors being duplicated and closed: which number is which connection.
 *
 * An entry leaves the table before the real close, for as soon as that returns
 * another thread may be given the number.
 */
#include <errno.h>
#include <stdarg.h>

#include "hooks/hook.h"
#include "hooks/socket.h"
#include "preload/conn.h"
#include "preload/log.h"
#include "preload/process.h"
#include "preload/worker.h"

/* The number is closed, or another file, from now on.  errno is kept. */
static void forget(int fd)
{
	struct atr_conn *c = atr_conn_known(fd);
	int saved_errno = errno;

	if (c && (atr_load(&c->connecting) || atr_load(&c->accepting)) && atr_load(&c->refs) == 1 &&
	    !atr_process_foreign()) {
		atr_connect_done(c, ATR_CONNECT_CANCELLED);
		atr_accept_done(c, fd, true);
	}
	atr_conn_close(fd);
	errno = saved_errno;
}

atr_export int close(int fd)
{
	ATR_ENTER(close, fd);
	forget(fd);
	return atr_real.close(fd);
}

static int number(FILE *file)
{
	int saved_errno = errno;
	int fd = file ? fileno(file) : -1;

	errno = saved_errno;
	return fd;
}

/* stdio closes inside libc, where we do not see it. */
atr_export int fclose(FILE *file)
{
	ATR_ENTER(fclose, file);
	int fd = number(file);

	/* Before, as in close(): then the number may be another thread's.  What stdio
	 * still flushes goes past us anyway. */
	forget(fd);
	return atr_real.fclose(file);
}

/* freopen() puts a file under the number of the old one, inside libc. */
#define FREOPEN(name)                                                         \
	atr_export FILE *name(const char *path, const char *mode, FILE *file) \
	{                                                                     \
		ATR_ENTER(name, path, mode, file);                            \
		int fd = number(file);                                        \
		FILE *ret = atr_real.name(path, mode, file);                  \
		forget(fd);                                                   \
		if (fd == STDOUT_FILENO || fd == STDERR_FILENO)               \
			atr_log_follow(fd);                                   \
		return ret;                                                   \
	}

FREOPEN(freopen)
FREOPEN(freopen64)
#undef FREOPEN

/* The terminal becomes 0, 1 and 2, inside libc. */
static void forget_standard(void)
{
	for (int fd = 0; fd <= 2; fd++)
		forget(fd);
}

atr_export int login_tty(int fd)
{
	ATR_ENTER(login_tty, fd);
	int ret = atr_real.login_tty(fd);

	if (ret == 0)
		forget_standard();
	return ret;
}

atr_export int forkpty(int *terminal, char *name, const struct termios *attr,
		       const struct winsize *size)
{
	ATR_ENTER(forkpty, terminal, name, attr, size);
	int pid = atr_real.forkpty(terminal, name, attr, size);

	if (pid == 0 && atr_live())
		forget_standard();
	return pid;
}

/* Forks, lets the parent end by libc's own _exit(), and makes 0, 1 and 2 /dev/null. */
atr_export int daemon(int no_chdir, int no_close)
{
	ATR_ENTER(daemon, no_chdir, no_close);
	int saved_errno = errno, ret;

	atr_worker_flush();
	errno = saved_errno;
	ret = atr_real.daemon(no_chdir, no_close);
	if (ret == 0 && !no_close && atr_live())
		forget_standard();
	return ret;
}

atr_export int close_range(unsigned first, unsigned last, int flags)
{
	ATR_ENTER(close_range, first, last, flags);
	int ret, saved_errno;

	if (flags & CLOSE_RANGE_CLOEXEC)
		return atr_real.close_range(first, last, flags);
	atr_conn_close_range(first, last);
	ret = atr_real.close_range(first, last, flags);
	saved_errno = errno;
	if (ret < 0) /* an old kernel, a sandbox: all are still there */
		atr_conn_unknown_range(first, last);
	errno = saved_errno;
	return ret;
}

atr_export void closefrom(int low)
{
	if (atr_unlikely(!atr_real.closefrom))
		atr_real_init();
	if (atr_live())
		atr_conn_close_range(low < 0 ? 0 : (unsigned)low, ~0u);
	atr_real.closefrom(low);
}

static int duplicated(int fd, int new_fd)
{
	int saved_errno = errno;

	if (new_fd >= 0)
		atr_conn_dup(fd, new_fd);
	if ((new_fd == STDOUT_FILENO || new_fd == STDERR_FILENO) && !atr_process_foreign())
		atr_log_follow(new_fd);
	errno = saved_errno;
	return new_fd;
}

atr_export int dup(int fd)
{
	ATR_ENTER(dup, fd);
	return duplicated(fd, atr_real.dup(fd));
}

atr_export int dup2(int fd, int new_fd)
{
	ATR_ENTER(dup2, fd, new_fd);
	return duplicated(fd, atr_real.dup2(fd, new_fd));
}

atr_export int dup3(int fd, int new_fd, int flags)
{
	ATR_ENTER(dup3, fd, new_fd, flags);
	return duplicated(fd, atr_real.dup3(fd, new_fd, flags));
}

/* fcntl() is variadic: every command takes one word or none, and one more is not looked at. */
/* clang-format off */
#define FCNTL(name) \
	atr_export int name(int fd, int command, ...) \
	{ \
		va_list args; \
		long arg; \
\
		va_start(args, command); \
		arg = va_arg(args, long); \
		va_end(args); \
		ATR_ENTER(name, fd, command, arg); \
		int ret = atr_real.name(fd, command, arg); \
		if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) \
			return duplicated(fd, ret); \
		return ret; \
	}

FCNTL(fcntl)
FCNTL(fcntl64)
#undef FCNTL
/* clang-format on */
