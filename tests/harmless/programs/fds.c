/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fds CASE: programs that are hard on the table of descriptors.
 *
 * LIBS: -lpthread */
#include "harm.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2
#endif

static void list(void)
{
	fds("start");
	traffic();
	fds("first");
	nap(60); /* our libraries are being loaded, the collector is connected to */
	fds("later");
	for (int i = 0; i < 100; i++)
		traffic();
	nap(250);
	fds("exported");
	said("lowest", dup(0));
}

/* After everything was closed: the numbers are files', and only the program writes to them. */
static void files(void)
{
	char name[32];

	for (int i = 0; i < 12; i++) {
		snprintf(name, sizeof(name), "file%d", i);
		MUST(open(name, O_RDWR | O_CREAT | O_TRUNC, 0600) >= 0);
	}
	harm_pair[0] = harm_pair[1] = -1;
	for (int i = 0; i < 50; i++) {
		traffic();
		nap(1);
	}
	nap(250);
	fds("files");
}

static void close_loop(void)
{
	traffic();
	for (int fd = 3; fd < 1024; fd++)
		close(fd);
	fds("closed");
	files();
}

static void close_all_range(void)
{
	traffic();
	said("close_range", close_range(3, ~0u, 0));
	fds("closed");
	files();
}

static void close_unshare(void)
{
	traffic();
	said("close_range", close_range(3, ~0u, CLOSE_RANGE_UNSHARE));
	fds("closed");
	files();
}

static void close_cloexec(void)
{
	traffic();
	said("close_range", close_range(3, ~0u, CLOSE_RANGE_CLOEXEC));
	fds("marked");
	traffic();
	execl("/bin/ls", "ls", "/proc/self/fd", NULL);
}

static void close_from(void)
{
	traffic();
	closefrom(3);
	fds("closed");
	files();
}

/* Past us: we do not see it, and must not mind. */
static void close_raw(void)
{
	traffic();
	said("close_range", syscall(SYS_close_range, 3, ~0u, 0));
	fds("closed");
	files();
}

static void close_std(void)
{
	int out;

	traffic();
	out = fcntl(1, F_DUPFD, 500);
	for (int fd = 0; fd < 500; fd++)
		close(fd);
	files();
	MUST(dup2(out, 1) == 1);
	fds("after");
}

static void dup_over(void)
{
	int file = open("file", O_RDWR | O_CREAT | O_APPEND, 0600), out = fcntl(1, F_DUPFD, 1000);

	traffic();
	for (int fd = 0; fd < 200; fd++)
		if (fd != file)
			MUST(dup2(file, fd) == fd);
	harm_pair[0] = harm_pair[1] = -1;
	for (int i = 0; i < 50; i++) {
		traffic();
		nap(1);
	}
	for (int fd = 0; fd < 200; fd++)
		MUST(write(fd, "x", 1) == 1);
	nap(250);
	MUST(dup2(out, 1) == 1);
	fds("after");
}

static void dup_fd(void)
{
	traffic();
	for (int least = 0; least < 1000; least += 37) {
		int fd = fcntl(harm_pair[0], least % 2 ? F_DUPFD : F_DUPFD_CLOEXEC, least);

		said("dup", fd);
		MUST(send(fd, "x", 1, 0) == 1);
	}
	said("too high", fcntl(harm_pair[0], F_DUPFD, 1 << 30));
	fds("after");
}

static int pass(int over, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = "", b = 'p';
	struct iovec iov = { &b, 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	return (int)sendmsg(over, &m, 0);
}

static int passed(int over)
{
	char control[CMSG_SPACE(sizeof(int))] = "", b;
	struct iovec iov = { &b, 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	int fd = -1;

	MUST(recvmsg(over, &m, 0) == 1 && m.msg_controllen >= CMSG_LEN(sizeof(int)));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
	return fd;
}

/* Sockets and files arrive under numbers nobody told us of. */
static void passing(void)
{
	char b[8] = "";

	traffic();
	for (int i = 0; i < 20; i++) {
		int other[2], file = open("file", O_RDWR | O_CREAT | O_APPEND, 0600), fd;

		MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, other) == 0);
		MUST(pass(harm_pair[0], i % 2 ? other[0] : file) == 1);
		close(other[0]);
		fd = passed(harm_pair[1]);
		said("got", fd);
		MUST(write(fd, "x", 1) == 1);
		if (i % 2)
			MUST(recv(other[1], b, 1, 0) == 1);
		close(fd);
		close(file);
		close(other[1]);
	}
	fds("after");
}

static void nofile(int early)
{
	struct rlimit r = { 16, 16 };
	int n = 0, fd = -1;

	if (!early)
		traffic();
	MUST(setrlimit(RLIMIT_NOFILE, &r) == 0);
	traffic();
	nap(50);
	while ((fd = open("/dev/null", O_RDONLY)) >= 0)
		n++;
	said("full", fd);
	said("opened", n);
	for (int i = 0; i < 50; i++)
		traffic();
	nap(250);
	said("socket", socket(AF_INET, SOCK_STREAM, 0));
	said("accept", accept(0, NULL, NULL));
	said("dup", dup(0));
	fds("after");
}

