/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The warehouse of the demo: a line protocol over TCP, one connection at a time.
 *
 *	STOCK <item>\n		-> OK <n>\n, or NO such item\n
 *	TAKE <item> <n>\n	-> OK <left>\n, or NO only <left>\n
 *
 *	legacy-stock [PORT]	prints "listening on 127.0.0.1:PORT"; 0 is any
 *
 * Ends on SIGTERM.  Knows nothing of tracing.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct shelf {
	const char *item;
	int n;
} shelves[] = {
	{ "anvil", 3 },
	{ "rope", 120 },
	{ "lantern", 17 },
};

static volatile sig_atomic_t stop;

static void on_term(int sig)
{
	(void)sig;
	stop = 1;
}

static void answer(const char *line, char *out, size_t size)
{
	char verb[16], item[32];
	int n = 0;

	if (sscanf(line, "%15s %31s %d", verb, item, &n) < 2) {
		snprintf(out, size, "NO such request\n");
		return;
	}
	for (size_t i = 0; i < sizeof(shelves) / sizeof(shelves[0]); i++) {
		struct shelf *s = &shelves[i];

		if (strcmp(s->item, item) != 0)
			continue;
		if (strcmp(verb, "TAKE") == 0 && n > s->n) {
			snprintf(out, size, "NO only %d\n", s->n);
			return;
		}
		if (strcmp(verb, "TAKE") == 0)
			s->n -= n;
		snprintf(out, size, "OK %d\n", s->n);
		return;
	}
	snprintf(out, size, "NO such item\n");
}

static void serve(int fd)
{
	char line[128], out[64];
	size_t len = 0;

	while (!stop) {
		ssize_t n = recv(fd, line + len, sizeof(line) - 1 - len, 0);
		char *end;

		if (n <= 0)
			return;
		len += (size_t)n;
		line[len] = '\0';
		while ((end = strchr(line, '\n'))) {
			*end = '\0';
			answer(line, out, sizeof(out));
			if (send(fd, out, strlen(out), MSG_NOSIGNAL) < 0)
				return;
			len -= (size_t)(end + 1 - line);
			memmove(line, end + 1, len + 1);
		}
		if (len == sizeof(line) - 1)
			return;
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 0)),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sigaction term = { .sa_handler = on_term };
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	sigaction(SIGTERM, &term, NULL); /* no SA_RESTART: accept() and recv() end */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 16) ||
	    getsockname(fd, (struct sockaddr *)&addr, &len)) {
		perror("legacy-stock");
		return 1;
	}
	printf("listening on 127.0.0.1:%d\n", ntohs(addr.sin_port));
	fflush(stdout);
	while (!stop) {
		int client = accept(fd, NULL, NULL);

		if (client < 0)
			continue;
		serve(client);
		close(client);
	}
	close(fd);
	return 0;
}
