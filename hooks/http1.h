/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_HTTP1_H
#define ATR_HOOKS_HTTP1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "preload/slice.h"

/*
 * HTTP/1.0 and 1.1 messages (RFC 9112), read out of contiguous memory.  Pure: no
 * allocation, no state but what the caller hands in, nothing is read outside
 * [p, p + n).  What is malformed is refused for good: our reading of where a
 * message ends must never differ from the peer's.
 */

/* Longest head, empty line included. */
#define ATR_HTTP_HEAD_MAX 65536

enum atr_http_field {
#define FIELD(name, text, kind) ATR_HTTP_##name,
#include "hooks/http.def"
	ATR_HTTP_N_FIELDS
};

/* Is the field one that tells requests apart? */
bool atr_http_field_distinct(enum atr_http_field field);

/*
 * Could the first bytes of a connection begin a request?  -1: no.  0: so far.  1: a
 * whole request line with HTTP/1.x is there.  Empty lines before it are
 * allowed (RFC 9112 2.2).  HTTP/2's preface is none of ours: -1.
 */
int atr_http_sniff(const char *p, size_t n);

/* The same for what answers: "HTTP/1.x nnn" and the byte behind it, nothing before. */
int atr_http_sniff_response(const char *p, size_t n);

/*
 * Looks for the empty line that ends a head which begins at p (no empty lines before
 * it).  *scan is 0 the first time and remembers how far was looked: more bytes may
 * be appended to the same head and the call repeated.
 *
 * Returns true when the empty line's FIRST byte is there: *empty is its offset and
 * *end the offset behind the whole of it, or 0 when its LF is still to come
 * (the head ends with CR).  A line may end with CRLF or with LF alone.  Should another
 * byte follow that CR, the call repeated is false: it goes on looking for the real one, and
 * what is found then is refused by the parsers.
 */
bool atr_http_head_end(const char *p, size_t n, size_t *scan, size_t *empty, size_t *end);

enum atr_http_framing {
	ATR_HTTP_NO_BODY,
	ATR_HTTP_LENGTH, /* head.length bytes */
	ATR_HTTP_CHUNKED,
	ATR_HTTP_TO_CLOSE, /* a response's body that ends with the connection */
};

struct atr_http_head {
	uint8_t minor;	 /* HTTP/1.minor: 0 or 1 (a higher one counts as 1) */
	uint16_t status; /* of a response; 0: this is a request */
	struct atr_slice method;
	struct atr_slice target;
	struct atr_slice fields; /* all field lines, behind the first line */
	/* First value of each known field, without white space around; p is NULL when absent. */
	struct atr_slice value[ATR_HTTP_N_FIELDS];
	uint8_t count[ATR_HTTP_N_FIELDS]; /* how often it occurs, at most 255 */
	/*
	 * How the body is framed as far as this head alone says (RFC 9112 6.3): a
	 * response's to HEAD, a 1xx, 204, 304 and a 2xx to CONNECT have none
	 * whatever it says; see atr_http_response_framing().
	 */
	enum atr_http_framing framing;
	uint64_t length;
	bool close;   /* Connection: close, or HTTP/1.0 without keep-alive */
	bool upgrade; /* Upgrade and "Connection: upgrade" are there */
};

/*
 * Parses a whole head: [p, p + n) is from its first byte to the empty line, which is
 * not included.  0, or -1 when it is malformed: bad request or status line, a name that
 * is no token or followed by white space, a control character in a value, a Content-Length
 * that is no number or differs from another, Transfer-Encoding beside Content-Length in a
 * request or with HTTP/1.0 or not ending in chunked in a request, folding before the first field.
 * Also what implementations read differently: empty elements in Content-Length or
 * Transfer-Encoding, parameters of codings, folding in either of the two, and folded
 * lines of nothing but white space.  Other folded lines (obs-fold) are accepted: the
 * value contains their line ends.
 * Slices point into p.
 */
int atr_http_parse_request(struct atr_http_head *head, const char *p, size_t n);
int atr_http_parse_response(struct atr_http_head *head, const char *p, size_t n);

/* How the body of this response is framed, given what was asked for. */
enum atr_http_framing atr_http_response_framing(const struct atr_http_head *response, bool to_head,
						bool to_connect);

/* One field after the other, in order: `rest` begins as head->fields. */
bool atr_http_next_field(struct atr_slice *rest, struct atr_slice *name, struct atr_slice *value);

/* Is `name` (any case) the field called `lower` (lower case)? */
bool atr_http_name_is(struct atr_slice name, const char *lower, size_t lower_len);

/* ---- bodies (hooks/http1-body.c) ---- */

struct atr_http_body {
	uint8_t state;
	uint32_t line; /* bytes of the chunk's size, of its extension, or of all trailers */
	uint64_t left; /* of the body, or of the chunk */
};

void atr_http_body_begin(struct atr_http_body *body, enum atr_http_framing framing,
			 uint64_t length);

/* Bytes that may go by unseen (they are data); UINT64_MAX: all that ever come. */
uint64_t atr_http_body_opaque(const struct atr_http_body *body);

/* n bytes of data went by unseen; n <= atr_http_body_opaque(). */
void atr_http_body_skip(struct atr_http_body *body, uint64_t n);

/*
 * Eats body bytes out of [p, p + n): how many, or -1 when the framing is broken: for good.
 * Fewer than n only when the body ended, which atr_http_body_done() says.
 */
ssize_t atr_http_body_eat(struct atr_http_body *body, const char *p, size_t n);
bool atr_http_body_done(const struct atr_http_body *body);

#endif
