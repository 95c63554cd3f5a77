/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file is renamed first, NAME.draining, and then locked: from then on whoever wrote to it
 * makes another one (file.c), and a second drain leaves it alone.  A line that was
 * sent is marked in place, by a '#' for its first byte.  With its last line the file goes;
 * one that has lines which cannot be read stays as NAME.bad.  When nobody takes them, the
 * rest of the lines gets its old name back.  What is killed leaves NAME.draining, which is
 * gone on with when NAME is drained again.
 *
 * So a line is sent twice only by a kill between the collector's answer and its mark.
 */
#include "exporter/replay.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "exporter/otlp-read.h"
#include "exporter/otlp.pb-c.h"
#include "exporter/sink.h"
#include "preload/host.h"
#include "preload/sys.h"

#define DRAINING ".draining"
#define BAD ".bad"
#define READ 65536u
#define LINE_MAX_LEN (64u << 20) /* OTLP: a request may have as much */
#define BATCH_BYTES (4u << 20)	 /* of spans in a batch, about */
#define LOCK_TRIES 500		 /* of 10 ms: somebody is in the middle of a write */

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif

typedef Atr__Otlp__ExportTraceServiceRequest otlp_request; /* protobuf-c's names are long */
typedef Atr__Otlp__ResourceSpans otlp_resource;
typedef Atr__Otlp__ScopeSpans otlp_scope;

struct replay {
	const struct atr_host *host;
	struct atr_sink sink;
	char name[PATH_MAX], draining[PATH_MAX + sizeof(DRAINING)];
	int fd;

	struct atr_buf text;   /* read ahead from the file */
	uint64_t at, text_at;  /* the next line, and where `text` begins */
	bool again;	       /* there is another of that name */
	bool ended;	       /* nothing comes behind it */
	struct atr_buf packed; /* a line in protobuf */
	uint64_t line;	       /* where it begins */
	otlp_request *request; /* the same, unpacked; NULL: none is at hand */
	size_t i_resource, i_scope;
	uint64_t bad; /* lines of this file */

	struct atr_otlp_head head, next; /* of the batch, and of the piece at hand */
	struct atr_resource resource;
	struct atr_buf spans;
	struct atr_buf marks; /* lines that are through with it */
	size_t n_spans;
};

/* ---- one file ---- */

static bool ends_in(const char *name, const char *end)
{
	size_t n = strlen(name), k = strlen(end);

	return n > k && strcmp(name + n - k, end) == 0;
}

static int rename_to(const char *from, const char *to)
{
	int err = (int)atr_sys(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE, 0);

	/* Not every file system can say "unless it is there". */
	return err == -EINVAL ? (int)atr_sys(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0, 0)
			      : err;
}

static void complain(struct replay *r, int err)
{
	char shown[300];

	(void)atr_escape(shown, sizeof(shown), r->name, strlen(r->name));
	r->host->log(ATR_LOG_WARN, "%s: %s", shown,
		     err == -EWOULDBLOCK ? "somebody else is at it" : strerror(-err));
}

