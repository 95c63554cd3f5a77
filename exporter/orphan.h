/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_ORPHAN_H
#define ATR_EXPORTER_ORPHAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exporter/buf.h"
#include "exporter/limits.h"
#include "exporter/otlp.h"
#include "exporter/resource.h"
#include "preload/host.h"
#include "preload/spoolname.h"

/* One file. */
struct atr_orphan {
	uint64_t start; /* of the process */
	size_t name;	/* where its file's name is */
};

/*
 * What dead processes left in the spool, as batches to be sent under their own
 * resources.
 *
 * Whoever has a file's lock is the only one to read it, and marks in it what was
 * sent; with its last record the file goes.  Nothing in a file is believed: it is
 * read, never mapped, and what does not fit or has the wrong checksum is skipped and
 * counted.
 */
struct atr_orphans {
	const struct atr_host *host;
	uint64_t ns;	      /* our pid namespace; 0: not known */
	int dir;	      /* -1: not open */
	struct atr_buf names; /* of dead processes' files, each with its NUL */
	struct atr_buf order; /* of them, the oldest process first */
	size_t next;	      /* the next one in that */
	unsigned lock_tries;  /* left of those that a scan has */

	int file; /* the one at hand, locked; -1: none */
	char file_name[ATR_SPOOL_NAME_MAX];
	uint64_t stride;
	uint32_t n_rings;
	uint32_t ring;	     /* the next one to look at */
	uint32_t n_given_up; /* as the file has it */
	struct atr_resource resource;
	struct atr_otlp_head head;

	struct atr_buf window; /* a part of a ring's data */
	struct atr_buf spans;  /* the batch, as fields of ScopeSpans */
	struct atr_buf moves;  /* how far each of them is of its ring */
	struct atr_limits limits;
	size_t n_spans;
};

void atr_orphans_init(struct atr_orphans *o, const struct atr_host *host);
void atr_orphans_finish(struct atr_orphans *o);

/* Looks who has died. */
void atr_orphans_scan(struct atr_orphans *o);

/* Is there a file, as far as the last scan knows? */
bool atr_orphans_any(const struct atr_orphans *o);

/* How many, the one at hand included. */
static inline size_t atr_orphans_files(const struct atr_orphans *o)
{
	return o->order.len / sizeof(struct atr_orphan) - o->next + (o->file >= 0);
}

/* The next batch, of at most `max` spans, is in o->spans, its resource in o->head; its n_spans,
 * or 0: there is nothing left. */
size_t atr_orphans_next(struct atr_orphans *o, size_t max);

/* What became of its first n spans; those that are settled are no more of it. */
void atr_orphans_settle(struct atr_orphans *o, size_t n, enum atr_settled what);

/*
 * The process ends, or may, and nobody has answered: the file at hand is not tried again for a
 * minute, doubled each time, but by who was asked to (host->orphans_only).
 */
void atr_orphans_give_up(struct atr_orphans *o);

/* Goes on with the next file: this one's spans are not taken. */
void atr_orphans_skip(struct atr_orphans *o);

/* Lets go of everything until the next scan: there is nobody to send it to. */
void atr_orphans_let_go(struct atr_orphans *o);

#endif
