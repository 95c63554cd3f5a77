/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_STACK_H
#define ATR_PRELOAD_STACK_H

#include <stdint.h>

/*
 * Where in the program a call was made.  Addresses are captured on the program's
 * thread and named in the background thread.
 *
 * No lock, no allocation, no descriptor, no system call but (where a thread's stack is
 * not known yet) the kernel being asked whether a page may be read.  May be called
 * in signal handlers and in forked and vforked children, on any stack.
 */

/* An address in a record: the object's index (preload/object.h), and the address in its
 * file; index 0: an address in memory that belongs to no object. */
#define ATR_ADDR_BITS 48
#define ATR_ADDR_OFFSET(addr) ((addr) & (((uint64_t)1 << ATR_ADDR_BITS) - 1))
#define ATR_ADDR_OBJECT(addr) ((unsigned)((addr) >> ATR_ADDR_BITS))

/* Once, from the constructor. */
void atr_stack_init(void);

/*
 * The return address of the innermost frame that is the program's; 0 where there is none
 * that can be told.  Called (directly or not) by a hook.
 */
uint64_t atr_stack_site(void);

/* The return addresses of the calling thread, innermost first, without ours; returns how many. */
#define ATR_STACK_MAX 32
unsigned atr_stack_trace(uint64_t addrs[static ATR_STACK_MAX]);

/* Around dlclose(): what is known of code may be no longer true. */
void atr_stack_unloading(void);
void atr_stack_unloaded(void);

/* In a forked child: nobody else is unloading. */
void atr_stack_forked(void);

#endif
