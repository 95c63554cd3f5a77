/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HTTP1_READER_H
#define ATR_HTTP1_READER_H

/*
 * One side of a connection read as the library would, but with nothing around it:
 * empty lines, head, body, and again.  Bytes come in any pieces; what was found does
 * not depend on them.  For the unit test and the fuzzer.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hooks/http1.h"

#define READER_MAX 600

struct message {
	size_t at, head, wire;
	uint64_t body; /* bytes of data: what might have gone by unseen */
	uint16_t status;
	uint8_t minor;
	bool close, upgrade, done;
	enum atr_http_framing framing;
	size_t method, target; /* their lengths */
	uint64_t hash;	       /* of names and values, known and unknown */
};

struct reader {
	bool responses;
	bool skips; /* data goes by unseen */
	bool in_body;
	bool refused;
	bool over; /* what follows is no HTTP */
	size_t at; /* how far it was read */
	size_t scan;
	struct atr_http_body body;
	unsigned n;
	struct message messages[READER_MAX];
	/* The method that the i-th response answers: 'H'EAD, 'C'ONNECT or any other. */
	char (*asked)(const void *arg, unsigned i);
	const void *arg;
};

static inline uint64_t reader_hash(uint64_t hash, struct atr_slice s)
{
	hash = (hash ^ s.len) * 0x100000001b3;
	for (size_t i = 0; i < s.len; i++)
		hash = (hash ^ (uint8_t)s.p[i]) * 0x100000001b3;
	return hash;
}

/* Called for every head: all it points to must lie in [p, p + n). */
static void reader_head(const struct atr_http_head *head, const char *p, size_t n);

/* Reads on; the reader's bytes so far are [p, p + n), and n never shrinks. */
static inline void reader_feed(struct reader *r, const char *p, size_t n)
{
	while (!r->refused && !r->over && r->at < n) {
		struct message *m = r->n ? &r->messages[r->n - 1] : NULL;
		struct atr_http_head head;
		struct atr_slice rest, name, value;
		size_t empty, end;
		char asked;

		if (r->in_body) {
			uint64_t data = r->skips ? atr_http_body_opaque(&r->body) : 0;
			size_t here = n - r->at;
			ssize_t eaten;

			if (data) {
				eaten = (ssize_t)(data < here ? data : here);
				atr_http_body_skip(&r->body, (uint64_t)eaten);
				m->body += (uint64_t)eaten;
			} else { /* one by one: no step may run on into the data */
				eaten = atr_http_body_eat(&r->body, p + r->at, r->skips ? 1 : here);
			}
			if (eaten < 0) {
				r->refused = true;
				return;
			}
			r->at += (size_t)eaten;
			m->wire += (size_t)eaten;
			m->done = atr_http_body_done(&r->body);
			r->in_body = !m->done;
			continue;
		}
		if (!r->responses && r->scan == 0 && (p[r->at] == '\n' || p[r->at] == '\r')) {
			size_t len = p[r->at] == '\n' ? 1 : 2;

			if (r->at + len > n)
				return;
			r->refused = p[r->at + len - 1] != '\n';
			r->at += len;
			continue;
		}
		if (r->n == READER_MAX) {
			r->over = true;
			return;
		}
		if (!atr_http_head_end(p + r->at, n - r->at, &r->scan, &empty, &end) || !end)
			return;
		if ((r->responses ? atr_http_parse_response
				  : atr_http_parse_request)(&head, p + r->at, empty) != 0) {
			r->refused = true;
			return;
		}
		reader_head(&head, p + r->at, empty);
		asked = r->asked ? r->asked(r->arg, r->n) : 'G';
		m = &r->messages[r->n++];
		*m = (struct message){
			.at = r->at,
			.head = end,
			.status = head.status,
			.minor = head.minor,
			.close = head.close,
			.upgrade = head.upgrade,
			.method = head.method.len,
			.target = head.target.len,
			.framing = head.framing,
		};
		m->hash = reader_hash(reader_hash(0xcbf29ce484222325, head.method), head.target);
		for (rest = head.fields; atr_http_next_field(&rest, &name, &value);)
			m->hash = reader_hash(reader_hash(m->hash, name), value);
		for (unsigned i = 0; i < ATR_HTTP_N_FIELDS; i++)
			m->hash = reader_hash(m->hash, head.value[i]) ^ head.count[i];
		if (r->responses)
			m->framing = atr_http_response_framing(&head, asked == 'H', asked == 'C');
		atr_http_body_begin(&r->body, m->framing, head.length);
		m->done = atr_http_body_done(&r->body);
		r->in_body = !m->done;
		r->at += end;
		r->scan = 0;
		r->over = r->responses
				  ? head.status == 101 || (asked == 'C' && head.status / 100 == 2)
				  : atr_slice_is(head.method, "CONNECT");
	}
}

#endif
