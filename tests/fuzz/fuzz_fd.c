/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program makes sockets, duplicates, passes and closes descriptors, by the bytes of the input,
 * through our hooks and with the real kernel; after every call the table must say of each number
 * what the kernel says of it:
 *
 *  - a connection where there is a socket, and none where there is something else, or nothing;
 *  - of its family and type;
 *  - the same one for duplicates, and another one for what is another socket.
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/close_range.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "hooks/real.h"

/* Here a hook is called by its name, and everybody else goes on to call libc's. */
#define HOOK(function, lib, boot) RELABEL_##lib(function)
#define RELABEL_LIBC(function) extern __typeof__(function) function __asm__("hook_" #function);
#define RELABEL_LIBPQ(function)
#include "hooks/hooks.def"

/* clang-format off */
#include "hooks/errtype.c"
#include "hooks/io.c"
#define made socket_made
#include "hooks/socket.c"
#undef made
#include "hooks/fd.c"
#include "hooks/wait.c"
#include "preload/attr.c"
#include "preload/clock.c"
#define set conn_set
#include "preload/conn.c"
#undef set
#include "preload/peek.c"
#define make pool_make
#include "preload/pool.c"
#undef make
#include "preload/sys.c"
#include "preload/text.c"
#include "preload/utf8.c"
/* clang-format on */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define MUST(cond)               \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

/* ---- what is around the hooks: nothing is recorded, nobody speaks a protocol ---- */

static struct atr_gate gate = { .live = 1 };
struct atr_gate *atr_gate = &gate;
struct atr_real atr_real;
struct atr_stats atr_stats;
struct atr_config atr_config = { .socket_spans = ATR_SOCKET_SPANS_NONE };
struct atr_process atr_process;
__thread struct atr_tls atr_tls;
bool atr_context_watched;

void atr_bug(const char *what, const char *file, int line)
{
	(void)what;
	(void)file;
	(void)line;
	abort();
}

void *dlopen(const char *file, int mode)
{
	(void)file;
	(void)mode;
	return NULL;
}

bool atr_gate_closed(void)
{
	return false;
}

void atr_real_init(void)
{
}

bool atr_thread_inside(const void *frame)
{
	return !frame;
}

bool atr_process_foreign(void)
{
	return false;
}

void atr_worker_flush(void)
{
}

void atr_log_follow(int fd)
{
	(void)fd;
}

void atr_op_begin_call(struct atr_op *op, enum atr_kind kind)
{
	op->kind = (uint8_t)kind;
	atr_op_none(op);
}

void atr_op_not_live(struct atr_op *op)
{
	MUST(!op);
}

bool atr_op_end(struct atr_op *op, struct atr_span *span, const char *name, size_t len)
{
	return span && name && len && op->recording;
}

void atr_op_move_under(struct atr_op *op, const struct atr_context *parent, uint64_t since)
{
	op->has_parent = parent && since;
}

void atr_span_commit(struct atr_span *span)
{
	MUST(!span);
}

void atr_span_drop(struct atr_span *span)
{
	MUST(!span);
}

void atr_span_error(struct atr_span *span, const char *type, size_t len)
{
	MUST(!span || !type || !len);
}

const struct atr_context *atr_context_current(void)
{
	return NULL;
}

void atr_context_touch(void)
{
}

void atr_context_finish(void)
{
}

void atr_context_handed(void)
{
}

void atr_context_may_be_handed(int fd)
{
	MUST(fd >= 0);
}

void atr_context_dispatch(int64_t timeout_ms, uint64_t began)
{
	MUST(timeout_ms >= -1 || began);
}

void atr_talk_gone(struct atr_conn *c)
{
	MUST(c);
}

void atr_talk_raw(struct atr_conn *c, bool sent)
{
	MUST(c || sent);
}

void atr_talk_shut(struct atr_conn *c, int fd)
{
	MUST(c && fd >= 0);
}

void atr_talk_received(const struct atr_moved *moved)
{
	MUST(moved->conn);
}

void atr_talk_sent(const struct atr_moved *moved)
{
	MUST(moved->conn);
}

