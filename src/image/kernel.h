/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kind of kernel image a file is. Pure functions over bytes that nobody
 * vouches for: every offset and length in them is checked against the file's end.
 */
#ifndef KILN_IMAGE_KERNEL_H
#define KILN_IMAGE_KERNEL_H

#include <kiln/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kiln__kernel_format {
	KILN__KERNEL_BZIMAGE,    /* x86 boot protocol: set-up code and a compressed vmlinux */
	KILN__KERNEL_ELF,        /* vmlinux */
	KILN__KERNEL_IMAGE,      /* arm64 Image */
	KILN__KERNEL_ZBOOT,      /* EFI application around a compressed Image */
	KILN__KERNEL_COMPRESSED, /* one of the above (an Image, commonly), compressed as a whole */
};

#define KILN__KERNEL_RELEASE_MAX 80

struct kiln__kernel_info {
	enum kiln__kernel_format format;
	const char *arch; /* "x86_64" or "aarch64", as uname says it; NULL where the image is
			     compressed */
	bool pvh;         /* ELF: has a PVH entry, so QEMU and others can start it directly */
	uint64_t payload_offset; /* bzImage and zboot: where the compressed kernel lies in the file
				  */
	uint64_t payload_size;
	const char *compression; /* of the payload or the whole, where a header or magic names it;
				    else NULL. Static. */
	char release[KILN__KERNEL_RELEASE_MAX]; /* "6.1.0-56-cloud-amd64"; empty where the header
						   does not tell */
};

/* "bzimage", "elf", "image", "zboot" or "compressed". Static. */
const char *kiln__kernel_format_name(enum kiln__kernel_format format);

/*
 * Recognises a whole kernel image of @len bytes. @name is what messages call it.
 * KILN_EFORMAT, saying what the file is instead, if it is no kernel, is truncated
 * or is of a kind that cannot be booted here; an architecture that kiln does
 * not know is refused by name (KILN_ENOTSUP). Any thread.
 */
int kiln__kernel_identify(const char *name, const uint8_t *bytes, size_t len,
			  struct kiln__kernel_info *ret, kiln_error *err);

/*
 * KILN_EFORMAT ("is an arm64 kernel, the machine is x86_64") unless @info is for @arch, as uname
 * says it.
 */
int kiln__kernel_check_arch(const char *name, const struct kiln__kernel_info *info,
			    const char *arch, kiln_error *err);

/*
 * Finds the "Linux version " text in an uncompressed image and copies the release
 * out of it. False, leaving @ret empty, if there is none.
 */
bool kiln__kernel_find_release(const uint8_t *bytes, size_t len,
			       char ret[KILN__KERNEL_RELEASE_MAX]);

/*
 * Whether @release may be used in a file name: letters, digits and "._+~-", not starting with a
 * dot.
 */
bool kiln__kernel_release_ok(const char *release);

#endif
