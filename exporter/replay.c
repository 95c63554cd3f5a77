/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Only a regular file is looked at, the one that a link leads to.  One in
 * which no line is a request is somebody else's and left alone.  Any other is
 * renamed first, NAME.draining, and then locked: from then on whoever wrote to it
 * makes another one (file.c), and a second drain leaves it alone.  A line that was
 * sent is marked in place, by a '#' for its first byte; of one that was sent in part those
 * spans are overwritten by blanks (marks.c).  With its last line the file goes; one that has lines
 * which cannot be read, or spans that the collector will never take, stays as NAME.bad, with
 * those in it.  When nobody takes them, the rest of the lines gets its old name back.  What is
 * killed leaves NAME.draining, which is gone on with when NAME is drained again.
 *
 * So a span is sent twice only by a kill between the collector's answer and its mark, or
 * where a mark cannot be written: then that is said, and nothing more sent of the file.
 */
#include "exporter/replay.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "exporter/marks.h"
#include "exporter/otlp-read.h"
#include "exporter/otlp.pb-c.h"
#include "exporter/sink.h"
#include "preload/host.h"
#include "preload/sys.h"

#define MEMBER "\"resourceSpans\"" /* what a request consists of */
#define DRAINING ".draining"
#define BAD ".bad"
#define BAD_MAX 1000			      /* files that are put aside under one name */
#define BAD_SIZE (PATH_MAX + sizeof(BAD) + 8) /* with a number */
#define READ 65536u
#define LINE_MAX_LEN (64u << 20) /* OTLP: a request may have as much */
#define BATCH_BYTES (4u << 20)	 /* of spans in a batch, about */
#define LOCK_TRIES 500		 /* of 10 ms: somebody is in the middle of a write */
#define ROUNDS 100		 /* looks whether a file has grown, as often as it has */
#define ANSWER_NS 5000000000ull	 /* longest that an answer is waited for when it is to stop */

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
	bool ended;	       /* nothing comes behind it */
	bool cut;	       /* the next line is the rest of one that is too long */
	bool half;	       /* the last line has no end, and is no request */
	unsigned grew;	       /* how often, since it was claimed: somebody has it open */
	int err;	       /* it could not be read on: why; 0: it could */
	struct atr_buf packed; /* a line in protobuf */
	uint64_t line;	       /* where it begins */
	size_t line_len;
	otlp_request *request;	    /* the same, unpacked; NULL: none is at hand */
	size_t i_resource, i_scope; /* what comes next of it */
	size_t i_in_scope;
	size_t i_span;	    /* counted from its begin */
	uint64_t lost;	    /* fields of it that are not sent */
	uint64_t ours, bad; /* lines of this file that are, or were, requests; that are none */
	bool refused;	    /* the last batch was, and is kept */

	struct atr_otlp_head head, next; /* of the batch, and of the piece at hand */
	struct atr_resource resource;
	struct atr_buf spans;
	size_t n_spans;		/* of them that are not done with */
	struct atr_marks marks; /* for them */
};

/* ---- one file ---- */

static bool ends_in(const char *name, const char *end)
{
	size_t n = strlen(name), k = strlen(end);

	return n > k && strcmp(name + n - k, end) == 0;
}

static bool is_there(const char *name)
{
	return atr_sys(SYS_faccessat, AT_FDCWD, name, F_OK, 0, 0, 0) == 0;
}

static int rename_to(const char *from, const char *to)
{
	int err = (int)atr_sys(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE, 0);

	/* Not every file system can say "unless it is there". */
	if (err == -EINVAL && is_there(to))
		return -EEXIST;
	return err == -EINVAL ? (int)atr_sys(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0, 0)
			      : err;
}

