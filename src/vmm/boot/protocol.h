/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two boot protocols have in common: where the parts lie that a kernel is told of, and
 * a writer of each protocol's parameters.
 */
#ifndef KILN_VMM_BOOT_PROTOCOL_H
#define KILN_VMM_BOOT_PROTOCOL_H

#include "boot.h"
#include "vmlinux.h"

#define KILN__BOOT_INFO        0x1000u
#define KILN__BOOT_GDT         0x1700u
#define KILN__BOOT_CMDLINE     0x1800u
#define KILN__BOOT_PARAMS      0x2000u
#define KILN__BOOT_PAGE_TABLES 0x3000u
#define KILN__BOOT_LOW_END     0x9000u

/* Types of memory: those of e820 (ACPI 6.4, table 15.1) are Xen's as well. */
#define KILN__MEMORY_RAM      1u
#define KILN__MEMORY_RESERVED 2u

struct kiln__boot_memory {
	uint64_t base;
	uint64_t size;
	uint32_t type;
};

#define KILN__BOOT_MAX_MEMORY 4

struct kiln__boot_parts {
	struct kiln__boot_memory memory[KILN__BOOT_MAX_MEMORY];
	unsigned memory_count;
	uint64_t initrd; /* address and size; 0 if there is none */
	uint64_t initrd_size;
	uint64_t cmdline; /* its address */
	uint64_t rsdp;
	bool random_base;
};

/* Both write to conventional memory, which all RAM has; @ret lacks only the kernel's place. */
void kiln__pvh_prepare(struct kiln__ram *ram, const struct kiln__boot_parts *parts, uint64_t entry,
		       struct kiln__boot_entry *ret);
void kiln__linux64_prepare(struct kiln__ram *ram, const struct kiln__boot_parts *parts,
			   const struct kiln__vmlinux *kernel, uint64_t entry,
			   struct kiln__boot_entry *ret);

#endif
