/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PostgreSQL's protocol, version 3 (also 3.2).  A message is a type, a length that counts
 * itself, and a body; the first ones of a client have no type.  Which types there are,
 * how long they can be and how much of each is wanted is in one table for each
 * direction.  What is not in it, or has a length that cannot be, is not the protocol.
 */
#include "hooks/pg3.h"

#include "preload/compiler.h"

#define ANY 0x3fffffffu	      /* the server takes and makes no longer ones */
#define NAMES 2048	      /* enough for the two names that a Bind begins with */
#define START_MAX 10000	      /* a server's limit for the messages without a type */
#define VERSION_3 3	      /* of 3.0, 3.2... */
#define CODE_CANCEL 80877102u /* 1234 << 16 | 5678... : where a version would be */
#define CODE_SSL 80877103u
#define CODE_GSS 80877104u

struct kind {
	bool is;
	uint32_t min, max; /* of its body */
	uint32_t want;
};

static const struct kind asked[128] = {
	['B'] = { true, 8, ANY, NAMES },	   /* Bind */
	['C'] = { true, 2, ANY, NAMES },	   /* Close */
	['D'] = { true, 2, ANY, NAMES },	   /* Describe */
	['E'] = { true, 5, ANY, NAMES },	   /* Execute */
	['F'] = { true, 10, ANY, 4 },		   /* FunctionCall */
	['H'] = { true, 0, 0, 0 },		   /* Flush */
	['P'] = { true, 4, ANY, ATR_PG3_ASK_MAX }, /* Parse */
	['Q'] = { true, 1, ANY, ATR_PG3_ASK_MAX }, /* Query */
	['S'] = { true, 0, 0, 0 },		   /* Sync */
	['X'] = { true, 0, 0, 0 },		   /* Terminate */
	['c'] = { true, 0, 0, 0 },		   /* CopyDone */
	['d'] = { true, 0, ANY, 0 },		   /* CopyData */
	['f'] = { true, 1, ANY, 0 },		   /* CopyFail */
	['p'] = { true, 0, ANY, 0 },		   /* a password, and what else proves who asks */
};

static const struct kind answered[128] = {
	['1'] = { true, 0, 0, 0 },		      /* ParseComplete */
	['2'] = { true, 0, 0, 0 },		      /* BindComplete */
	['3'] = { true, 0, 0, 0 },		      /* CloseComplete */
	['A'] = { true, 6, ANY, 0 },		      /* NotificationResponse */
	['C'] = { true, 1, ANY, 128 },		      /* CommandComplete */
	['D'] = { true, 2, ANY, 0 },		      /* DataRow */
	['E'] = { true, 1, ANY, ATR_PG3_ANSWER_MAX }, /* ErrorResponse */
	['G'] = { true, 3, ANY, 0 },		      /* CopyInResponse */
	['H'] = { true, 3, ANY, 0 },		      /* CopyOutResponse */
	['I'] = { true, 0, 0, 0 },		      /* EmptyQueryResponse */
	['K'] = { true, 8, ANY, 0 },		      /* BackendKeyData */
	['N'] = { true, 1, ANY, ATR_PG3_ANSWER_MAX }, /* NoticeResponse */
	['R'] = { true, 4, ANY, 4 },		      /* Authentication... */
	['S'] = { true, 2, ANY, 128 },		      /* ParameterStatus */
	['T'] = { true, 2, ANY, 0 },		      /* RowDescription */
	['V'] = { true, 4, ANY, 0 },		      /* FunctionCallResponse */
	['W'] = { true, 3, ANY, 0 },		      /* CopyBothResponse */
	['Z'] = { true, 1, 1, 1 },		      /* ReadyForQuery */
	['c'] = { true, 0, 0, 0 },		      /* CopyDone */
	['d'] = { true, 0, ANY, 0 },		      /* CopyData */
	['n'] = { true, 0, 0, 0 },		      /* NoData */
	['s'] = { true, 0, 0, 0 },		      /* PortalSuspended */
	['t'] = { true, 2, ANY, 0 },		      /* ParameterDescription */
	['v'] = { true, 8, ANY, 0 },		      /* NegotiateProtocolVersion */
};

