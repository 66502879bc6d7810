/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest code of the preflight on AArch64. It runs at EL1 with the MMU off, at
 * PAYLOAD_CODE, and is position-independent. x0 is PAYLOAD_DEVICE, where no memory is:
 * with the MMU off guest memory is accessed past the caches, so the guest tells
 * its results by MMIO writes alone. A store to x0 + 8 * i is result i, one
 * to x0 + PAYLOAD_ARM_DONE ends the step.
 */
#include "payload.h"

	.section .rodata.kiln_payload, "a"
	.balign 2048
	.globl kiln__payload_start
	.hidden kiln__payload_start
kiln__payload_start:

/* The exception vectors (Arm ARM, D1.3.1.5): 16 of 128 bytes; the fifth is a synchronous one at EL1h. */
	.rept	4
	.balign 128
	b	unexpected
	.endr
	.balign 128
	b	synchronous
	.rept	11
	.balign 128
	b	unexpected
	.endr
	.balign 128

synchronous:
	mrs	x10, esr_el1
	lsr	x11, x10, #26			/* exception class: 0x3c is BRK in AArch64 state */
	cmp	x11, #0x3c
	b.ne	unexpected
	mrs	x11, elr_el1
	add	x11, x11, #4			/* behind it */
	msr	elr_el1, x11
	add	x12, x12, #1
	eret

unexpected:
	mrs	x10, esr_el1
	str	x10, [x0, #PAYLOAD_ARM_EXCEPTION]
1:	wfi
	b	1b

.macro STEP name
	.balign 16
	.globl kiln__payload_\name
	.hidden kiln__payload_\name
kiln__payload_\name:
	adr	x9, kiln__payload_start
	msr	vbar_el1, x9
	isb
.endm

.macro DONE
	str	xzr, [x0, #PAYLOAD_ARM_DONE]
	b	unexpected
.endm

/* Runs at all, at EL1. */
STEP el1
	mrs	x1, CurrentEL
	str	x1, [x0]
	DONE

/* Device registers: a read that the host answers, written back complemented. */
STEP mmio
	ldr	w1, [x0, #PAYLOAD_ARM_ECHO]
	mvn	w1, w1
	str	w1, [x0]
	DONE

/* System registers that kernels keep per-CPU data in, and the virtual counter. */
STEP sysreg
	ldr	x1, =PAYLOAD_PATTERN
	msr	tpidr_el1, x1
	isb
	mrs	x2, tpidr_el1
	str	x2, [x0]
	isb
	mrs	x1, cntvct_el0
	isb
	mrs	x2, cntvct_el0
	cmp	x2, x1
	cset	x2, hs
	str	x2, [x0, #8]
	mrs	x1, cntfrq_el0
	cmp	x1, #0
	cset	x1, ne
	str	x1, [x0, #16]
	DONE

/* An exception taken and returned from at EL1. */
STEP brk
	mov	x12, #0
	brk	#1
	str	x12, [x0]
	DONE

/* Floating point and SIMD, once CPACR_EL1 lets it through. */
STEP simd
	mov	x1, #(3 << 20)			/* FPEN: trap nothing */
	msr	cpacr_el1, x1
	isb
	ldr	x1, =PAYLOAD_PATTERN
	fmov	d0, x1
	fmov	v1.d[1], x1
	mov	v0.d[1], v1.d[1]
	fmov	x2, d0
	str	x2, [x0]
	umov	x2, v0.d[1]
	str	x2, [x0, #8]
	DONE

/* PSCI by HVC (Arm DEN0022): its version, then power-off, which ends this step. */
STEP psci
	mov	x19, x0
	mov	w0, #0x84000000			/* PSCI_VERSION */
	hvc	#0
	lsr	w1, w0, #16
	cmp	w1, #0
	cset	w1, ne				/* major version 1; 0.2 has it zero */
	and	w2, w0, #0xffff
	orr	w1, w1, w2
	cmp	w1, #0
	cset	x1, ne				/* at least 0.1, not an error */
	tst	w0, #0x80000000
	csel	x1, xzr, x1, ne
	str	x1, [x19]
	ldr	w0, =0x84000008			/* SYSTEM_OFF */
	hvc	#0
	mov	x0, x19
	b	unexpected

	.ltorg
	.globl kiln__payload_end
	.hidden kiln__payload_end
kiln__payload_end:

	.section .note.GNU-stack, "", %progbits
