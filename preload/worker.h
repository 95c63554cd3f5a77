/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_WORKER_H
#define ATR_PRELOAD_WORKER_H

#include <pthread.h>
#include <stdbool.h>

/* The background thread: started at the first recorded span, runs the exporter object. */

/* Once, from the constructor: remembers where our own object lies. */
void atr_worker_init(void);

/* The real pthread_create(): ours is interposed.  Set by the constructor. */
extern int (*atr_worker_pthread_create)(pthread_t *thread, const pthread_attr_t *attr,
					void *(*run)(void *), void *arg);

/* A record was committed; half_full asks for a drain now.  Starts the thread when there is none. */
void atr_worker_committed(bool half_full);

/* A ring is full or nearly: drain, please. */
void atr_worker_wake_ring(void);

/*
 * Everything recorded so far is exported, or the time of AUTOTRACE_EXIT_TIMEOUT
 * is up.  With stop, the thread will not export any more.  Returns at once when
 * there is no thread.  errno is kept.
 */
void atr_worker_flush(bool stop);

/* Around fork(): no child may be born while the thread is inside a library. */
void atr_worker_fork_prepare(void);
void atr_worker_fork_parent(void);

/* In the child: there is no thread yet. */
void atr_worker_forked(void);

#endif
