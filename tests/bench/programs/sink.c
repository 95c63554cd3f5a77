/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sink COUNTS [PORT]: a collector that costs next to nothing.  Reads HTTP POSTs on a
 * free (or that) loopback port, which it prints, answers each with an empty 200, and
 * keeps the number of requests and of body bytes in the file COUNTS (two 64-bit
 * integers).
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct peer {
	int fd;
	size_t head, body; /* bytes of head in buf; bytes of body still to come */
	char buf[16384];
};

static uint64_t *counts;

static void reply(int fd, const char *text)
{
	if (write(fd, text, strlen(text)) < 0)
		return;
}

/* The next piece of a request: false when the peer is gone. */
static int feed(struct peer *p)
{
	static char bulk[1 << 18];
	char *end, *length;
	size_t extra;
	ssize_t n;

	if (p->body) {
		n = read(p->fd, bulk, p->body < sizeof(bulk) ? p->body : sizeof(bulk));
		if (n <= 0)
			return 0;
		p->body -= (size_t)n;
	} else {
		n = read(p->fd, p->buf + p->head, sizeof(p->buf) - 1 - p->head);
		if (n <= 0)
			return 0;
		p->head += (size_t)n;
		p->buf[p->head] = 0;
		end = strstr(p->buf, "\r\n\r\n");
		if (!end)
			return p->head < sizeof(p->buf) - 1;
		length = strcasestr(p->buf, "content-length:");
		p->body = length && length < end ? strtoul(length + 15, NULL, 10) : 0;
		counts[1] += p->body;
		extra = p->head - (size_t)(end + 4 - p->buf);
		if (!extra && strcasestr(p->buf, "expect: 100"))
			reply(p->fd, "HTTP/1.1 100 Continue\r\n\r\n");
		p->body -= extra < p->body ? extra : p->body;
		p->head = 0;
	}
	if (!p->body) {
		counts[0]++;
		reply(p->fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	}
	return 1;
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons(argc > 2 ? atoi(argv[2]) : 0),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int l = socket(AF_INET, SOCK_STREAM, 0), ep = epoll_create1(0);
	int file = open(argv[1], O_RDWR | O_CREAT, 0600);
	struct epoll_event ev = { .events = EPOLLIN };

	if (ftruncate(file, 4096) || bind(l, (void *)&at, len) || listen(l, 64))
		return 1;
	counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	getsockname(l, (void *)&at, &len);
	printf("%d\n", ntohs(at.sin_port));
	fflush(stdout);
	epoll_ctl(ep, EPOLL_CTL_ADD, l, &ev);
	for (;;) {
		if (epoll_wait(ep, &ev, 1, -1) < 1)
			continue;
		if (!ev.data.ptr) {
			struct peer *p = calloc(1, sizeof(*p));

			p->fd = accept(l, NULL, NULL);
			ev.data.ptr = p;
			epoll_ctl(ep, EPOLL_CTL_ADD, p->fd, &ev);
		} else if (!feed(ev.data.ptr)) {
			close(((struct peer *)ev.data.ptr)->fd);
			free(ev.data.ptr);
		}
	}
}