bool atr_inject(struct atr_io *io, const struct atr_sending *what, ssize_t *ret)
{
	MUST(io && what && ret);
	return false;
}

bool atr_inject_settle(struct atr_io *io, int flags, ssize_t *ret)
{
	MUST(io && ret);
	return flags >= 0;
}

/* ---- what decides ---- */

static const uint8_t *dice, *dice_end;

static unsigned pick(unsigned n)
{
	return dice < dice_end ? *dice++ % n : 0;
}

/* ---- the numbers ---- */

#define LOW 24	/* below it is what the fuzzer has itself */
#define HIGH 72 /* beyond what counts as inherited, and no number is given out */

/* Which are duplicates of each other; by the calls, for the kernel does not say. */
static unsigned group[HIGH], groups;
static bool is_epoll[HIGH];

/* One that can be followed? */
static bool is_socket(int fd)
{
	int domain = socket_option(fd, SO_DOMAIN);

	return domain == AF_UNIX || domain == AF_INET || domain == AF_INET6;
}

static void check(void)
{
	for (int fd = LOW; fd < HIGH; fd++) {
		struct atr_conn *c = atr_conn_get(fd);
		struct stat st;

		if (fstat(fd, &st))
			is_epoll[fd] = false;
		if (!is_socket(fd)) {
			MUST(!c || is_epoll[fd]);
			continue;
		}
		MUST(c && c->role < ATR_ROLE_EPOLL);
		MUST(c->type == socket_option(fd, SO_TYPE));
		MUST(c->family == socket_option(fd, SO_DOMAIN));
		for (int other = LOW; other < fd; other++)
			if (is_socket(other))
				MUST((atr_conn_get(other) == c) == (group[other] == group[fd]));
	}
}

static int any(void)
{
	return LOW - 2 + (int)pick(HIGH - LOW + 4);
}

static void new_one(int fd, bool epoll)
{
	MUST(fd < HIGH);
	if (fd < 0)
		return;
	MUST(fd >= LOW);
	group[fd] = ++groups;
	is_epoll[fd] = epoll;
}

/* Of one that nobody has looked at the table knows nothing that it could hand on. */
static void duplicated_to(int from, int to, bool known)
{
	if (to < 0 || from == to)
		return;
	MUST(to >= LOW && to < HIGH);
	group[to] = known ? group[from] : ++groups;
	is_epoll[to] = is_epoll[from];
}

/* ---- the calls ---- */

static void make_sockets(void)
{
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };
	int type = types[pick(3)] | SOCK_NONBLOCK, pair[2];

	switch (pick(4)) {
	case 0:
		new_one(socket(AF_UNIX, type, 0), false);
		break;
	case 1:
		new_one(socket(pick(2) ? AF_INET : AF_INET6, type, 0), false);
		break;
	case 2:
		new_one(socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, 0),
			false); /* nobody follows it */
		break;
	default:
		if (socketpair(AF_UNIX, type, 0, pair))
			return;
		new_one(pair[0], false);
		new_one(pair[1], false);
	}
}

static void make_others(void)
{
	int fds[2];

	switch (pick(4)) {
	case 0:
		if (pipe(fds))
			return;
		new_one(fds[0], false);
		new_one(fds[1], false);
		break;
	case 1:
		new_one(open("/dev/null", O_RDWR), false);
		break;
	default:
		new_one(pick(2) ? epoll_create(1) : epoll_create1(EPOLL_CLOEXEC), true);
	}
}

static void duplicate(void)
{
	int from = any(), to = any(), low = any();
	bool known = !is_socket(from) || atr_conn_known(from);

	if (from < LOW || to < LOW || low < 0)
		return;
	switch (pick(5)) {
	case 0:
		to = dup(from);
		break;
	case 1:
		to = dup2(from, to);
		break;
	case 2:
		to = dup3(from, to, pick(2) ? O_CLOEXEC : 0);
		break;
	case 3:
		to = fcntl(from, F_DUPFD, low);
		break;
	default:
		to = fcntl(from, F_DUPFD_CLOEXEC, low);
	}
	duplicated_to(from, to, known);
}

