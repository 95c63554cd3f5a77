/* SPDX-License-Identifier: Apache-2.0 */
/*
 * threads CASE: threads that are cancelled, end, and end the process.
 *
 * LIBS: -lpthread */
#include "harm.h"

#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <ucontext.h>

/* ---- cancellation ---- */

static void cleaned(void *arg)
{
	printf("cleaned %s\n", (char *)arg);
	traffic();
}

static int own[2];

static void *in_recv(void *arg)
{
	char b;

	(void)arg;
	pthread_cleanup_push(cleaned, "up");
	(void)!recv(own[1], &b, 1, 0);
	pthread_cleanup_pop(0);
	return NULL;
}

static void *in_poll(void *arg)
{
	struct pollfd f = { .fd = own[1], .events = POLLIN };

	(void)arg;
	pthread_cleanup_push(cleaned, "poll");
	(void)!poll(&f, 1, -1);
	pthread_cleanup_pop(0);
	return NULL;
}

static void *in_accept(void *arg)
{
	int s = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)arg;
	MUST(listen(s, 1) < 0 || 1);
	pthread_cleanup_push(cleaned, "accept");
	(void)!accept(s, NULL, NULL);
	(void)!read(own[1], &s, 1);
	pthread_cleanup_pop(0);
	return NULL;
}

/* Cancelled anywhere, in the middle of our own code too. */
static void *spinning(void *arg)
{
	int p[2], was;
	char b;

	(void)arg;
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, p) == 0);
	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &was);
	for (;;)
		if (send(p[0], "x", 1, 0) != 1 || recv(p[1], &b, 1, 0) != 1)
			abort();
	return NULL;
}

static void cancelled(void *(*run)(void *), int ms)
{
	void *result = NULL;
	pthread_t t;

	MUST(pthread_create(&t, NULL, run, NULL) == 0);
	nap(ms);
	MUST(pthread_cancel(t) == 0);
	MUST(pthread_join(t, &result) == 0);
	printf("cancelled %d\n", result == PTHREAD_CANCELED);
	traffic();
}

static void cancel(void)
{
	traffic();
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, own) == 0);
	cancelled(in_recv, 20);
	cancelled(in_poll, 20);
	cancelled(in_accept, 20);
	for (int i = 0; i < 10; i++)
		cancelled(spinning, 3);
}

/* ---- the end of a thread ---- */

static pthread_key_t keys[3];
static int destroyed;

/* Comes after ours has given everything back, again and again. */
static void last_words(void *value)
{
	long left = (long)value;

	for (int i = 0; i < 10; i++)
		traffic();
	destroyed++;
	if (left > 1)
		pthread_setspecific(keys[left % 3], (void *)(left - 1));
}

static void *with_keys(void *arg)
{
	traffic();
	for (int i = 0; i < 3; i++)
		pthread_setspecific(keys[i], (void *)9);
	return arg;
}

static void destructors(void)
{
	pthread_t t;

	for (int i = 0; i < 3; i++)
		MUST(pthread_key_create(&keys[i], last_words) == 0);
	for (int i = 0; i < 20; i++) {
		MUST(pthread_create(&t, NULL, with_keys, NULL) == 0);
		pthread_join(t, NULL);
	}
	said("destroyed", destroyed);
	fds("after");
}

static pthread_t main_thread;

static void *worker(void *arg)
{
	int ms = (int)(long)arg;

	for (int i = 0; i < 20; i++) {
		int p[2];
		char b;

		MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, p) == 0);
		MUST(send(p[0], "x", 1, 0) == 1 && recv(p[1], &b, 1, 0) == 1);
		close(p[0]);
		close(p[1]);
		nap(ms);
	}
	return NULL;
}

static void bye(void)
{
	printf("bye\n");
	traffic();
}

/* Main leaves first, the last of several workers ends the process. */
static void main_leaves(void)
{
	pthread_t t;

	atexit(bye);
	for (long i = 1; i < 5; i++)
		MUST(pthread_create(&t, NULL, worker, (void *)i) == 0);
	pthread_exit(NULL);
}

static void main_leaves_traced(void)
{
	traffic();
	main_leaves();
}

static void *exits(void *arg)
{
	(void)arg;
	worker((void *)1);
	exit(9);
}

static void worker_exits(void)
{
	pthread_t t;

	atexit(bye);
	MUST(pthread_create(&t, NULL, exits, NULL) == 0);
	pthread_exit(NULL);
}

static void *joins_main(void *arg)
{
	(void)arg;
	MUST(pthread_join(main_thread, NULL) == 0);
	traffic();
	printf("joined\n");
	return NULL;
}

static void main_joined(void)
{
	pthread_t t;

	traffic();
	main_thread = pthread_self();
	MUST(pthread_create(&t, NULL, joins_main, NULL) == 0);
	pthread_exit(NULL);
}

/* ---- stacks ---- */

static void *small(void *arg)
{
	int p[2];
	char b[256];
	struct iovec {
		void *base;
		size_t len;
	} iov[2] = { { b, 8 }, { b + 8, 8 } };
	struct msghdr m = { .msg_iov = (void *)iov, .msg_iovlen = 2 };

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, p) == 0);
	memset(b, 'x', sizeof(b));
	MUST(send(p[0], b, 16, 0) == 16 && recvmsg(p[1], &m, 0) == 16);
	MUST(sendmsg(p[0], &m, 0) == 16 && read(p[1], b, 16) == 16);
	MUST(write(p[0], "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27) == 27);
	MUST(read(p[1], b, sizeof(b)) == 27);
	close(p[0]);
	close(p[1]);
	return arg;
}

static void small_stacks(void)
{
	pthread_attr_t attr;
	pthread_t t;

	pthread_attr_init(&attr);
	MUST(pthread_attr_setstacksize(&attr, PTHREAD_STACK_MIN) == 0);
	MUST(pthread_create(&t, &attr, small, NULL) == 0); /* the first operation of all */
	pthread_join(t, NULL);
	for (int i = 0; i < 10; i++) {
		MUST(pthread_create(&t, &attr, small, NULL) == 0);
		pthread_join(t, NULL);
	}
	printf("done\n");
}

static ucontext_t back, there;

static void coroutine(void)
{
	for (;;) {
		small(NULL);
		swapcontext(&there, &back);
	}
}

/* Coroutines: the stack under a hook is not the thread's. */
static void coroutines(void)
{
	size_t size = 16384;
	char *stack =
		mmap(NULL, size + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(stack != MAP_FAILED && mprotect(stack, 4096, PROT_NONE) == 0);
	getcontext(&there);
	there.uc_stack.ss_sp = stack + 4096;
	there.uc_stack.ss_size = size;
	makecontext(&there, coroutine, 0);
	for (int i = 0; i < 20; i++) {
		swapcontext(&back, &there);
		traffic();
	}
	printf("done\n");
}

/* ---- limits ---- */

static void all_keys(void)
{
	pthread_key_t key;
	int n = 0;

	traffic();
	while (pthread_key_create(&key, NULL) == 0)
		n++;
	said("keys", n);
}

static void threads_seen(void)
{
	char line[128];
	FILE *f;

	traffic();
	nap(50);
	f = fopen("/proc/self/status", "r");
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, "Threads:", 8))
			printf("%s", line);
}

HARM_MAIN({ "cancel", cancel }, { "destructors", destructors }, { "main-leaves", main_leaves },
	  { "main-leaves-traced", main_leaves_traced }, { "worker-exits", worker_exits },
	  { "main-joined", main_joined }, { "small-stacks", small_stacks },
	  { "coroutines", coroutines }, { "keys", all_keys }, { "seen", threads_seen })
