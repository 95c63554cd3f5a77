/* SPDX-License-Identifier: Apache-2.0 */
/* pq-loop N: N times PQexec("SELECT 1"); prints queries per second. */
#include <libpq-fe.h>

#include "loopback.h"

int main(int argc, char **argv)
{
	PGconn *c = PQconnectdb("");
	int n = atoi(argv[1]);
	double start = now();

	for (int i = 0; i < n; i++) {
		PGresult *res = PQexec(c, "SELECT 1");

		if (PQresultStatus(res) != PGRES_TUPLES_OK)
			return 1;
		PQclear(res);
	}
	printf("%.1f\n", n / (now() - start));
	PQfinish(c);
	return 0;
}
