/* SPDX-License-Identifier: Apache-2.0 */
/* The loader: what lies in the guest's memory afterwards, and what is refused. */
#include "kiln_test.h"

#include "boot.h"
#include "layout.h"
#include "os.h"
#include "vmlinux_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB  ((uint64_t)1 << 20)
#define GIB  ((uint64_t)1 << 30)
#define PAGE KILN__RAM_PAGE

struct fixture {
	struct vmlinux_file file;
	struct kiln__boot_options options;
	uint64_t memory;
	struct kiln__ram *ram;
	struct kiln__boot_entry entry;
	kiln_error err;
};

static void set_up(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	vmlinux_file_init(&f->file);
	f->options.kernel = (struct kiln__boot_file){.fd = KILN_FD_NONE, .immutable = true};
	f->options.initrd = f->options.kernel;
	f->options.cmdline = "quiet";
	f->options.rsdp = 0xe0000;
	f->memory = 64 * MIB;
}

static int load(struct fixture *f)
{
	int rc;

	kiln__ram_free(f->ram);
	kiln_ok(kiln__ram_new(&f->ram, f->memory, false, &f->err), &f->err);
	if (f->options.kernel.fd == KILN_FD_NONE)
		f->options.kernel.fd = vmlinux_file_write(&f->file);
	rc = kiln__boot_load(f->ram, &f->options, &f->entry, &f->err);
	close(f->options.kernel.fd);
	f->options.kernel.fd = KILN_FD_NONE;
	return rc;
}

static void tear_down(struct fixture *f)
{
	kiln__ram_free(f->ram);
	if (f->options.initrd.fd != KILN_FD_NONE)
		close(f->options.initrd.fd);
}

static const unsigned char *at(const struct fixture *f, uint64_t gpa, size_t len)
{
	const unsigned char *host = kiln__gmem_ptr(kiln__ram_gmem(f->ram), gpa, len);

	assert_non_null(host);
	return host;
}

static uint64_t get(const struct fixture *f, uint64_t gpa, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, at(f, gpa, size), size);
	return value;
}

static void make_initrd(struct fixture *f, size_t len)
{
	unsigned char *bytes = malloc(len);
	int fd = memfd_create("initrd", MFD_CLOEXEC);

	assert_true(bytes && fd >= 0);
	memset(bytes, 0x77, len);
	assert_int_equal(write(fd, bytes, len), len);
	free(bytes);
	f->options.initrd.fd = fd;
}

/* Debian's kernel has no such layout; this one has every kind of segment there is. */
static void assert_loaded(const struct fixture *f, uint64_t base, bool patched)
{
	for (unsigned s = VMLINUX_TEXT; s <= VMLINUX_ODD; s++) {
		const Elf64_Phdr *segment = &f->file.headers[s];
		uint64_t gpa = segment->p_paddr - VMLINUX_BASE + base;
		const unsigned char *memory = at(f, gpa, segment->p_memsz);

		for (uint64_t i = 0; i < segment->p_memsz; i++) {
			unsigned char want = i < segment->p_filesz
						     ? vmlinux_file_byte(segment->p_offset + i)
						     : 0;
			bool other = s == VMLINUX_TEXT && ((i >= 0x400 && i < 0x428) ||
							   (patched && i >= 0x100 && i < 0x118));

			if (memory[i] != want && !other)
				fail_msg("segment %u at 0x%jx: %02x, not %02x", s, (uintmax_t)i,
					 memory[i], want);
		}
	}
}

/* --- PVH --------------------------------------------------------------------------- */

static void pvh_starts_as_its_abi_says(void **state)
{
	struct fixture f;
	const struct kiln__boot_entry *entry = &f.entry;

	(void)state;
	set_up(&f);
	kiln_ok(load(&f), &f.err);
	assert_int_equal(entry->protocol, KILN__BOOT_PVH);
	assert_int_equal(entry->rip, VMLINUX_PVH);
	assert_int_equal(entry->rflags, 2);
	assert_int_equal(entry->cr0, 0x11);
	assert_int_equal(entry->cr3 | entry->cr4 | entry->efer | entry->rsi, 0);
	assert_int_equal(entry->code.rights, 0xc09b);
	assert_int_equal(entry->data.rights, 0xc093);
	assert_int_equal(entry->task.rights, 0x8b);
	assert_int_equal(entry->code.limit, 0xffffffff);
	assert_int_equal(entry->task.limit, 0x67);
	assert_int_equal(entry->kernel_base, VMLINUX_BASE);
	assert_int_equal(entry->kernel_shift, 0);
	assert_loaded(&f, VMLINUX_BASE, false);
	tear_down(&f);
}

