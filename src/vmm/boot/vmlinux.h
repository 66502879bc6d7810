/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel for x86-64, in an ELF file or a bzImage: reading what it says of itself, and placing it.
 */
#ifndef KILN_VMM_BOOT_VMLINUX_H
#define KILN_VMM_BOOT_VMLINUX_H

#include "ram.h"

/* How much of a file its reader is given: one page has the headers of vmlinux and of a bzImage. */
#define KILN__KERNEL_HEAD 4096u

/* struct setup_header within struct boot_params (arch/x86/include/uapi/asm/bootparam.h). */
#define KILN__SETUP_HEADER     0x1f1u
#define KILN__SETUP_HEADER_MAX (0x290u - KILN__SETUP_HEADER)

/* vmlinux has four or five. */
#define KILN__VMLINUX_MAX_SEGMENTS 16

struct kiln__vmlinux_segment {
	uint64_t offset; /* in the file */
	uint64_t paddr;
	uint64_t file_size;
	uint64_t memory_size; /* the rest is zero */
	bool writable;
};

/* Physical addresses, as linked. */
struct kiln__vmlinux {
	struct kiln__vmlinux_segment
		segments[KILN__VMLINUX_MAX_SEGMENTS]; /* by address, none overlap */
	unsigned count;
	uint64_t base; /* of the first segment, and the end of the last */
	uint64_t end;
	uint64_t entry;     /* 64-bit; 0 if it lies in no segment */
	uint64_t pvh_entry; /* 32-bit; 0 if there is none */
	bool linux_notes;   /* its build says that it is Linux: the 64-bit entry is boot.rst's */
	uint64_t file_end;  /* in the file: where what belongs to the ELF file ends */
	/* bzImage: its part of the boot parameters, which begins there at KILN__SETUP_HEADER. */
	unsigned char setup[KILN__SETUP_HEADER_MAX];
	unsigned setup_len;
};

/*
 * Reads the headers and notes of an ELF file, which begins with @head. KILN_EFORMAT says what is
 * wrong with it.
 */
int kiln__vmlinux_read(struct kiln__vmlinux *ret, const struct kiln__ram_file *file,
		       const unsigned char head[KILN__KERNEL_HEAD], kiln_error *err);

/*
 * The same for a bzImage: one segment, which unpacks itself, and moves itself if it was built to.
 * For a kernel in which kiln-image has found nothing better.
 */
bool kiln__bzimage_is(const unsigned char head[KILN__KERNEL_HEAD]);
int kiln__bzimage_read(struct kiln__vmlinux *ret, const struct kiln__ram_file *file,
		       const unsigned char head[KILN__KERNEL_HEAD], kiln_error *err);

/*
 * Places the segments, each @shift bytes above where it was linked to lie (modulo 2^64, so below,
 * too). The caller has seen to it that this is RAM from KILN__HIGH_RAM up.
 */
int kiln__vmlinux_load(struct kiln__ram *ram, const struct kiln__vmlinux *kernel,
		       const struct kiln__ram_file *file, uint64_t shift, kiln_error *err);

#endif
