/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "preload/sys.h"
#include "preload/utf8.h"

/* Longest form of one character in atr_escape(). */
#define ESCAPED_MAX 4

uint8_t *atr_buf_reserve(struct atr_buf *buf, size_t more)
{
	size_t room = buf->room ? buf->room : 256;
	uint8_t *bytes;

	if (buf->failed)
		return NULL;
	if (more <= buf->room - buf->len)
		return buf->bytes + buf->len;
	while (room - buf->len < more) {
		if (room > SIZE_MAX / 4)
			goto fail;
		room *= 2;
	}
	bytes = realloc(buf->bytes, room);
	if (!bytes)
		goto fail;
	buf->bytes = bytes;
	buf->room = room;
	return bytes + buf->len;
fail:
	buf->failed = true;
	return NULL;
}

void atr_buf_add(struct atr_buf *buf, const void *bytes, size_t len)
{
	uint8_t *to = atr_buf_reserve(buf, len);

	if (!to || !len)
		return;
	memcpy(to, bytes, len);
	buf->len += len;
}

void atr_buf_str(struct atr_buf *buf, const char *s)
{
	atr_buf_add(buf, s, strlen(s));
}

void atr_buf_escaped(struct atr_buf *buf, const char *s, size_t len)
{
	size_t size = ESCAPED_MAX * len + 1;
	uint8_t *to = atr_buf_reserve(buf, size);

	if (to)
		buf->len += atr_escape((char *)to, size, s, len);
}

int atr_buf_read_file(struct atr_buf *buf, const char *path, size_t max)
{
	int fd = atr_sys_open(path, O_RDONLY | O_CLOEXEC, 0);
	int err = 0;

	if (fd < 0)
		return fd;
	while (buf->len < max) {
		size_t want = max - buf->len < 4096 ? max - buf->len : 4096;
		uint8_t *to = atr_buf_reserve(buf, want);
		ssize_t n = to ? atr_sys_read(fd, to, want) : -ENOMEM;

		if (n == -EINTR)
			continue;
		if (n < 0)
			err = (int)n;
		if (n <= 0)
			break;
		buf->len += (size_t)n;
	}
	(void)atr_sys_close(fd);
	return err;
}

void atr_buf_reset(struct atr_buf *buf)
{
	buf->len = 0;
	buf->failed = false;
}

void atr_buf_free(struct atr_buf *buf)
{
	free(buf->bytes);
	*buf = (struct atr_buf){ 0 };
}

/* Writes c, an ASCII character or a byte that is none, to out; returns how long it got. */
static size_t escape_one(char out[static ESCAPED_MAX], unsigned char c)
{
	static const char hex[] = "0123456789abcdef";
	static const char from[] = "\n\r\t\\", to[] = "nrt\\";
	const char *at = c ? strchr(from, c) : NULL;

	if (at) {
		out[0] = '\\';
		out[1] = to[at - from];
		return 2;
	}
	if (c >= 0x20 && c < 0x7f) {
		out[0] = (char)c;
		return 1;
	}
	out[0] = '\\';
	out[1] = 'x';
	out[2] = hex[c >> 4];
	out[3] = hex[c & 15];
	return 4;
}

/* Bytes of the character at s if it may be shown as it is; 0 = one byte, to be escaped. */
static size_t shown(const char *s, size_t len)
{
	unsigned char c = (unsigned char)s[0];
	size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;

	if (c < 0xc2 || len < n || atr_utf8_valid(s, n) != n)
		return 0;
	/* U+0080..U+009F are control characters too. */
	return c == 0xc2 && (unsigned char)s[1] < 0xa0 ? 0 : n;
}

size_t atr_escape(char *dst, size_t size, const char *s, size_t len)
{
	size_t out = 0;

	for (size_t i = 0; i < len;) {
		char one[ESCAPED_MAX];
		size_t took = shown(s + i, len - i);
		size_t n = took;

		if (took)
			memcpy(one, s + i, took);
		else
			n = escape_one(one, (unsigned char)s[i]);
		if (n >= size - out)
			break;
		memcpy(dst + out, one, n);
		out += n;
		i += took ? took : 1;
	}
	dst[out] = '\0';
	return out;
}
