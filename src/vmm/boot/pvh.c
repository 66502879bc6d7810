/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Xen's x86/HVM direct boot ABI: docs/misc/pvh.pandoc for the processor's state,
 * xen/include/public/arch-x86/hvm/start_info.h for the structures, version 1.
 */
#include "protocol.h"

#include <string.h>

#define MAGIC   0x336ec578u
#define VERSION 1 /* with the map of memory */

struct start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t module_count;
	uint64_t modules; /* addresses */
	uint64_t cmdline;
	uint64_t rsdp;
	uint64_t memory;
	uint32_t memory_count;
	uint32_t reserved;
};
_Static_assert(sizeof(struct start_info) == 56, "hvm_start_info");

struct module {
	uint64_t address;
	uint64_t size;
	uint64_t cmdline;
	uint64_t reserved;
};

struct memory {
	uint64_t base;
	uint64_t size;
	uint32_t type;
	uint32_t reserved;
};

/* As it lies in the guest. */
struct info {
	struct start_info start;
	struct module initrd;
	struct memory memory[KILN__BOOT_MAX_MEMORY];
};
_Static_assert(sizeof(struct info) <= KILN__BOOT_GDT - KILN__BOOT_INFO, "it fits in its place");

static void write_info(struct kiln__ram *ram, const struct kiln__boot_parts *parts)
{
	struct info info = {
		.start = {.magic = MAGIC,
			  .version = VERSION,
			  .module_count = parts->initrd_size ? 1 : 0,
			  .cmdline = parts->cmdline,
			  .rsdp = parts->rsdp,
			  .memory = KILN__BOOT_INFO + offsetof(struct info, memory),
			  .memory_count = parts->memory_count},
		.initrd = {.address = parts->initrd, .size = parts->initrd_size},
	};

	if (parts->initrd_size)
		info.start.modules = KILN__BOOT_INFO + offsetof(struct info, initrd);
	for (unsigned i = 0; i < parts->memory_count; i++)
		info.memory[i] = (struct memory){parts->memory[i].base, parts->memory[i].size,
						 parts->memory[i].type, 0};
	kiln__gmem_write(kiln__ram_gmem(ram), KILN__BOOT_INFO, &info, sizeof(info));
}

void kiln__pvh_prepare(struct kiln__ram *ram, const struct kiln__boot_parts *parts, uint64_t entry,
		       struct kiln__boot_entry *ret)
{
	write_info(ram, parts);
	*ret = (struct kiln__boot_entry){
		.protocol = KILN__BOOT_PVH,
		.rip = entry,
		.rbx = KILN__BOOT_INFO,
		.rflags = 0x2,
		.cr0 = 0x11, /* PE, and ET, which is always set */
		/* The ABI leaves the selectors open, and has no GDT to load them from. */
		.code = {0, 0xffffffff, 0x08, 0xc09b}, /* 32-bit, readable, accessed */
		.data = {0, 0xffffffff, 0x10, 0xc093}, /* writable, accessed */
		.task = {0, 0x67, 0x18, 0x008b},       /* a busy 32-bit TSS */
	};
}
