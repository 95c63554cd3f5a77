/* SPDX-License-Identifier: Apache-2.0 */
/* CFLAGS: -MMD -MP */
/* LIBS: tests/e2e/programs/gate/gate.c -lpthread */
/*
 * http-upstream RECORDS: the far end of the oracle, never traced itself.  One thread,
 * epoll.  Answers any method on
 *
 *	/item/KEY?delay=MS&size=BYTES&f=l|c|e&c=1&p=PIECES		or /r/ID?...
 *
 * after MS milliseconds with BYTES bytes that follow from KEY (oracle.py's body() makes the
 * same), with a length, chunked, or ended by the end of the connection, which with c=1 is
 * closed in any case; the body is sent in PIECES pieces, a millisecond apart.
 *
 * What arrived is written to RECORDS, a JSON object a line: the head as it came, the
 * body's length and CRC, and whether the request was whole; complete when the
 * program has ended on SIGTERM.
 */
#include "gate/gate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FDS_MAX 4096
#define PATTERN 65536

struct conn {
	int fd, number;
	struct gate_buf in, out, body; /* body: what is not yet in out */
	uint64_t due;		       /* ns; 0: nothing to do then */
	size_t piece;
	bool busy, close, blocked;
	bool waiting; /* for the delay to be over: nothing is sent before */
	char framing;
};

static struct conn *conns[FDS_MAX];
static char pattern[PATTERN];
static int epoll, fd_max, n_conns;
static FILE *records;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Printable noise, and now and then what a careless parser takes for a message. */
static void make_pattern(void)
{
	static const char trap[] = "\r\n\r\nHTTP/1.1 200 OK\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n";
	uint64_t x = 1;

	for (size_t i = 0; i < PATTERN; i++) {
		x = x * 6364136223846793005 + 1442695040888963407;
		pattern[i] = (char)(33 + (x >> 33) % 94);
	}
	for (size_t i = 0; i + 1000 < PATTERN; i += 1000)
		memcpy(pattern + i, trap, sizeof(trap) - 1);
}

static void make_body(const char *key, size_t size, struct gate_buf *out)
{
	size_t at = gate_crc(key, strlen(key)) % 60000;

	gate_addf(out, "%s:", key);
	while (out->len < size) {
		gate_add(out, pattern + at, PATTERN - at);
		at = 0;
	}
	out->len = size;
}

static void record(const struct conn *c, const char *head, size_t head_len,
		   const struct gate_buf *body, bool whole)
{
	fprintf(records, "{\"conn\": %d, \"whole\": %s, \"length\": %zu, \"crc\": %u, \"head\": \"",
		c->number, whole ? "true" : "false", body->len, gate_crc(body->data, body->len));
	for (size_t i = 0; i < head_len; i++) {
		unsigned char b = (unsigned char)head[i];

		if (b < ' ' || b > '~' || b == '"' || b == '\\')
			fprintf(records, "\\u%04x", b);
		else
			fputc(b, records);
	}
	fprintf(records, "\"}\n");
}

static void drop(struct conn *c)
{
	static const struct gate_buf none;

	if (c->in.len)
		record(c, c->in.data, c->in.len, &none, false);
	conns[c->fd] = NULL;
	close(c->fd);
	gate_free(&c->in);
	gate_free(&c->out);
	gate_free(&c->body);
	free(c);
}

