/* SPDX-License-Identifier: Apache-2.0 */
#include "hooks/http1-body.c"
#include "hooks/http1.c"

#include "tests/unit/http1_reader.h"
#include "tests/unit/test.h"

#define S(literal) literal, sizeof(literal) - 1

/* ---- the vectors of tests/vectors/http1 ---- */

#define VECTORS "tests/vectors/http1/"
#define MESSAGES_MAX 8

struct vector {
	char file[128];
	bool responses, ok, in_body;
	size_t n, rest, n_messages;
	char *bytes;
	struct wanted {
		size_t at, head, wire;
		uint64_t body;
		uint64_t hash; /* not out of the index: of the message read whole */
		unsigned status;
		bool close, upgrade;
		enum atr_http_framing framing;
		char to, method[80], target[9000];
		size_t method_len, target_len;
	} messages[MESSAGES_MAX];
};

static char *file_read(const char *path, size_t *ret_n)
{
	FILE *f = fopen(path, "r");
	char *bytes = NULL;
	long n;

	if (f && fseek(f, 0, SEEK_END) == 0 && (n = ftell(f)) >= 0 &&
	    (bytes = calloc(1, (size_t)n + 1))) {
		rewind(f);
		*ret_n = fread(bytes, 1, (size_t)n, f);
	}
	if (f)
		(void)fclose(f);
	return bytes;
}

/* What "key" is in the JSON at s, behind its colon; the rest of the line when it is missing. */
static const char *json(const char *s, const char *key)
{
	char quoted[32];
	const char *found;

	snprintf(quoted, sizeof(quoted), "\"%s\": ", key);
	found = strstr(s, quoted);
	return found ? found + strlen(quoted) : "";
}

static size_t json_text(const char *s, const char *key, char *text, size_t size)
{
	size_t n = 0;

	for (s = json(s, key), s += *s == '"'; *s && *s != '"' && n + 1 < size; s++) {
		unsigned byte = (unsigned char)*s;

		if (*s == '\\' && *++s == 'u') {
			byte = (unsigned)strtoul((char[]){ s[3], s[4], '\0' }, NULL, 16);
			s += 4;
		} else if (s[-1] == '\\') {
			byte = (unsigned char)*s;
		}
		text[n++] = (char)byte;
	}
	text[n] = '\0';
	return n;
}

static bool json_true(const char *s, const char *key)
{
	return strncmp(json(s, key), "true", 4) == 0;
}

static size_t json_number(const char *s, const char *key)
{
	return strtoul(json(s, key), NULL, 10);
}

static void wanted_read(struct wanted *w, const char *s)
{
	static const char *const framings[] = { "none", "length", "chunked", "close" };
	char text[16];

	w->at = json_number(s, "at");
	w->head = json_number(s, "head");
	w->wire = json_number(s, "wire");
	w->body = json_number(s, "body");
	w->close = json_true(s, "close");
	w->upgrade = json_true(s, "upgrade");
	(void)json_text(s, "framing", text, sizeof(text));
	for (unsigned i = 0; i < 4; i++)
		if (strcmp(text, framings[i]) == 0)
			w->framing = (enum atr_http_framing)i;
	w->status = (unsigned)json_number(s, "status");
	w->method_len = json_text(s, "method", w->method, sizeof(w->method));
	w->target_len = json_text(s, "target", w->target, sizeof(w->target));
	(void)json_text(s, "to", text, sizeof(text));
	w->to = text[0];
}

/* The vector of one line of the index. */
static struct vector *vector_read(char *line)
{
	struct vector *v = calloc(1, sizeof(*v));
	char path[192], kind[16];
	char *at = strstr(line, "\"messages\"");

	if (!v || !at)
		abort();
	(void)json_text(line, "file", v->file, sizeof(v->file));
	(void)json_text(line, "kind", kind, sizeof(kind));
	v->responses = strcmp(kind, "response") == 0;
	v->ok = json_true(line, "ok");
	v->in_body = json_true(line, "in_body");
	v->rest = json_number(line, "rest");
	while ((at = strstr(at, "{\"at\": ")) && v->n_messages < MESSAGES_MAX) {
		char *next = strstr(at + 1, "{\"at\": ");

		if (next)
			*next = '\0';
		wanted_read(&v->messages[v->n_messages++], at);
		if (next)
			*next = '{';
		at++;
	}
	snprintf(path, sizeof(path), VECTORS "%s", v->file);
	v->bytes = file_read(path, &v->n);
	return v;
}

