/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers HTTP requests on a free loopback port (printed), one connection after the other:
 * what has arrived up to an empty line is one request without a body.
 */
#include <string.h>

#include "loopback.h"

static const char answer[] = "HTTP/1.1 200 OK\r\n"
			     "Server: bench\r\n"
			     "Content-Type: application/json\r\n"
			     "Content-Length: 31\r\n"
			     "\r\n"
			     "{\"order\": 17, \"state\": \"sent\"}\n";

static void serve(int s)
{
	char buf[8192];
	size_t have = 0;
	ssize_t n;

	while ((n = recv(s, buf + have, sizeof(buf) - have, 0)) > 0) {
		have += (size_t)n;
		if (have < 4 || memcmp(buf + have - 4, "\r\n\r\n", 4) != 0)
			continue;
		have = 0;
		if (send(s, answer, sizeof(answer) - 1, MSG_NOSIGNAL) < 0)
			return;
	}
}

int main(void)
{
	serve_each(serve);
}