/* Opened, renamed and locked; 0 or -errno. */
static int claim(struct replay *r, const char *name)
{
	int err;

	r->again = false;
	(void)snprintf(r->name, sizeof(r->name), "%s", name);
	(void)snprintf(r->draining, sizeof(r->draining), "%s%s", name, DRAINING);
	if (ends_in(name, DRAINING)) {
		memcpy(r->draining, r->name, sizeof(r->name));
		r->name[strlen(name) - strlen(DRAINING)] = '\0';
	} else {
		err = rename_to(r->name, r->draining);
		/* What an earlier one has left comes first. */
		r->again = err == -EEXIST;
		if (err && err != -EEXIST && err != -ENOENT)
			return err;
	}
	r->fd = atr_sys_open(r->draining, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
	if (r->fd < 0)
		return r->fd;
	for (unsigned i = 0; i < LOCK_TRIES; i++) {
		err = (int)atr_sys(SYS_flock, r->fd, LOCK_EX | LOCK_NB, 0, 0, 0, 0);
		if (err != -EWOULDBLOCK || r->host->pending() & ATR_WAKE_STOP)
			break;
		(void)r->host->sleep_fds(NULL, 0, 10);
	}
	return err;
}

static void let_go(struct replay *r)
{
	if (r->fd >= 0)
		(void)atr_sys_close(r->fd);
	r->fd = -1;
	atr__otlp__export_trace_service_request__free_unpacked(r->request, NULL);
	r->request = NULL;
	atr_buf_reset(&r->text);
	atr_buf_reset(&r->marks);
	atr_buf_reset(&r->spans);
	r->n_spans = 0;
	r->at = r->text_at = r->bad = 0;
	r->ended = false;
}

/* All of it was sent, or cannot be; or it was not. */
static void over(struct replay *r, bool all)
{
	char bad[PATH_MAX + sizeof(BAD)];

	(void)snprintf(bad, sizeof(bad), "%s%s", r->name, BAD);
	if (!all)
		(void)rename_to(r->draining, r->name);
	else if (r->bad)
		(void)rename_to(r->draining, bad);
	else
		(void)atr_sys(SYS_unlinkat, AT_FDCWD, r->draining, 0, 0, 0, 0);
	if (r->bad)
		r->host->log(ATR_LOG_WARN, "%s: %llu lines are no OTLP JSON; %s %s", r->name,
			     (unsigned long long)r->bad, "they are left in", all ? bad : r->name);
	atr_add(&r->host->stats->corrupt, r->bad);
	if (!all)
		atr_add(&r->host->stats->left, 1);
	let_go(r);
}

/* ---- lines ---- */

/* Reads on; false: there is no more. */
static bool read_more(struct replay *r)
{
	uint64_t from = r->text_at + r->text.len;
	uint8_t *to;
	long n;

	if (r->at > r->text_at) { /* what is done with goes */
		size_t done = (size_t)(r->at - r->text_at);

		memmove(r->text.bytes, r->text.bytes + done, r->text.len - done);
		r->text.len -= done;
		r->text_at = r->at;
	}
	to = atr_buf_reserve(&r->text, READ);
	n = to ? atr_sys(SYS_pread64, r->fd, to, READ, from, 0, 0) : 0;
	if (n > 0)
		r->text.len += (size_t)n;
	return n > 0;
}

/* The next line, good until the next call; NULL: no more. */
static const char *next_line(struct replay *r, size_t *ret_len)
{
	size_t seen = 0;

	for (;;) {
		const char *from = (const char *)r->text.bytes + (r->at - r->text_at);
		size_t left = r->text.len - (size_t)(r->at - r->text_at);
		const char *end = left > seen ? memchr(from + seen, '\n', left - seen) : NULL;

		if (!end && !r->ended && left < LINE_MAX_LEN) {
			seen = left;
			r->ended = !read_more(r);
			continue;
		}
		if (!left)
			return NULL;
		*ret_len = end ? (size_t)(end - from) : left;
		r->line = r->at;
		r->at += *ret_len + (end != NULL);
		return from;
	}
}

/* The next line that is a request; false: no more. */
static bool next_request(struct replay *r)
{
	const ProtobufCMessageDescriptor *type =
		&atr__otlp__export_trace_service_request__descriptor;
	const char *line;
	uint64_t lost = 0;
	size_t len;

	while (!r->text.failed && (line = next_line(r, &len))) {
		if (!len || line[0] == '#' || line[0] == '\r')
			continue;
		atr_buf_reset(&r->packed);
		if (atr_otlp_read(&r->packed, type, line, len, &lost))
			r->request = atr__otlp__export_trace_service_request__unpack(
				NULL, r->packed.len, r->packed.bytes);
		atr_add(&r->host->stats->fields_lost, lost);
		lost = 0;
		r->i_resource = r->i_scope = 0;
		if (r->request)
			return true;
		r->bad++;
	}
	return false;
}

/* ---- pieces of a request ---- */

static void pack(struct atr_buf *out, const ProtobufCMessage *message)
{
	uint8_t *to = atr_buf_reserve(out, protobuf_c_message_get_packed_size(message));

	if (to)
		out->len += protobuf_c_message_pack(message, to);
}

/* The scope at hand, NULL when the request has no more. */
static otlp_scope *piece(struct replay *r, otlp_resource **ret)
{
	for (; r->i_resource < r->request->n_resource_spans; r->i_resource++, r->i_scope = 0) {
		*ret = r->request->resource_spans[r->i_resource];
		for (; r->i_scope < (*ret)->n_scope_spans; r->i_scope++)
			if ((*ret)->scope_spans[r->i_scope]->n_spans)
				return (*ret)->scope_spans[r->i_scope];
	}
	return NULL;
}

/* Writes r->next for it. */
static void pack_head(struct replay *r, const otlp_resource *resource, const otlp_scope *scope)
{
	otlp_resource bare_resource = *resource;
	otlp_scope bare_scope = *scope;

	bare_resource.n_scope_spans = 0;
	bare_scope.n_spans = 0;
	atr_buf_reset(&r->next.resource);
	atr_buf_reset(&r->next.scope);
	pack(&r->next.resource, &bare_resource.base);
	pack(&r->next.scope, &bare_scope.base);
}

static bool same(const struct atr_buf *a, const struct atr_buf *b)
{
	return a->len == b->len && (!a->len || memcmp(a->bytes, b->bytes, a->len) == 0);
}

static void add_spans(struct replay *r, const otlp_scope *scope)
{
	struct atr_buf one = { 0 };

	for (size_t i = 0; i < scope->n_spans; i++) {
		atr_buf_reset(&one);
		pack(&one, &scope->spans[i]->base);
		atr_otlp_add_span(&r->spans, one.bytes, one.len);
		r->spans.failed = r->spans.failed || one.failed;
	}
	r->n_spans += scope->n_spans;
	atr_buf_free(&one);
}

/* The request at hand is through. */
static void request_over(struct replay *r)
{
	atr__otlp__export_trace_service_request__free_unpacked(r->request, NULL);
	r->request = NULL;
	atr_buf_add(&r->marks, &r->line, sizeof(r->line));
}

static void begin_batch(struct replay *r)
{
	struct atr_otlp_head head = r->head;

	r->head = r->next;
	r->next = head;
	atr_resource_finish(&r->resource);
	(void)atr_otlp_read_resource(&r->resource, r->head.resource.bytes, r->head.resource.len);
}

/* Collects a batch: spans of one resource and scope, from as many lines as fit. */
static size_t next_batch(struct replay *r)
{
	otlp_resource *resource;
	otlp_scope *scope;

	atr_buf_reset(&r->spans);
	r->n_spans = 0;
	while (r->request || next_request(r)) {
		scope = piece(r, &resource);
		if (!scope) {
			request_over(r);
			continue;
		}
		pack_head(r, resource, scope);
		if (!r->n_spans)
			begin_batch(r);
		else if (!same(&r->head.resource, &r->next.resource) ||
			 !same(&r->head.scope, &r->next.scope) ||
			 r->n_spans + scope->n_spans > r->host->config->bsp_max_export_batch_size ||
			 r->spans.len > BATCH_BYTES)
			break;
		add_spans(r, scope);
		r->i_scope++;
	}
	return r->n_spans;
}

/* ---- the way out ---- */

/* Those lines are not sent again. */
static void mark(struct replay *r)
{
	uint64_t at;

	for (size_t i = 0; i + sizeof(at) <= r->marks.len; i += sizeof(at)) {
		memcpy(&at, r->marks.bytes + i, sizeof(at));
		(void)atr_sys(SYS_pwrite64, r->fd, "#", 1, at, 0, 0);
	}
	atr_buf_reset(&r->marks);
}

/* False: nobody takes it. */
static bool send_batch(struct replay *r)
{
	const struct atr_form_batch b = {
		.head = &r->head,
		.resource = &r->resource,
		.spans = r->spans.bytes,
		.len = r->spans.len,
		.n_spans = r->n_spans,
	};
	const struct atr_host *host = r->host;
	enum atr_delivery_state state = atr_sink_start_foreign(&r->sink, &b);

	while (state == ATR_DELIVERY_BUSY) {
		uint64_t now = host->now(), due = atr_sink_due(&r->sink);

		if (host->pending() & ATR_WAKE_STOP) {
			atr_sink_cancel(&r->sink);
			return false;
		}
		if (due > now)
			(void)host->sleep_fds(NULL, 0, 10);
		else
			state = atr_sink_step(&r->sink, UINT64_MAX, ATR_HASTE_FLUSH, false);
	}
	return state == ATR_DELIVERY_DONE;
}

/* False: nobody takes what is in it. */
static bool replay_one(struct replay *r, const char *name)
{
	int err = claim(r, name);
	bool sent = true;

	if (err) {
		complain(r, err);
		atr_add(&r->host->stats->left, 1);
		let_go(r);
		return true;
	}
	while (sent && next_batch(r)) {
		sent = !r->spans.failed && !r->head.resource.failed && send_batch(r);
		/* The last line of the batch may go on with another one. */
		if (sent)
			mark(r);
	}
	if (sent)
		mark(r); /* of lines without spans */
	over(r, sent && !r->text.failed);
	return sent;
}

static bool replay_file(struct replay *r, const char *name)
{
	bool sent = replay_one(r, name);

	return sent && r->again ? replay_one(r, name) : sent;
}

void atr_replay(const struct atr_host *host)
{
	struct replay r = { .host = host, .fd = -1 };
	bool sent = true;

	if (atr_sink_init(&r.sink, host))
		for (size_t i = 0; sent && host->files[i]; i++)
			sent = replay_file(&r, host->files[i]);
	atr_sink_finish(&r.sink);
	atr_resource_finish(&r.resource);
	atr_otlp_head_finish(&r.head);
	atr_otlp_head_finish(&r.next);
	atr_buf_free(&r.text);
	atr_buf_free(&r.packed);
	atr_buf_free(&r.spans);
	atr_buf_free(&r.marks);
}
