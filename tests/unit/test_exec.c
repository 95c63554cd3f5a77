/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/traceparent.o */
/* LINK: preload/peek.o preload/sys.o preload/life.o preload/text.o preload/clock.o */
/* LINK: preload/context.o preload/carrier.o preload/pool.o */
#include "hooks/exec.c"
#include "hooks/handover.c"
#include "tests/unit/test.h"

#include "preload/stats.h"

/* The process around it: a thread with or without a context, and calls that only look. */
__thread struct atr_tls atr_tls;
struct atr_stats atr_stats;
struct atr_real atr_real;
struct atr_propagators atr_propagators;
bool atr_sampler_passive;

static struct atr_gate open_gate = { 1 };
struct atr_gate *atr_gate = &open_gate;
static bool foreign;
static unsigned flushed;

bool atr_gate_closed(void)
{
	return false;
}

bool atr_thread_inside(const void *frame)
{
	(void)frame;
	return atr_tls.inside != 0;
}

bool atr_process_foreign(void)
{
	return foreign;
}

void atr_worker_flush(void)
{
	flushed++;
	errno = EIO; /* must not be seen */
}

void atr_real_init(void)
{
}

static struct atr_thread self;

struct atr_thread *atr_thread_self(void)
{
	return &self;
}

/* ---- what reaches the kernel ---- */

static struct {
	unsigned calls;
	const char *name;
	char *const *envp; /* of the last call; NULL: not given one */
	char *const *argv;
	unsigned too_big; /* calls that are refused */
	unsigned parents; /* AUTOTRACE_PARENT, not in the text */
	char parent[64];
	char text[4 * 65536]; /* its environment, an entry per line, if it was not the program's */
} seen;

static char **program_env;

static int answer(const char *name, char *const argv[], char *const envp[])
{
	char *p = seen.text;

	seen.calls++;
	seen.name = name;
	seen.envp = envp;
	seen.argv = argv;
	*p = '\0';
	seen.parents = 0;
	for (; envp && envp != program_env && *envp; envp++) {
		if (strncmp(*envp, PARENT, sizeof(PARENT) - 1) != 0) {
			p += sprintf(p, "%s\n", *envp);
			continue;
		}
		seen.parents++;
		snprintf(seen.parent, sizeof(seen.parent), "%s", *envp + sizeof(PARENT) - 1);
	}
	if (seen.too_big) {
		seen.too_big--;
		return E2BIG;
	}
	return EACCES;
}

static int fails(int error)
{
	errno = error;
	return -1;
}

static int fake_execve(const char *path, char *const argv[], char *const envp[])
{
	(void)path;
	return fails(answer("execve", argv, envp));
}

static int fake_execvpe(const char *file, char *const argv[], char *const envp[])
{
	(void)file;
	return fails(answer("execvpe", argv, envp));
}

static int fake_execv(const char *path, char *const argv[])
{
	(void)path;
	return fails(answer("execv", argv, NULL));
}

static int fake_execvp(const char *file, char *const argv[])
{
	(void)file;
	return fails(answer("execvp", argv, NULL));
}

static int fake_fexecve(int fd, char *const argv[], char *const envp[])
{
	(void)fd;
	return fails(answer("fexecve", argv, envp));
}

static int fake_execveat(int fd, const char *path, char *const argv[], char *const envp[],
			 int flags)
{
	CHECK_INT(fd, 7);
	CHECK_INT(flags, 9);
	CHECK_STR(path, "p");
	return fails(answer("execveat", argv, envp));
}

static int fake_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
			    const posix_spawnattr_t *attributes, char *const argv[],
			    char *const envp[])
{
	CHECK(pid == (pid_t *)16 && actions == (void *)32 && attributes == (void *)48);
	CHECK_STR(path, "p");
	return answer("posix_spawn", argv, envp);
}

static int fake_posix_spawnp(pid_t *pid, const char *file,
			     const posix_spawn_file_actions_t *actions,
			     const posix_spawnattr_t *attributes, char *const argv[],
			     char *const envp[])
{
	CHECK(pid == (pid_t *)16 && actions == (void *)32 && attributes == (void *)48);
	CHECK_STR(file, "p");
	return answer("posix_spawnp", argv, envp);
}

