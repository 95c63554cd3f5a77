/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_DETECT_H
#define ATR_EXPORTER_DETECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct atr_resource;

/* Everything this machine and process tell about themselves, service.* and telemetry.* included. */
void atr_detect(struct atr_resource *r);

/* The same about a process that is no more, from the little that it left. */
struct atr_dead {
	uint32_t pid;
	uint64_t start_ticks;  /* 0: not known */
	const uint8_t *random; /* 16 bytes of its own */
	const char *exe;       /* what /proc/<pid>/exe said */
};
void atr_detect_dead(struct atr_resource *r, const struct atr_dead *dead);

/* The parts of it that are pure; texts are not NUL-terminated. */

/* /proc/self/stat: start of the process in clock ticks since boot; 0 if it cannot be read. */
uint64_t atr_detect_start_ticks(const char *stat, size_t len);

/* ns since 1970 as "2026-08-07T12:34:56.789Z". */
#define ATR_TIME_TEXT sizeof("2026-08-07T12:34:56.789Z")
void atr_detect_time_text(char out[static ATR_TIME_TEXT], int64_t unix_ns);

/* The login name of uid in the text of /etc/passwd; NULL if it is not there. */
const char *atr_detect_user(const char *passwd, size_t len, uint32_t uid, size_t *ret_len);

/* os.name, os.version, os.description and os.build_id from the text of /etc/os-release. */
void atr_detect_os_release(struct atr_resource *r, const char *text, size_t len);

/* host.arch for what uname calls the machine. */
const char *atr_detect_arch(const char *machine);

/* container.id: 64 hex digits in the text of /proc/self/cgroup (v1) or of mountinfo (v2). */
#define ATR_CONTAINER_ID 64
bool atr_detect_container_v1(char id[static ATR_CONTAINER_ID], const char *cgroup, size_t len);
bool atr_detect_container_v2(char id[static ATR_CONTAINER_ID], const char *mountinfo, size_t len);

#endif
