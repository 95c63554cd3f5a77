/* SPDX-License-Identifier: Apache-2.0 */
/* CFLAGS: -MMD -MP */
/* LIBS: tests/e2e/programs/gate/gate.c -lpthread */
/*
 * http-epoll UPSTREAM-PORT WORD...: a gateway (gate/gate.h) of one thread and an event loop.
 *
 * How it waits:	level (default)  edge  oneshot  exclusive  poll  ppoll  select  pselect
 *			(the first four are epoll's triggers; exclusive: of the listening socket)
 * The upstream:	keep (default: idle connections are used again)  new (one per call)
 *			limited (keep, but at most 16; who finds none waits for the next free one)
 * When calls are made: direct (default: by the handler of the event that leads to them)
 *			deferred (all events of a round are read first, then worked off)
 *			timer (t=MS milliseconds later, by a timer)
 * Processes:		workers=N (default 1), each with a loop of its own
 *
 * Requests that are pipelined on a connection are answered one after the other.
 */
#include "gate/gate.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FDS_MAX 4096
#define LIMIT 16 /* of upstream connections, with "limited" */
#define READY_MAX 512
#define WORKERS_MAX 16

enum trigger { LEVEL, EDGE, ONESHOT, EXCLUSIVE, POLL, PPOLL, SELECT, PSELECT };
enum moment { DIRECT, DEFERRED, TIMER };

/* A client's connection, or one to the upstream. */
struct conn {
	int fd;
	unsigned generation;
	bool upstream, connecting, eof;
	unsigned how;	 /* varies the calls it is read and written with */
	unsigned wanted; /* EPOLLIN, EPOLLOUT: what the loop waits for */
	struct gate_buf in, out;
	struct conn *other; /* a client's current call; an upstream connection's client */
	/* a client's request */
	bool busy, pending; /* pending: its next step is on a list of things to do later */
	uint64_t due;	    /* ns; of that step */
	struct gate_request request;
	struct gate_buf results;
	unsigned k;
	struct conn *next; /* in a list of connections: free ones, or clients that wait */
};

static enum trigger trigger;
static enum moment moment;
static bool limited;
static struct conn *conns[FDS_MAX];
static struct conn *idle, *waiting, **last_waiting = &waiting;
static int door, epoll, fd_max, n_upstream;
static unsigned generation;

/* What to do later is found by fd and generation: a client may be gone by then. */
struct later {
	int fd;
	unsigned generation;
};
static struct later todo[FDS_MAX];
static int n_todo;

static void step(struct conn *c);
static void client_next(struct conn *c);

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- connections and what the loop waits for ---- */

static void epoll_set(int op, int fd, unsigned events)
{
	struct epoll_event event = { .events = events };

	event.data.u64 = (uint64_t)(conns[fd] ? conns[fd]->generation : 0) << 32 | (unsigned)fd;
	if (epoll_ctl(epoll, op, fd, &event))
		gate_die("epoll_ctl");
}

static void want(struct conn *c, unsigned events)
{
	if (trigger == ONESHOT)
		epoll_set(EPOLL_CTL_MOD, c->fd, events | EPOLLONESHOT);
	else if ((trigger == LEVEL || trigger == EXCLUSIVE) && events != c->wanted)
		epoll_set(EPOLL_CTL_MOD, c->fd, events);
	c->wanted = events;
}

static struct conn *add(int fd, bool upstream)
{
	int limit = trigger == SELECT || trigger == PSELECT ? FD_SETSIZE : FDS_MAX;
	struct conn *c;

