/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin that brings its own libpq. */
#include <libpq-fe.h>

const char *plugin_query(const char *sql)
{
	static char value[100];
	PGconn *c = PQconnectdb("");
	PGresult *res = PQexec(c, sql);

	__builtin_snprintf(value, sizeof(value), "%s", PQerrorMessage(c));
	if (PQntuples(res) == 1)
		__builtin_snprintf(value, sizeof(value), "%s", PQgetvalue(res, 0, 0));
	PQclear(res);
	PQfinish(c);
	return value;
}
