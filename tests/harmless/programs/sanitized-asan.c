/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that was built with AddressSanitizer.
 *
 * CFLAGS: -fsanitize=address */
/* LIBS: -lpthread */
#include "company.c"
