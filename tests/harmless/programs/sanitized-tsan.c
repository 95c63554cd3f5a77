/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that was built with ThreadSanitizer.
 *
 * CFLAGS: -fsanitize=thread */
/* LIBS: -lpthread */
#include "company.c"
