/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_TEST_FAKE_COLLECTOR_H
#define ATR_TEST_FAKE_COLLECTOR_H

/*
 * A collector on a loopback port that follows a script: the n-th request is
 * answered by the n-th step, later ones by the last.  It remembers what came.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <zlib.h>

#include "exporter/otlp.pb-c.h"
#include "tests/unit/test.h"

enum answer {
	ANSWER,	      /* status, headers, body */
	ANSWER_NEVER, /* keep the connection, say nothing */
	ANSWER_CLOSE, /* close it */
	ANSWER_HUGE,  /* 200 with 5 MiB */
	ANSWER_CUT,   /* status (200), headers and half a body, then close */
};

struct step {
	enum answer how;
	int status;
	const char *headers; /* lines with \r\n */
	const void *body;
	size_t len;
	unsigned delay_ms;
};

#define COLLECTOR_CONNS 32
#define COLLECTOR_SPANS 100000

struct conn {
	int fd;
	uint8_t *bytes;
	size_t len, room;
};

static struct {
	int listener, port, stop[2];
	pthread_t thread;
	const struct step *steps;
	size_t n_steps;
	size_t limit; /* bytes of a body; a longer one is answered by 413. 0: none */
	struct conn conns[COLLECTOR_CONNS];

	uint64_t requests, connections;
	uint64_t received, accepted;	/* spans; accepted: in requests answered with 2xx */
	uint64_t bad;			/* requests that could not be decoded */
	uint64_t largest;		/* spans in one request */
	uint8_t times[COLLECTOR_SPANS]; /* a span was in an accepted request */
	char head[4096];		/* of the last request */
	char resource[8192];		/* "key=value\n" of the last request */
	char scope[256];
	uint64_t first_ns, last_ns; /* when requests came */
} col;

static uint64_t collector_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint8_t *collector_gunzip(const uint8_t *bytes, size_t len, size_t *ret_len)
{
	size_t room = 64u << 20;
	uint8_t *out = malloc(room);
	z_stream z = { .next_in = (Bytef *)bytes, .avail_in = (uInt)len };

	if (inflateInit2(&z, 15 + 16) != Z_OK)
		abort();
	z.next_out = out;
	z.avail_out = (uInt)room;
	if (inflate(&z, Z_FINISH) != Z_STREAM_END)
		*ret_len = 0;
	else
		*ret_len = z.total_out;
	inflateEnd(&z);
	return out;
}

static void collector_resource(const Atr__Otlp__ResourceSpans *rs)
{
	const Atr__Otlp__InstrumentationScope *scope = rs->scope_spans[0]->scope;
	size_t n = 0;

	col.resource[0] = col.scope[0] = '\0';
	if (!rs->resource || !scope) /* an exporter without memory */
		return;
	for (size_t i = 0; i < rs->resource->n_attributes; i++) {
		const Atr__Otlp__KeyValue *kv = rs->resource->attributes[i];

		if (kv->value->value_case == ATR__OTLP__ANY_VALUE__VALUE_STRING_VALUE)
			n += (size_t)snprintf(col.resource + n, sizeof(col.resource) - n, "%s=%s\n",
					      kv->key, kv->value->string_value);
		else
			n += (size_t)snprintf(col.resource + n, sizeof(col.resource) - n,
					      "%s=%lld\n", kv->key,
					      (long long)kv->value->int_value);
	}
	(void)snprintf(col.scope, sizeof(col.scope), "%s %s %s %s", scope->name, scope->version,
		       rs->schema_url, rs->scope_spans[0]->schema_url);
}

static void collector_body(const uint8_t *bytes, size_t len, bool accepted)
{
	Atr__Otlp__ExportTraceServiceRequest *r =
		atr__otlp__export_trace_service_request__unpack(NULL, len, bytes);

	if (!r || r->n_resource_spans != 1 || r->resource_spans[0]->n_scope_spans != 1 ||
	    r->resource_spans[0]->scope_spans[0]->n_spans == 0) {
		col.bad++;
	} else {
		const Atr__Otlp__ScopeSpans *ss = r->resource_spans[0]->scope_spans[0];

		collector_resource(r->resource_spans[0]);
		col.received += ss->n_spans;
		if (ss->n_spans > col.largest)
			col.largest = ss->n_spans;
		for (size_t i = 0; i < ss->n_spans && accepted; i++) {
			uint64_t id = 0;

			for (int b = 0; b < 8; b++)
				id = id << 8 | ss->spans[i]->span_id.data[b];
			if (id < COLLECTOR_SPANS)
				col.times[id]++;
		}
		if (accepted)
			__atomic_add_fetch(&col.accepted, ss->n_spans, __ATOMIC_RELEASE);
	}
	atr__otlp__export_trace_service_request__free_unpacked(r, NULL);
}

static void collector_send(int fd, const void *bytes, size_t len)
{
	while (len) {
		ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		bytes = (const char *)bytes + n;
		len -= (size_t)n;
	}
}

