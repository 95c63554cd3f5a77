/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Start, fork and end of the runtime; the one file here that knows the hooks.
 *
 * The constructor runs the steps of start_up[] in order and opens the gate.
 * Before it, every hook passes straight to the kernel (the boot stubs of
 * hooks/real.c); after a step has failed, or OTEL_SDK_DISABLED is true and no OTEL_PROPAGATORS set,
 * straight to the real function, for good.
 */
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "hooks/confine.h"
#include "hooks/http-attrs.h"
#include "hooks/libpq.h"
#include "hooks/propagator.h"
#include "hooks/real.h"
#include "preload/carrier.h"
#include "preload/clock.h"
#include "preload/config.h"
#include "preload/conn.h"
#include "preload/context.h"
#include "preload/gate.h"
#include "preload/life.h"
#include "preload/log.h"
#include "preload/process.h"
#include "preload/sampler.h"
#include "preload/spool.h"
#include "preload/stack.h"
#include "preload/stats.h"
#include "preload/status.h"
#include "preload/sys.h"
#include "preload/text.h"
#include "preload/thread.h"
#include "preload/traceparent.h"
#include "preload/worker.h"

static struct atr_gate never; /* the gate before the constructor: closed */
struct atr_gate *atr_gate = &never;
struct atr_process atr_process;
struct atr_stats atr_stats;

static bool enabled; /* the gate was opened: closed now means a new process */

#define PAGE 4096

/* ---- the steps ---- */

static bool step_secure(void)
{
	return !getauxval(AT_SECURE); /* not in programs that run with raised privileges */
}

/*
 * Valgrind sees for itself what the program sends, and complains about our looking.  A thread
 * like ours (preload/aside.c) it does not support, and ends the program.
 */
static bool step_valgrind(void)
{
	const char *preloaded = getenv("LD_PRELOAD");

	if (preloaded && strstr(preloaded, "/vgpreload_")) {
		atr_sys_trust_memory();
		atr_spool_off();
	}
	return true;
}

/*
 * ThreadSanitizer would see what our code, which it did not build, does to our memory, but not the
 * atomic operations that order it, and report races of ours as the program's.
 */
extern void __tsan_init(void) __attribute__((weak));

static bool step_tsan(void)
{
#ifdef __SANITIZE_THREAD__
	return true;
#else
	return !__tsan_init;
#endif
}

/*
 * Another copy of us, under whatever name, is known by a note like this one.  Which has been loaded
 * first works, as its hooks come first; the other passes everything through.
 */
#define NOTE_NAME "autotrace"

__asm__(".pushsection .note.autotrace, \"a\", %note\n"
	".balign 4\n"
	".long 10, 0, 1\n"
	".asciz \"" NOTE_NAME "\"\n"
	".balign 4\n"
	".popsection\n");

static bool has_our_note(const struct dl_phdr_info *info, const ElfW(Phdr) * ph)
{
	const char *p = (const char *)(info->dlpi_addr + ph->p_vaddr), *end = p + ph->p_memsz;

	while ((size_t)(end - p) >= sizeof(ElfW(Nhdr))) {
		const ElfW(Nhdr) *note = (const void *)p;
		size_t align = ph->p_align == 8 ? 8 : 4;
		size_t len = sizeof(*note) + ((note->n_namesz + 3) & ~(size_t)3);

		len = ((len + align - 1) & ~(align - 1)) +
		      (((size_t)note->n_descsz + align - 1) & ~(align - 1));
		if (len > (size_t)(end - p))
			return false;
		if (note->n_namesz == sizeof(NOTE_NAME) &&
		    memcmp(note + 1, NOTE_NAME, sizeof(NOTE_NAME)) == 0)
			return true;
		p += len;
	}
	return false;
}

/* Ends with the first copy there is; returns 1 if that is this one, 2 if not. */
static int first_copy(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	(void)arg;
	if (info->dlpi_addr == (uintptr_t)&__ehdr_start)
		return 1;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_NOTE && has_our_note(info, &info->dlpi_phdr[i]))
			return 2;
	return 0;
}

static bool step_copies(void)
{
	return dl_iterate_phdr(first_copy, NULL) != 2;
}

static bool step_real(void)
{
	atr_real_init();
	atr_confine_init();
	atr_worker_pthread_create = atr_real.pthread_create;
	return true;
}

