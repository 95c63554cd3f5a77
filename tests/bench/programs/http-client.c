/* SPDX-License-Identifier: Apache-2.0 */
/* http-client PORT N: N requests over one connection; prints requests per second. */
#include "loopback.h"

static const char request[] = "GET /orders/17?sort=date HTTP/1.1\r\n"
			      "Host: stock.example.com:8080\r\n"
			      "User-Agent: legacy-orders/2.4\r\n"
			      "Accept: application/json\r\n"
			      "Accept-Encoding: gzip, deflate\r\n"
			      "X-Customer: 4711\r\n"
			      "Connection: keep-alive\r\n"
			      "\r\n";

int main(int argc, char **argv)
{
	int s = dial(argv[1]), n = atoi(argv[2]);
	double start = now();
	char answer[4096];

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