static void pvh_is_told_of_everything(void **state)
{
	struct fixture f;
	uint64_t info, module, memory;
	const struct {
		uint64_t base, size, type;
	} map[] = {{0, 0xa0000, 1},
		   {0xe0000, 0x20000, 2},
		   {MIB, 3 * GIB - MIB, 1},
		   {4 * GIB, 2 * GIB, 1}};

	(void)state;
	set_up(&f);
	f.memory = 5 * GIB;
	make_initrd(&f, 5000);
	kiln_ok(load(&f), &f.err);
	info = f.entry.rbx;
	assert_int_equal(get(&f, info, 4), 0x336ec578);
	assert_int_equal(get(&f, info + 4, 4), 1);  /* version */
	assert_int_equal(get(&f, info + 8, 4), 0);  /* flags */
	assert_int_equal(get(&f, info + 12, 4), 1); /* modules */
	module = get(&f, info + 16, 8);
	assert_string_equal(at(&f, get(&f, info + 24, 8), 6), "quiet");
	assert_int_equal(get(&f, info + 32, 8), 0xe0000);
	memory = get(&f, info + 40, 8);
	assert_int_equal(get(&f, info + 48, 4), 4);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(get(&f, memory + i * 24, 8), map[i].base);
		assert_int_equal(get(&f, memory + i * 24 + 8, 8), map[i].size);
		assert_int_equal(get(&f, memory + i * 24 + 16, 4), map[i].type);
	}
	assert_int_equal(get(&f, module, 8), 3 * GIB - 2 * PAGE);
	assert_int_equal(get(&f, module + 8, 8), 5000);
	assert_int_equal(*at(&f, 3 * GIB - 2 * PAGE + 4999, 1), 0x77);
	tear_down(&f);
}

static void an_initramfs_is_mapped_or_copied(void **state)
{
	struct fixture f;

	(void)state;
	for (unsigned how = 0; how < 3; how++) {
		const unsigned char *memory;

		set_up(&f);
		make_initrd(&f, 3 * PAGE);
		f.options.initrd.immutable = how != 1;
		f.options.initrd.start = how == 2 ? 100 : 0; /* cannot be mapped */
		f.options.initrd.len = PAGE + 100;
		kiln_ok(load(&f), &f.err);
		memory = at(&f, f.memory - 2 * PAGE, 2 * PAGE);
		for (unsigned i = 0; i < 2 * PAGE; i++)
			assert_int_equal(memory[i], i < PAGE + 100 ? 0x77 : 0);
		/* Only a map shows what becomes of the file. */
		assert_int_equal(pwrite(f.options.initrd.fd, "\x11", 1, 200), 1);
		assert_int_equal(memory[200], how == 0 ? 0x11 : 0x77);
		tear_down(&f);
	}
}

static void without_an_initramfs_there_is_no_module(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	f.options.cmdline = NULL;
	kiln_ok(load(&f), &f.err);
	assert_int_equal(get(&f, f.entry.rbx + 12, 4), 0);
	assert_int_equal(get(&f, f.entry.rbx + 16, 8), 0);
	assert_int_equal(get(&f, f.entry.rbx + 48, 4), 3);
	assert_int_equal(*at(&f, get(&f, f.entry.rbx + 24, 8), 1), 0);
	tear_down(&f);
}

static void a_kernel_may_be_a_range_of_a_file(void **state)
{
	static const size_t leads[] = {3 * PAGE, 1000};
	struct fixture f;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		set_up(&f);
		f.file.lead = leads[i];
		f.options.kernel.start = leads[i];
		kiln_ok(load(&f), &f.err);
		assert_loaded(&f, VMLINUX_BASE, false);
		tear_down(&f);
	}
}

static void linux_is_entered_by_its_own_protocol(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	f.file.note[5] = 6; /* a note of Linux's, as each of its builds has */
	f.file.note[7] = 0x100;
	memcpy(&f.file.note[8], "Linux", 6);
	kiln_ok(load(&f), &f.err);
	assert_int_equal(f.entry.protocol, KILN__BOOT_LINUX64);
	assert_int_equal(f.entry.rip, VMLINUX_ENTRY);
	tear_down(&f);
}

