/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_CLI_SEEN_H
#define ATR_CLI_SEEN_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cli/elf.h"
#include "preload/config.h"
#include "preload/spoolname.h"
#include "preload/status.h"

/*
 * What can be seen of a process from outside, by reading /proc and its spool file: nothing
 * is attached to, stopped or sent a signal.  What is read there is another's word, and only
 * believed as far as it fits.
 */
struct atr_seen {
	int pid;
	bool exists;	 /* there is a process of that number */
	bool zombie;	 /* it has ended, and nobody has asked */
	bool stopped;	 /* by a signal, or a debugger */
	bool readable;	 /* its environment and its mappings could be read */
	uid_t uid, euid; /* of the dead: whose directory their file is in */
	bool others;	 /* it is another user's */
	char name[64];
	char exe[PATH_MAX]; /* of the dead both are as their file says */

	/* How it was started. */
	enum atr_elf_kind elf;
	bool go;
	bool secure;  /* with other rights than its starter's: the loader drops LD_PRELOAD */
	bool preload; /* its LD_PRELOAD names us */
	char library[PATH_MAX]; /* under this name */
	bool library_missing;	/* where there is no file (any more) */
	bool mapped;		/* we are loaded */
	bool tsan, valgrind;
	bool sandboxed;	       /* it has more seccomp filters than who started it */
	bool thread;	       /* it has our background thread */
	bool config_known;     /* `config` is what its environment says */
	bool parent_unsampled; /* so is this: it has a TRACEPARENT of a trace nobody records */
	struct atr_config config;

	/* Its file in the spool. */
	bool file;
	char path[PATH_MAX];
	struct atr_spool_name who;
	uint64_t bytes; /* that the file takes up */
	bool told;	/* `status` is what it says of itself */
	struct atr_status status;
	uint64_t given_up;   /* who last sent what is left in it ended unanswered; ns since 1970 */
	uint32_t n_given_up; /* so many did; 0: none */
	uint32_t n_rings;
	uint64_t ring_bytes, used_bytes; /* of all rings; of the fullest one, */
	uint64_t fullest_bytes;		 /* which has this size */
	uint64_t written;		 /* spans, ever, as the rings say */
	uint64_t waiting;		 /* spans in them that are not delivered */
	bool uncounted; /* there may be more of all these: not all rings were looked at */
};

/* The process of that number, and its file if it has one. */
void atr_see(struct atr_seen *s, int pid);

/* Each process of this user, as root of everybody, that is traced, or was and left a file.
 * Bounded. */
void atr_see_all(void (*each)(const struct atr_seen *s, void *arg), void *arg);

/* The n-th counter by name; 0 when there is none. */
uint64_t atr_seen_counter(const struct atr_seen *s, const char *name);

/*
 * A file that is open, as `status` sees it: fills the last part of *s.  False when it is none
 * of ours.  For tests and fuzzers, too: nothing in it is believed.
 */
bool atr_seen_file(struct atr_seen *s, int fd);

#endif