static const struct kind without_type = { true, 4, START_MAX - 4, START_MAX };

static const struct kind *kind_of(const struct atr_pg3 *r)
{
	const struct kind *kinds = r->answers ? answered : asked;

	if (r->untyped)
		return &without_type;
	return r->head[0] < ATR_ARRAY_LEN(asked) && kinds[r->head[0]].is ? &kinds[r->head[0]]
									 : NULL;
}

uint32_t atr_pg3_number(const char *p)
{
	const uint8_t *b = (const uint8_t *)p;

	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* ---- framing ---- */

/* The head is there. */
static bool begin_body(struct atr_pg3 *r)
{
	const struct kind *k = kind_of(r);
	uint32_t len = atr_pg3_number((const char *)r->head + !r->untyped);

	if (!k || len < 4 || len - 4 < k->min || len - 4 > k->max)
		return false;
	r->in_body = true;
	r->n_head = 0;
	r->len = r->left = len - 4;
	r->want = k->want < r->len ? k->want : r->len;
	r->kept = 0;
	return true;
}

static void keep(struct atr_pg3 *r, const char *p, size_t n)
{
	size_t more = r->want - r->kept < n ? r->want - r->kept : n;

	if (!more)
		return;
	if (!r->keep && r->room)
		r->keep = r->room();
	if (!r->keep) {
		r->want = r->kept;
		return;
	}
	memcpy(r->keep + r->kept, p, more);
	r->kept += (uint32_t)more;
}

static size_t feed_body(struct atr_pg3 *r, const char *p, size_t n, struct atr_pg3_message *m)
{
	bool at_once = r->left == r->len && n >= r->len;

	if (n > r->left)
		n = r->left;
	if (!at_once)
		keep(r, p, n);
	r->left -= (uint32_t)n;
	if (r->left)
		return n;
	r->in_body = false;
	*m = (struct atr_pg3_message){
		.whole = true,
		.type = r->untyped ? 0 : r->head[0],
		.len = r->len,
		.body = { at_once ? p : r->keep, at_once ? r->want : r->kept },
	};
	return n;
}

ssize_t atr_pg3_next(struct atr_pg3 *r, const char *p, size_t n, struct atr_pg3_message *m)
{
	uint8_t head = r->untyped ? 4 : 5;
	size_t used = 0;

	m->whole = false;
	if (!r->in_body) {
		while (r->n_head < head && used < n)
			r->head[r->n_head++] = (uint8_t)p[used++];
		/* A wrong type is seen by its first byte. */
		if (r->n_head && !kind_of(r))
			return -1;
		if (r->n_head < head)
			return (ssize_t)used;
		if (!begin_body(r))
			return -1;
	}
	return (ssize_t)(used + feed_body(r, p + used, n - used, m));
}

uint32_t atr_pg3_skippable(const struct atr_pg3 *r)
{
	return r->in_body && r->kept == r->want && r->left ? r->left - 1 : 0;
}

void atr_pg3_skip(struct atr_pg3 *r, uint32_t n)
{
	r->left -= n;
}

/* ---- a client's first bytes ---- */

int atr_pg3_sniff(const char *p, size_t n)
{
	uint32_t len, code;

	for (size_t i = 0; i < n && i < 2; i++)
		if (p[i])
			return -1; /* no longer than START_MAX */
	if (n < 8)
		return 0;
	len = atr_pg3_number(p);
	code = atr_pg3_number(p + 4);
	if (code == CODE_SSL || code == CODE_GSS)
		return len == 8 ? 1 : -1;
	if (code == CODE_CANCEL)
		return len >= 16 && len <= START_MAX ? 1 : -1;
	if (code >> 16 != VERSION_3 || len <= 8 || len > START_MAX)
		return -1;
	if (n == 8)
		return 0;
	/* A parameter's name: other protocols have a binary number here. */
	return (p[8] >= 'a' && p[8] <= 'z') || p[8] == '_' ? 1 : -1;
}

static enum atr_pg3_first start_of(struct atr_slice rest, struct atr_pg3_start *start)
{
	struct atr_slice name, value;

	*start = (struct atr_pg3_start){ .user = { NULL, 0 } };
	while (atr_pg3_string(&rest, &name) && name.len) {
		if (!atr_pg3_string(&rest, &value))
			return ATR_PG3_BAD;
		if (atr_slice_is(name, "user"))
			start->user = value;
		else if (atr_slice_is(name, "database"))
			start->database = value;
	}
	return start->user.p ? ATR_PG3_START : ATR_PG3_BAD;
}

enum atr_pg3_first atr_pg3_first(struct atr_slice body, struct atr_pg3_start *start)
{
	uint32_t code;

	if (body.len < 4)
		return ATR_PG3_BAD;
	code = atr_pg3_number(body.p);
	if (code == CODE_SSL || code == CODE_GSS)
		return body.len == 4 ? ATR_PG3_ENCRYPT : ATR_PG3_BAD;
	if (code == CODE_CANCEL)
		return body.len >= 12 ? ATR_PG3_CANCEL : ATR_PG3_BAD;
	if (code >> 16 != VERSION_3)
		return ATR_PG3_BAD;
	return start_of((struct atr_slice){ body.p + 4, body.len - 4 }, start);
}

/* ---- what messages say ---- */

bool atr_pg3_string(struct atr_slice *rest, struct atr_slice *ret)
{
	const char *end = rest->len ? memchr(rest->p, '\0', rest->len) : NULL;

	if (!end)
		return false;
	*ret = (struct atr_slice){ rest->p, (size_t)(end - rest->p) };
	rest->p += ret->len + 1;
	rest->len -= ret->len + 1;
	return true;
}

/* A field of an ErrorResponse or a NoticeResponse. */
static bool field_of(struct atr_slice body, char code, struct atr_slice *ret)
{
	while (atr_pg3_string(&body, ret) && ret->len) {
		if (ret->p[0] != code)
			continue;
		ret->p++;
		ret->len--;
		return true;
	}
	return false;
}

bool atr_pg3_sqlstate(struct atr_slice body, char ret[static 6])
{
	struct atr_slice state;

	if (!field_of(body, 'C', &state) || state.len != 5)
		return false;
	for (size_t i = 0; i < 5; i++)
		if (!((state.p[i] >= '0' && state.p[i] <= '9') ||
		      (state.p[i] >= 'A' && state.p[i] <= 'Z')))
			return false;
	memcpy(ret, state.p, 5);
	ret[5] = '\0';
	return true;
}

bool atr_pg3_is_warning(struct atr_slice body)
{
	struct atr_slice severity;

	/* V is never translated; servers before 9.6 have only S. */
	return (field_of(body, 'V', &severity) || field_of(body, 'S', &severity)) &&
	       atr_slice_is(severity, "WARNING");
}

enum atr_pg3_rows atr_pg3_tag(struct atr_slice body, uint64_t *rows)
{
	static const struct {
		const char *word;
		enum atr_pg3_rows rows;
	} words[] = {
		{ "SELECT", ATR_PG3_SELECTED }, { "INSERT", ATR_PG3_CHANGED },
		{ "UPDATE", ATR_PG3_CHANGED },	{ "DELETE", ATR_PG3_CHANGED },
		{ "MERGE", ATR_PG3_CHANGED },	{ "COPY", ATR_PG3_COPIED },
		{ "FETCH", ATR_PG3_SELECTED },
	};
	struct atr_slice tag, word;
	size_t digits = 0;

	*rows = 0;
	if (!atr_pg3_string(&body, &tag))
		return ATR_PG3_NO_ROWS;
	while (digits < tag.len && tag.p[tag.len - 1 - digits] >= '0' &&
	       tag.p[tag.len - 1 - digits] <= '9')
		digits++;
	if (!digits || digits > 18 || digits == tag.len || tag.p[tag.len - 1 - digits] != ' ')
		return ATR_PG3_NO_ROWS;
	for (size_t i = tag.len - digits; i < tag.len; i++)
		*rows = *rows * 10 + (uint64_t)(tag.p[i] - '0');
	word = (struct atr_slice){ tag.p, 0 };
	while (tag.p[word.len] != ' ')
		word.len++;
	for (size_t i = 0; i < ATR_ARRAY_LEN(words); i++)
		if (atr_slice_is(word, words[i].word))
			return words[i].rows;
	return ATR_PG3_NO_ROWS;
}
