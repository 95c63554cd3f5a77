/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forks CASE: programs that make processes.
 *
 * LIBS: -lpthread */
#include "harm.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mman.h>

extern char **environ;

/* glibc 2.34 */
#pragma weak _Fork
extern pid_t _Fork(void);

static void child_works(void)
{
	traffic();
	traffic();
	_exit(7);
}

static void plain(void)
{
	pid_t pid;

	for (int i = 0; i < 3; i++) {
		pid = fork();
		if (!pid)
			child_works();
		ended("fork", pid);
		traffic();
	}
	pid = fork();
	if (!pid) {
		traffic();
		exit(8);
	}
	ended("exit", pid);
	fds("after");
}

static void raw(void)
{
	pid_t pid;

	traffic();
	pid = _Fork ? _Fork() : fork();
	if (!pid)
		child_works();
	ended("_Fork", pid);
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (!pid)
		child_works();
	ended("clone", pid);
	traffic();
}

static int cloned(void *arg)
{
	traffic();
	return (int)(long)arg;
}

/* A process with its own memory, with ours, with our files. */
static void clones(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	static const int flags[] = { 0, CLONE_VM, CLONE_FILES, CLONE_VM | CLONE_FILES, CLONE_FS };

	traffic();
	for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		pid_t pid = clone(cloned, stack + sizeof(stack), flags[i] | SIGCHLD,
				  (void *)(long)(i + 1));

		ended("clone", pid);
		traffic();
	}
	fds("after");
}

/* The first thread leaves by the kernel's exit(): the others, if there are, go on. */
static void *goes_on(void *arg)
{
	nap(30);
	traffic();
	printf("went on\n");
	exit((int)(long)arg);
}

static void exits_by_kernel(void)
{
	pthread_t t;
	pid_t pid;

	pid = fork();
	if (!pid) {
		traffic();
		syscall(SYS_exit, 6);
	}
	ended("one thread", pid);
	pid = fork();
	if (!pid) {
		traffic();
		MUST(pthread_create(&t, NULL, goes_on, (void *)5) == 0);
		syscall(SYS_exit, 6);
	}
	ended("two threads", pid);
}

/* The same, by an instruction that nobody sees. */
static void exits_raw(void)
{
	pid_t pid = fork();

	if (!pid) {
		traffic();
#if defined(__x86_64__)
		__asm__ volatile("syscall" ::"a"(SYS_exit), "D"(6) : "rcx", "r11", "memory");
#else
		syscall(SYS_exit, 6);
#endif
	}
	ended("child", pid);
}

static void vforked(void)
{
	int file = open("file", O_RDWR | O_CREAT | O_APPEND, 0600);

	traffic();
	for (int i = 0; i < 10; i++) {
		volatile int fd = harm_pair[0];
		pid_t pid = vfork();

		if (!pid) {
			/* These are the child's: the parent's numbers stay what they are. */
			close(fd);
			close(harm_pair[1]);
			dup2(file, 1);
			dup2(file, fd);
			(void)!write(fd, "to the file\n", 12);
			if (i % 2)
				_exit(i);
			execl("/bin/echo", "echo", "child", NULL);
			_exit(127);
		}
		ended("vfork", pid);
		traffic();
	}
	fds("after");
}

static void spawns(void)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	char *const argv[] = { "sh", "-c", "echo spawned; ls /proc/self/fd; exit 5", NULL };
	sigset_t all;
	pid_t pid;
	int ret;

	traffic();
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, 1, 9);
	posix_spawn_file_actions_addclose(&actions, harm_pair[0]);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawnattr_init(&attr);
	sigfillset(&all);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	ret = posix_spawn(&pid, "/bin/sh", &actions, &attr, argv, environ);
	ended("sh", pid);
	said("spawn", ret);
	said("spawnp", posix_spawnp(&pid, "no-such-program", NULL, NULL, argv, environ));
	said("system", WEXITSTATUS(system("echo system; exit 6")));
	for (int i = 0; i < 3; i++) {
		char line[64] = "";
		FILE *p = popen("echo popen; exit 4", "r");

		MUST(p && fgets(line, sizeof(line), p));
		printf("%s", line);
		traffic();
		said("pclose", WEXITSTATUS(pclose(p)));
	}
	traffic();
}

/* The daemon's way: fork, setsid, fork, close everything. */
static void twice(void)
{
	int p[2], out = fcntl(1, F_DUPFD, 300);
	char b[64];
	ssize_t n;

	traffic();
	MUST(pipe(p) == 0);
	if (!fork()) {
		setsid();
		if (fork())
			_exit(0);
		for (int fd = 0; fd < 64; fd++)
			if (fd != p[1])
				close(fd);
		MUST(open("/dev/null", O_RDWR) == 0 && dup(0) == 1 && dup(0) == 2);
		harm_pair[0] = harm_pair[1] = -1;
		for (int i = 0; i < 20; i++)
			traffic();
		nap(100);
		MUST(dup2(out, 1) == 1);
		close(out);
		fds("daemon");
		MUST(write(p[1], "daemon\n", 7) == 7);
		exit(0);
	}
	close(p[1]);
	wait(NULL);
	while ((n = read(p[0], b, sizeof(b))) > 0) /* its end is the daemon's */
		MUST(write(1, b, (size_t)n) == n);
}

/* ---- servers ---- */

