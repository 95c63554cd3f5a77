/* SPDX-License-Identifier: Apache-2.0 */
#include "hooks/pg-span.h"

#include <string.h>

const struct atr_pgoutcome atr_pgoutcome_none = {
	.returned = -1,
	.affected = -1,
	.copied_rows = -1,
	.copied_bytes = -1,
};

static void text_attr(struct atr_pb *pb, enum atr_attr attr, const char *text)
{
	if (text && *text)
		atr_attr_str(pb, attr, text, strlen(text));
}

static void rows_attr(struct atr_pb *pb, enum atr_attr attr, int64_t n)
{
	if (n >= 0)
		atr_attr_int(pb, attr, n);
}

static void connection_attrs(struct atr_pb *pb, const struct atr_pgconn *pg, struct atr_conn *c,
			     int fd)
{
	if (pg && pg->attrs_len)
		atr_pb_raw(pb, pg->attrs, pg->attrs_len);
	else
		atr_attr_utf8(pb, ATR_DB_SYSTEM_NAME, "postgresql", 10);
	if (c)
		atr_conn_attrs(c, fd, pb);
}

void atr_pg_statement_span(struct atr_op *op, const struct atr_pgconn *pg,
			   const struct atr_pg_naming *what, const struct atr_pgoutcome *o,
			   struct atr_conn *c, int fd)
{
	const struct atr_slice *summary = &what->summary;
	const char *error = o->error ? o->error : o->failed ? o->sqlstate : NULL;
	const char *fallback = pg->fallback[0] ? pg->fallback : "postgresql";
	struct atr_span span;

	if (!atr_op_end(op, &span, summary->len ? summary->p : fallback,
			summary->len ? summary->len : strlen(fallback)))
		return;
	connection_attrs(&span.pb, pg, c, fd);
	if (what->text.len)
		atr_attr_utf8(&span.pb, ATR_DB_QUERY_TEXT, what->text.p, what->text.len);
	if (summary->len)
		atr_attr_utf8(&span.pb,
			      what->function ? ATR_DB_STORED_PROCEDURE_NAME : ATR_DB_QUERY_SUMMARY,
			      summary->p, summary->len);
	text_attr(&span.pb, ATR_DB_RESPONSE_STATUS_CODE, o->sqlstate);
	rows_attr(&span.pb, ATR_DB_RESPONSE_RETURNED_ROWS, o->returned);
	rows_attr(&span.pb, ATR_DB_RESPONSE_AFFECTED_ROWS, o->affected);
	rows_attr(&span.pb, ATR_DB_COPY_ROWS, o->copied_rows);
	rows_attr(&span.pb, ATR_DB_COPY_BYTES, o->copied_bytes);
	text_attr(&span.pb, ATR_DB_TRANSACTION_STATUS, o->status);
	if (error)
		atr_span_error(&span, error, strlen(error));
	atr_span_commit(&span);
}

void atr_pg_dial_span(struct atr_op *op, const struct atr_pgconn *pg, const struct atr_pg_dial *d,
		      struct atr_conn *c, int fd)
{
	size_t what_len = strlen(d->what), db_len = strnlen(d->db, 255), len;
	char name[16 + 256];
	struct atr_span span;

	memcpy(name, d->what, what_len);
	name[what_len] = ' ';
	memcpy(name + what_len + 1, d->db, db_len);
	if (!atr_op_end(op, &span, name, db_len ? what_len + 1 + db_len : what_len))
		return;
	connection_attrs(&span.pb, pg, c, fd);
	text_attr(&span.pb, ATR_DB_OPERATION_NAME, d->what);
	text_attr(&span.pb, ATR_DB_RESPONSE_STATUS_CODE, d->sqlstate);
	if (d->error) {
		atr_span_error(&span, d->error, strlen(d->error));
		len = strlen(d->message);
		while (len && d->message[len - 1] == '\n')
			len--;
		atr_span_explain(&span, d->message, len);
	}
	atr_span_commit(&span);
}
