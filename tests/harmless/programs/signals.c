/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signals CASE: programs that live by signals.
 *
 * LIBS: -lpthread */
#include "harm.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/time.h>

static volatile sig_atomic_t came;

static void count(int sig)
{
	(void)sig;
	came++;
}

static void handle(int sig, void (*handler)(int), int flags)
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = flags };

	MUST(sigaction(sig, &sa, NULL) == 0);
}

static void every(int us)
{
	struct itimerval t = { { 0, us }, { 0, us } };

	MUST(setitimer(ITIMER_REAL, &t, NULL) == 0);
}

/* ---- what is there ---- */

static void tell(const char *when)
{
	struct itimerval t;
	sigset_t mask, pending;

	printf("%s:", when);
	sigprocmask(SIG_BLOCK, NULL, &mask);
	sigpending(&pending);
	for (int sig = 1; sig < 65; sig++) {
		struct sigaction sa;

		if (sigaction(sig, NULL, &sa) == 0 && sa.sa_handler != SIG_DFL)
			printf(" handler %d", sig);
		if (sigismember(&mask, sig) == 1)
			printf(" blocked %d", sig);
		if (sigismember(&pending, sig) == 1)
			printf(" pending %d", sig);
	}
	for (int which = 0; which < 3; which++)
		if (getitimer(which, &t) == 0 && (t.it_value.tv_sec || t.it_value.tv_usec))
			printf(" timer %d", which);
	printf("\n");
}

static void dispositions(void)
{
	tell("start");
	traffic();
	tell("first");
	nap(100);
	for (int i = 0; i < 100; i++)
		traffic();
	nap(250);
	tell("exported");
}

/* Every signal does to a traced program what it does to any. */
static void defaults(void)
{
	for (int sig = 1; sig < 65; sig++) {
		char what[32];
		pid_t pid;

		if (sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU ||
		    (sig >= 40 && sig < 60) || sig == 32 || sig == 33)
			continue;
		pid = fork();
		if (!pid) {
			traffic();
			kill(getpid(), sig);
			traffic();
			_exit(0);
		}
		snprintf(what, sizeof(what), "%d", sig);
		ended(what, pid);
	}
}

/* ---- handlers ---- */

static void busy_handler(int sig)
{
	int saved = errno, p[2], fd;
	char b;

	(void)sig;
	came++;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, p) == 0) {
		if (send(p[0], "x", 1, 0) != 1 || recv(p[1], &b, 1, 0) != 1)
			abort();
		fd = dup(p[0]);
		if (write(fd, "y", 1) != 1 || read(p[1], &b, 1) != 1)
			abort();
		close(fd);
		close(p[0]);
		if (read(p[1], &b, 1) != 0)
			abort();
		close(p[1]);
	}
	errno = saved;
}

static void reentered(void)
{
	traffic();
	handle(SIGALRM, busy_handler, SA_RESTART | SA_NODEFER);
	every(500);
	while (came < 300) {
		int p[2];
		char b;

		MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, p) == 0);
		MUST(send(p[0], "x", 1, 0) == 1 && recv(p[1], &b, 1, 0) == 1);
		MUST(dup2(p[0], 100) == 100);
		close(p[0]);
		close(p[1]);
		close(100);
	}
	every(0);
	handle(SIGALRM, SIG_IGN, 0);
	fds("after");
}

/* The first operation of the process is a handler's. */
static void first_in_handler(void)
{
	handle(SIGUSR1, busy_handler, 0);
	raise(SIGUSR1);
	said("came", came);
	fds("after");
}

/* A handler on a small stack of its own. */
static void alternate(void)
{
	size_t size = 8192; /* what SIGSTKSZ was for thirty years */
	char *stack =
		mmap(NULL, 4096 + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t s = { .ss_sp = stack + 4096, .ss_size = size };

	MUST(stack != MAP_FAILED && mprotect(stack, 4096, PROT_NONE) == 0);
	MUST(sigaltstack(&s, NULL) == 0);
	handle(SIGUSR1, busy_handler, SA_ONSTACK);
	raise(SIGUSR1);
	traffic();
	raise(SIGUSR1);
	said("came", came);
}

static sigjmp_buf out;
static volatile int *volatile nowhere = (volatile int *)8;

static void jump(int sig)
{
	came++;
	siglongjmp(out, sig);
}

static void jump_out_of_recv(void)
{
	char b;

	traffic();
	handle(SIGALRM, jump, 0);
	for (int i = 0; i < 20; i++) {
		if (!sigsetjmp(out, 1)) {
			every(3000);
			(void)!recv(harm_pair[1], &b, 1, 0);
			said("not reached", 0);
		}
		every(0);
		traffic();
	}
	said("came", came);
	fds("after");
}

static void jump_out_of_fault(void)
{
	traffic();
	handle(SIGSEGV, jump, 0);
	for (int i = 0; i < 5; i++) {
		if (!sigsetjmp(out, 1))
			*nowhere = 1;
		traffic();
	}
	said("came", came);
}

/* ---- interrupted calls ---- */

static void *writes_later(void *arg)
{
	(void)arg;
	nap(150);
	MUST(send(harm_pair[0], "z", 1, 0) == 1);
	return NULL;
}

static void interrupted(int flags)
{
	sigset_t alarm;
	pthread_t t;
	char b = 0;

	traffic();
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	handle(SIGALRM, count, flags);
	pthread_sigmask(SIG_BLOCK, &alarm, NULL);
	MUST(pthread_create(&t, NULL, writes_later, NULL) == 0);
	pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
	setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 0 }, { 0, 30000 } }, NULL);
	said("recv", recv(harm_pair[1], &b, 1, 0));
	said("came", came);
	setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 0 }, { 0, 20000 } }, NULL);
	said("poll", poll(&(struct pollfd){ .fd = 0 }, 0, 1000));
	said("nanosleep", nanosleep(&(struct timespec){ 0, 1000000 }, NULL));
	pthread_join(t, NULL);
}

