/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vmlinux as small as one can be, in a memory file: text with the PVH note in it, data whose
 * file bytes do not begin at a page, and what the linker and relocs.c put behind. Tests change
 * the parts and write it anew.
 */
#ifndef VMLINUX_FILE_H
#define VMLINUX_FILE_H

#include "fd.h"

#include <elf.h>
#include <stddef.h>
#include <stdint.h>

#define VMLINUX_BASE  0x1000000u
#define VMLINUX_MAP   UINT64_C(0xffffffff80000000)
#define VMLINUX_ENTRY (VMLINUX_BASE + 0x40)
#define VMLINUX_PVH   (VMLINUX_BASE + 0x80)

enum {
	VMLINUX_TEXT, /* mappable, 0x1800 bytes and a bss of 0x200 */
	VMLINUX_DATA, /* from 0x200 in a page, there and in the file, over three pages */
	VMLINUX_ODD,  /* at another place in the page than in the file */
	VMLINUX_NOTE,
	VMLINUX_HEADERS,
};

struct vmlinux_file {
	Elf64_Ehdr header;
	Elf64_Phdr headers[70];
	uint32_t
		note[10]; /* name size, descriptor size, type, "Xen", entry; and room for another */
	uint32_t relocs[64];
	size_t reloc_count; /* words; 0: no table */
	size_t lead;        /* bytes of something else before it in the file */
	size_t cut;         /* bytes that its end lacks */
};

/* 32-bit at text + 0x100, inverse at + 0x108, 64-bit at + 0x110 in 6.1's format. */
void vmlinux_file_init(struct vmlinux_file *file);

/* What lies at @offset of the ELF file, where no header and no note is. */
unsigned char vmlinux_file_byte(size_t offset);

/* A new memory file. Aborts if it cannot be made. */
kiln_fd vmlinux_file_write(const struct vmlinux_file *file);

#endif
