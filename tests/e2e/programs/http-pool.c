/* SPDX-License-Identifier: Apache-2.0 */
/* CFLAGS: -MMD -MP */
/* LIBS: tests/e2e/programs/gate/gate.c -lpthread */
/*
 * http-pool UPSTREAM-PORT WORKERS [whole]: a gateway (gate/gate.h) whose main thread waits
 * with epoll for connections and for their bytes, and whose workers do the rest:
 *
 *	without "whole", a worker reads the requests of a connection that has become
 *	readable, calls the upstream, answers, and hands the connection back;
 *
 *	with "whole", the main thread reads the whole request, and the worker that gets
 *	it only calls the upstream and answers.  No call of libc ties that worker to
 *	the request before it answers, so nobody outside the program can know
 *	the parent of its calls: they are roots.  Requests that are pipelined are
 *	all read at once and worked off in order.
 */
#include "gate/gate.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define WORKERS_MAX 64

struct client {
	int fd;
	struct gate_buf in;
	struct gate_request request; /* with "whole" */
	bool done;		     /* the worker says: close it */
	pthread_mutex_t arming;	     /* who armed it is out of epoll_ctl() */
	struct client *next;
};

struct queue {
	pthread_mutex_t lock;
	pthread_cond_t some;
	struct client *first, **last;
};

#define QUEUE(q)                                                                      \
	{                                                                             \
		PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, &(q).first \
	}
static struct queue work = QUEUE(work), back = QUEUE(back);
static int epoll, bell[2]; /* bell: a worker has put something into `back` */
static bool whole;

static void put(struct queue *q, struct client *c)
{
	c->next = NULL;
	pthread_mutex_lock(&q->lock);
	*q->last = c;
	q->last = &c->next;
	pthread_cond_signal(&q->some);
	pthread_mutex_unlock(&q->lock);
}

static struct client *take(struct queue *q, bool wait)
{
	struct client *c;

	pthread_mutex_lock(&q->lock);
	while (!q->first && wait)
		pthread_cond_wait(&q->some, &q->lock);
	c = q->first;
	if (c && !(q->first = c->next))
		q->last = &q->first;
	pthread_mutex_unlock(&q->lock);
	return c;
}

static void arm(struct client *c, int op)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLONESHOT, .data.ptr = c };

	pthread_mutex_lock(&c->arming);
	if (epoll_ctl(epoll, op, c->fd, &event))
		gate_die("epoll_ctl");
	pthread_mutex_unlock(&c->arming);
}

static void drop(struct client *c)
{
	close(c->fd);
	gate_free(&c->in);
	free(c);
}

/* Reads once, then serves what has come. */
static void serve(struct client *c)
{
	struct gate_request request;
	ssize_t n = gate_pull(c->fd, &c->in, (unsigned)c->fd);
	int got = n > 0 ? 1 : -1;

	while (got > 0 && (got = gate_request(&c->in, &request)) > 0)
		if (!gate_work(c->fd, &request))
			got = -1;
	if (got == 0)
		arm(c, EPOLL_CTL_MOD);
	else
		drop(c);
}

static void *worker(void *arg)
{
	(void)arg;
	while (1) {
		struct client *c = take(&work, true);

		if (whole) {
			c->done = !gate_work(c->fd, &c->request);
			put(&back, c);
			if (write(bell[1], "", 1) != 1)
				gate_die("bell");
		} else {
			serve(c);
		}
	}
	return NULL;
}

/* In the main thread, with "whole": hands on a request that is complete. */
static void forward(struct client *c)
{
	int got = c->done ? -1 : gate_request(&c->in, &c->request);

	if (got > 0)
		put(&work, c);
	else if (got == 0)
		arm(c, EPOLL_CTL_MOD);
	else
		drop(c);
}

static void ready(struct client *c)
{
	pthread_mutex_lock(&c->arming);
	pthread_mutex_unlock(&c->arming);
	if (!whole)
		put(&work, c);
	else if (gate_pull(c->fd, &c->in, (unsigned)c->fd) > 0)
		forward(c);
	else
		drop(c);
}

static void answered(void)
{
	char rings[256];
	struct client *c;

	if (read(bell[0], rings, sizeof(rings)) < 0 && errno != EINTR)
		gate_die("bell");
	while ((c = take(&back, false)))
		forward(c);
}

static void welcome(int door)
{
	struct client *c = calloc(1, sizeof(*c));

	pthread_mutex_init(&c->arming, NULL);
	c->fd = accept(door, NULL, NULL);
	if (c->fd < 0)
		free(c);
	else
		arm(c, EPOLL_CTL_ADD);
}

int main(int argc, char **argv)
{
	struct epoll_event event = { .events = EPOLLIN }, events[64];
	int door = gate_listen(), workers;

	gate_upstream = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0;
	workers = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 8;
	whole = argc > 3 && !strcmp(argv[3], "whole");
	epoll = epoll_create1(0);
	if (epoll < 0 || pipe(bell))
		gate_die("epoll");
	event.data.ptr = &door;
	epoll_ctl(epoll, EPOLL_CTL_ADD, door, &event);
	event.data.ptr = bell;
	epoll_ctl(epoll, EPOLL_CTL_ADD, bell[0], &event);
	for (int i = 0; i < workers && i < WORKERS_MAX; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, worker, NULL))
			gate_die("pthread_create");
	}
	gate_listening(door);
	while (!gate_stop) {
		int n = epoll_wait(epoll, events, 64, 100);

		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == &door)
				welcome(door);
			else if (events[i].data.ptr == bell)
				answered();
			else
				ready(events[i].data.ptr);
		}
	}
	gate_report();
	return 0;
}
