/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests of a few instructions in real mode, placed at GUEST_ENTRY with CS and SS at 0 and DS as each
 * test sets it. guest_NAME is where one begins, guest_NAME_end where it ends. None is longer than
 * 256 bytes.
 */
#include "guest_layout.h"

	.section .rodata
	.code16

	.macro guest name
	.global guest_\name
	.balign GUEST_HANDLER_SIZE
guest_\name:
	.endm

	.macro end name
	.global guest_\name\()_end
guest_\name\()_end:
	.endm

/* A store of 32 bits anywhere. */
	.macro store value, address
	push	%ebx
	mov	$\address, %ebx
	movl	$\value, (%ebx)
	pop	%ebx
	.endm

/* Says that it runs, then never comes out. */
guest spin
	out	%al, $PORT_BELL
1:	jmp	1b
end spin

/* The same, waiting for interrupts. */
guest halted
	sti
	out	%al, $PORT_BELL
1:	hlt
	jmp	1b
end halted

/* Writes 0x5a to DS:0, then says what is at DS:1. */
guest touch
	movb	$0x5a, 0
	mov	1, %al
	out	%al, $PORT_SAY
	hlt
end touch

/* Writes a byte to each of CX pages of DS from SI on. */
guest dirty
1:	movb	%al, (%si)
	add	$0x1000, %si
	loop	1b
	hlt
end dirty

/* Rings with 1, 2 and 3 at a port, and at DS:0 with two bytes and with four. */
guest ring
	mov	$1, %al
	out	%al, $PORT_BELL
	mov	$2, %al
	out	%al, $PORT_BELL
	mov	$3, %al
	out	%al, $PORT_BELL
	movw	$7, 0
	movl	$7, 0
	hlt
end ring

/*
 * Enables its local APIC by the spurious vector's register (SDM vol. 3, 11.9), opens the I/O APIC's pin
 * LINE for VECTOR_LINE (82093AA data sheet, 3.2.4), says that it is ready, and waits.
 */
guest apic
	store	0x1ff, 0xfee000f0
	store	(0x10 + 2 * LINE), 0xfec00000
	store	VECTOR_LINE, 0xfec00010
	out	%al, $PORT_READY
	out	%al, $PORT_BELL
	sti
1:	hlt
	jmp	1b
end apic

/* The same with a local APIC alone. */
guest lapic
	store	0x1ff, 0xfee000f0
	out	%al, $PORT_READY
	sti
1:	hlt
	jmp	1b
end lapic

/* For any vector: a table of these, each says its own and ends the interrupt. */
guest handlers
	.set	i, 0
	.rept	GUEST_HANDLERS
	.balign	GUEST_HANDLER_SIZE
	push	%ax
	mov	$i, %al
	out	%al, $PORT_SAY
	store	0, 0xfee000b0
	pop	%ax
	iret
	.set	i, i + 1
	.endr
end handlers

/* The same without an APIC to tell. */
guest plain_handlers
	.set	i, 0
	.rept	GUEST_HANDLERS
	.balign	GUEST_HANDLER_SIZE
	push	%ax
	mov	$i, %al
	out	%al, $PORT_SAY
	pop	%ax
	iret
	.set	i, i + 1
	.endr
end plain_handlers

/* Takes no interrupts, then does. */
guest late
	out	%al, $PORT_READY
	sti
	nop
1:	jmp	1b
end late

/* A number of the sequence that test_state.c computes, CX times, each said as it comes; the last one
 * made of what it is told, too. */
guest sequence
1:	imul	$1103515245, %eax, %eax
	add	$12345, %eax
	out	%eax, $PORT_SAY
	loop	1b
	mov	%eax, %ebx
	in	$PORT_ASK, %eax
	xor	%ebx, %eax
	out	%eax, $PORT_SAY
	hlt
end sequence

/* What SSE's state is: the low part of XMM0 and MXCSR. */
guest sse
	movd	%xmm0, %eax
	out	%eax, $PORT_SAY
	stmxcsr	0
	mov	0, %eax
	out	%eax, $PORT_SAY
	hlt
end sse

/* Reads four bytes across the end of a page, of which nothing is mapped: two accesses. */
guest crossing
	movl	0xffe, %eax
	out	%eax, $PORT_SAY
	hlt
end crossing

	.section .note.GNU-stack, "", %progbits
