/* SPDX-License-Identifier: Apache-2.0 */
/*
 * autotrace drain: sends what programs left that could not send it themselves, or files of
 * OTLP JSON.
 *
 * The work is the exporter's (exporter/orphan.c, exporter/replay.c); this stands in for the shim: a
 * host without rings, which has the same settings from the same environment.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "preload/host.h"
#include "preload/spoolname.h"

#define EXPORTER "libautotrace-exporter.so"
#define NS_PER_S 1000000000ull

static const char help[] =
	"usage: autotrace drain [--watch] [--same] [--exporter NAME] [--endpoint URL]\n"
	"       autotrace drain [--exporter NAME] [--endpoint URL] FILE...\n"
	"\n"
	"Sends the spans that were left by programs of yours that were killed, to the\n"
	"collector that the OTEL_* variables name, each under its own program's resource.\n"
	"\n"
	"With FILEs, those are sent that stand in them as lines of OTLP JSON (AUTOTRACE_FILE\n"
	"writes such), each span once; a directory means the *.jsonl\n"
	"and *.jsonl.N in it.  A file of which all was sent is removed; one that holds no\n"
	"traces is left alone.\n"
	"\n"
	"  --same               only what would have gone to the same collector\n"
	"  --watch              go on until SIGINT or SIGTERM, every OTEL_BSP_SCHEDULE_DELAY\n"
	"  --exporter NAME      where spans go: otlp, zipkin, otlp/stdout, console\n"
	"  --endpoint URL       the collector (OTEL_EXPORTER_OTLP_ENDPOINT)\n"
	"  -h, --help           this\n"
	"\n"
	"The exit status is 0 when nothing is left, 1 when something could not be sent, and\n"
	"125 if autotrace fails.  What a collector refuses is left where it is, unless it\n"
	"calls it malformed (HTTP 400): then lines stay in FILE.bad, and the spool's are "
	"dropped.\n";

static const struct option options[] = {
	{ "watch", no_argument, NULL, 'w' },	      { "same", no_argument, NULL, 's' },
	{ "exporter", required_argument, NULL, 'x' }, { "endpoint", required_argument, NULL, 'u' },
	{ "help", no_argument, NULL, 'h' },	      { 0 },
};

static struct atr_config config;
static struct atr_stats stats;
static struct atr_health health;
static char spool[PATH_MAX];
static volatile sig_atomic_t stopped;

static void stop(int signal)
{
	(void)signal;
	stopped = 1;
}

/* ---- the host ---- */

static uint64_t now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static size_t drain(size_t max, atr_take_fn *take, void *arg)
{
	(void)max;
	(void)take;
	(void)arg;
	return 0;
}

static void settle(const struct atr_place *place, enum atr_settled what)
{
	(void)place;
	(void)what;
}

/* libcurl looks itself: here is no program that would notice. */
static void look_up(const char *endpoint, struct atr_addresses *ret)
{
	(void)endpoint;
	*ret = (struct atr_addresses){ 0 };
}

static void queued(int64_t change)
{
	(void)change;
}

static void nothing(void)
{
}

static unsigned pending(void)
{
	return stopped ? ATR_WAKE_FLUSH | ATR_WAKE_STOP : ATR_WAKE_TIME;
}

static int sleep_fds(struct pollfd *fds, unsigned n_fds, int timeout_ms)
{
	int n = poll(fds, n_fds, timeout_ms);

	return n < 0 ? -errno : n;
}

static bool watch;

static unsigned wait_until(uint64_t until, uint64_t n_spans)
{
	(void)n_spans;

	uint64_t at = now();

	if (until > at && !stopped)
		(void)poll(NULL, 0, (int)((until - at) / 1000000 + 1));
	return pending();
}

/* Of a batch that begins now, as the exporter has it; 0 is no limit. */
static uint64_t deadline(void)
{
	uint32_t ms = config.exporters & ATR_EXPORTER_OTLP ? config.otlp_traces_timeout
							   : config.zipkin_timeout;

	return ms ? now() + ms * 1000000ull : UINT64_MAX;
}

#define SAID_MAX 64
#define SAID_NS 60000000000ull

