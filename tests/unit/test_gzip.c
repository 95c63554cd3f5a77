/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/buf.o preload/sys.o preload/utf8.o -lz */
#include "exporter/gzip.c"

#include "tests/unit/test.h"

static bool survives(struct atr_gzip *gz, struct atr_buf *out, const uint8_t *bytes, size_t len)
{
	uint8_t *back = malloc(len + 1);
	z_stream z = { 0 };
	bool same;

	atr_buf_reset(out);
	if (!atr_gzip(gz, out, bytes, len) || inflateInit2(&z, 15 + 16) != Z_OK)
		return false;
	z.next_in = out->bytes;
	z.avail_in = (uInt)out->len;
	z.next_out = back;
	z.avail_out = (uInt)len + 1;
	same = inflate(&z, Z_FINISH) == Z_STREAM_END && z.total_out == len &&
	       memcmp(back, bytes, len) == 0;
	inflateEnd(&z);
	free(back);
	return same;
}

TEST(one_compressor_serves_bodies_of_all_sizes)
{
	struct atr_gzip gz = { 0 };
	struct atr_buf out = { 0 };
	static uint8_t bytes[300000];
	uint32_t x = 1;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> (i < 150000 ? 24 : 29));
	for (size_t len = 0; len < sizeof(bytes); len = 3 * len + 1)
		CHECK(survives(&gz, &out, bytes, len));
	CHECK(survives(&gz, &out, bytes, sizeof(bytes)));
	CHECK(survives(&gz, &out, bytes, 10));
	atr_gzip_finish(&gz);
	atr_gzip_finish(&gz);
	atr_buf_free(&out);
}
