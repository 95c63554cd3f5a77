/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_HOST_H
#define ATR_PRELOAD_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/compiler.h"
#include "preload/config.h"
#include "preload/record.h"
#include "preload/stats.h"
#include "preload/status.h"

/*
 * The only door between libautotrace.so and libautotrace-exporter.so: the shim
 * loads the exporter object by dlopen, takes atr_exporter_run by dlsym and calls
 * it on the background thread with this table.  Nothing else is shared.
 *
 * Rules for the callee.  It runs on the thread named "autotrace", which has all
 * signals blocked and a file descriptor table of its own: descriptors 0, 1, 2
 * are not open.  It holds the fork gate when it is called, and must hold it
 * whenever it is inside a library (libcurl, OpenSSL, zlib, protobuf-c, malloc);
 * wait() and sleep_fds() are the only places where it waits, and they let go of
 * the gate.  After a fork, run() is called anew in the child, on a new thread,
 * while the old call never returned: every state lives in run()'s own frame or
 * in memory it hangs from there, and what a former run held is abandoned, never
 * freed.
 */
#define ATR_HOST_ABI 10

/* Why wait() came back; bits. */
enum atr_wake {
	ATR_WAKE_TIME = 0,	 /* the time is up, nothing else */
	ATR_WAKE_RING = 1,	 /* a ring has much in it: drain, and send */
	ATR_WAKE_FLUSH = 2,	 /* export everything now, by deadline(); then call flushed() */
	ATR_WAKE_STOP = 4,	 /* comes with FLUSH: then return from run() */
	ATR_WAKE_CANDIDATES = 8, /* a ring of candidates has much in it: drain those */
	ATR_WAKE_BATCH = 16,	 /* as many spans wait as wait() was told: drain */
};

struct atr_object;
struct atr_strategy;
struct pollfd;

/* Spans begun, for metrics: by where their parent is, and what the sampler said. */
enum atr_origin { ATR_ORIGIN_NONE, ATR_ORIGIN_LOCAL, ATR_ORIGIN_REMOTE, ATR_ORIGINS };
enum atr_result { ATR_RESULT_DROP, ATR_RESULT_RECORD_ONLY, ATR_RESULT_SAMPLE, ATR_RESULTS };
struct atr_counts {
	uint64_t started[ATR_ORIGINS][ATR_RESULTS];
	uint64_t live[2]; /* begun and not ended, but for single calls: sampled, candidates */
	uint64_t waiting; /* spans in the queue */
};

/* What a look-up found. */
struct atr_addresses {
	/* CURLOPT_RESOLVE's form, "host:port:addr,addr"; empty when there is nothing to look up (a
	 * number, localhost), or it was not found. */
	char resolved[1024];
	const char *error; /* why it was not: getaddrinfo()'s text */
};

/*
 * Where a record is that was drained: it stays in its ring until it is settled, for a
 * ring in a file outlives the process.  Records of a ring are settled in the order they came.
 */
struct atr_link;
struct atr_place {
	struct atr_link *link; /* the host's */
	uint64_t end;
};

enum atr_settled {
	ATR_SHIPPED, /* all of it is on its way to a collector, who has not answered yet */
	ATR_BACK,    /* it was shipped, but has to be sent again */
	ATR_SETTLED, /* it was delivered, or given up: its place is free */
};

typedef void atr_take_fn(void *arg, const struct atr_record *record, const struct atr_place *place);

struct atr_host {
	uint32_t abi; /* ATR_HOST_ABI */
	const struct atr_config *config;
	struct atr_stats *stats; /* counted with atomic adds */

	/*
	 * Takes up to `max` committed records out of all rings, oldest first per
	 * ring, those that were not taken before.  take() copies what it wants, and
	 * keeps the place.  Returns how many were taken.
	 */
	size_t (*drain)(size_t max, atr_take_fn *take, void *arg);

	/* What became of a record. */
	void (*settle)(const struct atr_place *place, enum atr_settled what);

	/* Everything that is not settled will be drained again. */
	void (*rewind)(void);

	/*
	 * The same out of the rings of candidates (ATR_RECORD_CANDIDATE), which nobody but this
	 * process ever reads: they are gone from there when this returns, and not to be settled.
	 */
	size_t (*candidates)(size_t max, atr_take_fn *take, void *arg);

