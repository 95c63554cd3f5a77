/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_LIBPQ_API_H
#define ATR_HOOKS_LIBPQ_API_H

/*
 * The part of libpq we interpose or call, declared by ourselves so that building
 * needs no libpq.  tests/abi/libpq.c compares it with the real header; enums of
 * libpq are ints here.
 */
#include <stddef.h>
#include <stdint.h>

struct pg_conn;
struct pg_result;
struct pg_cancel;

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
	ATR_PGRES_SINGLE_TUPLE = 9,
	ATR_PGRES_PIPELINE_SYNC = 10,
	ATR_PGRES_PIPELINE_ABORTED = 11,
};
enum { ATR_PG_TRANS_INTRANS = 2, ATR_PG_TRANS_INERROR = 3 };
enum {
	ATR_PG_PING_OK = 0,
	ATR_PG_PING_REJECT = 1,
	ATR_PG_PING_NO_RESPONSE = 2,
	ATR_PG_PING_NO_ATTEMPT = 3,
};
#define ATR_PG_DIAG_SEVERITY 'S'
#define ATR_PG_DIAG_SEVERITY_NONLOCALIZED 'V'
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
int PQresetStart(struct pg_conn *conn);
int PQresetPoll(struct pg_conn *conn);
int PQping(const char *conninfo);
int PQpingParams(const char *const *keywords, const char *const *values, int expand_dbname);
int PQcancel(struct pg_cancel *cancel, char *errbuf, int errbufsize);
int PQrequestCancel(struct pg_conn *conn);
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
struct pg_result *PQdescribePrepared(struct pg_conn *conn, const char *stmt);
struct pg_result *PQdescribePortal(struct pg_conn *conn, const char *portal);
/* args: an array of PQArgBlock, which has no name of its own */
struct pg_result *PQfn(struct pg_conn *conn, int fnid, int *result_buf, int *result_len,
		       int result_is_int, const void *args, int n_args);
int PQsendQuery(struct pg_conn *conn, const char *query);
int PQsendQueryParams(struct pg_conn *conn, const char *command, int n_params,
		      const unsigned *param_types, const char *const *param_values,
		      const int *param_lengths, const int *param_formats, int result_format);
int PQsendPrepare(struct pg_conn *conn, const char *stmt_name, const char *query, int n_params,
		  const unsigned *param_types);
int PQsendQueryPrepared(struct pg_conn *conn, const char *stmt_name, int n_params,
			const char *const *param_values, const int *param_lengths,
			const int *param_formats, int result_format);
int PQsendDescribePrepared(struct pg_conn *conn, const char *stmt);
int PQsendDescribePortal(struct pg_conn *conn, const char *portal);
struct pg_result *PQgetResult(struct pg_conn *conn);
int PQconsumeInput(struct pg_conn *conn);
int PQisBusy(struct pg_conn *conn);
int PQflush(struct pg_conn *conn);
int PQpipelineSync(struct pg_conn *conn);
int PQexitPipelineMode(struct pg_conn *conn);
int PQputCopyData(struct pg_conn *conn, const char *buffer, int n_bytes);
int PQputCopyEnd(struct pg_conn *conn, const char *errormsg);
int PQgetCopyData(struct pg_conn *conn, char **buffer, int async);
int PQgetlineAsync(struct pg_conn *conn, char *buffer, int bufsize);
int PQendcopy(struct pg_conn *conn);
int PQsocket(const struct pg_conn *conn);
int PQpipelineStatus(const struct pg_conn *conn);
const char *PQparameterStatus(const struct pg_conn *conn, const char *name);
int PQstatus(const struct pg_conn *conn);
int PQtransactionStatus(const struct pg_conn *conn);
char *PQerrorMessage(const struct pg_conn *conn);
char *PQdb(const struct pg_conn *conn);
char *PQhost(const struct pg_conn *conn);
char *PQport(const struct pg_conn *conn);
int PQresultStatus(const struct pg_result *res);
char *PQresultErrorField(const struct pg_result *res, int fieldcode);
int PQntuples(const struct pg_result *res);
char *PQcmdStatus(struct pg_result *res);
int lo_open(struct pg_conn *conn, unsigned oid, int mode);
int lo_close(struct pg_conn *conn, int fd);
int lo_read(struct pg_conn *conn, int fd, char *buf, size_t len);
int lo_write(struct pg_conn *conn, int fd, const char *buf, size_t len);
int lo_lseek(struct pg_conn *conn, int fd, int offset, int whence);
int64_t lo_lseek64(struct pg_conn *conn, int fd, int64_t offset, int whence);
unsigned lo_creat(struct pg_conn *conn, int mode);
unsigned lo_create(struct pg_conn *conn, unsigned oid);
int lo_tell(struct pg_conn *conn, int fd);
int64_t lo_tell64(struct pg_conn *conn, int fd);
int lo_truncate(struct pg_conn *conn, int fd, size_t len);
int lo_truncate64(struct pg_conn *conn, int fd, int64_t len);
int lo_unlink(struct pg_conn *conn, unsigned oid);
unsigned lo_import(struct pg_conn *conn, const char *filename);
unsigned lo_import_with_oid(struct pg_conn *conn, const char *filename, unsigned oid);
int lo_export(struct pg_conn *conn, unsigned oid, const char *filename);

#endif
