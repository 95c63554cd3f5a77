/* SPDX-License-Identifier: Apache-2.0 */
/* A library whose constructor uses sockets: it runs before the preloaded object's. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

int early[12];
int early_pair[2];

__attribute__((constructor)) static void start(void)
{
	char buf[8];
	struct iovec iov = { "iov", 3 };
	int n = 0, d;

	early[n++] = socketpair(AF_UNIX, SOCK_STREAM, 0, early_pair);
	early[n++] = (int)send(early_pair[0], "ab", 2, 0);
	early[n++] = (int)recv(early_pair[1], buf, 8, 0);
	early[n++] = (int)writev(early_pair[1], &iov, 1);
	early[n++] = (int)read(early_pair[0], buf, 8);
	early[n++] = (int)recv(-1, buf, 8, 0);
	early[n++] = errno;
	d = fcntl(early_pair[0], F_DUPFD, 77);
	early[n++] = d;
	early[n++] = close(d);
	early[n++] = (int)recv(early_pair[1], buf, 8, MSG_DONTWAIT);
	early[n++] = errno;
}
