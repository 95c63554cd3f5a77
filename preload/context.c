/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is the parent.  A thread carries its current context; where it has none,
 * or its parent has ended meanwhile, the process's own (TRACEPARENT) is next, and
 * then nobody: a root.  No parent rather than a wrong parent.
 */
#include "preload/context.h"

#include <string.h>

#include "preload/text.h"
#include "preload/thread.h"

struct atr_context atr_context_process;

static bool all_zero(const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i])
			return false;
	return true;
}

bool atr_context_parse(struct atr_context *context, const char *s, const char *tracestate)
{
	struct atr_context c = { .valid = true, .remote = true };
	uint8_t version, flags;
	size_t len;

	while (*s == ' ' || *s == '\t')
		s++;
	len = strlen(s);
	while (len && (s[len - 1] == ' ' || s[len - 1] == '\t'))
		len--;
	if (len < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-')
		return false;
	if (atr_from_hex(&version, s, 1) || atr_from_hex(c.trace_id, s + 3, 16) ||
	    atr_from_hex(c.span_id, s + 36, 8) || atr_from_hex(&flags, s + 53, 1))
		return false;
	if (version == 0xff || all_zero(c.trace_id, 16) || all_zero(c.span_id, 8))
		return false;
	if (len != 55 && (version == 0 || s[55] != '-'))
		return false;
	c.flags = flags & (ATR_FLAG_SAMPLED | ATR_FLAG_RANDOM);
	c.tracestate = tracestate && *tracestate ? tracestate : NULL;
	*context = c;
	return true;
}

const struct atr_context *atr_context_parent(void)
{
	if (atr_context_usable(&atr_tls.context))
		return &atr_tls.context;
	return atr_context_process.valid ? &atr_context_process : NULL;
}
