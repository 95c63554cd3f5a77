/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends messages in pieces, and tells what every call returned.
 *
 *	http-split client|server ADDRESS MESSAGES PLANS
 *
 * ADDRESS is a port of 127.0.0.1 or the path of a Unix socket.  MESSAGES holds, one
 * after the other, a line with a length and that many bytes.  Each line of PLANS is
 * one connection:
 *
 *	CALL MODE SNDBUF OPTIONS SEED CUTS EXCHANGE[;EXCHANGE...]
 *
 * CALL	    send sendto sendmsg sendmmsg write writev, or mixed: another one each time;
 *	    sendfile: what is behind the first cut goes by sendfile()
 * MODE	    b blocking, n non-blocking with poll()
 * SNDBUF   SO_SNDBUF, 0 for the default
 * OPTIONS  -, or letters: m MSG_MORE now and then, d MSG_DONTWAIT now and then,
 *	    s a signal every 2 ms, u every other call through a dup()ed descriptor,
 *	    r what comes is read in small pieces
 * CUTS	    none, each (byte alone), at:N,N..., rand:N (pieces of at most N bytes)
 * EXCHANGE M:N message M, with N bytes that are read behind it (client) or before it
 *	    (server)
 *
 * Every byte is handed over once, from where the last return value said.  A piece lies
 * in memory that cannot be written, at the edge of memory that cannot be read.  The
 * summary on standard output says whether every return value was a legal one.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_MESSAGE (4u << 20)
#define MAX_MESSAGES 4096
#define MAX_IOV 5
#define MAX_MMSG 4

enum call { SEND, SENDTO, SENDMSG, SENDMMSG, WRITE, WRITEV, N_CALLS, SENDFILE = N_CALLS, MIXED };
static const char *const call_names[] = { "send",  "sendto", "sendmsg",	 "sendmmsg",
					  "write", "writev", "sendfile", "mixed" };

static struct {
	const char *p;
	size_t n;
} messages[MAX_MESSAGES];

struct plan {
	long number;
	enum call call;
	bool blocking, more, dontwait, signals, dups, small_reads;
	int sndbuf;
	char cuts[65536];
};

static char *stage;	  /* where a piece is put */
static const char *shown; /* the same memory, as the calls see it: read only */
static int stage_fd;	  /* the same memory, for sendfile() */
static uint64_t seed, read_seed = 1;
static struct {
	long plans, calls, blocked, interrupted, shorts, illegal, read;
	uint64_t returns, bytes_read;
	char first[1024]; /* what was illegal */
} did;

static void fail(const char *what)
{
	fprintf(stderr, "http-split: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* xorshift */
static size_t random_of(uint64_t *state, size_t n)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return n ? (size_t)(*state >> 11) % n : 0;
}

/* The same pieces whenever the seed is the same, however the answers come. */
static size_t random_below(size_t n)
{
	return random_of(&seed, n);
}

static void hash(uint64_t *h, const void *data, size_t n)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < n; i++)
		*h = (*h ^ p[i]) * 0x100000001b3u;
}

static void on_signal(int sig)
{
}

static void signals(bool on)
{
	struct itimerval t = { { 0, on ? 2000 : 0 }, { 0, on ? 2000 : 0 } };

	setitimer(ITIMER_REAL, &t, NULL);
}

static void illegal(const struct plan *plan, enum call call, size_t asked, ssize_t ret, int error)
{
	size_t at = strlen(did.first);

	if (did.illegal++ < 5)
		snprintf(did.first + at, sizeof(did.first) - at,
			 "%splan %ld: %s of %zu returned %zd, errno %d", at ? "; " : "",
			 plan->number, call_names[call], asked, ret, ret < 0 ? error : 0);
}

static void wait_until(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	while (poll(&p, 1, -1) < 0)
		if (errno != EINTR)
			fail("poll");
}

/* Cuts [p, p + n) into iov entries, some of them empty. */
static int split(struct iovec *iov, const char *p, size_t n)
{
	int count = 1 + (int)random_below(MAX_IOV);

	for (int i = 0; i < count; i++) {
		size_t take = i == count - 1 ? n : random_below(n + 1);

		iov[i] = (struct iovec){ (char *)p, take };
		p += take;
		n -= take;
	}
	return count;
}

