/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel.h"

#include "err.h"

#include <string.h>

/* --- reading ---------------------------------------------------------------------- */

struct image {
	const char *name;
	const uint8_t *bytes;
	size_t len;
};

static bool within(const struct image *image, uint64_t offset, uint64_t len)
{
	return offset <= image->len && len <= image->len - offset;
}

static bool has(const struct image *image, uint64_t offset, const char *magic, size_t len)
{
	return within(image, offset, len) && !memcmp(image->bytes + offset, magic, len);
}
#define HAS(image, offset, magic) has(image, offset, magic, sizeof(magic) - 1)

/* Little-endian; the caller has checked that the bytes are there. */
static uint64_t get(const struct image *image, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	while (size--)
		value = value << 8 | image->bytes[offset + size];
	return value;
}

static const char *arch_text(const char *arch)
{
	return !strcmp(arch, "aarch64") ? "arm64" : arch;
}

static int unknown_arch(const struct image *image, const char *arch, kiln_error *err)
{
	kiln__fail(err, KILN_ENOTSUP, "%s is a kernel for %s, which kiln does not run", image->name,
		   arch);
	kiln__hint(err, "kiln runs x86_64 and arm64 kernels");
	return KILN_ENOTSUP;
}

static int truncated(const struct image *image, const char *what, uint64_t wants, kiln_error *err)
{
	kiln__fail(err, KILN_EFORMAT, "%s is a truncated %s: it has %zu bytes and needs %llu",
		   image->name, what, image->len, (unsigned long long)wants);
	kiln__hint(err, "copy or download the kernel again");
	return KILN_EFORMAT;
}

/* --- x86 bzImage (Documentation/x86/boot.rst, "The Real-Mode Kernel Header") ------- */

#define BZ_SETUP_SECTS    0x1f1
#define BZ_SYSSIZE        0x1f4
#define BZ_BOOT_FLAG      0x1fe
#define BZ_HEADER         0x202
#define BZ_VERSION        0x206
#define BZ_KERNEL_VERSION 0x20e
#define BZ_LOADFLAGS      0x211
#define BZ_XLOADFLAGS     0x236
#define BZ_PAYLOAD_OFFSET 0x248
#define BZ_PAYLOAD_LENGTH 0x24c
#define BZ_HEADER_END     0x268

#define BZ_LOADED_HIGH   1
#define BZ_XLF_KERNEL_64 1

static void copy_release(const struct image *image, uint64_t offset,
			 char ret[KILN__KERNEL_RELEASE_MAX])
{
	char text[KILN__KERNEL_RELEASE_MAX] = "";
	size_t i = 0;

	while (i < sizeof(text) - 1 && within(image, offset + i, 1) &&
	       image->bytes[offset + i] > ' ' && image->bytes[offset + i] < 0x7f) {
		text[i] = (char)image->bytes[offset + i];
		i++;
	}
	if (kiln__kernel_release_ok(text))
		memcpy(ret, text, sizeof(text));
}

static int identify_bzimage(const struct image *image, struct kiln__kernel_info *ret,
			    kiln_error *err)
{
	uint64_t setup, body, version, release;

	if (!within(image, 0, BZ_HEADER_END))
		return truncated(image, "x86 kernel (bzImage)", BZ_HEADER_END, err);
	version = get(image, BZ_VERSION, 2);
	/* 2.08 brought payload_offset (Linux 2.6.26), 2.12 xloadflags (3.8). */
	if (version < 0x20c || !(get(image, BZ_LOADFLAGS, 1) & BZ_LOADED_HIGH))
		return kiln__fail(
			err, KILN_ENOTSUP,
			"%s is an x86 kernel of boot protocol %u.%02u: kiln needs a bzImage of "
			"2.12 or later (Linux 3.8)",
			image->name, (unsigned)(version >> 8), (unsigned)(version & 255));
	if (!(get(image, BZ_XLOADFLAGS, 2) & BZ_XLF_KERNEL_64))
		return unknown_arch(image, "32-bit x86", err);
	setup = get(image, BZ_SETUP_SECTS, 1);
	setup = ((setup ? setup : 4) + 1) * 512;
	body = get(image, BZ_SYSSIZE, 4) * 16;
	if (!within(image, setup, body))
		return truncated(image, "x86 kernel (bzImage)", setup + body, err);
	ret->payload_offset = setup + get(image, BZ_PAYLOAD_OFFSET, 4);
	ret->payload_size = get(image, BZ_PAYLOAD_LENGTH, 4);
	if (!within(image, ret->payload_offset, ret->payload_size) || !ret->payload_size)
		return kiln__fail(
			err, KILN_EFORMAT,
			"%s is a damaged x86 kernel (bzImage): its payload lies outside the file",
			image->name);
	release = get(image, BZ_KERNEL_VERSION, 2);
	if (release)
		copy_release(image, release + 0x200, ret->release);
	ret->format = KILN__KERNEL_BZIMAGE;
	ret->arch = "x86_64";
	return 0;
}

