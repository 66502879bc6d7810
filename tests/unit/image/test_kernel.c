/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void put(uint8_t *at, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

/* --- images made here, as small as they can be ------------------------------------- */

#define BZ_SIZE 4096

static void make_bzimage(uint8_t image[BZ_SIZE])
{
	memset(image, 0, BZ_SIZE);
	image[0x1f1] = 1;                 /* two sectors of set-up code */
	put(image + 0x1f4, 3072 / 16, 4); /* syssize */
	put(image + 0x1fe, 0xaa55, 2);
	memcpy(image + 0x202, "HdrS", 4);
	put(image + 0x206, 0x20f, 2);
	put(image + 0x20e, 0x300 - 0x200, 2);
	image[0x211] = 1;
	put(image + 0x236, 1, 2);
	put(image + 0x248, 256, 4);
	put(image + 0x24c, 1000, 4);
	strcpy((char *)image + 0x300, "6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org) #1");
}

#define ELF_SIZE 512

static void make_vmlinux(uint8_t elf[ELF_SIZE])
{
	memset(elf, 0, ELF_SIZE);
	memcpy(elf,
	       "\x7f"
	       "ELF\2\1\1",
	       7);
	put(elf + 16, 2, 2);
	put(elf + 18, 62, 2);
	put(elf + 32, 64, 8);
	put(elf + 54, 56, 2);
	put(elf + 56, 2, 2);
	put(elf + 64, 1, 4); /* PT_LOAD */
	put(elf + 64 + 8, 200, 8);
	put(elf + 64 + 16, 0xffffffff81000000, 8);
	put(elf + 64 + 32, 312, 8);
	put(elf + 120, 4, 4); /* PT_NOTE */
	put(elf + 120 + 8, 200, 8);
	put(elf + 120 + 32, 24 + 20, 8);
	put(elf + 200, 4, 4); /* a note of another kind */
	put(elf + 204, 8, 4);
	put(elf + 208, 6, 4);
	memcpy(elf + 212, "Xen", 4);
	put(elf + 224, 4, 4); /* the PVH entry */
	put(elf + 228, 4, 4);
	put(elf + 232, 18, 4);
	memcpy(elf + 236, "Xen", 4);
	put(elf + 240, 0x1000000, 4);
}

#define IMAGE_SIZE 4096

static void make_arm64(uint8_t image[IMAGE_SIZE])
{
	memset(image, 0, IMAGE_SIZE);
	memcpy(image, "MZ", 2);
	put(image + 0x10, 1 << 20, 8);
	put(image + 0x18, 0xa, 8);
	memcpy(image + 0x38, "ARM\x64", 4);
	put(image + 0x3c, 0x40, 4);
	memcpy(image + 0x40, "PE\0\0", 4);
	put(image + 0x44, 0xaa64, 2);
	put(image + 0x46, 1, 2);
	put(image + 0x54, 16, 2);
	put(image + 0x58 + 16 + 16, IMAGE_SIZE - 512, 4); /* SizeOfRawData */
	put(image + 0x58 + 16 + 20, 512, 4);              /* PointerToRawData */
}

static void make_zboot(uint8_t image[IMAGE_SIZE])
{
	make_arm64(image);
	memset(image + 0x38, 0, 4);
	memcpy(image + 4, "zimg", 4);
	put(image + 8, 1024, 4);
	put(image + 12, 2048, 4);
	memcpy(image + 24, "zstd22", 7);
}

/* --- recognised ------------------------------------------------------------------------ */

static void a_bzimage_tells_release_and_payload(void **state)
{
	uint8_t image[BZ_SIZE];
	struct kiln__kernel_info info;

	(void)state;
	make_bzimage(image);
	assert_int_equal(kiln__kernel_identify("k", image, sizeof(image), &info, NULL), 0);
	assert_int_equal(info.format, KILN__KERNEL_BZIMAGE);
	assert_string_equal(info.arch, "x86_64");
	assert_string_equal(info.release, "6.1.0-56-cloud-amd64");
	assert_int_equal(info.payload_offset, 1024 + 256);
	assert_int_equal(info.payload_size, 1000);
}

static void a_vmlinux_tells_of_its_pvh_entry(void **state)
{
	uint8_t elf[ELF_SIZE];
	struct kiln__kernel_info info;

	(void)state;
	make_vmlinux(elf);
	assert_int_equal(kiln__kernel_identify("k", elf, sizeof(elf), &info, NULL), 0);
	assert_int_equal(info.format, KILN__KERNEL_ELF);
	assert_string_equal(info.arch, "x86_64");
	assert_true(info.pvh);
	put(elf + 232, 17, 4);
	assert_int_equal(kiln__kernel_identify("k", elf, sizeof(elf), &info, NULL), 0);
	assert_false(info.pvh);
}

static void arm64_images_plain_and_compressed_are_known(void **state)
{
	uint8_t image[IMAGE_SIZE];
	struct kiln__kernel_info info;

	(void)state;
	make_arm64(image);
	assert_int_equal(kiln__kernel_identify("k", image, sizeof(image), &info, NULL), 0);
	assert_int_equal(info.format, KILN__KERNEL_IMAGE);
	assert_string_equal(info.arch, "aarch64");
	make_zboot(image);
	assert_int_equal(kiln__kernel_identify("k", image, sizeof(image), &info, NULL), 0);
	assert_int_equal(info.format, KILN__KERNEL_ZBOOT);
	assert_string_equal(info.arch, "aarch64");
	assert_string_equal(info.compression, "zstd22");
	assert_int_equal(info.payload_offset, 1024);
	assert_int_equal(
		kiln__kernel_identify("k", (const uint8_t *)"\x1f\x8b\x08\0", 4, &info, NULL), 0);
	assert_int_equal(info.format, KILN__KERNEL_COMPRESSED);
	assert_null(info.arch);
	assert_string_equal(info.compression, "gzip");
}

/* --- refused, by name -------------------------------------------------------------------- */

static void refuse(const void *bytes, size_t len, int code, const char *text)
{
	struct kiln__kernel_info info = {.payload_size = 77};
	kiln_error err = KILN_ERROR_INIT;

	assert_int_equal(kiln__kernel_identify("FILE", bytes, len, &info, &err), code);
	if (!strstr(err.message, text))
		fail_msg("'%s' does not say '%s'", err.message, text);
	assert_int_equal(strncmp(err.message, "FILE ", 5), 0);
	assert_int_equal(info.payload_size, 77);
}

static void what_is_no_kernel_is_named(void **state)
{
	uint8_t block[0x8100] = {1};

	(void)state;
	refuse("", 0, KILN_EFORMAT, "empty");
	refuse("#!/bin/sh\necho hello\n", 21, KILN_EFORMAT, "text");
	refuse("hsqs\0\0\0\0", 8, KILN_EFORMAT, "squashfs");
	refuse("!<arch>\ndebian-binary", 21, KILN_EFORMAT, "Debian package");
	refuse("070701000", 9, KILN_EFORMAT, "cpio");
	refuse("MZ\0\0\0", 5, KILN_EFORMAT, "EFI");
	refuse(block, 4096, KILN_EFORMAT, "no kernel image");
	memcpy(block + 257, "ustar", 5);
	refuse(block, 4096, KILN_EFORMAT, "tar");
	memset(block + 257, 0, 5);
	memcpy(block + 0x8001, "CD001", 5);
	refuse(block, sizeof(block), KILN_EFORMAT, "ISO 9660");
	memcpy(block + 0x38, "RSC\x05", 4);
	refuse(block, 4096, KILN_EFORMAT, "riscv");
}

static void a_truncated_kernel_is_called_so(void **state)
{
	uint8_t image[BZ_SIZE];

	(void)state;
	make_bzimage(image);
	refuse(image, BZ_SIZE - 1, KILN_EFORMAT, "truncated");
	refuse(image, 0x230, KILN_EFORMAT, "truncated");
	make_vmlinux(image);
	refuse(image, ELF_SIZE - 1, KILN_EFORMAT, "truncated");
	refuse(image, 100, KILN_EFORMAT, "truncated");
	refuse(image, 20, KILN_EFORMAT, "truncated");
	make_arm64(image);
	refuse(image, IMAGE_SIZE - 1, KILN_EFORMAT, "truncated");
	make_zboot(image);
	refuse(image, 3000, KILN_EFORMAT, "truncated");
}

static void other_architectures_are_refused_by_name(void **state)
{
	uint8_t image[BZ_SIZE];

	(void)state;
	make_bzimage(image);
	put(image + 0x236, 0, 2);
	refuse(image, BZ_SIZE, KILN_ENOTSUP, "32-bit x86");
	make_vmlinux(image);
	put(image + 18, 243, 2);
	refuse(image, ELF_SIZE, KILN_ENOTSUP, "riscv");
	make_bzimage(image);
	put(image + 0x206, 0x204, 2);
	refuse(image, BZ_SIZE, KILN_ENOTSUP, "boot protocol 2.04");
	make_arm64(image);
	put(image + 0x18, 0xb, 8);
	refuse(image, IMAGE_SIZE, KILN_ENOTSUP, "big-endian");
}

static void an_ordinary_program_is_no_kernel(void **state)
{
	uint8_t elf[ELF_SIZE];

	(void)state;
	make_vmlinux(elf);
	put(elf + 64 + 16, 0x400000, 8);
	put(elf + 120, 3, 4); /* PT_INTERP */
	refuse(elf, ELF_SIZE, KILN_EFORMAT, "ordinary program");
}

static void the_machine_s_architecture_is_compared(void **state)
{
	uint8_t image[IMAGE_SIZE];
	struct kiln__kernel_info info;
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	make_arm64(image);
	assert_int_equal(kiln__kernel_identify("k", image, sizeof(image), &info, NULL), 0);
	assert_int_equal(kiln__kernel_check_arch("k", &info, "aarch64", &err), 0);
	assert_int_equal(kiln__kernel_check_arch("k", &info, "x86_64", &err), KILN_EFORMAT);
	assert_string_equal(err.message, "k is an arm64 kernel, the machine is x86_64");
}

/* --- hostile ------------------------------------------------------------------------------ */

/*
 * Cut at any length and with any header byte changed, nothing is read beyond the end (ASan and
 * valgrind see it).
 */
static void no_header_is_trusted(void **state)
{
	void (*const makers[])(uint8_t *) = {make_bzimage, make_vmlinux, make_arm64, make_zboot};
	static const size_t sizes[] = {BZ_SIZE, ELF_SIZE, IMAGE_SIZE, IMAGE_SIZE};
	struct kiln__kernel_info info;

	(void)state;
	for (size_t m = 0; m < 4; m++) {
		uint8_t image[BZ_SIZE];

		makers[m](image);
		for (size_t len = 0; len <= sizes[m]; len += len < 700 ? 1 : 97) {
			uint8_t *cut = malloc(len ? len : 1);

			memcpy(cut, image, len);
			for (size_t at = 0; at < len && at < 640; at++) {
				cut[at] = (uint8_t)~cut[at];
				kiln__kernel_identify("k", cut, len, &info, NULL);
				cut[at] = (uint8_t)~cut[at];
			}
			free(cut);
		}
	}
}

static void the_release_is_found_in_an_image(void **state)
{
	static const char image[] = "....Linux version %s (%s)\0Linux version 6.12.3-x+y (gcc) #1";
	char release[KILN__KERNEL_RELEASE_MAX];

	(void)state;
	assert_true(kiln__kernel_find_release((const uint8_t *)image, sizeof(image), release));
	assert_string_equal(release, "6.12.3-x+y");
	assert_false(kiln__kernel_find_release((const uint8_t *)image, 20, release));
	assert_false(kiln__kernel_release_ok(""));
	assert_false(kiln__kernel_release_ok("../x"));
	assert_false(kiln__kernel_release_ok("a/b"));
	assert_true(kiln__kernel_release_ok("6.1.0-56-cloud-amd64"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bzimage_tells_release_and_payload),
		cmocka_unit_test(a_vmlinux_tells_of_its_pvh_entry),
		cmocka_unit_test(arm64_images_plain_and_compressed_are_known),
		cmocka_unit_test(what_is_no_kernel_is_named),
		cmocka_unit_test(a_truncated_kernel_is_called_so),
		cmocka_unit_test(other_architectures_are_refused_by_name),
		cmocka_unit_test(an_ordinary_program_is_no_kernel),
		cmocka_unit_test(the_machine_s_architecture_is_compared),
		cmocka_unit_test(no_header_is_trusted),
		cmocka_unit_test(the_release_is_found_in_an_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
