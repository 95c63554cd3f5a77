/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/otlp.o exporter/resource.o exporter/detect.o exporter/container.o */
/* LINK: exporter/list.o exporter/buf.o exporter/line.o exporter/otlp.pb-c.o */
/* LINK: exporter/json.o exporter/otlp-read.o exporter/marks.o exporter/spots.o */
/* LINK: preload/sys.o preload/utf8.o -lprotobuf-c -lm */
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

#include "preload/sys.h"

/* What is read of a file from there on fails; the so manieth time that one is to be written. */
static long unreadable;
static unsigned unwritable, opened;

static long wrong_sys(long nr, long a, long b, long c, long d, long e, long f)
{
	if (nr == SYS_openat && c & O_RDWR && ++opened == unwritable)
		return -EACCES;
	return nr == SYS_pread64 && unreadable && d >= unreadable ? -EIO
								  : atr_sys(nr, a, b, c, d, e, f);
}
#undef atr_sys
#define atr_sys(nr, a, b, c, d, e, f)                                                   \
	wrong_sys((nr), ATR_SYS_ARG(a), ATR_SYS_ARG(b), ATR_SYS_ARG(c), ATR_SYS_ARG(d), \
		  ATR_SYS_ARG(e), ATR_SYS_ARG(f))
#define atr_sys_open(path, flags, mode) (int)atr_sys(SYS_openat, AT_FDCWD, path, flags, mode, 0, 0)
#include "exporter/replay.c"

#include "tests/unit/fake_host.h"
#include "tests/unit/test.h"

/* A sink that remembers names of spans, and takes the first `takes` batches. */
static struct {
	int takes;
	bool refuses;  /* what it does not take */
	int malformed; /* that batch is, from 1 */
	unsigned batches;

	/*
	 * What becomes of a batch, step by step: t5 takes five spans, r5 refuses five for good,
	 * p5 one of five, w waits for an answer, f fails.  At its end all is taken.
	 */
	const char *script;
	size_t left, part;
	bool waits;
	const char
		*written; /* to the file by who has it open, piece by piece, one with each batch */
	int fd;
	char got[65536]; /* "service:a,b;" for each batch */
} to;

bool atr_sink_init(struct atr_sink *sink, const struct atr_host *host)
{
	*sink = (struct atr_sink){ .host = host };
	return true;
}

enum atr_delivery_state atr_sink_start_foreign(struct atr_sink *sink,
					       const struct atr_form_batch *b)
{
	const struct atr_attr *service = atr_resource_get(b->resource, "service.name");
	Atr__Otlp__ScopeSpans *s = atr__otlp__scope_spans__unpack(NULL, b->len, b->spans);
	size_t n = strlen(to.got);

	(void)sink;
	if (to.written && *to.written) {
		size_t k = strcspn(to.written, "|");

		CHECK_INT(write(to.fd, to.written, k), k);
		to.written += k + (to.written[k] == '|');
	}
	if (to.takes-- <= 0) {
		atr__otlp__scope_spans__free_unpacked(s, NULL);
		return ATR_DELIVERY_FAILED;
	}
	to.batches++;
	CHECK(s && s->n_spans == b->n_spans);
	to.left = b->n_spans;
	to.part = 0;
	n += (size_t)snprintf(to.got + n, sizeof(to.got) - n, "%s:", service ? service->text : "?");
	for (size_t i = 0; s && i < s->n_spans; i++)
		n += (size_t)snprintf(to.got + n, sizeof(to.got) - n, "%s%.20s", i ? "," : "",
				      s->spans[i]->name);
	(void)snprintf(to.got + n, sizeof(to.got) - n, ";");
	atr__otlp__scope_spans__free_unpacked(s, NULL);
	return ATR_DELIVERY_BUSY;
}

enum atr_delivery_state atr_sink_step(struct atr_sink *sink, uint64_t until,
				      enum atr_delivery_haste haste, bool crowded)
{
	const char *now = to.script && *to.script ? to.script : "";