static void a_kernel_is_mapped_if_nobody_changes_its_file(void **state)
{
	struct fixture f;

	(void)state;
	for (int kind = 0; kind < 4; kind++) {
		const bool immutable = kind & 1, writable = kind & 2;
		int fd;

		set_up(&f);
		f.file.headers[VMLINUX_DATA].p_flags = PF_R | (writable ? PF_W : 0);
		f.options.kernel.immutable = immutable;
		f.options.kernel.fd = vmlinux_file_write(&f.file);
		fd = dup(f.options.kernel.fd);
		kiln_ok(load(&f), &f.err);
		assert_loaded(&f, VMLINUX_BASE, false);
		assert_int_equal(pwrite(fd, "\0\0", 2, 0x1050), 2);
		assert_int_equal(*at(&f, VMLINUX_BASE + 0x50, 1) == 0, immutable);
		/* A page that has other bytes in the file is no map: the first of data, all of odd.
		 */
		assert_int_equal(pwrite(fd, "\0\0", 2, 0x3300), 2);
		assert_int_not_equal(*at(&f, VMLINUX_BASE + 0x3300, 1), 0);
		assert_int_equal(pwrite(fd, "\0\0", 2, 0x4300), 2);
		/* What the kernel will write is a copy from the beginning. */
		assert_int_equal(*at(&f, VMLINUX_BASE + 0x4300, 1) == 0, immutable && !writable);
		close(fd);
		tear_down(&f);
	}
}

/* ELF has segments in the order of their virtual addresses; these are not that of the physical
 * ones. */
static void segments_come_in_any_order(void **state)
{
	static const unsigned orders[][3] = {
		{VMLINUX_ODD, VMLINUX_DATA, VMLINUX_TEXT},
		{VMLINUX_DATA, VMLINUX_ODD, VMLINUX_TEXT},
		{VMLINUX_ODD, VMLINUX_TEXT, VMLINUX_DATA},
	};
	struct fixture f;

	(void)state;
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		struct vmlinux_file sorted;

		set_up(&f);
		sorted = f.file;
		for (unsigned s = 0; s < 3; s++)
			f.file.headers[s] = sorted.headers[orders[i][s]];
		kiln_ok(load(&f), &f.err);
		memcpy(f.file.headers, sorted.headers, sizeof(sorted.headers));
		assert_loaded(&f, VMLINUX_BASE, false);
		assert_int_equal(f.entry.kernel_base, VMLINUX_BASE);
		tear_down(&f);
	}
}

/* --- Linux's 64-bit protocol ------------------------------------------------------- */

static void without_a_pvh_note_the_64_bit_entry_is_taken(void **state)
{
	struct fixture f;
	const struct kiln__boot_entry *entry = &f.entry;
	uint64_t params;

	(void)state;
	set_up(&f);
	f.file.note[2] = 17;
	f.memory = 4 * GIB;
	make_initrd(&f, 5000);
	kiln_ok(load(&f), &f.err);
	assert_int_equal(entry->protocol, KILN__BOOT_LINUX64);
	assert_int_equal(entry->rip, VMLINUX_ENTRY);
	assert_int_equal(entry->cr0, 0x80000011);
	assert_int_equal(entry->cr4, 0x20);
	assert_int_equal(entry->efer, 0x500);
	params = entry->rsi;
	assert_int_equal(params % PAGE, 0);
	assert_int_equal(get(&f, params + 0x1ef, 1), 0); /* sentinel */
	assert_int_equal(get(&f, params + 0x1fe, 2), 0xaa55);
	assert_memory_equal(at(&f, params + 0x202, 4), "HdrS", 4);
	assert_int_equal(get(&f, params + 0x206, 2), 0x20f);
	assert_int_equal(get(&f, params + 0x210, 1), 0xff);
	assert_int_equal(get(&f, params + 0x211, 1), 1);
	assert_int_equal(get(&f, params + 0x218, 4), 3 * GIB - 2 * PAGE);
	assert_int_equal(get(&f, params + 0x21c, 4), 5000);
	assert_string_equal(at(&f, get(&f, params + 0x228, 4), 6), "quiet");
	assert_int_equal(get(&f, params + 0x070, 8), 0xe0000);
	assert_int_equal(get(&f, params + 0x1e8, 1), 4);
	assert_int_equal(get(&f, params + 0x2d0 + 60, 8), 4 * GIB);
	assert_int_equal(get(&f, params + 0x2d0 + 68, 8), GIB);
	assert_int_equal(get(&f, params + 0x2d0 + 76, 4), 1);
	assert_int_equal(get(&f, params + 0x2d0 + 20, 8), 0xe0000);
	assert_int_equal(get(&f, params + 0x2d0 + 36, 4), 2);
	assert_loaded(&f, VMLINUX_BASE, false);
	tear_down(&f);
}

