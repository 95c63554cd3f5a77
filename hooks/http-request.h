/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_HTTP_REQUEST_H
#define ATR_HOOKS_HTTP_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "hooks/http-attrs.h"
#include "hooks/http1.h"
#include "hooks/open.h"
#include "hooks/propagator.h"
#include "preload/conn.h"
#include "preload/op.h"
#include "preload/pool.h"

struct atr_http_chunk;

/*
 * One request and what becomes of it: a SERVER span for one that was read, a CLIENT
 * span for one that is sent.  From a pool; its memory is never unmapped, so a context may
 * point at its cell for ever.
 *
 * Threads: it is made by the thread that reads (sends) the request and put into the
 * connection's queue; from then on it belongs to the one that sends (reads) the
 * response, but for what is marked otherwise.
 */
struct atr_http_request {
	struct atr_pooled pooled;
	struct atr_cell cell; /* of its context */
	struct atr_http_request *next;
	struct atr_op op;
	struct atr_context sent_in; /* of a client's: whose work it is; valid or not */
	struct atr_carrier *carrier;
	struct atr_http_chunk *attrs;
	struct atr_open open;
	uint64_t head_hash; /* of a client's: to know it again when it is sent a second time */
	uint32_t children;  /* forks of this process when it began */
	uint32_t sent;	    /* of a client's: its head is on its way */
	uint32_t worker;    /* of a server's: id of the thread that works on it */
	uint16_t attrs_len;
	uint16_t lines_len;
	uint16_t status; /* of the response, once known */
	uint8_t name_len;
	bool to_head, to_connect, upgrade;
	bool listed;		   /* in hooks/open.c */
	bool over;		   /* its span has ended */
	bool awaited;		   /* of a client's: counted in its parent's cell */
	bool propagates;	   /* its host gets headers */
	bool passes_on;		   /* the program passes the context of the request it serves on */
	bool patched;		   /* and ours has gone in its place */
	struct atr_context passed; /* what it passes on */
	char name[ATR_HTTP_NAME_MAX];
	char lines[ATR_INJECT_MAX]; /* of a client's: what is added to its head */
};

/* NULL: no memory (counted). */
struct atr_http_request *atr_http_request_new(const struct atr_http_head *head);

/* Gives it back; a span that has not ended is dropped. */
void atr_http_request_free(struct atr_http_request *r);

/* A request was read: opens the SERVER op and lists it. */
void atr_http_request_serve(struct atr_http_request *r, struct atr_conn *c,
			    const struct atr_http_head *head, uint64_t start);

/* Where a request that is to be sent belongs. */
struct atr_http_origin {
	const struct atr_context *connected; /* what the connection was made in, valid or not; NULL
						after its first request */
	const struct atr_context *thread;    /* what the thread was in at the first byte; or NULL */
	uint64_t start;			     /* monotonic ns */
};

/* A request is to be sent: opens the CLIENT op and makes the lines that are added. */
void atr_http_request_send(struct atr_http_request *r, struct atr_conn *c,
			   const struct atr_http_head *head, const struct atr_http_origin *from);

/* The response's head is there (not a 1xx, but for 101). */
void atr_http_request_answered(struct atr_http_request *r, const struct atr_http_head *response);

/* The span ends now.  error: error.type where the status says none; NULL: no error. */
void atr_http_request_over(struct atr_http_request *r, struct atr_conn *c, int fd,
			   const char *error);

/* Its context, for a thread to go on in; NULL when it has ended. */
static inline const struct atr_context *atr_http_request_context(const struct atr_http_request *r)
{
	return atr_context_usable(&r->op.context) ? &r->op.context : NULL;
}

#endif
