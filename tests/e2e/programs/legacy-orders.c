/* SPDX-License-Identifier: Apache-2.0 */
/* CFLAGS: -I/usr/include/postgresql */
/* LIBS: -lpq */
/*
 * The service of the demo, as such services were written: one thread, blocking
 * sockets, HTTP/1.0 by hand, libpq, and a line protocol to a second service.
 * Knows nothing of tracing.
 *
 *	legacy-orders PORT CONNINFO STOCK-PORT
 *
 *	GET /orders/ID			the order, and what is left of its item
 *	POST /orders?item=I&n=N		takes N of I out of stock and writes the order
 *	GET /report			what was sold
 *	GET /audit			asks for a table that nobody made: 500
 *
 * Prints "listening on 127.0.0.1:PORT" (0 is any) when it is ready, and what it
 * did when it ends, on SIGTERM.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static PGconn *db;
static int stock_port;
static unsigned n_requests, n_queries, n_calls;
static volatile sig_atomic_t stop;

struct reply {
	int status;
	char body[1024];
};

static void on_term(int sig)
{
	(void)sig;
	stop = 1;
}

static void die(const char *what, const char *why)
{
	fprintf(stderr, "legacy-orders: %s: %s\n", what, why);
	exit(1);
}

/* One line to the stock service and its answer; false when it cannot be had. */
static int stock(const char *request, char *answer, size_t size)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_port = htons((uint16_t)stock_port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), ok = 0;
	size_t len = 0;

	n_calls++;
	if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 &&
	    send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request)) {
		while (len < size - 1 && !memchr(answer, '\n', len)) {
			ssize_t n = recv(fd, answer + len, size - 1 - len, 0);

			if (n <= 0)
				break;
			len += (size_t)n;
		}
		ok = len > 0;
	}
	answer[len] = '\0';
	answer[strcspn(answer, "\n")] = '\0';
	if (fd >= 0)
		close(fd);
	return ok;
}

/* Counts a query and turns an error into a 500; NULL then. */
static PGresult *checked(PGresult *res, struct reply *reply)
{
	ExecStatusType status = PQresultStatus(res);

	n_queries++;
	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
		return res;
	reply->status = 500;
	snprintf(reply->body, sizeof(reply->body), "%s", PQerrorMessage(db));
	PQclear(res);
	return NULL;
}

static void show_order(const char *id, struct reply *reply)
{
	PGresult *res = checked(PQexecParams(db, "SELECT item, n FROM orders WHERE id = $1", 1,
					     NULL, &id, NULL, NULL, 0),
				reply);
	char request[64], left[64];

	if (!res)
		return;
	if (PQntuples(res) == 0) {
		reply->status = 404;
		snprintf(reply->body, sizeof(reply->body), "no order %s\n", id);
	} else {
		snprintf(request, sizeof(request), "STOCK %s\n", PQgetvalue(res, 0, 0));
		if (!stock(request, left, sizeof(left)))
			snprintf(left, sizeof(left), "unknown");
		snprintf(reply->body, sizeof(reply->body), "order %s: %s %s, stock %s\n", id,
			 PQgetvalue(res, 0, 1), PQgetvalue(res, 0, 0), left);
	}
	PQclear(res);
}

static void take_order(const char *query, struct reply *reply)
{
	char item[32], n[12], request[64], left[64];
	const char *values[] = { item, n };
	PGresult *res;

	if (sscanf(query, "item=%31[a-z]&n=%11[0-9]", item, n) != 2) {
		reply->status = 400;
		snprintf(reply->body, sizeof(reply->body), "item=NAME&n=NUMBER is wanted\n");
		return;
	}
	snprintf(request, sizeof(request), "TAKE %s %s\n", item, n);
	if (!stock(request, left, sizeof(left)) || strncmp(left, "OK", 2) != 0) {
		reply->status = 409;
		snprintf(reply->body, sizeof(reply->body), "not in stock: %s\n", left);
		return;
	}
	res = checked(PQexecPrepared(db, "take_order", 2, values, NULL, NULL, 0), reply);
	if (!res)
		return;
	reply->status = 201;
	snprintf(reply->body, sizeof(reply->body), "order %s taken\n", PQgetvalue(res, 0, 0));
	PQclear(res);
}