/* As a processor walks them (Intel SDM vol. 3, 4.5.4). */
static uint64_t walk(const struct fixture *f, uint64_t address)
{
	uint64_t table = f->entry.cr3;

	for (unsigned shift = 39; shift >= 21; shift -= 9) {
		uint64_t entry = get(f, table + (address >> shift & 511) * 8, 8);

		if (!(entry & 1))
			return UINT64_MAX;
		assert_true(entry & 2);
		if (shift == 21) {
			assert_true(entry & 0x80);
			return (entry & ~UINT64_C(0x1fffff)) | (address & 0x1fffff);
		}
		table = entry & ~UINT64_C(0xfff);
	}
	return UINT64_MAX;
}

static void the_first_4_gib_are_mapped_one_to_one(void **state)
{
	static const uint64_t addresses[] = {0,   0x1234,     VMLINUX_BASE, GIB - 1,
					     GIB, 0x80000000, 0xfee00020u,  4 * GIB - 1};
	struct fixture f;

	(void)state;
	set_up(&f);
	f.file.note[2] = 17;
	kiln_ok(load(&f), &f.err);
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
		assert_int_equal(walk(&f, addresses[i]), addresses[i]);
	assert_int_equal(walk(&f, 4 * GIB), UINT64_MAX);
	tear_down(&f);
}

static void the_gdt_has_the_segments_of_the_entry_state(void **state)
{
	struct fixture f;
	const struct kiln__boot_segment *segments[] = {&f.entry.code, &f.entry.data, &f.entry.task};

	(void)state;
	set_up(&f);
	f.file.note[2] = 17;
	kiln_ok(load(&f), &f.err);
	assert_int_equal(f.entry.code.selector, 0x10);
	assert_int_equal(f.entry.data.selector, 0x18);
	for (size_t i = 0; i < 3; i++) {
		uint64_t entry = get(&f, f.entry.gdt_base + segments[i]->selector, 8);
		uint64_t limit = (entry & 0xffff) | (entry >> 32 & 0xf0000);

		if (entry >> 55 & 1)
			limit = limit << 12 | 0xfff;
		assert_true(segments[i]->selector + 7u <= f.entry.gdt_limit);
		assert_int_equal(limit, segments[i]->limit);
		assert_int_equal(entry >> 40 & 0xf0ff, segments[i]->rights);
		assert_int_equal(entry >> 16 & 0xffffff, 0);
	}
	tear_down(&f);
}

/* --- a bzImage as it is ------------------------------------------------------------ */

#define BZIMAGE_SIZE 0x3400

/* Three sectors of set-up code and a body that nobody can unpack, from 16 MiB up. */
static void make_bzimage(unsigned char image[BZIMAGE_SIZE])
{
	const uint32_t words[][2] = {{0x1f4, (BZIMAGE_SIZE - 0x800) / 16},
				     {0x230, 0x200000},
				     {0x258, VMLINUX_BASE},
				     {0x25c, 0},
				     {0x260, 0x100000}};

	for (size_t i = 0; i < BZIMAGE_SIZE; i++)
		image[i] = vmlinux_file_byte(i);
	image[0x1f1] = 3;
	memcpy(image + 0x1fe, "\x55\xaa\xeb\x66HdrS\x0f\x02", 10);
	memcpy(image + 0x236, "\x7f\x00", 2);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		memcpy(image + words[i][0], &words[i][1], 4);
}

static int load_bytes(struct fixture *f, const unsigned char *bytes, size_t len)
{
	f->options.kernel.fd = memfd_create("bzImage", MFD_CLOEXEC);
	assert_int_equal(write(f->options.kernel.fd, bytes, len), len);
	return load(f);
}