	if (fd < 0 || fd >= limit) {
		close(fd);
		return NULL;
	}
	c = calloc(1, sizeof(*c));
	generation++;
	*c = (struct conn){ .fd = fd,
			    .generation = generation,
			    .upstream = upstream,
			    .wanted = EPOLLIN,
			    .how = generation };
	conns[fd] = c;
	if (fd >= fd_max)
		fd_max = fd + 1;
	if (trigger == EDGE)
		epoll_set(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
	else if (trigger < POLL)
		epoll_set(EPOLL_CTL_ADD, fd, EPOLLIN | (trigger == ONESHOT ? EPOLLONESHOT : 0u));
	return c;
}

static void unlink_from(struct conn **list, struct conn *c)
{
	while (*list && *list != c)
		list = &(*list)->next;
	if (*list)
		*list = c->next;
}

static void drop(struct conn *c)
{
	if (c->upstream) {
		n_upstream--;
		unlink_from(&idle, c);
	} else if (c->busy) {
		gate_in_flight(-1);
		unlink_from(&waiting, c);
		for (last_waiting = &waiting; *last_waiting;)
			last_waiting = &(*last_waiting)->next;
	}
	conns[c->fd] = NULL;
	close(c->fd);
	gate_free(&c->in);
	gate_free(&c->out);
	gate_free(&c->results);
	gate_free(&c->request.body);
	free(c);
}

/* Sends what it can: 1 all, 0 not all, -1 the connection is broken. */
static int flush(struct conn *c)
{
	while (c->out.len) {
		ssize_t n = gate_push(c->fd, &c->out, c->how++);

		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0)
			return -1;
		gate_eat(&c->out, (size_t)n);
	}
	return 1;
}

/* ---- calls to the upstream ---- */

static struct conn *line_to_upstream(struct conn *client)
{
	struct conn *u = idle;

	if (u) {
		idle = u->next;
		u->next = NULL;
		return u;
	}
	if (limited && n_upstream >= LIMIT) {
		client->next = NULL;
		*last_waiting = client;
		last_waiting = &client->next;
		return NULL;
	}
	u = add(gate_dial(true), true);
	if (!u)
		gate_die("upstream");
	n_upstream++;
	u->connecting = true;
	return u;
}

static void call_on(struct conn *u, struct conn *client)
{
	u->other = client;
	client->other = u;
	gate_called();
	gate_call_text(&client->request, client->k, &u->out);
	if (!u->connecting && flush(u) < 0)
		gate_die("upstream");
	want(u, EPOLLIN | (u->out.len ? EPOLLOUT : 0u));
}

/* Gives the client that has waited longest a connection, if there is one. */
static void serve_waiting(void)
{
	struct conn *client = waiting, *u;

	if (!client || (!idle && n_upstream >= LIMIT))
		return;
	waiting = client->next;
	if (!waiting)
		last_waiting = &waiting;
	client->next = NULL;
	u = line_to_upstream(client);
	call_on(u, client);
}

/* The connection has brought its answer and is free again. */
static void release(struct conn *u, bool usable)
{
	u->other = NULL;
	if (!usable || gate_reuse == GATE_NEW) {
		drop(u);
	} else {
		u->next = idle;
		idle = u;
	}
	serve_waiting();
}

static void answered(struct conn *u, struct gate_msg *msg)
{
	struct conn *client = u->other;

	gate_eat(&u->in, msg->total);
	if (!client || msg->status != 200)
		gate_die("an answer to nothing");
	gate_add(&client->results, msg->body.data, msg->body.len);
	gate_free(&msg->body);
	client->other = NULL;
	client->k++;
	/* Free for others before its own client goes on: the harder order for a tracer. */
	release(u, !msg->close);
	step(client);
}

static void upstream_ready(struct conn *u, unsigned events)
{
	struct gate_msg msg;
	ssize_t n = 1;
	int whole;

	if (u->connecting && events & EPOLLOUT)
		u->connecting = false;
	if (!u->connecting && flush(u) < 0)
		gate_die("upstream");
	want(u, EPOLLIN | (u->out.len || u->connecting ? EPOLLOUT : 0u));
	if (!(events & ~(unsigned)EPOLLOUT) || u->connecting)
		return;
	do { /* edge-triggered needs all of it; the others come back */
		n = gate_pull(u->fd, &u->in, u->how++);
	} while (n > 0 && trigger == EDGE);
	if (n < 0 && errno != EAGAIN)
		gate_die("upstream");
	whole = gate_message(&u->in, true, n == 0, &msg);
	if (n == 0)
		msg.close = true;
	if (whole == 1)
		answered(u, &msg);
	else if (n == 0 && !u->other)
		drop(u);
	else if (whole < 0)
		gate_die("upstream's answer");
}

/* ---- clients ---- */

static void client_gone(struct conn *c)
{
	struct conn *u = c->other;

	if (u) {
		u->other = NULL;
		drop(u);
	}
	drop(c);
	serve_waiting();
}