static void limit16(void)
{
	nofile(0);
}

static void limit16_early(void)
{
	nofile(1);
}

/* Numbers go round between threads: whoever has one has what it opened. */
static void *turn(void *arg)
{
	char mine = (char)('a' + (int)(long)arg), got, name[16];

	snprintf(name, sizeof(name), "file-%c", mine);
	for (int i = 0; i < 400; i++) {
		int p[2], file;

		MUST(socketpair(AF_UNIX, i % 3 ? SOCK_STREAM : SOCK_SEQPACKET, 0, p) == 0);
		MUST(send(p[0], &mine, 1, 0) == 1);
		MUST(recv(p[1], &got, 1, 0) == 1 && got == mine);
		close(p[0]);
		file = open(name, O_WRONLY | O_CREAT | O_APPEND, 0600);
		MUST(write(file, &mine, 1) == 1);
		MUST(read(p[1], &got, 1) == 0);
		close(p[1]);
		close(file);
	}
	return NULL;
}

static void reuse(void)
{
	pthread_t t[4];

	for (long i = 0; i < 4; i++)
		MUST(pthread_create(&t[i], NULL, turn, (void *)i) == 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	fds("after");
}

/* A thread is in recv() when another closes the number, and gives it to a file. */
static void *blocked(void *arg)
{
	char b[8] = "";
	ssize_t n = recv((int)(long)arg, b, sizeof(b), 0);

	said("recv", n);
	printf("%s\n", b);
	n = recv((int)(long)arg, b, sizeof(b), 0);
	said("again", n);
	return NULL;
}

static void close_blocked(void)
{
	pthread_t t;
	int p[2], file, ret;

	traffic();
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, p) == 0);
	MUST(pthread_create(&t, NULL, blocked, (void *)(long)p[1]) == 0);
	nap(50);
	ret = close(p[1]);
	file = open("file", O_RDWR | O_CREAT, 0600);
	MUST(send(p[0], "late", 4, MSG_NOSIGNAL) == 4);
	pthread_join(t, NULL);
	said("close", ret);
	said("file", file);
	MUST(write(file, "x", 1) == 1);
	traffic();
	fds("after");
}

static void *accepting(void *arg)
{
	return (void *)(long)(accept((int)(long)arg, NULL, NULL) < 0 ? errno : 0);
}

static void shutdown_blocked(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int s = socket(AF_INET, SOCK_STREAM, 0);
	void *result;
	pthread_t t;

	traffic();
	MUST(bind(s, (void *)&at, sizeof(at)) == 0 && listen(s, 4) == 0);
	MUST(pthread_create(&t, NULL, accepting, (void *)(long)s) == 0);
	nap(50);
	said("shutdown", shutdown(s, SHUT_RDWR));
	pthread_join(t, &result);
	said("accept", (long)result);
	said("close", close(s));
	said("close again", close(s));
}

/* What a child inherits, across fork and exec. */
static void inherit(void)
{
	traffic();
	nap(50);
	if (!fork()) {
		traffic();
		fds("child");
		execl("/bin/ls", "ls", "/proc/self/fd", NULL);
	}
	wait(NULL);
	MUST(system("ls /proc/self/fd") == 0);
}

/* The end of a pipe comes when the program closes it: nobody else has it. */
static void end_of_pipe(void)
{
	char b;

	for (int i = 0; i < 20; i++) {
		int p[2];

		MUST(pipe(p) == 0);
		traffic(); /* the first time it starts our thread, with the pipe open */
		close(p[1]);
		MUST(read(p[0], &b, 1) == 0);
		close(p[0]);
	}
	nap(100);
	struct pollfd f = { .fd = harm_pair[1], .events = POLLIN };

	close(harm_pair[0]);
	said("poll", poll(&f, 1, 1000));
	said("events", f.revents);
}

/* A lock of a file goes when the process closes any descriptor of it; and not before. */
static void locks(void)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open("file", O_RDWR | O_CREAT, 0600);
	pid_t pid;

	MUST(fcntl(fd, F_SETLK, &l) == 0);
	for (int i = 0; i < 50; i++)
		traffic();
	nap(200);
	pid = fork();
	if (!pid)
		_exit(fcntl(fd, F_SETLK, &l) == 0 ? 1 : 2);
	ended("child", pid);
}

HARM_MAIN({ "list", list }, { "close-loop", close_loop }, { "close_range", close_all_range },
	  { "close_range-unshare", close_unshare }, { "close_range-cloexec", close_cloexec },
	  { "closefrom", close_from }, { "close-raw", close_raw }, { "close-std", close_std },
	  { "dup-over", dup_over }, { "dupfd", dup_fd }, { "passing", passing },
	  { "limit16", limit16 }, { "limit16-early", limit16_early }, { "reuse", reuse },
	  { "close-blocked", close_blocked }, { "shutdown-blocked", shutdown_blocked },
	  { "inherit", inherit }, { "end-of-pipe", end_of_pipe }, { "locks", locks })
