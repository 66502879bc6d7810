/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux's 64-bit boot protocol: Documentation/arch/x86/boot.rst, and zero-page.rst for the
 * parameters. The processor is in long mode, with the first 4 GiB mapped one to one by large pages,
 * and with the two flat segments of the protocol.
 */
#include "protocol.h"

#include <string.h>

/* --- parameters -------------------------------------------------------------------- */

#define PARAMS_SIZE 4096

/* Offsets of struct boot_params (arch/x86/include/uapi/asm/bootparam.h). */
#define RSDP         0x070 /* 8 bytes */
#define E820_COUNT   0x1e8 /* 1 */
#define BOOT_FLAG    0x1fe /* 2 */
#define HEADER       0x202 /* 4 */
#define VERSION      0x206 /* 2 */
#define LOADER_TYPE  0x210 /* 1 */
#define LOAD_FLAGS   0x211 /* 1 */
#define RAMDISK      0x218 /* 4 */
#define RAMDISK_SIZE 0x21c /* 4 */
#define CMDLINE      0x228 /* 4 */
#define KERNEL_ALIGN 0x230 /* 4 */
#define RELOCATABLE  0x234 /* 1 */
#define CMDLINE_SIZE 0x238 /* 4 */
#define E820_TABLE   0x2d0 /* entries of 20 bytes: base, size, type */
#define E820_ENTRY   20

#define PROTOCOL_2_15    0x20f
#define LOADER_UNDEFINED 0xff
#define LOADED_HIGH      0x01
#define KASLR_FLAG       0x02 /* what the decompressor tells the kernel: the base is random */
#define HEADER_MAGIC     0x53726448u /* "HdrS" */

static void put(unsigned char *params, unsigned offset, uint64_t value, unsigned size)
{
	memcpy(params + offset, &value, size);
}

/* What a bzImage's header says of the kernel; an ELF file has no such header, and has to be
 * guessed. */
static void put_header(unsigned char *params, const struct kiln__boot_parts *parts,
		       const struct kiln__vmlinux *kernel)
{
	memcpy(params + KILN__SETUP_HEADER, kernel->setup, kernel->setup_len);
	if (kernel->setup_len == 0) {
		put(params, BOOT_FLAG, 0xaa55, 2);
		put(params, HEADER, HEADER_MAGIC, 4);
		put(params, VERSION, PROTOCOL_2_15, 2);
		put(params, LOAD_FLAGS, LOADED_HIGH | (parts->random_base ? KASLR_FLAG : 0), 1);
		put(params, KERNEL_ALIGN, 2u << 20, 4);
		put(params, RELOCATABLE, 1, 1);
		put(params, CMDLINE_SIZE, KILN__BOOT_MAX_CMDLINE, 4);
	}
}

static void write_params(struct kiln__ram *ram, const struct kiln__boot_parts *parts,
			 const struct kiln__vmlinux *kernel)
{
	unsigned char params[PARAMS_SIZE] = {0};

	put_header(params, parts, kernel);
	put(params, RSDP, parts->rsdp, 8);
	put(params, LOADER_TYPE, LOADER_UNDEFINED, 1);
	put(params, RAMDISK, parts->initrd, 4);
	put(params, RAMDISK_SIZE, parts->initrd_size, 4);
	put(params, CMDLINE, parts->cmdline, 4);
	put(params, E820_COUNT, parts->memory_count, 1);
	for (unsigned i = 0; i < parts->memory_count; i++) {
		unsigned at = E820_TABLE + i * E820_ENTRY;

		put(params, at, parts->memory[i].base, 8);
		put(params, at + 8, parts->memory[i].size, 8);
		put(params, at + 16, parts->memory[i].type, 4);
	}
	kiln__gmem_write(kiln__ram_gmem(ram), KILN__BOOT_PARAMS, params, sizeof(params));
}

/* --- the processor ----------------------------------------------------------------- */

/* Page table entries (Intel SDM vol. 3, 4.5). */
#define PRESENT 0x01u
#define WRITE   0x02u
#define LARGE   0x80u

#define TABLE_SIZE 4096u
#define ENTRIES    512u
#define GIB_TABLES 4u /* one table of 2 MiB pages a GiB */

static void write_page_tables(struct kiln__ram *ram)
{
	const uint64_t top = KILN__BOOT_PAGE_TABLES;
	uint64_t tables[2 + GIB_TABLES][ENTRIES] = {{0}};

	tables[0][0] = (top + TABLE_SIZE) | PRESENT | WRITE;
	for (uint64_t i = 0; i < GIB_TABLES; i++)
		tables[1][i] = (top + (2 + i) * TABLE_SIZE) | PRESENT | WRITE;
	for (uint64_t i = 0; i < (uint64_t)GIB_TABLES * ENTRIES; i++)
		tables[2 + i / ENTRIES][i % ENTRIES] = i << 21 | PRESENT | WRITE | LARGE;
	_Static_assert(KILN__BOOT_PAGE_TABLES + sizeof(tables) <= KILN__BOOT_LOW_END, "they fit");
	kiln__gmem_write(kiln__ram_gmem(ram), top, tables, sizeof(tables));
}

/* The protocol's selectors: __BOOT_CS and __BOOT_DS. */
#define BOOT_CS 0x10
#define BOOT_DS 0x18
#define BOOT_TR 0x20

#define CODE_RIGHTS 0xa09b /* 64-bit, readable, accessed */
#define DATA_RIGHTS 0xc093
#define TASK_RIGHTS 0x008b /* a busy 64-bit TSS */

/* A flat segment's descriptor (Intel SDM vol. 3, 3.4.5). */
static uint64_t flat(uint64_t rights)
{
	return 0x000f00000000ffffull | rights << 40;
}

static void write_gdt(struct kiln__ram *ram, struct kiln__boot_entry *entry)
{
	/* The TSS's has 16 bytes: base 0, limit 0x67. */
	const uint64_t gdt[] = {
		0, 0, flat(CODE_RIGHTS), flat(DATA_RIGHTS), 0x67ull | (uint64_t)TASK_RIGHTS << 40,
		0};

	_Static_assert(KILN__BOOT_GDT + sizeof(gdt) <= KILN__BOOT_CMDLINE, "it fits in its place");
	kiln__gmem_write(kiln__ram_gmem(ram), KILN__BOOT_GDT, gdt, sizeof(gdt));
	entry->gdt_base = KILN__BOOT_GDT;
	entry->gdt_limit = sizeof(gdt) - 1;
}

void kiln__linux64_prepare(struct kiln__ram *ram, const struct kiln__boot_parts *parts,
			   const struct kiln__vmlinux *kernel, uint64_t entry,
			   struct kiln__boot_entry *ret)
{
	write_params(ram, parts, kernel);
	write_page_tables(ram);
	*ret = (struct kiln__boot_entry){
		.protocol = KILN__BOOT_LINUX64,
		.rip = entry,
		.rsi = KILN__BOOT_PARAMS,
		.rflags = 0x2,
		.cr0 = 0x80000011, /* PG, ET, PE */
		.cr3 = KILN__BOOT_PAGE_TABLES,
		.cr4 = 0x20,   /* PAE */
		.efer = 0x500, /* LME, LMA */
		.code = {0, 0xffffffff, BOOT_CS, CODE_RIGHTS},
		.data = {0, 0xffffffff, BOOT_DS, DATA_RIGHTS},
		.task = {0, 0x67, BOOT_TR, TASK_RIGHTS},
	};
	write_gdt(ram, ret);
}
