/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls from functions of every kind.  Each prints first who it is: function, file, line.
 *
 *	callers PORT [PLUGIN...]	plugins are loaded, called and unloaded in turn
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <ucontext.h>
#include <unistd.h>

#define CALL(expr) (printf("%s %s %d\n", __func__, __FILE__, __LINE__), fflush(stdout), (expr))
#define KEEP __attribute__((noinline, noclone))
#define BARRIER() __asm__ volatile("" ::: "memory") /* no tail call */

static int fd;

static KEEP void one_more(void)
{
	char c;

	CALL(send(fd, "1", 1, 0));
	CALL(recv(fd, &c, 1, 0));
	BARRIER();
}

KEEP void not_static(void)
{
	CALL(send(fd, "2", 1, 0));
	BARRIER();
}

static KEEP int compare(const void *a, const void *b)
{
	CALL(write(fd, "3", 1));
	BARRIER();
	return *(const char *)a - *(const char *)b;
}

static KEEP void *thread(void *arg)
{
	CALL(send(fd, "4", 1, 0));
	BARRIER();
	return arg;
}

static KEEP void handler(int sig)
{
	(void)sig;
	CALL(send(fd, "5", 1, 0));
	BARRIER();
}

static ucontext_t back, there;

static KEEP void coroutine(void)
{
	CALL(send(fd, "6", 1, 0));
	BARRIER();
}

static KEEP void on_another_stack(void)
{
	static char stack[65536];

	getcontext(&there);
	there.uc_stack.ss_sp = stack;
	there.uc_stack.ss_size = sizeof(stack);
	there.uc_link = &back;
	makecontext(&there, coroutine, 0);
	swapcontext(&back, &there);
}

static KEEP void failing(void)
{
	int none = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in nobody = { .sin_family = AF_INET,
				      .sin_port = htons(1),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	CALL(connect(none, (struct sockaddr *)&nobody, sizeof(nobody)));
	close(none);
}

static KEEP void open_connection(int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (CALL(connect(fd, (struct sockaddr *)&to, sizeof(to))) != 0)
		exit(2);
}

int main(int argc, char **argv)
{
	static char alternate[65536];
	const stack_t ss = { .ss_sp = alternate, .ss_size = sizeof(alternate) };
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_ONSTACK };
	char two[] = "ba";
	pthread_t t;

	open_connection(atoi(argv[1]));
	one_more();
	not_static();
	qsort(two, 2, 1, compare);
	pthread_create(&t, NULL, thread, NULL);
	pthread_join(t, NULL);
	sigaltstack(&ss, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
	if (!NO_COROUTINES)
		on_another_stack();
	failing();
	for (int i = 2; i < argc; i++) {
		void *plugin = dlopen(argv[i], RTLD_NOW);
		void (*call)(int) = (void (*)(int))dlsym(plugin, "plugin_entry");

		call(fd);
		printf("# %p\n", (void *)call);
		dlclose(plugin);
	}
	return 0;
}