/* Answers a complete request; false when the connection is to be closed. */
static bool collector_answer(struct conn *c, const uint8_t *body, size_t len)
{
	uint64_t n = __atomic_load_n(&col.requests, __ATOMIC_RELAXED);
	const struct step *s = &col.steps[n < col.n_steps ? n : col.n_steps - 1];
	static const struct step too_large = { .status = 413 };
	size_t limit = __atomic_load_n(&col.limit, __ATOMIC_RELAXED);
	bool ok;
	char head[512];
	int head_len;

	if (limit && len > limit)
		s = &too_large;
	ok = s->how == ANSWER && s->status / 100 == 2;
	col.last_ns = collector_now();
	if (!col.first_ns)
		col.first_ns = col.last_ns;
	if (strcasestr(col.head, "content-encoding: gzip")) {
		size_t plain;
		uint8_t *out = collector_gunzip(body, len, &plain);

		collector_body(out, plain, ok);
		free(out);
	} else {
		collector_body(body, len, ok);
	}
	__atomic_add_fetch(&col.requests, 1, __ATOMIC_RELEASE);
	if (s->delay_ms)
		usleep(1000 * s->delay_ms);
	if (s->how == ANSWER_NEVER)
		return true;
	if (s->how == ANSWER_CLOSE)
		return false;
	if (s->how == ANSWER_HUGE || s->how == ANSWER_CUT) {
		static const char zeros[65536];

		head_len = snprintf(
			head, sizeof(head), "HTTP/1.1 %d Text\r\nContent-Length: %d\r\n%s\r\n",
			s->status ? s->status : 200, 5 << 20, s->headers ? s->headers : "");
		collector_send(c->fd, head, (size_t)head_len);
		for (int i = 0; i < (s->how == ANSWER_CUT ? 1 : 80); i++)
			collector_send(c->fd, zeros, sizeof(zeros));
		return s->how == ANSWER_HUGE;
	}
	head_len = snprintf(head, sizeof(head), "HTTP/1.1 %d Text\r\nContent-Length: %zu\r\n%s\r\n",
			    s->status, s->len, s->headers ? s->headers : "");
	collector_send(c->fd, head, (size_t)head_len);
	collector_send(c->fd, s->body, s->len);
	return true;
}

/* Bytes came: answers what is complete. */
static bool collector_read(struct conn *c)
{
	ssize_t n;

	if (c->room - c->len < 65536) {
		c->room = c->room ? 2 * c->room : 131072;
		c->bytes = realloc(c->bytes, c->room);
	}
	n = recv(c->fd, c->bytes + c->len, c->room - c->len - 1, 0);
	if (n <= 0)
		return false;
	c->len += (size_t)n;
	for (;;) {
		const uint8_t *end = memmem(c->bytes, c->len, "\r\n\r\n", 4);
		size_t head_len, body_len;
		const char *length;

		if (!end)
			return true;
		head_len = (size_t)(end - c->bytes) + 4;
		(void)snprintf(col.head, sizeof(col.head), "%.*s", (int)head_len, c->bytes);
		length = strcasestr(col.head, "content-length:");
		body_len = length ? strtoul(length + 15, NULL, 10) : 0;
		if (c->len < head_len + body_len)
			return true;
		if (!collector_answer(c, c->bytes + head_len, body_len))
			return false;
		c->len -= head_len + body_len;
		memmove(c->bytes, c->bytes + head_len + body_len, c->len);
	}
}

static void collector_drop(struct conn *c)
{
	close(c->fd);
	free(c->bytes);
	*c = (struct conn){ .fd = -1 };
}

static void *collector_run(void *arg)
{
	(void)arg;
	for (;;) {
		struct pollfd fds[COLLECTOR_CONNS + 2] = { { .fd = col.listener, .events = POLLIN },
							   { .fd = col.stop[0],
							     .events = POLLIN } };

		for (int i = 0; i < COLLECTOR_CONNS; i++)
			fds[i + 2] = (struct pollfd){ .fd = col.conns[i].fd, .events = POLLIN };
		(void)poll(fds, COLLECTOR_CONNS + 2, -1);
		if (fds[1].revents)
			break;
		for (int i = 0; i < COLLECTOR_CONNS; i++)
			if (fds[i + 2].revents && !collector_read(&col.conns[i]))
				collector_drop(&col.conns[i]);
		for (int i = 0; i < COLLECTOR_CONNS && fds[0].revents; i++)
			if (col.conns[i].fd < 0) {
				col.conns[i].fd = accept(col.listener, NULL, NULL);
				col.connections++;
				break;
			}
	}
	for (int i = 0; i < COLLECTOR_CONNS; i++)
		if (col.conns[i].fd >= 0)
			collector_drop(&col.conns[i]);
	return NULL;
}

static int collector_listen(int port, int backlog)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_port = htons((uint16_t)port),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&sin, sizeof(sin)) != 0 || listen(fd, backlog) != 0)
		abort();
	return fd;
}

static int collector_port(int fd)
{
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);

	getsockname(fd, (struct sockaddr *)&sin, &len);
	return ntohs(sin.sin_port);
}

/* Port 0: any. */
static void collector_start(const struct step *steps, size_t n_steps, int port)
{
	memset(&col, 0, sizeof(col));
	for (int i = 0; i < COLLECTOR_CONNS; i++)
		col.conns[i].fd = -1;
	col.steps = steps;
	col.n_steps = n_steps;
	col.listener = collector_listen(port, 16);
	col.port = collector_port(col.listener);
	if (pipe(col.stop) != 0 || pthread_create(&col.thread, NULL, collector_run, NULL) != 0)
		abort();
}

static void collector_stop(void)
{
	(void)!write(col.stop[1], "x", 1);
	pthread_join(col.thread, NULL);
	close(col.listener);
	close(col.stop[0]);
	close(col.stop[1]);
}

/* Were spans first..last each accepted exactly once? */
static bool collector_once(uint64_t first, uint64_t last)
{
	for (uint64_t id = first; id <= last; id++)
		if (col.times[id] != 1) {
			printf("  span %llu was accepted %u times\n", (unsigned long long)id,
			       col.times[id]);
			return false;
		}
	return true;
}

#endif
