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
#include "preload/process.h"

static void closing(int fd)
{
	struct atr_conn *c = atr_conn_get(fd);

	if (!c)
		return;
	if (atr_load(&c->connecting) && atr_load(&c->refs) == 1 && !atr_process_foreign())
		atr_connect_done(c, ATR_CONNECT_CANCELLED);
	atr_conn_close(fd);
}

atr_export int close(int fd)
{
	ATR_ENTER(close, fd);
	int saved_errno = errno;

	closing(fd);
	errno = saved_errno;
	return atr_real.close(fd);
}

/* stdio closes inside libc, where we do not see it. */
atr_export int fclose(FILE *stream)
{
	ATR_ENTER(fclose, stream);
	int saved_errno = errno;
	int fd = stream ? fileno(stream) : -1;
	struct atr_conn *c = fd >= 0 ? atr_conn_get(fd) : NULL;
	int ret;

	errno = saved_errno;
	ret = atr_real.fclose(stream);
	/* After, because it may still flush; nothing but this number is looked at. */
	saved_errno = errno;
	if (c)
		atr_conn_close(fd);
	errno = saved_errno;
	return ret;
}

atr_export int close_range(unsigned first, unsigned last, int flags)
{
	ATR_ENTER(close_range, first, last, flags);
	int ret;

	if (!(flags & CLOSE_RANGE_CLOEXEC))
		atr_conn_close_range(first, last);
	ret = atr_real.close_range(first, last, flags);
	return ret;
}

atr_export void closefrom(int low)
{
	if (atr_unlikely(!atr_real.closefrom))
		atr_real_init();
	if (atr_live(0))
		atr_conn_close_range(low < 0 ? 0 : (unsigned)low, ~0u);
	atr_real.closefrom(low);
}

static int duplicated(int fd, int new_fd)
{
	int saved_errno = errno;

	if (new_fd >= 0)
		atr_conn_dup(fd, new_fd);
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
