/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes the archive that Linux unpacks as its initramfs: cpio "newc"
 * (Documentation/driver-api/early-userspace/buffer-format.rst). What comes out
 * depends only on what goes in: owner 0, time 0, inode numbers in order.
 */
#ifndef KILN_IMAGE_CPIO_H
#define KILN_IMAGE_CPIO_H

#include <kiln/error.h>

#include <stddef.h>
#include <stdint.h>

struct kiln__cpio {
	/* Takes all of the bytes, or fails with a code and fills @err. */
	int (*write)(void *data, const void *bytes, size_t len, kiln_error *err);
	void *data;
	uint32_t inode; /* of the entry last written; start with 0 */
};

/*
 * Entries. Parents come before what is in them; @path has no leading slash; @mode is permissions
 * only.
 */
int kiln__cpio_dir(struct kiln__cpio *cpio, const char *path, unsigned mode, kiln_error *err);
int kiln__cpio_file(struct kiln__cpio *cpio, const char *path, unsigned mode, const void *bytes,
		    size_t len, kiln_error *err);
int kiln__cpio_symlink(struct kiln__cpio *cpio, const char *path, const char *target,
		       kiln_error *err);
int kiln__cpio_char_device(struct kiln__cpio *cpio, const char *path, unsigned mode, unsigned major,
			   unsigned minor, kiln_error *err);

/* The trailer: nothing follows it. */
int kiln__cpio_end(struct kiln__cpio *cpio, kiln_error *err);

#endif
