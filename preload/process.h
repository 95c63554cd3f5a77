/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_PROCESS_H
#define ATR_PRELOAD_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/* What is true of this process, and of no other; made anew in a forked child. */
struct atr_process {
	uint32_t epoch; /* forks since the first of us: state of an older epoch is another process's
			 */
	int pid;
	uint32_t children; /* forks it has done */
};

extern struct atr_process atr_process;

/* True in a vfork child: it shares our memory, but is not our process. */
bool atr_process_foreign(void);

/* The process is about to end: flush, stop, print the counters if asked for.  Once. */
void atr_end(void);

#endif
