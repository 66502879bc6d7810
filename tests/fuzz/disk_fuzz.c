/* SPDX-License-Identifier: Apache-2.0 */
/* A disk image from anybody, looked at, and given another size where it is raw. */
#include "disk.h"
#include "os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct kiln__image_info info;
	kiln_error err = KILN_ERROR_INIT;
	char path[64];
	int fd = memfd_create("disk", MFD_CLOEXEC);
	int r;

	CHECK(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = kiln__disk_info(path, &info, &err);
	CHECK(r == 0 && info.format[0]);
	CHECK(strcmp(info.format, "raw") != 0 || (info.size == len && info.readable));
	CHECK(strcmp(info.format, "qcow2") != 0 || !info.readable || info.size <= KILN__DISK_MAX);
	r = kiln__disk_resize(path, 1 << 20, true, &err);
	CHECK((r == 0) == (strcmp(info.format, "raw") == 0));
	close(fd);
	return 0;
}
