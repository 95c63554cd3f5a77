/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_PG_TALK_H
#define ATR_HOOKS_PG_TALK_H

#include "hooks/pg-statement.h"
#include "hooks/pg3.h"
#include "hooks/protocol.h"

/*
 * A PostgreSQL client on one connection, as pg-talk.c (what moved), pg-ask.c (what it asks) and
 * pg-answer.c (what the server answers) share it.
 */

/*
 * What the server owes an answer to, in order.  Made by the thread that sends; but for what is
 * marked it is then for the one that receives to look at.
 */
enum atr_pg_what {
	ATR_PG_CONNECT,
	ATR_PG_CANCEL,	 /* no answer, but the end of the connection */
	ATR_PG_QUERY,	 /* a simple one, or a function call: up to its ReadyForQuery */
	ATR_PG_GROUP,	 /* Parse, Bind, Describe, Execute of one statement */
	ATR_PG_SILENT,	 /* Close: no span */
	ATR_PG_SYNC,	 /* a ReadyForQuery */
	ATR_PG_COPY_END, /* no answer: up to here a server that copies heeds no Sync */
};

/* In atr_pg_item.asked: nothing more will be asked for it. */
#define ATR_PG_FINAL 0x80000000u

struct atr_pg_item {
	struct atr_pooled pooled;
	struct atr_pg_item *next;
	struct atr_pg_statement *statement; /* NULL: none, or not followed */
	uint64_t copied_before;		    /* bytes of COPY data that were sent before it */
	uint32_t prepared;		    /* handle of a text that it prepares; 0: none */
	uint32_t asked;			    /* answers: the sender's */
	uint32_t answered;
	uint8_t what;
	bool failed;
	bool unheeded; /* a Sync that came while the server was copying */
};

/* Answers that may be due on one connection, and statements among them that are spans. */
#define ATR_PG_QUEUE_MAX 16384
#define ATR_PG_STATEMENTS_MAX 2048

#define ATR_PG_NAME_MAX 128

/* Statements that failed to be prepared, until the sender takes notice. */
#define ATR_PG_UNDO_MAX 16

struct atr_pg {
	struct atr_pooled pooled;
	uint32_t lost;		    /* given up, for good */
	uint32_t opaque;	    /* encrypted from here on */
	uint32_t asking, answering; /* claims: a direction is being worked on */
	uint32_t failed;	    /* errno of a call that failed */
	uint32_t escapes;	    /* standard_conforming_strings is off */
	uint32_t singles;	    /* answers of one byte that are due */
	uint32_t n_items, n_statements;

	/* Texts that were remembered in vain: written by the receiver, n_undo last. */
	uint32_t undo[ATR_PG_UNDO_MAX], n_undo;

	/* What was prepared without a name and not executed yet.  Taken by exchange. */
	struct atr_pg_statement *unnamed;

	/* The sender's. */
	bool copying;	/* the last message was data */
	bool calling;	/* a call is under way whose bytes were looked at before */
	uint64_t ahead; /* bytes that were looked at and have not gone yet */
	struct atr_pg3 ask;
	uint64_t begun;		    /* of the message at hand, when it comes in pieces: its start */
	struct atr_context thread;  /* and what the thread was in then */
	struct atr_pg_item *open;   /* the group that may still be added to */
	bool has_bind;		    /* it has */
	bool connects;		    /* it began to */
	char name[ATR_PG_NAME_MAX]; /* its statement's */
	char portal[ATR_PG_NAME_MAX];	    /* and portal */
	struct atr_pgconn *known;	    /* texts by their names; constant attributes */
	struct atr_pg_text *nameless;	    /* the statement without a name */
	struct atr_pg_text *nameless_bound; /* in the portal without a name */
	uint32_t n_undone;		    /* of n_undo */
	struct atr_pg_text *recent;	    /* the one that was looked up last, and its name */
	char recent_name[ATR_PG_NAME_MAX];
	uint64_t copied;	 /* bytes of COPY data sent; others may read it */
	struct atr_context said; /* AUTOTRACE_SOCKET_SPANS=all: of the last statement sent, */
	uint64_t said_since;	 /* and its start */
	struct atr_pg_item *back;

	/* The receiver's. */
	struct atr_pg_item *front; /* is spent: its successor is the oldest one open */
	struct atr_pg3 answer;
	struct atr_pg_statement *held; /* has its answer, but for the ReadyForQuery */
	bool skipping;		       /* after an error, up to the next Sync */
	char keep[ATR_PG3_ANSWER_MAX];
};

/* What is known of the bytes at hand while they are looked at. */
struct atr_pg_asking {
	struct atr_pg *pg;
	struct atr_conn *conn;
	uint64_t now; /* monotonic ns; 0: not asked yet */
};

struct atr_pg_answering {
	struct atr_pg *pg;
	const struct atr_moved *m;
	uint64_t now;
	/* For a loop: whose work it was, and whether that can go on. */
	struct atr_context sent_in;
	bool any, several, complete;
	bool ending; /* nothing was answered: the connection ends */
};

/* hooks/pg-ask.c.  A message that is asked; false: give up. */
bool atr_pg_ask(struct atr_pg_asking *a, const struct atr_pg3_message *m);

/* What was prepared without a name is a span of its own. */
void atr_pg_ask_end(struct atr_pg *pg, struct atr_conn *c);

/* hooks/pg-answer.c.  An answer; false: give up. */
bool atr_pg_answer(struct atr_pg_answering *a, const struct atr_pg3_message *m);

/* There will be no more answers; why: error.type of what is still due. */
void atr_pg_answer_end(struct atr_pg_answering *a, const char *why);

/* Nothing is followed any more: drops what will not be added to, as the receiver. */
void atr_pg_answer_drop(struct atr_pg *pg);

/* Gives back all that is queued; ops that are still open are dropped. */
void atr_pg_answer_free(struct atr_pg *pg);

/* One of its own, with nothing in it.  NULL: no memory. */
struct atr_pg_item *atr_pg_item_new(enum atr_pg_what what);
void atr_pg_item_free(struct atr_pg_item *item);

#endif
