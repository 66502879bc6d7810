/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts a kernel, its initramfs and its command line into a guest's memory and says in which state
 * the first processor starts there, by one of two protocols:
 *
 *	PVH      32-bit, without paging: Xen's x86/HVM direct boot ABI (docs/misc/pvh.pandoc). Taken
 *	         where the kernel has the note that names its entry
 *	LINUX64  64-bit: Linux's Documentation/arch/x86/boot.rst, "64-bit Boot Protocol". Taken
 *else, and for a random base, which a PVH entry does not stand
 *
 * A kernel is an ELF file (vmlinux), as kiln-image takes it out of a bzImage, with the table of
 * relocations that follows it there. Below the tables of firmware (layout.h), in conventional
 * memory, lies what the kernel reads first:
 *
 *	0x1000  PVH start info, its lists, and the command line; the GDT
 *	0x2000  LINUX64: struct boot_params ("zero page")
 *	0x3000  LINUX64: page tables, six pages, that map the first 4 GiB one to one
 *
 * The files are anybody's: every number in them is checked. Any thread; nothing is kept.
 */
#ifndef KILN_VMM_BOOT_H
#define KILN_VMM_BOOT_H

#include "fd.h"
#include "ram.h"

/* A range of an open file. */
struct kiln__boot_file {
	kiln_fd fd; /* borrowed for the time of the call; KILN_FD_NONE: there is none */
	uint64_t start;
	uint64_t len;   /* 0: all from @start */
	bool immutable; /* see ram.h: it is mapped where its layout allows; else copied */
};

struct kiln__boot_options {
	struct kiln__boot_file kernel;
	struct kiln__boot_file initrd;
	const char *cmdline; /* NULL: empty */
	uint64_t rsdp;       /* what kiln__acpi_build() gave; 0: no ACPI */
	/*
	 * Physical and virtual base at random, in the ranges of the kernel's own choice. Such a
	 * kernel is this VM's alone in memory: it is copied, and nothing of it is shared.
	 */
	bool random_base;
};

#define KILN__BOOT_MAX_CMDLINE 2047 /* COMMAND_LINE_SIZE of x86 without its NUL */

enum kiln__boot_protocol {
	KILN__BOOT_PVH,
	KILN__BOOT_LINUX64,
};

/* Rights as in the second half of a descriptor, shifted right by 8 (Intel SDM vol. 3, 3.4.5). */
struct kiln__boot_segment {
	uint64_t base;
	uint32_t limit; /* in bytes */
	uint16_t selector;
	uint16_t rights;
};

/*
 * Where the kernel lies and how the first processor starts. Registers not named here are zero, and
 * so are the bases and limits of LDTR and IDTR; interrupts are off.
 */
struct kiln__boot_entry {
	enum kiln__boot_protocol protocol;
	uint64_t rip;
	uint64_t rbx; /* PVH: the start info's address */
	uint64_t rsi; /* LINUX64: the boot parameters' */
	uint64_t rflags;
	uint64_t cr0, cr3, cr4;
	uint64_t efer;
	struct kiln__boot_segment code; /* CS */
	struct kiln__boot_segment data; /* DS, ES, SS; FS and GS may have it too */
	struct kiln__boot_segment task; /* TR */
	uint64_t gdt_base;              /* LINUX64; PVH needs none, and has limit 0 */
	uint16_t gdt_limit;
	uint64_t kernel_base; /* physical, and how far the virtual base was moved: 0 without
				 random_base */
	uint64_t kernel_shift;
};

/*
 * Into @ram, which must be new or wholly discarded: what no file fills is taken to be zero.
 *
 * KILN_EFORMAT: not a kernel that can be booted (another machine's, damaged, its segments wild);
 * KILN_EINVAL: kernel or initramfs do not fit into the memory, or the command line is too long;
 * KILN_ENOTSUP: no way to start it, or a random base for a kernel without relocations.
 * @ram's contents are undefined then.
 */
int kiln__boot_load(struct kiln__ram *ram, const struct kiln__boot_options *options,
		    struct kiln__boot_entry *ret, kiln_error *err);

#endif