static void a_bzimage_unpacks_itself(void **state)
{
	unsigned char image[BZIMAGE_SIZE];
	struct fixture f;
	uint64_t params;

	(void)state;
	make_bzimage(image);
	for (int random = 0; random < 2; random++) {
		set_up(&f);
		f.options.random_base = random;
		make_initrd(&f, 5000);
		kiln_ok(load_bytes(&f, image, sizeof(image)), &f.err);
		assert_int_equal(f.entry.protocol, KILN__BOOT_LINUX64);
		assert_int_equal(f.entry.rip, VMLINUX_BASE + 0x200);
		assert_memory_equal(at(&f, VMLINUX_BASE, BZIMAGE_SIZE - 0x800), image + 0x800,
				    BZIMAGE_SIZE - 0x800);
		params = f.entry.rsi;
		/* Its own header to the end, at 0x202 + 0x66, but for what is ours to fill. */
		assert_memory_equal(at(&f, params + 0x1f1, 0x1f), image + 0x1f1, 0x1f);
		assert_int_equal(get(&f, params + 0x210, 1), 0xff);
		assert_int_equal(get(&f, params + 0x211, 1), image[0x211]);
		assert_int_equal(get(&f, params + 0x21c, 4), 5000);
		assert_memory_equal(at(&f, params + 0x22c, 0x3c), image + 0x22c, 0x3c);
		assert_int_equal(get(&f, params + 0x268, 8), 0);
		assert_int_equal(get(&f, params + 0x1e8, 1), 3);
		tear_down(&f);
	}
}

static void a_wild_bzimage_is_refused(void **state)
{
	const struct {
		unsigned at, size;
		uint64_t value;
		int code;
		const char *says;
	} cases[] = {
		{0x206, 2, 0x20b, KILN_ENOTSUP, "64-bit entry"},
		{0x236, 2, 0xfffe, KILN_ENOTSUP, "64-bit entry"},
		{0x1f4, 4, (BZIMAGE_SIZE - 0x800) / 16 + 1, KILN_EFORMAT, "cut short"},
		{0x1f4, 4, UINT32_MAX, KILN_EFORMAT, "cut short"},
		{0x1f4, 4, 0x20, KILN_EFORMAT, "damaged"},
		{0x258, 8, 0xe0000, KILN_EFORMAT, "damaged"},
		{0x258, 8, UINT64_MAX, KILN_EFORMAT, "damaged"},
		{0x258, 8, 3 * GIB - 0x1000, KILN_EFORMAT, "damaged"},
		{0x260, 4, 0x1000, KILN_EFORMAT, "damaged"},
		{0x260, 4, 0x4000000, KILN_EINVAL, "does not fit"},
	};
	unsigned char image[BZIMAGE_SIZE];
	struct fixture f;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		set_up(&f);
		make_bzimage(image);
		memcpy(image + cases[i].at, &cases[i].value, cases[i].size);
		if (load_bytes(&f, image, sizeof(image)) != cases[i].code ||
		    !strstr(f.err.message, cases[i].says))
			fail_msg("case %zu: %s", i, f.err.message);
		tear_down(&f);
	}
	/* A header as long as can be stays out of the table of memory. */
	set_up(&f);
	make_bzimage(image);
	image[0x201] = 0xff;
	kiln_ok(load_bytes(&f, image, sizeof(image)), &f.err);
	assert_int_equal(get(&f, f.entry.rsi + 0x290, 8), 0);
	assert_int_equal(get(&f, f.entry.rsi + 0x2d0, 8), 0);
	assert_int_equal(get(&f, f.entry.rsi + 0x2d8, 8), 0xa0000);
	tear_down(&f);
}

/* --- a random base ----------------------------------------------------------------- */

static void assert_moved(const struct fixture *f)
{
	const struct kiln__boot_entry *entry = &f->entry;
	uint64_t base = entry->kernel_base, shift = entry->kernel_shift, was = 0;
	const unsigned char *text = at(f, base, 0x1a00);
	const struct {
		unsigned at, size;
		uint64_t add;
	} values[] = {{0x100, 4, shift},
		      {0x108, 4, f->file.reloc_count == 6 ? -shift : 0},
		      {0x110, 8, shift}};

	assert_int_equal(entry->protocol, KILN__BOOT_LINUX64);
	assert_int_equal(entry->rip, VMLINUX_ENTRY - VMLINUX_BASE + base);
	assert_int_equal(get(f, entry->rsi + 0x211, 1), 3);
	assert_int_equal(base % (2 * MIB), 0);
	assert_int_equal(shift % (2 * MIB), 0);
	assert_true(base >= VMLINUX_BASE && base + 0xa100 <= f->memory - 2 * PAGE);
	assert_true(VMLINUX_BASE + shift + 0xa100 <= GIB);
	for (size_t i = 0; i < 3; i++) {
		unsigned char want[8];

		for (unsigned j = 0; j < values[i].size; j++)
			want[j] = vmlinux_file_byte(0x1000 + values[i].at + j);
		memcpy(&was, want, values[i].size);
		was += values[i].add;
		memcpy(want, &was, values[i].size);
		assert_memory_equal(text + values[i].at, want, values[i].size);
	}
	assert_loaded(f, base, true);
}

