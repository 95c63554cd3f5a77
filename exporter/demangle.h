/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_DEMANGLE_H
#define ATR_EXPORTER_DEMANGLE_H

/*
 * A symbol as people write it: of a C++ one the qualified name without arguments, of
 * others the name without what compilers append (.part.0, .constprop.1).  To be freed;
 * NULL only without memory.
 */
char *atr_demangle(const char *symbol);

#endif
