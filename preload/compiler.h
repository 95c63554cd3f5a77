/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_COMPILER_H
#define ATR_PRELOAD_COMPILER_H

/* What every file may use: a few attributes, and nothing that needs a library. */
#include <stddef.h>
#include <stdint.h>

#define atr_likely(x) __builtin_expect(!!(x), 1)
#define atr_unlikely(x) __builtin_expect(!!(x), 0)
#define atr_export __attribute__((visibility("default")))
#define atr_noinline __attribute__((noinline, cold))
#define atr_printf(fmt, args) __attribute__((format(printf, fmt, args)))

/* Our own object in memory, from the linker.  (dladdr() would cost microseconds.) */
extern const char __ehdr_start __attribute__((visibility("hidden")));
extern const char _end __attribute__((visibility("hidden")));

/* Does the address lie in it? */
#define atr_ours(p) ((uintptr_t)(p) - (uintptr_t)&__ehdr_start < (size_t)(&_end - &__ehdr_start))

#define ATR_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Relaxed unless the name says otherwise; the weakest order that is right is chosen at the call. */
#define atr_load(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define atr_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define atr_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define atr_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define atr_add(p, v) __atomic_fetch_add((p), (v), __ATOMIC_RELAXED)

#endif
