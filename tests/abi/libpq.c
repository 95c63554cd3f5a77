/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is hooks/libpq-api.h what the real <libpq-fe.h> says?  Compiled, never run, by
 * scripts/check-abi.sh, which makes libpq.def from our header:
 *
 *	FUNCTION(PQexec)	for each function it declares
 *	CONSTANT(ATR_PGRES_COMMAND_OK, PGRES_COMMAND_OK)	and for each constant
 *
 * Both headers in one translation unit: where they declare a function with other
 * types, the compiler refuses the second.  The one difference wanted is that
 * functions which return an enum there return an int here.
 */
#include <libpq-fe.h>
#include <limits.h>

/* The real header has all of them; a FUNCTION it lacks is an error here. */
#define FUNCTION(name) typedef __typeof__(name) real_##name;
#define CONSTANT(ours, real)
#include "libpq.def"
#undef FUNCTION
#undef CONSTANT

#define PQconnectPoll our_PQconnectPoll
#define PQpipelineStatus our_PQpipelineStatus
#define PQstatus our_PQstatus
#define PQresultStatus our_PQresultStatus
#define PQresetPoll our_PQresetPoll
#define PQtransactionStatus our_PQtransactionStatus
#define PQping our_PQping
#define PQpingParams our_PQpingParams
#define PQfn our_PQfn
#include "hooks/libpq-api.h"
#undef PQconnectPoll
#undef PQpipelineStatus
#undef PQstatus
#undef PQresultStatus
#undef PQresetPoll
#undef PQtransactionStatus
#undef PQping
#undef PQpingParams
#undef PQfn

/* An enum comes back in the same register as an int, and no value of it is too large for one. */
#define RETURNS_ENUM(name, type, ...)                                                          \
	_Static_assert(__builtin_types_compatible_p(real_##name, type(__VA_ARGS__)),           \
		       #name " of libpq returns something else than " #type);                  \
	_Static_assert(__builtin_types_compatible_p(__typeof__(our_##name), int(__VA_ARGS__)), \
		       "our " #name " does not return int, or takes something else");          \
	_Static_assert(sizeof(type) == sizeof(int), #type " is not as large as an int")

RETURNS_ENUM(PQconnectPoll, PostgresPollingStatusType, PGconn *);
RETURNS_ENUM(PQpipelineStatus, PGpipelineStatus, const PGconn *);
RETURNS_ENUM(PQstatus, ConnStatusType, const PGconn *);
RETURNS_ENUM(PQresultStatus, ExecStatusType, const PGresult *);
RETURNS_ENUM(PQresetPoll, PostgresPollingStatusType, PGconn *);
RETURNS_ENUM(PQtransactionStatus, PGTransactionStatusType, const PGconn *);
RETURNS_ENUM(PQping, PGPing, const char *);
RETURNS_ENUM(PQpingParams, PGPing, const char *const *, const char *const *, int);

/* Its arguments are of a type without a name; a pointer to that is one to anything here. */
_Static_assert(__builtin_types_compatible_p(real_PQfn, PGresult *(PGconn *, int, int *, int *, int,
								  const PQArgBlock *, int)) &&
		       __builtin_types_compatible_p(__typeof__(our_PQfn),
						    PGresult *(PGconn *, int, int *, int *, int,
							       const void *, int)),
	       "PQfn of libpq takes something else");

#ifdef LIBPQ_HAS_CHUNK_MODE
#define PQcancelPoll our_PQcancelPoll
#include "hooks/libpq-api-17.h"
#undef PQcancelPoll
typedef __typeof__(PQcancelPoll) real_PQcancelPoll;
RETURNS_ENUM(PQcancelPoll, PostgresPollingStatusType, PGcancelConn *);
_Static_assert(ATR_PGRES_TUPLES_CHUNK == PGRES_TUPLES_CHUNK, "PGRES_TUPLES_CHUNK");
#endif

#define FUNCTION(name)
#define CONSTANT(ours, real)                                                            \
	_Static_assert((long long)(ours) == (long long)(real), #ours " is not " #real); \
	_Static_assert((long long)(real) <= INT_MAX, #real " does not fit into an int");
#include "libpq.def"
