/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libpq: large objects.  A call is one span, named after it: the function on the server that it
 * stands for, or several of them (lo_import, lo_export), and on a connection's first one
 * the SELECT by which libpq finds out which functions there are.
 *
 * These names do not begin with PQ: where no libpq is there to be found, somebody else's
 * function of that name is called.
 */
#include <errno.h>
#include <string.h>

#include "hooks/hook.h"
#include "hooks/libpq.h"

static void name_function(struct atr_libpq_call *call, const char *name)
{
	struct atr_pgtext *t;

	if (!call->op.recording)
		return;
	t = &call->pg->text;
	t->summary_len = strlen(name);
	memcpy(t->summary, name, t->summary_len);
	call->function = true;
}

/* Like ATR_ENTER_LIBPQ; DECLARES `call`, too. */
#define ENTER(none, name, ...)                                                                    \
	const struct atr_libpq *lib = atr_real_libpq(__builtin_return_address(0));                \
	if (atr_unlikely(!lib->PQexec || !lib->name)) {                                           \
		__typeof__(name) *next = lib->name ? lib->name                                    \
						   : (__typeof__(name) *)atr_real_next(           \
							     #name, __builtin_return_address(0)); \
		return next ? next(__VA_ARGS__) : (none);                                         \
	}                                                                                         \
	ATR_ENTER_LIBPQ(none, conn, name, __VA_ARGS__);                                           \
	ATR_LIBPQ_CALL(.kind = ATR_LIBPQ_NONE, .leaves = true);                                   \
	name_function(&call, #name)

atr_export int lo_open(struct pg_conn *conn, unsigned oid, int mode)
{
	ENTER(-1, lo_open, conn, oid, mode);
	int ret = pq->lo_open(conn, oid, mode);

	atr_libpq_end(&call, ret >= 0);
	return ret;
}

atr_export int lo_close(struct pg_conn *conn, int fd)
{
	ENTER(-1, lo_close, conn, fd);
	int ret = pq->lo_close(conn, fd);

	atr_libpq_end(&call, ret >= 0);
	return ret;
}

atr_export int lo_read(struct pg_conn *conn, int fd, char *buf, size_t len)
{
	ENTER(-1, lo_read, conn, fd, buf, len);
	int ret = pq->lo_read(conn, fd, buf, len);

	atr_libpq_end(&call, ret >= 0);
	return ret;
}

atr_export int lo_write(struct pg_conn *conn, int fd, const char *buf, size_t len)
{
	ENTER(-1, lo_write, conn, fd, buf, len);
	int ret = pq->lo_write(conn, fd, buf, len);

	atr_libpq_end(&call, ret >= 0);
	return ret;
}

atr_export int lo_lseek(struct pg_conn *conn, int fd, int offset, int whence)
{
	ENTER(-1, lo_lseek, conn, fd, offset, whence);
	int ret = pq->lo_lseek(conn, fd, offset, whence);

	atr_libpq_end(&call, ret >= 0);
	return ret;
}

atr_export int64_t lo_lseek64(struct pg_conn *conn, int fd, int64_t offset, int whence)
{
	ENTER(-1, lo_lseek64, conn, fd, offset, whence);
	int64_t ret = pq->lo_lseek64(conn, fd, offset, whence);

	atr_libpq_end(&call, ret >= 0);
	return ret;
}

atr_export unsigned lo_creat(struct pg_conn *conn, int mode)
{
	ENTER(0, lo_creat, conn, mode);
	unsigned made = pq->lo_creat(conn, mode);

	atr_libpq_end(&call, made != 0);
	return made;
}

atr_export unsigned lo_create(struct pg_conn *conn, unsigned oid)
{
	ENTER(0, lo_create, conn, oid);
	unsigned made = pq->lo_create(conn, oid);

	atr_libpq_end(&call, made != 0);
	return made;
}

atr_export int lo_tell(struct pg_conn *conn, int fd)
{
	ENTER(-1, lo_tell, conn, fd);
	int ret = pq->lo_tell(conn, fd);

	atr_libpq_end(&call, ret >= 0);
	return ret;
}

atr_export int64_t lo_tell64(struct pg_conn *conn, int fd)
{
	ENTER(-1, lo_tell64, conn, fd);
	int64_t ret = pq->lo_tell64(conn, fd);

	atr_libpq_end(&call, ret >= 0);
	return ret;
}

atr_export int lo_truncate(struct pg_conn *conn, int fd, size_t len)
{
	ENTER(-1, lo_truncate, conn, fd, len);
	int ret = pq->lo_truncate(conn, fd, len);

	atr_libpq_end(&call, ret >= 0);
	return ret;
}

atr_export int lo_truncate64(struct pg_conn *conn, int fd, int64_t len)
{
	ENTER(-1, lo_truncate64, conn, fd, len);
	int ret = pq->lo_truncate64(conn, fd, len);

	atr_libpq_end(&call, ret >= 0);
	return ret;
}

atr_export int lo_unlink(struct pg_conn *conn, unsigned oid)
{
	ENTER(-1, lo_unlink, conn, oid);
	int ret = pq->lo_unlink(conn, oid);

	atr_libpq_end(&call, ret >= 0);
	return ret;
}

atr_export unsigned lo_import(struct pg_conn *conn, const char *filename)
{
	ENTER(0, lo_import, conn, filename);
	unsigned made = pq->lo_import(conn, filename);

	atr_libpq_end(&call, made != 0);
	return made;
}

atr_export unsigned lo_import_with_oid(struct pg_conn *conn, const char *filename, unsigned oid)
{
	ENTER(0, lo_import_with_oid, conn, filename, oid);
	unsigned made = pq->lo_import_with_oid(conn, filename, oid);

	atr_libpq_end(&call, made != 0);
	return made;
}

atr_export int lo_export(struct pg_conn *conn, unsigned oid, const char *filename)
{
	ENTER(-1, lo_export, conn, oid, filename);
	int ret = pq->lo_export(conn, oid, filename);

	atr_libpq_end(&call, ret >= 0);
	return ret;
}
