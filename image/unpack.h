/* SPDX-License-Identifier: Apache-2.0 */
/* From a kernel image of any kind to the bytes that a VMM boots. */
#ifndef KILN_IMAGE_UNPACK_H
#define KILN_IMAGE_UNPACK_H

#include <kiln/error.h>

#include "kernel.h"

#include <jansson.h>

#define MAX_KERNEL_SIZE (512u << 20)

struct unpacked {
	uint8_t *bytes; /* malloc'ed */
	size_t len;
	struct kiln__kernel_info
		info; /* of these bytes; the release is set wherever one was found */
};

/*
 * Unpacks @bytes (malloc'ed, taken over in any case). The result is a vmlinux with a PVH
 * entry, an arm64 Image or, where there is nothing better inside, what was given: a
 * bzImage without a PVH kernel unpacks itself in the guest.
 */
int unpack_kernel(const char *name, uint8_t *bytes, size_t len, const char *arch,
		  struct unpacked *ret, kiln_error *err);

/* {"format", "arch", "release", "pvh", "size"} */
json_t *unpack_describe(const struct unpacked *unpacked);

#endif
