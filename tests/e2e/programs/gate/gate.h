/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_E2E_GATE_H
#define ATR_E2E_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * What the gateways of the oracle (tests/e2e/oracle.py) have in common.
 *
 * A gateway answers GET or POST /r/ID?n=N&... by asking the upstream N times, one
 * after the other, for /item/ID.K?... with the same method, query and body.  Its
 * answer is a line about the request and then what the upstream answered:
 *
 *	ID METHOD N BODY-LENGTH BODY-CRC32\n
 *	<answer to ID.0><answer to ID.1>...
 *
 * Gateways are ordinary programs: they know nothing of tracing and send no
 * trace header.  They vary the calls they send and receive with (send, write,
 * writev, sendmsg, whole or in pieces), as different programs do.
 */

struct gate_buf {
	char *data;
	size_t len, cap;
};

void gate_add(struct gate_buf *buf, const void *data, size_t n);
void gate_addf(struct gate_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void gate_eat(struct gate_buf *buf, size_t n); /* from the front */
void gate_free(struct gate_buf *buf);

uint32_t gate_crc(const void *data, size_t n);

struct gate_msg {
	size_t head_len; /* up to the empty line, which is included */
	size_t total;	 /* bytes of the whole message as it came */
	int status;	 /* of a response */
	bool close;	 /* nothing follows it on this connection */
	struct gate_buf body;
};

/*
 * Is there a whole message at the front of `in`?  1, 0 (not yet) or -1 (never).  eof:
 * nothing more will come.  ret->body is the caller's to free when it is 1.
 */
int gate_message(const struct gate_buf *in, bool response, bool eof, struct gate_msg *ret);

/* The number behind "name=" in the target of the message at the front, or `none`. */
unsigned long gate_param(const char *query, const char *name, unsigned long none);

struct gate_request {
	char id[32];
	char query[256];
	const char *method;
	bool close;
	unsigned n;
	struct gate_buf body;
};

/* Takes one whole request off the front of `in`: 1, 0 (not yet) or -1 (no such request). */
int gate_request(struct gate_buf *in, struct gate_request *ret);

/* The text of call k to the upstream. */
void gate_call_text(const struct gate_request *request, unsigned k, struct gate_buf *out);

/* The text of the answer: `results` are the upstream's, one behind the other. */
void gate_answer_text(const struct gate_request *request, const struct gate_buf *results,
		      struct gate_buf *out);

/* One call that sends, or receives, in one of several ways: as send() and recv() otherwise. */
ssize_t gate_push(int fd, const struct gate_buf *out, unsigned how);
ssize_t gate_pull(int fd, struct gate_buf *in, unsigned how);

/* ---- the upstream, for gateways that block ---- */

enum gate_reuse { GATE_MIX, GATE_KEEP, GATE_NEW };

extern int gate_upstream;	   /* its port */
extern enum gate_reuse gate_reuse; /* of connections to it */

/* Reads requests and answers them until the peer is done. */
void gate_serve(int fd);

/* One request: all calls, then the answer.  False when the connection is of no more use. */
bool gate_work(int fd, struct gate_request *request);

/* ---- the process ---- */

extern volatile int gate_stop; /* set by SIGTERM */

/* Listens on 127.0.0.1 on any port and says which: "listening on 127.0.0.1:PORT". */
int gate_listen(void);
void gate_listening(int door);
int gate_dial(bool nonblocking);
void gate_die(const char *what) __attribute__((noreturn));

/* Ends these child processes and waits for them. */
void gate_end(const pid_t *children, int n);

/* Counted for the line that gate_report() prints when the program ends. */
void gate_served(void);
void gate_called(void);
void gate_in_flight(int change);
void gate_report(void);

#endif
