/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_CONFINE_H
#define ATR_HOOKS_CONFINE_H

/* Once, when the real functions are known: from here on syscall() goes to libc's. */
void atr_confine_init(void);

/*
 * The calling thread ends by the kernel's exit(status), without libc: if it is the program's last
 * but for `others`, our thread ends before, or this does not return: the process has ended.  In
 * hooks/process.c.
 */
void atr_thread_leaving(unsigned others, int status);

#endif
