/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel image from anybody. What is accepted must point into the file; what is
 * refused must say so.
 */
#include "kernel.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct kiln__kernel_info info;
	kiln_error err = KILN_ERROR_INIT;
	char release[KILN__KERNEL_RELEASE_MAX];
	int rc = kiln__kernel_identify("input", bytes, len, &info, &err);

	if (rc) {
		CHECK(rc < 0 && err.code == rc && err.message[0]);
	} else {
		CHECK(info.payload_offset <= len && info.payload_size <= len - info.payload_offset);
		CHECK(!info.release[0] || kiln__kernel_release_ok(info.release));
		CHECK(info.arch || info.format == KILN__KERNEL_COMPRESSED);
		CHECK(*kiln__kernel_format_name(info.format));
		kiln__kernel_check_arch("input", &info, "x86_64", &err);
	}
	if (kiln__kernel_find_release(bytes, len, release))
		CHECK(kiln__kernel_release_ok(release));
	return 0;
}
