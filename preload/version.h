/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_VERSION_H
#define ATR_PRELOAD_VERSION_H

#define ATR_VERSION "0.1.0"

#endif