static const char *env(const char *name)
{
	return getenv(name);
}

static void warn(const char *line)
{
	atr_log(ATR_LOG_WARN, "%s", line);
}

/* The program may go elsewhere before there is a first span. */
static void fix_file(void)
{
	static char path[4096];
	const char *file = atr_config.file;
	long len;

	if (!file || file[0] == '/')
		return;
	len = atr_sys(SYS_getcwd, path, sizeof(path), 0, 0, 0, 0);
	if (len <= 0 || path[0] != '/' || (size_t)len + strlen(file) >= sizeof(path))
		return;
	path[len - 1] = '/';
	memcpy(path + len, file, strlen(file) + 1);
	atr_config.file = path;
}

static bool step_config(void)
{
	atr_process.pid = atr_sys_getpid();
	atr_config.log_level = ATR_LOG_INFO; /* for warnings about settings before it is read */
	atr_log_init();
	atr_config_read(&atr_config, env, warn);
	fix_file();
	atr_log_init();
	/* Propagators that were asked for are not disabled with it (specification). */
	return !atr_config.sdk_disabled || atr_config.propagators_set;
}

static bool step_sampler(void)
{
	const struct atr_config *c = &atr_config;
	const struct atr_sampler_extras extras = {
		.keep_errors = c->keep_errors,
		.keep_slow_ms = c->keep_slow_ms,
		.most_per_second = c->max_traces_per_second,
		.target_per_second = c->target_traces_per_second,
	};
	bool remote = c->sampler == ATR_SAMPLER_JAEGER_REMOTE ||
		      c->sampler == ATR_SAMPLER_PARENTBASED_JAEGER_REMOTE;

	atr_sampler_init(c->sampler, remote ? c->jaeger.ratio : c->sampler_arg,
			 atr_config_exports(c) && !c->sdk_disabled);
	atr_sampler_add(&extras, warn);
	atr_sampler_wanted = atr_worker_wanted;
	atr_sampler_passive = atr_config.sdk_disabled;
	return true;
}

static bool printable(const char *s)
{
	for (; *s; s++)
		if (*s < 0x20 || *s > 0x7e)
			return false;
	return true;
}

/* A value of the environment that may go into a header line. */
static struct atr_slice env_line(const char *name, size_t max)
{
	const char *value = getenv(name);

	if (!value || strlen(value) > max || !printable(value))
		return (struct atr_slice){ NULL, 0 };
	return (struct atr_slice){ value, strlen(value) };
}

/* TRACESTATE, with the threshold that is true of what begins here. */
static struct atr_slice env_tracestate(const struct atr_context *c)
{
	static char text[512 + 64];
	struct atr_slice s = env_line("TRACESTATE", 512);

	if (s.len)
		memcpy(text, s.p, s.len);
	s.len = atr_sampler_environment(c, text, s.len, sizeof(text));
	s.p = text;
	return s;
}

/*
 * AUTOTRACE_PARENT=<span id>-<life>: we started this program for that span.  Beside another's
 * TRACEPARENT it says nothing.
 */
static void read_life(struct atr_context *c)
{
	static struct atr_cell cell;
	const char *life = getenv("AUTOTRACE_PARENT");
	uint8_t span_id[8];

	if (!life || strlen(life) < 17 || life[16] != '-' ||
	    atr_from_hex(span_id, life, sizeof(span_id)) != 0 ||
	    memcmp(span_id, c->span_id, sizeof(span_id)) != 0)
		return;
	if (!atr_life_attach(&cell, (struct atr_slice){ life + 17, strlen(life + 17) }))
		return;
	c->open = &cell;
	c->gen = cell.gen;
	atr_context_watched = true;
}

/* TRACEPARENT, TRACESTATE and BAGGAGE: the parent of the process's roots. */
static bool step_context(void)
{
	struct atr_context *c = &atr_context_process;
	const char *parent = getenv("TRACEPARENT");

	if (!parent || !*parent)
		return true;
	if (!atr_traceparent_parse(c, (struct atr_slice){ parent, strlen(parent) })) {
		atr_log(ATR_LOG_WARN,
			"TRACEPARENT=%.*s is not a W3C traceparent; the process begins new traces",
			100, parent);
		return true;
	}
	c->carrier = atr_carrier_new(env_tracestate(c), env_line("BAGGAGE", 8192));
	if (c->carrier)
		c->carrier_gen = c->carrier->gen;
	read_life(c);
	return true;
}

