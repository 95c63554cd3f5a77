/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_GZIP_H
#define ATR_EXPORTER_GZIP_H

#include <stdbool.h>
#include <zlib.h>

#include "exporter/buf.h"

/* A compressor that is set up once and used for every request. */
struct atr_gzip {
	z_stream z;
	bool ready;
};

/* Appends the gzip form of `bytes` to `out`; false without memory. */
bool atr_gzip(struct atr_gzip *gz, struct atr_buf *out, const uint8_t *bytes, size_t len);
void atr_gzip_finish(struct atr_gzip *gz);

#endif