static void close_some(void)
{
	static const unsigned flags[] = { 0, 0, CLOSE_RANGE_CLOEXEC, 1u << 16 };
	unsigned from = (unsigned)any(), to = from + pick(9);
	FILE *file;

	if (from < LOW)
		return;
	switch (pick(6)) {
	case 0:
		to = pick(8) ? to : ~0u;
		if (!close_range(from, to, (int)flags[pick(4)]))
			break;
		for (unsigned fd = from; fd <= to && fd < HIGH; fd++)
			group[fd] = ++groups; /* looked at anew */
		break;
	case 1:
		if (!pick(8))
			closefrom((int)from);
		break;
	case 2:
		file = fdopen((int)from, "r");
		if (file && pick(2))
			file = freopen("/dev/null", "r", file);
		if (file)
			(void)fclose(file);
		break;
	default:
		(void)close((int)from);
	}
}

static void listen_and_accept(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(at);
	int fd = any(), other = any();

	switch (pick(4)) {
	case 0: /* the kernel chooses a name */
		(void)bind(fd, (const struct sockaddr *)&at, sizeof(at.sun_family));
		(void)listen(fd, 4);
		break;
	case 1:
		if (!getsockname(other, (struct sockaddr *)&at, &len))
			(void)connect(fd, (const struct sockaddr *)&at, len);
		break;
	case 2:
		new_one(pick(2) ? accept(fd, NULL, NULL)
				: accept4(fd, (struct sockaddr *)&at, &len, SOCK_NONBLOCK),
			false);
		break;
	default:
		(void)shutdown(fd, (int)pick(3));
	}
}

static void pass_descriptors(void)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(3 * sizeof(int))];
	} control = { .bytes = { 0 } };
	char byte = 'x';
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int n = 1 + (int)pick(3), passed[3], fd = any();

	if (pick(2)) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE((size_t)n * sizeof(int));
		control.head = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
						 .cmsg_type = SCM_RIGHTS,
						 .cmsg_len = CMSG_LEN((size_t)n * sizeof(int)) };
		for (int i = 0; i < n; i++)
			passed[i] = any();
		memcpy(CMSG_DATA(&control.head), passed, (size_t)n * sizeof(int));
		(void)sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		return;
	}
	msg.msg_control = control.bytes;
	msg.msg_controllen = sizeof(control);
	if (recvmsg(fd, &msg, MSG_DONTWAIT) < 0)
		return;
	for (struct cmsghdr *m = CMSG_FIRSTHDR(&msg); m; m = CMSG_NXTHDR(&msg, m)) {
		size_t came = (m->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		for (size_t i = 0; i < came && m->cmsg_type == SCM_RIGHTS; i++) {
			memcpy(&passed[i], CMSG_DATA(m) + i * sizeof(int), sizeof(int));
			new_one(passed[i], false);
		}
	}
}

static void (*const calls[])(void) = {
	make_sockets, make_sockets, make_others, duplicate,	    duplicate,	      duplicate,
	close_some,   close_some,   close_some,	 listen_and_accept, pass_descriptors,
};

/* glibc does not free what a failing freopen() has closed. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct rlimit most = { HIGH, HIGH };

	(void)argc;
	(void)argv;
#define HOOK(function, lib, boot) FIND_##lib(function)
#define FIND_LIBC(function) atr_real.function = dlsym(RTLD_DEFAULT, #function);
#define FIND_LIBPQ(function)
#include "hooks/hooks.def"
	atr_conn_init();
	for (int fd; (fd = (int)atr_sys(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR, 0, 0, 0)) < LOW;)
		MUST(fd >= 0);
	(void)atr_sys(SYS_close_range, LOW, ~0u, 0, 0, 0, 0);
	MUST(!setrlimit(RLIMIT_NOFILE, &most));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int saved_errno = errno;

	dice = data;
	dice_end = data + (size < 2000 ? size : 2000);
	while (dice < dice_end) {
		calls[pick(sizeof(calls) / sizeof(calls[0]))]();
		if (pick(4)) /* else what came in is not looked at yet */
			check();
	}
	check();
	closefrom(LOW);
	for (int fd = LOW; fd < HIGH; fd++)
		MUST(!atr_conn_known(fd));
	errno = saved_errno;
	return 0;
}
