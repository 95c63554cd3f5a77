/* SPDX-License-Identifier: Apache-2.0 */
/* Echoes on a free loopback port (printed), one connection after the other. */
#include "loopback.h"

static void echo(int s)
{
	char buf[65536];
	ssize_t n;

	while ((n = recv(s, buf, sizeof(buf), 0)) > 0)
		if (send(s, buf, (size_t)n, MSG_NOSIGNAL) != n)
			break;
}

int main(void)
{
	serve_each(echo);
}
