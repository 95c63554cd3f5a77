/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every socket call we hook, over every kind of socket, ends and edges included.
 *
 * Standard output says what each call returned: bare and preloaded it must be
 * the same to the byte, fd numbers too.  The file named by TRUTH gets one line per
 * operation that must be a span: "name transport role bytes error".
 *
 * LIBS: -lpthread */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char truth[1 << 20]; /* written at the end: it must not take an fd meanwhile */
static size_t truth_len;
static const char *transport = "tcp";

static void span(const char *name, const char *role, long bytes, const char *error)
{
	truth_len += (size_t)snprintf(truth + truth_len, sizeof(truth) - truth_len,
				      "%s %s %s %ld %s\n", name, transport, role, bytes, error);
}

/* Prints "what = result errno" and gives the result back. */
static long say(long result, const char *what)
{
	int e = errno;

	printf("%s = %ld%s%s\n", what, result, result < 0 ? " " : "",
	       result < 0 ? strerrorname_np(e) : "");
	errno = e;
	return result;
}

#define SAY(call) (errno = 0, say((long)(call), #call))

/* A call that moves bytes and is a span: role is who we are on that fd. */
#define SEND(role, call)                             \
	do {                                         \
		long n_ = SAY(call);                 \
		if (n_ > 0)                          \
			span("send", role, n_, "-"); \
	} while (0)
#define RECV(role, call)                             \
	do {                                         \
		long n_ = SAY(call);                 \
		if (n_ > 0)                          \
			span("recv", role, n_, "-"); \
	} while (0)

static char buf[65536];

static void one_of_each_stream(int a, int b, const char *ra, const char *rb)
{
	struct iovec iov[2] = { { "gather", 6 }, { " me", 3 } };
	struct iovec in[2] = { { buf, 4 }, { buf + 100, 100 } };
	struct msghdr out_msg = { .msg_iov = iov, .msg_iovlen = 2 };
	struct msghdr in_msg = { .msg_iov = in, .msg_iovlen = 2 };

	SEND(ra, send(a, "hello", 5, 0));
	RECV(rb, recv(b, buf, sizeof(buf), 0));
	SEND(ra, send(a, "flagged", 7, MSG_NOSIGNAL));
	SAY(recv(b, buf, sizeof(buf), MSG_PEEK)); /* looking is not receiving */
	RECV(rb, recv(b, buf, 3, 0));
	RECV(rb, recv(b, buf, sizeof(buf), MSG_DONTWAIT));
	SAY(recv(b, buf, sizeof(buf), MSG_DONTWAIT)); /* EAGAIN */
	SEND(rb, write(b, "back", 4));
	RECV(ra, read(a, buf, sizeof(buf)));
	SEND(ra, writev(a, iov, 2));
	RECV(rb, readv(b, in, 2));
	SEND(ra, sendto(a, "to", 2, 0, NULL, 0));
	RECV(rb, recvfrom(b, buf, sizeof(buf), 0, NULL, NULL));
	SEND(ra, sendmsg(a, &out_msg, 0));
	RECV(rb, recvmsg(b, &in_msg, 0));
	printf("flags %d controllen %zu\n", in_msg.msg_flags, (size_t)in_msg.msg_controllen);
	SAY(send(a, "", 0, 0));
	fflush(stdout);
}

static void mmsg(int a, int b, const char *ra, const char *rb)
{
	struct iovec iov[2] = { { "first", 5 }, { "second!", 7 } };
	struct iovec in[2] = { { buf, 100 }, { buf + 100, 100 } };
	struct mmsghdr out[2] = { { { .msg_iov = &iov[0], .msg_iovlen = 1 }, 0 },
				  { { .msg_iov = &iov[1], .msg_iovlen = 1 }, 0 } };
	struct mmsghdr got[2] = { { { .msg_iov = &in[0], .msg_iovlen = 1 }, 0 },
				  { { .msg_iov = &in[1], .msg_iovlen = 1 }, 0 } };

	if (SAY(sendmmsg(a, out, 2, 0)) == 2)
		span("send", ra, out[0].msg_len + out[1].msg_len, "-");
	if (!strcmp(transport, "tcp")) { /* a stream knows no messages: two would wait for ever */
		RECV(rb, recv(b, buf, 12, MSG_WAITALL));
		return;
	}
	if (SAY(recvmmsg(b, got, 2, 0, NULL)) == 2)
		span("recv", rb, got[0].msg_len + got[1].msg_len, "-");
	printf("lengths %u %u %u %u\n", out[0].msg_len, out[1].msg_len, got[0].msg_len,
	       got[1].msg_len);
}

