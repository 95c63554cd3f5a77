/* SPDX-License-Identifier: Apache-2.0 */
/* http-client PORT N: N requests over one connection; prints requests per second. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static const char request[] = "GET /orders/17?sort=date HTTP/1.1\r\n"
			      "Host: stock.example.com:8080\r\n"
			      "User-Agent: legacy-orders/2.4\r\n"
			      "Accept: application/json\r\n"
			      "Accept-Encoding: gzip, deflate\r\n"
			      "X-Customer: 4711\r\n"
			      "Connection: keep-alive\r\n"
			      "\r\n";

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
	char answer[4096];
	double start;

	if (connect(s, (void *)&at, sizeof(at)))
		return 1;
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	start = now();
	for (int i = 0; i < n; i++) {
		if (send(s, request, sizeof(request) - 1, 0) != sizeof(request) - 1)
			return 1;
		/* The whole answer comes in one segment. */
		if (recv(s, answer, sizeof(answer), 0) < 64)
			return 1;
	}
	printf("%.1f\n", n / (now() - start));
	return 0;
}
