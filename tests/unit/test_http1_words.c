/* SPDX-License-Identifier: Apache-2.0 */
/* All that test_http1.c asks for, of the scans that machines without SSE2 have. */
#define ATR_HTTP_WORDS
#include "tests/unit/test_http1.c"