static void respond(struct conn *c, const char *head)
{
	char key[64] = "", query[256] = "", framing = 'l';
	bool item = sscanf(head, "%*s /item/%63[0-9.]?%255s", key, query) == 2;
	const char *f;

	if (!item && sscanf(head, "%*s /r/%60[0-9]?%255s", key, query) == 2) {
		memcpy(key + strlen(key), ".0", 3);
		item = true;
	}
	if (!item) {
		gate_addf(&c->out, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
		return;
	}
	f = strstr(query, "f=");
	if (f)
		framing = f[2];
	c->framing = framing;
	c->close |= gate_param(query, "c", 0) == 1 || framing == 'e';
	make_body(key, gate_param(query, "size", 0), &c->body);
	gate_addf(&c->out, "HTTP/1.1 200 OK\r\nServer: upstream\r\n%s",
		  c->close ? "Connection: close\r\n" : "");
	if (framing == 'l')
		gate_addf(&c->out, "Content-Length: %zu\r\n\r\n", c->body.len);
	else if (framing == 'c')
		gate_addf(&c->out, "Transfer-Encoding: chunked\r\n\r\n");
	else
		gate_addf(&c->out, "\r\n");
	c->piece = c->body.len / (gate_param(query, "p", 1) | 1) + 1;
	c->due = now() + gate_param(query, "delay", 0) * 1000000;
	c->busy = c->waiting = true;
}

/* Moves the next piece of the body to what is sent. */
static void next_piece(struct conn *c)
{
	size_t n = c->piece < c->body.len ? c->piece : c->body.len;

	c->waiting = false;
	if (c->framing == 'c' && n)
		gate_addf(&c->out, "%zx\r\n", n);
	gate_add(&c->out, c->body.data, n);
	if (c->framing == 'c' && n)
		gate_addf(&c->out, "\r\n");
	gate_eat(&c->body, n);
	if (c->framing == 'c' && !c->body.len)
		gate_addf(&c->out, "0\r\n\r\n");
	c->due = c->body.len ? now() + 1000000 : 0;
	c->busy = c->body.len != 0;
}

/* Sends what it can; false when the connection is done with. */
static bool flush(struct conn *c)
{
	while (c->out.len && !c->waiting) {
		ssize_t n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL);
		struct epoll_event event = { .events = EPOLLIN, .data.fd = c->fd };

		if (n < 0 && errno != EAGAIN)
			return false;
		if ((n < 0) != c->blocked) {
			c->blocked = n < 0;
			event.events |= c->blocked ? EPOLLOUT : 0;
			epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
		}
		if (n < 0)
			return true;
		gate_eat(&c->out, (size_t)n);
	}
	return c->busy || !c->close;
}

/* Answers requests until it has to wait; drops the connection when that is the end. */
static void work(struct conn *c)
{
	struct gate_msg msg;
	char line[512];
	int whole = 0;

	while (!c->busy && !c->close && (whole = gate_message(&c->in, false, false, &msg)) == 1) {
		record(c, c->in.data, msg.head_len, &msg.body, true);
		snprintf(line, sizeof(line), "%.*s", (int)strcspn(c->in.data, "\r"), c->in.data);
		c->close = msg.close;
		gate_eat(&c->in, msg.total);
		gate_free(&msg.body);
		gate_served();
		respond(c, line);
	}
	while (c->busy && now() >= c->due)
		next_piece(c);
	if (whole < 0 || !flush(c))
		drop(c);
}

static void readable(struct conn *c)
{
	ssize_t n = gate_pull(c->fd, &c->in, 0);

	if (n > 0)
		work(c);
	else if (n == 0 || errno != EAGAIN)
		drop(c);
}

static void welcome(int door)
{
	struct epoll_event event = { .events = EPOLLIN };
	int fd;

	while ((fd = accept4(door, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		if (fd >= FDS_MAX) {
			close(fd);
			continue;
		}
		conns[fd] = calloc(1, sizeof(*conns[fd]));
		conns[fd]->fd = fd;
		conns[fd]->number = n_conns++;
		if (fd >= fd_max)
			fd_max = fd + 1;
		event.data.fd = fd;
		epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	}
}

/* ms until the first thing is due, at most 100. */
static int patience(void)
{
	uint64_t t = now(), first = t + 100000000;

	for (int fd = 0; fd < fd_max; fd++)
		if (conns[fd] && conns[fd]->busy && conns[fd]->due < first)
			first = conns[fd]->due;
	return first <= t ? 0 : (int)((first - t + 999999) / 1000000);
}

int main(int argc, char **argv)
{
	struct epoll_event event = { .events = EPOLLIN }, events[256];
	int door = gate_listen();

	records = fopen(argc > 1 ? argv[1] : "/dev/null", "w");
	epoll = epoll_create1(0);
	if (!records || epoll < 0)
		gate_die("start");
	make_pattern();
	event.data.fd = door;
	epoll_ctl(epoll, EPOLL_CTL_ADD, door, &event);
	if (fcntl(door, F_SETFL, O_NONBLOCK)) /* welcome() accepts until it would block */
		gate_die("fcntl");
	gate_listening(door);
	while (!gate_stop) {
		int n = epoll_wait(epoll, events, 256, patience());

		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;

			if (fd == door)
				welcome(door);
			else if (conns[fd] && events[i].events & EPOLLOUT)
				work(conns[fd]);
			else if (conns[fd])
				readable(conns[fd]);
		}
		for (int fd = 0; fd < fd_max; fd++)
			if (conns[fd] && conns[fd]->busy)
				work(conns[fd]);
	}
	for (int fd = 0; fd < fd_max; fd++)
		if (conns[fd])
			drop(conns[fd]);
	if (fclose(records))
		gate_die("records");
	gate_report();
	return 0;
}
