/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_TROUBLE_H
#define ATR_EXPORTER_TROUBLE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * When to say that something does not work, and that it works again: once per trouble, and of
 * troubles that come and go one a minute.  What was not said is counted.  Pure.
 */
#define ATR_TROUBLE_EVERY_NS 60000000000ull

struct atr_trouble {
	bool down;	  /* it does not work */
	bool said;	  /* and that was said */
	unsigned n;	  /* troubles since the last one that was said */
	uint64_t said_at; /* 0: never */
};

/* An attempt failed.  True: that is to be said, with *ret_others, which were not. */
bool atr_trouble_fails(struct atr_trouble *t, uint64_t now, unsigned *ret_others);

/* One went well.  True: that is to be said. */
bool atr_trouble_ends(struct atr_trouble *t);

/* Was what was said at that time, 0: never, said long enough ago to be said again? */
static inline bool atr_trouble_old(uint64_t said_at, uint64_t now)
{
	return !said_at || now - said_at >= ATR_TROUBLE_EVERY_NS;
}

#endif
