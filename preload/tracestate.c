/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/tracestate.h"

#include <string.h>

#include "preload/rate.h"

#define OT "ot="
#define OT_MAX 256     /* characters of its value */
#define MEMBERS_MAX 32 /* W3C Trace Context 3.3.1.1 */
#define RV_DIGITS 14

static struct atr_slice behind(struct atr_slice s, size_t n)
{
	return n < s.len ? (struct atr_slice){ s.p + n, s.len - n } : (struct atr_slice){ NULL, 0 };
}

/* What of s is before the next sign; s goes on behind it. */
static struct atr_slice until(struct atr_slice *s, char sign)
{
	const char *end = s->len ? memchr(s->p, sign, s->len) : NULL;
	size_t n = end ? (size_t)(end - s->p) : s->len;
	struct atr_slice ret = { s->p, n };

	*s = behind(*s, n + 1);
	return ret;
}

static bool begins(struct atr_slice s, const char *with)
{
	size_t n = strlen(with);

	return s.len >= n && memcmp(s.p, with, n) == 0;
}

/* The first member of ours, with its key; empty: there is none. */
static struct atr_slice ot_of(struct atr_slice tracestate)
{
	while (tracestate.len) {
		struct atr_slice member = until(&tracestate, ',');

		if (begins(member, OT))
			return member;
	}
	return (struct atr_slice){ NULL, 0 };
}

void atr_ot_read(struct atr_slice tracestate, struct atr_ot *ret)
{
	struct atr_slice ot = ot_of(tracestate);

	*ret = (struct atr_ot){ .has_th = false };
	if (!ot.len || ot.len > strlen(OT) + OT_MAX)
		return;
	ot = behind(ot, strlen(OT));
	while (ot.len) {
		struct atr_slice item = until(&ot, ';');
		struct atr_slice value = behind(item, 3);

		if (begins(item, "th:") && !ret->has_th)
			ret->has_th = atr_rate_read(value, &ret->th);
		else if (begins(item, "rv:") && !ret->has_rv)
			ret->has_rv = value.len == RV_DIGITS && atr_rate_read(value, &ret->rv);
	}
}

static size_t append(char *to, size_t n, const char *p, size_t len)
{
	memcpy(to + n, p, len);
	return n + len;
}

/* Our member as it is to be: th first, then what it had beside it.  0: there is nothing to say. */
static size_t ot_member(char to[static sizeof(OT) + OT_MAX], struct atr_slice ot,
			uint64_t threshold)
{
	size_t n = append(to, 0, OT, strlen(OT));

	if (threshold < ATR_RATE_NEVER) {
		n = append(to, n, "th:", 3);
		n += atr_rate_text(threshold, to + n);
	}
	ot = behind(ot, strlen(OT));
	while (ot.len) {
		struct atr_slice item = until(&ot, ';');

		if (!item.len || begins(item, "th:") || n + 1 + item.len > strlen(OT) + OT_MAX)
			continue;
		if (n > strlen(OT))
			to[n++] = ';';
		n = append(to, n, item.p, item.len);
	}
	return n > strlen(OT) ? n : 0;
}

/* Takes every member of ours out. */
static size_t remove_ot(char *p, size_t len)
{
	struct atr_slice left = { p, len };
	size_t n = 0;

	while (left.len) {
		struct atr_slice member = until(&left, ',');

		if (!member.len || begins(member, OT))
			continue;
		if (n)
			p[n++] = ',';
		memmove(p + n, member.p, member.len);
		n += member.len;
	}
	return n;
}

/* As many members as are allowed, and as fit. */
static size_t shorten(const char *p, size_t len, size_t room)
{
	size_t n = 0, members = 0;
	struct atr_slice left = { p, len };

	while (left.len && ++members < MEMBERS_MAX) {
		size_t end = (size_t)(left.p - p) + until(&left, ',').len;

		if (end > room)
			break;
		n = end;
	}
	return n;
}

size_t atr_ot_set(char *tracestate, size_t len, size_t room, uint64_t threshold)
{
	struct atr_slice was = ot_of((struct atr_slice){ tracestate, len });
	char member[sizeof(OT) + OT_MAX + ATR_RATE_DIGITS];
	size_t n = ot_member(member, was, threshold);

	if (n == was.len && (!n || memcmp(member, was.p, n) == 0))
		return len;
	len = remove_ot(tracestate, len);
	if (!n || n > room)
		return len;
	len = shorten(tracestate, len, room - n > 0 ? room - n - 1 : 0);
	memmove(tracestate + n + (len > 0), tracestate, len);
	memcpy(tracestate, member, n);
	if (len)
		tracestate[n] = ',';
	return n + (len > 0) + len;
}
