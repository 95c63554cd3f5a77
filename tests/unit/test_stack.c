/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/cfi.o preload/sys.o preload/peek.o preload/object.o */
/* LINK: -lunwind -ldl -lpthread */
#include "preload/stack.c"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>
#include <ucontext.h>

/* Who else can walk: libunwind; libgcc where that is not built for the machine (qemu). */
#if defined(__x86_64__)
#define UNW_LOCAL_ONLY
#include <libunwind.h>
#else
#include <execinfo.h>
#define unw_backtrace backtrace
#endif

#include "tests/unit/test.h"

__thread struct atr_tls atr_tls;
struct atr_process atr_process;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* All is in one object here, ours: for these tests it is the program's. */
static void init(void)
{
	struct atr_mapping map;
	union {
		const struct atr_object *read;
		struct atr_object *write;
	} o;

	atr_process.pid = getpid();
	atr_stack_init();
	CHECK(atr_object_map((uintptr_t)init, &map));
	o.read = atr_object(atr_object_index(&map));
	o.write->class = ATR_OBJECT_PROGRAM;
	memset(entries, 0, sizeof(entries));
}

/* The table's answer is that of the first walk, and both are libunwind's. */
struct stacks {
	void *theirs[64];
	int n_theirs;
	uint64_t cold[ATR_STACK_MAX], warm[ATR_STACK_MAX];
	unsigned n_cold, n_warm;
};

static __attribute__((noinline)) void capture(struct stacks *s)
{
	s->n_theirs = unw_backtrace(s->theirs, 64);
	s->n_cold = atr_stack_trace(s->cold);
	s->n_warm = atr_stack_trace(s->warm);
	__asm__ volatile("" ::: "memory");
}

static uintptr_t absolute(uint64_t addr)
{
	const struct atr_object *o = atr_object(ATR_ADDR_OBJECT(addr));

	return ATR_ADDR_OFFSET(addr) + (o ? o->bias : 0);
}

/* In this test the addresses of our own object are not left out: it is the program. */
static bool same_stacks(const struct stacks *s)
{
	int common = s->n_theirs < ATR_STACK_MAX ? s->n_theirs : ATR_STACK_MAX;
	bool same = s->n_cold == s->n_warm;

	for (unsigned i = 1; same && i < s->n_cold; i++)
		same = s->cold[i] == s->warm[i];
	/* [0] is in capture() itself, at another call each time. */
	for (int i = 1; same && i < common && i < (int)s->n_cold; i++)
		same = absolute(s->cold[i]) == (uintptr_t)s->theirs[i];
	/* libunwind may go on by guessing behind the outermost frame; never we. */
	return same && (int)s->n_cold <= s->n_theirs + 1 && (int)s->n_cold >= common - 1;
}

static __attribute__((noinline)) int deep(int n, struct stacks *s)
{
	volatile char some[48];

	some[n % 48] = (char)n;
	if (n > 0)
		return deep(n - 1, s) + some[n % 48];
	capture(s);
	return 0;
}

static __attribute__((noinline)) void with_alloca(size_t n, struct stacks *s)
{
	volatile char *p = __builtin_alloca(n);

	p[n - 1] = 1;
	capture(s);
	p[0] = 2;
}

static __attribute__((noinline)) void aligned(struct stacks *s)
{
	volatile char p[64] __attribute__((aligned(64))) = { 0 };

	capture(s);
	p[0] = (char)(p[1] + 2);
}

static int in_qsort(const void *a, const void *b, void *arg)
{
	(void)a;
	(void)b;
	capture(arg);
	return 0;
}

TEST(a_stack_is_what_libunwind_says)
{
	static struct stacks s;
	int two[2] = { 2, 1 };

	init();
	for (int n = 0; n < 40; n++) {
		(void)deep(n, &s);
		CHECK(same_stacks(&s));
		CHECK(n < 28 || s.n_cold == ATR_STACK_MAX);
	}
	for (size_t n = 1; n < 20000; n = n * 3 + 1) {
		with_alloca(n, &s);
		CHECK(same_stacks(&s));
		CHECK(s.n_cold >= 4);
	}
	aligned(&s);
	CHECK(same_stacks(&s));
	qsort_r(two, 2, sizeof(two[0]), in_qsort, &s);
	CHECK(same_stacks(&s));
	CHECK(s.n_cold >= 5);
}

static void *in_thread(void *arg)
{
	(void)deep(5, arg);
	return NULL;
}

TEST(threads_with_tiny_stacks_too)
{
	static struct stacks s;
	pthread_attr_t attr;
	pthread_t t;

	if (SANITIZED)
		SKIP("a sanitizer's threads need larger stacks");
	init();
	(void)pthread_attr_init(&attr);
	CHECK_INT(pthread_attr_setstacksize(&attr, (size_t)sysconf(_SC_THREAD_STACK_MIN) + 8192),
		  0);
	CHECK_INT(pthread_create(&t, &attr, in_thread, &s), 0);
	(void)pthread_join(t, NULL);
	CHECK(same_stacks(&s));
	CHECK(s.n_cold >= 8);
}

