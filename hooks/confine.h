/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_CONFINE_H
#define ATR_HOOKS_CONFINE_H

/* Once, when the real functions are known: from here on syscall() goes to libc's. */
void atr_confine_init(void);

#endif
