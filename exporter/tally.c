/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/tally.h"

#include <stdio.h>
#include <string.h>

#include "exporter/delivery.h"

static const double bounds[] = ATR_TALLY_BOUNDS;
_Static_assert(sizeof(bounds) / sizeof(bounds[0]) + 1 == ATR_TALLY_BUCKETS, "one more");

void atr_tally_begin(struct atr_tally *t, size_t n_spans, uint64_t now)
{
	uint64_t known = n_spans < t->again ? n_spans : t->again;

	t->again -= known;
	t->processed += n_spans - known;
	t->inflight = n_spans;
	t->began = now;
}

/* The row of such outcomes, the last one when there are too many kinds. */
static struct atr_tally_row *row_of(struct atr_tally *t, const char *error, int http_status)
{
	struct atr_tally_row *row;

	for (size_t i = 0; i < t->n_rows; i++)
		if (t->rows[i].http_status == http_status && strcmp(t->rows[i].error, error) == 0)
			return &t->rows[i];
	if (t->n_rows == ATR_TALLY_ROWS)
		return &t->rows[ATR_TALLY_ROWS - 1];
	if (t->n_rows == ATR_TALLY_ROWS - 1) {
		error = "_OTHER";
		http_status = 0;
	}
	row = &t->rows[t->n_rows++];
	(void)snprintf(row->error, sizeof(row->error), "%s", error);
	row->http_status = http_status;
	return row;
}

void atr_tally_end(struct atr_tally *t, const struct atr_outcome *outcome, bool back, uint64_t now)
{
	struct atr_tally_row *row =
		row_of(t, outcome->error ? outcome->error : "", outcome->http_status);
	double seconds = now > t->began ? (double)(now - t->began) / 1e9 : 0;
	uint64_t lost = outcome->error ? t->inflight : 0;
	size_t i = 0;

	/* Of one that was taken in part only the rest has failed. */
	if (lost && outcome->n_rejected && outcome->n_rejected < lost)
		lost = outcome->n_rejected;
	row->n_spans += lost;
	t->ok_spans += t->inflight - lost;
	row->n_exports++;
	row->seconds += seconds;
	while (i < ATR_TALLY_BUCKETS - 1 && seconds > bounds[i])
		i++;
	row->buckets[i]++;
	if (back)
		t->again += t->inflight;
	t->inflight = 0;
}
