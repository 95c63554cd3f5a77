/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_BUFFER_H
#define ATR_HOOKS_BUFFER_H

/*
 * Buffers for a message's head that comes in pieces, or that must be looked at before it
 * is sent.  From a pool: taken and given back without a lock, from any thread.
 */
#define ATR_BUFFER_SIZE 65536

char *atr_buffer_take(void);	    /* NULL: there are too many, or no memory */
void atr_buffer_give(char *buffer); /* NULL is allowed */

#endif
