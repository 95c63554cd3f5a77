/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.0 and 1.1: the heads of messages.
 *
 * A head is read in one pass once it is complete; values are looked through eight
 * bytes at a time for what may not be in them.  The lines a head begins with answer in
 * three ways, so that sniffing and parsing are the same code: 1 is whole, 0 needs more
 * bytes, -1 is refused.
 *
 * Where implementations are known to disagree about where a message ends, we
 * refuse, even what the grammar would allow: empty elements and parameters in
 * Transfer-Encoding, and folded lines with nothing in them.  Nothing is decoded, and
 * the values of fields that do not frame the message are nobody's business here.
 */
#include "hooks/http1.h"

#include <string.h>

#include "hooks/http1-bytes.h"

#define METHOD_MAX 64

static inline bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/*
 * White space of a value that has been checked: line ends are those of folded lines, and
 * nothing else that is left of it is as low.
 */
static inline bool is_space(char c)
{
	return (uint8_t)c <= ' ';
}

static inline struct atr_slice slice(const char *p, const char *end)
{
	return (struct atr_slice){ p, (size_t)(end - p) };
}

static inline struct atr_slice trimmed(const char *p, const char *end)
{
	while (p < end && is_space(*p))
		p++;
	while (p < end && is_space(end[-1]))
		end--;
	return slice(p, end);
}

/* ---- names ---- */

bool atr_http_name_is(struct atr_slice name, const char *lower, size_t lower_len)
{
	if (name.len != lower_len)
		return false;
	for (size_t i = 0; i < lower_len; i++) {
		char c = name.p[i];

		if ((c >= 'A' && c <= 'Z' ? c | 0x20 : c) != lower[i])
			return false;
	}
	return true;
}

static inline uint32_t half(const char *p)
{
	uint32_t w;

	memcpy(&w, p, sizeof(w));
	return w;
}

/*
 * Is the token at p this name of a known field?  Those have letters, digits and hyphens
 * only, and no other tchar becomes one of them with the bit of lower case.  (Nor does what else
 * may be in a value, but for a CR that becomes a hyphen: behind that comes an LF.)
 */
static inline __attribute__((always_inline)) bool same(const char *p, const char *lower, size_t n)
{
	uint64_t differ = 0;

	if (n < 4) {
		for (size_t i = 0; i < n; i++)
			differ |= (uint64_t)((p[i] | 0x20) ^ lower[i]);
		return !differ;
	}
	if (n < 8) { /* two halves, which may overlap */
		uint32_t each = (uint32_t)ATR_HTTP_EACH(0x20);
		size_t at = n - 4;

		return !(((half(p) | each) ^ half(lower)) |
			 ((half(p + at) | each) ^ half(lower + at)));
	}
	/* Most are told apart by the first eight. */
	if ((atr_http_word(p) | ATR_HTTP_EACH(0x20)) != atr_http_word(lower))
		return false;
	for (size_t i = 8; i < n; i += 8) {
		size_t at = i + 8 <= n ? i : n - 8; /* the last eight may overlap */

		differ |= (atr_http_word(p + at) | ATR_HTTP_EACH(0x20)) ^ atr_http_word(lower + at);
	}
	return !differ;
}

#define NAME_MAX_KNOWN 24

#define FIELD(name, text, kind) \
	_Static_assert(sizeof(text) - 1 <= NAME_MAX_KNOWN, "needs a LENGTH() more in known()");
#include "hooks/http.def"

/* With a constant n only the names of that length are left of this. */
static inline __attribute__((always_inline)) enum atr_http_field known_of(const char *p, size_t n)
{
#define FIELD(name, text, kind)                                       \
	if (sizeof(text) - 1 == n && same(p, text, sizeof(text) - 1)) \
		return ATR_HTTP_##name;
#include "hooks/http.def"
	return ATR_HTTP_N_FIELDS;
}

/* clang-format off */
static enum atr_http_field known(struct atr_slice name)
{
	switch (name.len) {
#define LENGTH(n) case n: return known_of(name.p, n);
	LENGTH(1) LENGTH(2) LENGTH(3) LENGTH(4) LENGTH(5) LENGTH(6) LENGTH(7) LENGTH(8)
	LENGTH(9) LENGTH(10) LENGTH(11) LENGTH(12) LENGTH(13) LENGTH(14) LENGTH(15) LENGTH(16)
	LENGTH(17) LENGTH(18) LENGTH(19) LENGTH(20) LENGTH(21) LENGTH(22) LENGTH(23) LENGTH(24)
#undef LENGTH
	default:
		return ATR_HTTP_N_FIELDS;
	}
}
/* clang-format on */