static void files_and_pipes(int a, int b, const char *ra, const char *rb)
{
	char name[] = "/tmp/atr-sockets.XXXXXX";
	int file = mkstemp(name), p[2];
	off_t offset = 2;

	unlink(name);
	SAY(write(file, "0123456789", 10)); /* no socket: no span */
	SEND(ra, sendfile(a, file, &offset, 5));
	printf("offset %ld\n", (long)offset);
	RECV(rb, recv(b, buf, 100, 0));
	SAY(pipe(p));
	SAY(write(p[1], "through a pipe", 14));
	SEND(ra, splice(p[0], NULL, a, NULL, 100, 0));
	RECV(rb, splice(b, NULL, p[1], NULL, 100, 0));
	SAY(read(p[0], buf, 100));
	SAY(read(file, buf, 100));
	SAY(close(p[0]));
	SAY(close(p[1]));
	SAY(close(file));
}

/* A listener on family; *a the connecting end, *b the accepted one. */
static void stream_pair(int family, int *a, int *b)
{
	struct sockaddr_storage at = { 0 };
	socklen_t len = sizeof(at);
	struct sockaddr_in *v4 = (void *)&at;
	struct sockaddr_in6 *v6 = (void *)&at;
	int l = SAY(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));

	at.ss_family = family;
	if (family == AF_INET)
		v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else if (family == AF_INET6)
		v6->sin6_addr = in6addr_loopback;
	else
		len = offsetof(struct sockaddr_un, sun_path) +
		      sprintf(((struct sockaddr_un *)&at)->sun_path, "/tmp/atr-sockets.%d",
			      getpid()) +
		      1;
	SAY(bind(l, (void *)&at,
		 family == AF_INET    ? sizeof(*v4)
		 : family == AF_INET6 ? sizeof(*v6)
				      : len));
	SAY(listen(l, 8));
	len = sizeof(at);
	SAY(getsockname(l, (void *)&at, &len));
	*a = SAY(socket(family, SOCK_STREAM, 0));
	if (SAY(connect(*a, (void *)&at, len)) == 0)
		span("connect", "INTERNAL", 0, "-");
	len = sizeof(at);
	*b = SAY(family == AF_INET ? accept(l, (void *)&at, &len)
				   : accept4(l, NULL, NULL, SOCK_CLOEXEC));
	span("accept", "SERVER", 0, "-");
	if (family == AF_UNIX) {
		struct sockaddr_un un;
		socklen_t n = sizeof(un);

		getsockname(l, (void *)&un, &n);
		unlink(un.sun_path);
	}
	SAY(close(l));
}

static void reset_and_broken_pipe(void)
{
	struct linger abrupt = { 1, 0 };
	int a, b;

	stream_pair(AF_INET, &a, &b);
	SEND("CLIENT", send(a, "x", 1, 0));
	SAY(setsockopt(b, SOL_SOCKET, SO_LINGER, &abrupt, sizeof(abrupt)));
	SAY(close(b)); /* unread data and linger 0: a reset */
	poll(&(struct pollfd){ a, POLLIN, 0 }, 1, 1000);
	SAY(recv(a, buf, 10, 0));
	span("recv", "CLIENT", 0, "connection_reset");
	SAY(send(a, "x", 1, MSG_NOSIGNAL));
	span("send", "CLIENT", 0, "broken_pipe");
	SAY(close(a));
}

static void shut_down(void)
{
	int a, b;

	stream_pair(AF_INET, &a, &b);
	SAY(shutdown(a, SHUT_WR));
	SAY(recv(b, buf, 10, 0)); /* EOF: no span */
	SEND("SERVER", send(b, "late", 4, 0));
	RECV("CLIENT", recv(a, buf, 10, 0));
	SAY(close(a));
	SAY(close(b));
}

