/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_H
#define PG_H

/*
 * For the programs pg-*.c: one JSON line per call that must be a span, in the order in
 * which they begin, with what libpq told the program about it.
 */
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct said {
	const char *name;
	long returned, affected, copied; /* rows; -1: not said */
	const char *state;		 /* SQLSTATE of an error; NULL: none */
	const char *error;		 /* error.type without one */
	const char *transaction;
};

static void put(const char *key, const char *value)
{
	printf(value ? ", \"%s\": \"%s\"" : ", \"%s\": null", key, value);
}

static void put_rows(const char *key, long n)
{
	if (n >= 0)
		printf(", \"%s\": %ld", key, n);
	else
		printf(", \"%s\": null", key);
}

static void say(const struct said *s)
{
	printf("{\"name\": \"%s\"", s->name);
	put_rows("returned", s->returned);
	put_rows("affected", s->affected);
	put_rows("copied", s->copied);
	put("state", s->state);
	put("error", s->error);
	put("transaction", s->transaction);
	printf("}\n");
}

/* A span about which there is nothing to say but its name, and its error.type. */
static inline void say_name(const char *name, const char *error)
{
	say(&(struct said){ name, -1, -1, -1, NULL, error, NULL });
}

static inline const char *transaction_of(const PGconn *c)
{
	PGTransactionStatusType t = PQtransactionStatus(c);

	return t == PQTRANS_INTRANS ? "in_transaction" : t == PQTRANS_INERROR ? "failed" : NULL;
}

/* What one more result adds. */
static inline void add_result(struct said *s, PGresult *res)
{
	const char *tag = PQcmdStatus(res);
	long rows = atol(PQcmdTuples(res));

	switch ((int)PQresultStatus(res)) {
	case PGRES_TUPLES_OK:
	case PGRES_SINGLE_TUPLE:
	case 12: /* PGRES_TUPLES_CHUNK */
		s->returned = (s->returned < 0 ? 0 : s->returned) + PQntuples(res);
		break;
	case PGRES_FATAL_ERROR: {
		static char states[1024][6]; /* they outlive the result */
		static int n;
		const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

		if (state)
			s->state = strcpy(states[n++ % 1024], state);
		else if (!s->state)
			s->error = "connection_lost";
		break;
	}
	default:
		break;
	}
	if (!strncmp(tag, "INSERT", 6) || !strncmp(tag, "UPDATE", 6) ||
	    !strncmp(tag, "DELETE", 6) || !strncmp(tag, "MERGE", 5))
		s->affected = (s->affected < 0 ? 0 : s->affected) + rows;
	if (!strncmp(tag, "COPY", 4))
		s->copied = rows;
}

/* The result of a call that waited for it. */
static inline int done(PGconn *c, const char *name, PGresult *res)
{
	struct said s = { name, -1, -1, -1, NULL, NULL, NULL };
	int ok = PQresultStatus(res) != PGRES_FATAL_ERROR;

	add_result(&s, res);
	s.transaction = transaction_of(c);
	say(&s);
	PQclear(res);
	return ok;
}

static inline int run(PGconn *c, const char *name, const char *sql)
{
	return done(c, name, PQexec(c, sql));
}

/* All results of one that was sent. */
static inline void rest(PGconn *c, const char *name)
{
	struct said s = { name, -1, -1, -1, NULL, NULL, NULL };
	PGresult *res;

	while ((res = PQgetResult(c))) {
		add_result(&s, res);
		PQclear(res);
	}
	s.transaction = transaction_of(c);
	say(&s);
}

static inline PGconn *dial(const char *conninfo)
{
	PGconn *c = PQconnectdb(conninfo);
	char name[300];

	snprintf(name, sizeof(name), "connect %s", PQdb(c) ? PQdb(c) : "");
	say_name(name, PQstatus(c) == CONNECTION_OK ? NULL : "?");
	if (PQstatus(c) != CONNECTION_OK)
		fprintf(stderr, "%s", PQerrorMessage(c));
	return c;
}

/* A statement that takes long, and is certain to have begun: the server has said something. */
static inline void send_slow(PGconn *c)
{
	PQsendQuery(c, "DO $$BEGIN RAISE NOTICE 'begun'; PERFORM pg_sleep(30); END$$");
	poll(&(struct pollfd){ PQsocket(c), POLLIN, 0 }, 1, 10000);
}

static inline void ignore(void *arg, const char *message)
{
	(void)arg;
	(void)message;
}

#endif