/* --- ELF (System V gABI, chapters 4 and 5) ------------------------------------------ */

#define PT_LOAD   1
#define PT_INTERP 3
#define PT_NOTE   4

/* The Xen ELF note (xen/include/public/elfnote.h) that holds the PVH entry point. */
#define NOTE_PHYS32_ENTRY 18

static const char *elf_arch(unsigned machine)
{
	static const struct {
		unsigned machine;
		const char *name;
	} table[] = {
		{3, "32-bit x86"}, {8, "MIPS"},        {20, "32-bit PowerPC"}, {21, "ppc64"},
		{22, "s390x"},     {40, "32-bit ARM"}, {62, "x86_64"},         {183, "aarch64"},
		{243, "riscv"},    {258, "loongarch"},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].machine == machine)
			return table[i].name;
	return "an unknown machine";
}

static bool notes_have_pvh(const struct image *image, uint64_t offset, uint64_t size)
{
	uint64_t end = offset + size;

	while (end - offset >= 12) {
		uint64_t name_size = get(image, offset, 4);
		uint64_t desc_size = get(image, offset + 4, 4);
		uint64_t type = get(image, offset + 8, 4);
		uint64_t total = 12 + ((name_size + 3) & ~3ull) + ((desc_size + 3) & ~3ull);

		if (total > end - offset)
			return false;
		if (type == NOTE_PHYS32_ENTRY && name_size == 4 && desc_size >= 4 &&
		    HAS(image, offset + 12, "Xen\0"))
			return true;
		offset += total;
	}
	return false;
}

struct elf_facts {
	bool interpreter;
	bool kernel_half; /* some segment is linked into the upper half of the address space */
	bool loads;
};

static int elf_segment(const struct image *image, uint64_t at, struct elf_facts *facts,
		       struct kiln__kernel_info *ret, kiln_error *err)
{
	uint64_t type = get(image, at, 4);
	uint64_t offset = get(image, at + 8, 8), size = get(image, at + 32, 8);

	if (type != PT_LOAD && type != PT_NOTE && type != PT_INTERP)
		return 0;
	if (!within(image, offset, size))
		return truncated(image, "ELF file",
				 size > UINT64_MAX - offset ? UINT64_MAX : offset + size, err);
	facts->interpreter |= type == PT_INTERP;
	if (type == PT_LOAD) {
		facts->loads = true;
		facts->kernel_half |= get(image, at + 16, 8) >> 63;
	}
	if (type == PT_NOTE && notes_have_pvh(image, offset, size))
		ret->pvh = true;
	return 0;
}

static int identify_elf(const struct image *image, struct kiln__kernel_info *ret, kiln_error *err)
{
	struct elf_facts facts = {0};
	uint64_t table, count;
	const char *arch;
	int rc;

	if (!within(image, 0, 64))
		return truncated(image, "ELF file", 64, err);
	arch = elf_arch((unsigned)get(image, 18, 2));
	if (image->bytes[4] != 2 || image->bytes[5] != 1)
		return unknown_arch(image, image->bytes[4] == 1 ? "a 32-bit machine" : arch, err);
	table = get(image, 32, 8);
	count = get(image, 56, 2);
	if ((get(image, 16, 2) != 2 && get(image, 16, 2) != 3) || !count || get(image, 54, 2) != 56)
		return kiln__fail(err, KILN_EFORMAT,
				  "%s is an ELF file without a program, not a kernel", image->name);
	if (!within(image, table, count * 56))
		return truncated(image, "ELF file",
				 table > UINT64_MAX - count * 56 ? UINT64_MAX : table + count * 56,
				 err);
	for (uint64_t i = 0; i < count; i++) {
		rc = elf_segment(image, table + i * 56, &facts, ret, err);
		if (rc)
			return rc;
	}
	if (facts.interpreter || !facts.loads || !(facts.kernel_half || ret->pvh))
		return kiln__fail(err, KILN_EFORMAT,
				  "%s is an ordinary program (ELF), not a kernel", image->name);
	if (strcmp(arch, "x86_64") && strcmp(arch, "aarch64"))
		return unknown_arch(image, arch, err);
	ret->format = KILN__KERNEL_ELF;
	ret->arch = arch;
	return 0;
}