/* Every position, or of a long input some, among them those near its edges. */
static size_t next_cut(const struct vector *v, size_t cut)
{
	return v->n < 4096 || cut < 150 || cut + 150 > v->n ? cut + 1 : cut + 149;
}

static char asked(const void *arg, unsigned i)
{
	const struct vector *v = arg;

	return i < v->n_messages ? v->messages[i].to : 'G';
}

static struct reader *reader_of(const struct vector *v)
{
	static struct reader r;

	r = (struct reader){ .responses = v->responses, .asked = asked, .arg = v };
	return &r;
}

static unsigned outside; /* slices that do not lie in their head */

static void lies_in(struct atr_slice s, const char *p, size_t n)
{
	outside += s.p && (s.p < p || s.len > n || s.p + s.len > p + n);
}

static void reader_head(const struct atr_http_head *head, const char *p, size_t n)
{
	lies_in(head->method, p, n);
	lies_in(head->target, p, n);
	lies_in(head->fields, p, n);
	for (unsigned i = 0; i < ATR_HTTP_N_FIELDS; i++) {
		lies_in(head->value[i], p, n);
		outside += !head->value[i].p != !head->count[i];
	}
}

static void hashes(struct vector *v)
{
	struct reader *r = reader_of(v);

	reader_feed(r, v->bytes, v->n);
	for (size_t i = 0; i < r->n && i < v->n_messages; i++)
		v->messages[i].hash = r->messages[i].hash;
}

/* Runs check for every vector that is well-formed, or for every other; the check that failed names
 * it. */