/* Does the next step of the request now: the next call, or the answer. */
static void act(struct conn *c)
{
	struct conn *u;

	if (c->k < c->request.n) {
		u = line_to_upstream(c);
		if (u)
			call_on(u, c);
		return;
	}
	gate_answer_text(&c->request, &c->results, &c->out);
	gate_served();
	gate_in_flight(-1);
	c->busy = false;
	c->results.len = 0;
	gate_free(&c->request.body);
	c->eof |= c->request.close;
	if (flush(c) < 0 || (c->eof && !c->out.len)) {
		client_gone(c);
		return;
	}
	want(c, EPOLLIN | (c->out.len ? EPOLLOUT : 0u));
	client_next(c);
}

/* The request may go on: at once, or when its turn comes. */
static void step(struct conn *c)
{
	if (moment == DIRECT || (moment == TIMER && c->k == c->request.n)) {
		act(c);
		return;
	}
	c->pending = true;
	c->due = moment == TIMER ? now() + gate_param(c->request.query, "t", 1) * 1000000 : 0;
	todo[n_todo++] = (struct later){ c->fd, c->generation };
}

/* Begins the next request that is wholly there. */
static void client_next(struct conn *c)
{
	int got;

	if (c->busy || c->eof)
		return;
	got = gate_request(&c->in, &c->request);
	if (got < 0) {
		client_gone(c);
	} else if (got > 0) {
		c->busy = true;
		c->k = 0;
		gate_in_flight(+1);
		step(c);
	}
}

static void client_ready(struct conn *c, unsigned events)
{
	ssize_t n = 1;

	if (flush(c) < 0) {
		client_gone(c);
		return;
	}
	want(c, EPOLLIN | (c->out.len ? EPOLLOUT : 0u));
	if (c->eof && !c->out.len) {
		client_gone(c);
		return;
	}
	if (!(events & ~(unsigned)EPOLLOUT))
		return;
	do {
		n = gate_pull(c->fd, &c->in, c->how++);
	} while (n > 0 && trigger == EDGE);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		client_gone(c);
	else
		client_next(c);
}

static void welcome(void)
{
	int fd;

	while ((fd = accept4(door, NULL, NULL, SOCK_NONBLOCK)) >= 0)
		add(fd, false);
	if (trigger == ONESHOT)
		epoll_set(EPOLL_CTL_MOD, door, EPOLLIN | EPOLLONESHOT);
}

/* ---- the loop ---- */

struct ready {
	int fd;
	unsigned generation, events;
};

static int wait_epoll(struct ready *ready, int patience)
{
	struct epoll_event events[READY_MAX];
	int n = epoll_wait(epoll, events, READY_MAX, patience);

	for (int i = 0; i < n; i++)
		ready[i] = (struct ready){ (int)(unsigned)events[i].data.u64,
					   (unsigned)(events[i].data.u64 >> 32), events[i].events };
	return n;
}

static int wait_poll(struct ready *ready, int patience)
{
	static struct pollfd fds[FDS_MAX];
	struct timespec limit = { patience / 1000, patience % 1000 * 1000000 };
	int n = 1, out = 0;

	fds[0] = (struct pollfd){ .fd = door, .events = POLLIN };
	for (int fd = 0; fd < fd_max; fd++)
		if (conns[fd])
			fds[n++] = (struct pollfd){ .fd = fd, .events = (short)conns[fd]->wanted };
	if ((trigger == POLL ? poll(fds, (nfds_t)n, patience)
			     : ppoll(fds, (nfds_t)n, &limit, NULL)) <= 0)
		return 0;
	for (int i = 0; i < n && out < READY_MAX; i++)
		if (fds[i].revents)
			ready[out++] =
				(struct ready){ fds[i].fd, i ? conns[fds[i].fd]->generation : 0,
						(unsigned)fds[i].revents };
	return out;
}

static int wait_select(struct ready *ready, int patience)
{
	struct timespec limit = { patience / 1000, patience % 1000 * 1000000 };
	struct timeval timeout = { patience / 1000, patience % 1000 * 1000 };
	int n = door + 1 > fd_max ? door + 1 : fd_max, out = 0;
	fd_set in, more;

	FD_ZERO(&in);
	FD_ZERO(&more);
	FD_SET(door, &in);
	for (int fd = 0; fd < fd_max; fd++) {
		if (conns[fd])
			FD_SET(fd, &in);
		if (conns[fd] && conns[fd]->wanted & EPOLLOUT)
			FD_SET(fd, &more);
	}
	if ((trigger == SELECT ? select(n, &in, &more, NULL, &timeout)
			       : pselect(n, &in, &more, NULL, &limit, NULL)) <= 0)
		return 0;
	for (int fd = 0; fd < n && out < READY_MAX; fd++) {
		unsigned events =
			(FD_ISSET(fd, &in) ? EPOLLIN : 0u) | (FD_ISSET(fd, &more) ? EPOLLOUT : 0u);

		if (events && (fd == door || conns[fd]))
			ready[out++] =
				(struct ready){ fd, conns[fd] ? conns[fd]->generation : 0, events };
	}
	return out;
}