static bool step_http(void)
{
	atr_propagators_init(atr_config.propagators, atr_config.trace_id_header, warn);
	atr_http_attrs_init(warn);
	return true;
}

static bool step_clock(void)
{
	atr_clock_init();
	return true;
}

static bool step_stacks(void)
{
	if (atr_config.call_sites != ATR_CALL_SITES_OFF ||
	    atr_config.stacktrace != ATR_STACKTRACE_OFF)
		atr_stack_init();
	return true;
}

static bool step_threads(void)
{
	atr_spool_init(env);
	atr_thread_init();
	atr_worker_init();
	return true;
}

static bool step_conns(void)
{
	atr_conn_init();
	return true;
}

static void forked_child(void);

static void forked_parent(void)
{
	atr_process.children++;
	atr_worker_fork_parent();
}

static bool step_fork(void)
{
	return pthread_atfork(atr_worker_fork_prepare, forked_parent, forked_child) == 0;
}

static bool step_gate(void)
{
	struct atr_gate *page = atr_sys_map(PAGE);

	if (!page)
		return false;
	/* Before Linux 4.14 only the fork handler finds a child out. */
	(void)atr_sys(SYS_madvise, page, PAGE, MADV_WIPEONFORK, 0, 0, 0);
	(void)at_quick_exit(atr_end);
	enabled = true;
	atr_gate = page;
	atr_store(&page->live, 1);
	return true;
}

/* clang-format off */
static bool (*const start_up[])(void) = {
	step_secure,
	step_valgrind,
	step_real,    /* from here on hooks call the real functions */
	step_tsan,
	step_copies,
	step_config,  /* atr_config, atr_log() */
	step_sampler,
	step_context,
	step_http,    /* atr_propagators_*(), atr_http_*_attrs() */
	step_clock,
	step_stacks,  /* atr_stack_*() */
	step_threads, /* atr_thread_self(), atr_worker_*() */
	step_conns,   /* atr_conn_*() */
	step_fork,
	step_gate,    /* the gate is open */
};
/* clang-format on */

__attribute__((constructor)) static void start(void)
{
	int saved_errno = errno;

	for (size_t i = 0; i < ATR_ARRAY_LEN(start_up); i++)
		if (!start_up[i]())
			break;
	errno = saved_errno;
}

/* ---- fork ---- */

bool atr_process_foreign(void)
{
	return atr_sys_getpid() != atr_process.pid;
}

/* This is a child of fork(), alone in its memory: everything of the parent's is forgotten. */
static void renew(void)
{
	enabled = false; /* calls from a signal handler pass through meanwhile */
	atr_process.epoch++;
	atr_process.pid = atr_sys_getpid();
	atr_worker_forked();
	atr_thread_forked();
	atr_stack_forked();
	atr_real_forked();
	atr_sampler_forked();
	memset(&atr_stats, 0, sizeof(atr_stats));
	atr_stats.forks = atr_process.epoch;
	enabled = true;
	atr_store(&atr_gate->live, 1);
}

bool atr_gate_closed(void)
{
	if (!enabled)
		return false;
	renew(); /* the page was wiped */
	return true;
}

/* Where pages are not wiped, this finds the child out; where they are, one of the two is first. */
static void forked_child(void)
{
	if (enabled && atr_process_foreign())
		renew();
}

void atr_gate_shut(void)
{
	enabled = false;
	atr_store(&atr_gate->live, 0);
}

/* ---- the end ---- */

/* Its requests pass us by; that it is there is all that can be seen of it. */
static unsigned io_urings(void)
{
	static const char name[] = "anon_inode:[io_uring]";
	char path[32], target[sizeof(name)];
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++) {
		(void)atr_format(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (atr_sys(SYS_readlinkat, AT_FDCWD, path, target, sizeof(target), 0, 0) ==
			    (long)sizeof(name) - 1 &&
		    memcmp(target, name, sizeof(name) - 1) == 0)
			n++;
	}
	return n;
}

static void print_stats(void)
{
	char line[1024];
	size_t n = 0;

	atr_stats.io_uring = io_urings();

#define COUNTER(name, doc)                                             \
	n += atr_format(line + n, sizeof(line) - n, " " #name "=%llu", \
			(unsigned long long)atr_load(&atr_stats.name));
#include "preload/stats.def"
	atr_debug(ATR_DEBUG_STATS, "stats%s", line);
}