#define IDS "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
#define OURS "TRACEPARENT=00-" IDS "-01\n"
#define THEIRS "00-11111111111111111111111111111111-2222222222222222-01"
#define OTHERS "00-33333333333333333333333333333333-4444444444444444-01"

static struct atr_cell cell;

/* A thread that serves a request, in a process without a TRACEPARENT of its own. */
static void begin(void)
{
	struct atr_context *c = &atr_tls.context;

	atr_real = (struct atr_real){
		.execve = fake_execve,
		.execvpe = fake_execvpe,
		.execv = fake_execv,
		.execvp = fake_execvp,
		.fexecve = fake_fexecve,
		.execveat = fake_execveat,
		.posix_spawn = fake_posix_spawn,
		.posix_spawnp = fake_posix_spawnp,
	};
	memset(&seen, 0, sizeof(seen));
	self.scratch_of = 0;
	memset(&inherited, 0, sizeof(inherited));
	memset(&atr_context_at_fork, 0, sizeof(atr_context_at_fork));
	memset(&atr_tls, 0, sizeof(atr_tls));
	CHECK(atr_traceparent_parse(c, ATR_SLICE("00-" IDS "-01")));
	c->remote = false;
	cell.life = NULL;
	cell.life_claim = 0;
	c->open = &cell;
	c->gen = cell.gen;
	atr_propagators.mask = ATR_PROPAGATE_TRACECONTEXT | ATR_PROPAGATE_BAGGAGE;
	open_gate.live = 1;
	atr_sampler_passive = foreign = false;
	flushed = 0;
}

static void give_carrier(const char *tracestate, const char *baggage)
{
	struct atr_carrier *c =
		atr_carrier_new((struct atr_slice){ tracestate, strlen(tracestate) },
				(struct atr_slice){ baggage, strlen(baggage) });

	atr_tls.context.carrier = c;
	atr_tls.context.carrier_gen = c->gen;
}

static void take_carrier(void)
{
	CHECK_INT(atr_tls.context.carrier->refs, 1); /* the call kept none */
	atr_carrier_release(atr_tls.context.carrier);
}

static char *arguments[] = { (char[]){ "a" }, NULL };

/* execve() with this array: what the kernel is given; "same" for the very array. */
static const char *given(char **env)
{
	program_env = env;
	CHECK_INT(execve("p", arguments, env), -1);
	CHECK_INT(errno, EACCES);
	CHECK(seen.argv == arguments);
	return seen.envp == env ? "same" : seen.text;
}

#define GIVEN(...) given((char *[]){ __VA_ARGS__, NULL })
#define E(literal) ((char[]){ literal })

/* ---- what is handed on ---- */

TEST(a_context_goes_behind_the_programs_own_entries)
{
	begin();
	CHECK_STR(GIVEN(E("A=1"), E("B=2"), E("TRACE=3")), "A=1\nB=2\nTRACE=3\n" OURS);
	CHECK_STR(GIVEN(NULL), OURS);
	CHECK_STR(GIVEN(E(""), E("TRACEPARENT"), E("TRACEPARENTS=x"), E("XTRACEPARENT=y"),
			E("traceparent=z")),
		  "\nTRACEPARENT\nTRACEPARENTS=x\nXTRACEPARENT=y\ntraceparent=z\n" OURS);
	CHECK_INT(seen.calls, 3);
	CHECK_INT(flushed, 3);
}

TEST(the_flags_are_those_of_the_context)
{
	begin();
	atr_tls.context.flags = 0;
	CHECK_STR(GIVEN(NULL), "TRACEPARENT=00-" IDS "-00\n");
	atr_tls.context.flags = ATR_FLAG_SAMPLED | ATR_FLAG_RANDOM;
	CHECK_STR(GIVEN(NULL), "TRACEPARENT=00-" IDS "-03\n");
	atr_tls.context.flags = 0xfd;
	CHECK_STR(GIVEN(NULL), OURS);
}