static volatile int alarms;
static void on_alarm(int sig)
{
	alarms++;
}

static void interrupted_and_partial(void)
{
	struct sigaction action = { .sa_handler = on_alarm }; /* no SA_RESTART */
	struct itimerval soon = { .it_value.tv_usec = 30000 };
	int s[2], small = 4096;
	long n, total = 0;

	transport = "unix";
	SAY(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	SAY(recv(s[0], buf, 10, 0)); /* EINTR */
	printf("alarms %d\n", alarms);
	signal(SIGALRM, SIG_DFL);
	SAY(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)));
	SAY(fcntl(s[0], F_SETFL, O_NONBLOCK));
	while ((n = send(s[0], buf, sizeof(buf), 0)) > 0) {
		printf("partial %d\n", n < (long)sizeof(buf));
		span("send", "INTERNAL", n, "-");
		total += n;
	}
	printf("then %s\n", strerrorname_np(errno));
	SAY(shutdown(s[0], SHUT_WR));
	while ((n = recv(s[1], buf, sizeof(buf), 0)) > 0) {
		span("recv", "INTERNAL", n, "-");
		total -= n;
	}
	printf("left %ld\n", total);
	SAY(close(s[0]));
	SAY(close(s[1]));
	transport = "tcp";
}

static void nonblocking_connect(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int l = SAY(socket(AF_INET, SOCK_STREAM, 0)), a, b, error = -1;

	bind(l, (void *)&at, sizeof(at));
	listen(l, 4);
	getsockname(l, (void *)&at, &len);
	a = SAY(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	SAY(connect(a, (void *)&at, sizeof(at)));
	SAY(poll(&(struct pollfd){ a, POLLOUT, 0 }, 1, 1000));
	len = sizeof(error);
	SAY(getsockopt(a, SOL_SOCKET, SO_ERROR, &error, &len));
	printf("SO_ERROR %d\n", error);
	span("connect", "INTERNAL", 0, "-");
	b = SAY(accept(l, NULL, NULL));
	span("accept", "SERVER", 0, "-");
	SEND("CLIENT", send(a, "nb", 2, 0));
	RECV("SERVER", recv(b, buf, 10, 0));
	SAY(connect(a, (void *)&at, sizeof(at))); /* EISCONN (or 0 once): not a connect */
	SAY(close(a));
	SAY(close(b));
	SAY(close(l));

	/* nobody listens there any more */
	a = SAY(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	SAY(connect(a, (void *)&at, sizeof(at)));
	SAY(poll(&(struct pollfd){ a, POLLOUT, 0 }, 1, 1000));
	len = sizeof(error);
	SAY(getsockopt(a, SOL_SOCKET, SO_ERROR, &error, &len));
	printf("SO_ERROR %s\n", strerrorname_np(error));
	span("connect", "INTERNAL", 0, "connection_refused");
	SAY(close(a));

	a = SAY(socket(AF_INET, SOCK_STREAM, 0));
	SAY(connect(a, (void *)&at, sizeof(at)));
	span("connect", "INTERNAL", 0, "connection_refused");
	SAY(close(a));
}

static void datagrams(int family)
{
	struct sockaddr_storage at = { .ss_family = family }, from;
	socklen_t len, from_len = sizeof(from);
	int r = SAY(socket(family, SOCK_DGRAM, 0)), s = SAY(socket(family, SOCK_DGRAM, 0));
	struct iovec iov = { "msg", 3 }, in = { buf, 100 };
	struct msghdr out_msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct msghdr in_msg = {
		.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &in, .msg_iovlen = 1
	};

	if (family == AF_INET) {
		((struct sockaddr_in *)&at)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		len = sizeof(struct sockaddr_in);
	} else if (family == AF_INET6) {
		((struct sockaddr_in6 *)&at)->sin6_addr = in6addr_loopback;
		len = sizeof(struct sockaddr_in6);
	} else {
		len = offsetof(struct sockaddr_un, sun_path) +
		      sprintf(((struct sockaddr_un *)&at)->sun_path, "/tmp/atr-dgram.%d",
			      getpid()) +
		      1;
	}
	SAY(bind(r, (void *)&at, len));
	len = sizeof(at);
	SAY(getsockname(r, (void *)&at, &len));
	SEND("?", sendto(s, "datagram", 8, 0, (void *)&at, len));
	RECV("?", recvfrom(r, buf, 100, 0, (void *)&from, &from_len));
	out_msg.msg_name = &at;
	out_msg.msg_namelen = len;
	SEND("?", sendmsg(s, &out_msg, 0));
	RECV("?", recvmsg(r, &in_msg, 0));
	SAY(recv(r, buf, 100, MSG_DONTWAIT));
	SAY(connect(s, (void *)&at, len));
	span("dgram-connect", "INTERNAL", 0, "-");
	SEND("?", send(s, "connected", 9, 0));
	SAY(recv(r, buf, 100, MSG_PEEK));
	RECV("?", recv(r, buf, 4, 0)); /* truncated by the kernel */
	mmsg(s, r, "?", "?");
	if (family == AF_UNIX)
		unlink(((struct sockaddr_un *)&at)->sun_path);
	SAY(close(s));
	SAY(close(r));
}

/* Every way an fd gets another number or goes away; then its number is someone else's. */
static void numbers(void)
{
	int a, b, d, e, f, g, p[2];

	stream_pair(AF_INET, &a, &b);
	d = SAY(dup(a));
	e = SAY(dup2(a, 40));
	f = SAY(dup3(a, 41, O_CLOEXEC));
	g = SAY(fcntl(a, F_DUPFD, 50));
	SAY(fcntl(a, F_DUPFD_CLOEXEC, 60));
	SAY(close(a));
	SEND("CLIENT", send(d, "d", 1, 0));
	SEND("CLIENT", send(e, "e", 1, 0));
	SEND("CLIENT", write(f, "f", 1));
	SEND("CLIENT", write(g, "g", 1));
	SEND("CLIENT", write(60, "h", 1));
	RECV("SERVER", recv(b, buf, 5, MSG_WAITALL));
	SAY(dup2(d, d));
	SAY(dup2(-1, 40));
	SEND("CLIENT", write(40, "i", 1));
	SAY(pipe(p));
	SAY(dup2(p[1], 40)); /* a pipe under a socket's number */
	SAY(write(40, "pipe", 4));
	SAY(read(p[0], buf, 100));
	SAY(close_range(41, 55, 0));
	SAY(write(41, "x", 1));
	SAY(write(50, "x", 1));
	SEND("CLIENT", write(60, "j", 1));
	RECV("SERVER", read(b, buf, 100));
	SAY(close_range(60, 70, CLOSE_RANGE_CLOEXEC));
	SEND("CLIENT", write(60, "k", 1));
	SAY((closefrom(30), 0));
	SAY(write(60, "x", 1));
	SAY(dup2(b, 60));
	SAY(dup2(p[1], b)); /* and the other way round */
	SAY(write(b, "pipe", 4));
	SEND("SERVER", send(60, "l", 1, 0));
	RECV("CLIENT", recv(d, buf, 10, 0));
	SAY(close(60));
	SAY(close(b));
	SAY(close(p[0]));
	SAY(close(p[1]));
	SAY(close(d));
	SAY(close(d));		 /* EBADF */
	SAY(send(d, "x", 1, 0)); /* EBADF: nothing was ever sent anywhere */
}

/* What a program compiled with _FORTIFY_SOURCE calls. */
static void fortified(void)
{
	ssize_t (*recv_chk)(int, void *, size_t, size_t, int) = dlsym(RTLD_DEFAULT, "__recv_chk");
	ssize_t (*read_chk)(int, void *, size_t, size_t) = dlsym(RTLD_DEFAULT, "__read_chk");
	ssize_t (*recvfrom_chk)(int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *) =
		dlsym(RTLD_DEFAULT, "__recvfrom_chk");
	int (*poll_chk)(struct pollfd *, nfds_t, int, size_t) = dlsym(RTLD_DEFAULT, "__poll_chk");
	struct pollfd p = { .events = POLLIN };
	int s[2];

	transport = "unix";
	SAY(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	SEND("INTERNAL", send(s[0], "abcdefghi", 9, 0));
	p.fd = s[1];
	SAY(poll_chk(&p, 1, 100, sizeof(p)));
	RECV("INTERNAL", recv_chk(s[1], buf, 3, sizeof(buf), 0));
	RECV("INTERNAL", read_chk(s[1], buf, 3, sizeof(buf)));
	RECV("INTERNAL", recvfrom_chk(s[1], buf, 3, sizeof(buf), 0, NULL, NULL));
	SAY(close(s[0]));
	SAY(close(s[1]));
	transport = "tcp";
}

static void bad_arguments(void)
{
	int s = SAY(socket(AF_INET, SOCK_STREAM, 0));
	struct sockaddr_in at = { .sin_family = 12345 };
	volatile int negative = -1;

	SAY(socket(-1, 77, 9));
	SAY(send(-1, "x", 1, 0));
	SAY(recv(99999, buf, 1, 0));
	SAY(write(2147483647, "x", 1));
	SAY(read(-5, buf, 1));
	SAY(accept(s, NULL, NULL));
	span("accept", "?", 0, "?");
	SAY(accept(0, NULL, NULL));
	SAY(connect(s, (void *)&at, sizeof(at)));
	span("connect", "INTERNAL", 0, "?");
	SAY(connect(s, NULL, 0));
	span("connect", "INTERNAL", 0, "?");
	SAY(connect(-1, (void *)&at, sizeof(at)));
	SAY(sendmsg(s, NULL, 0));
	span("send", "?", 0, "?");
	SAY(writev(s, NULL, negative));
	span("send", "?", 0, "?");
	SAY(recvmsg(s, (void *)8, 0));
	span("recv", "?", 0, "?");
	SAY(recvmmsg(s, (void *)8, 2, 0, (void *)16));
	span("recv", "?", 0, "?");
	SAY(send(s, (void *)8, 100, MSG_NOSIGNAL));
	span("send", "?", 0, "?");
	SAY(dup2(s, -1));
	SAY(dup3(s, s, 0));
	SAY(fcntl(s, F_DUPFD, -1));
	SAY(fcntl(-1, F_GETFD));
	SAY(fcntl(s, F_GETFD));
	SAY(fcntl(s, F_SETFD, FD_CLOEXEC));
	SAY(fcntl(s, F_GETFD));
	SAY(close(s));
	SAY(close(-1));
	SAY(close_range(10, 5, 0));
}

int main(int argc, char **argv)
{
	const char *only = argc > 1 ? argv[1] : "";
	int a, b;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(only, "tcp4") || !*only) {
		stream_pair(AF_INET, &a, &b);
		one_of_each_stream(a, b, "CLIENT", "SERVER");
		mmsg(a, b, "CLIENT", "SERVER");
		files_and_pipes(a, b, "CLIENT", "SERVER");
		SAY(close(a));
		SAY(close(b));
	}
	if (!strcmp(only, "tcp6") || !*only) {
		stream_pair(AF_INET6, &a, &b);
		one_of_each_stream(a, b, "CLIENT", "SERVER");
		SAY(close(a));
		SAY(close(b));
	}
	if (!strcmp(only, "unix") || !*only) {
		transport = "unix";
		stream_pair(AF_UNIX, &a, &b);
		one_of_each_stream(a, b, "CLIENT", "SERVER");
		SAY(close(a));
		SAY(close(b));
		int s[2];
		SAY(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
		one_of_each_stream(s[0], s[1], "INTERNAL", "INTERNAL");
		SAY(close(s[0]));
		SAY(close(s[1]));
		datagrams(AF_UNIX);
		transport = "tcp";
	}
	if (!strcmp(only, "udp") || !*only) {
		transport = "udp";
		datagrams(AF_INET);
		datagrams(AF_INET6);
		transport = "tcp";
	}
	if (!strcmp(only, "errors") || !*only) {
		reset_and_broken_pipe();
		shut_down();
		interrupted_and_partial();
		nonblocking_connect();
	}
	if (!strcmp(only, "numbers") || !*only)
		numbers();
	if (!strcmp(only, "fortify") || !*only)
		fortified();
	if (!strcmp(only, "bad") || !*only)
		bad_arguments();
	if (getenv("TRUTH")) {
		FILE *f = fopen(getenv("TRUTH"), "w");

		fwrite(truth, 1, truth_len, f);
		fclose(f);
	}
	return 0;
}