/* It was too slow, in the middle of an export, or had them held back (AUTOTRACE_KEEP_*). */
static void count_unknown(void)
{
	const struct atr_stats *s = &atr_stats;
	uint64_t recorded = atr_load(&s->recorded);
	uint64_t known = atr_load(&s->exported) + atr_load(&s->rejected) + atr_load(&s->missed) +
			 atr_load(&s->failed) + atr_load(&s->left) + atr_load(&s->unsent) +
			 atr_load(&s->unkept) + atr_load(&s->keep_overflow) +
			 atr_load(&s->keep_limited) + atr_load(&s->no_memory);

	if (recorded > known)
		atr_store(&atr_stats.unknown, recorded - known);
}

/* Spans that nobody will ever see: why, and what to do. */
static const struct {
	const uint64_t *n;
	const char *text;
} losses[] = {
	{ &atr_stats.ring_full, "a ring was full (AUTOTRACE_RING_SIZE)" },
	{ &atr_stats.queue_full, "as many waited as may (OTEL_BSP_MAX_QUEUE_SIZE)" },
	{ &atr_stats.rejected, "the collector refused them (its log says why)" },
	{ &atr_stats.unsent, "no collector had taken them in time (AUTOTRACE_EXIT_TIMEOUT)" },
	{ &atr_stats.no_memory, "no memory could be had" },
	{ &atr_stats.failed, "no memory could be had to keep them" },
	{ &atr_stats.too_long, "they were too long" },
	{ &atr_stats.keep_overflow, "more was held back than AUTOTRACE_KEEP_* holds" },
	{ &atr_stats.keep_limited, "as many traces were kept as may be "
				   "(AUTOTRACE_MAX_TRACES_PER_SECOND)" },
};

static void print_losses(void)
{
	char line[768] = "";
	uint64_t all = 0, n;
	size_t len = 0;

	for (size_t i = 0; i < ATR_ARRAY_LEN(losses); i++) {
		n = atr_load(losses[i].n);
		if (!n)
			continue;
		len += atr_format(line + len, sizeof(line) - len, "%s%llu because %s",
				  all ? "; " : "", (unsigned long long)n, losses[i].text);
		all += n;
	}
	if (all)
		atr_log(ATR_LOG_INFO, "%llu of %llu spans were dropped: %s%s%s",
			(unsigned long long)all,
			(unsigned long long)(atr_load(&atr_stats.recorded) +
					     atr_load(&atr_stats.ring_full) +
					     atr_load(&atr_stats.queue_full) +
					     atr_load(&atr_stats.too_long)),
			line, atr_health.error[0] ? "; the last error: " : "", atr_health.error);
}

/* At the end of the process, by whatever way it comes. */
static void print_once(void)
{
	static uint32_t printed;

	if (__atomic_exchange_n(&printed, 1, __ATOMIC_RELAXED))
		return;
	atr_worker_count_rest();
	count_unknown();
	print_losses();
	if (atr_debug_domains & ATR_DEBUG_STATS)
		print_stats();
}

void atr_bug(const char *what, const char *file, int line)
{
	bool first = __atomic_exchange_n(&enabled, false, __ATOMIC_RELAXED);

	if (atr_config.abort_on_bug)
		abort();
	atr_count(bugs, 1);
	atr_status_tracing(ATR_TRACING_BUG);
	atr_gate_shut();
	if (!first)
		return;
	atr_log(ATR_LOG_ERROR, "internal inconsistency: %s (%s:%d); tracing is off in this process",
		what, file, line);
	print_once();
}

static void leave(void)
{
	print_once();
	atr_status_write();
	atr_worker_leave_spool();
}

void atr_end(void)
{
	if (!enabled || !atr_load(&atr_gate->live))
		return;
	atr_libpq_ending();
	atr_worker_stop();
	leave();
}

/*
 * Exit handlers have run, those of the exporter's libraries too: nothing is sent
 * any more.  Our own stop ran before theirs (preload/worker.c).
 */
__attribute__((destructor)) static void end(void)
{
	int saved_errno = errno;

	if (enabled && atr_load(&atr_gate->live))
		leave();
	errno = saved_errno;
}