TEST(without_a_context_the_array_is_the_programs)
{
	begin();
	atr_tls.context.valid = false;
	CHECK_STR(GIVEN(E("A=1")), "same");
	atr_tls.context.valid = true;
	cell.gen++; /* the span has ended */
	CHECK_STR(GIVEN(E("A=1")), "same");
	begin();
	open_gate.live = 0;
	CHECK_STR(GIVEN(E("A=1")), "same");
	CHECK_INT(flushed, 0);
	begin();
	atr_tls.inside = ATR_IN_BACKGROUND;
	CHECK_STR(GIVEN(E("A=1")), "same");
	begin();
	atr_sampler_passive = true;
	CHECK_STR(GIVEN(E("A=1")), "same");
	begin();
	atr_propagators.mask = ATR_PROPAGATE_BAGGAGE | ATR_PROPAGATE_B3;
	CHECK_STR(GIVEN(E("A=1")), "same");
	CHECK_INT(flushed, 1);
}

TEST(a_vfork_child_hands_on_but_does_not_flush)
{
	begin();
	foreign = true;
	CHECK_STR(GIVEN(E("A=1")), "A=1\n" OURS);
	CHECK_INT(flushed, 0);
}

/* What happens in a child is tried here, for it is this process's memory that must be right. */
TEST(a_forked_child_that_has_closed_the_connection_is_still_under_its_request)
{
	begin();
	give_carrier("k=v", "");
	forking();
	forked();
	CHECK_INT(atr_tls.context.carrier->refs, 2);
	cell.gen++; /* by closing it */
	atr_carrier_release(atr_tls.context.carrier);
	CHECK_STR(GIVEN(NULL), OURS "TRACESTATE=k=v\n");
	forking();
	forked(); /* it has a child of its own */
	CHECK_STR(GIVEN(NULL), OURS "TRACESTATE=k=v\n");
	atr_tls.context.valid = false; /* it waits for something else */
	CHECK_STR(GIVEN(NULL), "same");
	atr_tls.context.valid = true;
	atr_tls.context.span_id[0]++; /* it has come to something else, which has ended */
	CHECK_STR(GIVEN(NULL), "same");
	atr_tls.context.gen = cell.gen; /* which has not */
	CHECK(strcmp(GIVEN(NULL), "same") != 0 && !strstr(seen.text, OURS));
	forking();
	forked();
	cell.gen++;
	CHECK(strcmp(GIVEN(NULL), "same") != 0 && !strstr(seen.text, OURS));
}

TEST(a_child_forked_after_the_end_of_a_request_is_not_under_it)
{
	begin();
	cell.gen++;
	forking();
	forked();
	CHECK_STR(GIVEN(NULL), "same");
	begin();
	forking();
	forked();
	cell.gen++;
	open_gate.live = 0;
	forking();
	forked();
	open_gate.live = 1;
	CHECK_STR(GIVEN(NULL), "same");
}

/* ---- what is there already ---- */

TEST(the_traceparent_the_process_was_started_with_is_replaced_in_its_place)
{
	begin();
	inherited.traceparent = hash_of(THEIRS);
	CHECK_STR(GIVEN(E("A=1"), E("TRACEPARENT=" THEIRS), E("B=2")), "A=1\n" OURS "B=2\n");
	CHECK_STR(GIVEN(E("TRACEPARENT=" THEIRS), E("A=1"), E("TRACEPARENT=" THEIRS), E("B=2")),
		  OURS "A=1\nB=2\n");
	inherited.traceparent = hash_of("");
	CHECK_STR(GIVEN(E("TRACEPARENT=")), OURS);
	inherited.traceparent = hash_of("nonsense");
	CHECK_STR(GIVEN(E("TRACEPARENT=nonsense")), OURS);
}

