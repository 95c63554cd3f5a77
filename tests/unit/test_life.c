/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/sys.o preload/text.o */
#include "preload/life.c"
#include "tests/unit/test.h"

#include <sys/wait.h>

static struct atr_cell a, b;
static struct atr_context of_a = { .valid = true, .open = &a },
			  of_b = { .valid = true, .open = &b };

static void fresh(void)
{
	a = b = (struct atr_cell){ .gen = 7 };
	of_a.gen = of_b.gen = 7;
}

static struct atr_slice text_of(const struct atr_cell *cell)
{
	static char text[ATR_LIFE_TEXT_MAX];

	return (struct atr_slice){ text, atr_life_text(cell, text) };
}

/* What a child process finds after the parent has done something. */
static bool usable_in_child(void (*parent_does)(void))
{
	int go[2], status = 0;
	char byte;
	pid_t pid;

	CHECK(!pipe(go));
	pid = fork();
	if (pid == 0) {
		if (read(go[0], &byte, 1) != 1)
			_exit(2);
		_exit(atr_context_usable(&of_a));
	}
	parent_does();
	CHECK(write(go[1], "", 1) == 1 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	CHECK(!close(go[0]) && !close(go[1]));
	return WEXITSTATUS(status) == 1;
}

static void ends_it(void)
{
	atr_life_end(&a, true);
}

static void goes_on(void)
{
}

TEST(a_forked_child_sees_the_end)
{
	fresh();
	CHECK(atr_life_begin(&a));
	CHECK(usable_in_child(goes_on));
	CHECK(!usable_in_child(ends_it));
	CHECK(!atr_context_usable(&of_a));
}

TEST(what_a_child_closes_for_itself_goes_on_in_its_parent)
{
	int status;
	pid_t pid;

	fresh();
	CHECK(atr_life_begin(&a));
	pid = fork();
	if (pid == 0) {
		atr_life_end(&a, false);
		_exit(atr_context_usable(&of_a));
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(atr_context_usable(&of_a));
	pid = fork();
	if (pid == 0) {
		atr_life_end(&a, true); /* it has answered */
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(!atr_context_usable(&of_a));
}

TEST(each_has_a_word_of_its_own_and_one_only)
{
	uint32_t *word;

	fresh();
	CHECK(atr_life_begin(&a) && atr_life_begin(&b));
	word = a.life;
	CHECK(a.life != b.life);
	CHECK(atr_life_begin(&a) && a.life == word);
	atr_life_end(&a, true);
	CHECK(!atr_context_usable(&of_a) && atr_context_usable(&of_b));
	CHECK(!a.life && !a.life_claim);
}

TEST(a_word_that_is_given_out_again_ends_the_one_before)
{
	struct atr_cell many[LIFE_WORDS] = { 0 };

	fresh();
	CHECK(atr_life_begin(&a));
	for (unsigned i = 0; i < LIFE_WORDS - FIRST - 1; i++)
		CHECK(atr_life_begin(&many[i]) && many[i].life != a.life);
	CHECK(atr_context_usable(&of_a));
	CHECK(atr_life_begin(&many[LIFE_WORDS - 1]) && many[LIFE_WORDS - 1].life == a.life);
	CHECK(!atr_context_usable(&of_a));
}

TEST(a_program_that_was_started_attaches_it_by_its_text)
{
	fresh();
	CHECK(atr_life_begin(&a));
	CHECK(atr_life_attach(&b, text_of(&a)));
	CHECK(b.life != a.life && b.life_gen == a.life_gen);
	CHECK(atr_context_usable(&of_b));
	atr_life_end(&a, true);
	CHECK(!atr_context_usable(&of_b));
}

/* What it attached is no word of its own, and is not handed on. */
TEST(a_program_that_was_started_gives_its_parents_word_to_nobody)
{
	uint32_t *own;

	fresh();
	CHECK(atr_life_begin(&a));
	CHECK(atr_life_attach(&b, text_of(&a)));
	CHECK(!atr_life_begin(&b));
	own = segment;
	segment = NULL; /* it has none yet */
	CHECK(!atr_life_begin(&b));
	segment = own;
	CHECK(atr_context_usable(&of_b));
}

TEST(a_segment_that_is_gone_is_a_request_that_is_over)
{
	fresh();
	CHECK(atr_life_attach(&b, ATR_SLICE("2147483647-77-1")));
	CHECK(!atr_context_usable(&of_b));
}

TEST(what_is_no_such_text_is_refused)
{
	static const char *const texts[] = {
		"",	    "1",      "1-2",	 "1-2-",	   "-2-3",
		"1--3",	    "1-2-3-", "1-2-3-4", "x-2-3",	   "1-1-3",
		"1-4096-3", "1-2-0",  "1-2-3 ",	 "4294967296-2-3", "1-2-99999999999",
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(texts); i++)
		CHECK(!atr_life_attach(&b, (struct atr_slice){ texts[i], strlen(texts[i]) }));
}

/* Not even for an instant is there one that would have to be removed. */
TEST(nothing_is_left_when_the_last_process_has_gone)
{
	int id, status, fd[2];
	pid_t pid;

	CHECK(!pipe(fd));
	pid = fork();
	if (pid == 0) {
		segment = NULL;
		fresh();
		if (!atr_life_begin(&a))
			_exit(1);
		id = (int)segment[NUMBER];
		_exit(write(fd[1], &id, sizeof(id)) != sizeof(id));
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(read(fd[0], &id, sizeof(id)) == sizeof(id));
	CHECK(shmat(id, NULL, SHM_RDONLY) == (void *)-1);
}