static void complain(const struct replay *r, int err)
{
	const char *what = r->marks.err ? "what was sent last cannot be marked, and may be sent "
					  "again: "
					: "";
	char shown[300];

	(void)atr_escape(shown, sizeof(shown), r->name, strlen(r->name));
	r->host->log(ATR_LOG_WARN, "%s: %s%s", shown, what,
		     err == -EWOULDBLOCK || err == -EEXIST ? "somebody else is at it"
		     : err == -EINVAL ? "it is no regular file; it is left alone"
				      : strerror(-err));
}

static void leave(const struct replay *r, int err)
{
	complain(r, err);
	atr_add(&r->host->stats->left, 1);
}

static void use_name(struct replay *r, const char *name)
{
	(void)snprintf(r->name, sizeof(r->name), "%s", name);
	if (ends_in(r->name, DRAINING))
		r->name[strlen(r->name) - strlen(DRAINING)] = '\0';
	(void)snprintf(r->draining, sizeof(r->draining), "%s%s", r->name, DRAINING);
}

/* The name of the file itself: a link to it is neither renamed nor removed.  0 or -errno. */
static int find(struct replay *r, const char *name)
{
	char real[PATH_MAX];
	struct stat st;
	int fd = atr_sys_open(name, O_PATH | O_CLOEXEC, 0);
	int err = fd < 0 ? fd : atr_sys_stat(fd, "", &st);

	if (fd >= 0)
		(void)atr_sys_close(fd);
	use_name(r, name);
	if (err) /* perhaps there is what an earlier one has left */
		return err == -ENOENT ? 0 : err;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (atr_sys_stat(AT_FDCWD, name, &st) != 0 || !S_ISLNK(st.st_mode))
		return 0;
	if (!realpath(name, real))
		return -errno;
	use_name(r, real);
	return 0;
}

/* What was renamed is opened and locked; 0 or -errno. */
static int claim(struct replay *r)
{
	struct stat st;
	int err = atr_sys_stat(AT_FDCWD, r->draining, &st);

	if (err)
		return err;
	if (!S_ISREG(st.st_mode)) /* to open it may do something */
		return -EINVAL;
	r->fd = atr_sys_open(r->draining, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW,
			     0);
	if (r->fd < 0)
		return r->fd;
	for (unsigned i = 0; i < LOCK_TRIES; i++) {
		err = (int)atr_sys(SYS_flock, r->fd, LOCK_EX | LOCK_NB, 0, 0, 0, 0);
		if (err != -EWOULDBLOCK || r->host->pending() & ATR_WAKE_STOP)
			break;
		(void)r->host->sleep_fds(NULL, 0, 10);
	}
	if (!err)
		err = atr_sys_stat(r->fd, "", &st);
	/* Somebody else had it, and is done. */
	return err ? err : st.st_nlink ? 0 : -ENOENT;
}

static void let_go(struct replay *r)
{
	if (r->fd >= 0)
		(void)atr_sys_close(r->fd);
	r->fd = -1;
	atr__otlp__export_trace_service_request__free_unpacked(r->request, NULL);
	r->request = NULL;
	atr_buf_reset(&r->text);
	atr_marks_begin(&r->marks, -1);
	atr_buf_reset(&r->spans);
	r->n_spans = 0;
	r->at = r->text_at = r->ours = r->bad = r->lost = 0;
	r->ended = r->cut = r->half = false;
	r->grew = 0;
	r->err = 0;
}

/* Beside what was put aside before. */
static void put_aside(struct replay *r, char bad[static BAD_SIZE])
{
	(void)snprintf(bad, BAD_SIZE, "%s%s", r->name, BAD);
	for (unsigned i = 2; rename_to(r->draining, bad) == -EEXIST && i < BAD_MAX; i++)
		(void)snprintf(bad, BAD_SIZE, "%s%s.%u", r->name, BAD, i);
}