static void restart(void)
{
	interrupted(SA_RESTART);
}

static void no_restart(void)
{
	interrupted(0);
}

static void broken_pipe(void)
{
	pid_t pid;

	traffic();
	close(harm_pair[1]);
	pid = fork();
	if (!pid) {
		(void)!send(harm_pair[0], "x", 1, 0);
		_exit(0);
	}
	ended("send", pid);
	said("nosignal", send(harm_pair[0], "x", 1, MSG_NOSIGNAL));
	handle(SIGPIPE, count, 0);
	said("write", write(harm_pair[0], "x", 1));
	said("came", came);
	handle(SIGPIPE, SIG_IGN, 0);
	said("write", write(harm_pair[0], "x", 1));
}

/* ---- whose signal it is ---- */

static void *sends_signals(void *arg)
{
	(void)arg;
	for (int i = 0; i < 50; i++) {
		kill(getpid(), i % 2 ? SIGUSR1 : SIGTERM);
		nap(2);
	}
	kill(getpid(), SIGINT);
	return NULL;
}

/* All threads of the program block them, one waits: ours must not take them. */
static void waits(void)
{
	int sig, n = 0;
	pthread_t t;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	traffic();
	MUST(pthread_create(&t, NULL, sends_signals, NULL) == 0);
	while (sigwait(&all, &sig) == 0 && sig != SIGINT)
		n++;
	said("any", n > 10);
	pthread_join(t, NULL);
}

static void by_descriptor(void)
{
	struct signalfd_siginfo info;
	sigset_t all;
	int fd;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	traffic();
	fd = signalfd(-1, &all, 0);
	for (int i = 0; i < 10; i++) {
		MUST(sigqueue(getpid(), SIGRTMIN + i % 3, (union sigval){ .sival_int = i }) == 0);
		MUST(kill(getpid(), SIGTERM) == 0);
	}
	for (int i = 0; i < 11; i++) {
		MUST(read(fd, &info, sizeof(info)) == sizeof(info));
		printf("%u %d\n", info.ssi_signo, info.ssi_int);
	}
	traffic();
}

static void *notified(void *arg)
{
	(void)arg;
	return NULL;
}

static void timer_thread(union sigval v)
{
	(void)v;
	__atomic_fetch_add(&came, 1, __ATOMIC_RELAXED);
	notified(NULL);
}

static void timers(void)
{
	struct sigevent e = { .sigev_notify = SIGEV_THREAD, .sigev_notify_function = timer_thread };
	struct itimerspec each = { { 0, 5000000 }, { 0, 5000000 } };
	timer_t timer;

	traffic();
	MUST(timer_create(CLOCK_MONOTONIC, &e, &timer) == 0);
	MUST(timer_settime(timer, 0, &each, NULL) == 0);
	for (int i = 0; i < 200 && came < 5; i++) {
		traffic();
		nap(5);
	}
	said("any", came >= 5);
	timer_delete(timer);
}

/* Stopped and continued. */
static void stops(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		traffic();
		kill(getpid(), SIGSTOP);
		traffic();
		_exit(3);
	}
	MUST(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
	kill(pid, SIGCONT);
	ended("child", pid);
	traffic();
}

HARM_MAIN({ "dispositions", dispositions }, { "defaults", defaults }, { "reentered", reentered },
	  { "first-in-handler", first_in_handler }, { "alternate", alternate },
	  { "jump-out-of-recv", jump_out_of_recv }, { "jump-out-of-fault", jump_out_of_fault },
	  { "restart", restart }, { "no-restart", no_restart }, { "broken-pipe", broken_pipe },
	  { "sigwait", waits }, { "signalfd", by_descriptor }, { "timers", timers },
	  { "stops", stops })
