/* SPDX-License-Identifier: Apache-2.0 */
#include "vmlinux_file.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE     0x9000 /* of the ELF file, section table included */
#define NOTE_AT  0x1400
#define SECTIONS 2

void vmlinux_file_init(struct vmlinux_file *file)
{
	const uint32_t text = (uint32_t)(VMLINUX_MAP + VMLINUX_BASE);
	const uint32_t relocs[] = {0, text + 0x110, 0, text + 0x108, 0, text + 0x100};

	memset(file, 0, sizeof(*file));
	memcpy(file->header.e_ident, ELFMAG, SELFMAG);
	file->header.e_ident[EI_CLASS] = ELFCLASS64;
	file->header.e_ident[EI_DATA] = ELFDATA2LSB;
	file->header.e_ident[EI_VERSION] = EV_CURRENT;
	file->header.e_type = ET_EXEC;
	file->header.e_machine = EM_X86_64;
	file->header.e_version = EV_CURRENT;
	file->header.e_entry = VMLINUX_ENTRY;
	file->header.e_phoff = sizeof(Elf64_Ehdr);
	file->header.e_phentsize = sizeof(Elf64_Phdr);
	file->header.e_phnum = VMLINUX_HEADERS;
	file->header.e_shentsize = sizeof(Elf64_Shdr);
	file->header.e_shnum = SECTIONS;
	file->header.e_shoff = SIZE - SECTIONS * sizeof(Elf64_Shdr);
	file->headers[VMLINUX_TEXT] =
		(Elf64_Phdr){PT_LOAD,      PF_R | PF_X, 0x1000, VMLINUX_MAP + VMLINUX_BASE,
			     VMLINUX_BASE, 0x1800,      0x1a00, 0x200000};
	file->headers[VMLINUX_DATA] = (Elf64_Phdr){PT_LOAD,
						   PF_R | PF_W,
						   0x3200,
						   VMLINUX_MAP + VMLINUX_BASE + 0x3200,
						   VMLINUX_BASE + 0x3200,
						   0x2e80,
						   0x5000,
						   0x1000};
	file->headers[VMLINUX_ODD] = (Elf64_Phdr){
		PT_LOAD, PF_R | PF_W, 0x7010, 0, VMLINUX_BASE + 0x9000, 0x1100, 0x1100, 0x10};
	file->headers[VMLINUX_NOTE] = (Elf64_Phdr){
		PT_NOTE, PF_R, NOTE_AT, 0, 0, sizeof(file->note), sizeof(file->note), 4};
	file->note[0] = 4;
	file->note[1] = 4;
	file->note[2] = 18;
	memcpy(&file->note[3], "Xen", 4);
	file->note[4] = VMLINUX_PVH;
	memcpy(file->relocs, relocs, sizeof(relocs));
	file->reloc_count = sizeof(relocs) / sizeof(relocs[0]);
}

unsigned char vmlinux_file_byte(size_t offset)
{
	return (unsigned char)(offset * 7 + (offset >> 8) + 1) | 1;
}

kiln_fd vmlinux_file_write(const struct vmlinux_file *file)
{
	size_t len = SIZE + file->reloc_count * sizeof(file->relocs[0]);
	unsigned char *bytes = calloc(1, file->lead + len);
	int fd = memfd_create("vmlinux", MFD_CLOEXEC);
	unsigned char *elf;

	if (!bytes || fd < 0)
		abort();
	elf = bytes + file->lead;
	for (size_t i = 0; i < SIZE; i++)
		elf[i] = vmlinux_file_byte(i);
	memcpy(elf, &file->header, sizeof(file->header));
	if (file->header.e_phoff < SIZE - sizeof(file->headers))
		memcpy(elf + file->header.e_phoff, file->headers, sizeof(file->headers));
	memcpy(elf + NOTE_AT, file->note, sizeof(file->note));
	memcpy(elf + SIZE, file->relocs, file->reloc_count * sizeof(file->relocs[0]));
	len += file->lead - file->cut;
	if (write(fd, bytes, len) != (ssize_t)len)
		abort();
	free(bytes);
	return fd;
}
