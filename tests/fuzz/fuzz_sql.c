/* SPDX-License-Identifier: Apache-2.0 */
/* The first byte chooses the dialect, the second the room for the text, the rest is SQL. */
#include "hooks/sql-summary.c"
#include "hooks/sql.c"
#include "preload/utf8.c"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum atr_sql_dialect dialect;
	char summary[ATR_SQL_SUMMARY_MAX];
	const char *sql;
	char *whole, *part;
	size_t room, n, cut;

	if (size < 2)
		return 0;
	dialect = (enum atr_sql_dialect)(data[0] % 4);
	sql = (const char *)data + 2;
	size -= 2;
	room = data[1] < size ? data[1] : size;
	/* Exactly as large as allowed, for the sanitizer to see the byte beyond. */
	whole = malloc(size + !size);
	part = malloc(room + !room);

	n = atr_sql_sanitise(dialect, sql, size, whole, size);
	if (n > size || atr_utf8_valid(whole, n) != n)
		abort();
	cut = atr_sql_sanitise(dialect, sql, size, part, room);
	if (cut > room || cut > n || memcmp(whole, part, cut) != 0 ||
	    cut + 3 < (room < n ? room : n))
		abort();
	n = atr_sql_summary(dialect, sql, size, summary);
	if (n > sizeof(summary) || atr_utf8_valid(summary, n) != n)
		abort();
	free(whole);
	free(part);
	return 0;
}