static void report(struct reply *reply)
{
	PGresult *res = checked(PQexec(db, "SELECT item, sum(n) FROM orders WHERE n < 1000 AND "
					   "item <> 'secret' GROUP BY item ORDER BY item"),
				reply);
	size_t len = 0;

	if (!res)
		return;
	for (int i = 0; i < PQntuples(res) && len < sizeof(reply->body); i++)
		len += (size_t)snprintf(reply->body + len, sizeof(reply->body) - len, "%s %s\n",
					PQgetvalue(res, i, 0), PQgetvalue(res, i, 1));
	PQclear(res);
}

static void route(const char *head, struct reply *reply)
{
	char method[8], path[128];

	*reply = (struct reply){ .status = 200 };
	if (sscanf(head, "%7s %127s", method, path) != 2) {
		reply->status = 400;
	} else if (!strncmp(head, "GET /orders/", 12)) {
		show_order(path + 8, reply);
	} else if (!strncmp(head, "POST /orders?", 13)) {
		take_order(path + 8, reply);
	} else if (!strcmp(path, "/report")) {
		report(reply);
	} else if (!strcmp(path, "/audit")) {
		PQclear(checked(PQexec(db, "SELECT who FROM audit_log WHERE day = '2001-01-01'"),
				reply));
	} else {
		reply->status = 404;
		snprintf(reply->body, sizeof(reply->body), "nothing here\n");
	}
}

static void serve(int fd)
{
	struct timeval limit = { .tv_sec = 5 };
	char head[4096], out[2048];
	struct reply reply;
	size_t len = 0;
	int n;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	do {
		ssize_t got = read(fd, head + len, sizeof(head) - 1 - len);

		if (got <= 0)
			return;
		len += (size_t)got;
		head[len] = '\0';
	} while (!strstr(head, "\r\n\r\n") && len < sizeof(head) - 1);

	n_requests++;
	route(head, &reply);
	n = snprintf(out, sizeof(out),
		     "HTTP/1.0 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s",
		     reply.status, reply.status < 400 ? "OK" : "Sorry", strlen(reply.body),
		     reply.body);
	if (write(fd, out, (size_t)n) != n)
		fprintf(stderr, "legacy-orders: a client went away\n");
}

static void open_database(const char *conninfo)
{
	static const char *const setup[] = {
		"CREATE TABLE orders (id serial PRIMARY KEY, item text NOT NULL, n int NOT NULL)",
		"INSERT INTO orders (item, n) VALUES ('rope', 7), ('lantern', 2)",
	};
	PGresult *res;

	db = PQconnectdb(conninfo);
	if (PQstatus(db) != CONNECTION_OK)
		die("PQconnectdb", PQerrorMessage(db));
	for (size_t i = 0; i < sizeof(setup) / sizeof(setup[0]); i++) {
		res = PQexec(db, setup[i]);
		if (PQresultStatus(res) != PGRES_COMMAND_OK)
			die(setup[i], PQerrorMessage(db));
		PQclear(res);
		n_queries++;
	}
	res = PQprepare(db, "take_order",
			"INSERT INTO orders (item, n) VALUES ($1, $2) RETURNING id", 2, NULL);
	if (PQresultStatus(res) != PGRES_COMMAND_OK)
		die("PQprepare", PQerrorMessage(db));
	PQclear(res);
}

static int open_door(int port, int *ret_port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_port = htons((uint16_t)port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 16) ||
	    getsockname(fd, (struct sockaddr *)&addr, &len))
		die("listen", strerror(errno));
	*ret_port = ntohs(addr.sin_port);
	return fd;
}

int main(int argc, char **argv)
{
	struct sigaction term = { .sa_handler = on_term };
	int door, port;

	if (argc != 4)
		die("usage", "legacy-orders PORT CONNINFO STOCK-PORT");
	sigaction(SIGTERM, &term, NULL); /* no SA_RESTART: accept() ends */
	signal(SIGPIPE, SIG_IGN);
	stock_port = atoi(argv[3]);
	open_database(argv[2]);
	door = open_door(atoi(argv[1]), &port);
	printf("listening on 127.0.0.1:%d\n", port);
	fflush(stdout);
	while (!stop) {
		int client = accept(door, NULL, NULL);

		if (client < 0)
			continue;
		serve(client);
		close(client);
	}
	close(door);
	PQfinish(db);
	printf("served %u requests, ran %u statements, called the stock service %u times\n",
	       n_requests, n_queries, n_calls);
	return 0;
}
