/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest code of the preflight on x86-64: one entry per instruction (or group)
 * that a stock kernel executes on its way to user space.
 *
 * It is copied into guest memory at PAYLOAD_CODE and is position-independent, so
 * that it needs no relocation; in the host it is read-only data. Each step starts in
 * ring 0 with
 *	%rdi  the result words (cleared by the host)
 *	%rsi  the scratch area (cleared), 64-byte aligned
 *	%r8d, %r9d  the lower and upper half of XCR0 to set (step xsetbv)
 * writes what it saw to the results, and ends by writing its first result to
 * PAYLOAD_PORT_DONE. An exception that a step does not expect ends up in the IDT's
 * default stubs, which report it by PAYLOAD_PORT_EXCEPTION.
 */
#include "payload.h"

	.section .rodata.kiln_payload, "a"
	.balign 64
	.globl kiln__payload_start
	.hidden kiln__payload_start
kiln__payload_start:

/* Entries are found by their offsets from the start; see steps in preflight_x86_64.c. */
.macro STEP name
	.balign 16
	.globl kiln__payload_\name
	.hidden kiln__payload_\name
kiln__payload_\name:
.endm

.macro DONE
	mov	$PAYLOAD_PORT_DONE, %edx
	mov	(%rdi), %eax
	out	%eax, %dx
	ud2
.endm

	.code64

/* Runs at all, in the address range of a kernel, with a stack. */
STEP long_mode
	movq	$PAYLOAD_MAGIC, (%rdi)
	mov	%cs, %eax
	push	%rax
	pop	8(%rdi)
	lea	kiln__payload_start(%rip), %rax
	mov	%rax, 16(%rdi)
	DONE

/* The entry of PVH and of the 32-bit boot protocol: from protected mode to 64-bit mode. */
STEP mode_switch
	.code32
	/* %edi results, %ebx where this code lies; all physical, paging is off */
	mov	%cr4, %eax
	or	$0x20, %eax			/* PAE */
	mov	%eax, %cr4
	mov	$PAYLOAD_PML4, %eax
	mov	%eax, %cr3
	mov	$0xc0000080, %ecx		/* EFER */
	rdmsr
	or	$0x100, %eax			/* LME */
	wrmsr
	mov	%cr0, %eax
	or	$0x80000000, %eax		/* PG */
	mov	%eax, %cr0
	lea	(mode_switched - kiln__payload_start)(%ebx), %eax
	pushl	$PAYLOAD_CODE64
	pushl	%eax
	lretl
	.code64
mode_switched:
	mov	$PAYLOAD_DATA, %eax
	mov	%eax, %ss
	movq	$PAYLOAD_MAGIC, (%rdi)
	mov	$0xc0000080, %ecx
	rdmsr
	and	$0x500, %eax			/* LMA, LME */
	mov	%rax, 8(%rdi)
	DONE

/* Reads a port (the host answers), writes it back complemented, and lets the host check. */
STEP port_io
	mov	$PAYLOAD_PORT_ECHO, %edx
	in	%dx, %al
	not	%al
	out	%al, %dx
	movzbl	%al, %eax
	mov	%rax, (%rdi)
	DONE

/* Device registers in memory: a write, then a read that the host answers. */
STEP mmio
	mov	$PAYLOAD_DEVICE, %eax
	movl	$PAYLOAD_MAGIC, (%rax)
	mov	4(%rax), %ecx
	mov	%rcx, (%rdi)
	DONE

STEP cpuid
	xor	%eax, %eax
	xor	%ecx, %ecx
	cpuid
	mov	%rbx, (%rdi)
	mov	%rdx, 8(%rdi)
	mov	%rcx, 16(%rdi)
	DONE

/* What a kernel sets up for system calls and per-CPU data: LSTAR, KERNEL_GS_BASE, swapgs. */
STEP msr
	mov	$(PAYLOAD_KERNEL_ADDRESS & 0xffffffff), %eax
	mov	$(PAYLOAD_KERNEL_ADDRESS >> 32), %edx
	mov	$0xc0000082, %ecx		/* LSTAR */
	wrmsr
	mov	$0xc0000102, %ecx		/* KERNEL_GS_BASE */
	wrmsr
	swapgs
	mov	$0xc0000082, %ecx
	xor	%eax, %eax
	xor	%edx, %edx
	rdmsr
	shl	$32, %rdx
	or	%rdx, %rax
	mov	%rax, (%rdi)
	mov	$0xc0000101, %ecx		/* GS_BASE */
	rdmsr
	shl	$32, %rdx
	or	%rdx, %rax
	mov	%rax, 8(%rdi)
	DONE

/* Kernels patch themselves with int3 (text_poke) at boot. The handler counts in 8(%rdi). */
STEP int3
	int3
	movq	$PAYLOAD_MAGIC, (%rdi)
	DONE

	.balign 16
	.globl kiln__payload_on_int3
	.hidden kiln__payload_on_int3
kiln__payload_on_int3:
	incq	8(%rdi)
	iretq

/* A page fault that the handler steps over; CR2 and the error code are what it compares. */
STEP page_fault
	mov	$PAYLOAD_UNMAPPED, %eax
	lea	1f(%rip), %rcx
	mov	(%rax), %eax
