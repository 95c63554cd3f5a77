/* SPDX-License-Identifier: Apache-2.0 */
/* See gate.h. */
#include "gate.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define HEAD_MAX 65536
#define LIFETIME 600 /* seconds; a gateway that nobody ended ends itself */
#define IDLE_MAX 256

int gate_upstream;
enum gate_reuse gate_reuse;
volatile int gate_stop;

static unsigned long n_served, n_called;
static long in_flight, in_flight_max;

void gate_die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- buffers ---- */

static void reserve(struct gate_buf *buf, size_t n)
{
	size_t cap = buf->cap ? buf->cap : 512;

	while (cap < buf->len + n)
		cap *= 2;
	if (cap == buf->cap)
		return;
	buf->data = realloc(buf->data, cap);
	if (!buf->data)
		gate_die("realloc");
	buf->cap = cap;
}

void gate_add(struct gate_buf *buf, const void *data, size_t n)
{
	if (n == 0)
		return;
	reserve(buf, n);
	memcpy(buf->data + buf->len, data, n);
	buf->len += n;
}

void gate_addf(struct gate_buf *buf, const char *format, ...)
{
	char text[1024];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof(text))
		abort();
	gate_add(buf, text, (size_t)n);
}

void gate_eat(struct gate_buf *buf, size_t n)
{
	buf->len -= n;
	if (buf->len)
		memmove(buf->data, buf->data + n, buf->len);
}

void gate_free(struct gate_buf *buf)
{
	free(buf->data);
	*buf = (struct gate_buf){ 0 };
}

uint32_t gate_crc(const void *data, size_t n)
{
	const uint8_t *p = data;
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < n; i++) {
		crc ^= p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return ~crc;
}

/* ---- messages ---- */

/* The value of a header field in [head, head + n), or NULL; it ends with CR. */
static const char *field(const char *head, size_t n, const char *name)
{
	const char *line = memchr(head, '\n', n);
	size_t len = strlen(name);

	while (line && ++line + len < head + n) {
		if (!strncasecmp(line, name, len) && line[len] == ':') {
			line += len + 1;
			while (*line == ' ')
				line++;
			return line;
		}
		line = memchr(line, '\n', (size_t)(head + n - line));
	}
	return NULL;
}

/* As gate_message(), for a chunked body at p; *ret_used is its length as it came. */
static int chunked(const char *p, size_t n, struct gate_buf *body, size_t *ret_used)
{
	size_t at = 0;

	while (1) {
		const char *line = p + at, *end = memmem(line, n - at, "\r\n", 2);
		char *stop;
		unsigned long size;

		if (!end)
			return n - at > 64 ? -1 : 0;
		size = strtoul(line, &stop, 16);
		if (stop == line || size > 1 << 26)
			return -1;
		at = (size_t)(end + 2 - p);
		if (n - at < size + 2)
			return 0;
		if (size == 0) { /* no trailers are sent here */
			if (memcmp(p + at, "\r\n", 2) != 0)
				return -1;
			*ret_used = at + 2;
			return 1;
		}
		gate_add(body, p + at, size);
		if (memcmp(p + at + size, "\r\n", 2) != 0)
			return -1;
		at += size + 2;
	}
}

int gate_message(const struct gate_buf *in, bool response, bool eof, struct gate_msg *ret)
{
	const char *end = in->len ? memmem(in->data, in->len, "\r\n\r\n", 4) : NULL, *value;
	int missing = eof ? -1 : 0, whole = 1;
	size_t n, left, used = 0;

	*ret = (struct gate_msg){ 0 };
	if (!end)
		return in->len > HEAD_MAX ? -1 : missing;
	n = ret->head_len = (size_t)(end + 4 - in->data);
	left = in->len - n;
	if (response && (n < 14 || strncmp(in->data, "HTTP/1.1 ", 9) != 0))
		return -1;
	ret->status = response ? (int)strtol(in->data + 9, NULL, 10) : 0;
	value = field(in->data, n, "connection");
	ret->close = value && !strncasecmp(value, "close", 5);
	if (field(in->data, n, "transfer-encoding")) {
		whole = chunked(in->data + n, left, &ret->body, &used);
	} else if ((value = field(in->data, n, "content-length"))) {
		used = strtoul(value, NULL, 10);
		whole = left >= used;
		if (whole)
			gate_add(&ret->body, in->data + n, used);
	} else if (response) {
		used = left;
		ret->close = true;
		whole = eof;
		if (whole)
			gate_add(&ret->body, in->data + n, used);
		missing = 0;
	}
	ret->total = n + used;
	if (whole == 1)
		return 1;
	gate_free(&ret->body);
	return whole < 0 ? -1 : missing;
}

unsigned long gate_param(const char *query, const char *name, unsigned long none)
{
	size_t len = strlen(name);

	for (const char *p = query; p; p = strchr(p, '&') ? strchr(p, '&') + 1 : NULL)
		if (!strncmp(p, name, len) && p[len] == '=')
			return strtoul(p + len + 1, NULL, 10);
	return none;
}

