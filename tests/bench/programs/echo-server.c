/* SPDX-License-Identifier: Apache-2.0 */
/* Echoes on a free loopback port (printed), one connection after the other. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int l = socket(AF_INET, SOCK_STREAM, 0), on = 1, s;
	char buf[65536];
	ssize_t n;

	if (bind(l, (void *)&at, len) || listen(l, 64))
		return 1;
	getsockname(l, (void *)&at, &len);
	printf("%d\n", ntohs(at.sin_port));
	fflush(stdout);
	for (;;) {
		s = accept(l, NULL, NULL);
		setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		while ((n = recv(s, buf, sizeof(buf), 0)) > 0)
			if (send(s, buf, (size_t)n, MSG_NOSIGNAL) != n)
				break;
		close(s);
	}
}