/* All of it was sent, or cannot be; or it was not. */
static void over(struct replay *r, bool all)
{
	char bad[BAD_SIZE], shown[300];
	const char *in = r->name;

	if (!all || (r->bad && !r->ours)) {
		(void)rename_to(r->draining, r->name);
	} else if (r->bad || r->marks.untaken) {
		put_aside(r, bad);
		in = bad;
	} else {
		(void)atr_sys(SYS_unlinkat, AT_FDCWD, r->draining, 0, 0, 0, 0);
	}
	(void)atr_escape(shown, sizeof(shown), in, strlen(in));
	if (r->bad)
		r->host->log(ATR_LOG_WARN,
			     "%llu lines are no OTLP JSON of traces; they are left in %s",
			     (unsigned long long)r->bad, shown);
	if (r->marks.untaken)
		r->host->log(
			ATR_LOG_WARN,
			"%llu lines have spans that the collector will not take; they are left in "
			"%s",
			(unsigned long long)r->marks.untaken, shown);
	atr_add(&r->host->stats->corrupt, r->bad);
	if (!all || r->marks.untaken)
		atr_add(&r->host->stats->left, 1);
	let_go(r);
}

/* ---- lines ---- */

/* Reads on; false: there is no more, or r->err. */
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
	n = to ? atr_sys(SYS_pread64, r->fd, to, READ, from, 0, 0) : -ENOMEM;
	if (n > 0)
		r->text.len += (size_t)n;
	else
		r->err = (int)n;
	return n > 0;
}

/* The next line, good until the next call; NULL: no more, or r->err. */
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
		if (!left || r->err)
			return NULL;
		*ret_len = end ? (size_t)(end - from) : left;
		r->line = r->at;
		r->line_len = *ret_len;
		r->cut = !end && (r->cut || !r->ended);
		r->at += *ret_len + (end != NULL);
		return from;
	}
}

/* Ids are what a span cannot be without. */
static bool has_ids(const otlp_request *request)
{
	for (size_t i = 0; i < request->n_resource_spans; i++) {
		const otlp_resource *resource = request->resource_spans[i];

		for (size_t k = 0; k < resource->n_scope_spans; k++) {
			const otlp_scope *scope = resource->scope_spans[k];

			for (size_t n = 0; n < scope->n_spans; n++)
				if (scope->spans[n]->trace_id.len != 16 ||
				    scope->spans[n]->span_id.len != 8)
					return false;
		}
	}
	return true;
}

/* Other programs' lines are JSON objects, too. */
static bool read_request(struct replay *r, const char *line, size_t len)
{
	const ProtobufCMessageDescriptor *type =
		&atr__otlp__export_trace_service_request__descriptor;
	uint64_t wrong = 0;

	r->lost = 0;
	atr_buf_reset(&r->packed);
	if (!memmem(line, len, MEMBER, strlen(MEMBER)) ||
	    !atr_otlp_read(&r->packed, type, line, len, &r->lost, &wrong) || wrong)
		return false;
	r->request = atr__otlp__export_trace_service_request__unpack(NULL, r->packed.len,
								     r->packed.bytes);
	if (r->request && has_ids(r->request) && (r->request->n_resource_spans || !r->lost))
		return true;
	atr__otlp__export_trace_service_request__free_unpacked(r->request, NULL);
	r->request = NULL;
	return false;
}

/* Has the file grown behind its end?  Then it is gone on with, but not for ever. */
static bool has_grown(struct replay *r)
{
	struct stat st;

	if (r->err || r->grew > ROUNDS || atr_sys_stat(r->fd, "", &st) != 0 ||
	    (uint64_t)st.st_size <= r->text_at + r->text.len || ++r->grew > ROUNDS)
		return false;
	r->ended = false;
	return true;
}