static ssize_t send_many(const struct plan *plan, int fd, const char *p, size_t n, int flags)
{
	struct iovec iov[MAX_MMSG][MAX_IOV];
	struct mmsghdr m[MAX_MMSG] = { 0 };
	size_t size[MAX_MMSG];
	int count = 1 + (int)random_below(MAX_MMSG), ret;
	ssize_t total = 0;

	for (int i = 0; i < count; i++) {
		/* an empty message would end the stream's accounting here: none is made */
		size_t take = i == count - 1 || n < 2 ? n : 1 + random_below(n - 1);

		size[i] = take;
		m[i].msg_hdr.msg_iov = iov[i];
		m[i].msg_hdr.msg_iovlen = (size_t)split(iov[i], p, take);
		p += take;
		n -= take;
		if (n == 0)
			count = i + 1;
	}
	ret = sendmmsg(fd, m, (unsigned)count, flags);
	if (ret < 0)
		return ret;
	if (ret == 0 || ret > count)
		illegal(plan, SENDMMSG, (size_t)count, ret, 0);
	for (int i = 0; i < ret && i < count; i++) {
		if (m[i].msg_len == 0 || m[i].msg_len > size[i] ||
		    (m[i].msg_len < size[i] && i != ret - 1))
			illegal(plan, SENDMMSG, size[i], m[i].msg_len, 0);
		total += m[i].msg_len;
	}
	return total;
}

static ssize_t call_once(const struct plan *plan, enum call call, int fd, const char *p, size_t n,
			 int flags)
{
	struct iovec iov[MAX_IOV];
	struct msghdr m = { .msg_iov = iov };
	off_t offset = p - shown;

	switch (call) {
	case SEND:
		return send(fd, p, n, flags);
	case SENDTO:
		return sendto(fd, p, n, flags, NULL, 0);
	case SENDMSG:
		m.msg_iovlen = (size_t)split(iov, p, n);
		return sendmsg(fd, &m, flags);
	case SENDMMSG:
		return send_many(plan, fd, p, n, flags);
	case WRITEV:
		return writev(fd, iov, split(iov, p, n));
	case SENDFILE:
		return sendfile(fd, stage_fd, &offset, n);
	default:
		return write(fd, p, n);
	}
}

/*
 * Hands over [p, p + n), whatever number of calls that takes.  No MSG_MORE at the end of
 * a message: TCP would hold it back.
 */
static void send_all(const struct plan *plan, enum call wanted, const int fd[2], const char *p,
		     size_t n, bool last)
{
	while (n) {
		enum call call = wanted == MIXED ? (enum call)random_below(N_CALLS) : wanted;
		int flags = MSG_NOSIGNAL, error;
		ssize_t ret;

		if (plan->more && !last && random_below(3) == 0)
			flags |= MSG_MORE;
		if (plan->dontwait && random_below(2) == 0)
			flags |= MSG_DONTWAIT;
		if (call == WRITE || call == WRITEV || call == SENDFILE)
			flags = 0;
		errno = 0;
		ret = call_once(plan, call, fd[plan->dups ? did.calls & 1 : 0], p, n, flags);
		error = ret < 0 ? errno : 0;
		did.calls++;
		hash(&did.returns, &ret, sizeof(ret));
		hash(&did.returns, &error, sizeof(error));
		if (ret == 0 || ret > (ssize_t)n || ret < -1) {
			illegal(plan, call, n, ret, error);
			return;
		}
		if (ret < 0) {
			bool may_block = !plan->blocking || (flags & MSG_DONTWAIT);

			if (error == EAGAIN && may_block) {
				did.blocked++;
				wait_until(fd[0], POLLOUT);
			} else if (error == EINTR && plan->signals) {
				did.interrupted++;
			} else {
				illegal(plan, call, n, ret, error);
				return;
			}
			continue;
		}
		if (ret < (ssize_t)n) {
			did.shorts++;
			if (plan->blocking && !plan->signals && !(flags & MSG_DONTWAIT))
				illegal(plan, call, n, ret, 0);
		}
		p += ret;
		n -= (size_t)ret;
	}
}

/* A piece goes to the edge of the stage, and is sent from there. */
static void send_piece(const struct plan *plan, enum call call, const int fd[2], const char *p,
		       size_t n, bool last)
{
	memcpy(stage + MAX_MESSAGE - n, p, n);
	send_all(plan, call, fd, shown + MAX_MESSAGE - n, n, last);
}

