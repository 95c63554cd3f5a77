/* SPDX-License-Identifier: Apache-2.0 */
/* A preloaded object that is not harmless: shutdown() fails, and with CRASH the end is one. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

int shutdown(int fd, int how)
{
	(void)fd;
	(void)how;
	errno = EIO;
	return -1;
}

__attribute__((destructor)) static void end(void)
{
	if (getenv("CRASH"))
		abort();
}
