/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_PRELOAD_CFI_H
#define ATR_PRELOAD_CFI_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Unwind information (.eh_frame): how to come from a frame to its caller, as far as
 * that needs only the stack pointer and the frame pointer, which is nearly always.
 * Reads the object's memory through atr_sys_peek(): whatever it holds, nothing
 * faults and everything ends.
 *
 * CFA: the stack pointer before the call (x86-64: before its push).
 */
enum atr_cfi_base {
	ATR_CFI_NONE,	  /* no way on: outermost, a signal's frame, no information */
	ATR_CFI_SP,	  /* CFA = sp + cfa */
	ATR_CFI_FP,	  /* CFA = fp + cfa */
	ATR_CFI_FP_DEREF, /* CFA = *(fp + cfa): a frame that aligned its stack */
};

enum atr_cfi_fp {
	ATR_CFI_FP_SAME,
	ATR_CFI_FP_AT_CFA, /* the caller's is at CFA + fp */
	ATR_CFI_FP_AT_FP,  /* the caller's is at the old fp + fp */
};

struct atr_cfi {
	uint8_t base;	 /* enum atr_cfi_base */
	uint8_t fp_rule; /* enum atr_cfi_fp */
	int32_t cfa, fp;
	int32_t ra; /* the return address is at CFA + ra */
};

/*
 * The rule for the call that returns to pc, in the object [start, end) with its
 * PT_GNU_EH_FRAME at `hdr`; ATR_CFI_NONE when there is none.
 */
void atr_cfi_find(struct atr_cfi *rule, uintptr_t hdr, uintptr_t start, uintptr_t end,
		  uintptr_t pc);

#endif