static void send_message(const struct plan *plan, const int fd[2], const char *p, size_t n)
{
	const char *cuts = plan->cuts;
	enum call call = plan->call == SENDFILE ? SEND : plan->call;
	size_t at = 0;

	while (at < n) {
		size_t next = n;

		if (strcmp(cuts, "each") == 0) {
			next = at + 1;
		} else if (strncmp(cuts, "rand:", 5) == 0) {
			next = at + 1 + random_below(strtoul(cuts + 5, NULL, 10));
		} else if (strncmp(plan->cuts, "at:", 3) == 0 && *cuts) {
			next = strtoul(cuts + (cuts == plan->cuts ? 3 : 1), (char **)&cuts, 10);
			if (*cuts != ',')
				cuts = "";
		}
		if (next > n || next <= at)
			next = n;
		send_piece(plan, call, fd, p + at, next - at, next == n);
		at = next;
		if (plan->call == SENDFILE)
			call = SENDFILE;
	}
}

/* Up to n bytes, by one call or another; false at the end. */
static bool receive(const struct plan *plan, int fd, size_t *n)
{
	char buf[65536];
	size_t room = *n < sizeof(buf) ? *n : sizeof(buf);
	struct iovec iov[2];
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t ret;

	if (plan->small_reads && room > 7)
		room = 1 + random_of(&read_seed, 7);
	iov[0] = (struct iovec){ buf, room / 2 };
	iov[1] = (struct iovec){ buf + room / 2, room - room / 2 };
	switch (did.read++ % 4) {
	case 0:
		ret = recv(fd, buf, room, 0);
		break;
	case 1:
		ret = read(fd, buf, room);
		break;
	case 2:
		ret = readv(fd, iov, 2);
		break;
	default:
		ret = recvmsg(fd, &m, 0);
	}
	if (ret < 0) {
		if (errno == EAGAIN)
			wait_until(fd, POLLIN);
		else if (errno != EINTR)
			fail("receiving");
		return true;
	}
	hash(&did.bytes_read, buf, (size_t)ret);
	*n -= (size_t)ret;
	return ret != 0;
}

static void receive_all(const struct plan *plan, int fd, size_t n)
{
	while (n)
		if (!receive(plan, fd, &n)) {
			fprintf(stderr, "http-split: plan %ld: the peer closed, %zu bytes short\n",
				plan->number, n);
			exit(1);
		}
}

static int stream_socket(const char *address, struct sockaddr_storage *ret, socklen_t *ret_len)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ret;
	struct sockaddr_un *un = (struct sockaddr_un *)ret;

	memset(ret, 0, sizeof(*ret));
	if (address[0] == '/') {
		un->sun_family = AF_UNIX;
		snprintf(un->sun_path, sizeof(un->sun_path), "%s", address);
		*ret_len = sizeof(*un);
	} else {
		in->sin_family = AF_INET;
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		in->sin_port = htons((uint16_t)strtoul(address, NULL, 10));
		*ret_len = sizeof(*in);
	}
	return socket(ret->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int connected(const char *address)
{
	struct sockaddr_storage a;
	socklen_t len;

	for (int tries = 0; tries < 100; tries++) {
		int fd = stream_socket(address, &a, &len), error;

		if (connect(fd, (struct sockaddr *)&a, len) == 0)
			return fd;
		error = errno;
		close(fd);
		errno = error;
		if (error != EADDRNOTAVAIL && error != EAGAIN)
			break;
		usleep(50000); /* all ports wait for their last second to pass */
	}
	fail("connect");
	return -1;
}

static int listener(const char *address)
{
	struct sockaddr_storage a;
	socklen_t len;
	int fd = stream_socket(address, &a, &len), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&a, len) || listen(fd, 64))
		fail("listen");
	return fd;
}