int gate_request(struct gate_buf *in, struct gate_request *ret)
{
	struct gate_msg msg;
	int whole = gate_message(in, false, false, &msg);
	char line[512], method[8];
	size_t n;

	if (whole != 1)
		return whole;
	*ret = (struct gate_request){ .close = msg.close, .body = msg.body };
	n = (size_t)((char *)memchr(in->data, '\r', msg.head_len) - in->data);
	if (n >= sizeof(line)) {
		gate_free(&ret->body);
		return -1;
	}
	memcpy(line, in->data, n);
	line[n] = '\0';
	gate_eat(in, msg.total);
	if (sscanf(line, "%7s /r/%31[0-9]?%255s", method, ret->id, ret->query) != 3) {
		gate_free(&ret->body);
		return -1;
	}
	ret->method = strcmp(method, "POST") ? "GET" : "POST";
	ret->n = (unsigned)gate_param(ret->query, "n", 0);
	return 1;
}

void gate_call_text(const struct gate_request *request, unsigned k, struct gate_buf *out)
{
	gate_addf(out, "%s /item/%s.%u?%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n", request->method,
		  request->id, k, request->query, gate_upstream);
	if (request->method[0] == 'P')
		gate_addf(out, "Content-Length: %zu\r\n", request->body.len);
	gate_addf(out, "User-Agent: gate\r\n\r\n");
	gate_add(out, request->body.data, request->body.len);
}

void gate_answer_text(const struct gate_request *request, const struct gate_buf *results,
		      struct gate_buf *out)
{
	char line[128];
	int n = snprintf(line, sizeof(line), "%s %s %u %zu %08x\n", request->id, request->method,
			 request->n, request->body.len,
			 gate_crc(request->body.data, request->body.len));

	gate_addf(out, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n%s",
		  request->close ? "Connection: close\r\n" : "");
	if (strtoul(request->id, NULL, 10) % 4 == 0) { /* one in four is chunked */
		gate_addf(out, "Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", (unsigned)n, line);
		if (results->len) {
			gate_addf(out, "%zx\r\n", results->len);
			gate_add(out, results->data, results->len);
			gate_addf(out, "\r\n");
		}
		gate_addf(out, "0\r\n\r\n");
	} else {
		gate_addf(out, "Content-Length: %zu\r\n\r\n%s", (size_t)n + results->len, line);
		gate_add(out, results->data, results->len);
	}
}

/* ---- sending and receiving ---- */

ssize_t gate_push(int fd, const struct gate_buf *out, unsigned how)
{
	size_t len = out->len, a, b;
	struct iovec iov[3];
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 3 };

	/* In every second way a part only: often it ends before the empty line's CR or LF. */
	if (how & 1 && len > 2)
		len -= how & 8 ? 1 : how & 16 ? 2 : len / 2;
	a = len / 3;
	b = len / 2;
	iov[0] = (struct iovec){ out->data, a };
	iov[1] = (struct iovec){ out->data + a, b - a };
	iov[2] = (struct iovec){ out->data + b, len - b };
	switch (how >> 1 & 3) {
	case 0:
		return send(fd, out->data, len, MSG_NOSIGNAL);
	case 1:
		return write(fd, out->data, len);
	case 2:
		return writev(fd, iov, 3);
	default:
		return sendmsg(fd, &msg, MSG_NOSIGNAL);
	}
}

ssize_t gate_pull(int fd, struct gate_buf *in, unsigned how)
{
	struct iovec iov[2];
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	size_t room = how & 4 ? 700 : 16384;
	ssize_t n;

	reserve(in, room);
	iov[0] = (struct iovec){ in->data + in->len, 100 };
	iov[1] = (struct iovec){ in->data + in->len + 100, room - 100 };
	switch (how & 3) {
	case 0:
		n = recv(fd, in->data + in->len, room, 0);
		break;
	case 1:
		n = read(fd, in->data + in->len, room);
		break;
	case 2:
		n = readv(fd, iov, 2);
		break;
	default:
		n = recvmsg(fd, &msg, 0);
	}
	if (n > 0)
		in->len += (size_t)n;
	return n;
}

static unsigned ways(void)
{
	static unsigned n;

	return __atomic_fetch_add(&n, 1, __ATOMIC_RELAXED);
}

/* Sends all of it, on a socket that blocks. */
static bool push_all(int fd, struct gate_buf *out)
{
	while (out->len) {
		ssize_t n = gate_push(fd, out, ways());

		if (n < 0 && errno == EINTR && !gate_stop)
			continue;
		if (n < 0)
			return false;
		gate_eat(out, (size_t)n);
	}
	return true;
}

int gate_dial(bool nonblocking)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)gate_upstream),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | (nonblocking ? SOCK_NONBLOCK : 0), 0), on = 1;
	struct timeval limit = { .tv_sec = 30 };

	if (fd < 0)
		return -1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&at, sizeof(at)) != 0 &&
	    !(nonblocking && errno == EINPROGRESS)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* ---- calls of gateways that block ---- */

