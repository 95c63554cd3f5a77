/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_SPOOLNAME_H
#define ATR_PRELOAD_SPOOLNAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Whose a spool file is, and whether that process lives.  Pure.
 *
 * A process is known by its pid namespace, its pid, its start (clock ticks after
 * boot) and its image: a hash of where the program lies in memory, which is
 * another one after an exec.  0 is "not known".
 */
struct atr_spool_name {
	uint64_t ns, pid, start;
	uint32_t image;
	uint32_t destination; /* of its spans, a hash */
	uint64_t nonce;
};

#define ATR_SPOOL_NAME_MAX 128

/* Where spans go by these settings: exporters, endpoints, headers and file.  Never 0. */
struct atr_config;
uint32_t atr_spool_destination(const struct atr_config *config);

/* "ns-pid-start-image-destination-nonce", in hex. */
void atr_spool_name_text(char text[static ATR_SPOOL_NAME_MAX], const struct atr_spool_name *name);

/* False when it is not exactly such a text. */
bool atr_spool_name_parse(const char *text, struct atr_spool_name *ret);

/* What /proc/<pid>/stat says. */
struct atr_spool_stat {
	uint64_t pid, start, n_threads;
	uint32_t image;
	char state;
};

/* False when it is not such a text. */
bool atr_spool_stat_parse(const char *text, size_t len, struct atr_spool_stat *ret);

/* Is the process that wrote the name the one that the text is about, and alive?  When in doubt,
 * yes. */
bool atr_spool_alive(const struct atr_spool_name *name, const char *text, size_t len);

#endif
