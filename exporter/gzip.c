/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/gzip.h"

/* The quickest: telemetry repeats itself so much that higher levels gain little. */
#define LEVEL 1

/* Window bits, 15, with 16 added for a gzip header. */
#define WINDOW (15 + 16)

bool atr_gzip(struct atr_gzip *gz, struct atr_buf *out, const uint8_t *bytes, size_t len)
{
	uint8_t *to;

	if (!gz->ready &&
	    deflateInit2(&gz->z, LEVEL, Z_DEFLATED, WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return false;
	if (gz->ready)
		(void)deflateReset(&gz->z);
	gz->ready = true;
	to = atr_buf_reserve(out, deflateBound(&gz->z, len));
	if (!to)
		return false;
	gz->z.next_in = (Bytef *)bytes;
	gz->z.avail_in = (uInt)len;
	gz->z.next_out = to;
	gz->z.avail_out = (uInt)(out->room - out->len);
	if (deflate(&gz->z, Z_FINISH) != Z_STREAM_END)
		return false;
	out->len = out->room - gz->z.avail_out;
	return true;
}

void atr_gzip_finish(struct atr_gzip *gz)
{
	if (gz->ready)
		(void)deflateEnd(&gz->z);
	gz->ready = false;
}
