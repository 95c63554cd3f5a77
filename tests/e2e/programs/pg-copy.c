/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pg-copy: COPY in and out, old and new calls.  Behind each JSON line "bytes N": what
 * the program moved.
 *
 * CFLAGS: -I/usr/include/postgresql */
/* LIBS: -lpq */
#include "pg.h"

static PGconn *c;

static void copy_in(const char *end)
{
	char line[32];
	long bytes = 0;

	PQclear(PQexec(c, "COPY t FROM STDIN"));
	for (int i = 0; i < 1000; i++) {
		int n = snprintf(line, sizeof(line), "%d\trow\n", i);

		if (PQputCopyData(c, line, n) == 1)
			bytes += n;
	}
	PQputCopyEnd(c, end);
	rest(c, "COPY t");
	printf("bytes %ld\n", bytes);
}

static void copy_out(const char *sql, const char *name, int async)
{
	long bytes = 0;
	char *line;
	int n;

	if (async)
		PQsendQuery(c, sql);
	else
		PQclear(PQexec(c, sql));
	if (async)
		PQclear(PQgetResult(c));
	while ((n = PQgetCopyData(c, &line, async)) >= 0) {
		if (n == 0) {
			poll(&(struct pollfd){ PQsocket(c), POLLIN, 0 }, 1, 1000);
			PQconsumeInput(c);
			continue;
		}
		bytes += n;
		PQfreemem(line);
	}
	rest(c, name);
	printf("bytes %ld\n", bytes);
}

static void old_in(const char *line, const char *name)
{
	PQclear(PQexec(c, "COPY t FROM STDIN"));
	PQputline(c, line);
	PQputnbytes(c, "8\tb\n", 4);
	PQputline(c, "\\.\n");
	if (PQendcopy(c) == 0)
		say(&(struct said){ name, -1, -1, 2, NULL, NULL, NULL });
	else
		say(&(struct said){ name, -1, -1, -1, "22P02", NULL, NULL });
	printf("bytes %zu\n", strlen(line) + 4 + 3);
}

static void old_out(void)
{
	char line[64];
	long bytes = 0;

	PQclear(PQexec(c, "COPY (SELECT * FROM t ORDER BY a LIMIT 3) TO STDOUT"));
	while (PQgetline(c, line, sizeof(line)) == 0 && strcmp(line, "\\.") != 0)
		bytes += strlen(line) + 1;
	printf("%d\n", PQendcopy(c)); /* it says that there is no COPY any more */
	rest(c, "COPY SELECT t");
	printf("bytes %ld\n", bytes);
}

int main(void)
{
	alarm(60);
	c = dial("");
	PQsetNoticeProcessor(c, ignore, NULL);
	run(c, "CREATE TABLE t", "CREATE TEMP TABLE t (a int, b text)");
	copy_in(NULL);
	copy_in("the program gives up");
	copy_out("COPY t TO STDOUT", "COPY t", 0);
	copy_out("COPY t TO STDOUT (FORMAT csv)", "COPY t", 1);
	copy_out("COPY (SELECT 1 / (a - 3) FROM t ORDER BY a) TO STDOUT", "COPY SELECT t", 0);
	old_in("7\ta\n", "COPY t");
	old_in("no number\ta\n", "COPY t");
	old_out();
	run(c, "COPY nowhere", "COPY nowhere FROM STDIN");
	run(c, "SELECT t", "SELECT count(*) FROM t");
	/* One that is left in its middle. */
	PQclear(PQexec(c, "COPY t TO STDOUT"));
	say_name("COPY t", "cancelled");
	printf("bytes 0\n");
	PQfinish(c);
	return 0;
}
