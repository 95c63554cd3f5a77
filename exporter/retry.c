/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/retry.h"

#define FIRST_NS 1000000000u
#define MOST_NS 5000000000u

bool atr_retry_status(int status)
{
	return status == 429 || status == 502 || status == 503 || status == 504;
}

uint64_t atr_retry_backoff(unsigned attempt, uint32_t random)
{
	uint64_t ns = FIRST_NS;

	for (unsigned i = 1; i < attempt && ns < MOST_NS; i++)
		ns += ns / 2;
	if (ns > MOST_NS)
		ns = MOST_NS;
	return ns - ns / 5 + (2 * ns / 5) * (uint64_t)random / UINT32_MAX;
}
