/* SPDX-License-Identifier: Apache-2.0 */
#include "cpio.h"

#include "err.h"

#include <stdio.h>
#include <string.h>

#define HEADER_SIZE 110
#define TYPE_CHAR   0020000u
#define TYPE_DIR    0040000u
#define TYPE_FILE   0100000u
#define TYPE_LINK   0120000u

static int pad(struct kiln__cpio *cpio, size_t written, kiln_error *err)
{
	static const char zero[4];
	size_t gap = -written & 3;

	return gap ? cpio->write(cpio->data, zero, gap, err) : 0;
}

static int entry(struct kiln__cpio *cpio, const char *path, unsigned mode, unsigned links,
		 unsigned major, unsigned minor, const void *bytes, size_t len, kiln_error *err)
{
	char header[HEADER_SIZE + 1];
	size_t name_len = strlen(path) + 1;
	int rc;

	if (len > UINT32_MAX || name_len > 4096)
		return kiln__fail(err, KILN_EOVERFLOW, "'%s' does not fit into an initramfs", path);
	/* magic, ino, mode, uid, gid, nlink, mtime, size, dev, rdev, name size, checksum */
	snprintf(header, sizeof(header),
		 "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", ++cpio->inode, mode,
		 0u, 0u, links, 0u, (unsigned)len, 0u, 0u, major, minor, (unsigned)name_len, 0u);
	rc = cpio->write(cpio->data, header, HEADER_SIZE, err);
	if (!rc)
		rc = cpio->write(cpio->data, path, name_len, err);
	if (!rc)
		rc = pad(cpio, HEADER_SIZE + name_len, err);
	if (!rc && len)
		rc = cpio->write(cpio->data, bytes, len, err);
	return rc ? rc : pad(cpio, len, err);
}

int kiln__cpio_dir(struct kiln__cpio *cpio, const char *path, unsigned mode, kiln_error *err)
{
	return entry(cpio, path, TYPE_DIR | mode, 2, 0, 0, NULL, 0, err);
}

int kiln__cpio_file(struct kiln__cpio *cpio, const char *path, unsigned mode, const void *bytes,
		    size_t len, kiln_error *err)
{
	return entry(cpio, path, TYPE_FILE | mode, 1, 0, 0, bytes, len, err);
}

int kiln__cpio_symlink(struct kiln__cpio *cpio, const char *path, const char *target,
		       kiln_error *err)
{
	return entry(cpio, path, TYPE_LINK | 0777, 1, 0, 0, target, strlen(target), err);
}

int kiln__cpio_char_device(struct kiln__cpio *cpio, const char *path, unsigned mode, unsigned major,
			   unsigned minor, kiln_error *err)
{
	return entry(cpio, path, TYPE_CHAR | mode, 1, major, minor, NULL, 0, err);
}

int kiln__cpio_end(struct kiln__cpio *cpio, kiln_error *err)
{
	return entry(cpio, "TRAILER!!!", 0, 1, 0, 0, NULL, 0, err);
}
