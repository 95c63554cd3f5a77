/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_CODE_H
#define ATR_EXPORTER_CODE_H

#include <stddef.h>
#include <stdint.h>

#include "exporter/buf.h"

struct atr_host;
struct atr_object;
struct atr_record;

/*
 * Names the addresses of records: a call site becomes code.function.name,
 * code.file.path and code.line.number, a stack code.stacktrace.
 *
 * What an address is called is kept, so that files are read for new ones only.
 */
struct atr_code {
	const struct atr_host *host;
	struct atr_buf span, text;
	struct atr_named *names; /* by address; NULL until the first */
	size_t n_names;
	struct atr_opened *opened; /* files that are read just now */
	size_t n_opened;
};

/* At most that much is added to a span. */
#define ATR_CODE_MAX 16384

void atr_code_init(struct atr_code *code, const struct atr_host *host);
void atr_code_finish(struct atr_code *code);

/*
 * The record's span with its attributes, in code->span; no new file is read after `until`
 * (monotonic ns).  NULL: no memory.
 */
const struct atr_buf *atr_code_span(struct atr_code *code, const struct atr_record *record,
				    uint64_t until);

/* To be called now and then: closes files and frees their tables. */
void atr_code_rest(struct atr_code *code);

#endif