TEST(a_traceparent_of_the_programs_own_stays_and_so_does_all_else)
{
	begin();
	give_carrier("k=v", "b=1");
	CHECK_STR(GIVEN(E("TRACEPARENT=" THEIRS), E("TRACESTATE=x=y")), "same");
	CHECK_STR(GIVEN(E("TRACEPARENT=")), "same");
	inherited.traceparent = hash_of(OTHERS);
	CHECK_STR(GIVEN(E("TRACEPARENT=" THEIRS)), "same");
	CHECK_STR(GIVEN(E("TRACEPARENT=" OTHERS "x")), "same");
	CHECK_STR(GIVEN(E("TRACEPARENT=" OTHERS), E("TRACEPARENT=" THEIRS)), "same");
	CHECK_STR(GIVEN(E("TRACEPARENT=" THEIRS), E("TRACEPARENT=" OTHERS)), "same");
	CHECK_STR(GIVEN(E("TRACEPARENT=" OTHERS)), OURS "TRACESTATE=k=v\nBAGGAGE=b=1\n");
	take_carrier();
}

TEST(a_value_that_is_too_long_to_know_is_the_programs_own)
{
	static char entry[12 + VALUE_MAX + 2] = "TRACEPARENT=";

	begin();
	memset(entry + 12, 'x', VALUE_MAX + 1);
	CHECK_STR(GIVEN(entry), "same");
	entry[12 + VALUE_MAX] = '\0';
	inherited.traceparent = hash_of(entry + 12);
	CHECK_STR(GIVEN(entry), OURS);
}

TEST(the_tracestate_of_another_trace_goes)
{
	begin();
	CHECK_STR(GIVEN(E("A=1"), E("TRACESTATE=x=y"), E("B=2"), E("TRACESTATE=z=z")),
		  "A=1\nB=2\n" OURS);
	give_carrier("k=v", "");
	CHECK_STR(GIVEN(E("A=1"), E("TRACESTATE=x=y"), E("B=2"), E("TRACESTATE=z=z")),
		  "A=1\nTRACESTATE=k=v\nB=2\n" OURS);
	CHECK_STR(GIVEN(NULL), OURS "TRACESTATE=k=v\n");
	take_carrier();
}

TEST(a_carrier_that_has_become_anothers_is_not_read)
{
	begin();
	give_carrier("k=v", "b=1");
	atr_tls.context.carrier_gen++;
	CHECK_STR(GIVEN(NULL), OURS);
	take_carrier();
}

TEST(baggage_goes_with_its_trace)
{
	begin();
	/* The program's own stays; so does one that came with no trace, until there is another. */
	CHECK_STR(GIVEN(E("BAGGAGE=own")), "BAGGAGE=own\n" OURS);
	inherited.baggage = hash_of("old");
	CHECK_STR(GIVEN(E("BAGGAGE=old")), "BAGGAGE=old\n" OURS);
	inherited.traceparent = hash_of(THEIRS);
	CHECK_STR(GIVEN(E("BAGGAGE=old"), E("A=1"), E("TRACEPARENT=" THEIRS)), "A=1\n" OURS);
	give_carrier("", "b=1");
	CHECK_STR(GIVEN(E("BAGGAGE=old"), E("A=1"), E("BAGGAGE=old")), "BAGGAGE=b=1\nA=1\n" OURS);
	CHECK_STR(GIVEN(E("BAGGAGE=own")), "BAGGAGE=own\n" OURS);
	CHECK_STR(GIVEN(E("BAGGAGE=old"), E("BAGGAGE=own")), "BAGGAGE=old\nBAGGAGE=own\n" OURS);
	atr_propagators.mask = ATR_PROPAGATE_TRACECONTEXT;
	CHECK_STR(GIVEN(E("BAGGAGE=old")), "BAGGAGE=old\n" OURS);
	CHECK_STR(GIVEN(NULL), OURS);
	take_carrier();
}

TEST(the_longest_tracestate_and_baggage_have_room)
{
	static char state[ATR_TRACESTATE_MAX + 1], baggage[ATR_BAGGAGE_MAX + 1];
	static char want[65536];

	begin();
	memset(state, 's', sizeof(state) - 1);
	memset(baggage, 'b', sizeof(baggage) - 1);
	give_carrier(state, baggage);
	(void)sprintf(want, OURS "TRACESTATE=%s\nBAGGAGE=%s\n", state, baggage);
	CHECK_STR(GIVEN(NULL), want);
	take_carrier();
}

