/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/retry.c"

#include "tests/unit/test.h"

TEST(only_four_statuses_are_tried_again)
{
	unsigned n = 0;

	for (int status = 100; status < 600; status++)
		n += atr_retry_status(status);
	CHECK_INT(n, 4);
	CHECK(atr_retry_status(429) && atr_retry_status(502) && atr_retry_status(503) &&
	      atr_retry_status(504));
}

TEST(pauses_grow_by_half_to_five_seconds)
{
	static const long long ms[] = { 1000, 1500, 2250, 3375, 5000, 5000 };

	for (unsigned i = 0; i < 6; i++) {
		CHECK_INT(atr_retry_backoff(i + 1, UINT32_MAX / 2) / 1000000 / 10,
			  (ms[i] - 1) / 10);
		CHECK_INT(atr_retry_backoff(i + 1, 0) / 1000000, ms[i] * 8 / 10);
		CHECK_INT(atr_retry_backoff(i + 1, UINT32_MAX) / 1000000, ms[i] * 12 / 10);
	}
	CHECK_INT(atr_retry_backoff(4000000000u, 0), 4000000000ll);
}
