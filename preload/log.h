/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_LOG_H
#define ATR_PRELOAD_LOG_H

#include <stdbool.h>
#include <stddef.h>

#include "preload/compiler.h"
#include "preload/config.h"

/*
 * Lines of our own, "autotrace[PID]: ...", on standard error and nowhere else.
 * A program thread writes to descriptor 2 only while it is still the file it
 * was when we started, or one put there on purpose; the background thread borrows the program's
 * descriptor for the moment.  Signal safe; nothing is allocated.
 */
void atr_log_init(void);
void atr_log(enum atr_LOG_LEVEL level, const char *fmt, ...) atr_printf(2, 3);

/* The program has put another file under descriptor fd, 1 or 2 (dup2, freopen): that is it from now
 * on. */
void atr_log_follow(int fd);

/* Raw bytes to the program's standard error, from the background thread.  0 or -errno. */
long atr_log_write(const char *bytes, size_t len);

/* The same to its standard output: for what was asked to go there. */
long atr_log_write_stdout(const char *bytes, size_t len);

/* Debug lines: AUTOTRACE_DEBUG=domain,... */
enum atr_domain {
	ATR_DEBUG_STATS = 1,
	ATR_DEBUG_WORKER = 2,
	ATR_DEBUG_REAL = 4,
	ATR_DEBUG_BUG = 8, /* the first record is an inconsistency */
};
extern unsigned atr_debug_domains;

#define atr_debug(domain, ...)                                  \
	do {                                                    \
		if (atr_unlikely(atr_debug_domains & (domain))) \
			atr_log(ATR_LOG_NONE, __VA_ARGS__);     \
	} while (0)

#endif