static void converse(const struct plan *plan, int fd, bool client, char *exchanges)
{
	int both[2] = { fd, plan->dups ? dup(fd) : fd }, one = 1;
	size_t rest = SIZE_MAX;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (plan->sndbuf)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &plan->sndbuf, sizeof(plan->sndbuf));
	if (!plan->blocking)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	if (plan->signals)
		signals(true);
	for (char *save, *e = strtok_r(exchanges, ";\n", &save); e;
	     e = strtok_r(NULL, ";\n", &save)) {
		char *colon;
		size_t m = strtoul(e, &colon, 10), n = strtoul(colon + 1, NULL, 10);

		if (!client)
			receive_all(plan, fd, n);
		send_message(plan, both, messages[m].p, messages[m].n);
		if (client)
			receive_all(plan, fd, n);
	}
	if (plan->signals)
		signals(false);
	if (plan->dups)
		close(both[1]);
	/* The client waits for the server's end: one connection after the other. */
	shutdown(fd, SHUT_WR);
	while (receive(plan, fd, &rest))
		;
	close(fd);
}

static void read_plan(struct plan *plan, char *line, char **ret_exchanges)
{
	char call[16], mode, options[16];
	int at = 0;

	if (sscanf(line, "%15s %c %d %15s %lu %65535s %n", call, &mode, &plan->sndbuf, options,
		   &seed, plan->cuts, &at) < 6 ||
	    at == 0) {
		fprintf(stderr, "http-split: bad plan: %s\n", line);
		exit(2);
	}
	seed = seed * 0x9e3779b97f4a7c15u + 1;
	for (plan->call = SEND; strcmp(call_names[plan->call], call) != 0; plan->call++)
		if (plan->call == MIXED)
			exit(2);
	plan->blocking = mode == 'b';
	plan->more = strchr(options, 'm');
	plan->dontwait = strchr(options, 'd');
	plan->signals = strchr(options, 's');
	plan->dups = strchr(options, 'u');
	plan->small_reads = strchr(options, 'r');
	*ret_exchanges = line + at;
}

static void read_messages(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC), count = 0;
	char *p, *end;

	if (fd < 0 || fstat(fd, &st))
		fail(path);
	p = mmap(NULL, (size_t)st.st_size + 1, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		fail(path);
	close(fd);
	for (end = p + st.st_size; p < end && count < MAX_MESSAGES; count++) {
		size_t n = strtoul(p, &p, 10);

		messages[count].p = p + 1;
		messages[count].n = n;
		p += 1 + n;
		if (n > MAX_MESSAGE)
			exit(2);
	}
}

static void make_stage(void)
{
	long page = sysconf(_SC_PAGESIZE);
	char *view;

	stage_fd = memfd_create("stage", MFD_CLOEXEC);
	if (stage_fd < 0 || ftruncate(stage_fd, MAX_MESSAGE))
		fail("memfd_create");
	stage = mmap(NULL, MAX_MESSAGE, PROT_READ | PROT_WRITE, MAP_SHARED, stage_fd, 0);
	view = mmap(NULL, MAX_MESSAGE + (size_t)page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
	if (stage == MAP_FAILED || view == MAP_FAILED ||
	    mmap(view, MAX_MESSAGE, PROT_READ, MAP_SHARED | MAP_FIXED, stage_fd, 0) == MAP_FAILED)
		fail("mmap");
	shown = view;
}

int main(int argc, char **argv)
{
	static struct plan plan;
	static char line[1 << 17];
	struct sigaction act = { .sa_handler = on_signal };
	bool client = argc > 1 && strcmp(argv[1], "client") == 0;
	int server = -1;
	FILE *plans;

	if (argc != 5)
		return 2;
	sigaction(SIGALRM, &act, NULL);
	read_messages(argv[3]);
	make_stage();
	plans = fopen(argv[4], "re");
	if (!plans)
		fail(argv[4]);
	if (!client)
		server = listener(argv[2]);
	while (fgets(line, sizeof(line), plans)) {
		char *exchanges;
		int fd;

		read_plan(&plan, line, &exchanges);
		fd = client ? connected(argv[2]) : accept(server, NULL, NULL);
		if (fd < 0)
			fail("accept");
		plan.number = did.plans++;
		converse(&plan, fd, client, exchanges);
	}
	printf("{\"plans\": %ld, \"calls\": %ld, \"blocked\": %ld, \"interrupted\": %ld, "
	       "\"short\": %ld, "
	       "\"returns\": \"%016lx\", \"read\": \"%016lx\", \"illegal\": %ld, \"first\": "
	       "\"%s\"}\n",
	       did.plans, did.calls, did.blocked, did.interrupted, did.shorts, did.returns,
	       did.bytes_read, did.illegal, did.first);
	return did.illegal != 0;
}