TEST(the_values_of_the_start_are_remembered_after_they_are_written_over)
{
	char own[] = "TRACEPARENT=" THEIRS;

	begin();
	setenv("TRACEPARENT", THEIRS, 1);
	setenv("BAGGAGE", "b=2", 1);
	remember();
	unsetenv("TRACEPARENT");
	unsetenv("BAGGAGE");
	CHECK_STR(GIVEN(own, E("BAGGAGE=b=2")), OURS);
	remember();
	CHECK_INT(inherited.traceparent, 0);
	CHECK_INT(inherited.baggage, 0);
	CHECK_STR(GIVEN(own), "same");
}

/* ---- memory ---- */

TEST(what_cannot_be_read_is_the_kernels_to_refuse)
{
	char *bad = test_edge(NULL, 0);
	char **ends = test_edge((char *[]){ E("A=1"), E("B=2") }, 2 * sizeof(char *));

	begin();
	CHECK_STR(given((char **)16), "same");
	CHECK_STR(given((char **)(uintptr_t)-16), "same");
	CHECK_STR(given((char **)bad), "same");
	CHECK_STR(given(ends), "same"); /* no NULL before the end */
	CHECK_STR(GIVEN(E("A=1"), bad), "same");
	CHECK_STR(GIVEN(E("A=1"), (char *)16, E("B=1")), "same");
	program_env = NULL;
	CHECK_INT(execve("p", arguments, NULL), -1);
	CHECK(!seen.envp); /* Linux takes that for an empty one */
	test_edge_free(ends, 2 * sizeof(char *));
	test_edge_free(bad, 0);
}

TEST(strings_and_arrays_end_where_they_end)
{
	static const char *const strings[] = { "X",
					       "",
					       "T",
					       "TRACEPARENT",
					       ("TRACEPARENT=" THEIRS),
					       "TRACESTATE",
					       "TRACESTATE=",
					       "BAGGAGE",
					       "BAGGAGE=old" };

	for (size_t i = 0; i < ATR_ARRAY_LEN(strings); i++) {
		size_t n = strlen(strings[i]);
		char *whole = test_edge(strings[i], n + 1), *cut = test_edge(strings[i], n);
		char **array = test_edge((char *[]){ E("A=1"), whole, NULL }, 3 * sizeof(char *));

		begin();
		inherited.traceparent = hash_of(THEIRS);
		inherited.baggage = hash_of("old");
		CHECK(strstr(given(array), OURS) != NULL);
		array[1] = cut; /* without its NUL */
		if (i > 0)	/* else nobody reads so far, but our kernel here would */
			CHECK_STR(given(array), "same");
		test_edge_free(array, 3 * sizeof(char *));
		test_edge_free(cut, n);
		test_edge_free(whole, n + 1);
	}
}

TEST(an_array_that_is_not_aligned_is_read_across_pages)
{
	char *cut = test_edge("1234567", 7); /* the half of an entry */
	char *entries[] = { E("A=1"), E("B=2"), NULL };
	char *edge = test_edge(NULL, 2 * PAGE);

	begin();
	memcpy(edge + PAGE - sizeof(char *) - 3, entries, sizeof(entries));
	CHECK_STR(given((char **)(edge + PAGE - sizeof(char *) - 3)), "A=1\nB=2\n" OURS);
	CHECK_STR(given((char **)cut), "same");
	test_edge_free(cut, 7);
	test_edge_free(edge, 2 * PAGE);
}

TEST(a_string_is_read_across_pages_wherever_they_meet)
{
	static const char entry[] = "TRACEPARENT=" THEIRS;
	char *edge = test_edge(NULL, 2 * PAGE);

	for (size_t before = 0; before <= sizeof(entry); before++) {
		char *p = edge + PAGE - before;

		memcpy(p, entry, sizeof(entry));
		begin();
		inherited.traceparent = hash_of(THEIRS);
		CHECK_STR(GIVEN(p, E("A=1")), OURS "A=1\n");
		inherited.traceparent = 0;
		CHECK_STR(GIVEN(p, E("A=1")), "same");
	}
	test_edge_free(edge, 2 * PAGE);
}

