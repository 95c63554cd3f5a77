/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fclose PORT1 PORT2: stdio closes a socket behind our back, and its number goes to
 * others.  Nothing of the first connection may show in what they do.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int dial(int port)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int s = socket(AF_INET, SOCK_STREAM, 0);

	if (connect(s, (void *)&at, sizeof(at)))
		abort();
	return s;
}

int main(int argc, char **argv)
{
	char buf[100];
	ssize_t n;
	int first = dial(atoi(argv[1])), next, p[2], u[2];
	FILE *f = fdopen(first, "r+");

	fprintf(f, "by stdio\n");
	fflush(f);
	printf("%s", fgets(buf, sizeof(buf), f));
	fclose(f);

	next = open("/dev/null", O_RDWR); /* a file under the same number */
	printf("%d %zd\n", next == first, write(next, "to a file", 9));
	close(next);

	f = fdopen(dial(atoi(argv[1])), "r+");
	fclose(f);
	if (pipe(p)) /* a pipe */
		abort();
	n = write(p[1], "pipe", 4);
	printf("%d %zd %zd\n", p[0] == first, n, read(p[0], buf, 100));
	close(p[0]);
	close(p[1]);

	f = fdopen(dial(atoi(argv[1])), "r+");
	fclose(f);
	socketpair(AF_UNIX, SOCK_STREAM, 0, u); /* another kind of socket */
	n = send(u[0], "unix", 4, 0);
	printf("%d %zd %zd\n", u[0] == first, n, recv(u[1], buf, 100, 0));
	close(u[0]);
	close(u[1]);

	f = fdopen(dial(atoi(argv[1])), "r+");
	fclose(f);
	next = dial(atoi(argv[2])); /* another peer */
	n = send(next, "second!", 7, 0);
	printf("%d %zd %zd\n", next == first, n, recv(next, buf, 7, MSG_WAITALL));
	close(next);
	return 0;
}