/* ---- stacks that are not the thread's ---- */

static ucontext_t back, there;
static struct stacks other;

#define BEHIND 131072 /* so much behind it is no memory */

static bool run_coroutine(void (*body)(void), size_t size)
{
	char *p = mmap(NULL, PAGE + size + BEHIND, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool ok = p != MAP_FAILED && mprotect(p + PAGE, size, PROT_READ | PROT_WRITE) == 0;

	(void)getcontext(&there);
	there.uc_stack.ss_sp = p + PAGE;
	there.uc_stack.ss_size = size;
	there.uc_link = &back;
	makecontext(&there, body, 0);
	ok &= swapcontext(&back, &there) == 0;
	(void)munmap(p, PAGE + size + BEHIND);
	return ok;
}

static void coroutine(void)
{
	(void)deep(3, &other);
	__asm__ volatile("" ::: "memory"); /* no tail call */
}

/* At the very end of memory: behind it nothing can be read. */
TEST(a_coroutine_with_nothing_behind_its_stack)
{
	if (SANITIZED)
		SKIP("a sanitizer does not know coroutines");
	init();
	CHECK(run_coroutine(coroutine, 65536));
	CHECK(other.n_cold >= 6); /* capture, 4 x deep, coroutine */
	CHECK(other.n_cold == other.n_warm);
	for (unsigned i = 1; i < 6; i++)
		CHECK(absolute(other.cold[i]) == (uintptr_t)other.theirs[i]);
}

static void wide(void)
{
	with_alloca(30000, &other);
	__asm__ volatile("" ::: "memory");
}

TEST(a_coroutine_with_frames_of_many_pages)
{
	if (SANITIZED)
		SKIP("a sanitizer does not know coroutines");
	init();
	CHECK(run_coroutine(wide, 131072));
	CHECK(other.n_cold >= 3); /* capture, with_alloca, wide */
	CHECK(other.n_cold == other.n_warm);
	for (unsigned i = 1; i < 3; i++)
		CHECK(absolute(other.cold[i]) == (uintptr_t)other.theirs[i]);
}

#if defined(__x86_64__)
/* Calls what it is given, and has unwind information that says its frame is 32 KiB large. */
void liar(void (*call)(void));
__asm__(".text\n"
	".type liar, @function\n"
	"liar:\n"
	"	.cfi_startproc\n"
	"	sub $8, %rsp\n"
	"	.cfi_def_cfa_offset 32768\n"
	"	call *%rdi\n"
	"	add $8, %rsp\n"
	"	.cfi_def_cfa_offset 8\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size liar, .-liar\n");

static uint64_t lied_to[ATR_STACK_MAX];
static unsigned n_lied_to;

static void listen_to(void)
{
	n_lied_to = atr_stack_trace(lied_to);
	__asm__ volatile("" ::: "memory");
}

static void lie(void)
{
	liar(listen_to);
	__asm__ volatile("" ::: "memory");
}

static void *lie_in_thread(void *arg)
{
	lie();
	return arg;
}

TEST(wrong_information_does_not_lead_out_of_the_stack)
{
	pthread_t t;

	if (SANITIZED)
		SKIP("a sanitizer does not know coroutines");
	init();
	for (size_t size = 4 * PAGE; size < 64 * PAGE; size += 4 * PAGE) {
		n_lied_to = 0;
		CHECK(run_coroutine(lie, size));
		CHECK_INT(n_lied_to, 2); /* listen_to, liar */
	}
	n_lied_to = 0;
	CHECK_INT(pthread_create(&t, NULL, lie_in_thread, NULL), 0);
	(void)pthread_join(t, NULL);
	CHECK_INT(n_lied_to, 2);
}
#endif

static void on_signal(int sig)
{
	(void)sig;
	(void)deep(2, &other);
	__asm__ volatile("" ::: "memory");
}

TEST(a_signal_handler_on_a_stack_of_its_own)
{
	static char stack[65536];
	const stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) },
		      none = { .ss_flags = SS_DISABLE };
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };

	init();
	(void)deep(1, &other); /* the thread's own is known */
	other.n_cold = 0;
	(void)sigaltstack(&ss, NULL);
	(void)sigaction(SIGUSR1, &sa, NULL);
	(void)raise(SIGUSR1);
	(void)sigaltstack(&none, NULL);
	CHECK(other.n_cold >= 5); /* capture, 3 x deep, on_signal */
	CHECK(other.n_cold == other.n_warm);
	for (unsigned i = 1; i < 5; i++)
		CHECK(absolute(other.cold[i]) == (uintptr_t)other.theirs[i]);
	(void)deep(1, &other);
	CHECK(same_stacks(&other));
}

/* ---- code that nothing is known about ---- */