	(void)sink;
	(void)until;
	(void)haste;
	(void)crowded;
	to.waits = *now == 'w';
	if (!*now) {
		to.part = to.left;
		if ((int)to.batches == to.malformed)
			atr_add(&fake.stats.adopted_refused, to.part);
		return ATR_DELIVERY_DONE;
	}
	to.script++;
	if (*now == 'f')
		return ATR_DELIVERY_FAILED;
	if (*now == 'w')
		return ATR_DELIVERY_BUSY;
	to.part = (size_t)(*to.script++ - '0');
	to.left -= to.part;
	if (*now != 't')
		atr_add(&fake.stats.adopted_refused, *now == 'r' ? to.part : 1);
	return to.left ? ATR_DELIVERY_BUSY : ATR_DELIVERY_DONE;
}

size_t atr_sink_part(struct atr_sink *sink, struct atr_outcome *ret)
{
	size_t n = to.part;

	(void)sink;
	(void)ret;
	to.part = 0;
	return n;
}

bool atr_sink_sent(const struct atr_sink *sink)
{
	(void)sink;
	return to.waits || (to.script && *to.script == 'w');
}

bool atr_sink_refused(const struct atr_sink *sink)
{
	(void)sink;
	return to.refuses;
}

uint64_t atr_sink_due(const struct atr_sink *sink)
{
	(void)sink;
	return 0;
}

void atr_sink_cancel(struct atr_sink *sink)
{
	(void)sink;
}

void atr_sink_finish(struct atr_sink *sink)
{
	(void)sink;
}

static char dir[] = "/tmp/test_replay.XXXXXX", path[64];

static void begin(void)
{
	memset(&to, 0, sizeof(to));
	to.takes = 1000;
	unreadable = opened = 0;
	memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
	if (!mkdtemp(dir))
		abort();
	(void)snprintf(path, sizeof(path), "%s/f.jsonl", dir);
	fake_init();
}

static void end(void)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "rm -rf %s", dir);
	CHECK_INT(system(command), 0);
}

static void write_file(const char *suffix, const char *text, size_t len)
{
	char name[128];
	FILE *f;

	(void)snprintf(name, sizeof(name), "%s%s", path, suffix);
	f = fopen(name, "w");
	CHECK(f && fwrite(text, 1, len, f) == len);
	(void)fclose(f);
}