bool atr_http_field_distinct(enum atr_http_field field)
{
	enum { PLAIN, DISTINCT };
	static const uint8_t kinds[] = {
#define FIELD(name, text, kind) kind,
#include "hooks/http.def"
	};

	return kinds[field] == DISTINCT;
}

/* ---- first lines: 1, 0 or -1 ---- */

static int line_end(const char **at, const char *end)
{
	const char *p = *at;

	if (p < end && *p == '\r')
		p++;
	if (p == end)
		return 0;
	*at = p + 1;
	return *p == '\n' ? 1 : -1;
}

static int version(const char **at, const char *end, uint8_t *minor)
{
	static const char name[] = "HTTP/1.";
	const size_t len = sizeof(name) - 1;
	size_t room = (size_t)(end - *at);

	if (room <= len)
		return memcmp(*at, name, room) == 0 ? 0 : -1;
	if (memcmp(*at, name, len) != 0)
		return -1;
	if (!is_digit((*at)[len]))
		return -1;
	*minor = (uint8_t)((*at)[len] - '0');
	*at += len + 1;
	return 1;
}

/* A word and the single blank behind it; `stop` is where it ends. */
static int word_and_blank(const char **at, const char *stop, const char *end,
			  struct atr_slice *ret_word)
{
	*ret_word = slice(*at, stop);
	if (stop == end)
		return 0;
	if (stop == *at || *stop != ' ')
		return -1;
	*at = stop + 1;
	return 1;
}

static int request_line(const char **at, const char *end, struct atr_slice *method,
			struct atr_slice *target, uint8_t *minor)
{
	int is = word_and_blank(at, atr_http_token_end(*at, end), end, method);

	if (method->len > METHOD_MAX)
		return -1;
	if (is == 1)
		is = word_and_blank(at, atr_http_plain_end(*at, end, ' ' + 1), end, target);
	if (is == 1)
		is = version(at, end, minor);
	return is == 1 ? line_end(at, end) : is;
}

/* Up to the status.  The byte behind it must be there: it tells that no fourth digit is. */
static int status_begin(const char **at, const char *end, uint8_t *minor, uint16_t *status)
{
	int is = version(at, end, minor);
	const char *p = *at;
	unsigned v = 0;

	if (is != 1)
		return is;
	if (p == end)
		return 0;
	if (*p++ != ' ')
		return -1;
	for (int i = 0; i < 3; i++, p++) {
		if (p == end)
			return 0;
		if (!is_digit(*p))
			return -1;
		v = v * 10 + (unsigned)(*p - '0');
		if (v == 0)
			return -1;
	}
	if (p == end)
		return 0;
	*status = (uint16_t)v;
	*at = p;
	return *p == ' ' || *p == '\r' || *p == '\n' ? 1 : -1;
}

int atr_http_sniff(const char *p, size_t n)
{
	const char *end = p + n;
	struct atr_slice method, target;
	uint8_t minor;
	int is;

	while (p < end && (*p == '\r' || *p == '\n')) {
		is = line_end(&p, end);
		if (is != 1)
			return is;
	}
	return request_line(&p, end, &method, &target, &minor);
}

int atr_http_sniff_response(const char *p, size_t n)
{
	uint8_t minor;
	uint16_t status;

	return status_begin(&p, p + n, &minor, &status);
}

/* ---- where a head ends ---- */

/* Is there an empty line at i, or its beginning? */
static bool empty_line(const char *p, size_t n, size_t i, size_t *empty, size_t *end)
{
	if (i == n)
		return false;
	*empty = i;
	if (p[i] == '\r') {
		*end = i + 1 == n ? 0 : i + 2;
		return i + 1 == n || p[i + 1] == '\n';
	}
	*end = i + 1;
	return p[i] == '\n';
}

/* The next LF from `at` on; n: there is none. */
static inline size_t line_feed(const char *p, size_t n, size_t at)
{
	const char *lf;

#ifdef ATR_HTTP_SSE2
	/* Lines are short: a call to memchr() costs more than this. */
	for (; n - at >= 16; at += 16) {
		unsigned lfs = (unsigned)_mm_movemask_epi8(
			_mm_cmpeq_epi8(atr_http_sixteen(p + at), _mm_set1_epi8('\n')));

		if (lfs)
			return at + (unsigned)__builtin_ctz(lfs);
	}
#endif
	lf = at < n ? memchr(p + at, '\n', n - at) : NULL;
	return lf ? (size_t)(lf - p) : n;
}