/* ms until the first step is due, at most 100. */
static int patience(void)
{
	uint64_t t = moment == TIMER ? now() : 0, first = t + 100000000;

	for (int i = 0; i < n_todo; i++) {
		struct conn *c = conns[todo[i].fd];

		if (c && c->generation == todo[i].generation && c->due < first)
			first = c->due;
	}
	return first <= t ? 0 : (int)((first - t + 999999) / 1000000);
}

/* Does what is due.  What that adds to the list waits for the next round. */
static void work_off(void)
{
	uint64_t t = moment == TIMER ? now() : 0;
	static struct later list[FDS_MAX];
	int n = n_todo;

	memcpy(list, todo, (size_t)n * sizeof(*list));
	n_todo = 0;
	for (int i = 0; i < n; i++) {
		struct conn *c = conns[list[i].fd];

		if (!c || c->generation != list[i].generation || !c->pending)
			continue;
		if (c->due > t) {
			todo[n_todo++] = list[i];
			continue;
		}
		c->pending = false;
		act(c);
	}
}

static void loop(void)
{
	static struct ready ready[READY_MAX];

	epoll = epoll_create1(0);
	if (epoll < 0)
		gate_die("epoll_create1");
	if (trigger < POLL)
		epoll_set(EPOLL_CTL_ADD, door,
			  EPOLLIN | (trigger == EDGE	    ? EPOLLET
				     : trigger == ONESHOT   ? EPOLLONESHOT
				     : trigger == EXCLUSIVE ? EPOLLEXCLUSIVE
							    : 0u));
	while (!gate_stop) {
		int n = trigger < POLL	   ? wait_epoll(ready, patience())
			: trigger <= PPOLL ? wait_poll(ready, patience())
					   : wait_select(ready, patience());

		for (int i = 0; i < n; i++) {
			struct conn *c = conns[ready[i].fd];

			if (ready[i].fd == door)
				welcome();
			else if (!c || c->generation != ready[i].generation)
				continue; /* closed in this round */
			else if (c->upstream)
				upstream_ready(c, ready[i].events);
			else
				client_ready(c, ready[i].events);
		}
		work_off();
	}
	gate_report();
}

static int word(const char *word)
{
	static const char *const triggers[] = { "level", "edge",  "oneshot", "exclusive",
						"poll",	 "ppoll", "select",  "pselect" };
	static const char *const moments[] = { "direct", "deferred", "timer" };

	for (size_t i = 0; i < sizeof(triggers) / sizeof(triggers[0]); i++)
		if (!strcmp(word, triggers[i]))
			trigger = (enum trigger)i;
	for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++)
		if (!strcmp(word, moments[i]))
			moment = (enum moment)i;
	if (!strcmp(word, "new"))
		gate_reuse = GATE_NEW;
	limited |= !strcmp(word, "limited");
	return strncmp(word, "workers=", 8) ? 1 : (int)strtol(word + 8, NULL, 10);
}

int main(int argc, char **argv)
{
	pid_t children[WORKERS_MAX];
	int workers = 1;

	door = gate_listen();
	if (fcntl(door, F_SETFL, O_NONBLOCK))
		gate_die("fcntl");
	gate_upstream = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0;
	for (int i = 2; i < argc; i++)
		if (word(argv[i]) > 1)
			workers = word(argv[i]);
	if (workers == 1) {
		gate_listening(door);
		loop();
		return 0;
	}
	if (workers > WORKERS_MAX)
		workers = WORKERS_MAX;
	for (int i = 0; i < workers; i++) {
		children[i] = fork();
		if (children[i] < 0)
			gate_die("fork");
		if (children[i] == 0) {
			loop();
			exit(0);
		}
	}
	gate_listening(door);
	while (!gate_stop)
		pause();
	gate_end(children, workers);
	return 0;
}
