/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that do not go through the PLT: by -fno-plt, through function pointers in
 * data (bound by a relocation), and by an address taken at run time.
 *
 * CFLAGS: -fno-plt */
/* LIBS: -ldl */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static ssize_t (*const table_send)(int, const void *, size_t, int) = send;
ssize_t (*table_recv)(int, void *, size_t, int) = recv;
static struct {
	ssize_t (*write)(int, const void *, size_t);
	ssize_t (*read)(int, void *, size_t);
	int (*socketpair)(int, int, int, int *);
} ops = { write, read, socketpair };

int main(void)
{
	ssize_t (*found)(int, const void *, size_t) = dlsym(RTLD_DEFAULT, "write");
	char buf[10];
	int s[2];

	ops.socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	printf("%zd\n", send(s[0], "a", 1, 0));
	printf("%zd\n", recv(s[1], buf, 10, 0));
	printf("%zd\n", table_send(s[0], "bb", 2, 0));
	printf("%zd\n", table_recv(s[1], buf, 10, 0));
	printf("%zd\n", ops.write(s[0], "ccc", 3));
	printf("%zd\n", ops.read(s[1], buf, 10));
	printf("%zd\n", found(s[0], "dddd", 4));
	printf("%zd\n", read(s[1], buf, 10));
	close(s[0]);
	close(s[1]);
	return 0;
}
