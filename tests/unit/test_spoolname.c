/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/sys.o preload/target.o */
#include "preload/spoolname.c"

#include <sys/wait.h>

#include "preload/sum.h"
#include "preload/sys.h"
#include "tests/unit/test.h"

TEST(a_name_is_read_as_it_was_written_and_nothing_else_is)
{
	static const struct atr_spool_name names[] = {
		{ 0, 1, 0, 0, 0, 0 },
		{ 4026531836, 4194304, UINT64_MAX, UINT32_MAX, 1, UINT64_MAX },
		{ 1, 2, 3, 4, 5, 6 },
	};
	static const char *const bad[] = { "",
					   "-",
					   "1-2-3-4-5",
					   "1-2-3-4-5-6-7",
					   "1-2-3-4-5-6 ",
					   "01-2-3-4-5-6",
					   "1-2-3-4-5-",
					   "1--3-4-5-6",
					   "A-2-3-4-5-6",
					   "1-2-3-100000000-5-6",
					   "1-2-3-4-5-10000000000000000",
					   "../etc/passwd",
					   "1-2-3-4-5-6/x" };
	struct atr_spool_name n;
	char text[ATR_SPOOL_NAME_MAX];

	for (size_t i = 0; i < ATR_ARRAY_LEN(names); i++) {
		atr_spool_name_text(text, &names[i]);
		CHECK(atr_spool_name_parse(text, &n));
		CHECK(n.ns == names[i].ns && n.pid == names[i].pid && n.start == names[i].start &&
		      n.image == names[i].image && n.destination == names[i].destination &&
		      n.nonce == names[i].nonce);
	}
	for (size_t i = 0; i < ATR_ARRAY_LEN(bad); i++)
		if (!CHECK(!atr_spool_name_parse(bad[i], &n)))
			printf("  %s\n", bad[i]);
}

static size_t stat_of(int pid, char text[static 1024])
{
	char path[32];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	n = atr_sys_read_file(path, text, 1024);
	return n > 0 ? (size_t)n : 0;
}

TEST(a_process_knows_itself_and_not_another)
{
	char text[1024];
	size_t len = stat_of(getpid(), text);
	struct atr_spool_stat st;
	struct atr_spool_name who;

	CHECK(atr_spool_stat_parse(text, len, &st));
	CHECK_INT(st.pid, getpid());
	CHECK(st.start && st.image && st.n_threads == 1 && st.state == 'R');
	who = (struct atr_spool_name){ .pid = st.pid, .start = st.start, .image = st.image };
	CHECK(atr_spool_alive(&who, text, len));
	who.start++;
	CHECK(!atr_spool_alive(&who, text, len));
	who.start = 0; /* not known */
	CHECK(atr_spool_alive(&who, text, len));
	who.image ^= 4; /* another program runs in it */
	CHECK(!atr_spool_alive(&who, text, len));
	for (size_t n = 0; n < len; n++) {
		char *edge = test_edge(text, n);

		(void)atr_spool_stat_parse(edge, n, &st);
		test_edge_free(edge, n);
	}
	CHECK(atr_spool_alive(&who, "", 0));
}

TEST(one_that_nobody_has_waited_for_is_dead)
{
	char text[1024];
	struct atr_spool_name who = { 0 };
	struct atr_spool_stat st = { 0 };
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	for (int i = 0; i < 2000 && st.state != 'Z'; i++) {
		usleep(1000);
		CHECK(atr_spool_stat_parse(text, stat_of(pid, text), &st));
	}
	CHECK_INT(st.state, 'Z');
	who.start = st.start;
	/* A sanitizer's thread in it may be slower to go than its first one. */
	for (int i = 0; i < 2000 && atr_spool_alive(&who, text, stat_of(pid, text)); i++)
		usleep(1000);
	CHECK(!atr_spool_alive(&who, text, stat_of(pid, text)));
	(void)waitpid(pid, NULL, 0);
}

TEST(a_sum_notices_every_bit_and_every_swap)
{
	uint64_t w[53];
	uint32_t was;
	bool good = true;

	for (size_t i = 0; i < ATR_ARRAY_LEN(w); i++)
		w[i] = i * 0x123456789abcdefull;
	was = atr_sum(w, sizeof(w));
	for (size_t bit = 0; bit < sizeof(w) * 8; bit++) {
		w[bit / 64] ^= 1ull << bit % 64;
		good &= atr_sum(w, sizeof(w)) != was;
		w[bit / 64] ^= 1ull << bit % 64;
	}
	for (size_t i = 1; i < ATR_ARRAY_LEN(w); i++) {
		uint64_t tmp = w[i];

		w[i] = w[i - 1];
		w[i - 1] = tmp;
		good &= atr_sum(w, sizeof(w)) != was;
		w[i - 1] = w[i];
		w[i] = tmp;
	}
	for (size_t n = 0; n < sizeof(w); n += 8)
		good &= atr_sum(w, n) != was;
	CHECK(good);
	CHECK_INT(atr_sum(w, sizeof(w)), was);
}
