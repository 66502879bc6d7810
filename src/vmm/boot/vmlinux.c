/* SPDX-License-Identifier: Apache-2.0 */
#include "vmlinux.h"
#include "layout.h"

#include "err.h"
#include "os.h"

#include <elf.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "an x86 guest's numbers are the host's");

#define MAX_HEADERS 64
#define NOTES_SIZE  4096 /* vmlinux has 512 bytes of them */

/* Xen's note (xen/include/public/elfnote.h) that names the entry of the PVH protocol. */
#define XEN_ELFNOTE_PHYS32_ENTRY 18

static int bad(const struct kiln__ram_file *file, kiln_error *err, const char *why)
{
	return kiln__fail(err, KILN_EFORMAT, "%s %s", file->name, why);
}

/* --- the file's header ------------------------------------------------------------- */

static int check_header(const struct kiln__ram_file *file, const Elf64_Ehdr *header,
			kiln_error *err)
{
	if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
		return bad(file, err, "is neither an ELF file (vmlinux) nor a bzImage");
	if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB ||
	    header->e_machine != EM_X86_64) {
		kiln__fail(err, KILN_EFORMAT,
			   "%s is for another machine than x86_64 (ELF machine %u, class %u)",
			   file->name, header->e_machine, header->e_ident[EI_CLASS]);
		kiln__hint(err, "give a kernel for x86_64");
		return KILN_EFORMAT;
	}
	if (header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phnum == 0 ||
	    (header->e_type != ET_EXEC && header->e_type != ET_DYN))
		return bad(file, err, "is an ELF file without a program");
	if (header->e_phnum > MAX_HEADERS)
		return bad(file, err, "has more than 64 program headers");
	return 0;
}

/* The header and the program headers, commonly out of the head. Returns the count of those. */
static int read_headers(const struct kiln__ram_file *file,
			const unsigned char head[KILN__KERNEL_HEAD], Elf64_Ehdr *header,
			Elf64_Phdr headers[MAX_HEADERS], kiln_error *err)
{
	uint64_t len;
	ssize_t n;
	int rc;

	memcpy(header, head, sizeof(*header));
	rc = check_header(file, header, err);
	if (rc)
		return rc;
	len = header->e_phnum * sizeof(Elf64_Phdr);
	if (header->e_phoff > file->len || len > file->len - header->e_phoff)
		return bad(file, err, "is cut short: its program headers are missing");
	if (header->e_phoff <= KILN__KERNEL_HEAD && len <= KILN__KERNEL_HEAD - header->e_phoff) {
		memcpy(headers, head + header->e_phoff, (size_t)len);
	} else {
		n = kiln__os_pread_full(file->fd, headers, (size_t)len,
					file->start + header->e_phoff, err);
		if (n < 0)
			return kiln__prefix(err, "%s", file->name);
		if ((uint64_t)n < len)
			return bad(file, err, "was cut short while it was read");
	}
	return header->e_phnum;
}

/* --- segments ---------------------------------------------------------------------- */

static int wild(const struct kiln__ram_file *file, const Elf64_Phdr *header, const char *why,
		kiln_error *err)
{
	return kiln__fail(err, KILN_EFORMAT,
			  "%s: its segment of %" PRIu64 " bytes at 0x%" PRIx64 " %s", file->name,
			  header->p_memsz, header->p_paddr, why);
}

static int add_segment(struct kiln__vmlinux *kernel, const struct kiln__ram_file *file,
		       const Elf64_Phdr *header, kiln_error *err)
{
	struct kiln__vmlinux_segment *at;
	uint64_t end;

	if (header->p_memsz == 0)
		return 0;
	if (header->p_filesz > header->p_memsz)
		return wild(file, header, "is larger in the file than in memory", err);
	if (header->p_offset > file->len || header->p_filesz > file->len - header->p_offset)
		return wild(file, header, "lies beyond the file's end: it is cut short", err);
	if (__builtin_add_overflow(header->p_paddr, header->p_memsz, &end) || end > KILN__HOLE_BASE)
		return wild(file, header, "would lie above the memory of a kernel (3 GiB)", err);
	if (header->p_paddr < KILN__HIGH_RAM)
		return wild(file, header, "would lie over the firmware's tables, below 1 MiB", err);
	if (kernel->count == KILN__VMLINUX_MAX_SEGMENTS)
		return wild(file, header, "is one too many: 16 are possible", err);
	at = &kernel->segments[kernel->count++];
	for (; at > kernel->segments && at[-1].paddr > header->p_paddr; at--)
		at[0] = at[-1];
	*at = (struct kiln__vmlinux_segment){
		.offset = header->p_offset,
		.paddr = header->p_paddr,
		.file_size = header->p_filesz,
		.memory_size = header->p_memsz,
		.writable = header->p_flags & PF_W,
	};
	if (header->p_offset + header->p_filesz > kernel->file_end)
		kernel->file_end = header->p_offset + header->p_filesz;
	return 0;
}