static void each_vector(bool ok, unsigned at_least, void (*check)(const struct vector *v))
{
	size_t n;
	char *index = file_read(VECTORS "index.json", &n), *save = NULL;
	unsigned vectors = 0;

	if (!CHECK(index != NULL))
		return;
	for (char *line = strtok_r(index, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		struct vector *v;
		unsigned before = test_failures;

		if (line[0] != '{')
			continue;
		v = vector_read(line);
		if (v->ok == ok) {
			vectors++;
			if (CHECK(v->bytes != NULL)) {
				hashes(v);
				check(v);
			}
			if (test_failures != before)
				printf("  in %s\n", v->file);
		}
		free(v->bytes);
		free(v);
	}
	free(index);
	CHECK(vectors >= at_least);
}

/* Feeds a copy of the first n bytes whose end lies at an unreadable page. */
static void feed_edge(struct reader *r, const struct vector *v, size_t n)
{
	char *edge = test_edge(v->bytes, n);

	reader_feed(r, edge, n);
	test_edge_free(edge, n);
}

static bool as_wanted(const struct reader *r, const struct vector *v)
{
	bool ok = CHECK_INT(r->n, v->n_messages) && CHECK(!r->refused) && CHECK_INT(outside, 0) &&
		  CHECK_INT(r->at, v->n - v->rest);

	for (size_t i = 0; ok && i < v->n_messages; i++) {
		const struct message *m = &r->messages[i];
		const struct wanted *w = &v->messages[i];

		ok = CHECK_INT(m->at, w->at) && CHECK_INT(m->head, w->head) &&
		     CHECK_INT(m->wire, w->wire) && CHECK_INT(m->status, w->status) &&
		     CHECK_INT(m->method, w->method_len) && CHECK_INT(m->target, w->target_len) &&
		     CHECK_INT(m->framing, w->framing) && CHECK_INT(m->close, w->close) &&
		     CHECK_INT(m->upgrade, w->upgrade) &&
		     CHECK_INT(m->done, w->framing != ATR_HTTP_TO_CLOSE) &&
		     CHECK(!r->skips || m->body == w->body) && CHECK(m->hash == w->hash);
	}
	return ok;
}

static void read_whole(const struct vector *v)
{
	struct reader *r = reader_of(v);
	struct atr_http_head head;

	feed_edge(r, v, v->n);
	if (!as_wanted(r, v))
		return;
	for (size_t i = 0; i < v->n_messages && !v->responses; i++) {
		const struct wanted *w = &v->messages[i];
		size_t scan = 0, empty = 0, end;

		CHECK(atr_http_head_end(v->bytes + w->at, v->n - w->at, &scan, &empty, &end));
		CHECK_INT(atr_http_parse_request(&head, v->bytes + w->at, empty), 0);
		CHECK_MEM(head.method.p, w->method, w->method_len);
		CHECK_MEM(head.target.p, w->target, w->target_len);
	}
	r = reader_of(v);
	r->skips = true;
	feed_edge(r, v, v->n);
	(void)as_wanted(r, v);
}

TEST(every_well_formed_message_is_read)
{
	each_vector(true, 120, read_whole);
}

static void read_split(const struct vector *v)
{
	for (size_t cut = 0; cut <= v->n; cut = next_cut(v, cut)) {
		struct reader *r = reader_of(v);

		r->skips = cut & 1;
		feed_edge(r, v, cut);
		reader_feed(r, v->bytes, v->n);
		if (!as_wanted(r, v)) {
			printf("  cut at %zu\n", cut);
			return;
		}
	}
}

TEST(a_split_anywhere_makes_no_difference)
{
	each_vector(true, 120, read_split);
}

static void read_in_pieces(const struct vector *v)
{
	static const size_t sizes[] = { 1, 2, 3, 7, 64 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct reader *r = reader_of(v);

		r->skips = sizes[i] == 3;
		for (size_t n = 0; n < v->n; n += sizes[i])
			reader_feed(r, v->bytes, n);
		reader_feed(r, v->bytes, v->n);
		if (!as_wanted(r, v)) {
			printf("  in pieces of %zu\n", sizes[i]);
			return;
		}
	}
}

TEST(many_pieces_make_no_difference)
{
	each_vector(true, 120, read_in_pieces);
}

static void read_truncated(const struct vector *v)
{
	for (size_t cut = 0; cut <= v->n; cut = next_cut(v, cut)) {
		struct reader *r = reader_of(v);
		size_t heads = 0, done = 0, found = 0;

		feed_edge(r, v, cut);
		for (size_t i = 0; i < v->n_messages; i++) {
			const struct wanted *w = &v->messages[i];

			heads += w->at + w->head <= cut;
			done += w->framing != ATR_HTTP_TO_CLOSE && w->at + w->head + w->wire <= cut;
		}
		for (unsigned i = 0; i < r->n; i++)
			found += r->messages[i].done;
		if (!CHECK(!r->refused) || !CHECK_INT(r->n, heads) || !CHECK_INT(found, done) ||
		    !CHECK_INT(outside, 0)) {
			printf("  cut at %zu\n", cut);
			return;
		}
	}
}

TEST(what_is_cut_off_is_neither_refused_nor_done)
{
	each_vector(true, 120, read_truncated);
}

/* The line end behind a first line is the first LF that no empty line is made of. */
static size_t first_line_end(const struct vector *v)
{
	const char *p = v->bytes + v->messages[0].at;

	return (size_t)((char *)memchr(p, '\n', v->n) + 1 - v->bytes);
}

static void sniffed(const struct vector *v)
{
	size_t whole = v->responses ? sizeof("HTTP/1.1 200") : first_line_end(v);

	for (size_t cut = 0; cut <= v->n; cut = next_cut(v, cut)) {
		char *edge = test_edge(v->bytes, cut);
		int is = (v->responses ? atr_http_sniff_response : atr_http_sniff)(edge, cut);
		int other = (v->responses ? atr_http_sniff : atr_http_sniff_response)(edge, cut);

		test_edge_free(edge, cut);
		/* What begins like one may be the other's beginning: a method "HTTP". */
		if (!CHECK_INT(is, cut >= whole) || !CHECK(other == (cut < 5 ? other : -1))) {
			printf("  cut at %zu\n", cut);
			return;
		}
	}
}

TEST(sniffing_never_refuses_and_answers_with_the_first_line)
{
	each_vector(true, 120, sniffed);
}

/* Refused behind the good heads, for good, and no earlier than in the message that is bad. */
static void refused(const struct vector *v)
{
	size_t refused_at = 0;

	for (size_t cut = 0; cut <= v->n; cut = next_cut(v, cut)) {
		struct reader *r = reader_of(v);

		r->skips = cut & 1;
		feed_edge(r, v, cut);
		if (!CHECK(r->n <= v->n_messages) || !CHECK_INT(outside, 0) ||
		    !CHECK(!refused_at || r->refused)) {
			printf("  cut at %zu\n", cut);
			return;
		}
		if (r->refused && !refused_at)
			refused_at = cut;
		reader_feed(r, v->bytes, v->n);
		if (!CHECK(r->refused) || !CHECK_INT(r->n, v->n_messages) ||
		    !CHECK(r->in_body == v->in_body)) {
			printf("  cut at %zu\n", cut);
			return;
		}
	}
	for (size_t i = 0; i < v->n_messages; i++)
		CHECK(v->messages[i].at + v->messages[i].head < refused_at);
}

TEST(every_malformed_message_is_refused_however_it_is_cut)
{
	each_vector(false, 150, refused);
}

/* ---- heads ---- */

/* Parses a head at an unreadable page; what points into it is good until the next one. */
static int parse(struct atr_http_head *head, const char *text, size_t n)
{
	static char *edge;
	static size_t edge_n;

	if (edge)
		test_edge_free(edge, edge_n);
	edge = test_edge(text, n);
	edge_n = n;
	return (memcmp(text, "HTTP", 4) == 0 ? atr_http_parse_response
					     : atr_http_parse_request)(head, edge, n);
}

static const char *text_of(struct atr_slice s)
{
	static char text[4][256];
	static unsigned i;

	if (!s.p)
		return NULL;
	i = (i + 1) % 4;
	snprintf(text[i], sizeof(text[i]), "%.*s", (int)s.len, s.p);
	return text[i];
}

TEST(all_of_a_head_is_there)
{
	struct atr_http_head h;
	struct atr_slice rest, name, value;

	CHECK_INT(
		parse(&h,
		      S("PUT /a?b HTTP/1.1\r\nHOST:\t a.example:80 \r\nx: 1\r\nCookie: c\r\n"
			"cookie: d\r\nX-Request-ID: r\r\ncontent-length: 9223372036854775807\r\n")),
		0);
	CHECK_STR(text_of(h.method), "PUT");
	CHECK_STR(text_of(h.target), "/a?b");
	CHECK_INT(h.minor, 1);
	CHECK_INT(h.status, 0);
	CHECK_STR(text_of(h.value[ATR_HTTP_HOST]), "a.example:80");
	CHECK_STR(text_of(h.value[ATR_HTTP_COOKIE]), "c");
	CHECK_INT(h.count[ATR_HTTP_COOKIE], 2);
	CHECK_STR(text_of(h.value[ATR_HTTP_X_REQUEST_ID]), "r");
	CHECK_STR(text_of(h.value[ATR_HTTP_USER_AGENT]), NULL);
	CHECK_INT(h.count[ATR_HTTP_USER_AGENT], 0);
	CHECK_INT(h.framing, ATR_HTTP_LENGTH);
	CHECK(h.length == INT64_MAX);
	CHECK(!h.close && !h.upgrade);
	rest = h.fields;
	CHECK(atr_http_next_field(&rest, &name, &value));
	CHECK_STR(text_of(name), "HOST");
	CHECK_STR(text_of(value), "a.example:80");
	CHECK(atr_http_next_field(&rest, &name, &value));
	CHECK_STR(text_of(name), "x");
	for (int i = 0; i < 4; i++)
		CHECK(atr_http_next_field(&rest, &name, &value));
	CHECK_STR(text_of(value), "9223372036854775807");
	CHECK(!atr_http_next_field(&rest, &name, &value));
	CHECK_INT(rest.len, 0);

	CHECK_INT(parse(&h, S("HTTP/1.0 404 Not\tFound\r\nConnection: keep-alive\r\n")), 0);
	CHECK_INT(h.status, 404);
	CHECK_INT(h.minor, 0);
	CHECK(h.method.p == NULL);
	CHECK_INT(h.framing, ATR_HTTP_TO_CLOSE);
	CHECK(!h.close);
}

TEST(a_coding_beside_a_length_wins_in_a_response)
{
	struct atr_http_head h;

	CHECK_INT(
		parse(&h, S("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: gzip\r\n")),
		0);
	CHECK_INT(h.framing, ATR_HTTP_TO_CLOSE);
	CHECK_INT(h.length, 0);
}

TEST(a_folded_value_contains_its_line_ends_but_not_at_its_edges)
{
	struct atr_http_head h;

	CHECK_INT(parse(&h, S("GET / HTTP/1.1\r\nHost:\r\n \ta\r\n b\n\tc \t\r\nCookie: \r\n")), 0);
	CHECK_STR(text_of(h.value[ATR_HTTP_HOST]), "a\r\n b\n\tc");
	CHECK_STR(text_of(h.value[ATR_HTTP_COOKIE]), "");
	CHECK_INT(h.count[ATR_HTTP_COOKIE], 1);
}

/* The names of http.def, as text. */
static const char *const names[] = {
#define FIELD(name, text, kind) text,
#include "hooks/http.def"
};

TEST(every_known_field_is_found_in_any_case_and_nothing_like_it)
{
	for (unsigned i = 0; i < ATR_HTTP_N_FIELDS; i++) {
		size_t len = strlen(names[i]);
		char text[128];
		struct atr_http_head h;

		CHECK_INT(strspn(names[i], "abcdefghijklmnopqrstuvwxyz0123456789-"), len);
		/* Each character in upper case, or replaced by any other that a name may have. */
		for (size_t at = 0; at < len; at++) {
			for (unsigned c = 0x21; c < 0x7f; c++) {
				bool same_name = (c >= 'A' && c <= 'Z' ? c | 0x20 : c) ==
						 (unsigned char)names[i][at];
				unsigned found = 0;
				size_t n =
					(size_t)snprintf(text, sizeof(text),
							 "GET / HTTP/1.1\r\n%s: 1\r\n", names[i]);

				text[16 + at] = (char)c;
				if (!atr_http_tchar[c] ||
				    (i == ATR_HTTP_TRANSFER_ENCODING && same_name))
					continue;
				if (!CHECK_INT(parse(&h, text, n), 0))
					return;
				for (unsigned k = 0; k < ATR_HTTP_N_FIELDS; k++)
					found += h.count[k];
				if (!CHECK_INT(h.count[i], same_name) ||
				    !CHECK_INT(found, same_name))
					return;
			}
		}
		CHECK(atr_http_name_is((struct atr_slice){ names[i], len }, names[i], len));
	}
	CHECK(atr_http_name_is(ATR_SLICE("X_Trace-1"), S("x_trace-1")));
	CHECK(!atr_http_name_is(ATR_SLICE("X\x7fTrace"), S("x_trace")));
	CHECK(!atr_http_name_is(ATR_SLICE("x-trace-"), S("x-trace")));
	CHECK(!atr_http_name_is(ATR_SLICE("x@"), S("x`")));
	CHECK(!atr_http_name_is(ATR_SLICE("x["), S("x{")));
}

TEST(fields_that_tell_requests_apart_are_those_of_the_table)
{
	CHECK(!atr_http_field_distinct(ATR_HTTP_AUTHORIZATION)); /* a service sends one for all */
	CHECK(atr_http_field_distinct(ATR_HTTP_B3));
	CHECK(!atr_http_field_distinct(ATR_HTTP_COOKIE));
	CHECK(!atr_http_field_distinct(ATR_HTTP_HOST));
	CHECK(!atr_http_field_distinct(ATR_HTTP_TRACEPARENT));
}

TEST(a_field_is_counted_up_to_255)
{
	static char text[16384];
	struct atr_http_head h;
	size_t n = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nCookie: first\r\n");

	for (int i = 0; i < 300; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "Cookie: %d\r\n", i);
	CHECK_INT(parse(&h, text, n), 0);
	CHECK_INT(h.count[ATR_HTTP_COOKIE], 255);
	CHECK_STR(text_of(h.value[ATR_HTTP_COOKIE]), "first");
}

/* Any byte at any place of a name or value: refused exactly when it may not be there. */
TEST(only_what_may_stand_in_a_line_is_accepted)
{
	static const char tokens[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
				     "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	struct atr_http_head h;

	for (unsigned c = 0; c < 256; c++) {
		bool token = c && strchr(tokens, (int)c);
		bool text = c == '\t' || (c >= ' ' && c != 0x7f);

		CHECK_INT(atr_http_tchar[c], token);
		for (size_t at = 0; at < 20; at++) {
			char name[] = "GET / HTTP/1.1\r\nabcdefghijklmnopqrstuvwxyz: v\r\n";
			char value[] = "GET / HTTP/1.1\r\nx:abcdefghijklmnopqrstuvwxyz\r\n";
			char target[] = "GET /abcdefghijklmnopqrstuvwxyz HTTP/1.1\r\n";
			char reason[] = "HTTP/1.1 200 abcdefghijklmnopqrstuvwxyz\r\n";

			name[16 + at] = value[18 + at] = target[5 + at] = reason[13 + at] = (char)c;
			if (!CHECK_INT(parse(&h, S(name)), token || (c == ':' && at) ? 0 : -1) ||
			    /* LF makes another line, which has no colon */
			    !CHECK_INT(parse(&h, S(value)), text ? 0 : -1) ||
			    !CHECK_INT(parse(&h, S(target)), text && c > ' ' ? 0 : -1) ||
			    !CHECK_INT(parse(&h, S(reason)), text ? 0 : -1)) {
				printf("  byte %02x at %zu\n", c, at);
				return;
			}
		}
	}
}

TEST(a_head_without_its_last_line_end_is_refused)
{
	static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\n";
	struct atr_http_head h;

	for (size_t n = 0; n < sizeof(text) - 1; n++)
		CHECK_INT(parse(&h, text, n), n == 16 ? 0 : -1);
	CHECK_INT(parse(&h, S("HTTP/1.1 200 OK\r\nHost: a\r")), -1);
	CHECK_INT(parse(&h, S("HTTP/1.1 200")), -1);
}

TEST(a_higher_minor_version_counts_as_1)
{
	struct atr_http_head h;

	CHECK_INT(parse(&h, S("GET / HTTP/1.7\r\n")), 0);
	CHECK_INT(h.minor, 1);
	CHECK(!h.close);
	CHECK_INT(atr_http_sniff(S("GET / HTTP/1.7\r\n")), 1);
	CHECK_INT(parse(&h, S("HTTP/1.2 200 OK\r\n")), 0);
	CHECK_INT(h.minor, 1);
}

TEST(sniffing_refuses_other_protocols_as_soon_as_it_can)
{
	CHECK_INT(atr_http_sniff(S("")), 0);
	CHECK_INT(atr_http_sniff(S("\r\n\n\r")), 0);
	CHECK_INT(atr_http_sniff(S("\rG")), -1);
	CHECK_INT(atr_http_sniff(S("PRI * HTTP/")), 0);
	CHECK_INT(atr_http_sniff(S("PRI * HTTP/2")), -1);
	CHECK_INT(atr_http_sniff(S("\x16\x03\x01")), -1);
	CHECK_INT(atr_http_sniff(S("SSH-2.0-x\r")), -1);
	CHECK_INT(atr_http_sniff(S("PING\r\n")), -1);
	CHECK_INT(atr_http_sniff(S("GET / H")), 0);
	CHECK_INT(atr_http_sniff(S("GET / F")), -1);
	CHECK_INT(atr_http_sniff(S("EHLO mail.example.com\r\n")), -1);
	CHECK_INT(atr_http_sniff(S("GET / HTTP/1.1\r")), 0);
	CHECK_INT(atr_http_sniff(S("GET / HTTP/1.1\rX")), -1);
	CHECK_INT(atr_http_sniff(S("GET / HTTP/1.1\n")), 1);
	CHECK_INT(atr_http_sniff_response(S("HTTP/1.1 200")), 0);
	CHECK_INT(atr_http_sniff_response(S("HTTP/1.1 200\n")), 1);
	CHECK_INT(atr_http_sniff_response(S("HTTP/1.1 2000")), -1);
	CHECK_INT(atr_http_sniff_response(S("HTTP/1.1 099 ")), -1);
	CHECK_INT(atr_http_sniff_response(S("HTTP/2")), -1);
	CHECK_INT(atr_http_sniff_response(S("220 ")), -1);
	CHECK_INT(atr_http_sniff_response(S("\r\nHTTP/1.1 200 ")), -1);
}

TEST(a_head_may_end_before_the_lf_of_its_empty_line)
{
	static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\nX";
	size_t scan = 0, empty = 0, end = 1;

	CHECK(!atr_http_head_end(text, 25, &scan, &empty, &end));
	CHECK(atr_http_head_end(text, 26, &scan, &empty, &end));
	CHECK_INT(empty, 25);
	CHECK_INT(end, 0);
	CHECK(atr_http_head_end(text, 27, &scan, &empty, &end));
	CHECK_INT(empty, 25);
	CHECK_INT(end, 27);
	/* It was no empty line after all. */
	scan = 0;
	CHECK(atr_http_head_end("A\n\rB\n\n", 3, &scan, &empty, &end));
	CHECK_INT(end, 0);
	CHECK(!atr_http_head_end("A\n\rB\n\n", 5, &scan, &empty, &end));
	CHECK(atr_http_head_end("A\n\rB\n\n", 6, &scan, &empty, &end));
	CHECK_INT(empty, 5);
	CHECK_INT(end, 6);
	/* Nothing but an empty line. */
	scan = 0;
	CHECK(atr_http_head_end("\r\n", 2, &scan, &empty, &end));
	CHECK_INT(empty, 0);
	CHECK_INT(end, 2);
	CHECK(!atr_http_head_end("", 0, &scan, &empty, &end));
}

TEST(some_responses_have_no_body_whatever_they_say)
{
	static const struct {
		const char *head;
		bool to_head, to_connect;
		enum atr_http_framing framing;
	} cases[] = {
		{ "HTTP/1.1 200 OK\r\n", false, false, ATR_HTTP_TO_CLOSE },
		{ "HTTP/1.1 200 OK\r\n", true, false, ATR_HTTP_NO_BODY },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n", false, false, ATR_HTTP_LENGTH },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n", true, false, ATR_HTTP_NO_BODY },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n", false, true, ATR_HTTP_NO_BODY },
		{ "HTTP/1.1 300 No\r\nContent-Length: 1\r\n", false, true, ATR_HTTP_LENGTH },
		{ "HTTP/1.1 199 X\r\nTransfer-Encoding: chunked\r\n", false, false,
		  ATR_HTTP_NO_BODY },
		{ "HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n", false, false,
		  ATR_HTTP_NO_BODY },
		{ "HTTP/1.1 205 X\r\nTransfer-Encoding: chunked\r\n", false, false,
		  ATR_HTTP_CHUNKED },
		{ "HTTP/1.1 304 X\r\nTransfer-Encoding: chunked\r\n", false, false,
		  ATR_HTTP_NO_BODY },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct atr_http_head h;

		CHECK_INT(parse(&h, cases[i].head, strlen(cases[i].head)), 0);
		CHECK_INT(atr_http_response_framing(&h, cases[i].to_head, cases[i].to_connect),
			  cases[i].framing);
	}
}

/* ---- bodies ---- */

static struct atr_http_body body;

static ssize_t eat(const char *p, size_t n)
{
	char *edge = test_edge(p, n);
	ssize_t eaten = atr_http_body_eat(&body, edge, n);

	test_edge_free(edge, n);
	return eaten;
}

static void begin_chunked(void)
{
	atr_http_body_begin(&body, ATR_HTTP_CHUNKED, 0);
}

TEST(a_body_ends_where_it_ends_and_not_behind)
{
	atr_http_body_begin(&body, ATR_HTTP_NO_BODY, 7);
	CHECK(atr_http_body_done(&body));
	CHECK_INT(eat(S("GET")), 0);
	atr_http_body_begin(&body, ATR_HTTP_LENGTH, 0);
	CHECK(atr_http_body_done(&body));
	atr_http_body_begin(&body, ATR_HTTP_LENGTH, 5);
	CHECK_INT(atr_http_body_opaque(&body), 5);
	CHECK_INT(eat(S("he")), 2);
	CHECK_INT(atr_http_body_opaque(&body), 3);
	atr_http_body_skip(&body, 2);
	CHECK(!atr_http_body_done(&body));
	CHECK_INT(eat(S("oGET")), 1);
	CHECK(atr_http_body_done(&body));
	CHECK_INT(atr_http_body_opaque(&body), 0);
	begin_chunked();
	CHECK_INT(eat(S("2\r\nab\r\n0\r\n\r\nGET")), 12);
	CHECK(atr_http_body_done(&body));
	CHECK_INT(eat(S("GET")), 0);
	atr_http_body_begin(&body, ATR_HTTP_TO_CLOSE, 0);
	CHECK(atr_http_body_opaque(&body) == UINT64_MAX);
	atr_http_body_skip(&body, (uint64_t)1 << 63);
	atr_http_body_skip(&body, (uint64_t)1 << 63);
	CHECK_INT(eat(S("0\r\n\r\n")), 5);
	CHECK(atr_http_body_opaque(&body) == UINT64_MAX);
	CHECK(!atr_http_body_done(&body));
}

TEST(data_of_a_chunk_may_go_by_unseen)
{
	begin_chunked();
	CHECK_INT(atr_http_body_opaque(&body), 0);
	CHECK_INT(eat(S("7fffFFFFffffFFFF\r\n")), 18);
	CHECK(atr_http_body_opaque(&body) == INT64_MAX);
	atr_http_body_skip(&body, 0);
	atr_http_body_skip(&body, INT64_MAX - 1);
	CHECK_INT(atr_http_body_opaque(&body), 1);
	atr_http_body_skip(&body, 1);
	CHECK_INT(atr_http_body_opaque(&body), 0);
	atr_http_body_skip(&body, 0);
	CHECK_INT(eat(S("\r\n0\r\n\r\n")), 7);
	CHECK(atr_http_body_done(&body));
}

TEST(what_is_broken_stays_broken)
{
	begin_chunked();
	CHECK_INT(eat(S("x")), -1);
	CHECK_INT(eat(S("0\r\n\r\n")), -1);
	CHECK(!atr_http_body_done(&body));
	CHECK_INT(atr_http_body_opaque(&body), 0);
}

/* n bytes of c, in pieces of `piece`: those that were eaten before it was refused. */
static size_t eat_many(char c, size_t n, size_t piece)
{
	static char bytes[70000];

	memset(bytes, c, sizeof(bytes));
	for (size_t at = 0; at < n; at += piece)
		if (eat(bytes, n - at < piece ? n - at : piece) < 0)
			return at;
	return n;
}

TEST(sizes_extensions_and_trailers_have_limits_to_the_byte)
{
	static const size_t pieces[] = { 1, 100, 70000 };

	begin_chunked();
	CHECK_INT(eat_many('0', 16, 1), 16);
	CHECK_INT(eat(S("0")), -1);
	begin_chunked();
	CHECK_INT(eat(S("7fffffffffffffff")), 16);
	begin_chunked();
	CHECK_INT(eat(S("8000000000000000")), -1);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		size_t piece = pieces[i];

		begin_chunked();
		(void)eat(S("5;"));
		CHECK_INT(eat_many('x', 16384, piece), 16384);
		CHECK_INT(eat(S("\r\nhello\r\n5;")), 11);
		CHECK_INT(eat_many('x', 16384, piece), 16384);
		CHECK_INT(eat(S("x")), -1);
		begin_chunked();
		(void)eat(S("5"));
		CHECK_INT(eat_many(' ', 16384, piece), 16384);
		CHECK_INT(eat(S(" ")), -1);
		begin_chunked();
		(void)eat(S("0\r\nX:"));
		CHECK_INT(eat_many('x', 65536 - 6, piece), 65536 - 6);
		CHECK_INT(eat(S("\r\n\r\n")), 4);
		CHECK(atr_http_body_done(&body));
		begin_chunked();
		(void)eat(S("0\r\nX:"));
		CHECK_INT(eat_many('x', 65536 - 5, piece), 65536 - 5);
		CHECK_INT(eat(S("\r\n\r")), 3);
		CHECK_INT(eat(S("\n")), -1);
		begin_chunked();
		(void)eat(S("0\r\n"));
		CHECK_INT(eat_many('x', 65536, piece), 65536);
		CHECK_INT(eat(S("x")), -1);
	}
}

