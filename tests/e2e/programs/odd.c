/* SPDX-License-Identifier: Apache-2.0 */
/*
 * odd NAME: calls that bare programs survive.  Prints what came of them; every number
 * the same bare and preloaded.
 *
 *	pointers	addresses and lengths that are no memory
 *	unspec		one TCP socket connected, disconnected and connected elsewhere
 *	daemon		fds 0..2 a socket, then daemon(), then writes to /dev/null
 *	freopen		a socket's number becomes a file's inside libc
 *	jump		siglongjmp() out of a signal handler, again and again, while sending
 */
/* LIBS: -lpthread */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static void *volatile nowhere = (void *)8;

static void said(const char *what, long ret)
{
	printf("%s %ld %d\n", what, ret, ret < 0 ? errno : 0);
}

static int bound(int type, struct sockaddr_in *at)
{
	socklen_t len = sizeof(*at);
	int s = socket(AF_INET, type, 0);

	*at = (struct sockaddr_in){ .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (bind(s, (void *)at, len) || getsockname(s, (void *)at, &len))
		abort();
	if (type == SOCK_STREAM && listen(s, 8))
		abort();
	return s;
}

static int dialed(const struct sockaddr_in *at)
{
	int s = socket(AF_INET, SOCK_STREAM, 0);

	if (connect(s, (void *)at, sizeof(*at)))
		abort();
	return s;
}

static void pointers(void)
{
	struct sockaddr_in udp_at, tcp_at;
	int udp = bound(SOCK_DGRAM, &udp_at), tcp = bound(SOCK_STREAM, &tcp_at);
	char b[16] = "hello", name[128];
	struct iovec iov = { b, 5 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_name = nowhere };
	struct mmsghdr mm = { .msg_hdr = m };
	socklen_t len = sizeof(name);

	for (int i = 0; i < 6; i++)
		(void)!sendto(udp, b, 5, 0, (void *)&udp_at, sizeof(udp_at));
	said("recvfrom, no length", recvfrom(udp, b, 5, 0, (void *)name, nowhere));
	said("recvfrom, no address", recvfrom(udp, b, 5, 0, nowhere, &len));
	said("recvmsg, name of length 0", recvmsg(udp, &m, 0));
	said("recvmmsg, name of length 0", recvmmsg(udp, &mm, 1, 0, NULL));
	m.msg_name = name;
	m.msg_namelen = 4;
	said("recvmsg, short name", recvmsg(udp, &m, 0));
	said("recvmsg, nowhere", recvmsg(udp, nowhere, 0));
	said("sendto, nowhere", sendto(udp, b, 5, 0, nowhere, 16));
	said("sendmsg, nowhere", sendmsg(udp, nowhere, 0));
	said("connect, nowhere", connect(dialed(&tcp_at), nowhere, 16) < 0 ? -1 : 0);
	said("bind, nowhere", bind(socket(AF_INET, SOCK_STREAM, 0), nowhere, 16));
	said("accept, no length", accept(tcp, (void *)name, nowhere) < 0 ? -1 : 0);
	(void)dialed(&tcp_at);
	said("accept4, no length", accept4(tcp, (void *)name, nowhere, 0) < 0 ? -1 : 0);
	(void)dialed(&tcp_at);
	said("accept, nothing", accept(tcp, NULL, NULL) < 0 ? -1 : 0);
	said("send, nowhere", send(dialed(&tcp_at), nowhere, 5, 0));
	said("socketpair, nowhere", socketpair(AF_UNIX, SOCK_STREAM, 0, nowhere));
	said("getsockopt, nowhere", getsockopt(tcp, SOL_SOCKET, SO_ERROR, nowhere, &len));
}

static void unspec(void)
{
	struct sockaddr_in a, b, none = { .sin_family = AF_UNSPEC };
	int s = (bound(SOCK_STREAM, &a), bound(SOCK_STREAM, &b), socket(AF_INET, SOCK_STREAM, 0));

	said("connect", connect(s, (void *)&a, sizeof(a)));
	said("send", send(s, "x", 1, 0));
	said("unspec", connect(s, (void *)&none, sizeof(none)));
	said("connect", connect(s, (void *)&b, sizeof(b)));
	said("send", send(s, "x", 1, 0));
	printf("ports %d %d\n", ntohs(a.sin_port), ntohs(b.sin_port));
}

static void to_daemon(void)
{
	int pair[2], out = dup(1), status;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		abort();
	for (int i = 0; i < 3; i++)
		dup2(pair[0], i);
	if (fork() == 0) {
		if (write(1, "x", 1) != 1 || daemon(1, 0))
			abort();
		for (int i = 0; i < 10; i++)
			(void)!write(1, "to nowhere", 10);
		(void)!write(out, "daemon\n", 7);
		exit(0);
	}
	(void)wait(&status);
	dprintf(out, "parent %d\n", WEXITSTATUS(status));
	usleep(300000);
}

static void reopen(void)
{
	int pair[2];
	FILE *f;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		abort();
	said("send", send(pair[0], "x", 1, 0));
	f = freopen("/dev/null", "w", fdopen(pair[0], "w"));
	printf("same number %d\n", fileno(f) == pair[0]);
	for (int i = 0; i < 10; i++)
		(void)!write(pair[0], "to a file", 9);
}

static sigjmp_buf out;
static volatile int jumps;

static void handler(int sig)
{
	(void)sig;
	jumps++;
	siglongjmp(out, 1);
}

static void jump(void)
{
	struct itimerval every = { { 0, 200 }, { 0, 200 } }, never = { 0 };
	int pair[2];
	char b[8];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		abort();
	signal(SIGALRM, handler);
	(void)sigsetjmp(out, 1);
	if (jumps < 2000) {
		setitimer(ITIMER_REAL, &every, NULL);
		for (;;) {
			(void)!send(pair[0], "x", 1, MSG_DONTWAIT);
			(void)!recv(pair[1], b, 1, MSG_DONTWAIT);
		}
	}
	setitimer(ITIMER_REAL, &never, NULL);
	signal(SIGALRM, SIG_IGN);
	while (recv(pair[1], b, 7, MSG_DONTWAIT) > 0)
		;
	usleep(300000); /* let the rings be drained */
	for (int i = 0; i < 50; i++)
		if (send(pair[0], "the last", 8, 0) != 8 || recv(pair[1], b, 8, 0) != 8)
			abort();
	printf("jumped\n");
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} all[] = { { "pointers", pointers },
		    { "unspec", unspec },
		    { "daemon", to_daemon },
		    { "freopen", reopen },
		    { "jump", jump } };

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	for (unsigned i = 0; argc > 1 && i < sizeof(all) / sizeof(all[0]); i++)
		if (!strcmp(argv[1], all[i].name))
			all[i].run();
	return 0;
}
