/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_SPOOL_H
#define ATR_PRELOAD_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "preload/status.h"
#include "preload/sys.h"

/*
 * The spool: one file per process, which holds the rings of its threads and what
 * the process is, so that whoever comes later can send what it left.
 *
 *	<directory>/autotrace-<uid>/<ns>-<pid>-<start>-<image>-<destination>-<nonce>
 *
 *	0                     struct atr_spool_file
 *	ATR_SPOOL_HEADER      ring 0: struct atr_ring, its data
 *	 + stride             ring 1 ...
 *
 * The name says whose it is, for others to see whether that process lives: its pid
 * namespace, pid, start time (clock ticks after boot), program image (a hash of where it
 * lies: another one after an exec), and where its spans go (a hash).
 * A living process's file is its own; a dead one's belongs to whoever has
 * its lock (flock(2), which goes with the holder).
 */
#define ATR_SPOOL_MAGIC 0x4c4f4f5052544155ull
#define ATR_SPOOL_VERSION 1u
#define ATR_SPOOL_HEADER 16384
#define ATR_SPOOL_RINGS_MAX 65536u
#define ATR_SPOOL_TEXT 3584
#define ATR_SPOOL_RESOURCE 8192

struct atr_spool_file {
	uint64_t magic; /* last: the rest is written */
	uint32_t version;
	uint32_t pid;
	uint64_t stride;  /* bytes from one ring to the next */
	uint32_t n_rings; /* given out; the last one may be unfinished */
	uint32_t text_len;
	uint64_t start_time; /* of the process, clock ticks after boot; 0: not known */
	uint8_t nonce[16];
	uint32_t resource_len; /* last: the resource is written; 0: it is not known yet */
	uint32_t resource_sum;

	/* Written by those who send what is left in it: when the last of them had to end without
	 * an answer, ns since 1970, and how many did since something was taken. */
	uint64_t given_up;
	uint32_t n_given_up;

	uint8_t reserved[436];

	/* What the resource is made from while it is not known: three texts, each with its NUL:
	 * path of the executable, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES. */
	char text[ATR_SPOOL_TEXT];

	/* An OTLP ResourceSpans without its ScopeSpans (exporter/otlp.h), padded to 8 bytes. */
	uint8_t resource[ATR_SPOOL_RESOURCE];

	/* How the process does, or did. */
	union {
		struct atr_status status;
		uint8_t page[ATR_STATUS_SIZE];
	};
};

/* A file that was given up is left alone for so long, doubled each time, so often: 8 hours. */
#define ATR_SPOOL_REST_NS 60000000000ull
#define ATR_SPOOL_RESTS 10

/* Until when traced programs leave a file alone whose note says that; 0: they do not. */
static inline uint64_t atr_spool_rests_until(uint64_t given_up, uint32_t n_given_up, uint64_t now)
{
	uint32_t n = n_given_up < ATR_SPOOL_RESTS ? n_given_up : ATR_SPOOL_RESTS;
	uint64_t rest = ATR_SPOOL_REST_NS << n >> 1;

	return n && now > given_up && now - given_up < rest ? given_up + rest : 0;
}

/* Is this a directory that nobody else can look into? */
static inline bool atr_spool_ours_alone(int fd)
{
	struct stat st;

	return atr_sys_stat(fd, "", &st) == 0 && S_ISDIR(st.st_mode) &&
	       st.st_uid == (uid_t)atr_sys(SYS_geteuid, 0, 0, 0, 0, 0, 0) &&
	       (st.st_mode & 07777) == 0700;
}

/* ---- the shim's own side (preload/spool.c) ---- */

struct atr_ring;

/* Once, from the constructor: reads where the files may be.  Nothing is opened. */
void atr_spool_init(const char *(*env)(const char *name));

/* There will be no file. */
void atr_spool_off(void);

/*
 * A new ring of `size` bytes of data in this process's file, which is made when there is
 * none.  NULL: no file can be had (said once); then the ring has to be in memory.
 */
struct atr_ring *atr_spool_ring(uint32_t size);

/* Allocates blocks for a part of a ring that is to be written; false: the disk has none. */
bool atr_spool_populate(void *p, size_t len);

/* Gives the blocks back; false: they stay. */
bool atr_spool_trim(void *p, size_t len);

/* For the background thread: the resource, for whoever sends what we leave. */
void atr_spool_resource(const uint8_t *bytes, size_t len);

/* For the background thread: what all files of this user take up. */
void atr_spool_used(uint64_t bytes);

/* Are they at their limit, as far as that is known? */
bool atr_spool_full(void);

/* The page of our file that `autotrace status` reads; NULL: there is none. */
struct atr_status *atr_spool_status(void);

/* The directory that holds our file, NULL when there is none; good until a fork. */
const char *atr_spool_dir(void);

/* Nothing is left in it: our file goes. */
void atr_spool_remove(void);

/* In a forked child: the file is the parent's. */
void atr_spool_forked(void);

#endif
