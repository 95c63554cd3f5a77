/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_REAL_H
#define ATR_HOOKS_REAL_H

#include <dlfcn.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utmp.h>

#include "hooks/libpq-api-17.h"
#include "hooks/libpq-api.h"

/*
 * Where the functions we interpose really live.
 *
 * libc's are found once.  A library's may be there several times: a plugin
 * loaded RTLD_LOCAL brings its own copy, so they are found for the object that
 * calls (architecture.md, section 5).
 */

/* What crt1.o calls; no header declares it. */
int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void),
		      void (*fini)(void), void (*rtld_fini)(void), void *stack_end);

/* libcap's header declares it; it is libc's. */
int capset(struct __user_cap_header_struct *header, const struct __user_cap_data_struct *data);

/* glibc's fortified entry points, which no header declares without _FORTIFY_SOURCE. */
ssize_t __recv_chk(int fd, void *buf, size_t len, size_t buf_size, int flags);
ssize_t __recvfrom_chk(int fd, void *__restrict buf, size_t len, size_t buf_size, int flags,
		       __SOCKADDR_ARG addr, socklen_t *__restrict addr_len);
ssize_t __read_chk(int fd, void *buf, size_t len, size_t buf_size);
int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t size);
int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask,
		size_t size);

#define ATR_FIELD(function) __typeof__(function) *function;

struct atr_real {
#define ATR_FIELD_LIBC(function) ATR_FIELD(function)
#define ATR_FIELD_LIBPQ(function)
#define HOOK(function, lib, boot) ATR_FIELD_##lib(function)
#include "hooks/hooks.def"
#undef ATR_FIELD_LIBC
#undef ATR_FIELD_LIBPQ
};

struct atr_libpq {
	uintptr_t start; /* where the library lies: a call from there is its own */
	uintptr_t end;
#define ATR_FIELD_LIBC(function)
#define ATR_FIELD_LIBPQ(function) ATR_FIELD(function)
#define HOOK(function, lib, boot) ATR_FIELD_##lib(function)
#define CALL(function, lib) ATR_FIELD_##lib(function)
#include "hooks/hooks.def"
#undef ATR_FIELD_LIBC
#undef ATR_FIELD_LIBPQ
};

/* libc's.  Before atr_real_init() the rows with a system call point at a stub of it. */
extern struct atr_real atr_real;
void atr_real_init(void);

/*
 * The libpq that `caller` (a return address) would have called without us.  Never
 * NULL; its members are, where no libpq can be found.
 */
const struct atr_libpq *atr_real_libpq(const void *caller);

/*
 * For a name that is not only libpq's: whose turn it is when `caller` has no libpq; or
 * NULL.
 */
void *atr_real_next(const char *name, const void *caller);

/* To be called when a connection is begun: forgets callers that may have been unloaded. */
void atr_real_libpq_check(void);

/* In a forked child: nobody else is looking. */
void atr_real_forked(void);

#endif
