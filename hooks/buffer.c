/* SPDX-License-Identifier: Apache-2.0 */
#include "hooks/buffer.h"

#include <stddef.h>

#include "preload/compiler.h"
#include "preload/pool.h"
#include "preload/stats.h"

struct buffer {
	struct atr_pooled pooled;
	char bytes[ATR_BUFFER_SIZE];
};

/* Only pages that were written to are memory: mostly the first of each. */
static struct atr_pool buffers = {
	.size = sizeof(struct buffer),
	.per_chunk = 16,
	.max = 4096,
};

char *atr_buffer_take(void)
{
	struct buffer *b = atr_pool_take(&buffers);

	if (!b)
		atr_count(no_memory, 1);
	return b ? b->bytes : NULL;
}

void atr_buffer_give(char *bytes)
{
	if (bytes)
		atr_pool_give(&buffers, bytes - offsetof(struct buffer, bytes));
}