TEST(an_environment_beyond_the_limit_goes_as_it_is)
{
	static char *many[ENTRIES_MAX + 2];

	begin();
	for (size_t i = 0; i < ENTRIES_MAX; i++)
		many[i] = arguments[0];
	CHECK_INT(strlen(given(many)), 2 * ENTRIES_MAX + strlen(OURS));
	many[ENTRIES_MAX] = arguments[0];
	CHECK_STR(given(many), "same");
}

TEST(what_became_too_big_by_us_is_tried_without)
{
	begin();
	seen.too_big = 1;
	CHECK_STR(GIVEN(E("A=1")), "same");
	CHECK_INT(seen.calls, 2);
	seen.too_big = 2;
	program_env = (char *[]){ E("A=1"), NULL };
	CHECK_INT(execve("p", arguments, program_env), -1);
	CHECK_INT(errno, E2BIG);
	CHECK(seen.envp == program_env);
	seen.too_big = 1;
	CHECK_INT(execv("p", arguments), -1);
	CHECK_STR(seen.name, "execv");
}

/* Its file actions may not work a second time. */
TEST(a_spawn_is_tried_once_with_what_certainly_fits)
{
	static char large[SIZE_ALWAYS];
	char *volatile bad = (char *)24, *nowhere = bad;
	char *env[] = { large, NULL };

	begin();
	program_env = env;
	memset(large, 'x', sizeof(large) - 1);
	seen.too_big = 1;
	CHECK_INT(posix_spawn((pid_t *)16, "p", (void *)32, (void *)48, arguments, env), E2BIG);
	CHECK_INT(seen.calls, 1);
	CHECK(seen.envp == env);
	large[sizeof(large) - 300] = '\0';
	CHECK_INT(posix_spawn((pid_t *)16, "p", (void *)32, (void *)48, arguments, env), EACCES);
	CHECK(seen.envp != env);
	env[0] = nowhere;
	CHECK_INT(posix_spawn((pid_t *)16, "p", (void *)32, (void *)48, arguments, env), EACCES);
	CHECK(seen.envp == env);
	CHECK_INT(posix_spawn((pid_t *)16, "p", (void *)32, (void *)48, (char **)(void *)nowhere,
			      env),
		  EACCES);
	CHECK(seen.envp == env);
}

TEST(in_the_middle_of_an_exec_a_signal_handlers_is_left_alone)
{
	begin();
	CHECK(strcmp(GIVEN(E("A=1")), "same") != 0);
	CHECK_INT(self.scratch_of, 0);
	self.scratch_of = (uint32_t)getpid();
	CHECK_STR(GIVEN(E("A=1")), "same");
	self.scratch_of++; /* a vfork child's, that has become another program */
	CHECK(strcmp(GIVEN(E("A=1")), "same") != 0);
}

/* ---- the end of the request ---- */

TEST(the_new_program_learns_when_the_request_is_over)
{
	struct atr_cell there = { .gen = 0 };
	struct atr_context c = { .valid = true, .open = &there };

	begin();
	CHECK_STR(GIVEN(E("AUTOTRACE_PARENT=old")), OURS);
	CHECK_INT(seen.parents, 1);
	CHECK(strncmp(seen.parent, "b7ad6b7169203331-", 17) == 0);
	CHECK(atr_life_attach(&there,
			      (struct atr_slice){ seen.parent + 17, strlen(seen.parent + 17) }));
	CHECK(atr_context_usable(&c));
	atr_life_end(&cell, false); /* in a forked child, which leaves it open */
	CHECK(atr_context_usable(&c));
	begin();
	CHECK_STR(GIVEN(NULL), OURS);
	CHECK(atr_life_attach(&there,
			      (struct atr_slice){ seen.parent + 17, strlen(seen.parent + 17) }));
	CHECK(atr_context_usable(&c));
	atr_life_end(&cell, true);
	CHECK(!atr_context_usable(&c));
	CHECK_STR(GIVEN(NULL), "same");
}