bool atr_http_head_end(const char *p, size_t n, size_t *scan, size_t *empty, size_t *end)
{
	size_t at = *scan;

	if (at == 0 && empty_line(p, n, 0, empty, end))
		return true;
	while (at < n) {
		at = line_feed(p, n, at);
		if (at == n) {
			*scan = n;
			return false;
		}
		/* What comes behind may be half there: the next call looks from here again. */
		*scan = at++;
		if (at < n && (uint8_t)p[at] > '\r')
			continue;
		if (empty_line(p, n, at, empty, end))
			return true;
	}
	return false;
}

/* ---- fields ---- */

#ifdef ATR_HTTP_SSE2
/*
 * The field at *at, if it is as nearly all are: a name of letters, digits and hyphens, shorter than
 * sixteen, and a value in one line and without a tab, sixteen bytes before the end of it all.  The
 * value is not trimmed.  False: field() knows.
 */
static inline __attribute__((always_inline)) bool
plain_field(const char **at, const char *end, struct atr_slice *name, struct atr_slice *value)
{
	const char *p = *at, *stop;
	unsigned bits, n;

	if (end - p < 32)
		return false;
	bits = atr_http_no_letters_16(atr_http_sixteen(p));
	if (!bits)
		return false;
	n = (unsigned)__builtin_ctz(bits);
	if (p[n] != ':' || !n)
		return false;
	*name = (struct atr_slice){ p, n };
	stop = p + n + 1;
	while (!(bits = atr_http_controls_16(atr_http_sixteen(stop), ' '))) {
		stop += 16;
		if (end - stop < 16)
			return false;
	}
	stop += __builtin_ctz(bits);
	/* Three more bytes tell that the next line is another one. */
	if (end - stop < 3 || stop[0] != '\r' || stop[1] != '\n' || (uint8_t)stop[2] <= ' ')
		return false;
	*value = slice(p + n + 1, stop);
	*at = stop + 2;
	return true;
}
#endif

/* One field with its folded lines.  1; 0: there is none left; -1: it is malformed. */
static inline __attribute__((always_inline)) int field(const char **at, const char *end,
						       struct atr_slice *name,
						       struct atr_slice *value, bool *folded)
{
	const char *p = *at, *colon, *stop;

	*folded = false;
	if (p == end)
		return 0;
	colon = atr_http_token_end(p, end);
	if (colon == p || colon == end || *colon != ':')
		return -1;
	*name = slice(p, colon);
	p = colon + 1;
	for (;;) {
		stop = p = atr_http_text_end(p, end);
		if (line_end(&p, end) != 1)
			return -1;
		if (p == end || !atr_http_is_blank(*p))
			break;
		*folded = true;
		while (p < end && atr_http_is_blank(*p))
			p++;
		/* With nothing in it, some take it for the empty line. */
		if (p == end || *p == '\r' || *p == '\n')
			return -1;
	}
	*value = trimmed(colon + 1, stop);
	*at = p;
	return 1;
}

bool atr_http_next_field(struct atr_slice *rest, struct atr_slice *name, struct atr_slice *value)
{
	const char *at = rest->p;
	bool folded;

	if (field(&at, rest->p + rest->len, name, value, &folded) != 1)
		return false;
	*rest = slice(at, rest->p + rest->len);
	return true;
}

/* The next element of a list, which may be empty; rest->p is NULL behind the last. */
static bool element(struct atr_slice *rest, struct atr_slice *ret_element)
{
	const char *end, *comma;

	if (!rest->p)
		return false;
	end = rest->p + rest->len;
	comma = memchr(rest->p, ',', rest->len);
	*ret_element = trimmed(rest->p, comma ? comma : end);
	*rest = comma ? slice(comma + 1, end) : (struct atr_slice){ 0 };
	return true;
}

/* What the fields of a head say together. */
struct reading {
	struct atr_http_head *head;
	bool has_length;
	bool has_coding;
	bool chunked;	   /* so far: it is the last coding */
	bool been_chunked; /* it is one of them */
	bool close, keep_alive, upgrade;
};

static int number(struct atr_slice digits, uint64_t *ret)
{
	uint64_t v = 0;

	if (digits.len == 0)
		return -1;
	for (size_t i = 0; i < digits.len; i++) {
		if (!is_digit(digits.p[i]) || v > INT64_MAX / 10)
			return -1;
		v = v * 10 + (uint64_t)(digits.p[i] - '0');
	}
	if (v > INT64_MAX)
		return -1;
	*ret = v;
	return 0;
}

/* "5", and also "5, 5" or two fields: a proxy may have joined or repeated them (RFC 9110 8.6). */
static int content_length(struct reading *r, struct atr_slice value)
{
	struct atr_slice digits;
	uint64_t length;

	/* As it nearly always is. */
	if (!r->has_length && number(value, &r->head->length) == 0) {
		r->has_length = true;
		return 0;
	}
	while (element(&value, &digits)) {
		if (number(digits, &length) != 0 || (r->has_length && length != r->head->length))
			return -1;
		r->has_length = true;
		r->head->length = length;
	}
	return 0;
}