static void a_random_base_is_as_the_decompressor_would_have_it(void **state)
{
	uint64_t places = 0, shifts = 0;
	struct fixture f;

	(void)state;
	set_up(&f);
	make_initrd(&f, 5000);
	f.options.random_base = true;
	for (unsigned i = 0; i < 40; i++) {
		kiln_ok(load(&f), &f.err);
		assert_moved(&f);
		places |= UINT64_C(1) << (f.entry.kernel_base / (2 * MIB) % 64);
		shifts |= UINT64_C(1) << (f.entry.kernel_shift / (2 * MIB) % 64);
	}
	/* Of 24 places and 504 shifts. */
	assert_in_range(__builtin_popcountll(places), 10, 24);
	assert_in_range(__builtin_popcountll(shifts), 15, 64);
	tear_down(&f);
}

static void tables_of_newer_kernels_have_two_lists(void **state)
{
	struct fixture f;
	const uint32_t text = (uint32_t)(VMLINUX_MAP + VMLINUX_BASE);
	const uint32_t relocs[] = {0, text + 0x110, 0, text + 0x100};

	(void)state;
	set_up(&f);
	memcpy(f.file.relocs, relocs, sizeof(relocs));
	f.file.reloc_count = 4;
	f.options.random_base = true;
	for (unsigned i = 0; i < 4; i++) {
		kiln_ok(load(&f), &f.err);
		assert_moved(&f);
	}
	tear_down(&f);
}

static void the_only_place_there_is_is_found(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	f.memory = 18 * MIB;
	f.options.random_base = true;
	kiln_ok(load(&f), &f.err);
	assert_int_equal(f.entry.kernel_base, VMLINUX_BASE);
	assert_moved(&f);
	tear_down(&f);
}

static void a_kernel_without_sound_relocations_is_not_moved(void **state)
{
	const uint32_t text = (uint32_t)(VMLINUX_MAP + VMLINUX_BASE);
	const struct {
		uint32_t words[6];
		size_t count;
		size_t cut;
		int code;
		const char *says;
	} cases[] = {
		{{0}, 0, 0, KILN_ENOTSUP, "no table of relocations"},
		{{0, text, 0, text, 0, text}, 6, 2, KILN_EFORMAT, "no table of relocations"},
		{{text, 0, text, 0, text, 0}, 6, 0, KILN_EFORMAT, "damaged"},
		{{0, text, text, text, text, text}, 6, 0, KILN_EFORMAT, "damaged"},
		{{0, 0, 0, 0, 0, 0}, 6, 0, KILN_EFORMAT, "damaged"},
		{{0, text, 0, text - 1}, 4, 0, KILN_EFORMAT, "outside the kernel"},
		{{0, text, 0, text + 0xa0fd}, 4, 0, KILN_EFORMAT, "outside the kernel"},
		{{0, text + 0xa0f9, 0, text}, 4, 0, KILN_EFORMAT, "outside the kernel"},
		{{0, 0x7fffffff, 0, text}, 4, 0, KILN_EFORMAT, "outside the kernel"},
		{{0, text, 0, 1}, 4, 0, KILN_EFORMAT, "outside the kernel"},
	};
	struct fixture f;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		set_up(&f);
		memcpy(f.file.relocs, cases[i].words, sizeof(cases[i].words));
		f.file.reloc_count = cases[i].count;
		f.file.cut = cases[i].cut;
		f.options.random_base = true;
		if (load(&f) != cases[i].code || !strstr(f.err.message, cases[i].says))
			fail_msg("case %zu: %s", i, f.err.message);
		/* Where it was linked to lie, it starts. */
		f.options.random_base = false;
		kiln_ok(load(&f), &f.err);
		tear_down(&f);
	}
}

/* --- refused ----------------------------------------------------------------------- */