/* Bytes that a name or a value may have, must not have, or ends with. */
static size_t random_line(char *p)
{
	static const char *const some[] = { "Host",
					    "Content-Length",
					    "connection",
					    "X-Request-ID",
					    "x_y",
					    "Accept",
					    "",
					    "fifteen-letters",
					    "sixteen-letters-",
					    "Transfer-Encoding",
					    "a b",
					    "User-Agent" };
	static const char *const ends[] = { "\r\n", "\r\n",  "\r\n",   "\r\n", "\n",
					    "\r",   "\r\n ", "\r\n\t", "\rx",  "" };
	static const char odd[] = "\t\r\x7f\x01\xff,";
	size_t n =
		(size_t)sprintf(p, "%s%s", some[(size_t)rand() % (sizeof(some) / sizeof(some[0]))],
				rand() % 30 ? ":" : "");

	for (int blanks = rand() % 3; blanks > 0; blanks--)
		p[n++] = ' ';
	for (int len = rand() % 40; len > 0; len--)
		p[n++] = rand() % 60 ? (char)('0' + rand() % 10) : odd[rand() % 6];
	return n +
	       (size_t)sprintf(
		       p + n, "%s",
		       ends[rand() % 4 ? 0 : (size_t)rand() % (sizeof(ends) / sizeof(ends[0]))]);
}