static int check_segments(struct kiln__vmlinux *kernel, const struct kiln__ram_file *file,
			  kiln_error *err)
{
	const struct kiln__vmlinux_segment *last;

	if (kernel->count == 0)
		return bad(file, err, "has nothing to load");
	last = &kernel->segments[kernel->count - 1];
	for (const struct kiln__vmlinux_segment *at = kernel->segments; at < last; at++)
		if (at->paddr + at->memory_size > at[1].paddr)
			return kiln__fail(err, KILN_EFORMAT,
					  "%s: its segments at 0x%" PRIx64 " and 0x%" PRIx64
					  " overlap",
					  file->name, at->paddr, at[1].paddr);
	kernel->base = kernel->segments[0].paddr;
	kernel->end = last->paddr + last->memory_size;
	return 0;
}

/* Whether a file's bytes, not zeros, lie at this address. */
static bool has_code(const struct kiln__vmlinux *kernel, uint64_t address)
{
	for (unsigned i = 0; i < kernel->count; i++)
		if (address >= kernel->segments[i].paddr &&
		    address - kernel->segments[i].paddr < kernel->segments[i].file_size)
			return true;
	return false;
}

/* --- notes (System V gABI, chapter 5, "Note Section") ------------------------------ */

static uint32_t align4(uint32_t value)
{
	return (value + 3) & ~3u;
}

static void find_entry(struct kiln__vmlinux *kernel, const unsigned char *notes, size_t len)
{
	while (len >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr note;
		size_t body;
		uint64_t entry = 0;

		memcpy(&note, notes, sizeof(note));
		notes += sizeof(note);
		len -= sizeof(note);
		if (note.n_namesz > NOTES_SIZE || note.n_descsz > NOTES_SIZE)
			return;
		body = (size_t)align4(note.n_namesz) + align4(note.n_descsz);
		if (body > len)
			return;
		if (note.n_type == XEN_ELFNOTE_PHYS32_ENTRY && note.n_namesz == 4 &&
		    !memcmp(notes, "Xen", 4) && (note.n_descsz == 4 || note.n_descsz == 8)) {
			memcpy(&entry, notes + 4, note.n_descsz);
			kernel->pvh_entry = has_code(kernel, entry) ? entry : 0;
		}
		kernel->linux_notes |= note.n_namesz == 6 && !memcmp(notes, "Linux", 6);
		notes += body;
		len -= body;
	}
}

static int read_notes(struct kiln__vmlinux *kernel, const struct kiln__ram_file *file,
		      const Elf64_Phdr *header, kiln_error *err)
{
	unsigned char notes[NOTES_SIZE];
	uint64_t len = header->p_filesz < NOTES_SIZE ? header->p_filesz : NOTES_SIZE;
	ssize_t n;

	if (header->p_offset > file->len || len > file->len - header->p_offset)
		return bad(file, err, "is cut short: its notes are missing");
	n = kiln__os_pread_full(file->fd, notes, (size_t)len, file->start + header->p_offset, err);
	if (n < 0)
		return kiln__prefix(err, "%s", file->name);
	find_entry(kernel, notes, (size_t)n);
	return 0;
}

/* --- all of it --------------------------------------------------------------------- */

/* The table of sections is the last thing that objcopy and the linker write. */
static void extend_file_end(struct kiln__vmlinux *kernel, const Elf64_Ehdr *header, uint64_t len)
{
	uint64_t table = (uint64_t)header->e_shnum * header->e_shentsize;

	if (header->e_shoff <= len && table <= len - header->e_shoff &&
	    header->e_shoff + table > kernel->file_end)
		kernel->file_end = header->e_shoff + table;
}

