/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest guest that can live a machine's whole life: a kernel of a few hundred
 * bytes for x86 machines that boot by PVH (QEMU's microvm), with its console on the
 * first serial port. It writes KILN_READY and then echoes what it reads; a line that
 * begins with
 *	p	powers off
 *	r	resets
 *	k	panics, as Linux does with panic=-1
 *	c	crashes: a triple fault
 *	i	makes it ignore the power button, which otherwise powers off
 * The power button is the event device of ACPI (ACPI 6.4, 5.6.9), the ends are its sleep and reset
 * registers: where QEMU's microvm has them or, with BUILTIN, kiln's own machine (src/vmm/layout.h).
 * With KEYBOARD it is a guest of Firecracker's, which has neither: the button is Delete on the keyboard
 * (set 2, as Firecracker sends Ctrl-Alt-Del), and it ends by a reset of the keyboard controller's.
 */
#define KBD_DATA   0x60
#define KBD_STATUS 0x64 /* and command */
#define KBD_FULL   0x01
#define KBD_RESET  0xfe
#define KEY_DELETE 0x71 /* behind 0xe0 */

#define COM1      0x3f8
#define COM1_LSR  (COM1 + 5)
#define LSR_DATA  0x01 /* PC16550D, 8.6.3 */
#define LSR_EMPTY 0x20

#ifdef BUILTIN
#define PM_SLEEP   0x600
#define PM_RESET   0x602
#define PM_EVENTS  0x604
#define SLEEP_S5   (1 << 5 | 5 << 2)
#else
#define GED        0xfea00000         /* QEMU: include/hw/acpi/generic_event_device.h, GED_MMIO_BASE */
#define GED_EVENTS GED                /* reading clears them */
#define GED_BUTTON 0x2
#define GED_SLEEP  (GED + 0x200)      /* SLEEP_CONTROL_REG (ACPI 6.4, 4.8.3.7) */
#define SLEEP_S5   (1 << 5 | 5 << 2)  /* SLP_EN, SLP_TYP of \_S5 in QEMU's tables */
#define GED_RESET  (GED + 0x202)
#define RESET      0x42
#endif

	.code32
	.section .note.Xen, "a", @note
	.balign 4
	.long	4, 4, 18                   /* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	start

	.text
	.globl start
start:
	cli
	mov	$stack, %esp
	mov	$ready, %esi
	call	print
	xor	%ebp, %ebp                 /* 1: ignores the button */
new_line:
	xor	%ebx, %ebx                 /* the line's first character */
wait:
	pause
#ifdef BUILTIN
	mov	$PM_EVENTS, %edx
	in	%dx, %eax
	test	$1, %eax
	jz	1f
#elif defined(KEYBOARD)
	in	$KBD_STATUS, %al
	test	$KBD_FULL, %al
	jz	1f
	in	$KBD_DATA, %al
	cmp	$KEY_DELETE, %al
	jne	1f
#else
	testl	$GED_BUTTON, GED_EVENTS
	jz	1f
#endif
	test	%ebp, %ebp
	jz	power_off
1:	mov	$COM1_LSR, %edx
	in	%dx, %al
	test	$LSR_DATA, %al
	jz	wait
	mov	$COM1, %edx
	in	%dx, %al
	call	put
	cmp	$'\n', %al
	je	line
	test	%ebx, %ebx
	jnz	wait
	movzbl	%al, %ebx
	jmp	wait

line:
	cmp	$'p', %ebx
	je	power_off
	cmp	$'r', %ebx
	je	reset
	cmp	$'k', %ebx
	je	panic
	cmp	$'c', %ebx
	je	crash
	cmp	$'i', %ebx
	jne	new_line
	mov	$1, %ebp
	mov	$deaf, %esi
	call	print
	jmp	new_line

power_off:
#ifdef BUILTIN
	mov	$SLEEP_S5, %al
	mov	$PM_SLEEP, %edx
	out	%al, %dx
#elif defined(KEYBOARD)
	jmp	reset
#else
	movb	$SLEEP_S5, GED_SLEEP
#endif
1:	hlt
	jmp	1b

panic:
	mov	$panicked, %esi
	call	print
reset:
#ifdef BUILTIN
	mov	$1, %al
	mov	$PM_RESET, %edx
	out	%al, %dx
#elif defined(KEYBOARD)
	mov	$KBD_RESET, %al
	out	%al, $KBD_STATUS
#else
	movb	$RESET, GED_RESET
#endif
1:	hlt
	jmp	1b

crash:
	lidt	no_idt
	int3

/* Writes %al. */
put:
	mov	%eax, %ecx
	mov	$COM1_LSR, %edx
1:	in	%dx, %al
	test	$LSR_EMPTY, %al
	jz	1b
	mov	%ecx, %eax
	mov	$COM1, %edx
	out	%al, %dx
	ret

/* Writes the text at %esi. */
print:
	lodsb
	test	%al, %al
	jz	1f
	call	put
	jmp	print
1:	ret

	.section .rodata
no_idt:	.short	0
	.long	0
ready:	.asciz	"KILN_READY\n"
deaf:	.asciz	"ignoring the power button\n"
panicked:
	.asciz	"Kernel panic - not syncing: asked for\n"

	.bss
	.balign	16
	.skip	1024
stack:

	.section .note.GNU-stack, "", @progbits
