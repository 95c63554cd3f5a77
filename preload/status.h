/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_STATUS_H
#define ATR_PRELOAD_STATUS_H

#include <stdint.h>

/*
 * What a process says of itself, for `autotrace status`: a page of its spool file, which
 * can be read while it lives and, if it leaves a file, when it is dead.
 *
 * It describes itself (names beside counters, settings as text), so that a command of
 * another version reads it, too.  One at a time writes; `change` is odd meanwhile, and
 * whoever reads looks before and after.  Settings never have a secret in them.
 */
#define ATR_STATUS_VERSION 1u
#define ATR_STATUS_SIZE 4096
#define ATR_STATUS_COUNTERS 64
#define ATR_STATUS_NAMES 1024
#define ATR_STATUS_SETTINGS 1344
#define ATR_STATUS_STRATEGY 384

/* May hooks do anything? */
enum atr_tracing {
	ATR_TRACING_ON,
	ATR_TRACING_BUG,     /* an inconsistency of ours: off */
	ATR_TRACING_SANDBOX, /* off since the program entered seccomp */
};

/* The background thread. */
enum atr_working {
	ATR_WORKING_NONE,	 /* not started yet */
	ATR_WORKING_STARTED,	 /* loads the exporter */
	ATR_WORKING_RESOLVING,	 /* looks the collector's name up */
	ATR_WORKING_RUNNING,	 /* exports */
	ATR_WORKING_STOPPED,	 /* the process is ending, or gave up rights */
	ATR_WORKING_NO_EXPORTER, /* the exporter cannot be loaded */
	ATR_WORKING_NO_THREAD,	 /* none could be started */
};

/* How exporting goes; the exporter's to write.  Times: ns since 1970, 0 is never. */
struct atr_health {
	uint64_t ok_at;	     /* a batch was accepted */
	uint64_t error_at;   /* one was not */
	uint64_t hold_until; /* nobody answers: the next attempt is then */
	uint64_t queued;     /* spans in the queue behind the rings */
	uint64_t queue_max;
	uint64_t inflight;  /* spans on their way */
	uint64_t backlog;   /* files of dead processes that are being sent */
	char error[256];    /* the last one, a printable line */
	char endpoint[256]; /* where to, without user name, password and query */
};

struct atr_status {
	uint32_t version; /* last: the rest is there; 0: nothing is */
	uint32_t change;
	uint32_t tracing; /* enum atr_tracing */
	uint32_t working; /* enum atr_working */
	uint64_t updated; /* ns since 1970 */
	uint32_t n_counters;
	uint32_t spool_full; /* all files together are at their limit */
	uint64_t counters[ATR_STATUS_COUNTERS];
	struct atr_health health;
	char names[ATR_STATUS_NAMES];	    /* of the counters, each followed by a blank */
	char settings[ATR_STATUS_SETTINGS]; /* NAME=value lines */
	char strategy[ATR_STATUS_STRATEGY]; /* what a remote sampler goes by, a printable line */
};

/* ---- the shim's own side (preload/status.c) ---- */

/* What the background thread's exporter writes; it is copied by atr_status_write(). */
extern struct atr_health atr_health;
extern char atr_status_strategy[ATR_STATUS_STRATEGY];

/* Fills a new page, before anybody else sees it. */
void atr_status_begin(struct atr_status *page);

/* Brings this process's page up to date, when there is one.  From any thread. */
void atr_status_write(void);

/* These two stand until told otherwise. */
void atr_status_tracing(enum atr_tracing tracing);
void atr_status_working(enum atr_working working);

/* In a forked child: nothing has been exported yet. */
void atr_status_forked(void);

#endif