int kiln__vmlinux_read(struct kiln__vmlinux *ret, const struct kiln__ram_file *file,
		       const unsigned char head[KILN__KERNEL_HEAD], kiln_error *err)
{
	struct kiln__vmlinux kernel = {0};
	Elf64_Phdr headers[MAX_HEADERS];
	Elf64_Ehdr header;
	int count = read_headers(file, head, &header, headers, err);
	int rc = count < 0 ? count : 0;

	for (int i = 0; i < count && !rc; i++)
		if (headers[i].p_type == PT_LOAD)
			rc = add_segment(&kernel, file, &headers[i], err);
	if (!rc)
		rc = check_segments(&kernel, file, err);
	for (int i = 0; i < count && !rc && !kernel.pvh_entry; i++)
		if (headers[i].p_type == PT_NOTE)
			rc = read_notes(&kernel, file, &headers[i], err);
	if (rc)
		return rc;
	kernel.entry = has_code(&kernel, header.e_entry) ? header.e_entry : 0;
	extend_file_end(&kernel, &header, file->len);
	*ret = kernel;
	return 0;
}

#define LARGE_PAGE ((uint64_t)2 << 20)
#define SMALL_TAIL ((uint64_t)64 << 10)

/*
 * Where the part of a segment that is mapped ends. The few pages that may follow behind a large
 * page's beginning are copied: then all of that large page is fresh memory, and one fault.
 */
static uint64_t mapped_end(uint64_t gpa, const struct kiln__vmlinux_segment *segment)
{
	uint64_t end = gpa + segment->file_size, tail = end % LARGE_PAGE;

	return tail < end - gpa && tail <= SMALL_TAIL ? end - tail : end;
}

/*
 * From the first whole page on it is mapped, if the file's pages can be the guest's: neighbours may
 * share a page only in that one's end and this one's beginning, which is why what comes before
 * that is copied, and why segments are loaded in the order of their addresses. What the kernel will
 * write is copied: a map would cost it two exits a page, to read and to write, where a copy in
 * large pages costs one for all of them.
 */
static int load_segment(struct kiln__ram *ram, const struct kiln__ram_file *file, uint64_t gpa,
			const struct kiln__vmlinux_segment *segment, kiln_error *err)
{
	uint64_t lead = -gpa % KILN__RAM_PAGE, tail;
	int rc = 0;

	if ((file->start + segment->offset - gpa) % KILN__RAM_PAGE != 0 || segment->writable ||
	    lead >= segment->file_size)
		lead = segment->file_size;
	tail = lead < segment->file_size ? mapped_end(gpa, segment) - gpa : lead;
	if (lead)
		rc = kiln__ram_copy_file(ram, gpa, file, segment->offset, lead, err);
	if (!rc && lead < tail)
		rc = kiln__ram_map_file(ram, gpa + lead, file, segment->offset + lead, tail - lead,
					err);
	if (!rc && tail < segment->file_size)
		rc = kiln__ram_copy_file(ram, gpa + tail, file, segment->offset + tail,
					 segment->file_size - tail, err);
	return rc;
}

/*
 * What lies between a map and the next segment Linux gives to its allocator in the end, and writes
 * to for that; as far as the map's last large page reaches, each page is a fault of its own.
 */
static void populate_gap(struct kiln__ram *ram, const struct kiln__vmlinux_segment *segment,
			 uint64_t shift)
{
	uint64_t from = segment->paddr + segment->file_size + KILN__RAM_PAGE - 1;
	uint64_t end = segment[1].paddr - segment[1].paddr % KILN__RAM_PAGE;
	uint64_t large = from + -from % LARGE_PAGE;

	from -= from % KILN__RAM_PAGE;
	if (large < end)
		end = large;
	if (!segment->writable && from < end)
		kiln__ram_populate(ram, from + shift, end - from);
}

int kiln__vmlinux_load(struct kiln__ram *ram, const struct kiln__vmlinux *kernel,
		       const struct kiln__ram_file *file, uint64_t shift, kiln_error *err)
{
	int rc = 0;

	for (unsigned i = 0; i < kernel->count && !rc; i++)
		rc = load_segment(ram, file, kernel->segments[i].paddr + shift,
				  &kernel->segments[i], err);
	for (unsigned i = 0; i + 1 < kernel->count && !rc; i++)
		populate_gap(ram, &kernel->segments[i], shift);
	return rc;
}