/* Connections that wait for their next call; shared by all threads, the last one first. */
static pthread_mutex_t idle_lock = PTHREAD_MUTEX_INITIALIZER;
static int idle[IDLE_MAX], n_idle;

static int take_idle(void)
{
	int fd = -1;

	pthread_mutex_lock(&idle_lock);
	if (n_idle)
		fd = idle[--n_idle];
	pthread_mutex_unlock(&idle_lock);
	return fd;
}

static void give_idle(int fd)
{
	bool kept = false;

	pthread_mutex_lock(&idle_lock);
	if (n_idle < IDLE_MAX) {
		idle[n_idle++] = fd;
		kept = true;
	}
	pthread_mutex_unlock(&idle_lock);
	if (!kept)
		close(fd);
}

/* Waits for one whole response. */
static bool response(int fd, struct gate_msg *ret)
{
	struct gate_buf in = { 0 };
	int whole;

	do {
		ssize_t n = gate_pull(fd, &in, ways());

		if (n < 0 && errno == EINTR && !gate_stop)
			n = 1;
		whole = n < 0 ? -1 : gate_message(&in, true, n == 0, ret);
	} while (whole == 0);
	gate_free(&in);
	return whole == 1;
}

static bool call(const struct gate_request *request, unsigned k, struct gate_buf *results)
{
	bool fresh = gate_reuse == GATE_NEW || (gate_reuse == GATE_MIX && ways() % 3 == 0), ok;
	int fd = fresh ? -1 : take_idle();
	struct gate_buf text = { 0 };
	struct gate_msg msg = { 0 };

	if (fd < 0)
		fd = gate_dial(false);
	if (fd < 0)
		return false;
	gate_called();
	gate_call_text(request, k, &text);
	ok = push_all(fd, &text) && response(fd, &msg) && msg.status == 200;
	if (ok)
		gate_add(results, msg.body.data, msg.body.len);
	if (ok && !fresh && !msg.close)
		give_idle(fd);
	else
		close(fd);
	gate_free(&text);
	gate_free(&msg.body);
	return ok;
}

bool gate_work(int fd, struct gate_request *request)
{
	struct gate_buf results = { 0 }, out = { 0 };
	bool ok = true;

	gate_in_flight(+1);
	for (unsigned k = 0; k < request->n && ok; k++)
		ok = call(request, k, &results);
	if (ok)
		gate_answer_text(request, &results, &out);
	else
		gate_addf(&out, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
	ok = push_all(fd, &out) && !request->close;
	gate_in_flight(-1);
	gate_served();
	gate_free(&results);
	gate_free(&out);
	gate_free(&request->body);
	return ok;
}

void gate_serve(int fd)
{
	struct gate_buf in = { 0 };
	struct gate_request request;
	int whole;

	while (!gate_stop) {
		whole = gate_request(&in, &request);
		if (whole < 0 || (whole == 1 && !gate_work(fd, &request)))
			break;
		if (whole == 0) {
			ssize_t n = gate_pull(fd, &in, ways());

			if (n == 0 || (n < 0 && errno != EINTR))
				break;
		}
	}
	gate_free(&in);
}

/* ---- the process ---- */

/* Again a second later: the first may have come just before the call it was to end. */
static void on_signal(int sig)
{
	if (sig == SIGALRM && !gate_stop)
		_exit(1); /* nobody ended us */
	gate_stop = 1;
	alarm(1);
}

int gate_listen(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sigaction end = { .sa_handler = on_signal }; /* no SA_RESTART: accept() ends */
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	signal(SIGPIPE, SIG_IGN);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* those accepted inherit it */
	sigaction(SIGTERM, &end, NULL);
	sigaction(SIGALRM, &end, NULL);
	alarm(LIFETIME);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 1024))
		gate_die("listen");
	return fd;
}

void gate_listening(int door)
{
	struct sockaddr_in at = { 0 };
	socklen_t len = sizeof(at);

	if (getsockname(door, (struct sockaddr *)&at, &len))
		gate_die("getsockname");
	printf("listening on 127.0.0.1:%d\n", ntohs(at.sin_port));
	fflush(stdout);
}

void gate_end(const pid_t *children, int n)
{
	for (int i = 0; i < n; i++)
		kill(children[i], SIGTERM);
	for (int i = 0; i < n; i++)
		while (waitpid(children[i], NULL, 0) < 0 && errno == EINTR)
			;
}

void gate_served(void)
{
	__atomic_fetch_add(&n_served, 1, __ATOMIC_RELAXED);
}

void gate_called(void)
{
	__atomic_fetch_add(&n_called, 1, __ATOMIC_RELAXED);
}

void gate_in_flight(int change)
{
	long now = __atomic_add_fetch(&in_flight, change, __ATOMIC_RELAXED);
	long max = __atomic_load_n(&in_flight_max, __ATOMIC_RELAXED);

	while (now > max && !__atomic_compare_exchange_n(&in_flight_max, &max, now, false,
							 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

void gate_report(void)
{
	printf("{\"requests\": %lu, \"calls\": %lu, \"in_flight\": %ld}\n", n_served, n_called,
	       in_flight_max);
	fflush(stdout);
}