/* --- PE, arm64 Image and EFI zboot ---------------------------------------------------- */

#define IMAGE_MAGIC  0x38
#define IMAGE_FLAGS  0x18
#define IMAGE_HEADER 0x40

/*
 * PE format, section headers: the end of the last section's bytes in the file; 0 if there is no PE
 * header.
 */
static uint64_t pe_extent(const struct image *image)
{
	uint64_t pe, sections, at, end = 0;

	if (!HAS(image, 0, "MZ") || !within(image, 0x3c, 4))
		return 0;
	pe = get(image, 0x3c, 4);
	if (!HAS(image, pe, "PE\0\0") || !within(image, pe, 24))
		return 0;
	sections = get(image, pe + 6, 2);
	at = pe + 24 + get(image, pe + 20, 2);
	for (; sections && within(image, at, 40); sections--, at += 40) {
		uint64_t last = get(image, at + 16, 4) + get(image, at + 20, 4);

		end = last > end ? last : end;
	}
	return end;
}

static unsigned pe_machine(const struct image *image)
{
	uint64_t pe = within(image, 0x3c, 4) ? get(image, 0x3c, 4) : 0;

	if (!HAS(image, 0, "MZ") || !HAS(image, pe, "PE\0\0") || !within(image, pe, 6))
		return 0;
	return (unsigned)get(image, pe + 4, 2);
}

static int identify_image(const struct image *image, struct kiln__kernel_info *ret, kiln_error *err)
{
	uint64_t extent = pe_extent(image);

	if (get(image, IMAGE_FLAGS, 8) & 1)
		return unknown_arch(image, "big-endian arm64", err);
	/*
	 * The header's image_size counts the BSS as well; the EFI stub's sections tell the file's
	 * length.
	 */
	if (extent > image->len)
		return truncated(image, "arm64 kernel (Image)", extent, err);
	ret->format = KILN__KERNEL_IMAGE;
	ret->arch = "aarch64";
	return 0;
}

/* drivers/firmware/efi/libstub/zboot-header.S of Linux 6.1 and later. */
static int identify_zboot(const struct image *image, struct kiln__kernel_info *ret, kiln_error *err)
{
	static const char *const known[] = {"gzip", "zstd22", "xzkern", "lzma", "lz4", "lzo"};
	unsigned machine = pe_machine(image);

	if (machine == 0xaa64)
		ret->arch = "aarch64";
	else if (machine == 0x8664)
		ret->arch = "x86_64";
	else
		return unknown_arch(image, machine == 0x5064 ? "riscv" : "an unknown machine", err);
	ret->payload_offset = get(image, 8, 4);
	ret->payload_size = get(image, 12, 4);
	if (!ret->payload_size || !within(image, ret->payload_offset, ret->payload_size))
		return truncated(image, "compressed EFI kernel (zboot)",
				 ret->payload_offset + ret->payload_size, err);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (has(image, 24, known[i], strlen(known[i]) + 1))
			ret->compression = known[i];
	ret->format = KILN__KERNEL_ZBOOT;
	return 0;
}

/* --- all else --------------------------------------------------------------------------- */

struct magic {
	uint64_t offset;
	const char *bytes;
	size_t len;
	const char *what;
};
#define MAGIC(offset, bytes, what)                                                                 \
	{                                                                                          \
		offset, bytes, sizeof(bytes) - 1, what                                             \
	}

static const struct magic compressions[] = {
	MAGIC(0, "\x1f\x8b\x08", "gzip"),
	MAGIC(0,
	      "\xfd"
	      "7zXZ\0",
	      "xz"),
	MAGIC(0, "\x28\xb5\x2f\xfd", "zstd"),
	MAGIC(0, "\x02\x21\x4c\x18", "lz4"),
	MAGIC(0, "\x04\x22\x4d\x18", "lz4"),
	MAGIC(0, "BZh", "bzip2"),
	MAGIC(0, "\x5d\0\0", "lzma"),
	MAGIC(0, "\x89LZO\0\r\n\x1a\n", "lzo"),
};

static const struct magic strangers[] = {
	MAGIC(0, "hsqs", "a squashfs file system"),
	MAGIC(0, "!<arch>\n", "a Debian package or ar archive"),
	MAGIC(0, "070701", "an initramfs (cpio archive)"),
	MAGIC(0, "070702", "an initramfs (cpio archive)"),
	MAGIC(0, "QFI\xfb", "a qcow2 disk image"),
	MAGIC(0, "\x27\x05\x19\x56", "a U-Boot image (uImage)"),
	MAGIC(0, "\xd0\x0d\xfe\xed", "a device tree or FIT image"),
	MAGIC(0, "PK\x03\x04", "a zip archive"),
	MAGIC(0, "\xcf\xfa\xed\xfe", "a macOS program (Mach-O)"),
	MAGIC(257, "ustar", "a tar archive"),
	MAGIC(0x438, "\x53\xef", "an ext file system"),
	MAGIC(0x8001, "CD001", "an ISO 9660 image"),
	MAGIC(0x38, "RSC\x05", "a riscv kernel"),
	MAGIC(0, "MZ", "an EFI or Windows program, not a kernel that kiln can unpack"),
};

