/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linked with -z initfirst and preloaded with a sanitizer's runtime: the first
 * malloc() of the process is made here, in peace, and not by libp11-kit's
 * constructor inside newlocale(), whose lock the runtime's start-up then breaks
 * (psql and curl hang at exit under libasan alone).
 */
#include <stdlib.h>
__attribute__((constructor)) static void first(void)
{
	void *volatile p = malloc(1);
	free(p);
}
