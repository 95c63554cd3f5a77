/* SPDX-License-Identifier: Apache-2.0 */
/* Statements from several functions.  Each prints first: function, file, line. */
#include <libpq-fe.h>
#include <stdio.h>

#define CALL(expr) (printf("%s %s %d\n", __func__, __FILE__, __LINE__), fflush(stdout), (expr))
#define KEEP static __attribute__((noinline, noclone))

KEEP PGconn *open_database(void)
{
	PGconn *conn = CALL(PQconnectdb(""));

	return PQstatus(conn) == CONNECTION_OK ? conn : NULL;
}

KEEP void count_orders(PGconn *conn)
{
	PQclear(CALL(PQexec(conn, "SELECT 1")));
}

KEEP void wrong_statement(PGconn *conn)
{
	PQclear(CALL(PQexec(conn, "SELECT wrong")));
}

KEEP void slow_statement(PGconn *conn)
{
	PQclear(CALL(PQexec(conn, "SELECT pg_sleep(0.15)")));
}

int main(void)
{
	PGconn *conn = open_database();

	if (!conn)
		return 2;
	count_orders(conn);
	wrong_statement(conn);
	slow_statement(conn);
	PQfinish(conn);
	return 0;
}