/* "-": there is no such file. */
static const char *text_of(const char *suffix)
{
	static char text[8192];
	char name[128];
	ssize_t n;

	(void)snprintf(name, sizeof(name), "%s%s", path, suffix);
	n = atr_sys_read_file(name, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	return n < 0 ? "-" : text;
}

static void go(void)
{
	const char *names[] = { path, NULL };

	fake.host.files = names;
	atr_replay(&fake.host);
}

/* What is sent of that file by another drain, which then has all. */
static const char *again(const char *suffix)
{
	char name[128];
	const char *names[] = { name, NULL };

	(void)snprintf(name, sizeof(name), "%s%s", path, suffix);
	to.got[0] = '\0';
	to.batches = 0;
	to.malformed = 0;
	fake.host.files = names;
	atr_replay(&fake.host);
	if (!to.script || !*to.script)
		CHECK_STR(text_of(suffix), "-");
	return to.got;
}

#define PIECE(service, spans)                                                                  \
	"{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":{\"stringValue\":" \
	"\"" service "\"}}]},\"scopeSpans\":[{\"spans\":[" spans "]}]}"
#define LINE(service, spans) "{\"resourceSpans\":[" PIECE(service, spans) "]}"
#define IDS "\"traceId\":\"0af7651916cd43dd8448eb211c80319c\",\"spanId\":\"b7ad6b7169203331\","
#define SPAN(name) "{" IDS "\"name\":\"" name "\"}"
#define FOUR SPAN("a") "," SPAN("b") "," SPAN("c") "," SPAN("d")
#define WRITE(s) write_file("", s, sizeof(s) - 1)

TEST(lines_of_one_resource_go_together_and_the_file_goes)
{
	begin();
	WRITE(LINE("x", SPAN("a")) "\n" LINE("x", SPAN("b") "," SPAN("c")) "\n" LINE(
		"y", SPAN("d")) "\n" LINE("x", SPAN("e")) "\n");
	go();
	CHECK_STR(to.got, "x:a,b,c;y:d;x:e;");
	CHECK_STR(text_of(""), "-");
	CHECK_STR(text_of(".draining"), "-");
	CHECK_INT(fake.stats.left + fake.stats.corrupt, 0);
	end();
}

TEST(a_batch_has_as_many_as_a_request_may_have)
{
	begin();
	fake.config.bsp_max_export_batch_size = 2;
	WRITE(LINE("x", SPAN("a")) "\n" LINE("x", SPAN("b")) "\n" LINE(
		"x", SPAN("c") "," SPAN("d") "," SPAN("e")) "\n" LINE("x", SPAN("f")));
	go();
	CHECK_STR(to.got, "x:a,b;x:c,d;x:e,f;"); /* the last line has no end */
	CHECK_STR(text_of(""), "-");
	end();
}

/* Whatever becomes of each of them, none comes twice. */
TEST(a_long_line_is_sent_in_several_batches)
{
	for (int takes = 0; takes <= 4; takes++) {
		static const char *const rest[] = { "x:a,b;x:c;y:a,b;y:c,d;", "x:c;y:a,b;y:c,d;",
						    "y:a,b;y:c,d;", "y:c,d;", "" };

		begin();
		fake.config.bsp_max_export_batch_size = 2;
		WRITE("{\"resourceSpans\":[" PIECE(
			"x", SPAN("a") "," SPAN("b") "," SPAN("c")) "," PIECE("y", FOUR) "]}\n");
		to.takes = takes;
		go();
		CHECK_INT(fake.stats.left, takes < 4);
		to.takes = 1000;
		if (takes < 4)
			CHECK_STR(again(""), rest[takes]);
		CHECK_STR(text_of(""), "-");
		CHECK_STR(text_of(".bad"), "-");
		end();
	}
}

TEST(a_batch_of_a_line_that_is_refused_for_good_is_what_is_left_of_it)
{
	begin();
	fake.config.bsp_max_export_batch_size = 2;
	WRITE(LINE("x", FOUR "," SPAN("e")) "\n");
	to.malformed = 2;
	go();
	CHECK_STR(to.got, "x:a,b;x:c,d;x:e;");
	CHECK(strstr(fake.log, "1 lines have spans that") != NULL);
	CHECK_STR(again(".bad"), "x:c,d;");
	end();
}

TEST(a_batch_is_not_much_longer_than_it_may_be)
{
	static char text[3 * BATCH_BYTES];
	size_t at = (size_t)sprintf(text, "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[");

	begin();
	for (unsigned i = 0; i < 4; i++) {
		at += (size_t)sprintf(text + at, "%s{" IDS "\"name\":\"", i ? "," : "");
		memset(text + at, 'n', BATCH_BYTES * 5 / 8);
		at += BATCH_BYTES * 5 / 8;
		at += (size_t)sprintf(text + at, "\"}");
	}
	at += (size_t)sprintf(text + at, "]}]}]}\n");
	write_file("", text, at);
	go();
	CHECK_INT(to.batches, 2);
	CHECK_STR(text_of(""), "-");
	end();
}

TEST(pieces_of_one_line_are_sent_each_under_its_own)
{
	begin();
	WRITE("{\"resourceSpans\":[" PIECE("x", SPAN("a")) "," PIECE("y", SPAN("b")) "," PIECE(
		"y", SPAN("c")) "," PIECE("z", "") "]}\n");
	go();
	CHECK_STR(to.got, "x:a;y:b,c;");
	CHECK_STR(text_of(""), "-");
	end();
}

TEST(what_was_sent_is_marked_and_what_was_not_has_its_name_again)
{
	begin();
	WRITE(LINE("x", SPAN("a")) "\n" LINE("y", SPAN("b")) "\n");
	to.takes = 1;
	go();
	CHECK_STR(to.got, "x:a;");
	CHECK_INT(fake.stats.left, 1);
	CHECK_INT(text_of("")[0], '#');
	CHECK(strstr(text_of(""), "\n{\"resourceSpans\"") != NULL);
	to.takes = 1;
	fake.stats.left = 0;
	go();
	CHECK_STR(to.got, "x:a;y:b;");
	CHECK_INT(fake.stats.left, 0);
	CHECK_STR(text_of(""), "-");
	end();
}

TEST(a_line_with_pieces_is_marked_with_the_last_of_them)
{
	begin();
	WRITE("{\"resourceSpans\":[" PIECE("x", SPAN("a")) "," PIECE("y", SPAN("b")) "]}\n");
	to.takes = 1;
	go();
	CHECK_STR(to.got, "x:a;");
	CHECK_INT(text_of("")[0], '{');
	end();
}

TEST(what_an_earlier_drain_has_left_comes_first)
{
	begin();
	write_file(".draining", "#done\n" LINE("x", SPAN("a")) "\n",
		   sizeof("#done\n" LINE("x", SPAN("a")) "\n") - 1);
	WRITE(LINE("x", SPAN("b")) "\n");
	go();
	CHECK_STR(to.got, "x:a;x:b;");
	CHECK_STR(text_of(""), "-");
	CHECK_STR(text_of(".draining"), "-");
	end();
}

TEST(what_somebody_else_is_at_is_left_alone)
{
	int fd;

	begin();
	write_file(".draining", LINE("x", SPAN("a")), sizeof(LINE("x", SPAN("a"))) - 1);
	fd = open(strcat(path, ".draining"), O_RDONLY);
	CHECK_INT(flock(fd, LOCK_EX), 0);
	fake.requests = ATR_WAKE_FLUSH | ATR_WAKE_STOP; /* not waited for */
	go();
	CHECK_STR(to.got, "");
	CHECK_INT(fake.stats.left, 1);
	CHECK(strstr(fake.log, "somebody else is at it") != NULL);
	CHECK(text_of("")[0] == '{');
	(void)close(fd);
	end();
}

TEST(what_is_no_request_is_kept_aside_and_said)
{
	begin();
	WRITE("hello\n\n\r\n" LINE("x", SPAN("a")) "\n{\"resourceSpans\":[{\"reso\n[]\n" LINE(
		"x", SPAN("b")) "\n{\"half");
	go();
	CHECK_STR(to.got, "x:a,b;");
	CHECK_INT(fake.stats.corrupt, 4);
	CHECK_INT(fake.stats.left, 0);
	CHECK(strstr(fake.log, "4 lines are no OTLP JSON") != NULL);
	CHECK_STR(text_of(""), "-");
	CHECK(strncmp(text_of(".bad"), "hello\n", 6) == 0);
	CHECK(strstr(text_of(".bad"), "\n#\"resourceSpans\"") != NULL);
	end();
}

TEST(what_is_refused_stays_and_does_not_keep_other_files_waiting)
{
	char other[80];
	const char *names[] = { path, other, NULL };

	begin();
	WRITE(LINE("x", SPAN("a")) "\n");
	write_file(".1", LINE("x", SPAN("b")) "\n", sizeof(LINE("x", SPAN("b"))));
	(void)snprintf(other, sizeof(other), "%s.1", path);
	to.takes = 0;
	to.refuses = true;
	fake.host.files = names;
	atr_replay(&fake.host);
	CHECK_INT(fake.stats.left, 2);
	CHECK_INT(text_of("")[0], '{');
	CHECK_INT(text_of(".1")[0], '{');
	to.takes = 0;
	to.refuses = false; /* nobody is there: one is enough */
	fake.stats.left = 0;
	atr_replay(&fake.host);
	CHECK_INT(fake.stats.left, 1);
	end();
}

TEST(what_the_collector_calls_malformed_is_put_aside)
{
	begin();
	WRITE(LINE("x", SPAN("a")) "\n" LINE("y", SPAN("b")) "\n{\"resourceSpans\":[" PIECE(
		"y", SPAN("c")) "," PIECE("z", SPAN("d")) "]}\n" LINE("z", SPAN("e")) "\n");
	to.malformed = 2;
	go();
	CHECK_STR(to.got, "x:a;y:b,c;z:d,e;");
	CHECK_INT(fake.stats.left, 1);
	CHECK_INT(fake.stats.corrupt, 0);
	CHECK(strstr(fake.log, "2 lines have spans that the collector will not take") != NULL);
	CHECK_INT(text_of(".bad")[0], '#');
	CHECK(strstr(text_of(".bad"), "\n" LINE("y", SPAN("b")) "\n{\"resourceSpans\":[") != NULL);
	CHECK(strstr(text_of(".bad"), "]}\n#\"resourceSpans\"") != NULL);
	CHECK_STR(again(".bad"), "y:b,c;");
	end();
}

TEST(the_part_of_a_line_that_was_taken_is_not_sent_again)
{
	static const struct {
		const char *script, *again;
	} cases[] = { { "f", "x:a,b,c,d,e,f;" },
		      { "t2f", "x:c,d,e,f;" },
		      { "t2wt1f", "x:d,e,f;" },
		      { "t4f", "x:e,f;" },
		      { "t5f", "x:f;" },
		      { "p5f", "x:f;" }, /* which one it does not take it does not say */
		      { "t2r2t1f", "x:c,d,f;" },
		      { "r1t1r1t2r1", "x:a,c,f;" },
		      { "r3t3", "x:a,b,c;" },
		      { "t3r3", "x:d,e,f;" },
		      { "r5f", "x:a,b,c,d,e,f;" } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin();
		WRITE(LINE("x", FOUR) "\n" LINE("x", SPAN("e") "," SPAN("f")) "\n");
		to.script = cases[i].script;
		go();
		CHECK_STR(to.got, "x:a,b,c,d,e,f;");
		CHECK_INT(fake.stats.left, 1);
		CHECK_INT(fake.stats.corrupt, 0);
		CHECK_STR(again(strchr(cases[i].script, 'f') ? "" : ".bad"), cases[i].again);
		end();
	}
}

TEST(what_was_taken_of_a_line_with_pieces_is_not_sent_again)
{
	begin();
	WRITE("{\"resourceSpans\":[" PIECE("x", SPAN("a") "," SPAN("b")) "," PIECE(
		"y", FOUR) "," PIECE("z", SPAN("e")) "]}\n");
	to.script = "t2t1f";
	go();
	CHECK_STR(to.got, "x:a,b;y:a,b,c,d;");
	to.script = "r3t1";
	CHECK_STR(again(""), "y:b,c,d;z:e;");
	CHECK_STR(text_of(""), "-");
	CHECK(strstr(fake.log, "1 lines have spans") != NULL);
	CHECK_STR(again(".bad"), "y:b,c,d;");
	end();
}

TEST(what_waits_for_its_answer_is_waited_for_by_who_is_told_to_stop)
{
	begin();
	WRITE(LINE("x", FOUR) "\n");
	fake.requests = ATR_WAKE_FLUSH | ATR_WAKE_STOP;
	to.script = "www";
	go();
	CHECK_STR(to.got, "x:a,b,c,d;");
	CHECK_STR(text_of(""), "-");
	WRITE(LINE("x", FOUR) "\n" LINE("y", SPAN("e")));
	to.script = "wt2t2"; /* the next part is not begun */
	to.got[0] = '\0';
	go();
	fake.requests = 0;
	CHECK_STR(again(""), "x:c,d;y:e;");
	end();
}

TEST(what_holds_no_traces_is_left_alone)
{
	static const char *const others[] = {
		"{\"level\":\"info\",\"msg\":\"started\"}\n{\"level\":\"warn\"}\n",
		"{\"resourceMetrics\":[{\"scopeMetrics\":[]}]}\n",
		"{}\n",
		"# a comment\n",
		"{\"resourceSpans\":5}\n",
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		begin();
		write_file("", others[i], strlen(others[i]));
		go();
		CHECK_STR(to.got, "");
		CHECK_STR(text_of(""), others[i]);
		CHECK_STR(text_of(".bad"), "-");
		CHECK_INT(fake.stats.left, 0);
		CHECK(strstr(fake.log, "no traces in OTLP JSON; it is left alone") != NULL);
		end();
	}
	begin();
	WRITE("");
	go();
	CHECK_STR(text_of(""), "");
	CHECK_STR(fake.log, "");
	end();
}

TEST(a_span_without_an_id_or_a_name_is_none)
{
	static const char *const bad[] = {
		LINE("x", "{\"traceId\":\"zz\",\"spanId\":\"b7ad6b7169203331\",\"name\":\"n\"}"),
		LINE("x", "{\"traceId\":\"0af7651916cd43dd8448eb211c80319c\",\"name\":\"n\"}"),
		LINE("x", SPAN("a") ",{" IDS "\"name\":17}"),
		LINE("x", "{" IDS "\"parentSpanId\":\"zz\"}"),
	};
	char text[2000];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		begin();
		(void)snprintf(text, sizeof(text), "%s\n%s\n", bad[i], LINE("x", SPAN("b")));
		write_file("", text, strlen(text));
		go();
		CHECK_STR(to.got, "x:b;");
		CHECK_INT(fake.stats.corrupt, 1);
		CHECK(strncmp(text_of(".bad"), bad[i], strlen(bad[i])) == 0);
		end();
	}
}

TEST(a_second_one_is_put_aside_beside_the_first)
{
	begin();
	write_file(".bad", "old\n", 4);
	WRITE(LINE("x", SPAN("a")) "\nnew\n");
	go();
	CHECK_STR(text_of(".bad"), "old\n");
	CHECK(strstr(text_of(".bad.2"), "\nnew\n") != NULL);
	CHECK_STR(text_of(".draining"), "-");
	end();
}

TEST(what_is_written_while_a_file_is_drained_is_sent_or_left)
{
	static const struct {
		const char *first, *written, *got, *bad, *left;
		unsigned corrupt;
	} cases[] = {
		{ LINE("x", SPAN("a")) "\n", LINE("y", SPAN("b")) "\n|" LINE("z", SPAN("c")) "\n",
		  "x:a;y:b;z:c;", "-", "-", 0 },
		{ LINE("x", SPAN("a")) "\n{\"resource", "Spans\":[" PIECE("y", SPAN("b")) "]}\n",
		  "x:a;y:b;", "-", "-", 0 },
		{ LINE("x", SPAN("a")) "\n", "none\n" LINE("y", SPAN("b")), "x:a;y:b;", "none", "-",
		  1 },
		{ LINE("x", SPAN("a")) "\n", LINE("y", SPAN("b")) "\n{\"half", "x:a;y:b;", "-",
		  "\n{\"half", 0 },
		{ LINE("x", SPAN("a")) "\n{\"resource", "Spans\":", "x:a;", "-",
		  "\n{\"resourceSpans\":", 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin();
		write_file("", cases[i].first, strlen(cases[i].first));
		to.fd = open(path, O_WRONLY | O_APPEND);
		to.written = cases[i].written;
		go();
		CHECK_STR(to.got, cases[i].got);
		CHECK_INT(fake.stats.corrupt, cases[i].corrupt);
		CHECK(strstr(text_of(".bad"), cases[i].bad) != NULL);
		CHECK(strstr(text_of(""), cases[i].left) != NULL);
		CHECK_INT(fake.stats.left, *cases[i].left != '-');
		CHECK(!strstr(fake.log, "somebody writes to it; what comes last is left") ==
		      !fake.stats.left);
		(void)close(to.fd);
		end();
	}
}

TEST(a_file_that_always_grows_is_given_back)
{
	static char text[2 * ROUNDS * sizeof(LINE("x", SPAN("a")) "\n|")];

	begin();
	for (unsigned i = 0; i < 2 * ROUNDS; i++)
		strcat(text, LINE("x", SPAN("a")) "\n|");
	WRITE(LINE("x", SPAN("a")) "\n");
	to.fd = open(path, O_WRONLY | O_APPEND);
	to.written = text;
	go();
	CHECK_INT(to.batches, ROUNDS + 1);
	CHECK_INT(fake.stats.left, 1);
	CHECK_INT(text_of("")[0], '#');
	to.written = NULL;
	CHECK_STR(again(""), "x:a;");
	(void)close(to.fd);
	end();
}

/* Of which the rest looks like one, or ends the file. */
TEST(a_line_that_is_too_long_is_one)
{
	static const char *const ends[] = { "\n", "", LINE("y", SPAN("b")) "\n" };
	char *text = malloc(LINE_MAX_LEN + 3 * READ);
	size_t n;

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		begin();
		n = sizeof(LINE("x", SPAN("a")) "\n") - 1;
		memcpy(text, LINE("x", SPAN("a")) "\n", n);
		memset(text + n, 'z', LINE_MAX_LEN + 2 * READ);
		n += LINE_MAX_LEN + 2 * READ;
		memcpy(text + n, ends[i], strlen(ends[i]));
		n += strlen(ends[i]);
		write_file("", text, n);
		go();
		CHECK_STR(to.got, "x:a;");
		CHECK_INT(fake.stats.corrupt, 1);
		end();
	}
	free(text);
}

TEST(a_file_that_is_not_there_is_said)
{
	begin();
	go();
	CHECK_INT(fake.stats.left, 1);
	CHECK(strstr(fake.log, "No such file") != NULL);
	end();
}

TEST(a_link_stays_and_the_file_that_it_leads_to_goes)
{
	struct stat st;
	int fd;

	for (unsigned i = 0; i < 3; i++) {
		char link[128], more[128];
		const char *names[] = { i == 1 ? more : link, NULL };

		begin();
		WRITE(LINE("x", SPAN("a")) "\nnone\n");
		(void)snprintf(link, sizeof(link), "%s/link", dir);
		(void)snprintf(more, sizeof(more), "%s/more", dir);
		CHECK_INT(symlink("f.jsonl", link), 0);
		CHECK_INT(symlink("link", more), 0);
		fd = open(path, O_RDONLY);
		if (i == 2) { /* as /dev/stdin */
			CHECK_INT(unlink(link), 0);
			(void)snprintf(more, sizeof(more), "/proc/self/fd/%d", fd);
			CHECK_INT(symlink(more, link), 0);
		}
		fake.host.files = names;
		atr_replay(&fake.host);
		CHECK_STR(to.got, "x:a;");
		CHECK_INT(fake.stats.left, 0);
		CHECK_INT(lstat(names[0], &st), 0);
		CHECK_STR(text_of(""), "-");
		CHECK(strstr(text_of(".bad"), "\nnone\n") != NULL);
		(void)close(fd);
		end();
	}
}

TEST(what_is_no_regular_file_is_left_alone)
{
	static const char line[] = LINE("x", SPAN("a")) "\n";
	char pipe_name[128], got[sizeof(line)];
	int fds[2];

	begin();
	CHECK_INT(pipe(fds), 0);
	CHECK_INT(write(fds[1], line, sizeof(line) - 1), sizeof(line) - 1);
	(void)snprintf(pipe_name, sizeof(pipe_name), "/proc/self/fd/%d", fds[0]);
	for (unsigned i = 0; i < 5; i++) {
		fake_init();
		switch (i) {
		case 0:
			CHECK_INT(symlink(pipe_name, path), 0);
			break;
		case 1:
			CHECK_INT(mkfifo(path, 0600), 0);
			break;
		case 2:
			CHECK_INT(symlink("/dev/zero", path), 0);
			break;
		case 3:
			CHECK_INT(mkdir(path, 0700), 0);
			break;
		default: /* of that name, and what is left of an earlier one is none, too */
			CHECK_INT(mkfifo(strcat(path, ".draining"), 0600), 0);
		}
		go();
		CHECK_INT(fake.stats.left, 1);
		CHECK_STR(strstr(fake.log, ": it is no"),
			  ": it is no regular file; it is left alone\n");
		CHECK_INT(remove(path), 0);
	}
	CHECK_STR(to.got, "");
	CHECK_INT(read(fds[0], got, sizeof(got)), sizeof(line) - 1);
	(void)close(fds[0]);
	(void)close(fds[1]);
	end();
}

/* Between lines, and within one. */
TEST(what_cannot_be_read_on_is_not_the_end)
{
	static char text[READ + 4096];

	for (size_t within = 0; within < 2; within++) {
		const size_t n = sizeof(LINE("x", SPAN("a"))) - 1, first = READ - within;

		begin();
		memset(text, ' ', sizeof(text));
		memcpy(text, LINE("x", SPAN("a")), n);
		text[first - 1] = '\n';
		memcpy(text + first, LINE("x", SPAN("b")), n);
		write_file("", text, first + n);
		unreadable = READ;
		go();
		CHECK_STR(to.got, "x:a;");
		CHECK_STR(strrchr(fake.log, ':'), ": Input/output error\n");
		CHECK_INT(fake.stats.left, 1);
		CHECK_INT(fake.stats.corrupt, 0);
		CHECK_INT(text_of("")[0], '#');
		CHECK_STR(text_of(".draining"), "-");
		unreadable = 0;
		CHECK_STR(again(""), "x:b;");
		end();
	}
}

/* Also when that is seen late: no file keeps the name of a drain that is none. */
TEST(what_cannot_be_written_keeps_its_name)
{
	for (unwritable = 1; unwritable <= 2; unwritable++) {
		begin();
		WRITE(LINE("x", SPAN("a")));
		go();
		CHECK_STR(to.got, "");
		CHECK_INT(fake.stats.left, 1);
		CHECK_STR(strrchr(fake.log, ':'), ": Permission denied\n");
		CHECK_INT(text_of("")[0], '{');
		CHECK_STR(text_of(".draining"), "-");
		end();
	}
	unwritable = 0;
}

static void limit_files(rlim_t size)
{
	struct rlimit limit;

	CHECK_INT(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = size;
	CHECK_INT(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* The limit is in front of the second line, behind its begin, and in its spans. */
TEST(a_mark_that_cannot_be_written_ends_the_drain_of_that_file)
{
	static const char first[] = LINE("x", SPAN("a")) "\n",
			  text[] = LINE("x", SPAN("a")) "\n" LINE("y", FOUR) "\n" LINE(
				  "z", SPAN("e")) "\n";
	const size_t limits[] = { sizeof(first) - 3, sizeof(first) + 4,
				  (size_t)(strstr(text, "\"b\"") - text) };
	struct sigaction now;

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		begin();
		WRITE(text);
		to.script = "t1t2t2"; /* of the second line two, first */
		limit_files(limits[i]);
		go();
		limit_files(RLIM_INFINITY);
		CHECK_STR(to.got, "x:a;y:a,b,c,d;");
		CHECK_INT(fake.stats.left, 1);
		CHECK(strstr(fake.log,
			     "f.jsonl: what was sent last cannot be marked, and may be sent "
			     "again: File too large\n") != NULL);
		CHECK_INT(fake_log_lines(), 1);
		to.script = NULL;
		CHECK_STR(again(""), "y:a,b,c,d;z:e;");
		CHECK_INT(fake.stats.corrupt, 0);
		end();
	}
	CHECK_INT(sigaction(SIGXFSZ, NULL, &now), 0);
	CHECK(now.sa_handler == SIG_DFL);
}

TEST(what_cannot_be_read_at_all_is_said)
{
	begin();
	WRITE(LINE("x", SPAN("a")));
	unreadable = -1;
	go();
	CHECK_INT(fake.stats.left, 1);
	CHECK_STR(strrchr(fake.log, ':'), ": Input/output error\n");
	CHECK_INT(text_of("")[0], '{');
	end();
}

/* Of every length around what is read at once. */
TEST(long_lines_are_read_whole)
{
	static char text[300000];
	size_t at = 0, lines = 0;

	begin();
	for (size_t pad = 0; at + 90000 < sizeof(text);
	     pad = pad < 65000 ? pad + 21683 : pad - 65000) {
		at += (size_t)sprintf(text + at,
				      "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{" IDS
				      "\"name\":\"%zu\","
				      "\"traceState\":\"",
				      lines++);
		memset(text + at, 'p', pad);
		at += pad;
		at += (size_t)sprintf(text + at, "\"}]}]}]}\n");
	}
	write_file("", text, at);
	go();
	CHECK(lines > 3);
	for (size_t i = 0; i < lines; i++) {
		char name[24];

		(void)snprintf(name, sizeof(name), "%s%zu", i ? "," : "?:", i);
		CHECK(strstr(to.got, name) != NULL);
	}
	CHECK_INT(fake.stats.corrupt, 0);
	CHECK_STR(text_of(""), "-");
	end();
}
