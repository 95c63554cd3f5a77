/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http-client PORT N [hold]: N requests over one connection; prints requests per
 * second.  With a third argument it makes one before, and one batch of N for each
 * byte it reads on its standard input.
 */
#include "loopback.h"

static const char request[] = "GET /orders/17?sort=date HTTP/1.1\r\n"
			      "Host: stock.example.com:8080\r\n"
			      "User-Agent: legacy-orders/2.4\r\n"
			      "Accept: application/json\r\n"
			      "Accept-Encoding: gzip, deflate\r\n"
			      "X-Customer: 4711\r\n"
			      "Connection: keep-alive\r\n"
			      "\r\n";

static void requests(int s, int n)
{
	char answer[4096];

	for (int i = 0; i < n; i++) {
		if (send(s, request, sizeof(request) - 1, 0) != sizeof(request) - 1)
			exit(1);
		/* The whole answer comes in one segment. */
		if (recv(s, answer, sizeof(answer), 0) < 64)
			exit(1);
	}
}

int main(int argc, char **argv)
{
	int s = dial(argv[1]), n = atoi(argv[2]);
	double start = now();

	if (argc > 3)
		requests(s, 1);
	while (argc <= 3 || getchar() >= 0) {
		start = now();
		requests(s, n);
		printf("%.1f\n", n / (now() - start));
		fflush(stdout);
		if (argc <= 3)
			break;
	}
	return 0;
}
