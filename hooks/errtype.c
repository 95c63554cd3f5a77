/* SPDX-License-Identifier: Apache-2.0 */
#include "hooks/errtype.h"

#include <errno.h>
#include <stddef.h>

#include "preload/compiler.h"

static const struct {
	int err;
	const char *type;
} rows[] = {
	{ ECONNREFUSED, "connection_refused" },
	{ ECONNRESET, "connection_reset" },
	{ ECONNABORTED, "connection_aborted" },
	{ EPIPE, "broken_pipe" },
	{ ETIMEDOUT, "timed_out" },
	{ ENETUNREACH, "network_unreachable" },
	{ ENETDOWN, "network_down" },
	{ EHOSTUNREACH, "host_unreachable" },
	{ EHOSTDOWN, "host_down" },
	{ EADDRNOTAVAIL, "address_not_available" },
	{ EADDRINUSE, "address_already_in_use" },
	{ EAFNOSUPPORT, "address_family_not_supported" },
	{ EACCES, "access_denied" },
	{ EPERM, "access_denied" },
	{ ENOTCONN, "not_connected" },
	{ EISCONN, "is_connected" },
	{ EDESTADDRREQ, "destination_address_required" },
	{ EMSGSIZE, "message_size" },
	{ ENOBUFS, "no_buffer_space" },
	{ ENOMEM, "no_buffer_space" },
	{ EMFILE, "too_many_open_sockets" },
	{ ENFILE, "too_many_open_sockets" },
	{ EINVAL, "invalid_argument" },
	{ EOPNOTSUPP, "operation_not_supported" },
	{ EPROTOTYPE, "protocol_type" },
	{ ENOENT, "no_such_file" },
	{ EIO, "io_error" },
};

const char *atr_errtype(int err)
{
	for (size_t i = 0; i < ATR_ARRAY_LEN(rows); i++)
		if (rows[i].err == err)
			return rows[i].type;
	return "_OTHER";
}
