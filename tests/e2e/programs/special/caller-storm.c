/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All at once, for a while: plugins come and go, a timer's signals interrupt whatever is under
 * way (dlopen, malloc, our own code) and call from there or jump out, threads fork and
 * vfork, small coroutines end at unreadable pages.  Every call is made by a function
 * whose name begins with storm_.
 *
 *	caller-storm PORT SECONDS PLUGIN PLUGIN
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define KEEP static __attribute__((noinline, noclone))
#define BARRIER() __asm__ volatile("" ::: "memory")

static int fd, port;
static time_t until;
static unsigned long signals, jumps, forks, plugins, coroutines;
static __thread sigjmp_buf *jump_to;

KEEP void storm_handler(int sig)
{
	(void)sig;
	signals++;
	send(fd, "s", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (jump_to && signals % 3 == 0) {
		sigjmp_buf *to = jump_to;

		jump_to = NULL;
		siglongjmp(*to, 1);
	}
	BARRIER();
}

/* Only ever in send() or in code of its own: nothing of libc's is left half done. */
KEEP void storm_jumper(void)
{
	sigjmp_buf here;

	if (sigsetjmp(here, 1) == 0) {
		jump_to = &here;
		for (int i = 0; i < 100; i++) {
			send(fd, "j", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
			usleep(50);
			BARRIER();
		}
		jump_to = NULL;
	} else {
		jumps++;
	}
}

static void *jumper(void *arg)
{
	while (time(NULL) < until)
		storm_jumper();
	return arg;
}

KEEP int deep(int n)
{
	volatile char some[200];

	some[0] = (char)n;
	if (n > 0)
		return deep(n - 1) + some[0];
	send(fd, "c", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	return 0;
}

static __thread ucontext_t back, there;

static void storm_coroutine(void)
{
	(void)deep(20);
	BARRIER();
}

static void *corouting(void *arg)
{
	size_t size = 65536;

	for (; time(NULL) < until; coroutines++) {
		char *p = mmap(NULL, size + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		mprotect(p + 4096, size, PROT_READ | PROT_WRITE);
		getcontext(&there);
		there.uc_stack.ss_sp = p + 4096;
		there.uc_stack.ss_size = size;
		there.uc_link = &back;
		makecontext(&there, storm_coroutine, 0);
		swapcontext(&back, &there);
		munmap(p, size + 8192);
		usleep(200);
	}
	return arg;
}

KEEP void storm_child(void)
{
	send(fd, "f", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	BARRIER();
}

static void *forking(void *arg)
{
	for (; time(NULL) < until; forks++) {
		pid_t pid = fork();

		if (pid == 0) {
			storm_child();
			_exit(0);
		}
		waitpid(pid, NULL, 0);
		pid = vfork();
		if (pid == 0) {
			send(fd, "v", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
	}
	return arg;
}

static void loading(char **paths)
{
	for (; time(NULL) < until; plugins++) {
		void *plugin = dlopen(paths[plugins % 2], RTLD_NOW);
		void (*call)(int) = (void (*)(int))dlsym(plugin, "plugin_entry");

		for (int i = 0; i < 5; i++)
			call(fd);
		free(malloc(plugins % 5000));
		dlclose(plugin);
		usleep(300);
	}
}

static void *drain(void *arg)
{
	char buf[4096];

	while (recv(fd, buf, sizeof(buf), 0) > 0)
		;
	return arg;
}

int main(int argc, char **argv)
{
	static void *(*const bodies[])(void *) = { jumper, corouting, forking };
	struct sigaction sa = { .sa_handler = storm_handler, .sa_flags = SA_RESTART };
	const struct itimerval often = { { 0, 700 }, { 0, 700 } }, never = { { 0, 0 }, { 0, 0 } };
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	pthread_t t[3], d;
	pthread_attr_t small;
	sigset_t alarm;

	if (argc < 5)
		return 2;
	port = atoi(argv[1]);
	to.sin_port = htons(port);
	until = time(NULL) + atoi(argv[2]);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
		return 2;
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &alarm, NULL);
	pthread_create(&d, NULL, drain, NULL);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 * 1024);
	for (int i = 0; i < 3; i++) {
		/* A child of fork() is born with the signals of its maker: not these two. */
		if (i == 0)
			pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
		else
			pthread_sigmask(SIG_BLOCK, &alarm, NULL);
		pthread_create(&t[i], &small, bodies[i], NULL);
	}
	pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	loading(argv + 3);
	setitimer(ITIMER_REAL, &never, NULL);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	shutdown(fd, SHUT_RDWR);
	pthread_join(d, NULL);
	fprintf(stderr, "signals %lu jumps %lu forks %lu plugins %lu coroutines %lu\n", signals,
		jumps, forks, plugins, coroutines);
	puts("survived");
	return 0;
}
