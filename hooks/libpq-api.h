/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_LIBPQ_API_H
#define ATR_HOOKS_LIBPQ_API_H

/*
 * The part of libpq we interpose or call, declared by ourselves so that building
 * needs no libpq.  tests/abi/libpq.c compares it with the real header; enums of
 * libpq are ints here.
 */
struct pg_conn;
struct pg_result;

enum { ATR_PG_CONNECTION_OK = 0, ATR_PG_CONNECTION_BAD = 1 };
enum { ATR_PG_PIPELINE_OFF = 0 };
enum { ATR_PG_POLLING_FAILED = 0, ATR_PG_POLLING_OK = 3 };
enum {
	ATR_PGRES_EMPTY_QUERY = 0,
	ATR_PGRES_COMMAND_OK = 1,
	ATR_PGRES_TUPLES_OK = 2,
	ATR_PGRES_COPY_OUT = 3,
	ATR_PGRES_COPY_IN = 4,
	ATR_PGRES_BAD_RESPONSE = 5,
	ATR_PGRES_NONFATAL_ERROR = 6,
	ATR_PGRES_FATAL_ERROR = 7,
	ATR_PGRES_COPY_BOTH = 8,
};
#define ATR_PG_DIAG_SQLSTATE 'C'

struct pg_conn *PQconnectdb(const char *conninfo);
struct pg_conn *PQconnectdbParams(const char *const *keywords, const char *const *values,
				  int expand_dbname);
struct pg_conn *PQsetdbLogin(const char *pghost, const char *pgport, const char *pgoptions,
			     const char *pgtty, const char *db_name, const char *login,
			     const char *pwd);
struct pg_conn *PQconnectStart(const char *conninfo);
struct pg_conn *PQconnectStartParams(const char *const *keywords, const char *const *values,
				     int expand_dbname);
int PQconnectPoll(struct pg_conn *conn);
void PQreset(struct pg_conn *conn);
void PQfinish(struct pg_conn *conn);
struct pg_result *PQexec(struct pg_conn *conn, const char *query);
struct pg_result *PQexecParams(struct pg_conn *conn, const char *command, int n_params,
			       const unsigned *param_types, const char *const *param_values,
			       const int *param_lengths, const int *param_formats,
			       int result_format);
struct pg_result *PQprepare(struct pg_conn *conn, const char *stmt_name, const char *query,
			    int n_params, const unsigned *param_types);
struct pg_result *PQexecPrepared(struct pg_conn *conn, const char *stmt_name, int n_params,
				 const char *const *param_values, const int *param_lengths,
				 const int *param_formats, int result_format);
int PQsendQuery(struct pg_conn *conn, const char *query);
int PQsendQueryParams(struct pg_conn *conn, const char *command, int n_params,
		      const unsigned *param_types, const char *const *param_values,
		      const int *param_lengths, const int *param_formats, int result_format);
int PQsendPrepare(struct pg_conn *conn, const char *stmt_name, const char *query, int n_params,
		  const unsigned *param_types);
int PQsendQueryPrepared(struct pg_conn *conn, const char *stmt_name, int n_params,
			const char *const *param_values, const int *param_lengths,
			const int *param_formats, int result_format);
struct pg_result *PQgetResult(struct pg_conn *conn);
int PQsocket(const struct pg_conn *conn);
int PQpipelineStatus(const struct pg_conn *conn);
const char *PQparameterStatus(const struct pg_conn *conn, const char *name);
int PQstatus(const struct pg_conn *conn);
char *PQdb(const struct pg_conn *conn);
char *PQhost(const struct pg_conn *conn);
char *PQport(const struct pg_conn *conn);
int PQresultStatus(const struct pg_result *res);
char *PQresultErrorField(const struct pg_result *res, int fieldcode);

#endif
