/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_TALK_H
#define ATR_HOOKS_TALK_H

#include "hooks/protocol.h"

/*
 * What is said on a connection: its first bytes tell the protocol, which is then
 * handed all that moves.  What is in none that we know is left alone, but for the
 * context a thread goes on in.
 */

enum { ATR_HEARD_NOTHING, ATR_HEARD_SOME, ATR_HEARD_ALL };

/* Is there anybody to listen to what moves on it? */
static inline bool atr_talks(const struct atr_conn *c)
{
	return c->protocol ||
	       (c->heard != ATR_HEARD_ALL && c->type == SOCK_STREAM &&
		atr_load(&c->role) <= ATR_ROLE_SERVER && c->speaker == ATR_SPEAKER_PROGRAM);
}

/* Bytes were received, or the stream ended, or failed; moved->conn is held. */
void atr_talk_received(const struct atr_moved *moved);

/* The same for what was sent without a plan. */
void atr_talk_sent(const struct atr_moved *moved);

/*
 * The first bytes this side sends: looked at before the call, for then they may still be
 * added to.  Decides the protocol if they are enough.
 */
void atr_talk_listen(struct atr_conn *c, struct atr_source *source);

/* A thread reads or writes a connection that is in no protocol: whose work is it? */
void atr_talk_raw(struct atr_conn *c, bool sent);

/* shutdown() of the sending side. */
void atr_talk_shut(struct atr_conn *c, int fd);

/* The connection was made: for its end. */
void atr_talk_gone(struct atr_conn *c);

#endif
