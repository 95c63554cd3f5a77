/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/traceparent.h"

#include <string.h>

#include "preload/text.h"

static bool all_zero(const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i])
			return false;
	return true;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

bool atr_traceparent_parse(struct atr_context *context, struct atr_slice s)
{
	struct atr_context c = { .valid = true, .remote = true };
	uint8_t version, flags;

	while (s.len && blank(*s.p)) {
		s.p++;
		s.len--;
	}
	while (s.len && blank(s.p[s.len - 1]))
		s.len--;
	if (s.len < 55 || s.p[2] != '-' || s.p[35] != '-' || s.p[52] != '-')
		return false;
	if (atr_from_hex(&version, s.p, 1) || atr_from_hex(c.trace_id, s.p + 3, 16) ||
	    atr_from_hex(c.span_id, s.p + 36, 8) || atr_from_hex(&flags, s.p + 53, 1))
		return false;
	if (version == 0xff || all_zero(c.trace_id, 16) || all_zero(c.span_id, 8))
		return false;
	if (s.len != 55 && (version == 0 || s.p[55] != '-'))
		return false;
	c.flags = flags & (ATR_FLAG_SAMPLED | ATR_FLAG_RANDOM);
	*context = c;
	return true;
}

void atr_traceparent_write(char buf[static ATR_TRACEPARENT_LEN], const struct atr_context *c)
{
	memcpy(buf, "00-", 3);
	atr_to_hex(buf + 3, c->trace_id, sizeof(c->trace_id));
	buf[35] = '-';
	atr_to_hex(buf + 36, c->span_id, sizeof(c->span_id));
	buf[52] = '-';
	buf[53] = '0';
	buf[54] = (char)('0' + (c->flags & (ATR_FLAG_SAMPLED | ATR_FLAG_RANDOM)));
}