/* What is read sixteen bytes at a time is what is read one field after the other. */
TEST(fields_are_the_same_however_they_are_read)
{
	static const char first[] = "HTTP/1.1 200 OK\r\n";
	char text[1024], *edge = test_edge(NULL, sizeof(text));
	unsigned whole = 0, refused = 0;

	srand(4);
	for (unsigned round = 0; round < 100000; round++) {
		size_t n = (size_t)sprintf(text, "%s", first);
		struct atr_slice rest, name, value;
		unsigned count[ATR_HTTP_N_FIELDS + 1] = { 0 };
		struct atr_http_head head;
		const char *at, *p;
		bool folded;
		int is;

		for (int lines = rand() % 6; lines > 0; lines--)
			n += random_line(text + n);
		p = memcpy(edge + sizeof(text) - n, text, n);
		rest = (struct atr_slice){ p + sizeof(first) - 1, n - sizeof(first) + 1 };
		is = atr_http_parse_response(&head, p, n);
		for (at = rest.p; field(&at, rest.p + rest.len, &name, &value, &folded) == 1;) {
			enum atr_http_field k = known(name);

			if (!count[k]++ && k != ATR_HTTP_N_FIELDS && is == 0)
				CHECK(head.value[k].p == value.p && head.value[k].len == value.len);
		}
		/* Of those that are well formed some frame no message. */
		if (at != rest.p + rest.len)
			CHECK_INT(is, -1);
		refused += at != rest.p + rest.len;
		for (int k = 0; k < ATR_HTTP_N_FIELDS && is == 0; k++)
			CHECK_INT(head.count[k], count[k]);
		whole += is == 0;
	}
	test_edge_free(edge, sizeof(text));
	CHECK(whole > 10000 && refused > 10000);
}