static int listening(struct sockaddr_in *at)
{
	socklen_t len = sizeof(*at);
	int s = socket(AF_INET, SOCK_STREAM, 0);

	*at = (struct sockaddr_in){ .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	MUST(bind(s, (void *)at, sizeof(*at)) == 0 && listen(s, 64) == 0);
	MUST(getsockname(s, (void *)at, &len) == 0);
	return s;
}

static void serve(int s)
{
	char b[64];
	int c;

	for (int n = 0; n < 10; n++) {
		c = accept(s, NULL, NULL);
		MUST(c >= 0);
		MUST(read(c, b, sizeof(b)) > 0 && write(c, "answer", 6) == 6);
		close(c);
	}
	exit(0);
}

/* Workers of one listening socket, some killed, replaced by the parent. */
static void prefork(void)
{
	struct sockaddr_in at;
	int s = listening(&at), answers = 0, ends = 0;
	pid_t pids[4];

	traffic();
	for (int i = 0; i < 4; i++) {
		pids[i] = fork();
		if (!pids[i])
			serve(s);
	}
	for (int i = 0; i < 30; i++) {
		int c = socket(AF_INET, SOCK_STREAM, 0);
		char b[16];

		MUST(connect(c, (void *)&at, sizeof(at)) == 0 && write(c, "ask", 3) == 3);
		answers += read(c, b, sizeof(b)) == 6;
		close(c);
	}
	for (int i = 0; i < 4; i++)
		kill(pids[i], SIGKILL);
	while (wait(NULL) > 0)
		ends++;
	printf("answers %d, workers %d\n", answers, ends);
}

/* ---- fork among threads ---- */

static volatile int stop;

static void *busy(void *arg)
{
	int p[2];
	char b;

	(void)arg;
	while (!stop) {
		MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, p) == 0);
		for (int i = 0; i < 20; i++)
			MUST(send(p[0], "x", 1, 0) == 1 && recv(p[1], &b, 1, 0) == 1);
		close(p[0]);
		close(p[1]);
		free(malloc(100));
	}
	return NULL;
}

/* forks among-threads, or few-among-threads */
static int n_forks = 90;

static void among_threads(void)
{
	pthread_t t[3];
	int wrong = 0;

	for (int i = 0; i < 3; i++)
		MUST(pthread_create(&t[i], NULL, busy, NULL) == 0);
	for (int i = 0; i < n_forks; i++) {
		int status = -1;
		pid_t pid = fork();

		if (!pid) {
			alarm(10);
			free(malloc(1000));
			harm_pair[0] = -1;
			traffic();
			if (i % 3)
				_exit(5);
			exit(5);
		}
		MUST(waitpid(pid, &status, 0) == pid);
		wrong += status != 5 << 8;
	}
	stop = 1;
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	said("wrong", wrong);
}

static void few_among_threads(void)
{
	n_forks = 25;
	among_threads();
}

/* fork() out of a signal handler, in the middle of anything. */
static volatile int forked_in_handler;

static void forks_in_handler(int sig)
{
	int saved = errno;
	pid_t pid = fork();

	(void)sig;
	if (!pid)
		_exit(0);
	if (pid > 0 && waitpid(pid, NULL, 0) == pid)
		forked_in_handler++;
	errno = saved;
}

static void in_handler(void)
{
	traffic();
	signal(SIGUSR1, forks_in_handler);
	for (int i = 0; i < 30; i++) {
		pid_t pid = getpid(), other = fork();

		if (!other) {
			nap(1 + i % 3); /* not in the middle of the parent's fork(), which is no
					   place for it */
			kill(pid, SIGUSR1);
			_exit(0);
		}
		for (int n = 0; n < 100000 && forked_in_handler <= i; n++)
			traffic();
		while (waitpid(other, NULL, 0) < 0 && errno == EINTR)
			;
	}
	said("handled", forked_in_handler > 0);
}

/* ---- many ---- */

/* Short-lived children one after the other: as quick at the end, and no memory left. */
static long resident(void)
{
	long size = 0, pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	MUST(f && fscanf(f, "%ld %ld", &size, &pages) == 2);
	fclose(f);
	return pages;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void many(void)
{
	double began = 0, first = 0, last = 0;
	long before = 0;

	traffic();
	for (int i = 0; i < 10000; i++) {
		int status = -1;
		pid_t pid;

		if (i == 1000) {
			before = resident();
			first = now() - began;
		}
		if (i % 9000 == 0)
			began = now();
		pid = fork();
		if (!pid) {
			if (i % 200 == 0)
				traffic();
			_exit(3);
		}
		MUST(waitpid(pid, &status, 0) == pid && status == 3 << 8);
	}
	last = now() - began;
	if (getenv("HARM_TIMES"))
		fprintf(stderr, "first 1000 %.0f ms, last 1000 %.0f ms\n", first * 1e3, last * 1e3);
	said("slower", last > 4 * first + 2);
	/* AddressSanitizer keeps what was freed, and our thread connects again and again. */
	said("pages more", resident() > before + (getenv("ASAN_OPTIONS") ? 16384 : 64));
	fds("after");
}

HARM_MAIN({ "plain", plain }, { "raw", raw }, { "clones", clones }, { "exits", exits_by_kernel },
	  { "exits-raw", exits_raw }, { "vfork", vforked }, { "spawns", spawns },
	  { "twice", twice }, { "prefork", prefork }, { "among-threads", among_threads },
	  { "few-among-threads", few_among_threads }, { "in-handler", in_handler },
	  { "many", many })