#if defined(__x86_64__)
/* push rbp; xor ebp, ebp; sub rsp, 32; mov rdi, rsi; call *rdi with rsi = arg; ... */
static void *jit(void)
{
	static const uint8_t code[] = {
		0x55,			   /* push %rbp */
		0xbd, 1,    2,	  3,	4, /* mov $0x4030201, %ebp: no frame pointer */
		0x48, 0x83, 0xec, 0x20,	   /* sub $32, %rsp */
		0x48, 0x89, 0xf8,	   /* mov %rdi, %rax */
		0x48, 0x89, 0xf7,	   /* mov %rsi, %rdi */
		0xff, 0xd0,		   /* call *%rax */
		0x48, 0x83, 0xc4, 0x20,	   /* add $32, %rsp */
		0x5d,			   /* pop %rbp */
		0xc3,			   /* ret */
	};
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	memcpy(p, code, sizeof(code));
	return p;
}

static uint64_t traced[ATR_STACK_MAX];
static unsigned n_traced;
static uint64_t site;

static __attribute__((noinline)) void from_jit(void *arg)
{
	n_traced = atr_stack_trace(traced);
	site = atr_stack_site();
	*(int *)arg += 1;
}

TEST(the_walk_ends_at_code_made_at_run_time)
{
	char *code = jit();
	int calls = 0;

	init();
	((void (*)(void (*)(void *), void *))code)(from_jit, &calls);
	CHECK_INT(calls, 1);
	CHECK_INT(n_traced, 2);
	CHECK(ATR_ADDR_OBJECT(traced[0]) != 0);
	CHECK(ATR_ADDR_OBJECT(traced[1]) == 0);
	CHECK(traced[1] - (uintptr_t)code < PAGE);
	(void)munmap(code, PAGE);
}
#endif

/* ---- others ---- */

TEST(errno_stays)
{
	uint64_t addrs[ATR_STACK_MAX];

	init();
	memset(entries, 0, sizeof(entries));
	memset(&atr_tls, 0, sizeof(atr_tls));
	errno = 4711;
	CHECK(atr_stack_trace(addrs) > 1);
	CHECK(atr_stack_site() != 0);
	CHECK_INT(errno, 4711);
}

TEST(a_forked_child_can_do_it_too)
{
	static struct stacks s;
	int status = -1;
	pid_t pid;

	init();
	pid = fork();
	if (pid == 0) {
		atr_process.pid = getpid();
		memset(entries, 0, sizeof(entries));
		s.n_cold = atr_stack_trace(s.cold);
		_exit(s.n_cold > 2 && atr_stack_site() ? 17 : 1);
	}
	(void)waitpid(pid, &status, 0);
	CHECK_INT(WEXITSTATUS(status), 17);
}

TEST(what_was_known_is_not_after_an_unload)
{
	uint64_t addrs[ATR_STACK_MAX];
	struct entry *e;
	uint64_t before;
	struct step s = { 0 };
	uintptr_t pc;

	init();
	CHECK(atr_stack_trace(addrs) > 1);
	pc = absolute(addrs[1]);
	e = entry_of(pc);
	before = e->key;
	CHECK(before != 0);
	atr_stack_unloading();
	CHECK(step_at(pc, &s));
	CHECK(e->key == before); /* neither read nor written meanwhile */
	atr_stack_unloaded();
	CHECK((e->key ^ e->step) != key_of(pc, unloads));
	CHECK(step_at(pc, &s));
	CHECK((e->key ^ e->step) == key_of(pc, unloads));
	for (unsigned i = 0; i < 0x10000; i++) {
		atr_stack_unloading();
		atr_stack_unloaded();
	}
	CHECK((e->key ^ e->step) != key_of(pc, unloads)); /* the count has come round */
	atr_stack_unloading();
	atr_stack_unloading();
	atr_stack_forked();
	CHECK_INT(unloads & UNLOADING, 0);
	atr_stack_unloaded();
	CHECK_INT(unloads & UNLOADING, 0);
}

TEST(a_step_comes_out_as_it_went_in)
{
	static const int32_t cfa[] = { 0, 8, 16, -8, 4194296, -4194304 },
			     off[] = { 0, -8, 16376, -16384 };

	for (unsigned base = 0; base < 4; base++)
		for (size_t i = 0; i < ATR_ARRAY_LEN(cfa); i++)
			for (size_t j = 0; j < ATR_ARRAY_LEN(off); j++) {
				const struct step in = {
					.cfi = { .base = (uint8_t)base,
						 .fp_rule = (uint8_t)(i % 3),
						 .cfa = cfa[i],
						 .fp = off[j],
						 .ra = off[3 - j] },
					.class = (uint8_t)(j % 4),
					.object = (unsigned)(i * 200 + 23),
				};
				struct step out = unpack(pack(&in));

				CHECK(fits(cfa[i], 20) && fits(off[j], 12));
				CHECK(in.cfi.base == out.cfi.base &&
				      in.cfi.fp_rule == out.cfi.fp_rule);
				CHECK(in.cfi.cfa == out.cfi.cfa && in.cfi.fp == out.cfi.fp);
				CHECK(in.cfi.ra == out.cfi.ra && in.class == out.class);
				CHECK_INT(in.object, out.object);
			}
	CHECK(!fits(4194304, 20) && !fits(12, 20) && !fits(16384, 12));
}
