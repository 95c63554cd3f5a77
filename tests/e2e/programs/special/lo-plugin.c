/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin that has nothing to do with PostgreSQL and has functions of these names. */
#include <stdio.h>

#if defined(LIKE_LIBPQ)
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
/* A library that is libpq as far as it goes. */
const char *asked(void);
void *PQexec(void *conn, const char *sql);
int PQresultStatus(const void *res);
int PQstatus(const void *conn);
char *PQresultErrorField(const void *res, int field);

static const char *last = "";

void *PQexec(void *conn, const char *sql)
{
	(void)conn;
	(void)sql;
	last = TEXT(LIKE_LIBPQ);
	return NULL;
}

const char *asked(void)
{
	const char *was = last;

	last = "nobody";
	return was;
}

int PQresultStatus(const void *res)
{
	(void)res;
	return 7;
}

int PQstatus(const void *conn)
{
	(void)conn;
	return 0;
}

char *PQresultErrorField(const void *res, int field)
{
	(void)res;
	(void)field;
	return NULL;
}
#elif defined(USES_IT)
const char *asked(void);
void *PQexec(void *conn, const char *sql);
const char *plugin_query(const char *sql);

const char *plugin_query(const char *sql)
{
	static int conn;

	PQexec(&conn, sql);
	return asked();
}
#else
int lo_open(const char *sql, unsigned number, int mode);
int lo_read(const char *sql, int fd, char *buf, size_t len);
const char *plugin_query(const char *sql);

int lo_open(const char *sql, unsigned number, int mode)
{
	return sql[0] + (int)number + mode;
}

int lo_read(const char *sql, int fd, char *buf, size_t len)
{
	return snprintf(buf, len, "%c%d", sql[0], fd);
}

const char *plugin_query(const char *sql)
{
	static char answer[50];

	if (lo_read(sql, lo_open(sql, 1, 2), answer, sizeof(answer)) < 0)
		return "none";
	return answer;
}
#endif