/* The next line that is a request; false: no more, or r->err. */
static bool next_request(struct replay *r)
{
	const char *line;
	size_t len;
	bool rest;

	r->half = false;
	for (;;) {
		rest = r->cut;
		line = next_line(r, &len);
		if (!line && !has_grown(r))
			return false;
		if (!line || rest || !len || line[0] == '\r')
			continue;
		if (line[0] == '#') {
			r->ours += memmem(line, len, MEMBER, strlen(MEMBER)) != NULL;
			continue;
		}
		r->i_resource = r->i_scope = r->i_in_scope = r->i_span = 0;
		if (read_request(r, line, len)) {
			r->ours++;
			return true;
		}
		if (r->ended && r->at == r->line + len) { /* perhaps it is being written */
			r->at = r->line;
			r->half = !has_grown(r);
			if (r->half)
				return false;
			continue;
		}
		r->bad++;
	}
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

/* More of the line at hand is in the batch. */
static void add_run(struct replay *r, size_t n, bool last)
{
	atr_marks_add(&r->marks, r->line, r->line_len, r->i_span, n, last);
	r->i_span += n;
}

static bool has_room(const struct replay *r)
{
	return r->n_spans < r->host->config->bsp_max_export_batch_size &&
	       r->spans.len < BATCH_BYTES;
}

/* As many of the scope at hand as there is room for. */
static void add_spans(struct replay *r, const otlp_scope *scope)
{
	struct atr_buf one = { 0 };
	size_t before = r->n_spans;

	for (; r->i_in_scope < scope->n_spans && has_room(r); r->i_in_scope++, r->n_spans++) {
		atr_buf_reset(&one);
		pack(&one, &scope->spans[r->i_in_scope]->base);
		atr_otlp_add_span(&r->spans, one.bytes, one.len);
		r->spans.failed = r->spans.failed || one.failed;
	}
	atr_buf_free(&one);
	add_run(r, r->n_spans - before, false);
	if (r->i_in_scope == scope->n_spans) {
		r->i_in_scope = 0;
		r->i_scope++;
	}
}

/* The request at hand is through. */
static void request_over(struct replay *r)
{
	atr__otlp__export_trace_service_request__free_unpacked(r->request, NULL);
	r->request = NULL;
	atr_add(&r->host->stats->fields_lost, r->lost);
	r->lost = 0;
	add_run(r, 0, true);
}

static void begin_batch(struct replay *r)
{
	struct atr_otlp_head head = r->head;

	r->head = r->next;
	r->next = head;
	atr_resource_finish(&r->resource);
	(void)atr_otlp_read_resource(&r->resource, r->head.resource.bytes, r->head.resource.len);
}

/* Collects a batch: spans of one resource and scope, from as many lines, or parts, as fit. */
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
			 !same(&r->head.scope, &r->next.scope) || !has_room(r))
			break;
		add_spans(r, scope);
	}
	return r->n_spans;
}

/* ---- the way out ---- */

/* What a step of the delivery has got done.  A part of which the collector took some, and does not
 * say which, is one it has. */
static void take_note(struct replay *r, enum atr_delivery_state state, uint64_t n_refused)
{
	struct atr_outcome outcome;
	size_t n = atr_sink_part(&r->sink, &outcome);

	if (state == ATR_DELIVERY_DONE || n > r->n_spans)
		n = r->n_spans;
	r->n_spans -= n;
	if (n)
		atr_marks_done(&r->marks, n, n_refused == n);
}

/* To stop is to let go, but of what only waits for its answer: that would be sent again. */
static bool lets_go(const struct replay *r, uint64_t *since)
{
	uint64_t now = r->host->now();

	if (!(r->host->pending() & ATR_WAKE_STOP))
		return false;
	if (!*since)
		*since = now;
	return !atr_sink_sent(&r->sink) || now - *since > ANSWER_NS;
}

/* False: nobody takes it, or what is left of it. */
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
	uint64_t before = host->stats->adopted_refused, stopping = 0;
	enum atr_delivery_state state = atr_sink_start_foreign(&r->sink, &b);

	while (state == ATR_DELIVERY_BUSY) {
		if (lets_go(r, &stopping)) {
			atr_sink_cancel(&r->sink);
			return false;
		}
		if (atr_sink_due(&r->sink) > host->now()) {
			(void)host->sleep_fds(NULL, 0, 10);
			continue;
		}
		before = host->stats->adopted_refused;
		state = atr_sink_step(&r->sink, UINT64_MAX, ATR_HASTE_FLUSH, false);
		if (state == ATR_DELIVERY_BUSY)
			take_note(r, state, host->stats->adopted_refused - before);
		if (r->marks.err) {
			atr_sink_cancel(&r->sink);
			return false;
		}
	}
	take_note(r, state, host->stats->adopted_refused - before);
	r->refused = state == ATR_DELIVERY_FAILED && atr_sink_refused(&r->sink);
	return state == ATR_DELIVERY_DONE;
}