/* ---- every function ---- */

TEST(functions_without_an_environment_become_their_twins_only_with_a_context)
{
	char **before = environ;

	environ = (char *[]){ E("P=1"), NULL };
	for (int with = 0; with < 2; with++) {
		begin();
		atr_tls.context.valid = with;
		CHECK_INT(execv("p", arguments), -1);
		CHECK_STR(seen.name, with ? "execve" : "execv");
		CHECK_STR(seen.text, with ? "P=1\n" OURS : "");
		CHECK_INT(execvp("p", arguments), -1);
		CHECK_STR(seen.name, with ? "execvpe" : "execvp");
		CHECK_STR(seen.text, with ? "P=1\n" OURS : "");
		CHECK_INT(execl("p", "a", "b", NULL), -1);
		CHECK_STR(seen.name, with ? "execve" : "execv");
		CHECK_STR(seen.text, with ? "P=1\n" OURS : "");
		CHECK_STR(seen.argv[0], "a");
		CHECK_STR(seen.argv[1], "b");
		CHECK(!seen.argv[2]);
		CHECK_INT(execlp("p", "c", NULL), -1);
		CHECK_STR(seen.name, with ? "execvpe" : "execvp");
		CHECK_STR(seen.argv[0], "c");
		CHECK(!seen.argv[1]);
	}
	environ = NULL;
	CHECK_INT(execv("p", arguments), -1);
	CHECK_STR(seen.name, "execv");
	environ = before;
}

TEST(functions_with_an_environment_stay_what_they_are)
{
	static char entry[] = "A=1";
	static char *env[] = { entry, NULL };

	program_env = env;
	for (int with = 0; with < 2; with++) {
		begin();
		atr_tls.context.valid = with;
#define SAME_CALL(function, ret, ...)                           \
	do {                                                    \
		errno = 0;                                      \
		CHECK_INT(function(__VA_ARGS__), ret);          \
		CHECK_INT(errno, (ret) == -1 ? EACCES : 0);     \
		CHECK_STR(seen.name, #function);                \
		CHECK_STR(seen.text, with ? "A=1\n" OURS : ""); \
		CHECK(with || seen.envp == env);                \
		CHECK(seen.argv == arguments);                  \
	} while (0)
		SAME_CALL(execve, -1, "p", arguments, env);
		SAME_CALL(execvpe, -1, "p", arguments, env);
		SAME_CALL(fexecve, -1, 7, arguments, env);
		SAME_CALL(execveat, -1, 7, "p", arguments, env, 9);
		SAME_CALL(posix_spawn, EACCES, (pid_t *)16, "p", (void *)32, (void *)48, arguments,
			  env);
		SAME_CALL(posix_spawnp, EACCES, (pid_t *)16, "p", (void *)32, (void *)48, arguments,
			  env);
		CHECK_INT(execle("p", "x", NULL, env), -1);
		CHECK_STR(seen.name, "execve");
		CHECK_STR(seen.text, with ? "A=1\n" OURS : "");
		CHECK_STR(seen.argv[0], "x");
	}
}

TEST(to_spawn_is_to_do_something_about_the_request)
{
	for (int with = 0; with < 2; with++) {
		begin();
		atr_tls.thread = &self;
		atr_tls.round.untouched = true;
		atr_tls.context.valid = with;
		(void)posix_spawn((pid_t *)16, "p", (void *)32, (void *)48, arguments, NULL);
		CHECK_INT(atr_tls.round.untouched, !with);
		CHECK_INT(flushed, 0);
	}
	begin();
	atr_tls.thread = &self;
	atr_tls.round.untouched = foreign = true;
	(void)posix_spawn((pid_t *)16, "p", (void *)32, (void *)48, arguments, NULL);
	CHECK(atr_tls.round.untouched); /* the parent's */
}
