/* SPDX-License-Identifier: Apache-2.0 */
/* echo-client PORT N: N round trips of one byte; prints round trips per second. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons(atoi(argv[1])),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int s = socket(AF_INET, SOCK_STREAM, 0), on = 1, n = atoi(argv[2]);
	double start;
	char c = 'x';

	if (connect(s, (void *)&at, sizeof(at)))
		return 1;
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	start = now();
	for (int i = 0; i < n; i++)
		if (send(s, &c, 1, 0) != 1 || recv(s, &c, 1, 0) != 1)
			return 1;
	printf("%.1f\n", n / (now() - start));
	return 0;
}
