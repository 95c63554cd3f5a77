/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.0 and 1.1: where bodies end.
 *
 * A machine that stands between any two bytes, so that pieces make no difference; data
 * and text are passed over in bulk.  Chunk sizes, extensions and trailers have limits.
 * An extension that ends with LF alone is refused: some take the LF for a part of it.
 */
#include "hooks/http1.h"

#include "hooks/http1-bytes.h"

#define SIZE_DIGITS_MAX 16
#define EXTENSION_MAX 16384
#define TRAILERS_MAX 65536

enum state {
	DONE,
	BROKEN,
	LENGTH,
	TO_CLOSE,
	/* chunked */
	SIZE,
	BEHIND_SIZE,
	EXTENSION,
	SIZE_LF,
	DATA,
	DATA_END,
	DATA_LF,
	/* Trailers: at the beginning of a line, in a name, in a value... */
	TRAILER,
	NAME,
	VALUE,
	VALUE_LF,
	FOLD,
	LAST_LF,
};

void atr_http_body_begin(struct atr_http_body *body, enum atr_http_framing framing, uint64_t length)
{
	static const uint8_t states[] = {
		[ATR_HTTP_NO_BODY] = DONE,
		[ATR_HTTP_LENGTH] = LENGTH,
		[ATR_HTTP_CHUNKED] = SIZE,
		[ATR_HTTP_TO_CLOSE] = TO_CLOSE,
	};

	*body = (struct atr_http_body){ .state = states[framing] };
	if (framing == ATR_HTTP_LENGTH) {
		body->left = length;
		if (length == 0)
			body->state = DONE;
	}
}

uint64_t atr_http_body_opaque(const struct atr_http_body *body)
{
	if (body->state == TO_CLOSE)
		return UINT64_MAX;
	return body->state == LENGTH || body->state == DATA ? body->left : 0;
}

void atr_http_body_skip(struct atr_http_body *body, uint64_t n)
{
	if (body->state == TO_CLOSE)
		return;
	body->left -= n;
	if (body->left)
		return;
	if (body->state == LENGTH)
		body->state = DONE;
	else if (body->state == DATA)
		body->state = DATA_END;
}

bool atr_http_body_done(const struct atr_http_body *body)
{
	return body->state == DONE;
}

static inline const char *skip(struct atr_http_body *body, const char *p, const char *end)
{
	uint64_t n = atr_http_body_opaque(body);

	if (n > (uint64_t)(end - p))
		n = (uint64_t)(end - p);
	atr_http_body_skip(body, n);
	return p + n;
}

/* The byte at p was what it should be. */
static inline const char *to(struct atr_http_body *body, enum state state, const char *p)
{
	body->state = (uint8_t)state;
	return p + 1;
}

static inline int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char *size(struct atr_http_body *body, const char *p)
{
	int digit = hex(*p);

	if (digit < 0) {
		if (body->line == 0)
			return NULL;
		body->line = 0;
		body->state = BEHIND_SIZE;
		return p;
	}
	if (body->line++ >= SIZE_DIGITS_MAX || body->left >> 59)
		return NULL;
	body->left = body->left << 4 | (uint64_t)digit;
	return p + 1;
}

static const char *size_end(struct atr_http_body *body, const char *p)
{
	body->line = 0;
	return *p == '\n' ? to(body, body->left ? DATA : TRAILER, p) : NULL;
}

static const char *chunk_end(struct atr_http_body *body, const char *p)
{
	/* left and line are 0 */
	return *p == '\n' ? to(body, SIZE, p) : NULL;
}

static bool count(struct atr_http_body *body, const char *p, const char *to_p, uint32_t max)
{
	if ((size_t)(to_p - p) > max - body->line)
		return false;
	body->line += (uint32_t)(to_p - p);
	return true;
}

/* Between the size and the data. */
static const char *behind_size(struct atr_http_body *body, const char *p, const char *end)
{
	const char *stop;

	switch (body->state) {
	case BEHIND_SIZE:
		if (*p == '\r')
			return to(body, SIZE_LF, p);
		if (atr_http_is_blank(*p)) /* some pad their sizes */
			return count(body, p, p + 1, EXTENSION_MAX) ? p + 1 : NULL;
		return *p == ';' ? to(body, EXTENSION, p) : size_end(body, p);
	case EXTENSION:
		stop = atr_http_text_end(p, end);
		if (!count(body, p, stop, EXTENSION_MAX))
			return NULL;
		if (stop == end)
			return stop;
		/* LF alone belongs to the extension for some, for others it ends the line. */
		return *stop == '\r' ? to(body, SIZE_LF, stop) : NULL;
	default:
		return size_end(body, p);
	}
}

static const char *trailer(struct atr_http_body *body, const char *p, const char *end)
{
	switch (body->state) {
	case TRAILER:
		if (*p == '\n')
			return to(body, DONE, p);
		if (*p == '\r')
			return to(body, LAST_LF, p);
		if (atr_http_is_blank(*p) && body->line)
			return to(body, FOLD, p);
		return atr_http_tchar[(uint8_t)*p] ? to(body, NAME, p) : NULL;
	case NAME:
		p = atr_http_token_end(p, end);
		if (p == end)
			return p;
		return *p == ':' ? to(body, VALUE, p) : NULL;
	case FOLD:
		if (atr_http_is_blank(*p))
			return p + 1;
		if (*p == '\r' || *p == '\n')
			return NULL;
		body->state = VALUE;
		/* fall through */
	case VALUE:
		p = atr_http_text_end(p, end);
		if (p == end)
			return p;
		if (*p == '\r')
			return to(body, VALUE_LF, p);
		/* fall through */
	case VALUE_LF:
		return *p == '\n' ? to(body, TRAILER, p) : NULL;
	default:
		return *p == '\n' ? to(body, DONE, p) : NULL;
	}
}

/* Takes up at least one byte, or changes the state; NULL when it may not be there. */
static inline const char *step(struct atr_http_body *body, const char *p, const char *end)
{
	const char *stop;

	switch (body->state) {
	case LENGTH:
	case TO_CLOSE:
	case DATA:
		return skip(body, p, end);
	case SIZE:
		return size(body, p);
	case DATA_END:
		return *p == '\r' ? to(body, DATA_LF, p) : chunk_end(body, p);
	case DATA_LF:
		return chunk_end(body, p);
	case BEHIND_SIZE:
	case EXTENSION:
	case SIZE_LF:
		return behind_size(body, p, end);
	case BROKEN:
		return NULL;
	default:
		stop = trailer(body, p, end);
		return stop && count(body, p, stop, TRAILERS_MAX) ? stop : NULL;
	}
}

ssize_t atr_http_body_eat(struct atr_http_body *body, const char *p, size_t n)
{
	const char *at = p, *end = p + n;

	while (at < end && body->state != DONE) {
		at = step(body, at, end);
		if (!at) {
			body->state = BROKEN;
			return -1;
		}
	}
	return at - p;
}