/* All was sent, but not what somebody is about to write to it. */
static bool is_open(struct replay *r)
{
	char shown[300];

	if (r->grew > ROUNDS || (r->grew && r->half)) {
		(void)atr_escape(shown, sizeof(shown), r->name, strlen(r->name));
		r->host->log(ATR_LOG_WARN, "%s: somebody writes to it; what comes last is left",
			     shown);
		return true;
	}
	r->bad += r->half;
	return false;
}

/* What is named NAME.draining.  False: nobody is there to take what is in it. */
static bool replay_one(struct replay *r)
{
	int err = claim(r);
	bool sent = true;

	r->refused = false;
	if (err) {
		leave(r, err);
		let_go(r);
		/* Else it is somebody else's, or none of ours. */
		if (err != -EWOULDBLOCK && err != -ENOENT && err != -EINVAL)
			(void)rename_to(r->draining, r->name);
		return true;
	}
	atr_marks_begin(&r->marks, r->fd);
	while (sent && !r->marks.err && next_batch(r))
		sent = !r->spans.failed && !r->head.resource.failed &&
		       !atr_marks_failed(&r->marks) && send_batch(r);
	if (sent)
		atr_marks_done(&r->marks, 0, false);
	err = r->err ? r->err : r->marks.err;
	if (err)
		complain(r, err);
	over(r, sent && !err && !is_open(r));
	return sent || err || r->refused; /* of other files that may be otherwise */
}

/* Is there a request in it, sent or not?  It is only read.  1, 0 or -errno. */
static int has_traces(struct replay *r)
{
	char shown[300];
	int has;

	r->fd = atr_sys_open(r->name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
	if (r->fd < 0)
		return r->fd;
	has = next_request(r) || r->ours ? 1 : r->err;
	(void)atr_escape(shown, sizeof(shown), r->name, strlen(r->name));
	if (!has && r->text_at + r->text.len)
		r->host->log(ATR_LOG_WARN, "%s has no traces in OTLP JSON; it is left alone",
			     shown);
	let_go(r);
	return has;
}

/* What is only to be read keeps its name: marks are to be written in it. */
static int can_write(const struct replay *r)
{
	int fd = atr_sys_open(r->name, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);

	if (fd >= 0)
		(void)atr_sys_close(fd);
	return fd < 0 ? fd : 0;
}

/* What an earlier one has left comes first.  False: nobody takes what is in it. */
static bool replay_file(struct replay *r, const char *name)
{
	int err = find(r, name);
	bool earlier;

	if (err) {
		leave(r, err);
		return true;
	}
	earlier = is_there(r->draining);
	if (earlier && !replay_one(r))
		return false;
	if (earlier && (is_there(r->draining) || !is_there(r->name)))
		return true;
	err = has_traces(r);
	if (!err)
		return true;
	if (err > 0)
		err = can_write(r);
	if (!err)
		err = rename_to(r->name, r->draining);
	if (!err)
		return replay_one(r);
	leave(r, err);
	return true;
}

void atr_replay(const struct atr_host *host)
{
	const struct sigaction ignore = { .sa_handler = SIG_IGN };
	struct replay r = { .host = host, .fd = -1 };
	struct sigaction before;
	bool sent = true;

	/* A mark behind the longest that a file may be is an error like any other. */
	(void)sigaction(SIGXFSZ, &ignore, &before);
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
	atr_marks_finish(&r.marks);
	(void)sigaction(SIGXFSZ, &before, NULL);
}