	/*
	 * A candidate that is to be exported after all, with an attribute (a field of the span) of
	 * at most ATR_RECORD_SPARE bytes: drain() will hand it out as a record like any other.
	 * Where the queue is full it is dropped, and counted as others are.
	 */
	void (*keep)(const struct atr_record *record, const uint8_t *attr, size_t len);

	/* Monotonic nanoseconds; the clock of all deadlines here. */
	uint64_t (*now)(void);

	/* Waits without the gate until `until` (monotonic ns), or a reason in the returned bits;
	 * one is that n_spans wait, 0: is none. */
	unsigned (*wait)(uint64_t until, uint64_t n_spans);

	/* Spans left the queue to be exported (-n), or were put back (n).  What is recorded has
	 * entered it; what waits is what is in the rings and in the callee's queue. */
	void (*queued)(int64_t change);

	/* The same reasons, without waiting. */
	unsigned (*pending)(void);

	/* Waits without the gate on descriptors, at most timeout_ms; returns poll()'s result or
	 * -errno. */
	int (*sleep_fds)(struct pollfd *fds, unsigned n_fds, int timeout_ms);

	/* While FLUSH is pending: when the program will stop waiting for us (monotonic ns). */
	uint64_t (*deadline)(void);

	/* The flush that was pending when wait() or pending() reported it is done. */
	void (*flushed)(void);

	/* One line to the program's standard error, if `level` is enabled.  No newline at the end.
	 */
	void (*log)(enum atr_LOG_LEVEL level, const char *fmt, ...) atr_printf(2, 3);

	/* Bytes to the program's standard error as it is now (the console exporter's way out).
	 * Returns how many were written, fewer than all when nobody reads them for a second; -errno
	 * when none was. */
	long (*write_stderr)(const char *bytes, size_t len);

	/* The same for standard output (OTEL_TRACES_EXPORTER=otlp/stdout). */
	long (*write_stdout)(const char *bytes, size_t len);

	/*
	 * To be called once after curl_global_init(): registers the shim's stop so
	 * that it runs before the exit handlers of the libraries just loaded.
	 */
	void (*loaded)(void);

	/* The endpoint of traces (preload/target.h), NULL if none was looked up before the exporter
	 * was loaded, and what was found. */
	const char *looked_up;
	struct atr_addresses addresses;

	/*
	 * Looks up whom a connection to that endpoint goes to, itself or its proxy.  It may
	 * take seconds.  With neither a result nor an error libcurl looks itself.
	 */
	void (*look_up)(const char *endpoint, struct atr_addresses *ret);

	/*
	 * The spool, where dead processes' files are (preload/spool.h); NULL: there is
	 * none.  Only those are ours to send whose destination is ours, 0 is all.
	 */
	const char *(*spool_dir)(void);
	uint32_t destination;

	/* What all its files take up. */
	void (*spool_used)(uint64_t bytes);

	/* The resource as it is sent, for whoever sends what we leave. */
	void (*resource)(const uint8_t *bytes, size_t len);

	/* There is no program here, only the spool: run() returns when nothing is left in it
	 * that can be sent. */
	bool orphans_only;

	/* Nor a spool: only these files, NULL at the end (exporter/replay.h); NULL: that is not so.
	 */
	const char *const *files;

	/* Once in a while: the sampler tells people what it has to tell. */
	void (*sampler_say)(void);

	/* What a jaeger_remote sampler is told to do from now on. */
	void (*strategy)(const struct atr_strategy *strategy);

	/* The object that addresses with this index lay in (preload/object.h), or NULL. */
	const struct atr_object *(*object)(unsigned index);

	/* For metrics; NULL: there are no rings. */
	void (*count)(struct atr_counts *ret);

	/* How exporting goes, for `autotrace status`; the callee's to write. */
	struct atr_health *health;

	/* What a remote sampler goes by, ATR_STATUS_STRATEGY bytes, for the same. */
	char *strategy_shown;
};

/* The symbol looked up in libautotrace-exporter.so.  Returns after ATR_WAKE_STOP. */
#define ATR_EXPORTER_RUN "atr_exporter_run"
typedef void atr_exporter_run_fn(const struct atr_host *host);

#endif
