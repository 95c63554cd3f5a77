/* SPDX-License-Identifier: Apache-2.0 */
#include "hooks/errtype.c"
#include "tests/unit/test.h"

#include <ctype.h>

TEST(errors_have_a_low_cardinality_name_in_snake_case)
{
	for (int err = 1; err < 140; err++) {
		const char *type = atr_errtype(err);

		CHECK(type && *type);
		if (strcmp(type, "_OTHER") == 0)
			continue;
		for (const char *p = type; *p; p++)
			CHECK(islower((unsigned char)*p) || *p == '_');
	}
	CHECK_STR(atr_errtype(ECONNREFUSED), "connection_refused");
	CHECK_STR(atr_errtype(ETIMEDOUT), "timed_out");
	CHECK_STR(atr_errtype(EPIPE), "broken_pipe");
	CHECK_STR(atr_errtype(ELOOP), "_OTHER");
	CHECK_STR(atr_errtype(-5), "_OTHER");
}