/* Each round of a watch begins anew; what it says has been said, within a minute. */
static bool said_lately(const char *line)
{
	static struct {
		uint64_t hash, at;
	} said[SAID_MAX];
	uint64_t hash = 14695981039346656037ull; /* FNV-1a */
	size_t oldest = 0;

	for (; *line; line++)
		hash = (hash ^ (unsigned char)*line) * 1099511628211ull;
	for (size_t i = 0; i < SAID_MAX; i++) {
		if (said[i].hash == hash && said[i].at && now() - said[i].at < SAID_NS)
			return true;
		if (said[i].at < said[oldest].at)
			oldest = i;
	}
	said[oldest].hash = hash;
	said[oldest].at = now();
	return false;
}

static void atr_printf(2, 3) say(enum atr_LOG_LEVEL level, const char *fmt, ...)
{
	char line[2048];
	va_list args;

	if (level > config.log_level)
		return;
	va_start(args, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (!watch || !said_lately(line))
		fprintf(stderr, "autotrace: %s\n", line);
}

/* Of a terminal here, whichever of the two it would be in a program. */
static long write_out(const char *bytes, size_t len)
{
	static bool said;

	if (fwrite(bytes, 1, len, stdout) == len && fflush(stdout) == 0)
		return (long)len;
	if (!said)
		say(ATR_LOG_WARN,
		    "standard output cannot be written: %s; spans stay where they are",
		    strerror(errno));
	said = true;
	return -EIO;
}

static const char *spool_dir(void)
{
	return spool;
}

static void used(uint64_t bytes)
{
	(void)bytes;
}

static void resource(const uint8_t *bytes, size_t len)
{
	(void)bytes;
	(void)len;
}

static const struct atr_object *object(unsigned index)
{
	(void)index;
	return NULL;
}

static struct atr_host host = {
	.abi = ATR_HOST_ABI,
	.config = &config,
	.stats = &stats,
	.drain = drain,
	.settle = settle,
	.rewind = nothing,
	.now = now,
	.wait = wait_until,
	.queued = queued,
	.pending = pending,
	.sleep_fds = sleep_fds,
	.deadline = deadline,
	.flushed = nothing,
	.log = say,
	.write_stderr = write_out,
	.write_stdout = write_out,
	.loaded = nothing,
	.look_up = look_up,
	.spool_dir = spool_dir,
	.spool_used = used,
	.resource = resource,
	.orphans_only = true,
	.object = object,
	.health = &health,
};

/* ---- the command ---- */

static void warn(const char *line)
{
	fprintf(stderr, "autotrace: %s\n", line);
}

static const char *env(const char *name)
{
	return getenv(name);
}

static atr_exporter_run_fn *load(void)
{
	char path[PATH_MAX];
	void *handle, *run;

	if (!atr_cli_beside(EXPORTER, path))
		return NULL;
	handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	run = handle ? dlsym(handle, ATR_EXPORTER_RUN) : NULL;
	if (!run)
		fprintf(stderr, "autotrace: %s cannot be loaded: %s\n", path, dlerror());
	return (atr_exporter_run_fn *)run;
}

/* Whatever the directory: what is in it decides what is left, also when told to stop. */
static bool drain_all(atr_exporter_run_fn *run)
{
	const char *bases[] = { config.spool_dir, getenv("XDG_RUNTIME_DIR"), "/dev/shm", "/tmp" };
	uint64_t left = 0;

	for (size_t i = 0; i < ATR_ARRAY_LEN(bases); i++) {
		if (!bases[i] || bases[i][0] != '/' || (i && config.spool_dir))
			continue;
		/* su(1) leaves somebody else's XDG_RUNTIME_DIR: nothing of ours can be there. */
		if (!config.spool_dir && faccessat(AT_FDCWD, bases[i], X_OK, AT_EACCESS) != 0)
			continue;
		(void)snprintf(spool, sizeof(spool), "%s/autotrace-%u", bases[i],
			       (unsigned)geteuid());
		run(&host);
		left += stats.left;
		stats.left = 0;
	}
	return left == 0;
}

/* Programs keep all in memory then. */
static bool is_usable(const char *dir)
{
	if (!dir || dir[0] == '/')
		return true;
	say(ATR_LOG_WARN, "AUTOTRACE_SPOOL_DIR=\"%s\" is not an absolute path; nothing is sent",
	    dir);
	return false;
}

/* Returns the exit status. */
static int told(bool done)
{
	if (stats.adopted)
		say(ATR_LOG_INFO, "%llu spans sent", (unsigned long long)stats.adopted);
	if (stats.adopted_refused)
		say(ATR_LOG_WARN, "%llu spans were not taken by the collector",
		    (unsigned long long)stats.adopted_refused);
	if (stopped && !done)
		say(ATR_LOG_WARN, "told to stop before all was sent; the rest is left");
	return done ? 0 : 1;
}

/* ---- files ---- */

#define FILES_MAX 65536

static const char *files[FILES_MAX + 1];
static size_t n_files;

static bool add_file(const char *name)
{
	if (n_files == FILES_MAX)
		return false;
	files[n_files] = strdup(name);
	return files[n_files++] != NULL;
}

static size_t without(const char *name, size_t n, const char *end)
{
	size_t k = strlen(end);

	return n > k && memcmp(name + n - k, end, k) == 0 ? n - k : n;
}

/* NAME.jsonl, with a number behind it where it was rotated. */
static bool is_lines(const char *name, size_t n)
{
	size_t digits = 0;

	while (digits < n && strchr("0123456789", name[n - 1 - digits]))
		digits++;
	if (digits && digits < n && name[n - 1 - digits] == '.')
		n -= digits + 1;
	return without(name, n, ".jsonl") < n;
}

/* Also what a drain was killed at, but where NAME itself is there: they go together. */
static bool is_wanted(int dir, const char *name)
{
	char before[NAME_MAX + 1];
	size_t n = strlen(name), k = without(name, n, ".draining");

	(void)snprintf(before, sizeof(before), "%.*s", (int)k, name);
	return is_lines(name, k) && (k == n || faccessat(dir, before, F_OK, 0) != 0);
}

static bool add_directory(const char *path, DIR *dir)
{
	const struct dirent *entry;
	char name[PATH_MAX];
	bool good = true;

	while (good && (entry = readdir(dir))) {
		if (!is_wanted(dirfd(dir), entry->d_name))
			continue;
		(void)snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		good = add_file(name);
	}
	return good;
}

static bool add_named(const char *path)
{
	DIR *dir = opendir(path);
	bool good = dir ? add_directory(path, dir) : add_file(path);

	if (dir)
		(void)closedir(dir);
	return good;
}

static int drain_files(atr_exporter_run_fn *run, char **names)
{
	for (; *names; names++)
		if (!add_named(*names)) {
			fprintf(stderr, "autotrace: more than %d files, or no memory\n", FILES_MAX);
			return ATR_EXIT_OURS;
		}
	host.files = files;
	run(&host);
	return told(stats.left == 0);
}

/* What was on its way when we died would count as sent, for good.  Who started us with a signal
 * ignored (nohup, cli/watch.c) means it. */
static void stop_on(int signal)
{
	const struct sigaction act = { .sa_handler = stop };
	struct sigaction before;

	if (sigaction(signal, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
		(void)sigaction(signal, &act, NULL);
}

int atr_cli_drain(int argc, char **argv)
{
	static char name[] = "autotrace"; /* getopt's messages begin with it */
	bool same = false, done;
	atr_exporter_run_fn *run;
	int c;

	argv[0] = name;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'w':
			watch = true;
			break;
		case 's':
			same = true;
			break;
		case 'x':
			(void)setenv("OTEL_TRACES_EXPORTER", optarg, 1);
			break;
		case 'u':
			(void)unsetenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
			(void)setenv("OTEL_EXPORTER_OTLP_ENDPOINT", optarg, 1);
			break;
		case 'h':
			fputs(help, stdout);
			return fflush(stdout) == 0 ? 0 : ATR_EXIT_OURS;
		default:
			return ATR_EXIT_OURS;
		}
	}
	if (argv[optind] && (watch || same)) {
		fprintf(stderr, "autotrace: --%s is about the spool, and not for files\n",
			watch ? "watch" : "same");
		return ATR_EXIT_OURS;
	}
	if (argv[optind]) /* not into themselves */
		(void)unsetenv("AUTOTRACE_FILE");
	atr_config_read(&config, env, warn);
	if (same)
		host.destination = atr_spool_destination(&config);
	run = load();
	if (!run)
		return ATR_EXIT_OURS;
	stop_on(SIGINT);
	stop_on(SIGTERM);
	stop_on(SIGHUP);
	if (argv[optind])
		return drain_files(run, argv + optind);
	if (!is_usable(config.spool_dir))
		return 1;
	do {
		done = drain_all(run);
		if (watch)
			(void)wait_until(now() + config.bsp_schedule_delay * 1000000ull, 0);
	} while (watch && !stopped);
	if (stats.corrupt)
		say(ATR_LOG_WARN, "%llu records or files could not be read and were skipped",
		    (unsigned long long)stats.corrupt);
	return told(done);
}
