/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The background thread.
 *
 * Started at the first record, with every signal blocked before it exists (but
 * glibc's own two, which setuid() needs).  Its first act is to get a descriptor
 * table of its own and close everything in it: nothing it opens from then on, the
 * resolver's sockets included, exists for the program.  Then it looks up the
 * collector's name, loads the exporter object and runs it.
 *
 * Program threads talk to it through one word of request bits and a futex, and
 * never wait for it, with two exceptions, both bounded: the flush at the end of
 * the process, and a fork, which must not copy a library's lock in a held state
 * (the fork gate).
 */
#include "preload/worker.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>

#include "preload/clock.h"
#include "preload/forkgate.h"
#include "preload/gate.h"
#include "preload/host.h"
#include "preload/log.h"
#include "preload/object.h"
#include "preload/process.h"
#include "preload/resolve.h"
#include "preload/sampler.h"
#include "preload/spool.h"
#include "preload/spoolname.h"
#include "preload/stats.h"
#include "preload/status.h"
#include "preload/strategy.h"
#include "preload/sys.h"
#include "preload/target.h"
#include "preload/text.h"
#include "preload/thread.h"

#define STACK_SIZE (512 * 1024)
#define PROXY_PORT "1080" /* libcurl's, when none is named */
#define EXPORTER_FILE "libautotrace-exporter.so"
#define FORK_WAIT_NS 1000000000u  /* longest a fork waits for the gate: loading may take a while */
#define RESOLVE_WAIT_NS 50000000u /* the same, while the collector's name is looked up */
#define LOAD_WAIT_NS 2000000000u
#define NO_FLUSH_NS 10000000000u /* after a flush in vain the next exec is not held up */
#define STOP_LEAST_NS 30000000u	 /* what a stop may take though the time is up */
#define STOP_WAIT_NS 100000000u	 /* and the end of the process, after its flush */

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2
#endif

enum state {
	NONE,	 /* no thread yet */
	RUNNING, /* there is one */
	STOPPED, /* it was told to stop, and has */
	AWAY,	 /* the same, and another may be started soon */
	FAILED,	 /* it cannot be had: records stay in their rings */
};

/* What the thread is told to do once it has stopped. */
enum leave {
	STAY,
	END,	/* end, whatever it is in the middle of */
	ENDING, /* it does */
	RETURN, /* end as every thread does: there will be another */
};

static struct {
	uint32_t state;
	uint32_t tid;
	uint32_t requests; /* enum atr_wake bits; the futex the thread sleeps on */
	uint64_t batch;	   /* spans for which it wants to be woken; 0: for no number of them */
	uint32_t flush_asked;
	uint32_t flush_done; /* the futex a flush waits on */
	uint64_t deadline;   /* of the flush, monotonic ns */
	uint32_t flush_seen; /* flush_asked as it was when the exporter was told */
	bool gate_got;	     /* by the fork that is under way */
	bool inside_library;
	bool resolving;
	bool exporter_unusable; /* a child was born while the parent's was at work */
	uint64_t end_until; /* the process is ending: all its flushes end by then (monotonic ns) */
	uint32_t stop_asked;
	uint32_t loaded;	 /* the exporter and its libraries are; a futex */
	uint32_t leave;		 /* enum leave; a futex */
	uint32_t settled;	 /* its starter is done with the count of threads; a futex */
	bool uncounted;		 /* it was taken off that */
	bool at_exit;		 /* stop_at_exit() is registered */
	bool gate_kept;		 /* by a stop that was not answered */
	uint64_t no_flush_until; /* the last one was in vain (monotonic ns) */
	bool owed;		 /* a vfork child recorded when there was no thread */
} w;

int (*atr_worker_pthread_create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

static char exporter_path[4096];
static unsigned *n_threads; /* libc's count, or NULL; looked up early, for that takes a lock */

/* ---- the fork gate ---- */

static void end_thread(int status)
{
	atr_store_release(&w.leave, ENDING);
	for (;;)
		(void)atr_sys(SYS_exit, status, 0, 0, 0, 0, 0);
}

static void library_enter(void)
{
	bool taken;

	do {
		taken = atr_forkgate_take(1000000000u);
		if (atr_load(&w.leave) == END)
			end_thread(0);
	} while (!taken);
	atr_store(&w.inside_library, true);
}

static void library_leave(void)
{
	atr_store(&w.inside_library, false);
	atr_forkgate_leave();
}

bool atr_worker_fork_hold(void)
{
	/* Bounded: a malloc whose own fork handler ran before ours may be held. */
	return atr_load(&w.state) == RUNNING && atr_tls.inside != ATR_IN_BACKGROUND &&
	       atr_forkgate_take(atr_load(&w.resolving) ? RESOLVE_WAIT_NS : FORK_WAIT_NS);
}

void atr_worker_fork_prepare(void)
{
	if (atr_worker_fork_hold())
		w.gate_got = true;
}

void atr_worker_fork_parent(void)
{
	if (w.gate_got) {
		w.gate_got = false;
		atr_forkgate_leave();
	}
}

void atr_worker_forked(void)
{
	bool torn = atr_load(&w.inside_library) || w.exporter_unusable;

	memset(&w, 0, sizeof(w));
	atr_forkgate_forked();
	w.exporter_unusable = torn;
}

/* ---- what the exporter object calls ---- */

static struct atr_host host;

static unsigned take_requests(void)
{
	/* What rings say is news once; FLUSH and STOP stand until flushed(). */
	const uint32_t news = ATR_WAKE_RING | ATR_WAKE_CANDIDATES | ATR_WAKE_BATCH;
	uint32_t bits = __atomic_fetch_and(&w.requests, ~news, __ATOMIC_ACQUIRE);

	if (bits & ATR_WAKE_FLUSH)
		w.flush_seen = atr_load_acquire(&w.flush_asked);
	return bits;
}

static uint64_t exit_timeout_ns(void)
{
	return (uint64_t)atr_config.exit_timeout * 1000000u;
}

bool atr_worker_two_tasks(void)
{
	struct statx tasks;

	return atr_sys(SYS_statx, AT_FDCWD, "/proc/self/task", 0, STATX_NLINK, &tasks, 0) == 0 &&
	       tasks.stx_nlink == 2 + 2;
}

/*
 * Have all threads of the program ended?  Where libc ends them it ends the process with the
 * last one; but one that leaves by a system call of its own is not counted by anybody.
 */
static bool alone(int *ret_status)
{
	char stat[512], path[] = "/proc/self/stat";
	ssize_t n = atr_sys_read_file(path, stat, sizeof(stat) - 1);
	const char *p;

	if (n <= 0)
		return false;
	stat[n] = '\0';
	p = strrchr(stat, ')'); /* the name in front of it may be anything */
	if (!p || strncmp(p, ") Z ", 4) != 0)
		return false;
	/* The first thread is dead, and stays in the list until the last has ended. */
	if (!atr_worker_two_tasks())
		return false;
	p = strrchr(p, ' '); /* the last number is its status, as wait() has it */
	for (*ret_status = 0; *++p >= '0' && *p <= '9';)
		*ret_status = *ret_status * 10 + (*p - '0');
	*ret_status >>= 8;
	return true;
}

static unsigned host_wait(uint64_t until, uint64_t n_spans)
{
	unsigned bits = take_requests();
	int status;

	if (bits)
		return bits;
	if (atr_sampler_remote)
		atr_thread_make_file(); /* for what there is to be told without any span */
	atr_status_write();
	library_leave();
	if (alone(&status)) {
		__atomic_store_n(&w.deadline, atr_now() + exit_timeout_ns(), __ATOMIC_RELEASE);
		(void)__atomic_fetch_or(&w.requests, ATR_WAKE_FLUSH | ATR_WAKE_STOP,
					__ATOMIC_ACQ_REL);
	}
	/* In one order with the addition in atr_thread_commit(). */
	__atomic_store_n(&w.batch, n_spans, __ATOMIC_SEQ_CST);
	if (n_spans && atr_thread_waiting() >= n_spans)
		(void)__atomic_fetch_or(&w.requests, ATR_WAKE_BATCH, __ATOMIC_ACQ_REL);
	for (;;) {
		uint64_t now = atr_now();

		if (atr_load(&w.requests) || now >= until)
			break;
		/* Woken without reason or by a signal of the kernel: looked at again. */
		(void)atr_sys_futex_wait(&w.requests, 0, until - now);
	}
	atr_store(&w.batch, 0); /* who is awake need not be woken */
	library_enter();
	return take_requests();
}

static int host_sleep_fds(struct pollfd *fds, unsigned n, int timeout_ms)
{
	struct timespec ts = {
		.tv_sec = timeout_ms / 1000,
		.tv_nsec = timeout_ms % 1000 * 1000000L,
	};
	int ret;

	atr_status_write();
	library_leave();
	ret = atr_sys_ppoll(fds, n, timeout_ms < 0 ? NULL : &ts);
	library_enter();
	return ret;
}

static uint64_t host_deadline(void)
{
	return __atomic_load_n(&w.deadline, __ATOMIC_ACQUIRE);
}

static void host_flushed(void)
{
	uint32_t done = w.flush_seen;

	/* A flush that was asked for meanwhile keeps its bits. */
	if (atr_load_acquire(&w.flush_asked) == done)
		(void)__atomic_fetch_and(&w.requests, ~(uint32_t)ATR_WAKE_FLUSH, __ATOMIC_ACQ_REL);
	/* Pairs with the acquire in flush(). */
	atr_store_release(&w.flush_done, done);
	atr_sys_futex_wake(&w.flush_done, INT32_MAX);
}

/* It may take long: a fork waits for it only a little, and is not told off for it. */
static void host_look_up(const char *endpoint, struct atr_addresses *ret)
{
	const char *proxy = atr_target_proxy(&atr_config, endpoint);

	atr_status_working(ATR_WORKING_RESOLVING);
	atr_store(&w.inside_library, false);
	atr_store(&w.resolving, true);
	atr_resolve(proxy ? proxy : endpoint, proxy ? PROXY_PORT : NULL, ret);
	atr_status_working(ATR_WORKING_RUNNING);
	atr_store(&w.resolving, false);
	if (atr_load(&w.leave) == END)
		end_thread(0);
	atr_store(&w.inside_library, true);
}

static void host_sampler_say(void)
{
	atr_sampler_say(atr_log);
}

static void stop_at_exit(void)
{
	int saved_errno = errno;

	atr_worker_stop();
	errno = saved_errno;
}

static void register_stop(void)
{
	if (!w.at_exit)
		(void)atexit(stop_at_exit);
	w.at_exit = true;
}

static void host_loaded(void)
{
	/* Not by a second thread: the first has been here. */
	if (!atr_load(&w.loaded))
		(void)atexit(stop_at_exit);
	atr_store_release(&w.loaded, 1);
	atr_sys_futex_wake(&w.loaded, INT32_MAX);
}

static struct atr_host host = {
	.abi = ATR_HOST_ABI,
	.config = &atr_config,
	.stats = &atr_stats,
	.drain = atr_thread_drain,
	.settle = atr_thread_settle,
	.rewind = atr_thread_rewind,
	.candidates = atr_thread_candidates,
	.keep = atr_thread_keep,
	.now = atr_now,
	.wait = host_wait,
	.queued = atr_thread_queued,
	.pending = take_requests,
	.sleep_fds = host_sleep_fds,
	.deadline = host_deadline,
	.flushed = host_flushed,
	.log = atr_log,
	.write_stderr = atr_log_write,
	.write_stdout = atr_log_write_stdout,
	.loaded = host_loaded,
	.look_up = host_look_up,
	.spool_dir = atr_spool_dir,
	.spool_used = atr_spool_used,
	.resource = atr_spool_resource,
	.sampler_say = host_sampler_say,
	.strategy = atr_strategy_use,
	.object = atr_object,
	.count = atr_thread_counts,
	.health = &atr_health,
	.strategy_shown = atr_status_strategy,
};

/* ---- the thread ---- */

/* A descriptor table of our own, with nothing in it. */
static void leave_fd_table(void)
{
	if (atr_sys(SYS_close_range, 0, ~0u, CLOSE_RANGE_UNSHARE, 0, 0, 0) == 0)
		return;
	/* Before Linux 5.9: unshare, then close what is there. */
	if (atr_sys(SYS_unshare, 0x400 /* CLONE_FILES */, 0, 0, 0, 0, 0) == 0)
		for (int fd = 0; fd < 65536; fd++)
			(void)atr_sys_close(fd);
	/* Neither allowed: the table stays shared, curl's descriptors are CLOEXEC. */
}

/*
 * The exporter's libraries shall use each other, not namesakes in the program:
 * node exports an OpenSSL of its own, and libcurl would be bound to that.  Not
 * where the program brings its own malloc (a sanitizer, jemalloc): then libc's
 * strdup() allocates with that and libcurl would free with another.
 */
static int bind_deep(void)
{
	Dl_info info;
	void *p = dlsym(RTLD_DEFAULT, "malloc");
	const char *base =
		p && dladdr(p, &info) && info.dli_fname ? strrchr(info.dli_fname, '/') : NULL;

	return base && strncmp(base, "/libc.so", 8) == 0 ? RTLD_DEEPBIND : 0;
}

static atr_exporter_run_fn *load(void)
{
	void *handle = dlopen(exporter_path, RTLD_NOW | RTLD_LOCAL | bind_deep());
	void *run = handle ? dlsym(handle, ATR_EXPORTER_RUN) : NULL;

	if (!run)
		atr_log(ATR_LOG_ERROR, "%s cannot be loaded: %s; no span will be exported",
			exporter_path, dlerror());
	return (atr_exporter_run_fn *)run;
}

/*
 * A process ends when its last thread does, though main left by pthread_exit()
 * long ago: glibc counts.  We are not to be counted, or it would never end; but where glibc
 * is to end the thread, it takes one off.
 */
static void not_counted(void)
{
	w.uncounted = n_threads && atr_load(n_threads) > 1;
	if (w.uncounted)
		__atomic_fetch_sub(n_threads, 1, __ATOMIC_RELAXED);
	/* Pairs with the acquire in counted(). */
	atr_store_release(&w.settled, 1);
	atr_sys_futex_wake(&w.settled, 1);
}

static void counted(void)
{
	while (!atr_load_acquire(&w.settled))
		(void)atr_sys_futex_wait(&w.settled, 0, UINT64_MAX);
	if (w.uncounted && n_threads)
		__atomic_fetch_add(n_threads, 1, __ATOMIC_RELAXED);
	w.uncounted = false;
}

unsigned atr_worker_threads(void)
{
	return n_threads ? atr_load(n_threads) : 0;
}

static void *run_thread(void *arg)
{
	atr_exporter_run_fn *run;
	int status;

	(void)arg;
	atr_store(&w.tid, (uint32_t)atr_sys_gettid());
	atr_tls.inside = ATR_IN_BACKGROUND;
	/* A child may be born with libc's lock of the handlers held (by a dlclose()): for
	 * ever.  Its own threads go on; one of a process that was not forked finds them all. */
	if (atr_process.epoch)
		register_stop();
	(void)atr_sys(SYS_prctl, PR_SET_NAME, "autotrace", 0, 0, 0, 0);
	leave_fd_table();
	library_enter();
	atr_status_working(ATR_WORKING_STARTED);
	if (atr_config.exporters & ATR_EXPORTER_OTLP) {
		host.looked_up = atr_target_endpoint(&atr_config, ATR_SIGNAL_TRACES);
		host_look_up(host.looked_up, &host.addresses);
	}
	host.destination = atr_spool_destination(&atr_config);
	run = load();
	atr_debug(ATR_DEBUG_WORKER, "worker: %s %s", exporter_path, run ? "loaded" : "not loaded");
	if (!run || !((atr_config.exporters & (ATR_EXPORTER_OTLP | ATR_EXPORTER_ZIPKIN)) ||
		      atr_config.metrics_exporters & ATR_METRICS_OTLP || atr_sampler_remote))
		host_loaded(); /* nothing more will be */
	atr_status_working(run ? ATR_WORKING_RUNNING : ATR_WORKING_NO_EXPORTER);
	if (run)
		run(&host);
	atr_debug(ATR_DEBUG_WORKER, "worker: stopped");
	if (run)
		atr_status_working(ATR_WORKING_STOPPED);
	atr_thread_count_rest(false);
	atr_store_release(&w.state, run ? STOPPED : FAILED);
	(void)take_requests();
	host_flushed();
	library_leave();
	if (!run) { /* no use for it, and a process with one thread is another one than with two */
		counted();
		return NULL;
	}
	/* At the end of the process never an end of the thread by glibc: what libraries do
	 * at the end of a thread would race with what they do at the end of the process. */
	if (alone(&status))
		end_thread(status); /* the last one's is the process's */
	while (atr_load(&w.leave) == STAY)
		(void)atr_sys_futex_wait(&w.leave, STAY, UINT64_MAX);
	if (atr_load(&w.leave) != RETURN)
		end_thread(0);
	counted();
	return NULL;
}

typedef int create_fn(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

/*
 * As a library of the program would create a thread: through whoever else
 * interposes pthread_create(), for a sanitizer must know every thread.
 */
static int create(size_t stack_size)
{
	create_fn *pthread_create_first = (create_fn *)dlsym(RTLD_DEFAULT, "pthread_create");
	pthread_attr_t attr;
	pthread_t thread;
	int err;

	if (!pthread_create_first || atr_ours((const void *)pthread_create_first))
		pthread_create_first = atr_worker_pthread_create;
	if (pthread_attr_init(&attr) != 0)
		return EAGAIN;
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (stack_size)
		(void)pthread_attr_setstacksize(&attr, stack_size);
	err = pthread_create_first(&thread, &attr, run_thread, NULL);
	(void)pthread_attr_destroy(&attr);
	return err;
}

/*
 * The end of the process has begun, and there is an OpenSSL in it: its exit
 * handler may have run, and then it must not be used any more.
 */
static bool too_late_to_start(void)
{
	return atr_load(&w.end_until) && dlopen("libcrypto.so.3", RTLD_NOLOAD | RTLD_LAZY);
}

/*
 * Libraries register exit handlers while they are initialised.  When exit handlers
 * are running already, the next one to run could be theirs, in the middle of it.
 */
static void wait_until_loaded(void)
{
	uint64_t until = atr_now() + LOAD_WAIT_NS, now;

	while (!atr_load_acquire(&w.loaded) && atr_load(&w.state) == RUNNING &&
	       (now = atr_now()) < until)
		(void)atr_sys_futex_wait(&w.loaded, 0, until - now);
}

static void start(void)
{
	uint64_t signals = atr_sys_block_signals();
	uint32_t was = atr_self_enter();
	int saved_errno = errno;
	int err = EAGAIN;

	if (w.exporter_unusable || too_late_to_start())
		goto out;
	if (!atr_process.epoch)
		register_stop();
	err = create(STACK_SIZE);
	if (err == EINVAL) /* the program's thread-local data alone needs more */
		err = create(0);
	if (!err) {
		not_counted();
		if (atr_load(&w.end_until))
			wait_until_loaded();
	}
out:
	if (err) {
		atr_store(&w.state, FAILED);
		atr_status_working(ATR_WORKING_NO_THREAD);
		if (!atr_load(&w.end_until))
			atr_log(ATR_LOG_WARN,
				"no background thread could be started (%s); "
				"no span of this process is exported",
				w.exporter_unusable ? "forked in the middle of an export"
						    : "pthread_create");
	}
	atr_self_leave(was);
	atr_sys_restore_signals(signals);
	errno = saved_errno;
}

static void wake(uint32_t bits)
{
	if ((__atomic_fetch_or(&w.requests, bits, __ATOMIC_ACQ_REL) & bits) != bits)
		atr_sys_futex_wake(&w.requests, 1);
}

/*
 * A vfork child's thread would end with the child, in the middle of whatever it does, and
 * with the loader's lock, in memory that is the parent's: the parent is to start it.
 */
static atr_noinline void start_first(void)
{
	uint32_t none = NONE;

	if (atr_process_foreign()) {
		atr_store(&w.owed, true);
		return;
	}
	if (!__atomic_compare_exchange_n(&w.state, &none, RUNNING, 0, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		return;
	if (!ATR_BUG(atr_debug_domains & ATR_DEBUG_BUG)) /* asked for, by tests */
		start();
}

static void start_once(void)
{
	if (atr_unlikely(atr_load(&w.state) == NONE))
		start_first();
}

void atr_worker_committed(unsigned why, uint64_t waiting)
{
	uint64_t batch = __atomic_load_n(&w.batch, __ATOMIC_SEQ_CST);

	start_once();
	if (atr_unlikely(why))
		wake(why);
	else if (atr_unlikely(batch && waiting >= batch))
		wake(ATR_WAKE_BATCH);
}

void atr_worker_load(void)
{
	start_once();
	wait_until_loaded();
}

void atr_worker_wanted(void)
{
	start_once();
}

void atr_worker_wake_ring(unsigned why)
{
	if (atr_load(&w.state) == RUNNING)
		wake(why);
}

/* Asked to be done by `deadline`; true when the thread answered before `until`. */
static bool flush_within(uint32_t bits, uint64_t deadline, uint64_t until)
{
	uint32_t asked, done;

	__atomic_store_n(&w.deadline, deadline, __ATOMIC_RELEASE);
	asked = __atomic_add_fetch(&w.flush_asked, 1, __ATOMIC_ACQ_REL);
	wake(bits);
	/* Pairs with the release in host_flushed(). */
	while ((int32_t)((done = atr_load_acquire(&w.flush_done)) - asked) < 0) {
		uint64_t now = atr_now();

		if (now >= until)
			return false;
		(void)atr_sys_futex_wait(&w.flush_done, done, until - now);
	}
	return true;
}

static bool flush(uint32_t bits, uint64_t until)
{
	return flush_within(bits, until, until);
}

static bool running(void)
{
	return atr_load(&w.state) == RUNNING && atr_tls.inside != ATR_IN_BACKGROUND;
}

/* Before a flush: what a vfork child recorded is nobody's to send yet. */
static void start_owed(void)
{
	if (atr_unlikely(atr_load(&w.owed) && atr_load(&w.state) == NONE))
		start_first();
}

void atr_worker_flush(void)
{
	uint64_t now = atr_now();

	start_owed();
	/* A collector that hung a moment ago hangs still; a shell tries every directory of PATH. */
	if (!running() || now < w.no_flush_until)
		return;
	if (!flush(ATR_WAKE_FLUSH, now + exit_timeout_ns()))
		w.no_flush_until = now + NO_FLUSH_NS;
}

/* However often the end is announced, it is held up once. */
static uint64_t end_until(void)
{
	uint64_t none = 0, until = atr_now() + exit_timeout_ns();

	(void)__atomic_compare_exchange_n(&w.end_until, &none, until, 0, __ATOMIC_RELAXED,
					  __ATOMIC_RELAXED);
	return atr_load(&w.end_until);
}

void atr_worker_ending(void)
{
	uint64_t until;

	start_owed();
	until = end_until();
	if (!running() || atr_load(&w.stop_asked))
		return;
	/* A fifth of the time is the stop's, in which what is left is counted. */
	if (!flush(ATR_WAKE_FLUSH, until - exit_timeout_ns() / 5))
		wait_until_loaded();
}

void atr_worker_stop(void)
{
	uint64_t until, least;

	start_owed();
	until = end_until();
	least = atr_now() + STOP_LEAST_NS;
	if (!running() || __atomic_exchange_n(&w.stop_asked, 1, __ATOMIC_RELAXED))
		return;
	/* When it does not answer in time it must at least stay out of its
	 * libraries, whose exit handlers run next: the gate is never given back. */
	if (!flush(ATR_WAKE_FLUSH | ATR_WAKE_STOP, until > least ? until : least) &&
	    atr_forkgate_take(STOP_WAIT_NS)) {
		w.gate_kept = true;
		atr_store(&w.state, STOPPED);
	}
}

static void tell_leave(enum leave how)
{
	atr_store_release(&w.leave, how);
	atr_sys_futex_wake(&w.leave, INT32_MAX);
}

/* The kernel has forgotten the thread: from then on this process has one less. */
static bool gone(uint64_t until)
{
	const uint32_t never = 0;

	while (atr_sys(SYS_tgkill, atr_process.pid, atr_load(&w.tid), 0, 0, 0, 0) != -ESRCH) {
		if (atr_now() >= until)
			return false;
		(void)atr_sys_futex_wait(&never, 0, 50000);
	}
	atr_store(&w.tid, 0);
	return true;
}

/* Without an exporter it ends by itself; it may be about to. */
static bool ends_by_itself(void)
{
	if (atr_load_acquire(&w.state) != FAILED)
		return false;
	if (atr_load(&w.tid))
		(void)gone(atr_now() + STOP_WAIT_NS);
	return true;
}

bool atr_worker_leave(void)
{
	uint64_t until = atr_now() + STOP_WAIT_NS;

	if (atr_load(&w.state) == NONE || ends_by_itself())
		return true;
	if (!atr_load(&w.tid))
		return false;
	tell_leave(END);
	if (w.gate_kept)
		atr_forkgate_leave(); /* it waits there, and may not go back to its libraries */
	while (atr_load_acquire(&w.leave) == END && atr_now() < until)
		(void)atr_sys(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
	return atr_load(&w.leave) == ENDING;
}

bool atr_worker_pause(void)
{
	uint32_t stopped = STOPPED;
	uint64_t now, signals;
	bool away = false;

	if (ends_by_itself() || !running() || atr_load(&w.end_until) ||
	    __atomic_exchange_n(&w.stop_asked, 1, __ATOMIC_RELAXED))
		return false;
	signals = atr_sys_block_signals();
	now = atr_now();
	/* It may be in the middle of loading its libraries, but no more than that. */
	if (flush_within(ATR_WAKE_FLUSH | ATR_WAKE_STOP, now + exit_timeout_ns(),
			 now + exit_timeout_ns() + LOAD_WAIT_NS) &&
	    __atomic_compare_exchange_n(&w.state, &stopped, AWAY, 0, __ATOMIC_ACQUIRE,
					__ATOMIC_RELAXED)) {
		/* What its libraries do at the end of a thread is as much inside them as the rest.
		 */
		bool got = atr_forkgate_take(STOP_WAIT_NS);

		tell_leave(RETURN);
		away = gone(atr_now() + 10 * STOP_WAIT_NS);
		if (got)
			atr_forkgate_leave();
		atr_debug(ATR_DEBUG_WORKER, "worker: %s", away ? "away" : "does not end");
	}
	(void)ends_by_itself();
	atr_sys_restore_signals(signals);
	return away;
}

void atr_worker_resume(void)
{
	atr_store(&w.requests, 0);
	atr_store(&w.leave, STAY);
	atr_store(&w.settled, 0);
	atr_store(&w.stop_asked, 0);
	atr_store_release(&w.state, NONE);
}

void atr_worker_count_rest(void)
{
	/* While it runs the rings are the thread's to read.  Kept from its libraries it does
	 * nothing more, whatever it was in the middle of. */
	if (atr_load_acquire(&w.state) != RUNNING)
		atr_thread_count_rest(w.gate_kept);
}

void atr_worker_leave_spool(void)
{
	if (atr_load_acquire(&w.state) != RUNNING && atr_thread_empty())
		atr_spool_remove();
}

static int our_object(struct dl_phdr_info *info, size_t size, void *ret)
{
	(void)size;
	if (info->dlpi_addr != (uintptr_t)&__ehdr_start)
		return 0;
	*(const char **)ret = info->dlpi_name;
	return 1;
}

void atr_worker_init(void)
{
	const char *path = NULL, *slash;
	char cwd[2048] = "";
	long len;

	n_threads = dlsym(RTLD_DEFAULT, "__nptl_nthreads");
	(void)dl_iterate_phdr(our_object, &path);
	if (!path)
		return;
	/* A relative LD_PRELOAD means something else after a chdir(). */
	if (path[0] != '/') {
		len = atr_sys(SYS_getcwd, cwd, sizeof(cwd), 0, 0, 0, 0);
		if (len <= 0 || cwd[0] != '/')
			cwd[0] = '\0';
	}
	slash = strrchr(path, '/');
	(void)atr_format(exporter_path, sizeof(exporter_path), "%s%s%.*s%s", cwd, cwd[0] ? "/" : "",
			 slash ? (int)(slash + 1 - path) : 0, path, EXPORTER_FILE);
}