1:	movq	$PAYLOAD_MAGIC, (%rdi)
	DONE

	.balign 16
	.globl kiln__payload_on_page_fault
	.hidden kiln__payload_on_page_fault
kiln__payload_on_page_fault:
	pop	16(%rdi)			/* the error code */
	mov	%cr2, %rax
	mov	%rax, 8(%rdi)
	mov	%rcx, (%rsp)			/* return behind the access */
	iretq

/* SLUB's free lists: once with the value that is there, once with another. */
STEP cmpxchg16b
	movabs	$PAYLOAD_PATTERN, %rax
	movabs	$PAYLOAD_PATTERN2, %rdx
	mov	%rax, (%rsi)
	mov	%rdx, 8(%rsi)
	mov	%rdx, %rbx
	mov	%rax, %rcx
	lock cmpxchg16b (%rsi)			/* equal: rcx:rbx is stored */
	setz	(%rdi)
	lock cmpxchg16b (%rsi)			/* not equal: rdx:rax is loaded */
	setnz	8(%rdi)
	mov	%rax, 16(%rdi)
	mov	%rdx, 24(%rdi)
	DONE

/* TSC_AUX is where a kernel keeps the CPU's number for the vDSO. */
STEP rdtscp
	mov	$PAYLOAD_MAGIC, %eax
	xor	%edx, %edx
	mov	$0xc0000103, %ecx		/* TSC_AUX */
	wrmsr
	xor	%ecx, %ecx
	rdtscp
	mov	%rcx, (%rdi)
	shl	$32, %rdx
	or	%rdx, %rax
	mov	%rax, %rbx
	rdtsc
	shl	$32, %rdx
	or	%rdx, %rax
	cmp	%rbx, %rax
	setae	8(%rdi)
	DONE

/*
 * Extended state, as a kernel's set-up and its context switches do it. First XCR0, which
 * must outlast an exit to the host: a hypervisor that missed the write loses it there.
 */
STEP xsetbv
	xor	%ecx, %ecx
	mov	%r8d, %eax
	mov	%r9d, %edx
	xsetbv
	mov	$PAYLOAD_PORT_ECHO, %edx
	out	%al, %dx
	xor	%ecx, %ecx
	xgetbv
	shl	$32, %rdx
	or	%rdx, %rax
	mov	%rax, (%rdi)
	DONE

/*
 * Then a store, with XCR0 set by the host. No other SSE instruction is used, so that what fails is what the
 * step is named after. FCW and MXCSR are at 0 and 24 (SDM vol. 1, 10.5.1): reset values.
 */
STEP xsave
	mov	$3, %eax			/* x87 and SSE */
	xor	%edx, %edx
	xsave64	(%rsi)
	movzwl	(%rsi), %eax
	mov	%rax, (%rdi)
	mov	24(%rsi), %eax
	mov	%rax, 8(%rdi)
	DONE

/* And a load, of an area made by hand; a second store tells what xmm0 (at 160) became. */
STEP xrstor
	movw	$0x37f, (%rsi)
	movl	$0x1f80, 24(%rsi)
	movabs	$PAYLOAD_PATTERN, %rax
	mov	%rax, 160(%rsi)
	movq	$2, 512(%rsi)			/* XSTATE_BV: SSE */
	mov	$3, %eax
	xor	%edx, %edx
	xrstor64 (%rsi)
	xsave64	0x4000(%rsi)
	mov	0x4000+160(%rsi), %rax
	mov	%rax, (%rdi)
	mov	0x4000+512(%rsi), %eax
	and	$2, %eax
	mov	%rax, 8(%rdi)
	DONE

/* The same for a processor without XSAVE. */
STEP fxrstor
	movw	$0x37f, (%rsi)
	movl	$0x1f80, 24(%rsi)
	movabs	$PAYLOAD_PATTERN, %rax
	mov	%rax, 160(%rsi)
	fxrstor64 (%rsi)
	fxsave64 0x4000(%rsi)
	mov	0x4000+160(%rsi), %rax
	mov	%rax, (%rdi)
	DONE

/* Idle. With no interrupt to come, the host is told. */
STEP halt
	movq	$PAYLOAD_MAGIC, (%rdi)
	hlt
	ud2

/*
 * The IDT's default stubs, 16 bytes each. Vectors 8, 10 to 14, 17, 21, 29 and 30
 * come with an error code (SDM vol. 3, table 6-1; AMD APM vol. 2, table 8-1).
 */
	.balign 16
	.globl kiln__payload_stubs
	.hidden kiln__payload_stubs
kiln__payload_stubs:
	.set	vector, 0
	.rept	32
	.balign 16
	.if	!((0x60227d00 >> vector) & 1)
	push	$0
	.endif
	push	$vector
	jmp	unexpected
	.set	vector, vector + 1
	.endr

unexpected:
	pop	(PAYLOAD_EXCEPTION * 8)(%rdi)
	pop	(PAYLOAD_EXCEPTION * 8 + 8)(%rdi)
	pop	(PAYLOAD_EXCEPTION * 8 + 16)(%rdi)
	mov	$PAYLOAD_PORT_EXCEPTION, %edx
	out	%eax, %dx
1:	hlt
	jmp	1b

	.globl kiln__payload_end
	.hidden kiln__payload_end
kiln__payload_end:

	.section .note.GNU-stack, "", @progbits
