/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PHP opens its extensions with RTLD_DEEPBIND.  What they and their libraries call (libpq,
 * libcurl, sockets) is then found in libc before it is found here, and nothing is seen.  PHP is
 * built without that flag, too, where it does not exist (musl) or does no good (sanitizers), so
 * for PHP alone it is taken away; to anybody else it may be what keeps two libraries apart.
 *
 * dlopen() asks for its return address, to search the RUNPATH of the object that calls.  So
 * this hook is no function that calls it: it jumps there, with the program's return address.
 */
#include <dlfcn.h>
#include <string.h>

#include "hooks/hook.h"
#include "preload/config.h"

/* In two registers. */
struct atr_next {
	void *(*dlopen)(const char *file, int mode);
	long mode;
};

struct atr_next atr_dlopen_next(const char *file, int mode, const void *caller);

static void *none(const char *file, int mode)
{
	(void)file;
	(void)mode;
	return NULL;
}

/* Is this address in the object that PHP is: the program, or libphp in a server? */
static bool is_php(const void *caller)
{
	void *exported = dlsym(RTLD_DEFAULT, "php_load_extension");
	Dl_info from, php;
	const char *base;

	if (!dladdr(caller, &from) || !from.dli_fname)
		return false;
	if (exported && dladdr(exported, &php) && php.dli_fbase == from.dli_fbase)
		return true;
	base = strrchr(from.dli_fname, '/');
	base = base ? base + 1 : from.dli_fname;
	return strncmp(base, "libphp", 6) == 0;
}

/* Not atr_live(): frames are none of ours here. */
__attribute__((visibility("hidden"), used)) struct atr_next
atr_dlopen_next(const char *file, int mode, const void *caller)
{
	(void)file;
	if (atr_unlikely(!atr_real.dlopen))
		atr_real_init();
	if (atr_unlikely(mode & RTLD_DEEPBIND) && atr_gate_open() && !atr_config.keep_deepbind &&
	    !atr_tls.inside && is_php(caller))
		mode &= ~RTLD_DEEPBIND;
	return (struct atr_next){ atr_real.dlopen ? atr_real.dlopen : none, mode };
}

/* clang-format off */
#if defined(__x86_64__)
__asm__(".pushsection .text\n"
	".globl dlopen\n"
	".type dlopen, @function\n"
	"dlopen:\n"
	"	.cfi_startproc\n"
	"	endbr64\n"
	"	pushq %rdi\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	subq $16, %rsp\n"
	"	.cfi_adjust_cfa_offset 16\n"
	"	movq 24(%rsp), %rdx\n"
	"	call atr_dlopen_next\n"
	"	addq $16, %rsp\n"
	"	.cfi_adjust_cfa_offset -16\n"
	"	popq %rdi\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	movl %edx, %esi\n"
	"	jmp *%rax\n"
	"	.cfi_endproc\n"
	".size dlopen, .-dlopen\n"
	".popsection\n");
#elif defined(__aarch64__)
__asm__(".pushsection .text\n"
	".globl dlopen\n"
	".type dlopen, %function\n"
	".p2align 2\n"
	"dlopen:\n"
	"	.cfi_startproc\n"
	"	hint #34\n" /* bti c */
	"	stp x29, x30, [sp, #-32]!\n"
	"	.cfi_def_cfa_offset 32\n"
	"	.cfi_offset 29, -32\n"
	"	.cfi_offset 30, -24\n"
	"	mov x29, sp\n"
	"	str x0, [sp, #16]\n"
	"	mov x2, x30\n"
	"	bl atr_dlopen_next\n"
	"	mov x16, x0\n"
	"	ldr x0, [sp, #16]\n"
	"	ldp x29, x30, [sp], #32\n"
	"	.cfi_restore 30\n"
	"	.cfi_restore 29\n"
	"	.cfi_def_cfa_offset 0\n"
	"	br x16\n"
	"	.cfi_endproc\n"
	".size dlopen, .-dlopen\n"
	".popsection\n");
#else
#error "dlopen() of this machine is to be written"
#endif
