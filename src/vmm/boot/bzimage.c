/* SPDX-License-Identifier: Apache-2.0 */
/* Documentation/arch/x86/boot.rst: "The Real-Mode Kernel Header", and "64-bit Boot Protocol". */
#include "layout.h"
#include "vmlinux.h"

#include "err.h"

#include <inttypes.h>
#include <string.h>

/* Offsets of the header's fields, and their sizes. */
#define SETUP_SECTS  0x1f1 /* 1 */
#define SYSSIZE      0x1f4 /* 4: in units of 16 bytes */
#define BOOT_FLAG    0x1fe /* 2 */
#define JUMP_OFFSET  0x201 /* 1: the header's end, counted from the next byte */
#define HEADER       0x202 /* 4 */
#define VERSION      0x206 /* 2 */
#define XLOADFLAGS   0x236 /* 2 */
#define PREF_ADDRESS 0x258 /* 8 */
#define INIT_SIZE    0x260 /* 4: memory that it needs from there on, to unpack itself, too */

#define PROTOCOL_2_12 0x20c
#define XLF_KERNEL_64 1u
#define ENTRY_64      0x200u /* from the beginning of the part that is loaded */
#define SECTOR        512u

static uint64_t get(const unsigned char *head, unsigned offset, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, head + offset, size);
	return value;
}

bool kiln__bzimage_is(const unsigned char head[KILN__KERNEL_HEAD])
{
	return get(head, BOOT_FLAG, 2) == 0xaa55 && !memcmp(head + HEADER, "HdrS", 4);
}

int kiln__bzimage_read(struct kiln__vmlinux *ret, const struct kiln__ram_file *file,
		       const unsigned char head[KILN__KERNEL_HEAD], kiln_error *err)
{
	uint64_t sectors = get(head, SETUP_SECTS, 1), len = get(head, SYSSIZE, 4) * 16;
	uint64_t offset = ((sectors ? sectors : 4) + 1) * SECTOR;
	uint64_t base = get(head, PREF_ADDRESS, 8), size = get(head, INIT_SIZE, 4);
	unsigned setup_len = HEADER + head[JUMP_OFFSET] - KILN__SETUP_HEADER;

	if (get(head, VERSION, 2) < PROTOCOL_2_12 || !(get(head, XLOADFLAGS, 2) & XLF_KERNEL_64))
		return kiln__fail(err, KILN_ENOTSUP,
				  "%s is a bzImage without a 64-bit entry (Linux 3.8 has it)",
				  file->name);
	if (offset > file->len || len > file->len - offset)
		return kiln__fail(err, KILN_EFORMAT,
				  "%s is cut short: it has %" PRIu64 " bytes and needs %" PRIu64,
				  file->name, file->len, offset + len);
	if (base < KILN__HIGH_RAM || base > KILN__HOLE_BASE || size > KILN__HOLE_BASE - base ||
	    len <= ENTRY_64 || len > size)
		return kiln__fail(err, KILN_EFORMAT,
				  "%s is damaged: it asks for %" PRIu64 " bytes at 0x%" PRIx64
				  " for its %" PRIu64,
				  file->name, size, base, len);
	memset(ret, 0, sizeof(*ret));
	ret->segments[0] = (struct kiln__vmlinux_segment){
		.offset = offset, .paddr = base, .file_size = len, .memory_size = size};
	ret->count = 1;
	ret->base = base;
	ret->end = base + size;
	ret->entry = base + ENTRY_64;
	ret->file_end = file->len;
	ret->setup_len = setup_len < KILN__SETUP_HEADER_MAX ? setup_len : KILN__SETUP_HEADER_MAX;
	memcpy(ret->setup, head + KILN__SETUP_HEADER, ret->setup_len);
	return 0;
}