static bool looks_like_text(const struct image *image)
{
	size_t len = image->len < 512 ? image->len : 512;

	for (size_t i = 0; i < len; i++) {
		uint8_t c = image->bytes[i];

		if (c == 0x7f || (c < ' ' && c != '\n' && c != '\r' && c != '\t' && c != '\f'))
			return false;
	}
	return true;
}

static int no_kernel(const struct image *image, kiln_error *err)
{
	const char *what = "no kernel image that kiln knows";

	if (!image->len)
		what = "an empty file";
	else if (looks_like_text(image))
		what = "text, not a kernel";
	for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
		if (has(image, strangers[i].offset, strangers[i].bytes, strangers[i].len)) {
			what = strangers[i].what;
			break;
		}
	}
	kiln__fail(err, KILN_EFORMAT, "%s is %s", image->name, what);
	kiln__hint(err, "a kernel is a bzImage, a vmlinux (ELF) or an arm64 Image");
	return KILN_EFORMAT;
}

int kiln__kernel_identify(const char *name, const uint8_t *bytes, size_t len,
			  struct kiln__kernel_info *ret, kiln_error *err)
{
	const struct image image = {name, bytes, len};
	struct kiln__kernel_info info = {0};
	int rc = -1;

	if (HAS(&image, BZ_HEADER, "HdrS") && HAS(&image, BZ_BOOT_FLAG, "\x55\xaa")) {
		rc = identify_bzimage(&image, &info, err);
	} else if (HAS(&image, 0,
		       "\x7f"
		       "ELF")) {
		rc = identify_elf(&image, &info, err);
	} else if (HAS(&image, 0, "MZ") && HAS(&image, 4, "zimg") && within(&image, 0, 64)) {
		rc = identify_zboot(&image, &info, err);
	} else if (HAS(&image, IMAGE_MAGIC, "ARM\x64") && within(&image, 0, IMAGE_HEADER)) {
		rc = identify_image(&image, &info, err);
	} else {
		for (size_t i = 0; i < sizeof(compressions) / sizeof(compressions[0]); i++) {
			if (has(&image, 0, compressions[i].bytes, compressions[i].len)) {
				info.format = KILN__KERNEL_COMPRESSED;
				info.compression = compressions[i].what;
				rc = 0;
			}
		}
		if (rc)
			rc = no_kernel(&image, err);
	}
	if (!rc)
		*ret = info;
	return rc;
}

int kiln__kernel_check_arch(const char *name, const struct kiln__kernel_info *info,
			    const char *arch, kiln_error *err)
{
	if (!info->arch || !strcmp(info->arch, arch))
		return 0;
	kiln__fail(err, KILN_EFORMAT, "%s is an %s kernel, the machine is %s", name,
		   arch_text(info->arch), arch_text(arch));
	kiln__hint(err, "give a kernel for %s", arch_text(arch));
	return KILN_EFORMAT;
}

bool kiln__kernel_find_release(const uint8_t *bytes, size_t len, char ret[KILN__KERNEL_RELEASE_MAX])
{
	static const char banner[] = "Linux version ";
	const struct image image = {"", bytes, len};
	const uint8_t *at = bytes, *found;

	memset(ret, 0, KILN__KERNEL_RELEASE_MAX);
	/*
	 * The text occurs twice, first as a format ("Linux version %s"), which has no usable
	 * release.
	 */
	while (!ret[0]) {
		found = memmem(at, len - (size_t)(at - bytes), banner, sizeof(banner) - 1);
		if (!found)
			return false;
		at = found + sizeof(banner) - 1;
		copy_release(&image, (uint64_t)(at - bytes), ret);
	}
	return true;
}

bool kiln__kernel_release_ok(const char *release)
{
	size_t len = strlen(release);

	return len && len < KILN__KERNEL_RELEASE_MAX && release[0] != '.' &&
	       strspn(release,
		      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+~-") == len;
}

const char *kiln__kernel_format_name(enum kiln__kernel_format format)
{
	static const char *const names[] = {"bzimage", "elf", "image", "zboot", "compressed"};

	return names[format];
}