static void wild_segments_are_refused_by_name(void **state)
{
	const struct {
		Elf64_Phdr text;
		const char *says;
	} cases[] = {
		{{.p_paddr = 0xe0000, .p_memsz = 0x1000}, "firmware's tables"},
		{{.p_paddr = 0x2000, .p_memsz = 0x1000}, "firmware's tables"},
		{{.p_paddr = 0xfffff, .p_memsz = 0x1000}, "firmware's tables"},
		{{.p_paddr = VMLINUX_BASE, .p_memsz = 0x3201}, "overlap"},
		{{.p_paddr = VMLINUX_BASE + 0x4000, .p_memsz = 1}, "overlap"},
		{{.p_paddr = VMLINUX_BASE, .p_filesz = 2, .p_memsz = 1}, "larger in the file"},
		{{.p_paddr = VMLINUX_BASE, .p_memsz = UINT64_MAX}, "3 GiB"},
		{{.p_paddr = -0x1000ull, .p_memsz = 0x2000}, "3 GiB"},
		{{.p_paddr = 3 * GIB - 1, .p_memsz = 2}, "3 GiB"},
		{{.p_paddr = 5 * GIB, .p_memsz = 2}, "3 GiB"},
		{{.p_paddr = VMLINUX_BASE,
		  .p_offset = 0x9000,
		  .p_filesz = 0x1000,
		  .p_memsz = 0x1000},
		 "beyond the file's end"},
		{{.p_paddr = VMLINUX_BASE, .p_offset = -1ull, .p_filesz = 2, .p_memsz = 2},
		 "beyond the file's end"},
	};
	struct fixture f;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		set_up(&f);
		f.memory = 5 * GIB;
		f.file.headers[VMLINUX_TEXT] = cases[i].text;
		f.file.headers[VMLINUX_TEXT].p_type = PT_LOAD;
		if (load(&f) != KILN_EFORMAT || !strstr(f.err.message, cases[i].says))
			fail_msg("case %zu: %s", i, f.err.message);
		tear_down(&f);
	}
}

static void too_many_segments_are_refused(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	for (unsigned i = 0; i < 20; i++) {
		f.file.headers[VMLINUX_HEADERS + i] = f.file.headers[VMLINUX_ODD];
		f.file.headers[VMLINUX_HEADERS + i].p_paddr += 0x2000 * (i + 1);
	}
	f.file.header.e_phnum = VMLINUX_HEADERS + 20;
	assert_int_equal(load(&f), KILN_EFORMAT);
	assert_non_null(strstr(f.err.message, "one too many"));
	f.file.header.e_phnum = 65;
	assert_int_equal(load(&f), KILN_EFORMAT);
	assert_non_null(strstr(f.err.message, "64 program headers"));
	tear_down(&f);
}

static void what_is_no_kernel_for_this_machine_is_refused(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	f.file.header.e_machine = EM_AARCH64;
	assert_int_equal(load(&f), KILN_EFORMAT);
	assert_non_null(strstr(f.err.message, "another machine"));
	f.file.header.e_machine = EM_X86_64;
	f.file.header.e_ident[EI_CLASS] = ELFCLASS32;
	assert_int_equal(load(&f), KILN_EFORMAT);
	f.file.header.e_ident[EI_CLASS] = ELFCLASS64;
	f.file.header.e_ident[0] = 0;
	assert_int_equal(load(&f), KILN_EFORMAT);
	assert_non_null(strstr(f.err.message, "neither an ELF file"));
	f.file.header.e_ident[0] = 0x7f;
	f.file.header.e_type = ET_REL;
	assert_int_equal(load(&f), KILN_EFORMAT);
	f.file.header.e_type = ET_EXEC;
	f.file.header.e_phoff = 0x9000;
	assert_int_equal(load(&f), KILN_EFORMAT);
	f.file.header.e_phoff = -8ull;
	assert_int_equal(load(&f), KILN_EFORMAT);
	f.file.header.e_phoff = sizeof(Elf64_Ehdr);
	f.file.header.e_phnum = 0;
	assert_int_equal(load(&f), KILN_EFORMAT);
	tear_down(&f);
}

static void an_entry_outside_the_image_is_none(void **state)
{
	static const uint32_t entries[] = {VMLINUX_BASE - 1, VMLINUX_BASE + 0x1800, 0, 0xffffffff};
	struct fixture f;

	(void)state;
	set_up(&f);
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		f.file.note[4] = entries[i];
		f.file.header.e_entry = VMLINUX_ENTRY;
		kiln_ok(load(&f), &f.err);
		assert_int_equal(f.entry.protocol, KILN__BOOT_LINUX64);
		f.file.header.e_entry = entries[i];
		assert_int_equal(load(&f), KILN_ENOTSUP);
		assert_non_null(strstr(f.err.message, "neither a PVH entry"));
	}
	tear_down(&f);
}

