/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_HTTP_H
#define ATR_HOOKS_HTTP_H

#include "hooks/http-request.h"
#include "hooks/protocol.h"

/*
 * HTTP/1 on one connection, as hooks/http.c (what was moved) and hooks/http-plan.c (requests
 * that are about to be sent) share it.
 */
enum atr_http_phase {
	ATR_HTTP_BETWEEN, /* messages */
	ATR_HTTP_IN_HEAD,
	ATR_HTTP_IN_BODY,
	ATR_HTTP_HELD, /* a request asked for another protocol: the response will tell */
	ATR_HTTP_GIVEN_UP,
};

/* One direction.  Touched only by the thread that has the claim. */
struct atr_http_half {
	uint8_t phase;
	bool cr;       /* between messages: of an empty line, its LF is still to come */
	bool injected; /* our lines for the head that is being sent are out */
	bool hold;     /* behind this body: the request asks for another protocol */
	uint32_t len;  /* bytes of the head that are in buf */
	size_t scan;
	char *buf;	/* a head that came in pieces; NULL: none */
	uint64_t begun; /* monotonic ns, of the head's first byte */
	struct atr_http_body body;
};

/* Requests that may be open on one connection: a server that reads ahead keeps as many. */
#define ATR_HTTP_QUEUE_MAX 512

/* What a held side is told. */
enum { ATR_HTTP_STILL, ATR_HTTP_GO_ON, ATR_HTTP_SWITCHED };

struct atr_http {
	struct atr_pooled pooled;
	bool client;	  /* this side asks */
	bool first;	  /* no request was sent (client) yet */
	uint32_t held;	  /* ATR_HTTP_STILL...: what became of the held request */
	uint32_t lost;	  /* two threads in one half: nobody knows where it is any more */
	uint32_t foreign; /* what answers (a client) speaks something else */
	uint32_t failed;  /* errno of a call that failed */
	uint32_t ended;	  /* the other side has ended its stream */
	uint32_t requests, responses; /* claims: the half is being worked on */
	uint32_t calling;	      /* a planned call is under way */
	struct atr_http_half request_half, response_half;
	char *planned_buf; /* of the planned call that is under way, beside request_half's */
	/*
	 * The queue.  `first_in` is spent: its successor is the oldest one open.  Its end
	 * belongs to the request half, its front to the response half.
	 */
	struct atr_http_request *front, *back;
	uint32_t queued;
	struct atr_http_request *unsent; /* of a client's: made, but its head has not gone yet */
	struct atr_context
		thread; /* of a client's: what the thread was in at the head's first byte */
};

bool atr_http_claim(uint32_t *claim);
void atr_http_leave(uint32_t *claim);

/* The claim could not be had: no call of this connection is looked at any more. */
void atr_http_lost(struct atr_http *h, struct atr_conn *c);

/* Once the first message is understood the connection is known to speak HTTP. */
void atr_http_recognised(struct atr_conn *c);

/* For good.  A connection that was not recognised by then is the program's own affair. */
void atr_http_give_up(struct atr_http_half *half, struct atr_conn *c);

/*
 * How many of n bytes between messages are empty lines (RFC 9112 2.2), or -1 where a CR
 * has no LF.
 */
ssize_t atr_http_empty_lines(struct atr_http_half *half, const char *p, size_t n);

/* Puts a request behind the others. */
void atr_http_queue(struct atr_http *h, struct atr_http_request *r);

/* Of a head without its empty line. */
uint64_t atr_http_hash(const char *p, size_t n);

/* The request that did not go the last time, if its head is this one: it goes now.  Else NULL. */
struct atr_http_request *atr_http_sent_now(struct atr_http *h, const char *p, size_t n);

/* The body of a request, or what else follows its head.  again: it was here before. */
void atr_http_request_body(struct atr_http *h, struct atr_http_half *half,
			   const struct atr_http_head *head, bool again);

/* And its end. */
static inline void atr_http_request_ends(struct atr_http_half *half)
{
	half->phase = half->hold ? ATR_HTTP_HELD : ATR_HTTP_BETWEEN;
}

/*
 * Bytes on their way into a half.  `head` is told of each whole head, without its empty line
 * (false: give up), `done` of the end of each message.
 */
struct atr_http_feed {
	struct atr_http *h;
	struct atr_http_half *half;
	const struct atr_moved *m;
	bool (*head)(struct atr_http_feed *f, const char *p, size_t n); /* false: give up */
	void (*done)(struct atr_http_feed *f);				/* a message is complete */
	struct atr_http_request *last;	 /* the one the bytes were about; NULL: none */
	struct atr_http_request *first;	 /* that was opened; NULL: none was */
	struct atr_http_request *before; /* the last one before */
	struct atr_http_request *before_last;
	bool answered_all; /* of a response: to its end */
};

/* All that moved; false where it was not understood. */
bool atr_http_feed_moved(struct atr_http_feed *f);

/* The half gives up. */
void atr_http_not_understood(struct atr_http_feed *f);

/* A request is complete. */
void atr_http_request_done(struct atr_http_feed *f);

/* What follows the head of the final response to r; false: nothing that is HTTP. */
bool atr_http_response_body(struct atr_http_feed *f, const struct atr_http_request *r,
			    const struct atr_http_head *head);

/* A response is complete: the request that it answers, still in the queue, or NULL. */
struct atr_http_request *atr_http_response_done(struct atr_http_feed *f);

/* What the raw spans of AUTOTRACE_SOCKET_SPANS=all belong under. */
void atr_http_say_whose(const struct atr_moved *m, const struct atr_http_request *r);

/* The oldest request without a complete response; NULL when there is none. */
struct atr_http_request *atr_http_oldest(const struct atr_http *h);

/* It has its response.  It stays as the queue's front, spent, until the next one goes. */
void atr_http_take_off(struct atr_http *h);

/* hooks/http-serve.c: requests are received, responses sent.  Under the half's claim. */
void atr_http_serve_received(struct atr_http *h, const struct atr_moved *m);
void atr_http_serve_ended(struct atr_http *h, const struct atr_moved *m);
void atr_http_serve_sent(struct atr_http *h, const struct atr_moved *m);
void atr_http_serve_shut(struct atr_http *h, struct atr_conn *c, int fd); /* takes the claim */

/* hooks/http-ask.c: responses are received, requests sent without a plan. */
void atr_http_ask_received(struct atr_http *h, const struct atr_moved *m);
void atr_http_ask_ended(struct atr_http *h, const struct atr_moved *m);
void atr_http_ask_sent(struct atr_http *h, const struct atr_moved *m);

/* hooks/http-plan.c */
bool atr_http_plan(void *talk, struct atr_conn *c, struct atr_source *source,
		   struct atr_plan *plan);
void atr_http_sent_planned(void *talk, const struct atr_moved *m, struct atr_plan *plan,
			   unsigned begun);

#endif
