/* SPDX-License-Identifier: Apache-2.0 */
/* What the benchmark's clients and servers do before and after they are measured. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static inline double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline void no_delay(int s)
{
	int on = 1;

	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* A connection to a port; exits when there is none. */
static inline int dial(const char *port)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons(atoi(port)),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int s = socket(AF_INET, SOCK_STREAM, 0);

	if (connect(s, (void *)&at, sizeof(at)))
		exit(1);
	no_delay(s);
	return s;
}

/* Serves one connection after the other on a free port, which it prints. */
static inline void serve_each(void (*serve)(int s))
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int l = socket(AF_INET, SOCK_STREAM, 0), s;

	if (bind(l, (void *)&at, len) || listen(l, 64))
		exit(1);
	getsockname(l, (void *)&at, &len);
	printf("%d\n", ntohs(at.sin_port));
	fflush(stdout);
	for (;;) {
		s = accept(l, NULL, NULL);
		no_delay(s);
		serve(s);
		close(s);
	}
}