/* No coding in use has parameters; a comma within quotes would be no separator. */
static int transfer_encoding(struct reading *r, struct atr_slice value)
{
	struct atr_slice coding;

	r->has_coding = true;
	while (element(&value, &coding)) {
		const char *end = coding.p + coding.len;

		if (coding.len == 0 || atr_http_token_end(coding.p, end) != end)
			return -1;
		r->chunked = atr_http_name_is(coding, "chunked", 7);
		if (r->chunked && r->been_chunked)
			return -1;
		r->been_chunked |= r->chunked;
	}
	return 0;
}

static void connection(struct reading *r, struct atr_slice value)
{
	struct atr_slice option;

	/* As it nearly always is. */
	if (value.len == 10 && same(value.p, "keep-alive", 10)) {
		r->keep_alive = true;
		return;
	}
	while (element(&value, &option)) {
		r->close |= option.len == 5 && same(option.p, "close", 5);
		r->keep_alive |= option.len == 10 && same(option.p, "keep-alive", 10);
		r->upgrade |= option.len == 7 && same(option.p, "upgrade", 7);
	}
}

static int fields(struct reading *r, const char *p, const char *end)
{
	struct atr_http_head *head = r->head;
	struct atr_slice name, value;
	bool folded;
	int is;

	head->fields = slice(p, end);
	for (;;) {
		enum atr_http_field k;
		bool plain = false;

#ifdef ATR_HTTP_SSE2
		plain = plain_field(&p, end, &name, &value);
#endif
		folded = false;
		is = plain ? 1 : field(&p, end, &name, &value, &folded);
		if (is != 1)
			return is;
		k = known(name);
		if (k == ATR_HTTP_N_FIELDS)
			continue;
		if (plain)
			value = trimmed(value.p, value.p + value.len);
		if (head->count[k] == 0)
			head->value[k] = value;
		if (head->count[k] < UINT8_MAX)
			head->count[k]++;
		if (k == ATR_HTTP_CONNECTION) {
			connection(r, value);
		} else if (k == ATR_HTTP_CONTENT_LENGTH) {
			if (folded || content_length(r, value) != 0)
				return -1;
		} else if (k == ATR_HTTP_TRANSFER_ENCODING) {
			if (folded || transfer_encoding(r, value) != 0)
				return -1;
		}
	}
}

static int finish(const struct reading *r)
{
	struct atr_http_head *head = r->head;
	bool request = head->status == 0;

	if (r->has_coding) {
		if (head->minor == 0 || (request && (r->has_length || !r->chunked)))
			return -1;
		head->framing = r->chunked ? ATR_HTTP_CHUNKED : ATR_HTTP_TO_CLOSE;
		head->length = 0;
	} else if (r->has_length) {
		head->framing = ATR_HTTP_LENGTH;
	} else {
		head->framing = request ? ATR_HTTP_NO_BODY : ATR_HTTP_TO_CLOSE;
	}
	head->close = r->close || (head->minor == 0 && !r->keep_alive);
	head->upgrade = r->upgrade && head->count[ATR_HTTP_UPGRADE];
	return 0;
}

int atr_http_parse_request(struct atr_http_head *head, const char *p, size_t n)
{
	struct reading r = { .head = head };
	const char *end = p + n;

	*head = (struct atr_http_head){ 0 };
	if (request_line(&p, end, &head->method, &head->target, &head->minor) != 1)
		return -1;
	head->minor = head->minor > 0;
	return fields(&r, p, end) == 0 ? finish(&r) : -1;
}

int atr_http_parse_response(struct atr_http_head *head, const char *p, size_t n)
{
	struct reading r = { .head = head };
	const char *end = p + n;

	*head = (struct atr_http_head){ 0 };
	if (status_begin(&p, end, &head->minor, &head->status) != 1)
		return -1;
	head->minor = head->minor > 0;
	p = atr_http_text_end(p, end);
	if (line_end(&p, end) != 1)
		return -1;
	return fields(&r, p, end) == 0 ? finish(&r) : -1;
}

enum atr_http_framing atr_http_response_framing(const struct atr_http_head *response, bool to_head,
						bool to_connect)
{
	unsigned status = response->status;

	if (to_head || status / 100 == 1 || status == 204 || status == 304 ||
	    (to_connect && status / 100 == 2))
		return ATR_HTTP_NO_BODY;
	return response->framing;
}
