/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_HOOKS_ERRTYPE_H
#define ATR_HOOKS_ERRTYPE_H

/*
 * error.type for an errno: low cardinality, snake case, in the words of the
 * semantic conventions' socket spans where they have one; "_OTHER" else.  Pure.
 */
const char *atr_errtype(int err);

#endif