static void headers_may_lie_anywhere_in_the_file(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	f.file.header.e_phoff = 0x2900; /* in the text's bss and beyond: no segment has it */
	kiln_ok(load(&f), &f.err);
	assert_int_equal(f.entry.rip, VMLINUX_PVH);
	tear_down(&f);
}

static void what_does_not_fit_is_refused_with_both_sizes(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	make_initrd(&f, 70 * MIB);
	assert_int_equal(load(&f), KILN_EINVAL);
	assert_non_null(strstr(f.err.message, "initramfs of 70 MiB"));
	assert_non_null(strstr(f.err.message, "memory of 64 MiB"));
	assert_non_null(strstr(f.err.hint, "more memory"));
	/* It fits, but not beside the kernel. */
	f.options.initrd.len = 48 * MIB;
	assert_int_equal(load(&f), KILN_EINVAL);
	assert_non_null(strstr(f.err.message, "kernel, up to 17 MiB"));
	assert_non_null(strstr(f.err.message, "initramfs of 48 MiB"));
	f.options.initrd.len = 64 * MIB - VMLINUX_BASE - 0xb000;
	kiln_ok(load(&f), &f.err);
	tear_down(&f);
	set_up(&f);
	f.memory = 16 * MIB;
	assert_int_equal(load(&f), KILN_EINVAL);
	assert_non_null(strstr(f.err.message, "does not fit into memory of 16 MiB"));
	tear_down(&f);
}

static void a_command_line_has_room_for_2047_bytes(void **state)
{
	struct fixture f;
	char line[KILN__BOOT_MAX_CMDLINE + 2];

	(void)state;
	set_up(&f);
	memset(line, 'a', sizeof(line));
	line[KILN__BOOT_MAX_CMDLINE + 1] = '\0';
	f.options.cmdline = line;
	assert_int_equal(load(&f), KILN_EINVAL);
	assert_non_null(strstr(f.err.message, "2048 bytes"));
	line[KILN__BOOT_MAX_CMDLINE] = '\0';
	kiln_ok(load(&f), &f.err);
	assert_string_equal(at(&f, get(&f, f.entry.rbx + 24, 8), 2048), line);
	tear_down(&f);
}

static void a_file_that_ends_anywhere_is_refused(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	f.file.reloc_count = 0;
	for (f.file.cut = 0x9000 - 0x7010 - 0x10ff; f.file.cut < 0x9000; f.file.cut += 77)
		assert_int_equal(load(&f), KILN_EFORMAT);
	f.file.cut = 0x9000;
	assert_int_equal(load(&f), KILN_EFORMAT);
	tear_down(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(pvh_starts_as_its_abi_says),
		kiln_test(pvh_is_told_of_everything),
		kiln_test(an_initramfs_is_mapped_or_copied),
		kiln_test(without_an_initramfs_there_is_no_module),
		kiln_test(a_kernel_may_be_a_range_of_a_file),
		kiln_test(linux_is_entered_by_its_own_protocol),
		kiln_test(a_kernel_is_mapped_if_nobody_changes_its_file),
		kiln_test(segments_come_in_any_order),
		kiln_test(without_a_pvh_note_the_64_bit_entry_is_taken),
		kiln_test(the_first_4_gib_are_mapped_one_to_one),
		kiln_test(the_gdt_has_the_segments_of_the_entry_state),
		kiln_test(a_bzimage_unpacks_itself),
		kiln_test(a_wild_bzimage_is_refused),
		kiln_test(a_random_base_is_as_the_decompressor_would_have_it),
		kiln_test(tables_of_newer_kernels_have_two_lists),
		kiln_test(the_only_place_there_is_is_found),
		kiln_test(a_kernel_without_sound_relocations_is_not_moved),
		kiln_test(wild_segments_are_refused_by_name),
		kiln_test(too_many_segments_are_refused),
		kiln_test(what_is_no_kernel_for_this_machine_is_refused),
		kiln_test(an_entry_outside_the_image_is_none),
		kiln_test(headers_may_lie_anywhere_in_the_file),
		kiln_test(what_does_not_fit_is_refused_with_both_sizes),
		kiln_test(a_command_line_has_room_for_2047_bytes),
		kiln_test(a_file_that_ends_anywhere_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
