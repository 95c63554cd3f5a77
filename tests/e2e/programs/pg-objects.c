/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pg-objects FILE: large objects, PQfn, descriptions, cursors.
 *
 * CFLAGS: -I/usr/include/postgresql */
/* LIBS: -lpq */
#include "pg.h"

#include <libpq/libpq-fs.h>

static void call(PGconn *c, const char *name)
{
	say(&(struct said){ name, -1, -1, -1, NULL, NULL, transaction_of(c) });
}

static void large_objects(PGconn *c, const char *file)
{
	char buf[16];
	Oid oid;
	int fd;

	run(c, "BEGIN", "BEGIN");
	oid = lo_creat(c, INV_READ | INV_WRITE);
	call(c, "lo_creat");
	fd = lo_open(c, oid, INV_READ | INV_WRITE);
	call(c, "lo_open");
	lo_write(c, fd, "0123456789", 10);
	call(c, "lo_write");
	lo_lseek(c, fd, 2, SEEK_SET);
	call(c, "lo_lseek");
	printf("%d\n", lo_read(c, fd, buf, 4));
	call(c, "lo_read");
	printf("%d\n", lo_tell(c, fd));
	call(c, "lo_tell");
	lo_lseek64(c, fd, 1, SEEK_CUR);
	call(c, "lo_lseek64");
	printf("%d\n", (int)lo_tell64(c, fd));
	call(c, "lo_tell64");
	lo_truncate(c, fd, 5);
	call(c, "lo_truncate");
	lo_truncate64(c, fd, 3);
	call(c, "lo_truncate64");
	lo_close(c, fd);
	call(c, "lo_close");
	lo_export(c, oid, file);
	call(c, "lo_export");
	lo_unlink(c, oid);
	call(c, "lo_unlink");
	oid = lo_import(c, file);
	call(c, "lo_import");
	lo_unlink(c, oid);
	call(c, "lo_unlink");
	oid = lo_import_with_oid(c, file, oid);
	call(c, "lo_import_with_oid");
	lo_unlink(c, oid);
	call(c, "lo_unlink");
	oid = lo_create(c, 0);
	call(c, "lo_create");
	lo_unlink(c, oid);
	call(c, "lo_unlink");
	run(c, "COMMIT", "COMMIT");
	printf("%d\n", lo_open(c, 1, INV_READ)); /* there is none */
	say(&(struct said){ "lo_open", -1, -1, -1, "42704", NULL, NULL });
}

static void functions(PGconn *c)
{
	PQArgBlock args[] = { { 4, 1, { .integer = 16 } } };
	int result = 0, len = 0;

	/* pg_catalog.int4abs, and one that does not exist */
	done(c, "1251", PQfn(c, 1251, &result, &len, 1, args, 1));
	printf("%d\n", result);
	done(c, "1", PQfn(c, 1, &result, &len, 1, args, 1));
}

static void descriptions(PGconn *c)
{
	done(c, "PREPARE SELECT pg_class",
	     PQprepare(c, "q", "SELECT relname FROM pg_class WHERE oid = $1", 0, NULL));
	done(c, "DESCRIBE SELECT pg_class", PQdescribePrepared(c, "q"));
	done(c, "DESCRIBE", PQdescribePrepared(c, "nobody"));
	PQsendDescribePrepared(c, "q");
	rest(c, "DESCRIBE SELECT pg_class");
	run(c, "BEGIN", "BEGIN");
	run(c, "DECLARE SELECT pg_class", "DECLARE cur CURSOR FOR SELECT oid FROM pg_class");
	done(c, "DESCRIBE", PQdescribePortal(c, "cur"));
	PQsendDescribePortal(c, "cur");
	rest(c, "DESCRIBE");
	run(c, "FETCH", "FETCH 7 FROM cur");
	run(c, "MOVE", "MOVE 2 FROM cur");
	run(c, "CLOSE", "CLOSE cur");
	run(c, "COMMIT", "COMMIT");
}

int main(int argc, char **argv)
{
	PGconn *c;

	alarm(60);
	c = dial("");
	PQsetNoticeProcessor(c, ignore, NULL);
	large_objects(c, argv[1]);
	functions(c);
	descriptions(c);
	PQfinish(c);
	return 0;
}
