/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_WORKER_H
#define ATR_PRELOAD_WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* The background thread: started at the first recorded span, runs the exporter object. */

/* Once, from the constructor: remembers where our own object lies. */
void atr_worker_init(void);

/* The real pthread_create(): ours is interposed.  Set by the constructor. */
extern int (*atr_worker_pthread_create)(pthread_t *thread, const pthread_attr_t *attr,
					void *(*run)(void *), void *arg);

/*
 * A record was committed; why: ATR_WAKE_RING or ATR_WAKE_CANDIDATES asks for a drain now, 0 does
 * not, unless the `waiting` spans (0: not counted) are as many as the thread waits for.  Starts the
 * thread when there is none.
 */
void atr_worker_committed(unsigned why, uint64_t waiting);

/* The files the thread needs will be out of reach soon: it loads them now. */
void atr_worker_load(void);

/* There is something else for it to do: starts it when there is none. */
void atr_worker_wanted(void);

/* A ring is full: drain, please.  why: as above. */
void atr_worker_wake_ring(unsigned why);

/*
 * These return when everything recorded so far is exported, or after
 * AUTOTRACE_EXIT_TIMEOUT; at once when there is no thread.
 *
 * flush: the process may go on (an exec that may fail).
 * ending: main has returned or exit() was called; exit handlers come next.
 * stop: the last chance; the thread exports no more, nor is it started any more.
 * ending and stop share one AUTOTRACE_EXIT_TIMEOUT.
 */
void atr_worker_flush(void);
void atr_worker_ending(void);
void atr_worker_stop(void);

/* After the stop: the thread ends, as if it had never been.  False: it does not, or not yet. */
bool atr_worker_leave(void);

/* Are the calling thread and ours all that the process has?  False also where nobody can tell. */
bool atr_worker_two_tasks(void);

/*
 * Around a call that is another one in a process of several threads: what is recorded is sent,
 * and the thread ends.  True: it is away, until resume(); the next record starts another.
 */
bool atr_worker_pause(void);
void atr_worker_resume(void);

/* After the stop: what is still in the rings is counted, as left or unsent. */
void atr_worker_count_rest(void);

/* The last of all: a spool file with nothing in it goes. */
void atr_worker_leave_spool(void);

/* Around fork(): no child may be born while the thread is inside a library. */
void atr_worker_fork_prepare(void);
void atr_worker_fork_parent(void);

/* The same without fork handlers: true says that atr_forkgate_leave() is due in the parent. */
bool atr_worker_fork_hold(void);

/* The program's threads, as libc counts them; 0: not known. */
unsigned atr_worker_threads(void);

/* In the child: there is no thread yet. */
void atr_worker_forked(void);

#endif
