/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/otlp.o exporter/resource.o exporter/detect.o exporter/container.o */
/* LINK: exporter/list.o exporter/buf.o exporter/line.o exporter/otlp.pb-c.o */
/* LINK: exporter/console.o exporter/otlp-json.o exporter/jsonl.o */
/* LINK: preload/sys.o preload/utf8.o -lprotobuf-c -lm */
#include "exporter/file.c"

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>

#include "tests/unit/batch_of.h"
#include "tests/unit/test.h"

static char dir[] = "/tmp/test_file.XXXXXX", path[256];
static struct file *f;
static uint64_t shift; /* of the clock */

static uint64_t shifted_now(void)
{
	return fake_now() + shift;
}

static void begin(const char *name)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/test_file.XXXXXX");
	if (!mkdtemp(dir))
		abort();
	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fake_init();
	fake.host.now = shifted_now;
	fake.config.file = path;
	shift = 0;
	f = file_new(&fake.host);
}

static void end(void)
{
	char command[128];

	file_free(f);
	batch_of_free();
	(void)snprintf(command, sizeof(command), "rm -rf %s", dir);
	CHECK_INT(system(command), 0);
}

static enum atr_delivery_state put(uint64_t id)
{
	return file_start(f, batch_of(id, 1, 0));
}

/* The text of a file, NULL if there is none. */
static const char *text_of(const char *suffix)
{
	static char text[1 << 16];
	char name[300];
	ssize_t n;

	(void)snprintf(name, sizeof(name), "%s%s", path, suffix);
	n = atr_sys_read_file(name, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	return n < 0 ? NULL : text;
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	for (; text && (text = strstr(text, what)); text++)
		n++;
	return n;
}

TEST(a_batch_is_a_line_behind_what_is_there)
{
	begin("f");
	CHECK_INT(put(1), ATR_DELIVERY_DONE);
	CHECK_INT(batch_of_one.delivered, 1);
	CHECK_INT(put(2), ATR_DELIVERY_DONE);
	CHECK_INT(count(text_of(""), "\n"), 2);
	CHECK(strstr(text_of(""), "\"span 1\"") < strstr(text_of(""), "\"span 2\""));
	CHECK_STR(file_shown(f), path);
	CHECK_STR(fake.log, "");
	end();
}

TEST(half_a_line_of_somebody_is_ended_first)
{
	int fd;

	begin("f");
	CHECK_INT(put(1), ATR_DELIVERY_DONE);
	fd = atr_sys_open(path, O_WRONLY | O_APPEND, 0);
	CHECK_INT(write(fd, "{\"half", 6), 6);
	CHECK_INT(put(2), ATR_DELIVERY_DONE);
	CHECK(strstr(text_of(""), "{\"half\n{\"resourceSpans\"") != NULL);
	CHECK_INT(count(text_of(""), "\n"), 3);
	(void)close(fd);
	end();
}

TEST(a_line_is_never_longer_than_readers_take)
{
	begin("f");
	fake.config.file_max_bytes = 1u << 30;
	CHECK_INT(file_start(f, batch_of(1, 100, 16000)), ATR_DELIVERY_DONE);
	CHECK(f->lines.text.len > 100 * 6 * 16000);
	for (const char *p = (const char *)f->lines.text.bytes, *end_of = p + f->lines.text.len;
	     p < end_of;) {
		const char *nl = memchr(p, '\n', (size_t)(end_of - p));

		if (!CHECK(nl && nl - p < 1 << 20))
			break;
		p = nl + 1;
	}
	end();
}

TEST(a_file_without_its_name_is_not_written_to)
{
	char other[300];

	begin("f");
	CHECK_INT(put(1), ATR_DELIVERY_DONE);
	(void)snprintf(other, sizeof(other), "%s.away", path);
	CHECK_INT(rename(path, other), 0);
	CHECK_INT(put(2), ATR_DELIVERY_DONE);
	CHECK_INT(count(text_of(""), "span 2"), 1);
	CHECK_INT(count(text_of(".away"), "\n"), 1);
	CHECK_INT(unlink(path), 0);
	CHECK_INT(put(3), ATR_DELIVERY_DONE);
	CHECK_INT(count(text_of(""), "span 3"), 1);
	CHECK_INT(rename(other, path), 0); /* another one of that name */
	CHECK_INT(put(4), ATR_DELIVERY_DONE);
	CHECK_INT(count(text_of(""), "span 1") + count(text_of(""), "span 4"), 2);
	end();
}

TEST(a_lock_is_waited_for_but_not_for_ever)
{
	int fd;

	begin("f");
	CHECK_INT(put(1), ATR_DELIVERY_DONE);
	fd = atr_sys_open(path, O_RDWR, 0);
	CHECK_INT(flock(fd, LOCK_EX), 0);
	CHECK_INT(put(2), ATR_DELIVERY_BUSY);
	CHECK(file_due(f) > shifted_now());
	CHECK_INT(file_step(f, 0, ATR_HASTE_NONE), ATR_DELIVERY_BUSY);
	CHECK_INT(flock(fd, LOCK_UN), 0);
	shift += LOCK_RETRY_NS;
	CHECK_INT(file_step(f, 0, ATR_HASTE_NONE), ATR_DELIVERY_DONE);
	CHECK_INT(count(text_of(""), "\n"), 2);
	CHECK_INT(flock(fd, LOCK_EX), 0);
	CHECK_INT(put(3), ATR_DELIVERY_BUSY);
	shift += LOCK_WAIT_NS + LOCK_RETRY_NS;
	CHECK_INT(file_step(f, 0, ATR_HASTE_NONE), ATR_DELIVERY_FAILED);
	/* Who holds it has taken the file away: nothing to wait for. */
	CHECK_INT(unlink(path), 0);
	CHECK_INT(put(3), ATR_DELIVERY_DONE);
	CHECK_INT(count(text_of(""), "span 3"), 1);
	(void)close(fd);
	end();
}

TEST(files_are_rotated_and_the_oldest_goes)
{
	begin("f");
	fake.config.file_max_files = 3;
	CHECK_INT(put(1), ATR_DELIVERY_DONE);
	fake.config.file_max_bytes = (uint32_t)f->lines.text.len + 10; /* one line, not two */
	for (uint64_t id = 2; id <= 5; id++)
		CHECK_INT(put(id), ATR_DELIVERY_DONE);
	CHECK_INT(count(text_of(""), "\"span 5\""), 1);
	CHECK_INT(count(text_of(".1"), "\"span 4\""), 1);
	CHECK_INT(count(text_of(".2"), "\"span 3\""), 1);
	CHECK(text_of(".3") == NULL);
	CHECK_INT(count(text_of(".2"), "\n"), 1);
	fake.config.file_max_files = 1;
	CHECK_INT(put(6), ATR_DELIVERY_DONE);
	CHECK_INT(count(text_of(""), "\n"), 1);
	CHECK_INT(count(text_of(".1"), "\"span 4\""), 1);
	end();
}

TEST(what_cannot_be_renamed_does_not_grow_for_ever)
{
	int fd;

	begin("f");
	CHECK_INT(put(1), ATR_DELIVERY_DONE);
	fake.config.file_max_bytes = (uint32_t)f->lines.text.len;
	fd = atr_sys_open(path, O_RDWR, 0);
	CHECK_INT(flock(fd, LOCK_SH), 0); /* somebody writes to it, always */
	CHECK_INT(put(2), ATR_DELIVERY_DONE);
	CHECK_INT(put(3), ATR_DELIVERY_DONE);
	CHECK_INT(put(4), ATR_DELIVERY_FAILED);
	CHECK_INT(count(text_of(""), "\n"), 3);
	(void)close(fd);
	CHECK_INT(put(4), ATR_DELIVERY_DONE);
	CHECK_INT(count(text_of(""), "\n"), 1);
	CHECK_INT(count(fake.log, "\n"), 2);
	CHECK(strstr(fake.log, "cannot be written (error 27)") != NULL);
	CHECK(strstr(fake.log, "can be written again") != NULL);
	end();
}

static void on_signal(int number)
{
	(void)number;
	abort();
}

TEST(a_limit_on_the_size_of_files_cuts_nothing_in_two_where_the_file_is_ours)
{
	struct rlimit limit, was;
	sigset_t xfsz;

	begin("d/");
	CHECK_INT(put(1), ATR_DELIVERY_DONE);
	(void)signal(SIGXFSZ, on_signal);
	sigemptyset(&xfsz);
	sigaddset(&xfsz, SIGXFSZ);
	CHECK_INT(sigprocmask(SIG_BLOCK, &xfsz, NULL), 0); /* as it is in the background thread */
	CHECK_INT(getrlimit(RLIMIT_FSIZE, &was), 0);
	limit = (struct rlimit){ 3000, was.rlim_max };
	CHECK_INT(setrlimit(RLIMIT_FSIZE, &limit), 0);
	for (int i = 0; i < 10; i++)
		(void)put(2);
	CHECK_INT(put(3), ATR_DELIVERY_FAILED);
	CHECK_INT(setrlimit(RLIMIT_FSIZE, &was), 0);
	memcpy(path, f->name, sizeof(path));
	(void)signal(SIGXFSZ, SIG_IGN);
	CHECK_INT(sigprocmask(SIG_UNBLOCK, &xfsz, NULL), 0);
	CHECK(count(text_of(""), "\n") >= 2);
	CHECK(text_of("")[strlen(text_of("")) - 1] == '\n');
	CHECK_INT(count(fake.log, "\n"), 1);
	CHECK_INT(count(fake.log, "(error 27)"), 1);
	end();
}

/* What stands there, as numbers of spans; "?" for a line that is not whole. */
static const char *spans_in(const char *text)
{
	static char ids[4096];
	size_t n = 0;

	ids[0] = '\0';
	while (text && *text) {
		const char *end = strchrnul(text, '\n');
		const char *line = text;

		if (end > text && (end[0] != '\n' || end[-1] != '}'))
			n += (size_t)snprintf(ids + n, sizeof(ids) - n, "? ");
		while (end > line && end[-1] == '}' &&
		       (line = memmem(line, (size_t)(end - line), "\"span ", 6)) != NULL)
			n += (size_t)snprintf(ids + n, sizeof(ids) - n, "%d ", atoi(line += 6));
		text = *end ? end + 1 : end;
	}
	return ids;
}

TEST(a_shared_file_on_a_full_disk_has_no_line_twice_and_does_not_grow)
{
	struct rlimit limit, was;
	uint64_t lost = 0;
	struct stat st;
	off_t size;

	begin("f");
	(void)signal(SIGXFSZ, SIG_IGN);
	CHECK_INT(put(1), ATR_DELIVERY_DONE);
	CHECK_INT(getrlimit(RLIMIT_FSIZE, &was), 0);
	limit = (struct rlimit){ 5 * f->lines.text.len / 2, was.rlim_max };
	CHECK_INT(unlink(path), 0);
	CHECK_INT(setrlimit(RLIMIT_FSIZE, &limit), 0);
	atr_jsonl_reset(&f->lines);
	f->batch = *batch_of(1, 4, 0);
	CHECK(atr_jsonl(&f->lines, &f->batch, 1, SIZE_MAX, &lost)); /* a line for each */
	CHECK_INT(file_step(f, 0, ATR_HASTE_NONE), ATR_DELIVERY_FAILED);
	CHECK_INT(batch_of_one.delivered, 2);
	CHECK_INT(file_done(f), 2);
	CHECK_STR(spans_in(text_of("")), "1 2 ");
	CHECK_INT(count(fake.log, "(error 27)"), 1);
	CHECK_INT(stat(path, &st), 0);
	size = st.st_size;
	for (int i = 0; i < 5; i++)
		CHECK_INT(put(3), ATR_DELIVERY_FAILED);
	CHECK_INT(stat(path, &st), 0);
	CHECK_INT(st.st_size, size);
	CHECK_INT(setrlimit(RLIMIT_FSIZE, &was), 0);
	(void)signal(SIGXFSZ, SIG_DFL);
	CHECK_INT(file_start(f, batch_of(3, 2, 0)), ATR_DELIVERY_DONE);
	CHECK_STR(spans_in(text_of("")), "1 2 3 4 ");
	end();
}

TEST(a_write_that_ended_early_where_there_is_room_by_now_is_made_again)
{
	struct stat st;

	for (int i = 0; i < 2; i++) {
		begin(i ? "d/" : "f");
		CHECK_INT(put(1), ATR_DELIVERY_DONE);
		memcpy(path, f->name, sizeof(path));
		CHECK_INT(atr_sys_write(f->fd, "{\"half", 6), 6);
		CHECK_INT(cut(f, 6), -EAGAIN);
		CHECK_STR(spans_in(text_of("")), "1 ");
		CHECK_INT(cut(f, 0), -EAGAIN); /* it ended where a line did */
		CHECK_INT(stat(path, &st), 0);
		CHECK_INT(st.st_size, strlen(text_of("")));
		CHECK_INT(put(2), ATR_DELIVERY_DONE);
		CHECK_STR(spans_in(text_of("")), "1 2 ");
		end();
	}
}

TEST(a_batch_is_divided_where_a_file_would_be_too_long)
{
	struct stat st;
	char name[300];

	begin("f");
	fake.config.file_max_bytes = 3000;
	fake.config.file_max_files = 30;
	CHECK_INT(file_start(f, batch_of(1, 60, 0)), ATR_DELIVERY_DONE);
	CHECK_INT(batch_of_one.delivered, 60);
	CHECK(strstr(spans_in(text_of("")), " 60 ") != NULL);
	for (unsigned i = 1; i < 10; i++) {
		(void)snprintf(name, sizeof(name), "%s.%u", path, i);
		if (stat(name, &st) == 0)
			CHECK(st.st_size <= 3000 && st.st_size > 1000);
		else
			CHECK(i > 4);
	}
	end();
}

TEST(what_is_glued_to_half_a_line_is_written_again)
{
	const struct stat before = { .st_size = 0 }; /* a kill since then */
	uint64_t lost = 0;

	begin("f");
	CHECK_INT(put(1), ATR_DELIVERY_DONE);
	CHECK_INT(truncate(path, (off_t)f->lines.text.len - 9), 0);
	atr_jsonl_reset(&f->lines);
	f->batch = *batch_of(2, 2, 0);
	CHECK(atr_jsonl(&f->lines, &f->batch, 1, SIZE_MAX, &lost));
	CHECK_INT(append(f, &before, SIZE_MAX), 0);
	CHECK_INT(batch_of_one.delivered, 2);
	CHECK_INT(count(text_of(""), "\n"), 3);
	CHECK(strstr(strstr(text_of(""), "\"span 3\""), "\n{\"resourceSpans\"") != NULL);
	CHECK_INT(count(strchr(text_of(""), '\n'), "\"span 2\""), 1);
	atr_jsonl_reset(&f->lines);
	f->batch = *batch_of(4, 1, 0);
	CHECK(atr_jsonl(&f->lines, &f->batch, 1, SIZE_MAX, &lost));
	CHECK_INT(append(f, &before, SIZE_MAX), 0);
	CHECK_INT(count(text_of(""), "\n"), 4);
	end();
}

TEST(each_process_has_a_name_of_its_own_in_a_directory)
{
	char first[PATH_MAX];
	struct dirent *e;
	unsigned n = 0;
	DIR *d;

	begin("d/");
	CHECK_INT(put(1), ATR_DELIVERY_DONE);
	(void)snprintf(first, sizeof(first), "%s", f->name);
	CHECK(strncmp(first + strlen(path), "shop-", 5) == 0);
	CHECK_STR(first + strlen(first) - 6, ".jsonl");
	file_free(f);
	f = file_new(&fake.host); /* as after a fork */
	CHECK_INT(put(2), ATR_DELIVERY_DONE);
	CHECK(strcmp(first, f->name) != 0);
	d = opendir(path);
	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	(void)closedir(d);
	CHECK_INT(n, 2);
	end();
}

TEST(a_service_is_no_path)
{
	struct atr_resource r = { 0 };
	char name[SERVICE_MAX + 1];
	char longest[200];

	atr_resource_set_str(&r, "service.name", "../../etc/x y\n");
	put_service(name, &r);
	CHECK_STR(name, "_._.._etc_x_y_");
	memset(longest, 'a', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	atr_resource_set_str(&r, "service.name", longest);
	put_service(name, &r);
	CHECK_INT(strlen(name), SERVICE_MAX);
	atr_resource_finish(&r);
	put_service(name, &r);
	CHECK_STR(name, "unknown");
}

TEST(what_is_no_file_is_not_written_to)
{
	begin("p");
	CHECK_INT(mkfifo(path, 0600), 0);
	CHECK_INT(put(1), ATR_DELIVERY_FAILED);
	CHECK(strstr(fake.log, "(error 22)") != NULL);
	CHECK_STR(file_error(f), "it cannot be written: it is no regular file");
	CHECK_INT(put(1), ATR_DELIVERY_FAILED);
	CHECK_INT(count(fake.log, "\n"), 1);
	end();
	begin("no/such/dir");
	CHECK_INT(put(1), ATR_DELIVERY_FAILED);
	CHECK(strstr(fake.log, "(error 2)") != NULL);
	CHECK_STR(file_error(f), "it cannot be written: No such file or directory");
	end();
}
